"""The dead man's switch: pings while all is well, and none when it is not; with real servers and daemons."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.config.decode import Seconds
from oculus.model import Event
from oculus.notify.deadman import LOOK, SURE, DeadMan, HeartbeatSettings
from tests.support import exposition
from tests.support.configs import mistakes_of, settings_of
from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, free_port, wait_for

KEY = "5f0c7c9e-2d1b-4a6e-9a53-1f6d2e8b7c40"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


class Watcher:
    """A service that waits for pings: notes method, path and body of each call, and answers as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.answers: list[str] = []  # statuses of the next calls, then 200
        self.hangs = False
        self._server = HttpServer(self._answer)
        self.url = self._server.url

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path, body = environ["PATH_INFO"], environ["wsgi.input"].read().decode()
        self.calls.append((environ["REQUEST_METHOD"], path, body))
        if self.hangs:
            gevent.sleep(60)
        status = self.answers.pop(0) if self.answers else "200 OK"
        start(status, [("Location", f"https://elsewhere.example/{path}"), ("Retry-After", "3")])
        return [f"no such check: {path}".encode()] if environ["REQUEST_METHOD"] != "HEAD" else []

    def pings(self) -> int:
        """Return how often all was well."""
        return sum(not path.endswith("/fail") for _, path, _ in self.calls)

    def called(self, path: str) -> bool:
        """Tell whether a path was called."""
        return path in [called for _, called, _ in self.calls]

    def faults(self) -> list[str]:
        """Return the reasons that it was told."""
        return [body for _, path, body in self.calls if path.endswith("/fail")]

    def stop(self) -> None:
        """Stop."""
        self._server.stop()


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """A running service."""
    made = Watcher()
    yield made
    made.stop()


@dataclass
class Clock:
    """A dead man's switch whose time the test moves."""

    settings: HeartbeatSettings
    second: float = 0.0
    unwell: dict[str, str] = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    meanwhile: Mapping[str, str] | None = None  # what is not well from the next pause on

    def __post_init__(self) -> None:
        self.switch = DeadMan(
            self.settings, lambda: dict(self.unwell), self.told.append, lambda: self.second, self._pause
        )

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.second += seconds
        if self.meanwhile is not None:
            self.unwell = dict(self.meanwhile)

    def until(self, second: float) -> None:
        """Go on to a second, as its greenlet does."""
        while True:
            wait = self.switch.step()
            if self.second + wait > second:
                self.second = second
                return
            self.second += wait

    def messages(self) -> list[str]:
        """Return what it told."""
        return [event.message for event in self.told]


@pytest.fixture
def given() -> dict[str, Any]:
    """Settings beside the URL."""
    return {}


@pytest.fixture
def clock(watcher: Watcher, given: dict[str, Any]) -> Clock:
    """A switch that calls the watcher."""
    url = given.pop("url", f"{watcher.url}/{KEY}")
    fail = {"fail_url": f"{watcher.url}/{KEY}/fail"} if given.pop("fails", True) else {}
    return Clock(HeartbeatSettings(url=url, **{"timeout": Seconds(2.0)} | fail | given))


def test_it_pings_at_once_and_then_each_interval(clock: Clock, watcher: Watcher) -> None:
    """Start to start, with the method that is asked for."""
    clock.until(0)
    assert watcher.calls == [("GET", f"/{KEY}", "")]
    clock.until(59)
    assert len(watcher.calls) == 1
    clock.until(180)
    assert len(watcher.calls) == 4
    assert clock.switch.ping.calls == 4
    assert clock.switch.ping.worked_at > 0
    assert clock.told == []


@pytest.mark.parametrize("given", [{"method": "HEAD"}, {"method": "POST"}])
def test_it_uses_the_method_that_it_is_told(clock: Clock, watcher: Watcher) -> None:
    """Each without a body."""
    clock.until(0)
    assert watcher.calls == [(clock.settings.method, f"/{KEY}", "")]
    assert clock.told == []


def test_while_something_is_not_well_it_tells_the_reason_instead(clock: Clock, watcher: Watcher) -> None:
    """Once per change, then each interval; and a ping as soon as all is well again."""
    clock.until(10)
    clock.unwell = {"database": "the database takes no samples: disk full"}
    clock.until(10 + SURE - LOOK)
    assert len(watcher.calls) == 1
    clock.until(10 + SURE)
    assert watcher.calls[1:] == [("POST", f"/{KEY}/fail", "the database takes no samples: disk full")]
    clock.unwell["database"] = "the database takes no samples: another word for it"
    clock.until(60)
    assert len(watcher.faults()) == 1
    clock.until(80)
    assert watcher.faults()[1:] == ["the database takes no samples: another word for it"]
    clock.unwell["uplink"] = "this host has lost the network"
    clock.until(90)
    assert watcher.faults()[2:] == [
        "the database takes no samples: another word for it; this host has lost the network"
    ]
    assert watcher.pings() == 1
    clock.unwell = {}
    clock.until(91)
    assert watcher.pings() == 2
    clock.until(149)
    assert (watcher.pings(), len(watcher.faults())) == (2, 3)


