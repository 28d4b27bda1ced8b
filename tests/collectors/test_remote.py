"""Another Oculus read through its API: a real second daemon, what is taken of it, and what goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.clock import SECOND, iso, now, parse_iso
from oculus.collectors.base import CollectError, Context
from oculus.collectors.remote import Remote
from oculus.collectors.scheduler import Scheduler
from oculus.config import loads
from oculus.config.settings import CollectorSpec, ServerSettings
from oculus.errors import ConfigError
from oculus.model import Micros, Sample, Tags
from oculus.supervise import Supervisor
from oculus.vocabulary import vocabulary
from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, free_port, wait_for
from tests.support.site import Site

HttpServers = Callable[..., HttpServer]


@pytest.fixture
def context() -> Iterator[Context]:
    """What the collectors of one daemon share."""
    made = Context()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The web of an Oculus with a store of its own."""
    made = Site(tmp_path)
    yield made
    made.close()


def spec(settings: dict[str, Any], name: str = "pi") -> CollectorSpec:
    """Return an entry of the configuration, read as the daemon reads it."""
    entry = {"type": "oculus"} | ({"name": name} if name else {}) | settings
    (made,) = loads(json.dumps({"collectors": [entry]}), "c.yaml", vocabulary(), {}).collectors
    return made


def collector(context: Context, url: Any, **settings: Any) -> Remote:
    """Return a collector of a site or URL."""
    return Remote(spec({"url": getattr(url, "url", url)} | settings), context)


def run(made: Remote) -> tuple[dict[str, Sample], str]:
    """Return what a run takes, without `.up` where that is 1, and its error."""
    found: dict[str, Sample] = {}
    with gevent.Timeout(60, TimeoutError("the run hangs")):
        try:
            for sample in made.collect():
                assert sample.symbol not in found
                found[sample.symbol] = sample
        except CollectError as error:
            return found, str(error)
    assert found.pop("remote.pi.up").value == 1.0
    return found, ""


def failure(made: Remote) -> str:
    """Return why a run fails: `.up` is 0 and says it too, and nothing else is stored."""
    found, error = run(made)
    (up,) = found.values()
    assert (up.symbol, up.value) == ("remote.pi.up", 0.0)
    assert error.endswith(up.tags["error"])
    assert "\n" not in error
    return error


