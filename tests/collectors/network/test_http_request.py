"""What the HTTP probe sends: methods, bodies, credentials, redirects and proxies, as real servers see it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from oculus.collectors.network.http import HttpSettings
from oculus.collectors.network.http_request import AuthSettings
from oculus.collectors.network.tls import TlsSettings
from oculus.model import Sample
from tests.support import probes
from tests.support.certificates import authority, server_context
from tests.support.configs import mistakes_of, settings_of
from tests.support.probes import answer, failure, ok
from tests.support.proxy import Proxy
from tests.support.servers import HttpServer, TcpServer, free_port

TcpServers = Callable[..., TcpServer]
HttpServers = Callable[..., HttpServer]


class Site:
    """Answers 200, or as `places` say: path → status and Location; notes what it is asked for."""

    def __init__(self, places: dict[str, tuple[int, str]] | None = None) -> None:
        self.places = places or {}
        self.asked: list[dict[str, str]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        seen = {key[5:].lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read().decode()
        kind = environ.get("CONTENT_TYPE", "")
        self.asked.append(
            seen | {"method": environ["REQUEST_METHOD"], "path": path, "body": body, "kind": kind}
        )
        status, location = self.places.get(path, (200, ""))
        start(f"{status} So", [("Location", location)] if location else [("Content-Type", "text/plain")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"here"]


def fetch(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe a URL once."""
    return probes.run(probes.probe("http", target, **settings))


def asked(http_server: HttpServers, **settings: Any) -> dict[str, str]:
    """Return what a server is asked for under these settings; the answer must be fine."""
    site = Site()
    assert fetch(http_server(site).url, **settings)["up"].value == 1.0
    (request,) = site.asked
    return request


def basic(text: str) -> str:
    """Return the header that RFC 7617 makes of `user:password`."""
    return "Basic " + base64.b64encode(text.encode()).decode()


# -- methods, bodies and headers ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_the_method_is_sent(http_server: HttpServers, method: str) -> None:
    """Any method but CONNECT; what should have a body says that it is empty."""
    request = asked(http_server, method=method)
    assert (request["method"], request["body"]) == (method, "")