def test_a_moment_is_no_outage(clock: Clock, watcher: Watcher) -> None:
    """A commit that works at its second try delays a ping at most."""
    clock.until(59)
    clock.unwell = {"database": "the database takes no samples: for a moment"}
    clock.until(61)
    assert len(watcher.calls) == 1
    clock.unwell = {}
    clock.until(62)
    assert [method for method, _, _ in watcher.calls] == ["GET", "GET"]


@pytest.mark.parametrize("given", [{"fails": False}])
def test_without_a_second_url_it_is_silent(clock: Clock, watcher: Watcher) -> None:
    """Silence is the message."""
    clock.unwell = {"rules": "no rule was evaluated for 60 s"}
    clock.until(600)
    assert watcher.calls == []
    assert not clock.switch.well


def test_a_ping_that_fails_is_tried_again_within_its_interval(clock: Clock, watcher: Watcher) -> None:
    """What works at the second or third try is told to nobody."""
    watcher.answers = ["503 Busy", "500 Oops"]
    clock.until(50)
    assert watcher.pings() == 3
    assert clock.pauses == [3.0, 3.0]  # as the service asks
    assert clock.told == []
    assert clock.switch.ping.failures == 2


@pytest.mark.parametrize("given", [{"url": f"http://127.0.0.1:{free_port()}/{KEY}"}])
def test_nobody_there_is_told_once(clock: Clock) -> None:
    """And tried three times in an interval, at some distance."""
    clock.until(130)
    assert clock.pauses == [5.0, 10.0] * 3
    (event,) = clock.told
    assert (event.type, event.severity, event.source) == ("error", "warn", "heartbeat.url")
    assert event.message == "heartbeat.url cannot be called: connection refused"


def test_the_end_of_a_failure_is_told_too(clock: Clock, watcher: Watcher) -> None:
    """One event for each, however often it fails."""
    watcher.answers = ["404 Not Found"] * 3
    clock.until(200)
    assert clock.messages() == [
        "heartbeat.url cannot be called: 404: no such check: /***", "heartbeat.url works again"
    ]  # fmt: skip
    assert watcher.pings() == 4  # a 404 helps no second try


@pytest.mark.parametrize("given", [{"timeout": Seconds(0.3)}])
def test_a_service_that_hangs_holds_up_nothing(clock: Clock, watcher: Watcher) -> None:
    """Each try ends with its time."""
    watcher.hangs = True
    clock.until(10)
    assert clock.messages() == ["heartbeat.url cannot be called: no whole answer within 0.3 s"]


def test_what_changes_between_two_tries_is_told_instead(clock: Clock, watcher: Watcher) -> None:
    """No ping is sent for what was well a while ago."""
    watcher.answers = ["503 Busy"]
    clock.meanwhile = {"hub": "the hub was held for 5 s"}
    clock.until(20)
    assert watcher.pings() == 1
    assert watcher.faults() == ["the hub was held for 5 s"]


@pytest.mark.parametrize("status", ["301 Moved", "401 Unauthorized", "429 Slow Down", "500 Oops"])
def test_no_event_shows_the_key(clock: Clock, watcher: Watcher, status: str) -> None:
    """Neither that of the URL nor that of a body or a redirect with it; settings are not shown either."""
    watcher.answers = [status] * 10
    clock.until(10)
    clock.unwell = {"database": f"it is not at /{KEY}"}
    clock.until(20)
    shown = repr(clock.settings) + "".join(clock.messages()) + "".join(watcher.faults())
    assert len(clock.told) == 2
    assert KEY not in shown
    assert "heartbeat.fail_url cannot be called" in shown