def ago(seconds: float) -> Micros:
    """Return the time some seconds ago, in whole milliseconds."""
    return Micros((now() - round(seconds * SECOND)) // 1000 * 1000)


# -- the real thing -----------------------------------------------------------------------------------


def test_two_daemons(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """One measures and asks for a token; the other has its series a moment later, with all about them."""
    port = free_port()
    pi = tmp_path / "pi"
    pi.mkdir()
    probe = f"{{type: network, probe: tcp, name: web, target: '127.0.0.1:{port}', interval: 1s}}"
    measuring = Daemon(pi, f"server: {{token: s3cr3t}}\ncollectors: [{probe}]\n", (), {"port": port})
    try:
        measuring.wait_ready()
        reading = daemon(
            f"collectors: [{{type: oculus, name: pi, url: '{measuring.url}/', token: s3cr3t, interval: 1s,"
            " include: ['net.*']}]\n"
        )
        rtt = wait_for(lambda: reading.latest("remote.pi.net.tcp.web.rtt"), 20)
        assert (rtt["category"], rtt["unit"], rtt["stale"]) == ("remote.pi", "ms", False)
        assert rtt["tags"] == {"source": f"127.0.0.1:{port}", "target": f"127.0.0.1:{port}"}
        own = measuring.get(
            "/api/metrics/net.tcp.web.rtt?from=1m", headers={"Authorization": "Bearer s3cr3t"}
        )
        assert rtt["ts"] in own.text or parse_iso(rtt["ts"]) < parse_iso(own.json()["ts"])
        assert reading.latest("remote.pi.up")["value"] == 1.0  # type: ignore[index]
    finally:
        measuring.kill()
    assert "connection refused" in reading.wait_log("collector oculus/pi failed")
    wait_for(lambda: reading.latest("remote.pi.up")["value"] == 0.0, 10)  # type: ignore[index]
    assert reading.stop() == 0
    assert "Traceback" not in reading.log()


# -- what is taken ------------------------------------------------------------------------------------


def test_samples_keep_time_unit_and_tags(site: Site, context: Context) -> None:
    """The user's own tags stay as they are configured, and a unit that the name tells needs no tag."""
    at = ago(5)
    site.write(
        Sample("net.ping.gw.rtt", 1.5, at, Tags({"target": "gw", "site": "there"})),
        Sample("custom.gold", 2_000.25, at, Tags({"source": "push", "unit": "USD/oz"})),
        Sample("custom.plain", 1, at),
    )
    made = collector(context, site, tags={"site": "here"})
    found, error = run(made)
    assert not error
    assert {symbol: (sample.value, sample.ts, sample.tags) for symbol, sample in found.items()} == {
        "remote.pi.net.ping.gw.rtt": (1.5, at, {"target": "gw"}),
        "remote.pi.custom.gold": (2_000.25, at, {"source": "push", "unit": "USD/oz"}),
        "remote.pi.custom.plain": (1.0, at, {}),
    }
    assert made.tags == {"source": site.url.removeprefix("http://"), "site": "here"}


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], "custom.x net.ping.gw.rtt net.ping.gw.up oculus.series"),
        (["net.*"], [], "net.ping.gw.rtt net.ping.gw.up"),
        (["*.up", "custom.?"], [], "custom.x net.ping.gw.up"),
        ([], ["oculus.*", "*.rtt"], "custom.x net.ping.gw.up"),
        (["net.*"], ["*.up"], "net.ping.gw.rtt"),
        (["remote.*"], [], "remote.nas.custom.y"),
        (["*", "remote.nas.*"], ["net.*", "oculus.*"], "custom.x remote.nas.custom.y"),
    ],
)
def test_series_are_chosen_by_symbol(
    include: list[str], exclude: list[str], expected: str, site: Site, context: Context
) -> None:
    """What the other one has from third ones is taken only where asked for: two may read each other."""
    names = "custom.x net.ping.gw.rtt net.ping.gw.up oculus.series remote.nas.custom.y"
    site.write(*[(symbol, 1.0) for symbol in names.split()])
    found, error = run(collector(context, site, include=include, exclude=exclude))
    assert (sorted(symbol.removeprefix("remote.pi.") for symbol in found), error) == (expected.split(), "")


def test_what_is_old_there_is_old_here(site: Site, context: Context) -> None:
    """A series that ended there is not taken: it would look alive here for ever."""
    site.write(("custom.ended", 1.0, ago(400)), ("custom.alive", 2.0, ago(4)))
    assert run(collector(context, site))[0].keys() == {"remote.pi.custom.alive"}


def test_a_sample_is_stored_once_and_confirmed(site: Site, context: Context) -> None:
    """The scheduler passes it on once for each time that it has there, and knows that it was seen again."""
    site.write(("custom.x", 1.0, ago(5)))
    stored: list[Sample] = []
    supervisor = Supervisor(lambda name, error: None)
    scheduler = Scheduler(supervisor, stored.extend, lambda event: None)
    scheduler.start(collector(context, site, interval="150ms"))
    wait_for(lambda: sum(sample.symbol.endswith(".up") for sample in stored) > 3)
    site.write(("custom.x", 2.0, ago(1)))
    first = scheduler.confirmed["remote.pi.custom.x"]
    wait_for(lambda: [sample.value for sample in stored if sample.symbol.endswith(".x")] == [1.0, 2.0])
    assert scheduler.confirmed["remote.pi.custom.x"] > first
    scheduler.stop()


