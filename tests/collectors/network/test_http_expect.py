"""What can be expected of an HTTP answer, against real servers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.collectors.base import Context
from oculus.collectors.network.http import HttpSettings
from oculus.collectors.network.http_expect import _HUB_SEARCH, ExpectSettings
from oculus.collectors.network.tls import TlsSettings
from oculus.config.decode import decode
from oculus.config.document import Mistakes, parse
from oculus.model import Sample
from oculus.supervise import Watchdog
from tests.support import probes
from tests.support.certificates import authority, in_days, server_context
from tests.support.configs import mistakes_of, settings_of
from tests.support.probes import answer, failure, ok
from tests.support.servers import HttpServer, TcpServer

TcpServers = Callable[..., TcpServer]
HttpServers = Callable[..., HttpServer]


def expecting(**conditions: Any) -> ExpectSettings:
    """Return settings as the file's `expect:` gives them."""
    mistakes = Mistakes()
    found = decode(parse(json.dumps(conditions), "f", mistakes, {}), ExpectSettings, "expect", mistakes)
    assert found is not None, mistakes.errors
    return found


def fetch(
    tcp_server: TcpServers,
    serve: probes.Serve | bytes,
    settings: dict[str, Any] | None = None,
    **conditions: Any,
) -> dict[str, Sample]:
    """Probe a server that answers with these bytes, or does `serve`, under these conditions."""
    port = tcp_server(answer(serve) if isinstance(serve, bytes) else serve).port
    context = Context()
    target = f"http://127.0.0.1:{port}/"
    try:
        return probes.run(
            probes.probe("http", target, context, expect=expecting(**conditions), **(settings or {}))
        )
    finally:
        context.close()


def told(samples: dict[str, Sample]) -> str:
    """Return the reason of a run whose answer was measured and was not as expected."""
    phase, error = failure(samples)
    assert phase == "expect"
    assert {"dns", "connect", "tls", "ttfb", "status"} <= set(samples)
    return error


UP = json.dumps({"status": "up", "queue": {"length": 3.5}, "items": [{"ok": True}, {"ok": True}]}).encode()
PAGE = b"<html><title>Shop</title>\n<body>All systems operational, version 4.12</body></html>"

# -- what holds and what does not -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "conditions"),
    [
        (PAGE, {"body": "operational"}),
        (PAGE, {"body": ["operational", "Shop"], "not_body": ["error", "Fehler"]}),
        ("ein schöner Tag".encode(), {"body": "schön"}),
        (PAGE, {"body_regex": r"version \d+\.\d+", "not_body_regex": "(?i)exception|fatal"}),
        (UP, {"json": "$.status == 'up'"}),
        (UP, {"json": ["$.queue.length < 10", "$.items[0].ok == true", "length($.items) > 1"]}),
        (b"\xef\xbb\xbf" + UP, {"json": "$.status == 'up'"}),
        (UP, {"status": "200,204", "headers": {"x-name": "Oculus"}, "max_time": "10s", "body": "up"}),
        (UP, {"headers": {"X-NAME": "/^Ocu/", "content-length": ""}}),
        (b"", {"not_body": "error"}),
    ],
)
def test_a_target_is_up_when_everything_is_as_expected(
    tcp_server: TcpServers, body: bytes, conditions: dict[str, Any]
) -> None:
    """All conditions hold; nothing but the usual is stored."""
    samples = fetch(tcp_server, ok(body, headers=["X-Name: Oculus 1"]), **conditions)
    assert samples["up"].value == 1.0
    assert set(samples) == {"dns", "connect", "tls", "ttfb", "rtt", "status", "up"}


