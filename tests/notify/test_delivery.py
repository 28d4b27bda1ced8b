"""Deliveries by the running daemon: to a webhook that is there, hangs, or is down while it is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from tests.support import exposition
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

Start = Callable[..., Daemon]

CONFIG = """
database: {flush: 50ms}
collectors: [{type: network, probe: tcp, name: self, target: "127.0.0.1:$PORT", interval: 200ms}]
rules:
  - {name: hot, condition: "custom.*.temp > 30", severity: critical, channels: [log, ops, stuck]}
notifications:
  ops: {type: webhook, url: "http://127.0.0.1:%d/ops", group_wait: 300ms, group_interval: 500ms, timeout: 2s}
  stuck: {type: webhook, url: "http://127.0.0.1:%d/stuck", group_wait: 0s, timeout: 60s}
"""


class Hook:
    """A webhook that notes what it gets, answers 503 while it is down, and never answers at /stuck."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.tried = 0
        self.stuck = 0
        self.down = False
        self.silent = False  # takes a message and does not answer: the daemon cannot know that it has arrived
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)
        self._server.start()
        self.port = int(self._server.server_port or 0)

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read()
        if environ["PATH_INFO"] == "/stuck":
            self.stuck += 1
            gevent.sleep(300)
        self.tried += 1
        if self.down:
            start("503 Service Unavailable", [])
            return [b""]
        self.got.append(json.loads(body))
        if self.silent:
            gevent.sleep(300)
        start("200 OK", [])
        return [b""]

    def alerts(self) -> list[tuple[str, str]]:
        """Return the states of alerts in the order in which they came, each message once."""
        seen: dict[str, dict[str, Any]] = {}
        for message in self.got:
            seen.setdefault(message["id"], message)
        return [(alert["symbol"], alert["state"]) for message in seen.values() for alert in message["alerts"]]

    def close(self) -> None:
        """Stop."""
        self._server.stop(timeout=0)


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A running webhook."""
    made = Hook()
    yield made
    made.close()


def push(daemon: Daemon, **values: float) -> None:
    """Push temperatures."""
    body = [{"symbol": f"custom.{name}.temp", "value": value} for name, value in values.items()]
    assert daemon.post("/api/push", json=body).status_code == 202


def test_alerts_arrive_and_a_hanging_channel_holds_up_nothing(daemon: Start, hook: Hook) -> None:
    """Grouped, with their ends, and on record; probes and rules go on beside one that never answers."""
    oculus = daemon(CONFIG % (hook.port, hook.port))
    push(oculus, a=35, b=36)
    wait_for(lambda: len(hook.got) == 1)
    (message,) = hook.got
    assert (message["state"], message["severity"]) == ("firing", "critical")
    assert (message["link"], message["series_link"]) == ("", "")  # it is not told where people reach it
    assert sorted(alert["symbol"] for alert in message["alerts"]) == ["custom.a.temp", "custom.b.temp"]
    wait_for(lambda: hook.stuck == 1)
    began = time.monotonic()
    before = oculus.sql("select count(*) from metrics where symbol = 'net.tcp.self.up'")[0][0]
    push(oculus, a=20, b=20)
    wait_for(lambda: len(hook.got) == 2)
    assert [alert["state"] for alert in hook.got[1]["alerts"]] == ["resolved"] * 2
    gevent.sleep(max(0.0, began + 2 - time.monotonic()))
    probed = oculus.sql("select count(*) from metrics where symbol = 'net.tcp.self.up'")[0][0] - before
    assert probed >= 7  # of ten in two seconds
    rows = wait_for(lambda: len(found := deliveries(oculus, "ops")) == 4 and found)
    assert [row[:2] for row in rows] == [["sent", 1]] * 4
    assert len({row[2] for row in rows}) == 2
    assert [row[0] for row in deliveries(oculus, "stuck")] == ["waiting"] * 4
    assert oculus.stop() == 0


def stored(daemon: Daemon, state: str) -> int:
    """Return how many alerts came to a state."""
    return len(daemon.json(f"/api/alerts?state={state}&limit=1000")["alerts"])


def stored_all(daemon: Daemon, count: int) -> bool:
    """Tell whether so many alerts fire."""
    return stored(daemon, "firing") == count


def deliveries(daemon: Daemon, channel: str) -> list[list[Any]]:
    """Return the state, tries and message of a channel's deliveries."""
    statement = "select state, tries, notice from deliveries where channel = $channel order by event"
    return daemon.sql(statement, channel=channel)