def test_tags_are_made_once(site: Site, context: Context) -> None:
    """As long as nothing about them changes."""
    site.write(Sample("custom.x", 1.0, ago(2), Tags({"a": "1"})))
    made = collector(context, site)
    first = run(made)[0]["remote.pi.custom.x"]
    site.write(Sample("custom.x", 2.0, ago(1), Tags({"a": "1"})))
    second = run(made)[0]["remote.pi.custom.x"]
    assert second.value == 2.0
    assert second.tags is first.tags
    site.write(Sample("custom.x", 3.0, ago(0), Tags({"a": "2"})))
    assert run(made)[0]["remote.pi.custom.x"].tags == {"a": "2"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "pi:8080"}, ".url: 'pi:8080' is not a URL"),
        ({"token": "a", "auth": {"user": "b"}}, ": has more than one of auth, token and an Authorization"),
        ({"token": "a b"}, ".token: the token holds a space"),
        ({"bearer": "a"}, ".bearer: unknown key"),
        ({"include": ["net.*", ""]}, ".include: has an empty pattern"),
    ],
)
def test_mistakes_are_told(settings: dict[str, Any], told: str) -> None:
    """When the configuration is read; nothing shows the token."""
    with pytest.raises(ConfigError) as caught:
        spec({"url": "http://pi:8080"} | settings)
    assert told in caught.value.mistakes[0]
    assert "s3cr3t" not in repr(spec({"url": "http://pi:8080", "token": "s3cr3t"}))
    assert spec({"url": "http://pi:8080"}, "").name == "pi_8080"


# -- what goes wrong ----------------------------------------------------------------------------------


def test_a_wrong_token_is_told(tmp_path: Path, context: Context) -> None:
    """With the other one's own reason."""
    site = Site(tmp_path, server=ServerSettings(token="right"))
    try:
        host = site.url.removeprefix("http://")
        told = "status 401: send the token as Authorization: Bearer …, or log in at /login"
        assert failure(collector(context, site)) == f"{host}: {told}"
        assert failure(collector(context, site, token="wrong")) == f"{host}: {told}"
        site.write(("custom.x", 1.0))
        assert run(collector(context, site, token="right"))[0].keys() == {"remote.pi.custom.x"}
    finally:
        site.close()


def test_too_many_series_are_none(site: Site, context: Context) -> None:
    """All or nothing, with their number."""
    site.write(*[(f"custom.s{n}", 1.0) for n in range(11)])
    assert failure(collector(context, site, max_series=10)).endswith(
        "it has 11 series, and at most 10 are taken"
    )
    assert len(run(collector(context, site, max_series=11))[0]) == 11


def test_an_include_that_fits_nothing_is_told(site: Site, context: Context) -> None:
    """A typing mistake would be silent otherwise."""
    site.write(("custom.x", 1.0))
    found, error = run(collector(context, site, include=["nte.*"]))
    assert found.keys() == {"remote.pi.up"}
    assert "has no series that is wanted" in error


def test_nobody_is_there(context: Context) -> None:
    """The operating system's reason."""
    port = free_port()
    assert failure(collector(context, f"http://127.0.0.1:{port}")) == f"127.0.0.1:{port}: connection refused"


class Stranger:
    """A server that answers anything."""

    def __init__(self, status: str, body: Any) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.asked: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append(environ)
        start_response(self.status, [("Content-Type", "application/json")])
        return [self.body]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        ("200 OK", b"<html>hello</html>", "the answer is not JSON: hello"),
        ("200 OK", [], "the answer is not that of an Oculus: []"),
        ("200 OK", {"status": "success"}, 'the answer is not that of an Oculus: {"status": "success"}'),
        ("200 OK", {"metrics": {}}, 'the answer is not that of an Oculus: {"metrics": {}}'),
        ("200 OK", {"metrics": [1]}, "the answer is not that of an Oculus: it names 'None'"),
        ("200 OK", {"metrics": [{"symbol": "Up"}]}, "the answer is not that of an Oculus: it names 'Up'"),
        ("404 Not Found", b"no such page", "status 404: no such page"),
        ("500 Oops", {"error": {"code": "internal", "message": "an error"}}, "status 500: an error"),
        ("500 Oops", {"error": "text"}, 'status 500: {"error": "text"}'),
    ],
)
def test_who_is_no_oculus_is_told(
    status: str, body: Any, told: str, http_server: HttpServers, context: Context
) -> None:
    """Nothing of what it says is stored."""
    server = http_server(Stranger(status, body))
    assert failure(collector(context, server)) == f"{server.url.removeprefix('http://')}: {told}"


