"""Numbers from any HTTP endpoint: what can be configured, what is sent, what is made of the answers, and how
collectors share requests and failures."""

from __future__ import annotations

import gzip
import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from oculus.clock import SECOND
from oculus.collectors.api import Api, ApiSettings
from oculus.collectors.base import CollectError, Context
from oculus.collectors.scheduler import Scheduler
from oculus.config import loads
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Event, Sample
from oculus.supervise import Supervisor, Watchdog
from oculus.vocabulary import vocabulary
from tests.support.certificates import authority, server_context
from tests.support.probes import answer, read_request
from tests.support.servers import HttpServer, TcpServer, free_port, wait_for

HttpServers = Callable[..., HttpServer]
TcpServers = Callable[..., TcpServer]


class Site:
    """An endpoint whose answer a test sets, and which remembers what it was asked."""

    def __init__(self, body: Any = b"42") -> None:
        self.body = body
        self.status = "200 OK"
        self.headers: list[tuple[str, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.split("/")[2]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["body"] = environ["wsgi.input"].read()
        self.asked.append(environ)
        start_response(self.status, self.headers)
        if isinstance(self.body, bytes):
            return [self.body]
        if callable(self.body):
            pieces: Iterable[bytes] = self.body()
            return pieces
        return [json.dumps(self.body).encode()]


@pytest.fixture
def site(http_server: HttpServers) -> Site:
    """An endpoint on loopback; `url` is its address."""
    made = Site()
    made.url = http_server(made).url + "/v1"
    return made


@pytest.fixture
def context() -> Iterator[Context]:
    """What the collectors of one daemon share."""
    made = Context()
    yield made
    made.close()


def spec(settings: dict[str, Any], name: str = "index") -> CollectorSpec:
    """Return an entry of the configuration, read as the daemon reads it."""
    entry = {"type": "api"} | ({"name": name} if name else {}) | settings
    text = json.dumps({"collectors": [entry]}, ensure_ascii=False)
    (made,) = loads(text, "c.yaml", vocabulary(), {}).collectors
    return made


def collector(context: Context, url: Any, name: str = "index", **settings: Any) -> Api:
    """Return a collector of a site or URL."""
    return Api(spec({"url": getattr(url, "url", url)} | settings, name), context)


def collect(api: Api) -> dict[str, float]:
    """Return what a run measures, by symbol."""
    with gevent.Timeout(60, TimeoutError("the run hangs")):
        return {sample.symbol: sample.value for sample in api.collect()}


def failure(api: Api) -> CollectError:
    """Return why a run fails that brings nothing."""
    samples: list[Sample] = []
    with gevent.Timeout(60, TimeoutError("the run hangs")), pytest.raises(CollectError) as caught:
        samples.extend(api.collect())
    assert not samples
    assert "\n" not in str(caught.value)
    return caught.value


# -- what can be configured ---------------------------------------------------------------------------


def mistakes(**settings: Any) -> str:
    """Return what is wrong with an entry."""
    with pytest.raises(ConfigError) as caught:
        spec({"url": "https://api.test/v1"} | settings)
    (told,) = caught.value.mistakes
    return told.removeprefix("c.yaml:1: collectors[0]")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "api.test"}, ".url: 'api.test' is not a URL"),
        ({"url": "ftp://api.test"}, ".url: 'ftp://api.test' is not a URL"),
        ({"url": "https://me:secret@api.test"},
         ".url: the URL holds a user name or password (give them as auth: {user: …, password: …})"),
        ({"url": "https://api.test/a b"}, "holds a space or control character (write it as %20)"),
        ({"json_path": "data.value"}, ": 'data.value' is not a JSONPath (it begins with $"),
        ({"json_path": "$.a["}, ": '$.a[' is not a JSONPath: unexpected end of query, at its end"),
        ({"values": {"Bid": "$.b"}}, ".values: 'Bid' cannot be part of a symbol"),
        ({"values": {"b": "$.["}}, "is not a JSONPath"),
        ({"json_path": "$.a", "values": {"b": "$.b"}}, ": has json_path and values (keep one of them)"),
        ({"json_path": "$.a", "regex": "(a)"}, ": regex beside json_path makes no sense"),
        ({"json_path": "$.a", "column": "b"}, ": column beside json_path makes no sense"),
        ({"json_path": "$.a", "label": "$.b"}, ": label needs a list"),
        ({"column": "a", "list": "$.b"}, ": column beside list makes no sense"),
        ({"column": "a", "label": "b", "row": "first"}, ": has label, which takes every row, and row"),
        ({"column": "a", "delimiter": "::"}, ".delimiter: '::' is not one character (such as ; or tab)"),
        ({"column": "a", "header": "false"}, ": 'a' is no column (a number from 1"),
        ({"regex": "(a"}, ": '(a' is not a regular expression"),
        ({"regex": "a"}, ": 'a' has no group (one around the number"),
        ({"time": "$.t"}, ": time with format number makes no sense"),
        ({"row": "last"}, ": row with format number makes no sense"),
        ({"format": "json"}, ": format json needs json_path or values"),
        ({"format": "csv"}, ": format csv needs column or values"),
        ({"format": "text"}, ": format text needs a regex (or format: number)"),
        ({"format": "number", "json_path": "$.a"}, ": json_path with format number makes no sense"),
        ({"format": "xml"}, ".format: is 'xml' (one of: , json, csv, number, text)"),
        ({"scale": "0"}, ".scale: 0 would make every number 0"),
        ({"symbol": "Gold Price"}, ".symbol: 'Gold Price' is not a symbol"),
        ({"max_body": "60MB"}, ".max_body: 60MB is out of range (1KB to 50MB)"),
        ({"method": "get"}, ".method: is 'get' (one of: , GET, POST, PUT, PATCH)"),
        ({"method": "GET", "body": "x"}, ": a GET has no body (leave method out, or use POST)"),
        ({"headers": {"X Y": "1"}}, ".headers: 'X Y' is not the name of a header"),
        ({"headers": {"X-Key": "a\r\nb"}}, ".headers: the header X-Key holds what a header cannot"),
        ({"headers": {"X-Key": "ключ"}}, ".headers: the header X-Key holds what a header cannot"),
        ({"headers": {"Content-Length": "5"}}, ".headers: Content-Length is a header that the request sets"),
        ({"auth": {"user": "a:b"}}, ".auth: the user name holds a colon"),
        ({"auth": {"user": "a"}, "bearer": "b"}, ": has more than one of auth, bearer"),
        ({"bearer": "b", "headers": {"authorization": "x"}}, ": has more than one of auth, bearer"),
        ({"proxy": "proxy:3128"}, ".proxy: *** is not the URL of a proxy"),
        ({"rate": "fast"}, ".rate: 'fast' is not a rate"),
        ({"tls": {"ca_file": "/no/such.pem"}}, ".tls.ca_file: there is no file '/no/such.pem'"),
        ({"jsonpath": "$.a"}, '.jsonpath: unknown key (did you mean "json_path"?)'),
    ],
)  # fmt: skip
def test_mistakes_are_told_when_the_configuration_is_read(settings: dict[str, Any], told: str) -> None:
    """Each says what is wrong and what would be right."""
    assert told in mistakes(**settings)


