"""Backtests over real stores: intervals, days and messages, on samples and on rollups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oculus import RuleEngine, RuleSettings, Sample, Storage, backtest, evaluate
from oculus.clock import DAY, SECOND
from oculus.config.decode import Seconds
from oculus.errors import QueryTimeout
from oculus.hindsight import backtest as hindsight
from oculus.model import Micros, Tags
from oculus.storage import retention, rollup
from oculus.storage.tiers import HOUR, MINUTE, floor

T0 = floor(Micros(1_800_000_000 * SECOND), DAY)
LOAD = "net.http.site.rtt"


def at(hours: float) -> Micros:
    """Return a time by its hours since the beginning."""
    return Micros(T0 + int(hours * HOUR))


def wave(hours: float, every: int = 30, symbol: str = LOAD) -> list[Sample]:
    """Return a value that is high for ten minutes at the beginning of each sixth hour, and low otherwise."""
    samples = []
    for number in range(int(hours * 3_600 / every)):
        second = number * every
        high = second >= 6 * 3_600 and second % (6 * 3_600) < 600
        samples.append(Sample(symbol, 900.0 if high else 100.0, Micros(T0 + second * SECOND)))
    return samples


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Storage]:
    """A store with two days of the wave."""
    with Storage(str(tmp_path / "x.db")) as opened:
        opened.write(wave(48))
        yield opened


def rule(condition: str = f"{LOAD} > 500", **settings: object) -> RuleSettings:
    """Return a rule."""
    return RuleSettings(**{"name": "slow", "condition": condition} | settings)  # type: ignore[arg-type]


def test_intervals_days_and_messages(store: Storage) -> None:
    """Each firing with its times and reason, counted for each day, and for what people would have got."""
    found = backtest(store, [rule(for_=Seconds(120.0))], at(1), at(47))
    assert found.parts == (("samples", at(1), at(47)),)
    (slow,) = found.rules
    assert [
        ((one.pending_at - T0) / HOUR, (one.started_at - one.pending_at) / MINUTE, one.seconds(at(47)))
        for one in slow.intervals
    ] == [(hour, 2, 480) for hour in range(6, 48, 6)]
    assert slow.intervals[0].explanation == f"{LOAD} (900) > 500"
    assert slow.intervals[0].value == 900
    assert (slow.firings, slow.seconds, slow.health) == (7, 7 * 480, "ok")
    # A day begins at midnight in UTC. Each firing is told once, and so is its end.
    assert [(day.date[-2:], day.firings, day.seconds, day.messages) for day in slow.days] == [
        ("15", 3, 3 * 480, 6), ("16", 4, 4 * 480, 8),
    ]  # fmt: skip
    told = found.to_json()
    assert told["rules"][0]["intervals"][0]["started_at"] == "2027-01-15T06:02:00.000Z"
    assert told["rules"][0]["firing_seconds"] == 7 * 480


def test_what_fires_at_the_ends(store: Storage) -> None:
    """A value from before the beginning counts at the beginning, and what fires at the end has none."""
    found = backtest(store, [rule()], at(6.05), at(12.05)).rules[0]
    assert [(one.started_at, one.ended_at) for one in found.intervals] == [
        (at(6.05), Micros(at(6) + 10 * MINUTE)), (at(12), None),
    ]  # fmt: skip
    assert found.seconds == pytest.approx(7 * 60 + 3 * 60)


def test_windows_reach_back_before_the_beginning(store: Storage) -> None:
    """The mean of the last hour is right at the first look."""
    found = backtest(store, [rule(f"avg({LOAD}, 1h) > 200")], at(6.5), at(7.5)).rules[0]
    (only,) = found.intervals
    assert only.started_at == at(6.5)
    assert only.ended_at == pytest.approx(at(7) + 2 * MINUTE, abs=2 * MINUTE)


def test_old_history_comes_from_rollups(store: Storage) -> None:
    """Where samples are gone the rollups answer, with their means; the result says so."""
    connection = store._database.connection
    while rollup.advance(connection, at(48), DAY):
        pass
    keep = {"metrics": 12 * 3600.0, "rollup_1m": 30 * 3600.0, "rollup_1h": 1e9}
    retention.expire(connection, at(48), keep)
    rules = [rule(), rule(f"avg({LOAD}, 1h) > 110", name="mean"), rule(f"max({LOAD}, 1h) > 500", name="peak")]
    found = backtest(store, rules, at(1), at(47))
    assert [part.source for part in found.parts] == ["1h", "1m", "samples"]
    slow, mean, peak = found.rules
    # An hour's last number does not tell of its first ten minutes; its mean and its highest do.
    assert [(one.started_at - T0) / HOUR for one in slow.intervals] == pytest.approx(
        [18, 24, 30, 36, 42], abs=0.02
    )
    assert mean.firings == peak.firings == 7


def test_a_rule_is_replayed_with_what_it_depends_on(store: Storage) -> None:
    """Though only one was asked for."""
    store.write([Sample("uplink.up", float(hour % 12 != 6), at(hour - 0.01)) for hour in range(1, 48)])
    rules = [rule(depends_on=("uplink",)), rule("uplink.up == 0", name="uplink", no_data="keep")]
    found = backtest(store, rules, at(1), at(47), names=["slow"])
    assert [one.name for one in found.rules] == ["slow"]
    told = [one.suppressed for one in found.rules[0].intervals]
    assert told.count("depends on uplink, which fires") == 4


def test_wildcards_tags_and_queries(store: Storage) -> None:
    """An alert for each target, with its tags as labels; a query cannot be replayed, and says so."""
    tags = Tags({"site": "paris"})
    store.write([Sample("net.http.b.rtt", 900.0, at(3), tags), Sample("net.http.b.rtt", 1.0, at(4), tags)])
    found = backtest(
        store, [rule("net.http.*.rtt > 500"), RuleSettings(name="q", sql="select 1 as x")], at(1), at(11)
    )
    assert [dict(one.labels) for one in found.rules[0].intervals] == [
        {"symbol": "net.http.b.rtt", "site": "paris"}, {"symbol": LOAD},
    ]  # fmt: skip
    assert "cannot be replayed" in found.rules[1].error


def test_nothing_stored_is_nothing_found(tmp_path: Path) -> None:
    """An empty store, and a time before anything."""
    with Storage(str(tmp_path / "empty.db")) as opened:
        found = backtest(opened, [rule(), rule("a.* > 1 and not absent(b, 5m)", name="glob")], at(1), at(2))
    assert [(one.firings, one.messages) for one in found.rules] == [(0, 0), (0, 0)]
    assert found.parts == ()


def test_it_ends_when_it_takes_too_long(store: Storage) -> None:
    """With a word on what to do."""
    with pytest.raises(QueryTimeout, match="ask for less time"):
        store.read(hindsight.backtest, [rule()], None, at(1), at(47), lambda symbol: 0.0, 0.0)


def test_rules_on_a_store_in_one_call(store: Storage) -> None:
    """A script evaluates rules at a time, queries too; a second call goes on where the first was."""
    engine = RuleEngine([
        rule(), rule(f"avg({LOAD}, 1h) < 200", name="calm"), rule("net.*.site.rtt > 0", name="each"),
        RuleSettings(name="rows", sql="select symbol, count(*) as n from metrics group by symbol"),
        RuleSettings(name="broken", sql="select nothing"),
    ])  # fmt: skip
    first = evaluate(store, engine, at(6.1))
    assert [(step.rule, step.state, step.symbol) for step in first] == [
        (name, "firing", LOAD) for name in ("slow", "calm", "each", "rows")
    ]  # fmt: skip
    broken = engine.get("broken")
    assert broken is not None
    assert broken.health == "error"
    assert [(step.rule, step.state) for step in evaluate(store, engine, at(6.5))] == [
        ("slow", "resolved"), ("calm", "resolved"),
    ]  # fmt: skip
