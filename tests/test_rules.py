"""Rules in the running daemon: wildcards, figures over time, queries, and kills at the worst moments."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from oculus.clock import SECOND, now
from tests.support import command
from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, ok, wait_for

Start = Callable[..., Daemon]

QUICK = "database: {flush: 50ms}\n"


def push(daemon: Daemon, **values: float) -> None:
    """Push values; a double underscore in a name is a dot of the symbol."""
    body = [{"symbol": name.replace("__", "."), "value": value} for name, value in values.items()]
    assert daemon.post("/api/push", json=body).status_code == 202


def steps(daemon: Daemon, rule: str) -> list[tuple[str, str, str | None]]:
    """Return the stored steps of a rule's alerts, oldest first: states before and after, and the symbol."""
    found: list[dict[str, Any]] = daemon.json(f"/api/alerts?rule={rule}")["alerts"]
    return [(step["previous"], step["state"], step["symbol"]) for step in reversed(found)]


def test_one_rule_watches_many_targets(daemon: Start) -> None:
    """Each match of a wildcard has an alert of its own, with its evidence."""
    oculus = daemon(QUICK + 'rules: [{name: hot, condition: "custom.*.temp > 30 and custom.*.on == 1"}]')
    push(oculus, custom__a__temp=35, custom__a__on=1, custom__b__temp=20, custom__b__on=1)
    wait_for(lambda: steps(oculus, "hot") == [("inactive", "firing", "custom.a.temp")])
    push(oculus, custom__b__temp=31, custom__a__temp=30)
    wait_for(lambda: len(steps(oculus, "hot")) == 3)
    assert sorted(steps(oculus, "hot")[1:]) == [
        ("firing", "resolved", "custom.a.temp"), ("inactive", "firing", "custom.b.temp"),
    ]  # fmt: skip
    (step,) = oculus.json("/api/alerts?state=resolved")["alerts"]
    assert step["explanation"] == "custom.a.temp (30) > 30 and custom.a.on (1) == 1"
    assert [(operand["text"], operand["value"]) for operand in step["operands"]] == [
        ("custom.a.temp", 30), ("custom.a.on", 1),
    ]  # fmt: skip
    assert 0 <= step["operands"][0]["age"] < 10
    assert step["suppressed"] == ""


def test_figures_over_time_come_from_the_store(daemon: Start) -> None:
    """What was stored before the rule was there counts."""
    oculus = daemon(QUICK)
    for value in (1, 2, 9):
        push(oculus, custom__x=value)
    wait_for(lambda: oculus.sql("select count(*) from metrics") == [[3]])
    oculus.configure(
        QUICK + "rules:\n"
        '  - {name: mean, condition: "avg(custom.x, 10m) == 4", every: 500ms}\n'
        '  - {name: high, condition: "max(custom.x, 10m) > 20", every: 500ms}\n'
    )
    wait_for(lambda: steps(oculus, "mean") == [("inactive", "firing", "custom.x")])
    push(oculus, custom__x=24)
    wait_for(lambda: [step[1] for step in steps(oculus, "mean")] == ["firing", "resolved"])
    wait_for(lambda: [step[1] for step in steps(oculus, "high")] == ["firing"])


def test_the_rows_of_a_query_are_alerts(daemon: Start) -> None:
    """They fire and resolve with the rows; a query that fails is told, and harms no other rule."""
    oculus = daemon(
        QUICK + "rules:\n"
        "  - name: spread\n"
        "    sql: select symbol, max(value) - min(value) as spread, max(ts) as ts, 1.5 as d, null as none,"
        " count(*)::hugeint as n from metrics"
        " group by symbol having spread > $least\n"
        "    params: {least: 10}\n"
        "    every: 300ms\n"
        '    message: "{{ symbol }} moved {{ spread }}"\n'
        "  - {name: broken, sql: select nothing from metrics, every: 300ms}\n"
    )
    push(oculus, custom__x=1, custom__y=1)
    push(oculus, custom__x=15, custom__y=5)
    wait_for(lambda: steps(oculus, "spread") == [("inactive", "firing", "custom.x")])
    (step,) = oculus.json("/api/alerts?rule=spread")["alerts"]
    assert step["message"] == "custom.x moved 14.0"
    assert step["labels"] == {"symbol": "custom.x"}
    assert "d = 1.5, n = 2" in step["explanation"]
    broken = wait_for(lambda: (found := oculus.json("/api/rules/broken"))["health"] == "error" and found)
    assert "nothing" in broken["error"]
    assert oculus.json("/api/rules/spread")["health"] == "ok"