def test_an_outage_and_two_kills_lose_nothing(daemon: Start, hook: Hook) -> None:
    """A hundred alerts during it all arrive, in order for each, twice only under the id of one message."""
    config = CONFIG % (hook.port, hook.port)
    hook.down = True
    oculus = daemon(config)
    names = [f"s{number}" for number in range(100)]
    for part in range(3):
        push(oculus, **dict.fromkeys(names[part * 34 : part * 34 + 34], 35.0))
        wait_for(partial(stored_all, oculus, len(names[: part * 34 + 34])))
        if part < 2:
            gevent.sleep(0.6)  # the message may be claimed, or under way
            oculus.kill()
            oculus = daemon(config)
    tried = hook.tried
    assert tried > 0
    hook.down, hook.silent = False, True
    wait_for(lambda: len(hook.got) > 0, 30)
    oculus.kill()  # it has arrived, which the daemon does not know
    hook.silent = False
    oculus = daemon(config)
    symbols = {f"custom.{name}.temp" for name in names}
    told = {symbol for symbol, _ in hook.alerts()}

    def all_told() -> bool:
        counted = sum(message["more"] for message in hook.got)
        return {symbol for symbol, _ in hook.alerts()} == symbols or counted > 0

    wait_for(all_told, 60)
    push(oculus, **dict.fromkeys(names, 20.0))
    wait_for(lambda: stored(oculus, "resolved") == 100)
    wait_for(lambda: [row[0] for row in deliveries(oculus, "ops")].count("waiting") == 0, 60)
    by_alert: dict[str, list[str]] = {}
    for symbol, state in hook.alerts():
        by_alert.setdefault(symbol, []).append(state)
    assert by_alert.keys() == symbols, told
    assert all(states[-1] == "resolved" for states in by_alert.values())
    assert all(states.count("resolved") == 1 for states in by_alert.values())
    assert {row[0] for row in deliveries(oculus, "ops")} <= {"sent", "passed"}
    copies = len(hook.got) - len({message["id"] for message in hook.got})
    assert copies <= 2


def of_channel(daemon: Daemon, name: str) -> dict[str, float]:
    """Return the figures of a channel."""
    families = exposition.parse(daemon.get("/metrics").text)
    start, labels = "oculus_channel_", (("channel", name),)
    return {
        family.removeprefix(start): value
        for family, found in families.items()
        if family.startswith(start) and (value := found.samples.get((family, labels))) is not None
    }


def test_which_channel_fails_since_when_and_why_can_be_seen(daemon: Start, hook: Hook) -> None:
    """In the figures, in the log, and in one event for the beginning and one for the end."""
    oculus = daemon(CONFIG % (hook.port, hook.port))
    assert of_channel(oculus, "ops") == {"sent_total": 0, "failures_total": 0, "waiting": 0, "failing": 0}
    hook.down = True
    began = time.time()
    push(oculus, a=35)
    found = wait_for(lambda: (told := of_channel(oculus, "ops"))["failing"] and told)
    assert began < found["failing_since_timestamp_seconds"] < time.time() + 1
    assert (found["sent_total"], found["waiting"]) == (0, 1)
    assert found["failures_total"] >= 1
    oculus.wait_log("channel ops fails, its messages wait: 503: Service Unavailable")
    hook.down = False
    found = wait_for(lambda: (told := of_channel(oculus, "ops"))["sent_total"] and told, 30)
    assert (found["waiting"], found["failing"]) == (0, 0)
    assert "failing_since_timestamp_seconds" not in found
    events = "select severity, message from events where source = 'notify.ops' order by id"
    assert wait_for(lambda: len(rows := oculus.sql(events)) > 1 and rows) == [
        ["warn", "channel ops fails, its messages wait: 503: Service Unavailable"],
        ["info", "channel ops works again"],
    ]
