"""What an HTTP probe asks for: URLs, headers, credentials, the bytes of a request, where redirects lead."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from oculus import __version__
from oculus.collectors.network.probe import ProbeError
from oculus.config.decode import setting

DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_URL_SIGNS = "/?#[]@!$&'()*+,;=%:~"  # what a URL may hold as it is (RFC 3986); the rest is quoted
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_CREDENTIALS = re.compile(r"(?<=//)[^/?#]*@")
_SHOWN = 200  # characters of a URL that a message shows

_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})

# Headers that tell nothing of who asks: of those that are given, only these go to another host.
_PUBLIC = frozenset({"accept", "accept-encoding", "accept-language", "cache-control", "user-agent"})
_OF_BODY = frozenset({"content-type", "content-language", "content-encoding"})


def check_url(url: str) -> None:
    """Raise ValueError unless `url` is one that can be fetched over HTTP. A message shows no credentials."""
    shown = without_credentials(url)[:_SHOWN]
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no port number
    except ValueError as error:
        raise ValueError(f"{shown!r} is not a URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{shown!r} is not a URL (such as https://example.com/health)")
    if _UNPRINTABLE.search(url):
        raise ValueError(f"{shown!r} holds a space or control character (write it as %20)")


def without_credentials(url: str) -> str:
    """Return a URL without the user name and password that it may hold."""
    return _CREDENTIALS.sub("", url, count=1)


def check_method(method: str) -> None:
    """Raise ValueError unless `method` is one that a probe can use, or is empty."""
    if method == "CONNECT" or (method and not _METHOD.fullmatch(method)):
        raise ValueError(f"{method!r} is not a method (such as GET, HEAD or POST)")


def check_headers(headers: Mapping[str, str], own: Collection[str] = FRAMING) -> None:
    """Raise ValueError unless these can be headers of a request; `own` (in lower case) it sets itself."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header (such as X-Api-Key)")
        if name.lower() in own:
            raise ValueError(f"{name} is a header that the request sets itself (leave it out)")
        if not value.isprintable() or value != value.strip() or any(ord(sign) > 255 for sign in value):
            raise ValueError(f"the header {name} holds what a header cannot (a line break, an outer space …)")


def check_bearer(token: str) -> None:
    """Raise ValueError unless `token` can follow the word Bearer, or is empty."""
    if any(not "!" <= sign <= "~" for sign in token):
        raise ValueError("the token holds a space, a line break or another sign that a header cannot")


