"""Suggested thresholds: quantiles of what is stored, tried out by a real backtest."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from oculus.clock import DAY, SECOND
from oculus.config import loads
from oculus.config.settings import RuleSettings
from oculus.errors import QueryError
from oculus.hindsight.backtest import backtest
from oculus.hindsight.suggest import Values, high_is_bad, suggest
from oculus.model import NO_TAGS, Batch, Micros, Sample, Tags
from oculus.rules.expression import parse
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.vocabulary import vocabulary

T0 = 1_800_000_000 * SECOND // DAY * DAY
DAYS = 3
X = "net.http.site.rtt"


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(T0 + round(second * SECOND))


def suggested(database: Database, symbol: str = X) -> dict[str, Any]:
    """Return what is suggested for a series over three days."""
    cursor = database.cursor()
    try:
        steps = list(suggest(cursor, symbol, at(0), at(DAYS * 86_400)))
    finally:
        cursor.close()
    assert [step.part for step in steps] == sorted(step.part for step in steps)
    return steps[-1].result


def best(result: dict[str, Any]) -> RuleSettings:
    """Return the rule that is to be pasted."""
    body = result["yaml"].splitlines()
    text = "\n".join(["rules:", f"  - {body[0]}", *(f"    {line}" for line in body[1:])])
    (rule,) = loads(text, "pasted", vocabulary()).rules
    return rule


Store = Callable[..., Database]


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    """Open a database with a value of each minute, which a function of the minute gives."""
    opened: list[Database] = []

    def make(value: Callable[[int], float], symbol: str = X) -> Database:
        database = Database(str(tmp_path / "oculus.db"))
        opened.append(database)
        made = (Sample(symbol, value(minute), at(minute * 60)) for minute in range(DAYS * 1_440))
        ingest.write(database.connection, Batch(tuple(made)), 1)
        return database

    yield make
    for database in opened:
        database.close()


def test_each_suggestion_is_a_backtest(store: Store) -> None:
    """What is told of a candidate is what the backtest of that rule says."""
    chance = random.Random(4)
    spikes = {chance.randrange(DAYS * 1_440) for _ in range(25)} | set(range(2_000, 2_012))
    noise = [round(chance.gauss(100, 10), 3) for _ in range(DAYS * 1_440)]
    database = store(lambda minute: 500.0 if minute in spikes else noise[minute])
    result = suggested(database)
    assert (result["samples"], result["highest"], result["about"]) == (DAYS * 1_440, 500, X)
    assert 98 < result["median"] < 102
    rows = result["candidates"]
    assert {row["condition"].split()[1] for row in rows} == {">", "<"}
    assert [row["best"] for row in rows].count(True) == 1
    cursor = database.cursor()
    for row in rows:
        rule = RuleSettings(name="r", condition=row["condition"], for_=row["for"])
        (tried,) = backtest(cursor, [rule], None, at(0), at(DAYS * 86_400)).rules
        assert (tried.firings, round(tried.seconds, 3), tried.messages) == (
            row["firings"], row["firing_seconds"], row["messages"],
        )  # fmt: skip
    cursor.close()
    rule = best(result)
    assert rule.condition.startswith(f"{X} > ")
    assert rule.for_ > 0
    chosen = next(row for row in rows if row["best"])
    assert (chosen["condition"], chosen["for"], chosen["firings"]) == (rule.condition, rule.for_, 1)


def test_higher_than_ever_is_higher(store: Store) -> None:
    """Numbers are shortened away from what was seen: what never was would not have fired."""
    database = store(lambda minute: 3.14159 + (minute % 100) / 7)
    rows = {row["why"]: row for row in suggested(database)["candidates"] if not row["for"]}
    assert rows["higher than ever"]["firings"] == rows["lower than ever"]["firings"] == 0
    assert float(rows["higher than ever"]["condition"].split()[2]) >= 3.14159 + 99 / 7
    assert float(rows["lower than ever"]["condition"].split()[2]) <= 3.14159
    assert len(rows["higher than ever"]["condition"]) < len(X) + 10


@pytest.mark.parametrize("scale", [1e305, -1e305, 1e14, 1e-7, 5e-324])
def test_huge_and_tiny_numbers_are_written_short(store: Store, scale: float) -> None:
    """As the language reads them."""
    rows = suggested(store(lambda minute: scale * (minute % 100)))["candidates"]
    assert rows
    for row in rows:
        parse(row["condition"])
        assert len(row["condition"]) < len(X) + 15


@pytest.mark.parametrize(
    ("symbol", "value", "condition", "name"),
    [
        ("net.http.x.up", lambda minute: not 100 <= minute < 130, "net.http.x.up == 0", "net_http_x_down"),
        ("custom.alarm", lambda minute: 100 <= minute < 130, "custom.alarm == 1", "custom_alarm_state"),
    ],
)  # fmt: skip
def test_of_two_values_the_rarer_is_what_is_told(
    store: Store, symbol: str, value: Callable[[int], float], condition: str, name: str
) -> None:
    """With a `for`, so that one failed look is no alert."""
    result = suggested(store(lambda minute: float(value(minute)), symbol), symbol)
    assert {row["condition"] for row in result["candidates"]} == {condition}
    assert [row["firings"] for row in result["candidates"]] == [1, 1, 1]
    rule = best(result)
    assert (rule.condition, float(rule.for_), rule.name) == (condition, 300.0, name)


def test_what_never_moved_is_told_when_it_does(store: Store) -> None:
    """There are no quantiles of one value."""
    rule = best(suggested(store(lambda minute: 4.2)))
    assert rule.condition == f"{X} != 4.2"


def test_of_a_counter_the_growth_is_looked_at(store: Store) -> None:
    """A threshold for a total would fire once and for ever."""
    totals = [0.0]
    for minute in range(1, DAYS * 1_440):
        totals.append(totals[-1] + (600 if 3_000 <= minute < 3_030 else 60 + minute % 5))
    result = suggested(store(totals.__getitem__, "custom.requests"), "custom.requests")
    assert result["about"] == "rate(custom.requests, 10m)"
    assert 9 < result["highest"] <= 10
    rule = best(result)
    assert rule.condition.startswith("rate(custom.requests, 10m) > ")
    assert next(row["firings"] for row in result["candidates"] if row["best"]) == 1


def test_rollups_stand_in_for_samples_that_are_gone(store: Store) -> None:
    """With their lowest and highest, and as many samples as they stand for."""
    database = store(lambda minute: 900.0 if minute == 77 else 10.0 + minute % 30)
    while rollup.advance(database.connection, at(DAYS * 86_400), DAY):
        pass
    keep = {"metrics": 3_600.0, "rollup_1m": 7_200.0, "rollup_1h": 1e9}
    retention.expire(database.connection, at(DAYS * 86_400), keep)
    result = suggested(database)
    assert (result["samples"], result["lowest"], result["highest"]) == (DAYS * 1_440, 10, 900)
    assert [part["source"] for part in result["resolution"]] == ["1h", "1m", "samples"]


@pytest.mark.parametrize(
    ("symbol", "tags", "high"),
    [
        ("net.http.x.rtt", {}, True),
        ("net.http.x.cert_days", {}, False),
        ("host.disk.root.free_bytes", {}, False),
        ("host.mem.used_percent", {}, True),
        ("crypto.price.a_usd", {}, False),
        ("custom.x", {"unit": "ms"}, True),
    ],
)
def test_the_direction_follows_from_name_unit_or_tail(symbol: str, tags: dict[str, str], high: bool) -> None:
    """A price is looked after where it goes further: down, here."""
    values = Values()
    for number in range(1_000):
        values.add(100.0 - (50 if number < 20 else number % 5))
    assert high_is_bad(symbol, Tags(tags) if tags else NO_TAGS, values) is high


def test_a_series_without_samples_is_told(store: Store) -> None:
    """There is nothing to go by."""
    with pytest.raises(QueryError, match="no sample of custom"):
        suggested(store(lambda minute: 1.0), "custom.x")
