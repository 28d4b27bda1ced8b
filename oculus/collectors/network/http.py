"""HTTP(S) probe: `net.http.<name>.rtt`, `.status`, `.up`, the phases, and `.cert_days` over TLS.

Speaks HTTP/1.1 on a plain socket: a new connection for each request, so that every phase is really
measured, and about a third of the CPU time of a client library. Phases are those of blackbox_exporter,
each summed over redirects: `dns` is the look-up, `connect` the TCP connect (through a proxy that to the
proxy, and its consent), `tls` the handshake (0 for plain HTTP), `ttfb` from the connection being ready to the
first byte of the answer; `rtt` is the whole, the body's transfer included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gevent import socket

from oculus.collectors.base import Context
from oculus.collectors.network.http_answer import MAX_BODY, Head, Take, read_answer, read_head
from oculus.collectors.network.http_expect import Answer, ExpectSettings, fault_of
from oculus.collectors.network.http_request import (
    DEFAULT_PORTS,
    REDIRECTS,
    Ask,
    AuthSettings,
    authority,
    body_type,
    check_bearer,
    check_headers,
    check_http_proxy,
    check_method,
    check_url,
    url_auth,
    without_credentials,
)
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeError,
    ProbeSettings,
    Trace,
    connect,
    milliseconds,
    resolve,
)
from oculus.collectors.network.tls import TlsSettings, client_context, shake_hands, wrap
from oculus.config.decode import Size, between, setting
from oculus.config.settings import CollectorSpec
from oculus.model import slug
from oculus.threads import NativeThreads


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(ProbeSettings):
    """Settings of `probe: http`."""

    target: str = setting(help="URL to fetch", check=check_url)
    method: str = setting("", help="GET, or POST where there is a body", check=check_method)
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=check_headers, secret=True
    )
    body: str = setting("", help="text to send", secret=True)
    auth: AuthSettings | None = setting(None, help="user and password")
    bearer: str = setting("", help="token for Authorization: Bearer", check=check_bearer, secret=True)
    proxy: str = setting("", help="HTTP proxy", check=check_http_proxy, secret=True)
    redirects: int = setting(10, help="redirects that are followed at most; 0 for none", check=between(0, 50))
    max_body: Size = setting(Size(MAX_BODY), help="longest body that is read", check=between(1e3, 50e6, "B"))
    expect: ExpectSettings = setting(ExpectSettings(), help="what the answer must be")
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def __post_init__(self) -> None:
        given = {
            "auth": self.auth is not None,
            "bearer": bool(self.bearer),
            "an Authorization header": "authorization" in map(str.lower, self.headers),
            "a user name in the URL": urlsplit(self.target).username is not None,
        }
        if sum(given.values()) > 1:
            told = " and ".join(what for what, is_given in given.items() if is_given)
            raise ValueError(f"has {told} (keep one of them)")
        if self.body and self.method in ("GET", "HEAD"):
            raise ValueError(f"a {self.method} has no body (leave method out, or use POST)")
        if self.method == "HEAD" and self.expect.reads_body:
            raise ValueError("the answer to a HEAD has no body of which something can be expected (use GET)")

    def default_name(self) -> str:
        """The name is the slug of the target, without the credentials that it may hold."""
        return slug(without_credentials(self.target))

    def ask(self) -> Ask:
        """Return the first request."""
        headers = dict(self.headers)
        url = urlsplit(self.target)
        token = f"Bearer {self.bearer}" if self.bearer else self.auth.header if self.auth else url_auth(url)
        if token:
            headers["Authorization"] = token
        if self.body and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = body_type(self.body)
        method = self.method or ("POST" if self.body else "GET")
        return Ask(method, urlsplit(without_credentials(self.target)), headers, self.body.encode())


class HttpProbe(Probe):
    """Fetches a URL once a run."""

    prefix = "net.http"
    Settings = HttpSettings
    phases = ("dns", "connect", "tls", "ttfb")

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, HttpSettings)
        settings = self._settings = spec.settings
        self._first = settings.ask()
        self._reads_body = settings.expect.reads_body
        self._expects_more = settings.expect != ExpectSettings(status=settings.expect.status)
        self._proxy = urlsplit(settings.proxy) if settings.proxy else None
        self._proxy_auth = url_auth(self._proxy) if self._proxy else ""

    def describe(self) -> Mapping[str, str]:
        """Every sample tells the target, without credentials."""
        assert isinstance(self.spec.settings, HttpSettings)
        return {"target": without_credentials(self.spec.settings.target)}

    def attempt(self, trace: Trace) -> Outcome:
        """Fetch the target and follow its redirects."""
        settings = self._settings
        ask = self._first
        cert_days: float | None = None
        body: list[bytes] = []
        for _ in range(settings.redirects + 1):
            body.clear()
            head, days = self._fetch(ask, trace, body.append if self._reads_body else None)
            cert_days = cert_days if days is None else days
            location = head.headers.get("location")
            if settings.redirects == 0 or head.status not in REDIRECTS or not location:
                break
            ask = ask.follow(head.status, location)
        else:
            raise ProbeError(f"more than {settings.redirects} redirects")
        total = trace.end()
        values = milliseconds({name: trace.phases.get(name, 0.0) for name in self.phases})
        values["status"] = float(head.status)
        if cert_days is not None:
            values["cert_days"] = cert_days
        error = settings.expect.status_fault(head.status)
        if self._expects_more and not error:
            trace.enter("expect")
            answer = Answer(head, b"".join(body), total, cert_days, settings.max_body)
            error = fault_of(settings.expect, answer, self._aside)
        if error:
            return Outcome(False, values, error, "expect")
        values["rtt"] = round(total * 1000.0, 3)
        return Outcome(True, values)

    def _fetch(self, ask: Ask, trace: Trace, take: Take | None) -> tuple[Head, float | None]:
        """Send one request; return the answer's head and, over TLS, the days until the chain ends."""
        settings = self._settings
        secure = ask.url.scheme == "https"
        tls = client_context(settings.tls, self.context) if secure else None
        proxy, proxy_auth = self._proxy, None
        trace.enter("dns")
        if proxy is None:
            addresses = resolve(ask.host, ask.port, settings.family, settings.resolver)
        else:
            port = proxy.port or DEFAULT_PORTS["http"]
            addresses = resolve(proxy.hostname or "", port, settings.family, settings.resolver)
            proxy_auth = None if secure else self._proxy_auth
        trace.enter("connect")
        sock = connect(addresses)
        try:
            days: float | None = None
            if tls is not None:
                if proxy is not None:
                    self._tunnel(sock, ask, trace)
                trace.enter("tls")
                sock = wrapped = wrap(sock, tls, ask.host)
                days = min(shake_hands(wrapped), default=None)
            trace.enter("ttfb")
            sock.sendall(ask.wire(proxy_auth))
            return read_answer(sock, trace, ask.method, settings.max_body, take), days
        finally:
            sock.close()

    def _tunnel(self, sock: socket.socket, ask: Ask, trace: Trace) -> None:
        """Have the proxy connect to the target (RFC 9110 §9.3.6); raises ProbeError when it does not."""
        host = authority(ask.url, with_port=True)
        auth = f"Proxy-Authorization: {self._proxy_auth}\r\n" if self._proxy_auth else ""
        sock.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{auth}\r\n".encode("latin-1"))
        try:
            head, rest = read_head(sock, trace)
        except ProbeError as error:
            raise ProbeError(f"the proxy: {error}") from None
        if not 200 <= head.status < 300:
            raise ProbeError(f"the proxy answered CONNECT with status {head.status}")
        if rest:
            raise ProbeError("the proxy sent something where the server should speak first")

    def _aside(self, work: Any, *arguments: Any) -> Any:
        """Run what would hold the hub in a native thread, which all probes share."""
        threads = self.context.shared("bodies", lambda: NativeThreads(1))
        return threads.run(work, *arguments)
