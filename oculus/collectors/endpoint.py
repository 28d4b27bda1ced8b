"""What can be told about an HTTP endpoint that answers with numbers, and the request made of it.

`type: api`, `type: prometheus` and `type: oculus` share it: one way to write a URL with its keys, and one
list of the texts that no message may show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

from oculus.collectors.base import Context
from oculus.collectors.fetch import Request, check_proxy
from oculus.collectors.manners import Rate
from oculus.collectors.network.http_request import (
    AuthSettings,
    check_bearer,
    check_headers,
    check_url,
    url_secrets,
)
from oculus.collectors.network.probe import EXCUSE, is_loopback
from oculus.collectors.network.tls import TlsSettings
from oculus.config.decode import Size, between, setting
from oculus.config.settings import CollectorSettings
from oculus.model import Sample, Tags

# Time for reading the longest body that is allowed, beside the request's own.
READING = 10.0  # seconds

# Headers that are no secret, and names of parameters that may be one.
_PUBLIC = frozenset(
    {"accept", "accept-language", "cache-control", "content-type", "origin", "referer", "user-agent"}
)
_BODY = 8  # characters of a body that none can show by chance
_KEY = re.compile(r"key|token|secret|pass|auth|sig|session|appid|app_id", re.IGNORECASE)


def check_endpoint(url: str) -> None:
    """Raise ValueError unless `url` is one that can be fetched."""
    if urlsplit(url).username is not None:
        raise ValueError("the URL holds a user name or password (give them as auth: {user: …, password: …})")
    check_url(url)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings(CollectorSettings):
    """What every collector can be told that reads an HTTP endpoint."""

    # How the file calls `bearer`.
    BEARER: ClassVar[str] = "bearer"

    url: str = setting(help="URL to fetch", check=check_endpoint)
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=check_headers, secret=True
    )
    auth: AuthSettings | None = setting(None, help="user and password")
    bearer: str = setting("", help="token for Authorization: Bearer", check=check_bearer, secret=True)
    max_body: Size = setting(
        Size(16 * 10**6), help="longest body that is read", check=between(1e3, 50e6, "B")
    )
    proxy: str = setting("", help="HTTP proxy; else that of the environment", check=check_proxy, secret=True)
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def __post_init__(self) -> None:
        named = [name.lower() for name in self.headers]
        if (self.auth is not None) + bool(self.bearer) + ("authorization" in named) > 1:
            raise ValueError(
                f"has more than one of auth, {self.BEARER} and an Authorization header (keep one)"
            )

    @property
    def host(self) -> str:
        """Host and port."""
        return Request(self.url).host

    def longest_run(self) -> float:
        """It may wait for its turn, then for the answer, and then read it or find out whose failure it is."""
        return 2 * self.timeout + READING + EXCUSE

    def request(
        self,
        *,
        url: str = "",
        params: tuple[tuple[str, str], ...] = (),
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        rates: tuple[Rate, ...] = (),
    ) -> Request:
        """Return what is sent; `headers` are those that the user's own go before."""
        own = {name.lower() for name in self.headers}
        sent = {name: value for name, value in (headers or {}).items() if name.lower() not in own}
        sent |= self.headers
        secrets = [self.bearer, *url_secrets(self.proxy)]
        if self.bearer:
            sent["Authorization"] = f"Bearer {self.bearer}"
        if self.auth is not None:
            sent["Authorization"] = self.auth.header
            pair = f"{self.auth.user}:{self.auth.password}"
            secrets += [pair, self.auth.header.rpartition(" ")[2], self.auth.password]
        for name, value in self.headers.items():
            if name.lower() not in _PUBLIC:
                secrets += [value, value.rpartition(" ")[2]]
        text = (body or b"").decode("utf-8", "replace")
        if len(text) >= _BODY:
            secrets.append(text)
        for name, value in parse_qsl(urlsplit(self.url).query):
            if _KEY.search(name):
                secrets.append(value)
        return Request(
            url=url or self.url,
            params=params,
            method=method,
            headers=sent,
            body=body,
            timeout=self.timeout,
            max_body=self.max_body,
            rates=rates,
            proxy=self.proxy,
            verify=(self.tls.ca_file or True) if self.tls.verify else False,
            certificate=(self.tls.cert_file, self.tls.key_file) if self.tls.cert_file else None,
            # The longest first: one may be part of another.
            secrets=tuple(sorted(filter(None, secrets), key=len, reverse=True)),
        )


class Reach:
    """`<stem>.up` of an endpoint, or `<stem>.unknown` while it is not the endpoint's fault that it fails."""

    def __init__(self, stem: str, url: str, context: Context) -> None:
        self.up, self.unknown = f"{stem}.up", f"{stem}.unknown"
        self._stem, self._context = stem, context
        self._on_this_host = is_loopback(url)
        self._in_doubt = False

    def found(self) -> Iterator[Sample]:
        """Yield what an answer says."""
        yield Sample(self.up, 1.0)
        if self._in_doubt:
            self._in_doubt = False
            yield Sample(self.unknown, 0.0)

    def missed(self, why: str) -> Iterator[Sample]:
        """Yield what a failure says. This may take some seconds."""
        excuse = self._context.excuse(self._stem, self._on_this_host)
        if excuse:
            self._in_doubt = True
            yield Sample(self.unknown, 1.0, None, Tags({"reason": excuse, "error": why}))
        else:
            if self._in_doubt:
                self._in_doubt = False
                yield Sample(self.unknown, 0.0)
            yield Sample(self.up, 0.0, None, Tags({"error": why}))