def test_the_answer_to_a_head_has_no_body(tcp_server: TcpServers) -> None:
    """Its Content-Length tells of a body that does not come."""
    server = tcp_server(answer(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", hold=True))
    assert fetch(f"http://127.0.0.1:{server.port}/", method="HEAD", timeout=2.0)["up"].value == 1.0


@pytest.mark.parametrize(
    ("body", "kind"),
    [('{"q": "ü"}', "application/json"), ("q=1", "text/plain; charset=utf-8"), ("[" * 5000, "text/plain")],
)
def test_a_body_is_posted_with_its_type(http_server: HttpServers, body: str, kind: str) -> None:
    """A body makes it a POST, and JSON is told as such; both can be told otherwise."""
    request = asked(http_server, body=body)
    assert request["method"] == "POST"
    assert request["body"] == body
    assert request["kind"].startswith(kind)
    request = asked(http_server, body=body, method="PUT", headers={"content-type": "text/x"})
    assert (request["method"], request["kind"]) == ("PUT", "text/x")


def test_headers_are_sent_and_go_before_ours(http_server: HttpServers) -> None:
    """Host, User-Agent and the rest can be replaced, and stand there once."""
    request = asked(http_server)
    assert request["user_agent"].startswith("Oculus/")
    assert (request["accept"], request["accept_encoding"]) == ("*/*", "identity")
    headers = {"host": "shop.example", "User-agent": "me", "ACCEPT": "text/x", "X-Key": "ü"}
    request = asked(http_server, headers=headers)
    assert request["host"] == "shop.example"
    assert (request["user_agent"], request["accept"], request["x_key"]) == ("me", "text/x", "ü")


# -- credentials ----------------------------------------------------------------------------------------


def test_basic_and_bearer_authentication_are_sent(http_server: HttpServers) -> None:
    """User and password by RFC 7617, a token by RFC 6750."""
    request = asked(http_server, auth=AuthSettings(user="ada", password="pä:ß"))
    assert request["authorization"] == basic("ada:pä:ß")
    assert asked(http_server, bearer="abc.def")["authorization"] == "Bearer abc.def"
    assert "authorization" not in asked(http_server)


def test_credentials_in_the_url_are_sent_and_shown_nowhere(http_server: HttpServers) -> None:
    """They are basic authentication, with their escapes undone; tags, names and messages leave them out."""
    site = Site()
    port = http_server(site).port
    url = f"http://ada:p%40ss@127.0.0.1:{port}/x"
    collector = probes.probe("http", url)
    assert probes.run(collector)["up"].value == 1.0
    assert site.asked[0]["authorization"] == basic("ada:p@ss")
    assert site.asked[0]["host"] == f"127.0.0.1:{port}"
    assert collector.tags["target"] == f"http://127.0.0.1:{port}/x"
    assert HttpSettings(target=url).default_name() == f"http_127_0_0_1_{port}_x"
    collector = probes.probe("http", f"http://ada:secret@127.0.0.1:{free_port()}/")
    assert "secret" not in str(list(collector.collect()))


# -- redirects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"),
        (301, "PUT", "PUT"), (302, "HEAD", "HEAD"), (303, "HEAD", "HEAD"),
        (307, "POST", "POST"), (308, "POST", "POST"), (308, "PUT", "PUT"),
    ],
)  # fmt: skip
def test_redirects_keep_the_method_or_not(
    http_server: HttpServers, status: int, method: str, then: str
) -> None:
    """As RFC 9110 has it: 303 asks by GET, 307 and 308 repeat the request, 301 and 302 turn POST to GET."""
    site = Site({"/": (status, "/b")})
    body = "data" if method in ("POST", "PUT") else ""
    assert fetch(http_server(site).url, method=method, body=body, bearer="t")["up"].value == 1.0
    second = site.asked[1]
    assert (second["path"], second["method"]) == ("/b", then)
    kept = bool(body) and then == method
    assert (second["body"], bool(second["kind"])) == (body if kept else "", kept)
    assert second["authorization"] == "Bearer t"


@pytest.mark.parametrize("credentials", ["url", "auth", "bearer", "header"])
def test_credentials_never_go_to_another_host(http_server: HttpServers, credentials: str) -> None:
    """Neither another name nor another port is the same server; what tells nothing of us goes along."""
    elsewhere = Site()
    there = http_server(elsewhere)
    here = Site({"/": (302, f"http://eve:x@localhost:{there.port}/a"), "/port": (302, there.url)})
    port = http_server(here).port
    user = "ada:secret@" if credentials == "url" else ""
    given: dict[str, dict[str, Any]] = {
        "auth": {"auth": AuthSettings(user="ada", password="secret")}, "bearer": {"bearer": "secret"},
    }  # fmt: skip
    settings = given.get(credentials, {})
    headers = {"Cookie": "secret", "X-Api-Key": "secret", "Accept": "text/x", "Host": "shop.example"}
    headers |= {"Authorization": "secret"} if credentials == "header" else {}
    for path in ("/", "/port"):
        samples = fetch(f"http://{user}127.0.0.1:{port}{path}", headers=headers, **settings)
        assert samples["up"].value == 1.0
    assert all(request["authorization"] for request in here.asked)
    for request in elsewhere.asked:
        assert "authorization" not in request
        assert "secret" not in str(request)
        assert request["accept"] == "text/x"
        assert request["host"].endswith(f":{there.port}")
    assert len(elsewhere.asked) == 2


def test_a_place_in_utf8_is_found(tcp_server: TcpServers) -> None:
    """Some servers send the signs themselves instead of escapes."""
    seen: list[bytes] = []

    def second(sock: Any) -> None:
        seen.append(probes.read_request(sock))
        sock.sendall(ok())

    first = answer(ok(status="302 Found", headers=["Location: /grün"]))
    port = tcp_server(probes.in_turn(first, second)).port
    assert fetch(f"http://127.0.0.1:{port}/")["up"].value == 1.0
    assert seen[0].startswith(b"GET /gr%C3%BCn HTTP/1.1\r\n")