GOOD = {"symbol": "custom.x", "value": 1.0, "ts": "2020-01-01T00:00:00Z", "unit": "", "tags": {}}


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"value": None}, "its value is 'None', which is no number"),
        ({"value": "1"}, "its value is '1', which is no number"),
        ({"value": True}, "its value is 'True', which is no number"),
        ({"value": 10**400}, "which is no number"),
        ({"ts": None}, "its time is 'None', which is none or more than a day ahead"),
        ({"ts": "soon"}, "its time is 'soon', which is none"),
        ({"ts": "1969-12-31T00:00:00Z"}, "which is none or more than a day ahead"),
        ({"ts": "2999-01-01T00:00:00Z"}, "which is none or more than a day ahead"),
        ({"ts": "0001-01-01T00:00:00+23:59"}, "which is none or more than a day ahead"),
        ({"tags": None}, "its tags are not texts"),
        ({"tags": {"a": 1}}, "its tags are not texts"),
        ({"tags": {"a": "\ud800"}}, "its tags are not texts"),
        ({"tags": {"a": "x" * 5_000}}, "its tags have more than 4000 characters"),
        ({"symbol": "a" * 195}, "its name is too long here"),
        ({"symbol": "up"}, "its name is taken here"),
    ],
)
def test_a_wrong_series_leaves_the_others(
    bad: dict[str, Any], told: str, http_server: HttpServers, context: Context
) -> None:
    """It is told, and the rest is stored."""
    body = {"metrics": [{**GOOD, "symbol": "custom.bad", **bad}, GOOD]}
    found, error = run(collector(context, http_server(Stranger("200 OK", body))))
    assert told in error
    assert found.keys() == {"remote.pi.up", "remote.pi.custom.x"}
    assert found["remote.pi.up"].value == 1.0


def test_one_pattern_is_left_to_the_other_side(http_server: HttpServers, context: Context) -> None:
    """So that it sends no more than is wanted; a path before it stays."""
    stranger = Stranger("200 OK", {"metrics": [GOOD]})
    url = http_server(stranger).url
    run(collector(context, f"{url}/oculus/", include=["custom.*"], token="t"))
    run(collector(context, f"{url}?a=b", include=["custom.*", "net.*"]))
    first, second = stranger.asked
    assert (first["PATH_INFO"], first["QUERY_STRING"]) == ("/oculus/api/metrics", "symbol=custom.%2A")
    assert first["HTTP_AUTHORIZATION"] == "Bearer t"
    assert (second["PATH_INFO"], second["QUERY_STRING"]) == ("/api/metrics", "")


def test_many_series_are_taken_in_slices(http_server: HttpServers, context: Context) -> None:
    """Nine thousand do not hold the hub."""
    entries = [
        GOOD | {"symbol": f"custom.s{n}", "ts": iso(ago(n / 1000)), "tags": {"n": str(n)}}
        for n in range(9_000)
    ]
    made = collector(context, http_server(Stranger("200 OK", {"metrics": entries})), max_series=9_000)
    longest, last = 0.0, time.monotonic()

    def tick() -> None:
        nonlocal longest, last
        while True:
            gevent.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    ticking = gevent.spawn(tick)
    found, error = run(made)
    ticking.kill()
    assert (len(found), error) == (9_000, "")
    assert longest < 0.25
