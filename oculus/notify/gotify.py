"""The `gotify` channel: notifications by a Gotify server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from oculus.collectors.endpoint import check_endpoint
from oculus.collectors.network.http_request import check_bearer
from oculus.config.decode import setting
from oculus.config.settings import ChannelSettings
from oculus.notify.base import Channel, Undelivered
from oculus.notify.http import Answer, HttpSettings, refused
from oculus.notify.notice import Notice
from oculus.notify.plain import one_line, text_of
from oculus.notify.push import check_priorities, level

MAX_TITLE = 250  # characters; the app shows far less

# From 0 to 10; the app makes a sound from 4 on, and shows it above others from 8 on.
PRIORITIES: Mapping[str, int] = {"info": 2, "warn": 5, "error": 7, "critical": 8, "resolved": 2}


def _check_token(token: str) -> None:
    check_bearer(token)
    if not token:
        raise ValueError("is empty (the token of an application)")


def _check_server(url: str) -> None:
    check_endpoint(url)
    parts = urlsplit(url)
    if parts.query or parts.path.rstrip("/").endswith("/message"):
        raise ValueError("names more than a server (such as https://gotify.example.com)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GotifySettings(HttpSettings):
    """Settings of `type: gotify`."""

    url: str = setting(help="address of the server", check=_check_server)
    token: str = setting(help="token of an application", check=_check_token, secret=True)
    priority: Mapping[str, int] = setting(
        factory=dict, help="priorities (0 to 10) by severity or resolved",
        check=lambda given: check_priorities(given, PRIORITIES, 0, 10),
    )  # fmt: skip


class Gotify(Channel):
    """Sends each notice as one message. The server cannot tell a repetition: a second try may be seen."""

    Settings: ClassVar[type[ChannelSettings]] = GotifySettings
    settings: GotifySettings

    def deliver(self, notice: Notice) -> str:
        settings = self.settings
        # Alerts may hold any sign, which Markdown would take for its own.
        extras: dict[str, Any] = {"client::display": {"contentType": "text/plain"}}
        if notice.link:
            extras["client::notification"] = {"click": {"url": notice.link}}
        body = {
            "title": one_line(notice.title, MAX_TITLE),
            "message": text_of(notice) or notice.title,
            "priority": {**PRIORITIES, **settings.priority}[level(notice)],
            "extras": extras,
        }
        answer = settings.post(
            f"{settings.url.rstrip('/')}/message", json=body, headers={"X-Gotify-Key": settings.token},
            secrets=(settings.token,),
        )  # fmt: skip
        if not answer.ok:
            raise refused(answer, _told(answer))
        if not isinstance(said := answer.fields.get("id"), int):
            raise Undelivered(f"{answer.status}, but what came is not Gotify's answer: {answer.snippet}")
        return f"message {said}"


def _told(answer: Answer) -> str:
    said = answer.words(answer.fields.get("errorDescription")) or answer.words(answer.fields.get("error"))
    if answer.status in (401, 403):
        return f"{said or 'not allowed'} (check token: that of an application, which begins with A)"
    if answer.status in (404, 405):
        return f"{said or 'there is no Gotify server'} (check url)"
    return said
