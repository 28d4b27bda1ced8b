"""How channels speak HTTP: one request, one answer, and what a refusal means. No error names a secret.

No redirect is followed: it would carry a message, and the token that pays for it, to where nobody sent it.
"""

from __future__ import annotations

import json as json_
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import BadStatusLine
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import gevent
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, LocationValueError, ProtocolError
from urllib3.exceptions import TimeoutError as TimedOut
from urllib3.filepost import encode_multipart_formdata

from oculus import __version__
from oculus.collectors.bounded_http import BoundedAdapter
from oculus.collectors.fetch import (
    Certificate,
    check_base_url,
    check_proxy,
    rebased,
    redact,
    snippet,
    tls_context,
)
from oculus.collectors.manners import LONGEST_SILENCE, retry_after
from oculus.collectors.network.http_request import url_secrets
from oculus.collectors.network.probe import explain
from oculus.collectors.network.tls import TlsSettings
from oculus.config.decode import Seconds, setting
from oculus.config.settings import ChannelSettings
from oculus.notify.base import Undelivered

USER_AGENT = f"Oculus/{__version__}"

MAX_ANSWER = 64 * 1024  # bytes that are read: a service's answer to a message has a few hundred
TIMEOUT = 20.0  # seconds, for the whole of a request

# Statuses other than 5xx after which the same request may be taken: too slow, too early, too many.
_TRANSIENT = frozenset({408, 425, 429})
_TOLD = 200  # characters of a service's own words that an error shows

