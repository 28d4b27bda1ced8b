"""Backtests over real stores: intervals, days and messages, on samples and on rollups."""

from __future__ import annotations

import random
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


def test_wildcards_and_tags(store: Storage) -> None:
    """An alert for each target, with its tags as labels."""
    tags = Tags({"site": "paris"})
    store.write([Sample("net.http.b.rtt", 900.0, at(3), tags), Sample("net.http.b.rtt", 1.0, at(4), tags)])
    found = backtest(store, [rule("net.http.*.rtt > 500")], at(1), at(11))
    assert [dict(one.labels) for one in found.rules[0].intervals] == [
        {"symbol": "net.http.b.rtt", "site": "paris"}, {"symbol": LOAD},
    ]  # fmt: skip


# -- rules in SQL ---------------------------------------------------------------------------------------

RECENT = f"""select symbol, max(value) as most from metrics
    where symbol = '{LOAD}' and ts > now() - interval 5 minute group by symbol having max(value) > $limit"""


def query(sql: str = RECENT, **settings: object) -> RuleSettings:
    """Return a rule in SQL."""
    given = {"name": "q", "sql": sql, "every": Seconds(60.0)} | settings
    return RuleSettings(**given)  # type: ignore[arg-type]


def test_a_query_is_asked_as_of_its_turns(store: Storage) -> None:
    """Rows are alerts with all that belongs to these, at the times at which the daemon would have asked."""
    rules = [query(params={"limit": 500}, for_=Seconds(180.0), message="{{ symbol }}: {{ most }}")]
    found = backtest(store, rules, at(1), at(13))
    (only,) = found.rules
    assert (only.health, only.error, only.note) == ("ok", "", "")
    assert found.evaluations == 12 * 60 + 1
    assert found.parts == (("samples", at(1), at(13)),)
    # High for ten minutes, and in the window for five more, in which the last of its samples is.
    assert [
        (dict(one.labels), one.symbol, one.value, (one.pending_at - T0) / HOUR, one.seconds(at(13)) / 60)
        for one in only.intervals
    ] == [({"symbol": LOAD}, LOAD, 900, hour, 12) for hour in (6, 12)]
    assert only.intervals[0].explanation == f"symbol = {LOAD}, most = 900"


def test_a_query_of_the_past_is_the_query_of_then(tmp_path: Path) -> None:
    """Turn by turn: evaluated on a store that ends at each of them, its alerts make the same steps."""
    chance = random.Random(5)
    samples = [
        Sample(f"custom.x{chance.randrange(3)}", float(chance.randrange(100)), at(chance.uniform(1, 3)))
        for _ in range(300)
    ]
    samples = [Sample("custom.x0", 0.0, at(1)), *sorted(samples, key=lambda sample: sample.ts or 0)]
    sql = "select symbol, arg_max(value, ts) as v from metrics group by symbol having arg_max(value, ts) > 60"
    settings = query(sql, for_=Seconds(120.0), cooldown=Seconds(600.0), keep_firing_for=Seconds(60.0))
    lived, engine = [], RuleEngine([settings])
    with Storage(str(tmp_path / "growing.db")) as growing:
        for moment in range(at(1), at(3) + 1, MINUTE):
            due = [one for one in samples if (one.ts or 0) <= moment]
            growing.write(due)
            del samples[: len(due)]
            lived += evaluate(growing, engine, Micros(moment))
        (found,) = backtest(growing, [settings], at(1), at(3)).rules
    steps = [
        (step.symbol, step.state, step.ts)
        for step in lived
        if "firing" in (step.state, step.previous) and step.state != step.previous
    ]
    told = [(one.symbol, "firing", one.started_at) for one in found.intervals]
    told += [(one.symbol, "resolved", one.ended_at) for one in found.intervals if one.ended_at is not None]
    assert len(told) > 10
    assert sorted(told) == sorted(steps)


def test_a_schedule_is_heeded_in_its_zone(store: Storage) -> None:
    """At 8 and 20 o'clock in Tokyo, which is an hour before midnight and noon in UTC."""
    settings = query(
        "select symbol, count(*) as n from metrics group by symbol", every=Seconds(0.0),
        schedule="0 8,20 * * *", timezone="Asia/Tokyo",
    )  # fmt: skip
    found = backtest(store, [settings], at(1), at(47))
    assert found.evaluations == 4
    assert (found.rules[0].intervals[0].started_at - T0) / HOUR == 11


def test_a_query_that_is_due_too_often_is_asked_more_seldom(store: Storage) -> None:
    """And that is told; so is the time from which on there are samples."""
    often = query("select 1 as x where false", every=Seconds(10.0))
    found = backtest(store, [often], at(1), at(47))
    assert found.evaluations <= 2_001
    assert found.rules[0].note == "its query was asked every 1m30s instead of every 10s"
    often = query("select 1 as x where false", every=Seconds(0.0), schedule="* * * * *")
    found = backtest(store, [often], at(1), at(47))
    assert found.rules[0].note == "its query was asked every 1m23s at most"
    often = query("select 1 as x where false", every=Seconds(0.0))
    found = backtest(store, [often], at(1), at(47))
    assert found.rules[0].note == "its query was asked every 2m instead of every 1m"
    connection = store._database.connection
    while rollup.advance(connection, at(48), DAY):
        pass
    retention.expire(connection, at(48), {"metrics": 12 * 3600.0, "rollup_1m": 1e9, "rollup_1h": 1e9})
    found = backtest(store, [query(params={"limit": 500})], at(1), at(47))
    assert found.parts == (("samples", at(36), at(47)),)
    assert [(one.started_at - T0) / HOUR for one in found.rules[0].intervals] == [36, 42]
    assert "asked from 2027-01-16T12:00:00.000Z on: older samples are gone" in found.rules[0].note


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select * from deliveries", "deliveries has no past"),
        ("select nothing from metrics", "nothing"),
        ("delete from metrics", "DELETE statements are not allowed"),
        ("select i::varchar as name from range(1001) r(i)", "the query has more than 1000 rows"),
        ("select 'same' as name from range(2)", "two rows cannot be told from each other"),
    ],
)  # fmt: skip
def test_a_query_that_fails_is_the_rules_health(store: Storage, sql: str, told: str) -> None:
    """And harms no other rule."""
    found = backtest(store, [query(sql), rule()], at(1), at(13))
    assert (found.rules[0].health, found.rules[0].firings) == ("error", 0)
    assert told in found.rules[0].error
    assert found.rules[1].firings == 2


def test_a_query_that_failed_for_a_while_ends_no_alert(store: Storage) -> None:
    """As in the daemon: its alerts stay as they are."""
    sql = f"""select case when hour(now()) = 6 and minute(now()) = 3 then error('broken') else 'x' end as name
        from metrics where symbol = '{LOAD}' and ts = now() and value > 500"""
    (found,) = backtest(store, [query(sql)], at(5), at(8)).rules
    assert [(one.started_at, one.ended_at) for one in found.intervals] == [
        (at(6), Micros(at(6) + 10 * MINUTE))
    ]


# -- what does not go well ------------------------------------------------------------------------------


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
    with pytest.raises(QueryTimeout, match="ask for less time"):
        store.read(hindsight.backtest, [query("select 1 as x")], None, at(1), at(47), lambda symbol: 0.0, 0.0)


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