def test_the_name_is_needed_or_made_of_the_symbol() -> None:
    """Without both there would be no symbol."""
    with pytest.raises(ConfigError, match="name: is missing"):
        spec({"url": "https://api.test"}, "")
    assert spec({"url": "https://api.test", "symbol": "market.gold"}, "").name == "market_gold"


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        ({}, "number"),
        ({"json_path": "$.a"}, "json"),
        ({"values": {"a": "$.a"}}, "json"),
        ({"list": "$.a"}, "json"),
        ({"column": "a"}, "csv"),
        ({"format": "csv", "values": {"a": "Close"}}, "csv"),
        ({"regex": "(a)"}, "text"),
    ],
)
def test_the_format_is_told_by_the_other_settings(settings: dict[str, Any], form: str) -> None:
    """It needs to be given only where that is not clear."""
    made = spec({"url": "https://api.test"} | settings).settings
    assert isinstance(made, ApiSettings)
    assert made.told_format == form


def test_secrets_are_not_printed() -> None:
    """What authenticates stays out of the settings' text."""
    made = spec(
        {"url": "https://api.test", "bearer": "s3cr3t", "headers": {"X-Key": "s3cr3t"}, "body": "s3cr3t"}
    )
    assert "s3cr3t" not in repr(made)
    assert "s3cr3t" not in repr(
        spec({"url": "https://api.test", "auth": {"user": "u", "password": "s3cr3t"}})
    )