def test_a_change_of_the_place_is_followed(tcp_server: TcpServers) -> None:
    """What is remembered of a redirect is not taken for another one."""
    seen: list[bytes] = []

    def serve(sock: Any) -> None:
        seen.append(probes.read_request(sock).split(b" ")[1])
        count = len(seen)
        status = "302 Found" if count % 2 else "200 OK"
        sock.sendall(ok(status=status, headers=[f"Location: /{count}"]))

    collector = probes.probe("http", f"http://127.0.0.1:{tcp_server(serve).port}/")
    for _ in range(3):
        assert probes.run(collector)["up"].value == 1.0
    assert seen == [b"/", b"/1", b"/", b"/3", b"/", b"/5"]


# -- proxies --------------------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterable[Callable[..., Proxy]]:
    """Start proxies on loopback."""
    running: list[Proxy] = []

    def start(to: int = 0) -> Proxy:
        running.append(Proxy(to))
        return running[-1]

    yield start
    for server in running:
        server.stop()


def test_plain_http_goes_through_a_proxy(http_server: HttpServers, proxy: Callable[..., Proxy]) -> None:
    """The proxy is asked for the whole URL, and finds the host's address; dns and connect are the proxy's."""
    site = Site()
    through = proxy(http_server(site).port)
    samples = fetch("http://shop.invalid/x?y=1", proxy=through.url)
    assert samples["up"].value == 1.0
    assert through.asked == ["GET http://shop.invalid/x?y=1 HTTP/1.1"]
    assert site.asked[0]["host"] == "shop.invalid"


def test_tls_goes_through_a_tunnel(
    http_server: HttpServers, proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    """The proxy is asked to connect; the certificate is the target's, and so are path and credentials."""
    ca, path = authority(tmp_path)
    site = Site()
    server = http_server(site, context=server_context(ca.issue_cert("shop.invalid")))
    through = proxy(server.port)
    samples = fetch("https://shop.invalid/x", proxy=through.url, bearer="t", tls=TlsSettings(ca_file=path))
    assert samples["up"].value == 1.0
    assert samples["tls"].value > 0.0
    assert samples["cert_days"].value > 0.0
    assert through.asked == ["CONNECT shop.invalid:443 HTTP/1.1"]
    assert (site.asked[0]["path"], site.asked[0]["authorization"]) == ("/x", "Bearer t")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_its_credentials_and_the_target_does_not(tcp_server: TcpServers, scheme: str) -> None:
    """User and password of the proxy's URL are for the proxy alone."""
    heads: list[bytes] = []

    def serve(sock: Any) -> None:
        heads.append(probes.read_request(sock))
        sock.sendall(ok(status="407 Proxy Authentication Required"))

    url = f"http://ada:s%3Acret@127.0.0.1:{tcp_server(serve).port}"
    phase, error = failure(fetch(f"{scheme}://shop.invalid/", proxy=url))
    header = f"\r\nProxy-Authorization: {basic('ada:s:cret')}\r\n".encode()
    assert header in heads[0]
    if scheme == "https":
        assert (phase, error) == ("connect", "the proxy answered CONNECT with status 407")
        assert b"\r\nAuthorization" not in heads[0]
    else:
        assert (phase, error) == ("expect", "status 407, expected 200-299")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"junk\r\n\r\n", "the proxy: the answer is not HTTP"),
        (b"", "the proxy: connection closed before the answer"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "the proxy sent something where the server should speak first"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy answered CONNECT with status 502"),
    ],
)
def test_a_proxy_that_does_not_connect_is_told(tcp_server: TcpServers, reply: bytes, error: str) -> None:
    """It fails in connect, with the proxy named."""
    port = tcp_server(answer(reply)).port
    samples = fetch("https://shop.invalid/", proxy=f"http://127.0.0.1:{port}")
    assert failure(samples) == ("connect", error)