def test_a_change_of_the_settings_counts_at_once(clock: Clock, watcher: Watcher) -> None:
    """Another URL is called without waiting for the interval."""
    clock.until(30)
    clock.switch.use(HeartbeatSettings(url=f"{watcher.url}/other"))
    clock.until(31)
    assert [path for _, path, _ in watcher.calls] == [f"/{KEY}", "/other"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("heartbeat: {}", "heartbeat.url: is missing"),
        ("heartbeat: {urll: 'https://x.example'}", 'heartbeat.urll: unknown key (did you mean "url"?)'),
        ("heartbeat: {url: nowhere}", "heartbeat.url: "),
        ("heartbeat: {url: 'https://x.example', interval: 10ms}", "10ms is out of range (1s to 1d)"),
        ("heartbeat: {url: 'https://x.example', method: PUT}", "one of: GET, HEAD, POST"),
        ("heartbeat: {url: 'https://x.example', fail_url: 'ftp://x.example/secret'}", "heartbeat.fail_url: "),
        ("heartbeat: [1]", "heartbeat: is a list"),
        ("heartbeats: {}", 'unknown key (did you mean "heartbeat"?)'),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    """As those of any section, without the secret."""
    found = mistakes_of(text)
    assert any(told in mistake for mistake in found), found
    assert "secret" not in "".join(found)


def test_the_url_may_stand_in_a_file(tmp_path: Path) -> None:
    """As every secret may; and the options of HTTP are those of channels."""
    (tmp_path / "url").write_text(f"https://hc.example/{KEY}\n")
    found = settings_of(
        f"heartbeat: {{url_file: {tmp_path}/url, interval: 5m, proxy: 'http://p:1', tls: {{verify: false}}}}"
    ).heartbeat
    assert found.url == f"https://hc.example/{KEY}"
    assert (found.interval, found.proxy, found.tls.verify) == (300.0, "http://p:1", False)
    assert settings_of("collectors: []").heartbeat is None


CONFIG = """
database: {path: disk/oculus.db, flush: 50ms}
collectors: [{type: self, interval: 200ms}]
heartbeat: {url: "%s/%s", interval: 1s, fail_url: "%s/%s/fail"}
"""


def started(daemon: Callable[..., Daemon], watcher: Watcher, folder: Path) -> Daemon:
    """Return a daemon that pings each second; its database is in a folder of its own."""
    (folder / "disk").mkdir()
    return daemon(CONFIG % (watcher.url, KEY, watcher.url, KEY))


def figures(daemon: Daemon) -> dict[str, float]:
    """Return the figures of the switch."""
    families = exposition.parse(daemon.get("/metrics").text)
    return {
        name.removeprefix("oculus_heartbeat_"): next(iter(family.samples.values()))
        for name, family in families.items()
        if name.startswith("oculus_heartbeat_")
    }


def test_a_daemon_pings_until_its_database_takes_nothing(
    daemon: Callable[..., Daemon], watcher: Watcher, tmp_path: Path
) -> None:
    """Then it tells why; and pings again once that is over. Metrics tell both."""
    oculus = started(daemon, watcher, tmp_path)
    wait_for(lambda: watcher.pings() >= 2, 20)
    found = figures(oculus)
    assert (found["well"], found["failures_total"], found["fail_calls_total"]) == (1, 0, 0)
    assert found["calls_total"] >= 2
    assert found["last_success_timestamp_seconds"] > 1e9
    away = (tmp_path / "disk").rename(tmp_path / "away")
    wait_for(watcher.faults, 30)
    assert "the database takes no samples" in watcher.faults()[0]
    before = watcher.pings()
    wait_for(lambda: len(watcher.faults()) >= 3, 30)
    assert watcher.pings() == before
    assert figures(oculus)["well"] == 0
    away.rename(tmp_path / "disk")
    wait_for(lambda: watcher.pings() > before, 60)
    assert oculus.stop() == 0
    assert KEY not in oculus.log()


def test_a_daemon_that_is_gone_pings_no_more(
    daemon: Callable[..., Daemon], watcher: Watcher, tmp_path: Path
) -> None:
    """Killed or stopped, it calls neither URL; one that stands still does not either until it goes on."""
    oculus = started(daemon, watcher, tmp_path)
    wait_for(lambda: watcher.pings() >= 2, 20)
    oculus.signal(signal.SIGSTOP)
    gevent.sleep(0.2)  # a call may be under way
    before = len(watcher.calls)
    gevent.sleep(2.5)
    assert len(watcher.calls) == before
    oculus.signal(signal.SIGCONT)
    wait_for(lambda: watcher.pings() > before, 20)
    oculus.kill()
    gevent.sleep(0.2)
    before = len(watcher.calls)
    gevent.sleep(2.5)
    assert len(watcher.calls) == before
    assert watcher.faults() == []


def test_a_reload_changes_the_switch(daemon: Callable[..., Daemon], watcher: Watcher) -> None:
    """It comes, gets another URL, and goes; a mistake in it leaves it as it is."""
    plain = "collectors: [{type: self, interval: 1s}]\n"
    oculus = daemon(plain)
    assert figures(oculus) == {}
    for path in ("first", "second"):
        oculus.configure(f"{plain}heartbeat: {{url: '{watcher.url}/{path}', interval: 1s}}\n")
        wait_for(partial(watcher.called, f"/{path}"), 20)
    oculus.configure(f"{plain}heartbeat: {{url: '{watcher.url}/third', interval: never}}\n")
    oculus.wait_log("reload refused")
    assert "/third" not in oculus.log()
    before = watcher.pings()
    wait_for(lambda: watcher.pings() > before + 1, 20)
    oculus.configure(plain)
    wait_for(lambda: figures(oculus) == {}, 20)
    before = len(watcher.calls)
    gevent.sleep(2.5)
    assert len(watcher.calls) == before
    assert {path for _, path, _ in watcher.calls} == {"/first", "/second"}
