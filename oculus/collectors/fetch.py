"""The polite HTTP client of market sources and generic APIs: one for the whole daemon.

Per host, whoever asks: a token bucket, and a silence when the host asked for one (429, 503 with
Retry-After …). Per request: one time limit for all of it, a bound on the body, redirects on the same host
only, and conditional requests where the host gave a validator. Nothing that it says names a key.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import BadStatusLine
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import gevent
import requests
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError as TransportError
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util import Retry

from oculus import __version__
from oculus.clock import now
from oculus.collectors.base import CollectError, Context, Count
from oculus.collectors.bounded_http import BoundedAdapter
from oculus.collectors.extract.documents import HUB_JSON, loads, loads_politely
from oculus.collectors.manners import LONGEST_SILENCE, REFUSALS, Host, Rate, retry_after, span_text
from oculus.collectors.network.http_request import without_credentials
from oculus.collectors.network.probe import explain
from oculus.collectors.network.tls import TlsContexts, TlsSettings
from oculus.cooperate import pause
from oculus.model import Micros
from oculus.threads import NativeThreads

# Some services turn down what does not look like a browser; this looks like one and says who it is.
USER_AGENT = f"Mozilla/5.0 (compatible; Oculus/{__version__})"

MAX_BODY = 4 * 2**20  # bytes: the largest answer of the built-in sources, 250 coins, has 0.4 MB
_CHUNK = 64 * 1024  # bytes of a body that are taken at once
_REDIRECTS = 5  # that are followed at most
_PASSED_ON = frozenset({301, 302, 303, 307, 308})

_REMEMBERED = 200  # answers that are kept to be asked for again by their validator …
_REMEMBERED_SIZE = 256 * 1024  # … and the longest such body, in bytes

_SNIPPET = 80  # characters of an answer that an error shows


def check_base_url(url: str) -> None:
    """Raise ValueError unless `url` can stand in place of a source's own address."""
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{without_credentials(url)!r} is not a URL (such as https://proxy.local/coingecko)")


def rebased(url: str, base_url: str) -> str:
    """Return `url` with scheme and host of `base_url`, if there is one; the path is kept."""
    if not base_url:
        return url
    rest = url.partition("://")[2].partition("/")
    return base_url.rstrip("/") + rest[1] + rest[2]


def check_proxy(url: str) -> None:
    """Raise ValueError unless `url` names a proxy, or is empty."""
    if url and urlsplit(url).scheme not in ("http", "https"):
        shown = without_credentials(url)
        raise ValueError(f"{shown!r} is not the URL of a proxy (such as http://proxy.local:3128)")


# The files of a client's certificate and of its key, which may be empty where the first holds both.
Certificate = tuple[str, str] | None


class SourceError(CollectError):
    """A source did not give what it was asked for; it may be asked again."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, and how much may be spent on it. `secrets` are texts that no message may show."""

    url: str
    params: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    timeout: float = 10.0  # seconds, for the whole of it
    max_body: int = MAX_BODY  # bytes
    rates: tuple[Rate, ...] = ()
    proxy: str = ""
    verify: bool | str = True  # or a file of authorities
    certificate: Certificate = None  # to show
    secrets: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Host and port: what limits are counted for."""
        return urlsplit(self.url).netloc.rpartition("@")[2].lower()

    @property
    def address(self) -> str:
        """The URL with its parameters."""
        if not self.params:
            return self.url
        return f"{self.url}{'&' if '?' in self.url else '?'}{urlencode(self.params, safe=',+:')}"

    @property
    def asked(self) -> tuple[Any, ...]:
        """What the answer depends on: another key may see another one at the same URL."""
        return self.address, *sorted(self.headers.items())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host answered. `received` is when the last of it had come."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    received: Micros
    parse: Callable[[bytes], Any]
    secrets: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is replaced."""
        return self.body.decode("utf-8-sig", "replace")

    def json(self) -> Any:
        """Return the body as JSON; raises SourceError for a failure's status, and for what is none."""
        self.expect_success()
        return self.any_json()

    def any_json(self) -> Any:
        """Return the body as JSON whatever the status; raises SourceError for what is none."""
        try:
            return self.parse(self.body)
        except (ValueError, RecursionError):
            status = "" if self.status == 200 else f"status {self.status}, and "
            raise SourceError(f"{status}the answer is not JSON: {self.snippet}") from None

    def expect_success(self) -> None:
        """Raise SourceError unless the status is one of success."""
        if not 200 <= self.status < 300:
            raise SourceError(f"status {self.status}: {self.snippet}")

    @property
    def snippet(self) -> str:
        """The beginning of the body, fit for a message."""
        return snippet(self.body, self.secrets)


def snippet(body: bytes, secrets: Sequence[str] = ()) -> str:
    """Return the beginning of a body, fit for a message."""
    text = re.sub(r"<[^>]*>|\s+", " ", body[:2_000].decode("utf-8-sig", "replace"))
    text = redact(" ".join(text.split()), secrets)
    return (text[:_SNIPPET] + "…" if len(text) > _SNIPPET else text) or "(empty)"


def some(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return a text without the given secrets, whether they stand there as they are, quoted or in a URL."""
    for secret in secrets:
        bare = secret.strip()
        forms = {secret, repr(secret)[1:-1], quote(secret, ""), quote(secret, ",+:"), bare} if bare else ()
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
    return text


class Fetcher:
    """Fetches; blocks the greenlet that calls. Share it through `Context.shared`."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self.hosts: dict[str, Host] = {}
        self._validated: OrderedDict[tuple[Any, ...], Answer] = OrderedDict()
        self._parser = NativeThreads(1)
        self._session = requests.Session()
        # It would print the URL of what it sends again, with the keys in it.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._session.trust_env = False  # no .netrc; proxies of the environment are looked up below
        self._session.headers.clear()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # A kept connection may be closed just when it is used again; a GET is then sent once more.
        # A status is never a reason for that: refusals are for `_heed`, which must see them as they came.
        again = Retry(
            1, connect=0, read=1, redirect=0, status=0, other=0, allowed_methods={"GET"},
            respect_retry_after_header=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(32, 8, again))

    @classmethod
    def of(cls, context: Context) -> Fetcher:
        """Return the one fetcher of a daemon."""
        return context.shared(cls, cls)

    def fetch(self, request: Request) -> Answer:
        """Send a request, when the host's limits allow; raises SourceError.

        Any status is an answer but a refusal: that silences the host for the time that it names.
        """
        try:
            host = self._host(request)
        except ValueError as error:  # such as a bracket without its other half
            raise SourceError(f"not a URL: {error}") from None
        self._wait_for_turn(host, request)
        host.requests += 1
        known = self._validated.get(request.asked) if request.method == "GET" else None
        with gevent.Timeout(request.timeout) as limit:
            try:
                answer = self._send(request, known)
            except gevent.Timeout as fired:
                if fired is not limit:
                    raise
                raise SourceError(f"no whole answer within {request.timeout:g} s") from None
            except (requests.RequestException, TransportError, OSError, ValueError) as error:
                raise SourceError(redact(_reason(error), request.secrets)) from None
        if answer.status == 304 and known is not None:
            answer = Answer(
                known.status, known.headers, known.body, answer.received, known.parse, known.secrets
            )
        self._heed(host, answer)
        self._remember(request, answer)
        return answer

    def counts(self) -> Iterator[Count]:
        """Yield what was asked of each host."""
        asked, refused = "Requests to sources and APIs.", "Refusals by sources and APIs."
        held = "Requests to sources and APIs that were not sent, since their limit was used up."
        for name, host in self.hosts.items():
            yield Count("oculus_fetches_total", "counter", asked, host.requests, {"host": name})
            yield Count("oculus_fetches_refused_total", "counter", refused, host.refusals, {"host": name})
            yield Count("oculus_fetches_throttled_total", "counter", held, host.throttled, {"host": name})

    def close(self) -> None:
        """Close the connections that wait for another request."""
        self._session.close()
        self._parser.close()

    def parse_json(self, body: bytes) -> Any:
        """Return parsed JSON; raises ValueError. What is long is parsed beside the hub."""
        if len(body) <= HUB_JSON:
            return loads(body)
        return self._parser.run(loads_politely, body)

    def aside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run `work` in a native thread: for computing over what a host sent."""
        return self._parser.run(work, *arguments)

    def _host(self, request: Request) -> Host:
        if request.host not in self.hosts:
            self.hosts[request.host] = Host(self._monotonic)
        return self.hosts[request.host]

    # -- limits ---------------------------------------------------------------------------------------

    def _wait_for_turn(self, host: Host, request: Request) -> None:
        waited = 0.0
        while True:
            silence = host.silent_until - self._monotonic()
            if silence > 0:
                raise SourceError(host.why, retry_in=silence)
            wait = host.bucket.take(request.rates)
            if not wait:
                return
            if waited + wait > request.timeout:
                # Nobody's failure, and no news: more is wanted than the limit allows.
                host.throttled += 1
                told = f"the limit of {request.host} is used up for {span_text(wait)}"
                raise SourceError(told, retry_in=wait, told=True)
            self._sleep(wait)
            waited += wait

    def _heed(self, host: Host, answer: Answer) -> None:
        """Keep silent for as long as the host wants; raises SourceError for a refusal."""
        after = retry_after(answer.status, answer.headers)
        if answer.status not in REFUSALS and not (answer.status == 503 and after is not None):
            if 200 <= answer.status < 300:
                host.backoff.succeed()
            return
        host.refusals += 1
        if after is None:
            # Requests that were under way together are refused together, which counts once.
            left = host.silent_until - self._monotonic()
            after = left if left > 0 else host.backoff.fail()
        self.silence(host, after, f"status {answer.status}: {answer.snippet}")

    def silence(self, host: Host, seconds: float, why: str) -> None:
        """Ask a host nothing for some seconds; always raises the SourceError that says so."""
        seconds = min(max(seconds, 0.0), LONGEST_SILENCE)
        host.silent_until = max(host.silent_until, self._monotonic() + seconds)
        host.why = f"{why} (asked again after {span_text(seconds)})"
        raise SourceError(host.why, retry_in=seconds)

    def refuse(self, request: Request, seconds: float, why: str) -> None:
        """Silence the host of a request, for services that refuse with a status of success."""
        host = self._host(request)
        host.refusals += 1
        self.silence(host, seconds, why)

    # -- one request ----------------------------------------------------------------------------------

    def _send(self, request: Request, known: Answer | None) -> Answer:
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
        if known is not None:
            for ours, theirs in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
                if theirs in known.headers:
                    headers[ours] = known.headers[theirs]
        headers |= request.headers
        url, method, body = request.address, request.method, request.body
        proxies = (
            {"http": request.proxy, "https": request.proxy}
            if request.proxy
            else requests.utils.get_environ_proxies(url)
        )
        if url.startswith("https"):
            try:
                tls_context(request.verify, request.certificate)
            except OSError as error:  # its text tells the file
                raise SourceError(str(error)) from None
        for _ in range(_REDIRECTS + 1):
            response = self._session.request(
                method, url, headers=headers, data=body, timeout=request.timeout, stream=True,
                allow_redirects=False, proxies=proxies, verify=request.verify, cert=request.certificate,
            )  # fmt: skip
            with response:
                location = response.headers.get("Location")
                if response.status_code not in _PASSED_ON or not location:
                    content = _read(response, request.max_body)
                    names = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(
                        response.status_code, names, content, now(), self.parse_json, request.secrets
                    )
                url = _followed(url, location)
                if response.status_code == 303 or (response.status_code in (301, 302) and method == "POST"):
                    method, body = "GET", None
        raise SourceError(f"more than {_REDIRECTS} redirects")

    def _remember(self, request: Request, answer: Answer) -> None:
        if request.method != "GET" or answer.status != 200 or len(answer.body) > _REMEMBERED_SIZE:
            return
        if "etag" in answer.headers or "last-modified" in answer.headers:
            self._validated[request.asked] = answer
            self._validated.move_to_end(request.asked)
            while len(self._validated) > _REMEMBERED:
                self._validated.popitem(last=False)


class _Adapter(BoundedAdapter):
    """Connects with the TLS contexts that are made already."""

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Name the context instead of the file of authorities."""
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            return host, {"cert_reqs": tls["cert_reqs"], "ssl_context": tls_context(verify, cert)}
        return host, tls

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the connection as it is: its context has the authorities."""


_tls_contexts = TlsContexts()


def tls_context(verify: bool | str, certificate: Certificate = None) -> ssl.SSLContext:
    """Return the one TLS context for the usual authorities, those of a file, or none; raises OSError."""
    if verify is False:
        disable_warnings(InsecureRequestWarning)  # at each request: the user wants it so
    cert_file, key_file = certificate or ("", "")
    ca_file = verify if isinstance(verify, str) else ""
    return _tls_contexts.get(
        TlsSettings(verify=verify is not False, ca_file=ca_file, cert_file=cert_file, key_file=key_file)
    )


def _read(response: requests.Response, most: int) -> bytes:
    """Return a body; raises SourceError for one of more than `most` bytes, counted as unpacked."""
    pieces = []
    size = 0
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most:
        size = int(declared)
    else:
        for piece in response.iter_content(_CHUNK):
            size += len(piece)
            if size > most:
                break
            pieces.append(piece)
            pause()  # a socket that always has data would let no other greenlet run
    if size > most:
        raise SourceError(f"a body of more than {most / 1e6:.3g} MB")
    return b"".join(pieces)


def _followed(url: str, location: str) -> str:
    """Return where a redirect leads; raises SourceError when that is another host, or no longer TLS."""
    target = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(target)
    if after.hostname != before.hostname:
        raise SourceError(f"redirected to another host, {after.hostname or location[:_SNIPPET]!r}")
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        raise SourceError(f"redirected to {after.scheme}, away from {before.scheme}")
    return target


def _reason(error: BaseException) -> str:
    """Return why a request failed in a few words: the libraries wrap the operating system's error."""
    seen: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        found = queue.pop(0)
        if not isinstance(found, BaseException) or found in seen:
            continue
        seen.append(found)
        queue += [getattr(found, "reason", None), found.__cause__, found.__context__, *found.args]
    for found in reversed(seen):
        if isinstance(found, OSError) and not isinstance(found, requests.RequestException):
            if isinstance(found, TimeoutError) and not found.strerror:
                return "timed out"
            return explain(found)
    innermost = seen[-1]
    if isinstance(innermost, BadStatusLine):
        return f"what came is not HTTP: {str(innermost).strip()[:_SNIPPET]!r}"
    text = " ".join(str(innermost).partition(" (caused by")[0].split())
    return f"{text[:200] or type(innermost).__name__}"