# A shorter part of a URL is a word, or a number, rather than a key.
_SHORTEST = 6  # characters


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered, cut after MAX_ANSWER bytes or where it broke off: the status tells what
    became of the message. `secrets` are texts that no error may show."""

    status: int
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)
    url: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is replaced."""
        return self.body.decode("utf-8-sig", "replace")

    @property
    def json(self) -> Any:
        """The body's JSON, or None for what is none: gateways answer with pages."""
        try:
            return json_.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body's JSON object; empty for anything else."""
        found = self.json
        return found if isinstance(found, dict) else {}

    @property
    def snippet(self) -> str:
        """The beginning of the body, fit for a message."""
        return snippet(self.body, self.secrets)

    def words(self, said: object) -> str:
        """Return a text out of the body, which may be anything, as a short line; empty for what is none."""
        text = redact(" ".join(said.split()), self.secrets) if isinstance(said, str) else ""
        return f"{text[:_TOLD]}…" if len(text) > _TOLD else text


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """What can be told of every HTTP request, and the request made so. What derives from it has `timeout`.

    It has no slots: those of two bases would not go together.
    """

    timeout: Seconds
    base_url: str = setting("", help="replaces scheme and host of all requests", check=check_base_url)
    proxy: str = setting("", help="HTTP proxy; else that of the environment", check=check_proxy, secret=True)
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        timeout: float | None = None,
        secrets: Sequence[str] = (),
    ) -> Answer:
        """Send a request as these settings have it; see `post`."""
        tls = self.tls
        return post(
            rebased(url, self.base_url), json=json, data=data, headers=headers, method=method,
            timeout=timeout or self.timeout, proxy=self.proxy, verify=tls.verify and (tls.ca_file or True),
            certificate=(tls.cert_file, tls.key_file) if tls.cert_file else None,
            secrets=(*secrets, *url_secrets(self.proxy, self.base_url)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(ChannelSettings, HttpOptions):
    """What every channel can be told that speaks HTTP."""


def url_parts(url: str) -> list[str]:
    """Return the texts of a URL that may be its password: itself, its path, and their longer parts."""
    parts, rest = urlsplit(url), url.partition("://")[2].partition("/")[2]
    found = [rest, *parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
    return [url, *(text for text in found if len(text) >= _SHORTEST)]


def post(
    url: str,
    *,
    json: Any = None,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    timeout: float = TIMEOUT,
    proxy: str = "",
    verify: bool | str = True,
    certificate: Certificate = None,
    secrets: Sequence[str] = (),
) -> Answer:
    """Send `json`, or else `data`, within `timeout` seconds, and return the answer whatever its status.

    `verify` may be a file of authorities. Raises Undelivered in one line without any of the `secrets`: a
    transient one for the network's failures, a permanent one for what can never be sent.
    """
    sent = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    if json is not None:
        # Half a surrogate pair is no text, and would make the whole message one that nobody takes.
        data = json_.dumps(json, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        sent["Content-Type"] = "application/json; charset=utf-8"
    sent |= headers or {}
    kept = tuple(secrets)
    # Raised below and not here, so that no error has the library's own as its context: that tells the URL.
    failure: Undelivered
    with gevent.Timeout(timeout) as limit:
        try:
            return _exchange(method, url, data, sent, proxy, verify, certificate, kept)
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
            failure = Undelivered(f"no whole answer within {timeout:g} s")
        except (HTTPError, OSError, ValueError) as error:
            failure = _failure(error, kept)
    raise failure


def form(fields: Mapping[str, str | tuple[str, bytes, str]]) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a form; files are given by their name, content and type."""
    body, kind = encode_multipart_formdata(fields)
    return body, {"Content-Type": kind}


def refused(answer: Answer, told: str = "", *, after: float | None = None) -> Undelivered:
    """Return the error that an answer means, to be raised: transient for 429, 5xx and their like.

    `told` is what the service said and what to do; without it, the beginning of the body is shown. `after`
    are the seconds to wait where the service tells them elsewhere than in its headers.
    """
    status = answer.status
    if 300 <= status < 400:
        target = redact(urljoin(answer.url, answer.headers.get("location", "")), answer.secrets)
        told = f"redirected to {target[:_TOLD]}, which is not followed (give the right URL)"
    told = told or (answer.snippet if answer.body else _phrase(status))
    said = redact(" ".join(told.split()), answer.secrets)
    text = f"{status}: {said}"
    if not (status in _TRANSIENT or status >= 500):
        return Undelivered(text, permanent=True)
    wait = retry_after(status, answer.headers) if after is None else after
    return Undelivered(text, retry_after=None if wait is None else min(max(wait, 0.0), LONGEST_SILENCE))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(an empty answer)"


def _exchange(
    method: str,
    url: str,
    data: bytes | None,
    headers: Mapping[str, str],
    proxy: str,
    verify: bool | str,
    certificate: Certificate,
    secrets: tuple[str, ...],
) -> Answer:
    """Send one request over a connection of its own: messages are rare, and a kept one may be dead."""
    proxy = proxy or select_proxy(url, get_environ_proxies(url)) or ""
    tls = {"ssl_context": tls_context(verify, certificate)} if url.startswith("https") else {}
    adapter = BoundedAdapter()
    adapter.init_poolmanager(1, 1, **tls)
    manager = adapter.proxy_manager_for(proxy, **tls) if proxy else adapter.poolmanager
    try:
        response = manager.urlopen(
            method, url, body=data, headers=headers, redirect=False, retries=False, preload_content=False,
            decode_content=False,
        )  # fmt: skip
        with response:
            names = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, names, response.read(MAX_ANSWER), url, secrets)
    finally:
        adapter.close()


def _failure(error: BaseException, secrets: Sequence[str]) -> Undelivered:
    """Return why a request failed, in words of our own: the libraries' name the URL, and so the token."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        found = queue.pop(0)
        if isinstance(found, BaseException) and found not in seen:
            seen.append(found)
            queue += [getattr(found, "reason", None), found.__cause__, found.__context__, *found.args]
    for found in reversed(seen):  # the innermost is the operating system's
        if isinstance(found, BadStatusLine) and not isinstance(found, OSError):
            return Undelivered("what came is not HTTP")
        if isinstance(found, OSError):
            told = "timed out" if isinstance(found, TimeoutError) and not found.strerror else explain(found)
            return Undelivered(redact(" ".join(told.split()), secrets))
    if any(isinstance(found, TimedOut) for found in seen):
        return Undelivered("timed out")
    if any(isinstance(found, ProtocolError) for found in seen):
        return Undelivered("what came is not a whole HTTP answer")
    if any(isinstance(found, (LocationValueError, ValueError)) for found in seen):
        told = "the URL or a header has something in it that cannot be sent (such as a line break or a space)"
        return Undelivered(told, permanent=True)
    return Undelivered(f"the request failed ({type(error).__name__})")