# -- what is sent -------------------------------------------------------------------------------------


def test_a_plain_request(site: Site, context: Context) -> None:
    """GET, with a name that tells who asks."""
    assert collect(collector(context, site)) == {"custom.index": 42.0}
    (asked,) = site.asked
    assert (asked["REQUEST_METHOD"], asked["PATH_INFO"]) == ("GET", "/v1")
    assert "Oculus" in asked["HTTP_USER_AGENT"]


def test_headers_body_and_keys_are_sent(site: Site, context: Context) -> None:
    """A body makes it a POST, with the type that it looks like; auth and bearer become their header."""
    collect(collector(context, site, "a", body='{"q": "é"}', headers={"X-Key": "k", "accept": "x/y"}))
    collect(collector(context, site, "b", body="plain", method="PUT", bearer="token"))
    collect(collector(context, site, "c", auth={"user": "ué", "password": "p:w"}))
    collect(collector(context, site, "d", body="<a/>", headers={"Content-Type": "text/xml"}))
    first, second, third, fourth = site.asked
    assert (first["REQUEST_METHOD"], first["CONTENT_TYPE"]) == ("POST", "application/json")
    assert first["body"] == '{"q": "é"}'.encode()
    assert (first["HTTP_X_KEY"], first["HTTP_ACCEPT"]) == ("k", "x/y")
    assert (second["REQUEST_METHOD"], second["HTTP_AUTHORIZATION"]) == ("PUT", "Bearer token")
    assert second["CONTENT_TYPE"].startswith("text/plain")
    assert third["HTTP_AUTHORIZATION"] == "Basic dcOpOnA6dw=="
    assert fourth["CONTENT_TYPE"] == "text/xml"


def test_requests_go_through_a_proxy(site: Site, context: Context) -> None:
    """The proxy is asked for hosts that only it knows."""
    proxy = site.url.removesuffix("/v1")
    api = collector(context, "http://no.such.host.invalid/v2", proxy=proxy)
    assert collect(api) == {"custom.index": 42.0}
    assert site.asked[0]["HTTP_HOST"] == "no.such.host.invalid"


# -- what is made of the answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "settings", "expected"),
    [
        (b"42.5\n", {}, {"custom.index": 42.5}),
        ({"data": {"value": "1.5"}}, {"json_path": "$.data.value"}, {"custom.index": 1.5}),
        ({"b": 1, "a": 2}, {"values": {"bid": "$.b", "ask": "$.a"}},
         {"custom.index.bid": 1.0, "custom.index.ask": 2.0}),
        ({"d": [{"s": "X", "p": 1}, {"s": "Y", "p": 2}]},
         {"list": "$.d", "label": "$.s", "json_path": "$.p"}, {"custom.index.x": 1.0, "custom.index.y": 2.0}),
        ({"rates": {"EUR": 0.9}}, {"list": "$.rates"}, {"custom.index.eur": 0.9}),
        (b"d,c\n1,2\n3,4\n", {"column": "c"}, {"custom.index": 4.0}),
        (b"d\tc\n1\t2\n", {"column": "c", "delimiter": "tab"}, {"custom.index": 2.0}),
        (b"<b>97,412.50</b>", {"regex": "<b>([\\d.,]+)</b>"}, {"custom.index": 97412.5}),
        (b"1", {"symbol": "market.gold"}, {"market.gold": 1.0}),
        (b"1230", {"scale": "0.01"}, {"custom.index": 12.3}),
        (b"3", {"scale": "0.1"}, {"custom.index": 0.3}),
        (b"97,412", {"decimal": ","}, {"custom.index": 97.412}),
        ({"up": True}, {"json_path": "$.up"}, {"custom.index": 1.0}),
    ],
)  # fmt: skip
def test_numbers_become_series(
    body: Any, settings: dict[str, Any], expected: dict[str, float], site: Site, context: Context
) -> None:
    """Every format, with names, scale and symbol as configured."""
    site.body = body
    assert collect(collector(context, site, **settings)) == expected