def test_a_name_that_a_proxy_lets_pass_is_told(http_server: HttpServers, proxy: Callable[..., Proxy]) -> None:
    """Nobody looked it up, and TLS cannot ask for it: a reason, not an exception."""
    through = proxy(http_server().port).url
    samples = probes.run(probes.probe("http", "https://.test/", proxy=through))
    assert failure(samples) == ("tls", "'.test' is not a host name")


def test_a_proxy_that_is_down_is_told() -> None:
    """The connection that is refused is that to the proxy."""
    samples = fetch("http://shop.invalid/", proxy=f"http://127.0.0.1:{free_port()}")
    assert failure(samples) == ("connect", "connection refused")
    samples = fetch("http://shop.example/", proxy="http://no-such-proxy.invalid:3128", timeout=25.0)
    assert failure(samples)[0] == "dns"


# -- configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("method: get", "method: 'get' is not a method (such as GET, HEAD or POST)"),
        ("method: CONNECT", "method: 'CONNECT' is not a method"),
        ("{method: GET, body: x}", "a GET has no body (leave method out, or use POST)"),
        ("{method: HEAD, expect: {body: x}}", "the answer to a HEAD has no body of which something can be"),
        ("headers: {'a b': c}", "headers: 'a b' is not the name of a header"),
        ("headers: {a: \"b\\nc\"}", "headers: the header a holds what a header cannot"),
        ("headers: {Content-Length: 5}", "headers: Content-Length is a header that the request sets itself"),
        ("bearer: 'a b'", "bearer: the token holds a space, a line break or another sign"),
        ("auth: {user: 'a:b'}", "auth: the user name holds a colon"),
        ("auth: {password: b}", "auth.user: is missing"),
        ("{auth: {user: a}, bearer: b}", "has auth and bearer (keep one of them)"),
        ("{bearer: b, headers: {authorization: c}}", "has bearer and an Authorization header (keep one of"),
        ("{target: 'http://a:secret@b/', bearer: c}", "has bearer and a user name in the URL (keep one of"),
        ("target: 'http://a:secret@b:x/'", "target: 'http://b:x/' is not a URL: "),
        ("target: 'http://a:secret@b/c d'", "target: 'http://b/c d' holds a space or control character"),
        ("proxy: 'socks5://a:secret@b'", "proxy: 'socks5://b' is not a URL"),
        ("proxy: 'https://a:secret@b'", "proxy: 'https://b' is not the URL of a proxy (such as http://pr"),
        ("tls: {key_file: c.yaml}", "tls: has key_file without cert_file"),
        ("max_body: 100B", "max_body: 100B is out of range"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, mistake: str
) -> None:
    """They are told with their place and without secrets, before anything starts."""
    monkeypatch.chdir(tmp_path)
    given = settings[1:-1] if settings.startswith("{") else settings
    target = "" if "target" in given else "target: 'http://a/', "
    (found,) = mistakes_of(f"collectors:\n- {{type: network, probe: http, {target}{given}}}")
    place, _, told = found.partition("collectors[0]")
    assert place == "c.yaml:2: "
    assert told.lstrip(".: ").startswith(mistake)
    assert "secret" not in found


def test_secrets_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords, tokens, single headers and bodies: none of them need be in the configuration."""
    monkeypatch.chdir(tmp_path)
    for name in ("password", "key"):
        (tmp_path / name).write_text(f"{name} of a file\n")
    (spec,) = settings_of("""\
collectors:
- type: network
  probe: http
  target: http://a/
  auth: {user: ada, password_file: password}
  headers: {Accept: text/x}
  headers_file: {X-Key: key}
  body_file: key
""").collectors
    found = spec.settings
    assert isinstance(found, HttpSettings)
    assert found.auth == AuthSettings(user="ada", password="password of a file")
    assert found.headers == {"Accept": "text/x", "X-Key": "key of a file"}
    assert found.body == "key of a file"
    assert "of a file" not in repr(found)