@pytest.mark.parametrize(
    ("body", "conditions", "reason"),
    [
        (
            PAGE,
            {"body": "up"},
            "'up' is not in the body, which is Shop All systems operational, version 4.12",
        ),
        (b"", {"body": "up"}, "'up' is not in the body, which is (empty)"),
        (PAGE, {"body": ["Shop", "sale"]}, "'sale' is not in the body, which is Shop All"),
        (PAGE, {"not_body": ["x", "Shop"]}, "'Shop' is in the body"),
        (PAGE, {"body_regex": r"version 5\."}, r"the body does not match 'version 5\\.'; it is Shop All"),
        (PAGE, {"not_body_regex": r"4\.\d+"}, r"the body matches '4\\.\\d+'"),
        (UP.replace(b"up", b"down"), {"json": "$.status == 'up'"}, "$.status is 'down', expected == 'up'"),
        (UP, {"json": ["$.queue.length < 10", "$.queue.length < 3"]}, "$.queue.length is 3.5, expected < 3"),
        (UP, {"json": "$.nothing > 0"}, "nothing at $.nothing, expected > 0"),
        (PAGE, {"json": "$.status == 'up'"}, "the body is not JSON, it is Shop All"),
        (b'{"a": NaN}', {"json": "$.a > 0"}, "the body is not JSON, it is {"),
        (b"[" * 60_000, {"json": "$.a > 0"}, "the body is not JSON, it is [[["),
        (b"", {"json": "$.a > 0"}, "the body is not JSON, it is (empty)"),
        (UP, {"headers": {"X-Name": "Argus"}}, "header X-Name is 'Oculus 1', expected 'Argus'"),
        (UP, {"headers": {"X-Name": r"/^\d/"}}, r"header X-Name is 'Oculus 1', expected /^\d/"),
        (UP, {"headers": {"X-Other": "a"}}, "no header X-Other, expected 'a'"),
        (UP, {"cert_days": "> 14"}, "no certificate over plain HTTP, expected cert_days > 14"),
        (UP, {"status": "204", "body": "x"}, "status 200, expected 204"),
        (UP, {"headers": {"A": "b"}, "body": "x", "json": "$.b == 1"}, "no header A, expected 'b'"),
    ],
)
def test_the_first_condition_that_fails_tells_the_value(
    tcp_server: TcpServers, body: bytes, conditions: dict[str, Any], reason: str
) -> None:
    """The target is down with a reason that needs no second look; phases and status are kept, rtt is not."""
    samples = fetch(tcp_server, ok(body, headers=["X-Name: Oculus 1"]), **conditions)
    assert told(samples).startswith(reason)


def test_a_text_is_found_anywhere_in_a_long_body(tcp_server: TcpServers) -> None:
    """Bodies are searched piece by piece, and what lies across two pieces is found as well."""
    size = 3 * _HUB_SEARCH
    assert told(fetch(tcp_server, ok(b"x" * size), body="here")).startswith("'here' is not in the body")
    for at in (0, _HUB_SEARCH - 3, 2 * _HUB_SEARCH, size - 4):
        body = bytearray(b"x" * size)
        body[at : at + 4] = b"here"
        assert fetch(tcp_server, ok(bytes(body)), body="here")["up"].value == 1.0
        assert told(fetch(tcp_server, ok(bytes(body)), not_body="here")) == "'here' is in the body"


def test_any_of_several_headers_of_a_name_will_do(tcp_server: TcpServers) -> None:
    """Servers repeat some headers, such as those of cookies."""
    reply = ok(headers=["Set-Cookie: a=1", "Set-Cookie: b=2; Secure", "set-cookie: c=3"])
    assert fetch(tcp_server, reply, headers={"Set-Cookie": "Secure"})["up"].value == 1.0
    assert told(fetch(tcp_server, reply, headers={"Set-Cookie": "d="})).startswith(
        "header Set-Cookie is 'c=3'"
    )


def test_the_time_of_the_whole_is_limited(tcp_server: TcpServers) -> None:
    """`max_time` is about rtt, transfer included, and is judged when all else is well."""

    def slow(sock: Any) -> None:
        probes.read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        gevent.sleep(0.15)
        sock.sendall(b"k")

    assert fetch(tcp_server, slow, max_time="5s")["up"].value == 1.0
    reason = told(fetch(tcp_server, slow, max_time="100ms", body="ok"))
    assert reason.startswith("took 0.")
    assert reason.endswith(" s, expected at most 0.1 s")


@pytest.mark.parametrize(
    ("days", "condition", "up"), [(20, "> 14", 1.0), (10, "> 14", 0.0), (10, ">= 9.5", 1.0)]
)
def test_days_of_the_certificate_are_compared(
    http_server: HttpServers, tmp_path: Path, days: float, condition: str, up: float
) -> None:
    """A certificate that ends soon is a target that is down, while its days are stored."""
    ca, path = authority(tmp_path)
    server = http_server(context=server_context(ca.issue_cert("127.0.0.1", not_after=in_days(days))))
    collector = probes.probe(
        "http", server.url, expect=expecting(cert_days=condition), tls=TlsSettings(ca_file=path)
    )
    samples = probes.run(collector)
    assert samples["up"].value == up
    assert days - 0.1 < samples["cert_days"].value <= days
    if not up:
        assert told(samples) == f"cert_days is {samples['cert_days'].value}, expected > 14"


# -- framing and packing ------------------------------------------------------------------------------

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_the_body_is_put_together_from_its_chunks(tcp_server: TcpServers, cut: int) -> None:
    """However chunks are cut into packets, their sizes are no part of the body."""
    whole = CHUNKED + b"3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n1\r\n!\r\n0\r\nTrailer: no\r\n\r\n"
    start, rest = whole[: len(CHUNKED)], whole[len(CHUNKED) :]
    pieces = [rest[at : at + cut] for at in range(0, len(rest), cut)]
    serve = answer(start, *pieces, pause=0.001)
    samples = fetch(tcp_server, serve, body_regex="^abc0123456789abcdef!$")
    assert samples["up"].value == 1.0