def test_samples_tell_their_source_and_unit(site: Site, context: Context) -> None:
    """The source is the host; the unit is the user's."""
    api = collector(context, site, unit="USD/oz", tags={"metal": "gold"})
    host = site.host
    assert api.tags == {"source": host, "unit": "USD/oz", "metal": "gold"}


def test_compressed_answers_are_read(site: Site, context: Context) -> None:
    """Gzip is asked for and understood."""
    site.body = gzip.compress(b'{"v": 7}')
    site.headers = [("Content-Encoding", "gzip")]
    assert collect(collector(context, site, json_path="$.v")) == {"custom.index": 7.0}


def test_redirects_on_the_host_are_followed(site: Site, context: Context) -> None:
    """As a browser would."""
    site.status, site.headers = "302 Found", [("Location", "/v1/")]

    def moved() -> Iterator[bytes]:
        site.status, site.headers = "200 OK", []
        yield b""
        site.body = b"8"

    site.body = moved
    assert collect(collector(context, site)) == {"custom.index": 8.0}


def test_what_is_unchanged_is_not_sent_again(site: Site, context: Context) -> None:
    """The validator of an answer goes with the next request, and only to who got that answer."""
    site.headers = [("ETag", '"1"')]
    api = collector(context, site, interval="100ms", headers={"X-User": "1"})
    assert collect(api) == {"custom.index": 42.0}
    gevent.sleep(0.1)
    site.status, site.body = "304 Not Modified", b""
    assert collect(api) == {"custom.index": 42.0}
    assert site.asked[1]["HTTP_IF_NONE_MATCH"] == '"1"'
    site.status, site.body = "200 OK", b"43"
    other = collector(context, site, "other", interval="100ms", headers={"X-User": "2"})
    assert collect(other) == {"custom.other": 43.0}
    assert "HTTP_IF_NONE_MATCH" not in site.asked[2]


# -- numbers with a time of their own -----------------------------------------------------------------


def test_a_number_keeps_its_own_time(site: Site, context: Context) -> None:
    """With `time` the samples are quotes; without it they are stamped by the run."""
    site.body = {"p": 1.5, "t": 1_700_000_000}
    api = collector(context, site, json_path="$.p", time="$.t")
    (sample,) = api.collect()
    assert (sample.value, sample.ts, api.quotes) == (1.5, 1_700_000_000 * SECOND, True)
    plain = collector(context, site, "plain", json_path="$.p")
    (sample,) = plain.collect()
    assert (sample.ts, plain.quotes) == (None, False)


def test_a_quote_that_is_seen_again_is_not_stored_again(site: Site, context: Context) -> None:
    """The scheduler passes a number on once for each time that the source gives it."""
    site.body = {"p": 1.5, "t": 1_700_000_000}
    stored: list[Sample] = []
    supervisor = Supervisor(lambda name, error: None)
    scheduler = Scheduler(supervisor, stored.extend, lambda event: None)
    scheduler.start(collector(context, site, json_path="$.p", time="$.t", interval="100ms"))
    wait_for(lambda: len(site.asked) > 3)
    site.body = {"p": 1.5, "t": 1_700_000_060}
    wait_for(lambda: len(stored) > 1)
    scheduler.stop()
    assert [sample.ts for sample in stored] == [1_700_000_000 * SECOND, 1_700_000_060 * SECOND]


