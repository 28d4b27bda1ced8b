"""The `apprise` channel: a hundred services more, by the package of that name, which is installed apart.

Its code runs in this greenlet: under gevent its sockets and threads hold nobody up, and a time limit ends it.
Loading it is a third of a second of computing, which is done in a native thread.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar
from urllib.parse import unquote

from oculus.collectors.fetch import redact
from oculus.config.decode import setting
from oculus.config.settings import ChannelSettings
from oculus.errors import reason
from oculus.model import Severity
from oculus.notify.base import Channel, Undelivered
from oculus.notify.notice import Notice
from oculus.notify.plain import LONGEST, one_line, text_of
from oculus.threads import NativeThreads

# Also beside the single-file archive, whose Python may have further packages.
INSTALL = "pip install 'apprise>=2.2' for the Python that runs Oculus"

# What apprise calls the kinds of its messages, which some services show by colour.
_KINDS: dict[Severity, str] = {"info": "info", "warn": "warning", "error": "failure", "critical": "failure"}

# A shorter part of a URL is a word rather than a key.
_SHORTEST = 4  # characters
_PARTS = re.compile(r"[/:@?&=,]+")

_TOLD = 300  # characters of a failure that an error shows

_UNDER_WAY = 100  # notices that some services have taken and others not


def _load(urls: Sequence[str]) -> list[Any]:
    """Return the service of each URL, None for one that apprise does not know; raises ImportError."""
    package = import_module("apprise")
    asset = package.AppriseAsset(app_id="Oculus", app_desc="Oculus", app_url="")
    return [package.Apprise.instantiate(url, asset=asset) for url in urls]


def services(urls: Sequence[str]) -> list[Any]:
    """Return apprise's service of each URL; raises ValueError, which names no URL."""
    if any("://" not in url for url in urls):
        raise ValueError("is no URL of apprise (such as pover://USER@TOKEN)")
    threads = NativeThreads(1)
    try:
        found = threads.run(_load, urls)
    except ImportError:
        raise ValueError(f"needs the package apprise, which is not installed ({INSTALL})") from None
    except Exception as error:
        raise ValueError(f"apprise does not take it: {type(error).__name__}") from None
    finally:
        threads.close()
    for url, service in zip(urls, found, strict=True):
        if service is None:
            scheme = url.partition("://")[0][:20]
            raise ValueError(f"is no URL that apprise knows, {scheme}:// (its manual has the form of each)")
    return found


def _check_url(url: str) -> None:
    _check_urls([url] if url else [])


def _check_urls(urls: Sequence[str]) -> None:
    if urls:
        services(urls)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseSettings(ChannelSettings):
    """Settings of `type: apprise`."""

    url: str = setting("", help="a service, as apprise writes its URL", check=_check_url, secret=True)
    urls: tuple[str, ...] = setting((), help="several of them", check=_check_urls, secret=True)

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.urls):
            raise ValueError("needs one of url and urls")

    @property
    def all(self) -> tuple[str, ...]:
        """The URLs of all services."""
        return self.urls or (self.url,)


class Apprise(Channel):
    """Hands each notice to all services. Those that have taken it are left out when it is tried again.

    apprise does not tell why a service refused a message, so that every failure is one that may pass.
    """

    Settings: ClassVar[type[ChannelSettings]] = AppriseSettings
    settings: AppriseSettings

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        self._services: list[Any] | None = None
        self._taken: OrderedDict[str, set[int]] = OrderedDict()

    def deliver(self, notice: Notice) -> str:
        if self._services is None:
            try:
                self._services = services(self.settings.all)
            except ValueError as error:
                failure = str(error)
                raise Undelivered(failure, permanent=True) from None
        taken = self._taken.setdefault(notice.id, set())
        while len(self._taken) > _UNDER_WAY:
            self._taken.popitem(last=False)
        failures = []
        for index, service in enumerate(self._services):
            if index not in taken:
                told = self._send(service, notice)
                if told is None:
                    taken.add(index)
                else:
                    failures.append(told)
        if failures:
            raise Undelivered("; ".join(failures))
        self._taken.pop(notice.id, None)
        return f"{len(self._services)} taken" if len(self._services) > 1 else "taken"

    def _send(self, service: Any, notice: Notice) -> str | None:
        """Send by one service; return why it failed, or None."""
        name = str(getattr(service, "service_name", "") or type(service).__name__)
        title = one_line(notice.title, min(service.title_maxlen or LONGEST, 250))
        longest = min(LONGEST, service.body_maxlen)
        if not service.title_maxlen:  # it goes before the body
            longest -= len(title) + 2
        body = text_of(notice, max(longest, 20)) or title
        if notice.link and len(body) + len(notice.link) < longest and not notice.text:
            body = f"{body}\n{notice.link}"
        module = import_module("apprise")
        one = module.Apprise()
        one.add(service)
        try:
            result = one.notify(
                body=body, title=title, notify_type=_KINDS[notice.severity] if notice.fires else "success",
                body_format="text",
            )  # fmt: skip
        except Exception as error:  # of one of a hundred plugins
            return self._clean(f"{name}: {reason(error)}")
        if result:
            return None
        logs = getattr(result, "logs", None)  # older versions return only whether it worked
        said = "; ".join(dict.fromkeys(str(entry.message) for entry in logs())) if logs else ""
        return self._clean(f"{name}: {said or 'did not take it'}")

    def _clean(self, text: str) -> str:
        """Return a text without the parts of the services' URLs, any of which may be a key."""
        text = redact(text, sorted(_keys(self.settings.all), key=len, reverse=True))
        return one_line(text, _TOLD)


def _keys(urls: Iterable[str]) -> set[str]:
    found = set(urls)
    for url in urls:
        parts = _PARTS.split(url.partition("://")[2])
        found |= {form for part in parts for form in (part, unquote(part)) if len(form) >= _SHORTEST}
    return found