def test_chunks_beyond_a_buffer_are_put_together(tcp_server: TcpServers) -> None:
    """Nothing is lost or doubled where a chunk spans several reads."""
    body = b"".join(b"%07d " % number for number in range(60_000))
    sizes, at, framed = [1, 70_000, 65_536, 65_535, 3, 200_000, 10**6], 0, b""
    for size in sizes:
        piece = body[at : at + size]
        framed += b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""
        at += size
    samples = fetch(
        tcp_server, CHUNKED + framed + b"0\r\n\r\n", not_body="  ", body=["0000000 0000001", "0059999 "]
    )
    assert samples["up"].value == 1.0


def test_a_body_ends_where_its_length_says(tcp_server: TcpServers) -> None:
    """What a server sends beyond is not looked at."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"
    assert fetch(tcp_server, reply, body="ok", not_body="more")["up"].value == 1.0


def test_a_chunk_without_its_end_is_malformed(tcp_server: TcpServers) -> None:
    """Chunks whose size does not fit are no answer."""
    samples = fetch(tcp_server, CHUNKED + b"2\r\nhello\r\n0\r\n\r\n", body="hello")
    assert failure(samples) == ("transfer", "the body's chunks are malformed")


def packed(body: bytes, coding: str) -> bytes:
    """Return an answer with a packed body."""
    return ok(body, headers=[f"Content-Encoding: {coding}"])


def bare(body: bytes) -> bytes:
    """Return a body packed as some send `deflate`: without zlib's head."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(UP), "gzip"), (gzip.compress(UP), "X-GZIP"), (zlib.compress(UP), "deflate"),
        (bare(UP), "deflate"), (gzip.compress(UP[:9]) + gzip.compress(UP[9:]), "gzip"),
        (gzip.compress(UP) + b"\0\0\0", "gzip"), (UP, "identity"),
        (gzip.compress(UP + b" " * 900_000), "gzip"),
        (gzip.compress(UP[:9]) + gzip.compress(UP[9:] + b" " * 10**6, 0) , "gzip"),
    ],
)  # fmt: skip
def test_a_packed_body_is_unpacked(tcp_server: TcpServers, body: bytes, coding: str) -> None:
    """A server that packs although it was asked not to is understood."""
    assert fetch(tcp_server, packed(body, coding), json="$.status == 'up'", body="queue")["up"].value == 1.0


BOMB = gzip.compress(b"\0" * 10**8)


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (BOMB, "gzip", "a body of more than 10 MB, unpacked"),
        (gzip.compress(b"x") * 1001, "gzip", "a gzip of more than 1000 parts"),
        (b"not packed", "gzip", "the body is not gzip, as its Content-Encoding says"),
        (b"not packed", "deflate", "the body is not deflate, as its Content-Encoding says"),
        (gzip.compress(UP)[:-12], "gzip", "the body is cut short within its gzip"),
        (UP, "br", "Content-Encoding 'br' cannot be unpacked (gzip and deflate can)"),
        (UP, "gzip, gzip", "Content-Encoding 'gzip, gzip' cannot be unpacked"),
    ],
    ids=["bomb", "parts", "no gzip", "no deflate", "cut", "br", "twice"],
)
def test_what_cannot_be_unpacked_is_told(
    tcp_server: TcpServers, body: bytes, coding: str, reason: str
) -> None:
    """Bombs are bounded; that something is not in a body is never said of one that was not read."""
    assert told(fetch(tcp_server, packed(body, coding), not_body="error")).startswith(reason)


def test_a_packed_body_of_which_nothing_is_expected_stays_packed(tcp_server: TcpServers) -> None:
    """Nobody unpacks what nobody reads."""
    assert fetch(tcp_server, packed(BOMB, "gzip"))["up"].value == 1.0


def test_a_packed_transfer_is_not_taken_for_text(tcp_server: TcpServers) -> None:
    """Packing as a Transfer-Encoding, which nobody uses, is told as such."""
    reply = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    assert (
        told(fetch(tcp_server, reply, not_body="y")) == "Transfer-Encoding 'gzip, chunked' cannot be unpacked"
    )


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("iso-8859-1", "latin-1"), ('"windows-1252"', "cp1252"), ("UTF-16", "utf-16"),
     ("Shift_JIS", "shift_jis"), ("utf-8", "utf-8"), ("punycode", "utf-8"), ("nonsense", "utf-8"),
     ("unicode_escape", "utf-8")],
)  # fmt: skip
def test_texts_are_read_in_their_character_set(tcp_server: TcpServers, charset: str, codec: str) -> None:
    """A text is found whatever the page's character set; Python's other codecs are not used."""
    wanted = "機械" if codec == "shift_jis" else "Grün"
    reply = ok(f"<p>{wanted}</p>".encode(codec), headers=[f"Content-Type: text/html; charset={charset}"])
    assert fetch(tcp_server, reply, body=wanted, body_regex=f"<p>{wanted}<")["up"].value == 1.0


