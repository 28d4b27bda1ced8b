"""Whose failure it is: thresholds, maintenance windows, and a host that has lost the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event as Signal

from oculus.clock import SECOND
from oculus.collectors import collector_class
from oculus.collectors.base import CollectError, Context
from oculus.collectors.heartbeat import HeartbeatSettings
from oculus.collectors.heartbeat_state import Ping
from oculus.collectors.heartbeats import Beat, Heartbeats
from oculus.collectors.network.probe import is_loopback
from oculus.collectors.network.tcp import TcpProbe, TcpSettings
from oculus.collectors.network.uplink import Uplink, canary, canary_kind
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.model import Micros, Sample
from tests.support.clocks import WallClock
from tests.support.configs import mistakes_of
from tests.support.namespace import run_in_namespace
from tests.support.servers import TcpServer, free_port, wait_for


def probe(target: str, context: Context | None = None, **settings: Any) -> TcpProbe:
    """Return a TCP probe named x."""
    made = TcpSettings(target=target, timeout=Seconds(1.0), **settings)
    return TcpProbe(CollectorSpec("network/tcp", "x", made), context or Context())


def figures(samples: Iterator[Sample] | list[Sample]) -> dict[str, float]:
    """Return the values of samples by the last part of their symbols, without the times."""
    found = {sample.symbol.rpartition(".")[2]: sample.value for sample in samples}
    return {part: value for part, value in found.items() if part in ("up", "unknown")}


class Target:
    """A TCP server that can be down."""

    def __init__(self) -> None:
        self.port = free_port()
        self.server: TcpServer | None = None
        self.up()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"127.0.0.1:{self.port}"

    def up(self) -> None:
        """Let it answer."""
        self.server = TcpServer(port=self.port)

    def down(self) -> None:
        """Let it refuse."""
        if self.server is not None:
            self.server.stop()
            self.server = None


@pytest.fixture
def target() -> Iterator[Target]:
    """A target that is up."""
    made = Target()
    yield made
    made.down()


# -- thresholds ---------------------------------------------------------------------------------------


def test_a_target_is_down_after_so_many_failures_and_up_after_so_many_successes(target: Target) -> None:
    """Until then it counts as what it was; the reason stands in the tags from the first failure on."""
    made = probe(target.address, failures=3, successes=2)
    seen = []
    for step in "ufffuufu":
        if step == "f":
            target.down()
        elif target.server is None:
            target.up()
        samples = list(made.collect())
        seen.append(figures(samples)["up"])
        assert bool(samples[-1].tags.get("error")) == (step == "f")
    assert seen == [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_nothing_is_said_of_a_target_before_it_is_known(target: Target) -> None:
    """One that fails from the start is neither up nor down until its failures are enough."""
    target.down()
    made = probe(target.address, failures=2)
    assert figures(made.collect()) == {}
    assert figures(made.collect()) == {"up": 0.0}


# -- whose failure it is ------------------------------------------------------------------------------


def test_a_failure_with_an_excuse_is_unknown_and_freezes_the_count(target: Target) -> None:
    """It is neither up nor down, and no failure of a row; once it is over, that is told too."""
    excuses = iter(["", "maintenance: nightly", "maintenance: nightly", ""])
    context = Context(excuse=lambda stem, local: next(excuses))
    made = probe(target.address, context, failures=2)
    assert figures(made.collect()) == {"up": 1.0}
    target.down()
    assert figures(made.collect()) == {"up": 1.0}
    for _ in range(2):
        (sample,) = made.collect()
        assert (sample.symbol, sample.value) == ("net.tcp.x.unknown", 1.0)
        assert sample.tags["reason"] == "maintenance: nightly"
    assert figures(made.collect()) == {"unknown": 0.0, "up": 0.0}


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("localhost", True), ("127.0.0.1:80", True), ("http://127.3.2.1/x", True), ("[::1]:22", True),
        ("::1", True), ("example.com:443", False), ("192.168.1.1", False), ("https://example.com", False),
        ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_what_is_on_this_host_needs_no_network(text: str, local: bool) -> None:
    """A failure there is its own, whatever the canaries say."""
    assert is_loopback(text) is local


# -- canaries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1.1.1.1", "network/ping"), ("9.9.9.9:53", "network/tcp"), ("https://example.com", "network/http"),
        ("[2606:4700::1111]:53", "network/tcp"), ("2606:4700::1111", "network/ping"),
        ("example.com", "network/ping"),
    ],
)  # fmt: skip
def test_a_canary_is_asked_in_the_way_that_it_is_written(text: str, kind: str) -> None:
    """A URL is fetched, host:port is connected to, anything else is pinged."""
    assert canary_kind(text) == kind


class Bench:
    """Canaries, and what was told of them."""

    def __init__(self, count: int) -> None:
        self.canaries = [Target() for _ in range(count)]
        self.told: list[bool] = []
        context = Context()
        self.uplink = Uplink(
            [canary(made.address, context) for made in self.canaries],
            lambda down, reasons: self.told.append(down),
            sleep=lambda seconds: gevent.sleep(0.05),
        )

    def cut(self, *numbers: int) -> None:
        """Let these canaries be unreachable."""
        for number in numbers:
            self.canaries[number].down()

    def stop(self) -> None:
        """End everything."""
        self.uplink.close()
        for made in self.canaries:
            made.down()


@pytest.fixture
def bench() -> Iterator[Callable[[int], Bench]]:
    """Make a bench with so many canaries."""
    made: list[Bench] = []

    def make(count: int) -> Bench:
        made.append(Bench(count))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_one_canary_that_fails_is_its_own_matter(bench: Callable[[int], Bench]) -> None:
    """Of two both must fail, of five three."""
    two, five = bench(2), bench(5)
    two.cut(0)
    five.cut(0, 1)
    assert not two.uplink.lost()
    assert not five.uplink.lost()
    two.cut(1)
    five.cut(2)
    assert two.uplink.lost()
    assert five.uplink.lost()


def test_an_outage_is_told_once_and_so_is_its_end(bench: Callable[[int], Bench]) -> None:
    """However many probes ask meanwhile: they share a look, and the return is seen without one that asks."""
    made = bench(2)
    made.cut(0, 1)
    asked = [gevent.spawn(made.uplink.lost) for _ in range(200)]
    gevent.joinall(asked, timeout=10)
    assert all(greenlet.value for greenlet in asked)
    assert made.told == [True]
    for each in made.canaries:
        each.up()
    wait_for(lambda: made.told == [True, False])
    assert not made.uplink.lost()
    assert made.told == [True, False]


# -- a whole daemon that loses its network --------------------------------------------------------------


def test_a_host_that_loses_the_network_raises_one_alert(tmp_path: Path) -> None:
    """Its targets are neither up nor down meanwhile, no rule fires, and the end is told as well; a target on
    the host itself is judged as ever."""
    seen = run_in_namespace(
        f"""
        import gevent
        from pathlib import Path
        from tests.support.daemon import Daemon
        from tests.support.servers import HttpServer, TcpServer, wait_for

        OUTSIDE = "10.9.0.1"
        give_address("lo:1", OUTSIDE)
        servers = [TcpServer(host="0.0.0.0") for _ in range(4)]
        canaries = [f"{{OUTSIDE}}:{{server.port}}" for server in servers[:2]]
        targets = [f"{{OUTSIDE}}:{{server.port}}" for server in servers[2:]]
        lines = [f"  - {{{{type: network, probe: tcp, name: t{{n}}, target: '{{t}}', interval: 500ms}}}}"
                 for n, t in enumerate([*targets, f"127.0.0.1:{{servers[3].port}}"])]
        rules = [f"  - {{{{name: down{{n}}, condition: 'net.tcp.t{{n}}.up == 0'}}}}" for n in range(3)]
        config = "canaries: " + str(canaries) + "\\ncollectors:\\n" + "\\n".join(lines)
        config += "\\nrules:\\n" + "\\n".join(rules) + "\\n"
        oculus = Daemon(Path({str(tmp_path)!r}), config.replace("{{{{", "{{").replace("}}}}", "}}"))
        oculus.wait_ready()
        wait_for(lambda: all(oculus.latest(f"net.tcp.t{{n}}.up") for n in range(3)))
        take_address("lo:1")
        wait_for(lambda: all(oculus.latest(f"net.tcp.t{{n}}.unknown") for n in range(2)))
        gevent.sleep(2)
        servers[3].stop()
        wait_for(lambda: oculus.latest("net.tcp.t2.up")["value"] == 0)
        down = oculus.sql("select symbol, min(value) from metrics where symbol like '%.up' group by all"
                          " order by symbol")
        servers[3] = TcpServer(host="0.0.0.0", port=servers[3].port)
        give_address("lo:1", OUTSIDE)
        wait_for(lambda: oculus.latest("net.tcp.t0.unknown")["value"] == 0, 15)
        wait_for(lambda: len(oculus.json("/api/alerts")["alerts"]) >= 4, 15)
        alerts = [[a["rule"], a["state"]] for a in oculus.json("/api/alerts")["alerts"]]
        tell([down, alerts, oculus.stop()])
        """
    )
    down, alerts, status = seen
    assert down == [["net.tcp.t0.up", 1.0], ["net.tcp.t1.up", 1.0], ["net.tcp.t2.up", 0.0]]
    assert sorted(map(tuple, alerts)) == [
        ("down2", "firing"), ("down2", "resolved"), ("uplink", "firing"), ("uplink", "resolved"),
    ]  # fmt: skip
    assert status == 0


# -- heartbeats -----------------------------------------------------------------------------------------


def beating(excuse: Callable[[str], str]) -> tuple[Heartbeats, Beat, WallClock, list[Sample]]:
    """Return a heartbeat of every minute with 10 s of grace, its clock, and what it tells."""
    clock, put = WallClock(Micros(1_787_227_200 * SECOND)), list[Sample]()
    beats = Heartbeats(
        Context(excuse=lambda stem, local: excuse(stem)),
        put.extend,
        wall=lambda: clock.wall,
        monotonic=lambda: clock.monotonic,
    )
    settings = HeartbeatSettings(period=Seconds(60.0), grace=Seconds(10.0))
    return beats, beats.join(CollectorSpec("heartbeat", "backup", settings)), clock, put


def test_a_ping_that_does_not_come_is_excused_as_well() -> None:
    """Its deadline passes without a word while there is an excuse, and counts again after."""
    excuses = {"heartbeat.backup": "maintenance: nightly"}
    beats, beat, clock, put = beating(lambda stem: excuses.get(stem, ""))
    beats.ping(beat, Ping("success"))
    assert figures(put) == {"up": 1.0}
    clock.pass_by(75)
    beats.judge(beat)
    assert (put[-1].symbol, put[-1].value) == ("heartbeat.backup.unknown", 1.0)
    assert beat.state.up
    excuses.clear()
    clock.pass_by(61)
    beats.judge(beat)
    assert figures(put[-2:]) == {"up": 0.0, "unknown": 0.0}


def test_a_ping_in_a_maintenance_window_is_late_without_being_down() -> None:
    """A deadline that was excused stays so when the ping comes after all, however late."""
    beats, beat, clock, put = beating(lambda stem: "maintenance: nightly")
    beats.ping(beat, Ping("success"))
    clock.pass_by(75)
    beats.ping(beat, Ping("success"))
    assert [sample.value for sample in put if sample.symbol.endswith(".up")] == [1.0]
    assert [sample.value for sample in put if sample.symbol.endswith(".unknown")] == [1.0, 0.0]


def test_a_ping_that_comes_while_the_canaries_are_asked_counts() -> None:
    """The one that looked before does not put it down again."""
    asked = Signal()

    def ask(stem: str) -> str:
        asked.wait()
        return ""

    beats, beat, clock, put = beating(ask)
    beats.ping(beat, Ping("success"))
    clock.pass_by(75)
    look = gevent.spawn(beats.judge, beat)
    gevent.sleep(0)
    ping = gevent.spawn(beats.ping, beat, Ping("success"))
    gevent.sleep(0)
    asked.set()
    ping.get(timeout=5)
    look.get(timeout=5)
    assert [sample.value for sample in put if sample.symbol.endswith(".up")] == [1.0, 0.0, 1.0]
    assert beat.state.up


# -- endpoints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "stem"), [("prometheus", "prom.x"), ("oculus", "remote.x")])
def test_an_endpoint_that_cannot_be_reached_is_excused_as_well(kind: str, stem: str) -> None:
    """Its `.up` is not told while this host has lost the network, and is again after."""
    excuse, port = ["uplink"], free_port()
    context = Context(excuse=lambda asked, local: excuse[0] if asked == stem and local else "")
    make = collector_class(kind)
    settings = make.Settings(name="x", url=f"http://127.0.0.1:{port}")  # type: ignore[call-arg]
    collector = make(CollectorSpec(kind, "x", settings), context)

    def seen() -> list[tuple[str, float]]:
        found: list[Sample] = []
        with pytest.raises(CollectError, match="connection refused"):
            found.extend(collector.collect())
        return [(sample.symbol, sample.value) for sample in found]

    assert seen() == [(f"{stem}.unknown", 1.0)]
    excuse[0] = ""
    assert seen() == [(f"{stem}.unknown", 0.0), (f"{stem}.up", 0.0)]
    assert seen() == [(f"{stem}.up", 0.0)]


# -- configuration --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("foo:99999", "'foo:99999' is not host:port (such as db.local:5432)"),
        ("a b", "'a b' is not a host (such as db.local or 192.0.2.1)"),
        ("http://", "is not a URL"),
    ],
)
def test_a_canary_that_cannot_be_asked_is_a_mistake(
    wrong: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told with its place, not by a daemon that does not start."""
    monkeypatch.chdir(tmp_path)
    (mistake,) = mistakes_of(f"canaries:\n  - 192.0.2.1\n  - '{wrong}'\n")
    assert mistake.startswith("c.yaml:3: canaries[1]: ")
    assert told in mistake


def test_an_outage_outlasts_a_change_of_the_canaries(bench: Callable[[int], Bench]) -> None:
    """The new ones are asked for the end of it, and the old ones tell no more."""
    old, new = bench(2), bench(2)
    old.cut(0, 1)
    assert old.uplink.lost()
    old.uplink.close()
    new.uplink.resume()
    wait_for(lambda: new.told == [False])
    assert not new.uplink.lost()
    assert old.told == [True]
