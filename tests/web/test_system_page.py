"""The page of the system: figures, collectors, channels, workers, storage and the log, of a site and of a
daemon."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from loguru import logger

from oculus.clock import SECOND, now
from oculus.config.settings import ServerSettings
from oculus.model import Micros
from oculus.web.system import ChannelState, CollectorState, History, System, WorkerState
from oculus.web.system_page import COLLECTORS_SHOWN
from tests.support.daemon import Daemon
from tests.support.html import Element, parse
from tests.support.servers import HttpServer, free_port, wait_for
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}
HOSTILE = "</b><script>alert(1)</script>"


def page(site: Site | Daemon, query: str = "") -> Element:
    """Return the page."""
    answer = site.get(f"/system{query}", headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def collector(name: str, **given: Any) -> CollectorState:
    """Return a collector that ran 2 s ago for 12 ms, and will again."""
    usual: dict[str, Any] = {
        "kind": "network/http", "interval": 10.0, "last_run": Micros(now() - 2 * SECOND),
        "next_run": Micros(now() + 8 * SECOND), "last_seconds": 0.0123, "runs": 5, "failures": 0,
        "skipped": 0, "series": 7, "failing": False, "error": "", "word": "",
    }  # fmt: skip
    return CollectorState(name=name, **usual | given)


def stats(root: Element) -> Mapping[str, Element]:
    """Return the figures of a page by their keys."""
    return {one.attributes["data-stat"]: one for one in root.find(class_="stat")}


def listed(root: Element) -> list[str]:
    """Return the collectors that a page lists."""
    return [row.attributes["data-collector"] for row in root.find("tr") if "data-collector" in row.attributes]


# -- figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "mood"), [(0.004, []), (0.021, ["warn"]), (0.2, ["bad"])], ids=["well", "late", "very late"]
)
def test_the_lateness_of_the_hub_is_told(new_site: NewSite, late: float, mood: list[str]) -> None:
    """The 99th percentile large, median and worst below, and the line of its last minutes."""
    told = System(lateness=(0.0004, late, 0.31), history=History(5.0, lateness=(0.001, 0.002, 0.3)))
    found = stats(page(new_site(system=lambda: told)))["lateness"]
    assert found.classes == ["stat", *mood]
    assert float(found.one("b").text) == late * 1000
    assert "p50 0.4, worst 310 ms" in found.text
    points = found.one("polyline").attributes["points"].split()
    assert len(points) == 5  # and two that close the area
    ys = [float(point.split(",")[1]) for point in points[1:-1]]
    assert ys[2] < ys[1] < ys[0]


def test_a_queue_that_fills_and_what_was_lost_are_told(new_site: NewSite) -> None:
    """By the bound that is nearer, and by the reason."""
    told = System(
        queued=1_000, queue_capacity=200_000, queue_bytes=95, queue_bytes_capacity=100, samples=5_000,
        lost={"queue_memory": 1_234, "refused_push": 5},
    )  # fmt: skip
    root = page(new_site(system=lambda: told))
    queue = stats(root)["queue"]
    assert queue.classes == ["stat", "bad"]
    assert queue.one("b").text == "95"
    assert "1,000 of 200,000 rows, 1,239 lost" in queue.text
    assert (
        "1,234 (the queue had too many bytes), 5 (pushes that were refused)" in root.one(class_="amber").text
    )
    assert not page(new_site()).find(class_="amber")


def test_rates_and_memory_are_those_of_the_last_look(new_site: NewSite) -> None:
    """With how it was before as a line."""
    history = History(5.0, samples=(10.0, 3_456.0), processor=(0.5, 0.125), memory=(2e8, 1e8))
    told = System(samples=12_345, memory=123_400_000, uptime=3_700.0, python="3.11.2", history=history)
    root = page(new_site(system=lambda: told))
    found = stats(root)
    assert found["samples"].find("p")[0].text == "3.5 k /s"
    assert found["cpu"].one("b").text == "12.5"
    assert "31.2 % on average" in found["cpu"].text
    assert found["memory"].one("b").text == "123"
    assert "200 MB at most" in found["memory"].text
    about = root.one(class_="about").text
    assert "Python3.11.2" in about
    assert root.one(class_="about").find("time")


def test_a_daemon_that_is_not_ready_says_so(new_site: NewSite) -> None:
    """On top of the page."""
    site = new_site(not_ready=lambda: f"the disk is full {HOSTILE}")
    assert "the disk is full" in page(site).one(id="live").one(class_="banner").text


# -- collectors, channels and workers ---------------------------------------------------------------------


def test_collectors_that_fail_stand_first_with_the_reason(new_site: NewSite) -> None:
    """Then by kind and name; one that runs now, or never did, has no next run."""
    collectors = [
        collector("zeta", kind="api", failing=True, error=f"HTTP 500 {HOSTILE}", failures=3),
        collector("beta", next_run=None),
        collector("alpha", error="was refused", failures=1, skipped=2, word="closed"),
        collector("never", kind="crypto", last_run=None, runs=0, series=0),
    ]
    site = new_site(system=lambda: System(collectors=iter(collectors)))
    root = page(site)
    assert listed(root) == ["api/zeta", "crypto/never", "network/http/alpha", "network/http/beta"]
    zeta, never, alpha, beta = (row for row in root.find("tr") if "data-collector" in row.attributes)
    assert "failing" in zeta.classes
    assert zeta.one(class_="why").text == f"HTTP 500 {HOSTILE}"
    assert "3 of 5" in zeta.text
    assert "12.30 ms" in zeta.text
    assert "waiting" in never.classes
    assert never.one("td", data_label="last").text == "–"
    assert "once: was refused" in alpha.text
    assert "2 skipped" in alpha.text
    assert "closed" in alpha.text
    assert beta.one("td", data_label="next").text == "now"
    assert root.one(class_="stats").attributes["data-failing"] == "1"


def test_collectors_are_found_and_shown_in_part(new_site: NewSite) -> None:
    """By kind, name and error; the first ones are shown until all are asked for."""
    count = COLLECTORS_SHOWN + 30
    collectors = [collector(f"site_{number:03}") for number in range(count)]
    collectors.append(collector("odd", kind="api", failing=True, error="no route to host"))
    site = new_site(system=lambda: System(collectors=iter(collectors)))
    root = page(site)
    assert len(listed(root)) == COLLECTORS_SHOWN
    assert "and 31 more" in root.one(class_="collectors").text
    assert (
        len(listed(page(site, root.one(id="collectors-more").attributes["href"][7:].partition("#")[0])))
        == count + 1
    )
    for query, found in (
        ("?q=SITE_00", [f"network/http/site_00{number}" for number in range(10)]),
        ("?q=api/", ["api/odd"]),
        ("?q=no+route", ["api/odd"]),
        ("?show=failing", ["api/odd"]),
        ("?q=site&show=failing", []),
    ):
        root = page(site, query)
        assert listed(root) == found, query
        again = parse(site.get(root.one(id="live").attributes["hx-get"]).text)
        assert listed(again) == found
    assert "No collector matches" in root.one(class_="collectors").text
    assert site.get("/system?show=x", headers=WEB).status_code == 400


def test_channels_and_workers_tell_their_troubles(new_site: NewSite) -> None:
    """What was sent, what waits, since when a channel fails and why; which greenlet died how often."""
    channels = (
        ChannelState("log", "log", 7, 0, 0, "", None),
        ChannelState("ops", "slack", 1_200, 3, 12, f"HTTP 500 {HOSTILE}", Micros(now() - 3_600 * SECOND)),
    )
    workers = (
        WorkerState("writer", True, 0, ""),
        WorkerState("rules", True, 2, "ValueError: x"),
        WorkerState("gone", False, 0, ""),
    )
    site = new_site(system=lambda: System(channels=channels, workers=workers))
    root = page(site)
    log, ops = root.one(class_="channels").find("li")
    assert log.text == "log 7 sent"
    assert "ops slack 1,200 sent, 12 waiting, 3 tries failed" in ops.text
    assert f"HTTP 500 {HOSTILE}" in ops.one(class_="why").text
    assert len(ops.find("time")) == 1
    fine, restarted, ended = root.one(id="workers").find("li")
    assert (fine.classes, restarted.classes, ended.classes) == (["fine"], ["restarted"], ["ended"])
    assert "2 × ValueError: x" in restarted.text
    assert "2 restarts" in root.one(id="workers-title").text


# -- storage --------------------------------------------------------------------------------------------


def test_the_page_shows_where_the_space_goes(new_site: NewSite) -> None:
    """Size, limit, and rows and share of each table, once they were counted; the old address leads there."""
    site = new_site(max_size=100_000_000)
    assert "counted shortly" in page(site).one(id="storage").text
    site.write(*((f"custom.s{number}", float(number)) for number in range(1_234)))
    site.upkeep.keep_up()
    root = page(site).one(id="storage")
    tables = {
        line.attributes["data-table"]: line.text
        for line in root.find("tr")
        if "data-table" in line.attributes
    }
    assert list(tables) == ["metrics", "rollup_1m", "rollup_1h", "events"]
    assert "1,234" in tables["metrics"]
    assert "7d" in tables["metrics"]
    assert "90d" in tables["rollup_1m"]
    assert "of 100 MB" in root.text
    moved = site.get("/storage", headers=WEB, allow_redirects=False)
    assert (moved.status_code, moved.headers["Location"]) == (303, "/system#storage")


# -- the log --------------------------------------------------------------------------------------------


def test_the_last_records_are_shown_by_level(new_site: NewSite) -> None:
    """Newest first, with their tracebacks, escaped; what is known is not sent again."""
    site = new_site()
    handler = logger.add(site.log, format=lambda record: "{exception}", level="DEBUG", backtrace=False)
    try:
        logger.debug("a detail")
        logger.bind(rule="slow").info("hello {}", HOSTILE)
        logger.warning("two\nlines")
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logger.exception("it broke")
    finally:
        logger.remove(handler)
    root = page(site).one(id="log")
    rows = root.find("li")
    assert [row.classes for row in rows] == [["error"], ["warning"], ["info"], ["debug"]]
    assert "ValueError" in rows[0].one("code").text
    assert HOSTILE in rows[0].text
    assert "two\\nlines" in rows[1].text
    assert f"hello {HOSTILE} rule=slow" in rows[2].text
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", rows[3].one("time").text)
    again = root.attributes["hx-get"]
    assert site.get(again).status_code == 204
    warnings = page(site, "?level=warning").one(id="log")
    assert [row.classes for row in warnings.find("li")] == [["error"], ["warning"]]
    again = warnings.attributes["hx-get"]
    assert site.get(again).status_code == 204
    fresh = parse(site.get(again.replace("seen=4", "seen=3")).text).one("section")
    assert fresh.attributes["hx-get"] == again
    assert len(fresh.find("li")) == 2
    assert site.get("/system?level=loud", headers=WEB).status_code == 400


def test_the_token_is_needed(new_site: NewSite) -> None:
    """For the page and its parts: the log may tell what not everybody may know."""
    site = new_site(server=ServerSettings(token="open sesame"))
    for path in ("/system", "/partials/system", "/partials/log", "/storage"):
        assert site.get(path).status_code == 401


# -- the daemon -----------------------------------------------------------------------------------------


def test_a_daemon_tells_how_it_fares(
    daemon: Callable[..., Daemon], http_server: Callable[..., HttpServer]
) -> None:
    """Its collectors with their runs, a channel that fails, its workers, and what it has logged."""
    server, dead = http_server(), free_port()
    oculus = daemon(
        "database: {flush: 50ms}\n"
        "collectors:\n"
        f'  - {{type: network, probe: http, name: site, target: "{server.url}", interval: 200ms}}\n'
        f'  - {{type: api, name: broken, url: "http://127.0.0.1:{dead}/", json_path: $.x, interval: 500ms}}\n'
        "rules:\n"
        "  - {name: hot, condition: custom.x > 1, channels: [log, ops]}\n"
        "notifications:\n"
        f'  ops: {{type: webhook, url: "http://127.0.0.1:{dead}/", group_wait: 0s}}\n'
    )
    assert oculus.post("/api/push/custom.x", json={"value": 5}).status_code == 202

    def told() -> Element | None:
        root = page(oculus)
        settled = "failing for" in root.one(class_="channels").text and stats(root)["samples"].find(
            "polyline"
        )
        return root if settled and listed(root)[0] == "api/broken" else None

    root: Element = wait_for(told, 60)
    assert listed(root) == ["api/broken", "network/http/site"]
    broken, site = (row for row in root.find("tr") if "data-collector" in row.attributes)
    assert "failing" in broken.classes
    assert broken.one(class_="why").text
    assert site.one("td", data_label="series").text != "0"
    assert site.one("td", data_label="took").text.endswith("s")
    assert int(stats(root)["memory"].one("b").text) > 20
    assert {"writer", "watchdog", "vitals", "rules"} <= {
        worker.attributes["data-worker"] for worker in root.one(id="workers").find("li")
    }
    log, ops = root.one(class_="channels").find("li")
    assert "log 1 sent" in log.text
    assert "ops webhook 0 sent, 1 waiting" in ops.text
    levels = {row.classes[0]: row.text for row in root.one(id="log").find("li")}
    assert {"info", "warning", "error"} <= levels.keys()
    assert "collector api/broken failed" in levels["error"]
    assert oculus.stop() == 0