def test_a_backtest_tells_what_happened(daemon: Start) -> None:
    """On the same samples: the same alerts, within the second in which the daemon looks at its rules; by the
    API, by the command line beside the daemon, and without it."""
    config = QUICK + (
        "rules:\n"
        '  - {name: hot, condition: "custom.*.temp > 30", for: 700ms}\n'
        '  - {name: mean, condition: "max(custom.a.temp, 3s) > 33", every: 500ms, no_data: ok}\n'
        '  - {name: kept, condition: "custom.b.temp > 30", keep_firing_for: 500ms, depends_on: [hot]}\n'
        "  - {name: rows, every: 300ms,"
        " sql: 'select symbol, arg_max(value, ts) as v from metrics group by symbol having v > 30'}\n"
    )
    oculus = daemon(config)
    for a, b in ((20, 20), (31, 20), (34, 31), (20, 20), (20, 31), (20, 20)):
        push(oculus, custom__a__temp=a, custom__b__temp=b)
        time.sleep(2.3)  # the daemon looks each second, and its own time is what this is about
    names = ("hot", "mean", "kept", "rows")

    def over(name: str) -> bool:
        steps = oculus.json(f"/api/alerts?rule={name}&limit=1")["alerts"]
        return bool(steps) and steps[0]["state"] == "resolved"

    wait_for(lambda: all(map(over, names)))

    def firings(name: str) -> list[tuple[str, float, float]]:
        steps = reversed(oculus.json(f"/api/alerts?rule={name}&limit=1000")["alerts"])
        begun: dict[str, float] = {}
        found = []
        for step in steps:
            if step["state"] == "firing":
                begun.setdefault(step["symbol"], seconds(step["ts"]))
            elif step["previous"] == "firing":
                found.append((step["symbol"], begun.pop(step["symbol"]), seconds(step["ts"])))
        return sorted(found)

    def told(answer: dict[str, Any], name: str) -> list[tuple[str, float, float]]:
        (rule,) = (rule for rule in answer["rules"] if rule["name"] == name)
        assert rule["error"] == ""
        return sorted(
            (found["symbol"], seconds(found["started_at"]), seconds(found["ended_at"]))
            for found in rule["intervals"]
        )

    answer = oculus.post("/api/backtest", json={"since": "1h"}).json()
    live = {name: firings(name) for name in names}
    assert all(live.values())
    for name, expected in live.items():
        found = told(answer, name)
        assert [symbol for symbol, *_ in found] == [symbol for symbol, *_ in expected], name
        for (_, *times), (_, *others) in zip(found, expected, strict=True):
            assert times == pytest.approx(others, abs=1.6), name
    arguments = (
        "backtest",
        "--rule",
        "hot",
        "--since",
        "1h",
        "--format",
        "json",
        "--db",
        str(oculus.database),
    )
    beside = command.oculus(*arguments).json()
    assert told(beside, "hot") == told(answer, "hot")
    oculus.stop()
    alone = command.oculus(*arguments, "--config", str(oculus.folder / "config.yaml")).json()
    assert told(alone, "hot") == told(answer, "hot")