# -- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "settings", "told"),
    [
        ("500 Oops", b"<h1>down</h1>", {}, "{host}, for custom.index: status 500: down"),
        ("404 Not Found", b"", {}, "{host}, for custom.index: status 404: (empty)"),
        ("200 OK", b"<html>hello</html>", {"json_path": "$.v"},
         "{host}, for custom.index: the answer is not JSON: hello"),
        ("200 OK", b'{"v": NaN}', {"json_path": "$.v"},
         '{host}, for custom.index: the answer is not JSON: {"v": NaN}'),
        ("200 OK", b'{"v": 1', {"json_path": "$.v"},
         '{host}, for custom.index: the answer is not JSON: {"v": 1'),
        ("200 OK", {"error": "bad key"}, {"json_path": "$.v"},
         'custom.index: nothing at $.v'),
        ("200 OK", {"v": None}, {"json_path": "$.v"},
         'custom.index: $.v is null, which is no number'),
        ("200 OK", {"v": "N/D"}, {"json_path": "$.v"},
         "custom.index: $.v is 'N/D', which is no number"),
        ("200 OK", {"v": "97,412"}, {"json_path": "$.v"},
         "custom.index: $.v is '97,412', which may be 97412 or 97.412 (set decimal to . or ,)"),
        ("200 OK", b"<html>hello</html>", {},
         "custom.index: the answer is '<html>hello</html>', which is no number"),
        ("200 OK", b"<html>hello</html>", {"regex": "(\\d+)"},
         "custom.index: the regular expression matches nothing; the answer is hello"),
        ("200 OK", b"<html>hello</html>", {"column": "Close"},
         "custom.index: no column 'Close' (the first row is '<html>hello</html>')"),
        ("200 OK", b"5" * 1_000_001, {}, "{host}, for custom.index: a body of more than 1 MB"),
        ("200 OK", b"1e300", {"scale": "1e300"}, "custom.index: the symbol or the number is too long"),
    ],
)  # fmt: skip
def test_bad_answers_are_told(
    status: str, body: Any, settings: dict[str, Any], told: str, site: Site, context: Context
) -> None:
    """Nothing is stored, and the reason comes with what the answer says."""
    site.status, site.body = status, body
    error = failure(collector(context, site, **settings))
    # What was not found is in the answer, so its beginning is shown.
    expected = told + (f"; the answer is {json.dumps(body)}" if isinstance(body, dict) else "")
    assert str(error) == expected.replace("{host}", site.host)
    assert not error.told


def test_good_numbers_are_kept_beside_bad_ones(site: Site, context: Context) -> None:
    """One error tells the first fault, and how many there are."""
    site.body = {"a": 1, "b": None, "c": "x"}
    api = collector(context, site, values={"a": "$.a", "b": "$.b", "c": "$.c"})
    running = iter(api.collect())
    assert next(running).symbol == "custom.index.a"
    with pytest.raises(CollectError) as caught:
        next(running)
    assert str(caught.value) == "custom.index.b: $.b is null, which is no number (and 1 more)"


def test_a_label_that_is_too_long_is_a_fault(site: Site, context: Context) -> None:
    """It would be no symbol."""
    site.body = {"x" * 300: 1}
    assert "is too long" in str(failure(collector(context, site, list="$")))


def test_a_body_of_50_mb_is_not_taken(site: Site, context: Context) -> None:
    """It is refused once it is longer than allowed, whether or not its length is told."""
    chunk = b"x" * 65_536
    site.body = lambda: iter([chunk] * 800)
    started = time.monotonic()
    assert "a body of more than 1 MB" in str(failure(collector(context, site)))
    site.headers = [("Content-Length", str(52_428_800))]
    assert "a body of more than 1 MB" in str(failure(collector(context, site, "other", max_body="1001KB")))
    assert time.monotonic() - started < 5.0


def test_a_gzip_bomb_is_not_unpacked(site: Site, context: Context) -> None:
    """The bound counts what comes out."""
    site.body = gzip.compress(bytes(100_000_000), 1)
    site.headers = [("Content-Encoding", "gzip")]
    assert "a body of more than 1 MB" in str(failure(collector(context, site)))


def test_a_body_that_drips_is_given_up(tcp_server: TcpServers, context: Context) -> None:
    """The time limit is for all of the answer."""

    def drip(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            sock.sendall(b"1")
            gevent.sleep(0.05)

    api = collector(context, f"http://127.0.0.1:{tcp_server(drip).port}/", timeout="500ms")
    assert str(failure(api)).endswith("no whole answer within 0.5 s")


@pytest.mark.parametrize(
    "raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n5", b"\x00" * 500]
)
def test_what_is_not_http_is_told(raw: bytes, tcp_server: TcpServers, context: Context) -> None:
    """No answer, no HTTP, or half of it: a reason, and no number."""
    api = collector(context, f"http://127.0.0.1:{tcp_server(answer(raw)).port}/")
    assert len(str(failure(api))) < 500