def check_http_proxy(url: str) -> None:
    """Raise ValueError unless `url` names a proxy that is spoken to in plain HTTP, or is empty."""
    if not url:
        return
    check_url(url)
    if not url.lower().startswith("http://"):
        raise ValueError(
            f"{without_credentials(url)!r} is not the URL of a proxy (such as http://proxy.local:3128)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """`auth:`: user and password for HTTP basic authentication."""

    user: str = setting(help="user name")
    password: str = setting("", help="password", secret=True)

    def __post_init__(self) -> None:
        if ":" in self.user:
            raise ValueError("the user name holds a colon, which basic authentication cannot send")

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return basic(self.user, self.password)


def basic(user: str, password: str) -> str:
    """Return the value of a header for basic authentication (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def url_auth(parts: SplitResult) -> str:
    """Return the value of an Authorization header for the credentials in a URL, or an empty text."""
    if parts.username is None:
        return ""
    return basic(unquote(parts.username), unquote(parts.password or ""))


def url_secrets(*urls: str) -> tuple[str, ...]:
    """Return what no message may show of the credentials in some URLs: passwords, also as they are sent."""
    found = [urlsplit(url) for url in urls if "@" in url]
    sent = [url_auth(parts).rpartition(" ")[2] for parts in found]
    passwords = [parts.password or "" for parts in found]
    return tuple(filter(None, (*sent, *passwords, *map(unquote, passwords))))


def body_type(body: str) -> str:
    """Return the Content-Type of a text to send."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return "text/plain; charset=utf-8"
    return "application/json"


class Ask:
    """One request: method, URL, the user's headers and the body. It remembers its bytes and its successor."""

    __slots__ = ("_bytes", "_next", "body", "headers", "method", "url")

    def __init__(self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self._bytes = b""
        self._next: tuple[int, str, Ask] | None = None  # redirects rarely change; one is remembered

    @property
    def host(self) -> str:
        """The host's name or address."""
        return self.url.hostname or ""

    @property
    def port(self) -> int:
        """The port, the scheme's own where the URL has none."""
        return self.url.port or DEFAULT_PORTS[self.url.scheme]

    def wire(self, proxy_auth: str | None = None) -> bytes:
        """Return what is sent; to a proxy, with its authorization or an empty text, the URL stands whole.

        Raises ProbeError for a host that is no name.
        """
        if not self._bytes:
            target = quote(
                (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else ""), safe=_URL_SIGNS
            )
            host = authority(self.url)
            extra = {}
            if proxy_auth is not None:
                target = f"{self.url.scheme}://{host}{target}"
                extra = {"Proxy-Authorization": proxy_auth} if proxy_auth else {}
            headers = {
                "Host": host,
                "User-Agent": f"Oculus/{__version__}",
                "Accept": "*/*",
                # A packed body would be measured as a shorter one, and cost time to unpack.
                "Accept-Encoding": "identity",
            } | extra
            own = {name.lower() for name in self.headers}
            headers = {name: value for name, value in headers.items() if name.lower() not in own}
            headers |= self.headers
            if self.body or self.method in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = str(len(self.body))
            headers["Connection"] = "close"
            lines = [f"{self.method} {target} HTTP/1.1", *(f"{key}: {headers[key]}" for key in headers)]
            self._bytes = "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body
        return self._bytes

    def follow(self, status: int, location: str) -> Ask:
        """Return the request that a redirect leads to; raises ProbeError where it leads nowhere.

        As RFC 9110 §15.4 has it and browsers do: 303 asks by GET, and so do 301 and 302 after a POST; 307 and
        308 keep method and body. What is not public of the headers, all credentials above all, goes to no
        other host, and to the same one only where that is as safe.
        """
        known = self._next
        if known is not None and known[:2] == (status, location):
            return known[2]
        try:
            target = without_credentials(urljoin(self.url.geturl(), _as_text(location)))
            check_url(target)
        except ValueError as error:
            raise ProbeError(f"redirected to where this cannot go: {error}") from None
        url = urlsplit(target)
        method, body = self.method, self.body
        if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
            method, body = "GET", b""
        kept = {
            name: value
            for name, value in self.headers.items()
            if (_same_host(self.url, url) or name.lower() in _PUBLIC or name.lower() in _OF_BODY)
            and (body or name.lower() not in _OF_BODY)
        }
        following = Ask(method, url, kept, body)
        self._next = status, location, following
        return following


def authority(url: SplitResult, *, with_port: bool = False) -> str:
    """Return host and port of a URL as the Host header has them; raises ProbeError for what is no name."""
    host = url.netloc.rpartition("@")[2]
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise ProbeError(f"name lookup failed: {url.hostname!r} is not a host name") from None
    if with_port and url.port is None:
        host = f"{host.rstrip(':')}:{DEFAULT_PORTS[url.scheme]}"
    return host


def _as_text(header: str) -> str:
    """Return a header's value, which came as latin-1; some servers send UTF-8 as it is."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def _same_host(before: SplitResult, after: SplitResult) -> bool:
    """Tell whether what one may know the other may know too: the same server, or its TLS side."""
    ports = [url.port or DEFAULT_PORTS[url.scheme] for url in (before, after)]
    to_tls = (before.scheme, after.scheme, *ports) == ("http", "https", 80, 443)
    same = before.scheme == after.scheme and ports[0] == ports[1]
    return before.hostname == after.hostname and (same or to_tls)