# -- cost ---------------------------------------------------------------------------------------------


def test_long_bodies_leave_the_hub_to_the_others(tcp_server: TcpServers) -> None:
    """Megabytes of JSON, a bomb and a pattern without end are dealt with beside the hub, or in steps."""
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    records = json.dumps(
        {"rows": [{"id": number, "ok": True} for number in range(60_000)], "last": 1}
    ).encode()
    assert fetch(tcp_server, ok(records), json=["$.last == 1", "count($.rows[?@.ok == true]) == 60000"],
                 settings={"timeout": 20.0})["up"].value == 1.0  # fmt: skip
    told(fetch(tcp_server, packed(BOMB, "gzip"), body="x"))
    samples = fetch(tcp_server, ok(b"a" * 7000 + b"!"), settings={"timeout": 0.5}, body_regex="(a+)+$")
    assert failure(samples) == ("expect", "timed out after 0.5 s")
    watching.kill()
    assert sum(watchdog.counts) > 0


def test_a_time_limit_ends_the_judging_too(tcp_server: TcpServers) -> None:
    """A search that takes long counts towards the attempt's time, in its own phase."""
    samples = fetch(tcp_server, ok(b"a" * 20_000 + b"!"), settings={"timeout": 0.5}, body_regex="(a+)+$")
    assert failure(samples) == ("expect", "timed out after 0.5 s")
    assert {"dns", "connect", "ttfb"} <= set(samples)


def test_a_bound_on_the_body_can_be_set(tcp_server: TcpServers) -> None:
    """`max_body` is what is read at most, with conditions or without."""
    for conditions in ({}, {"body": "x"}):
        samples = fetch(tcp_server, ok(b"x" * 2001), settings={"max_body": 2000}, **conditions)
        assert failure(samples) == ("transfer", "a body of more than 0.002 MB")
        assert (
            fetch(tcp_server, ok(b"x" * 2000), settings={"max_body": 2000}, **conditions)["up"].value == 1.0
        )


# -- configuration ------------------------------------------------------------------------------------


def test_the_example_of_the_design_works_to_the_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, text, JSON and certificate in one line."""
    monkeypatch.chdir(tmp_path)
    (spec,) = settings_of("""\
collectors:
  - {type: network, probe: http, name: site, target: "https://example.com", interval: 30s, timeout: 5s,
     expect: {status: 200-299, body: "ok", json: "$.status == 'up'", cert_days: "> 14"}}
""").collectors
    assert isinstance(spec.settings, HttpSettings)
    expect = spec.settings.expect
    assert expect.body == ("ok",)
    assert [str(condition) for condition in expect.json] == ["$.status == 'up'"]
    assert str(expect.cert_days) == "> 14"
    assert str(expect.status) == "200-299"


@pytest.mark.parametrize(
    ("expect", "mistake"),
    [
        ("{json: $.status}", "expect.json: '$.status' is not a condition on JSON"),
        ("{json: [\"$.a == 1\", \"$[ == 1\"]}", "expect.json[1]: '$[' is not a JSONPath"),
        ("{cert_days: 14}", "expect.cert_days: '14' is not a comparison (such as > 14, != 0 or == 'up')"),
        ("{cert_days: \"> 'x'\"}", "expect: cert_days is a number of days (such as > 14)"),
        ("{body_regex: '('}", "expect.body_regex: '(' is not a regular expression"),
        ("{headers: {a: '/(/'}}", "expect.headers.a: '(' is not a regular expression"),
        ("{body: ''}", "expect: body and not_body need a text: an empty one is in every body"),
        ("{max_time: 5}", "expect.max_time: '5' is not a duration (5s)"),
        ("{max_time: 0s}", "expect.max_time: 0s is out of range"),
        ("{bodies: x}", "expect.bodies: unknown key"),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense_are_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expect: str, mistake: str
) -> None:
    """They are told with their place, before anything starts."""
    monkeypatch.chdir(tmp_path)
    (found,) = mistakes_of(
        f"collectors:\n- {{type: network, probe: http, target: 'http://a/', expect: {expect}}}"
    )
    assert found.startswith(f"c.yaml:2: collectors[0].{mistake}")