def test_nobody_listens(context: Context) -> None:
    """The reason is the operating system's."""
    port = free_port()
    error = failure(collector(context, f"http://127.0.0.1:{port}/"))
    assert str(error) == f"127.0.0.1:{port}, for custom.index: connection refused"


def test_a_redirect_to_another_host_is_not_followed(site: Site, context: Context) -> None:
    """Keys would go there."""
    site.status, site.headers = "302 Found", [("Location", "http://elsewhere.test/")]
    assert "redirected to another host, 'elsewhere.test'" in str(failure(collector(context, site)))


def test_certificates_are_judged(http_server: HttpServers, tmp_path: Path, context: Context) -> None:
    """An unknown authority is refused, one that is named is trusted, and nothing is judged on demand."""
    made, path = authority(tmp_path)
    server = http_server(Site(), context=server_context(made.issue_cert("127.0.0.1")))
    error = failure(collector(context, server, "a"))
    assert "certificate" in str(error)
    assert collect(collector(context, server, "b", tls={"ca_file": path})) == {"custom.b": 42.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert collect(collector(context, server, "c", tls={"verify": "false"})) == {"custom.c": 42.0}


SECRET = "s3cr3t-0123456789"


@pytest.mark.parametrize(
    ("settings", "query"),
    [
        ({"bearer": SECRET}, ""),
        ({"auth": {"user": "u", "password": SECRET}}, ""),
        ({"headers": {"X-Api-Key": SECRET}}, ""),
        ({"headers": {"Authorization": f"Token {SECRET}"}}, ""),
        ({"headers": {"Cookie": SECRET}}, ""),
        ({}, f"?apikey={SECRET}"),
        ({}, "?access_token=s3cr3t%2D0123456789"),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "429 Too Many Requests"])
def test_no_message_shows_a_secret(
    settings: dict[str, Any], query: str, status: str, site: Site, context: Context
) -> None:
    """Services repeat keys in their errors; messages do not."""
    site.status = status
    site.body = {"error": f"the key {SECRET} is unknown"}
    address = site.url + query
    error = failure(collector(context, address, json_path="$.v", **settings))
    assert "s3cr3t" not in str(error)
    assert "the key *** is unknown" in str(error)


def test_a_secret_is_not_logged_by_a_library(
    tcp_server: TcpServers, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that breaks is tried once more, without a word."""
    failure(collector(context, f"http://127.0.0.1:{tcp_server(answer(b'')).port}/?key={SECRET}"))
    assert not caplog.records


def test_a_secret_is_not_shown_when_nobody_answers(context: Context) -> None:
    """Libraries put the whole URL into their errors."""
    for url in (
        f"http://127.0.0.1:{free_port()}/{SECRET}?key={SECRET}",
        f"http://nowhere.invalid/?key={SECRET}",
    ):
        assert SECRET not in str(failure(collector(context, url, timeout="5s")))


# -- politeness ---------------------------------------------------------------------------------------


def test_collectors_that_want_the_same_share_a_request(site: Site, context: Context) -> None:
    """Each takes its own number out of one answer; other headers or another interval are another request."""
    site.body = {"a": 1, "b": 2, "c": 3}
    same = [collector(context, site, name, json_path=f"$.{name}", interval="1s") for name in "abc"]
    assert len({api.group for api in same}) == 1
    found = [greenlet.get() for greenlet in [gevent.spawn(collect, api) for api in same]]
    assert found == [{"custom.a": 1.0}, {"custom.b": 2.0}, {"custom.c": 3.0}]
    assert len(site.asked) == 1
    assert collect(same[0]) == {"custom.a": 1.0}  # a moment later is still the same moment
    assert len(site.asked) == 1
    others = [
        collector(context, site, "d", json_path="$.a", interval="2s"),
        collector(context, site, "e", json_path="$.a", interval="1s", headers={"X": "1"}),
        collector(context, site, "f", json_path="$.a", interval="1s", body="x"),
    ]
    for api in others:
        collect(api)
    assert len(site.asked) == 4
    assert len({api.group for api in (*same, *others)}) == 4
    gevent.sleep(0.6)
    collect(same[1])
    assert len(site.asked) == 5


def test_who_asks_first_may_be_ended(site: Site, context: Context) -> None:
    """The others have their answer all the same."""

    def slow() -> Iterator[bytes]:
        gevent.sleep(0.2)
        yield b"42"

    site.body = slow
    first, second = collector(context, site, "a"), collector(context, site, "b")
    asking = gevent.spawn(collect, first)
    gevent.sleep(0.05)
    waiting = gevent.spawn(collect, second)
    gevent.sleep(0)
    asking.kill()
    assert waiting.get() == {"custom.b": 42.0}
    assert len(site.asked) == 1


def test_a_failure_of_several_is_told_once(site: Site, context: Context) -> None:
    """One event when it fails, naming the series, and one when it works again."""
    site.status, site.body = "503 Down", b"maintenance"
    events: list[Event] = []
    supervisor = Supervisor(lambda name, error: None)
    scheduler = Scheduler(supervisor, lambda samples: None, events.append)
    apis = [collector(context, site, name, interval="100ms") for name in "abcd"]
    for api in apis:
        # As after a failure of long ago: the pauses of a real one begin with five seconds.
        api._shared._backoff.fail = lambda: 0.05  # type: ignore[method-assign]
        scheduler.start(api)
    wait_for(lambda: len(site.asked) >= 4)
    assert all(job.failing for job in scheduler.jobs)
    site.status, site.body = "200 OK", b"1"
    wait_for(lambda: not any(job.failing for job in scheduler.jobs))
    gevent.sleep(0.2)
    scheduler.stop()
    failed, works = events
    assert "for custom.a, custom.b, custom.c and 1 more: status 503: maintenance" in failed.message
    assert "works again" in works.message


def test_another_tells_when_the_teller_leaves(site: Site, context: Context) -> None:
    """A failure that goes on is not forgotten by a reload."""
    site.status = "500 Down"
    first, second = (collector(context, site, name, interval="100ms") for name in "ab")
    assert [failure(first).told, failure(second).told] == [False, True]
    first.close()
    error = failure(second)
    assert not error.told
    gevent.sleep(0.1)
    assert ", for custom.b: " in str(failure(second))


def test_pauses_grow_while_it_fails(site: Site, context: Context) -> None:
    """From five seconds, doubling with jitter, to ten intervals; a success ends that."""
    site.status = "500 Down"
    api = collector(context, site, interval="4s")
    pauses = []
    for _ in range(6):
        pauses.append(failure(api).retry_in or 0.0)
        api._shared._round = None  # the next moment
    assert 5.0 <= pauses[0] <= 7.5
    assert 10.0 <= pauses[1] <= 12.5
    assert pauses[5] == 40.0
    site.status = "200 OK"
    assert collect(api) == {"custom.index": 42.0}
    site.status = "500 Down"
    api._shared._round = None
    assert 5.0 <= (failure(api).retry_in or 0.0) <= 7.5


def test_a_host_that_wants_silence_gets_it(site: Site, context: Context) -> None:
    """Retry-After is obeyed, by all collectors of that host."""
    site.status, site.headers = "429 Too Many Requests", [("Retry-After", "30")]
    error = failure(collector(context, site, "a"))
    assert error.retry_in == 30.0
    other = failure(collector(context, site, "b", headers={"X": "1"}))
    assert 29.0 < (other.retry_in or 0.0) <= 30.0
    assert len(site.asked) == 1


# -- the hub ------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_long_answers_do_not_hold_the_hub(site: Site, context: Context) -> None:
    """Ten megabytes of JSON are parsed and searched while other greenlets run."""
    rows = ",".join(
        f'{{"name":"n{number}","value":{number},"more":"abcdefghijkl"}}' for number in range(180_000)
    )
    site.body = f'{{"rows":[{rows}]}}'.encode()
    api = collector(
        context, site, json_path="$.rows[?@.name == 'n179999'].value", max_body="50MB", timeout="30s"
    )
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    assert collect(api) == {"custom.index": 179_999.0}
    watching.kill()
    assert watchdog.quantile(0.5) < 0.05
    assert sum(watchdog.counts) >= 10
