"""Pings over real sockets, into a real store; and a real daemon that is killed between them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from oculus.clock import SECOND, parse_iso
from oculus.collectors.heartbeat import HeartbeatSettings
from oculus.collectors.heartbeat_state import State
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec, ServerSettings
from oculus.storage import ingest
from oculus.web import heartbeats
from tests.support.client import fresh_address
from tests.support.daemon import Daemon
from tests.support.html import parse
from tests.support.servers import wait_for
from tests.support.site import Site

Start = Callable[..., Daemon]

KEY = "3f9c2b7a1d5e4c60"
TOKEN = "correct horse"


def spec(name: str, **settings: Any) -> CollectorSpec:
    """Return a daily heartbeat's entry of a configuration."""
    given = HeartbeatSettings(name=name, period=Seconds(86_400.0), grace=Seconds(3_600.0), **settings)
    return CollectorSpec("heartbeat", name, given)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Start a site with the heartbeats `backup` and, by its key, `keyed`."""
    sites: list[Site] = []

    def start(**options: Any) -> Site:
        sites.append(Site(tmp_path, heartbeats=[spec("backup"), spec("keyed", key=KEY)], **options))
        return sites[-1]

    yield start
    for one in sites:
        one.close()


def stored(site: Site, name: str = "backup") -> State:
    """Return what the store holds of a heartbeat."""
    states = site.writer.call(ingest.read_states, "heartbeat/")
    return State.of_json(states[f"heartbeat/{name}"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_ping_is_answered_once_it_is_stored(site: Callable[..., Site], method: str) -> None:
    """Each method will do; what the answer says is in the store by then."""
    web = site()
    before = time.time()
    answer = web.ask(method, "/api/heartbeat/backup")
    assert answer.status_code == 200
    last = stored(web).last
    assert last is not None
    assert before <= last / SECOND <= time.time()
    assert answer.headers["Cache-Control"] == "no-store"
    if method != "HEAD":
        body = answer.json()
        assert (body["heartbeat"], body["state"], body["running"]) == ("backup", "up", False)
        assert parse_iso(body["deadline"]) == last + 90_000 * SECOND
    else:
        assert answer.text == ""
    web.settle()
    ((ts, value, _),) = web.stored("heartbeat.backup.up")
    assert (ts, value) == (last, 1.0)


@pytest.mark.parametrize(
    ("action", "status", "state"),
    [
        ("/start", 200, "new"),
        ("/fail", 200, "down"),
        ("/0", 200, "up"),
        ("/1", 200, "down"),
        ("/255", 200, "down"),
        ("/log", 202, "new"),
        ("/256", 400, None),
        ("/99999999999999999999", 400, None),
        ("/-1", 404, None),
        ("/٣", 404, None),
        ("/stop", 404, None),
        ("?rid=7f3c", 400, None),
        ("?rid=", 200, "up"),
    ],
)
def test_actions(site: Callable[..., Site], action: str, status: int, state: str | None) -> None:
    """What stands behind the name tells what happened; anything else is refused and changes nothing."""
    web = site()
    answer = web.post(f"/api/heartbeat/backup{action}", data=b"text")
    assert answer.status_code == status, answer.text
    assert answer.json().get("state") == state
    if state is None:
        assert answer.json()["error"]["message"]
        assert web.get("/api/heartbeat/backup/log").json()["state"] == "new"


def test_two_quick_runs_are_told_apart(site: Callable[..., Site]) -> None:
    """Both start at once; the end of the one leaves the other going."""
    web = site()
    one, other = uuid.uuid4(), uuid.uuid4()
    path = "/api/heartbeat/backup"
    gevent.joinall([gevent.spawn(web.get, f"{path}/start?rid={one}")], raise_error=True)
    web.get(f"{path}/start?rid={other}")
    assert web.get(f"{path}?rid={one}").json()["running"]
    assert not web.get(f"{path}?rid={str(other).upper()}").json()["running"]
    web.settle()
    assert len(web.stored("heartbeat.backup.duration")) == 1
    assert len(web.stored("heartbeat.backup.up")) == 1


def test_an_unknown_heartbeat_is_404(site: Callable[..., Site]) -> None:
    """The sender learns that nobody listens."""
    answer = site().get("/api/heartbeat/nothing")
    assert answer.status_code == 404
    assert "there is no heartbeat 'nothing'" in answer.json()["error"]["message"]


def test_with_a_token_the_name_needs_it_and_the_key_does_not(site: Callable[..., Site]) -> None:
    """A cron job on another host has only a URL, and may call this host by any name."""
    web = site(server=ServerSettings(token=TOKEN))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert web.get("/api/heartbeat/backup").status_code == 401
    assert web.get("/api/heartbeat/keyed").status_code == 401
    assert web.get("/api/heartbeat/nothing").status_code == 401
    assert web.get("/api/heartbeat/backup", headers=bearer).status_code == 200
    assert web.get(f"/api/heartbeat/{KEY}").status_code == 200
    assert web.get(f"/api/heartbeat/{KEY}/start", headers={"Host": "elsewhere.example"}).status_code == 200
    assert stored(web, "keyed").started is not None
    assert web.get("/api/metrics").status_code == 401


def test_without_a_token_an_unknown_host_name_needs_the_key(site: Callable[..., Site]) -> None:
    """The check against DNS rebinding is for names that can be guessed."""
    web = site()
    elsewhere = {"Host": "elsewhere.example"}
    assert web.get("/api/heartbeat/keyed", headers=elsewhere).status_code == 403
    assert web.get(f"/api/heartbeat/{KEY}", headers=elsewhere).status_code == 200


def test_a_page_elsewhere_cannot_ping(site: Callable[..., Site]) -> None:
    """An image on another site would keep a dead job alive; a person who opens the address may."""
    web = site()
    path = "/api/heartbeat/backup"
    assert web.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert web.post(path, headers={"Origin": "https://elsewhere.example"}).status_code == 403
    assert web.get(path, headers={"Sec-Fetch-Site": "none"}).status_code == 200


def test_many_jobs_behind_one_address_all_get_through(site: Callable[..., Site]) -> None:
    """At the full hour a hundred ping at once; they share a few commits."""
    web = site()
    source = fresh_address()
    asked = [gevent.spawn(web.get, "/api/heartbeat/backup", source=source) for _ in range(100)]
    started = time.monotonic()
    answers = [one.get(timeout=20) for one in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - started < 10
    assert [web.get("/api/heartbeat/x", source=source).status_code for _ in range(25)].count(429)
    assert web.get("/api/heartbeat/backup", source=source).status_code == 200


def test_a_flood_on_one_heartbeat_is_cut_off(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are not concerned, and the sender is told when to come again."""
    monkeypatch.setattr(heartbeats, "RATE", 1.0)
    monkeypatch.setattr(heartbeats, "BURST", 3.0)
    web = site()
    answers = [web.get("/api/heartbeat/backup/log") for _ in range(5)]
    assert [answer.status_code for answer in answers].count(429) >= 1
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert web.get("/api/heartbeat/keyed").status_code == 200