def seconds(text: str) -> float:
    """Return a time as seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def test_a_kill_between_pending_and_firing_delays_nothing(daemon: Start) -> None:
    """The alert carries on: it fires by the time at which its condition began to hold."""
    config = QUICK + 'rules: [{name: hot, condition: "custom.t > 30", for: 3s}]'
    oculus = daemon(config)
    push(oculus, custom__t=35)
    wait_for(lambda: steps(oculus, "hot") == [("inactive", "pending", "custom.t")])
    oculus.kill()
    again = daemon(config)
    assert again.json("/api/rules/hot")["state"] == "pending"
    push(again, custom__t=36)
    wait_for(lambda: [step[1] for step in steps(again, "hot")] == ["pending", "firing"])
    first, second = reversed(again.json("/api/alerts?rule=hot")["alerts"])
    assert second["started_at"] == first["started_at"] == first["ts"]


def test_a_kill_between_firing_and_resolved_tells_nothing_twice(daemon: Start) -> None:
    """It still fires after the start, without another word, and its end is told."""
    config = (
        QUICK + 'rules: [{name: hot, condition: "custom.t > 30"}, {name: gone, condition: "custom.t > 31"}]'
    )
    oculus = daemon(config)
    push(oculus, custom__t=35)
    wait_for(lambda: len(oculus.json("/api/alerts")["alerts"]) == 2)
    oculus.kill()
    again = daemon(config.split(", {name: gone")[0] + "]")
    assert again.json("/api/rules/hot")["state"] == "firing"
    push(again, custom__t=36)
    wait_for(lambda: again.sql("select count(*) from metrics where value = 36") == [[1]])
    push(again, custom__t=20)
    wait_for(lambda: [step[1] for step in steps(again, "hot")] == ["firing", "resolved"])
    wait_for(lambda: [step[1] for step in steps(again, "gone")] == ["firing", "resolved"])
    assert again.json("/api/rules/hot")["instances"] == []


def test_the_end_of_an_alert_is_told_where_its_beginning_was(daemon: Start) -> None:
    """Though its rule was removed while the daemon was down: who was woken by it hears that it is over."""
    got: list[dict[str, Any]] = []

    def hook(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        got.append(json.loads(environ["wsgi.input"].read()))
        return ok(environ, start_response)  # type: ignore[return-value]

    server = HttpServer(hook)
    hook_options = f'type: webhook, url: "{server.url}/", group_wait: 0s, group_interval: 300ms'
    channel = f"notifications: {{ops: {{{hook_options}}}}}\n"
    rules = 'rules: [{name: hot, condition: "custom.t > 30", severity: critical, channels: [ops]}]'
    oculus = daemon(QUICK + channel + rules)
    push(oculus, custom__t=35)
    wait_for(lambda: [message["state"] for message in got] == ["firing"])
    wait_for(lambda: oculus.sql("select state from deliveries") == [["sent"]])
    oculus.kill()
    daemon(QUICK + channel)
    wait_for(
        lambda: [(message["state"], message["severity"]) for message in got[1:]] == [("resolved", "critical")]
    )
    server.stop()


def test_a_kill_while_an_alert_is_kept_begins_nothing_anew(daemon: Start) -> None:
    """It fires on after it held last; how long it has done so is not forgotten."""
    config = QUICK + 'rules: [{name: hot, condition: "custom.t > 30", keep_firing_for: %s}]'
    oculus = daemon(config % "1h")
    push(oculus, custom__t=35)
    wait_for(lambda: [step[1] for step in steps(oculus, "hot")] == ["firing"])
    push(oculus, custom__t=20)
    remembered = "select value::json->>'keep_since' from oculus_state where key = 'alert/hot/'"
    since = wait_for(lambda: (found := oculus.sql(remembered)[0][0]) and int(found))
    oculus.kill()
    again = daemon(config % "6s")
    assert again.json("/api/rules/hot")["state"] == "firing"
    wait_for(lambda: now() > since + 6 * SECOND)
    begun = now() / SECOND
    push(again, custom__t=20)
    wait_for(lambda: [step[1] for step in steps(again, "hot")] == ["firing", "resolved"])
    (end,) = again.json("/api/alerts?rule=hot&state=resolved")["alerts"]
    assert seconds(end["ts"]) - begun < 5  # at the first look, instead of 6 s after it