def test_a_long_body_is_cut(site: Callable[..., Site]) -> None:
    """Its first line is the reason, its beginning is kept, and the rest is thrown away."""
    web = site()
    body = b"out of \xff space\n" + b"x" * 1_000_000
    assert web.post("/api/heartbeat/backup/1", data=body).status_code == 200
    (event,) = web.events
    assert event.message == "heartbeat backup is down: failed with exit status 1: out of � space"
    assert len(event.payload["body"]) == 10_000
    web.settle()
    ((_, value, tags),) = web.stored("heartbeat.backup.up")
    assert value == 0.0
    assert "out of � space" in tags


def test_control_signs_can_be_stored(site: Callable[..., Site]) -> None:
    """Text of any bytes makes an event that the database takes."""
    web = site()
    assert web.post("/api/heartbeat/backup/log", data=bytes(range(256)) + b"\xed\xa0\x80").status_code == 202
    web.store_events(web.events)
    ((message,),) = web.readers.run(lambda cursor: cursor.execute("select message from events").fetchall())
    assert message.startswith("heartbeat backup, log: ")


def test_a_body_that_does_not_come_delays_a_ping_and_loses_none(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while it counts as it is, and so does that of a client that goes away."""
    monkeypatch.setattr(heartbeats, "BODY_WITHIN", 0.2)
    web = site()
    head = b"POST /api/heartbeat/backup/2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as sock:
        sock.sendall(head)
        assert b" 200 OK" in sock.recv(65_536)
    with socket.create_connection(("127.0.0.1", web.port), timeout=20) as sock:
        sock.sendall(head.replace(b"backup/2", b"keyed/3"))
    wait_for(lambda: len(web.events) == 2)
    assert {event.message for event in web.events} == {
        "heartbeat backup is down: failed with exit status 2",
        "heartbeat keyed is down: failed with exit status 3",
    }


# -- the daemon ---------------------------------------------------------------------------------------------

CONFIG = """
database: {flush: 60s}
collectors:
  - {type: heartbeat, name: daily, period: 1d, grace: 1h, interval: 1s}
  - {type: heartbeat, name: brisk, period: 2s, grace: 1s, interval: 1s}
"""


def test_pings_outlast_a_kill_and_a_deadline_that_passed_meanwhile_is_told(daemon: Start) -> None:
    """Killed right after the answers; the restart knows the pings, and tells the miss with its own time."""
    first = daemon(CONFIG)
    answers = {name: first.get(f"/api/heartbeat/{name}").json() for name in ("daily", "brisk")}
    first.kill()
    gevent.sleep(max(0.0, parse_iso(answers["brisk"]["deadline"]) / SECOND - time.time()) + 0.2)
    second = daemon(CONFIG.replace("60s", "100ms"))
    found = wait_for(lambda: second.latest("heartbeat.brisk.up"), 20)
    assert found["value"] == 0.0
    assert found["tags"]["error"].startswith("no ping since ")
    rows = second.sql(
        "select epoch_us(ts), value from metrics where symbol = 'heartbeat.brisk.up' order by ts limit 1"
    )
    assert rows == [[parse_iso(answers["brisk"]["deadline"]), 0.0]]
    daily = second.get("/api/heartbeat/daily/log").json()
    assert (daily["last"], daily["state"]) == (answers["daily"]["last"], "up")
    assert wait_for(lambda: second.latest("heartbeat.daily.up"))["value"] == 1.0
    second.wait_log("heartbeat brisk is down: no ping since ")
    assert second.log().count("heartbeat brisk is down") == 1


def test_a_missed_ping_is_noticed_in_time_and_shown(daemon: Start) -> None:
    """Without waiting for the interval; the dashboard shows it as a target with its reason, a rule fires."""
    running = daemon(
        "database: {flush: 50ms}\n"
        "collectors:\n"
        "  - {type: heartbeat, name: brisk, period: 1s, grace: 500ms, interval: 1h}\n"
        "  - {type: heartbeat, name: silent, period: 1s, grace: 500ms, interval: 1s}\n"
        "rules:\n"
        "  - {name: missed, condition: heartbeat.brisk.up == 0}\n"
    )
    deadline = parse_iso(running.get("/api/heartbeat/brisk").json()["deadline"])
    found = wait_for(lambda: (last := running.latest("heartbeat.brisk.up")) and last["value"] == 0 and last)
    assert parse_iso(found["ts"]) == deadline
    assert time.time() - deadline / SECOND < 5
    assert wait_for(lambda: running.json("/api/alerts?state=firing")["alerts"])[0]["rule"] == "missed"
    page = parse(running.get("/", headers={"Accept": "text/html"}).text)
    text = page.text
    assert "Heartbeats" in text
    assert "no ping since" in text
    assert running.latest("heartbeat.silent.up") is None
    # A reload that takes it out makes it unknown, and one that brings it back knows its pings.
    running.configure("collectors:\n  - {type: heartbeat, name: silent, period: 1s, grace: 1s}\n")
    wait_for(lambda: running.get("/api/heartbeat/brisk").status_code == 404)
    running.configure("collectors:\n  - {type: heartbeat, name: brisk, period: 1d, grace: 1s}\n")
    answer = wait_for(lambda: (got := running.get("/api/heartbeat/brisk/log")).status_code == 202 and got)
    assert answer.json()["last"] is not None
    assert running.stop() == 0
