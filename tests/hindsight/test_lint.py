"""What lint finds: each finding by a rule that has just this fault, and nothing about rules that are well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from oculus.clock import DAY, SECOND
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.hindsight.findings import QueryRun, span
from oculus.hindsight.observe import Observer
from oculus.hindsight.survey import survey, tried
from oculus.model import Batch, Micros, Sample, Tags
from oculus.rules.engine import RuleEngine
from oculus.rules.recorded import Recorded
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.storage.readers import Readers

T0 = 1_800_000_000 * SECOND // DAY * DAY
HOURS = 12


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(T0 + round(second * SECOND))


def rule(condition: str = "", **settings: Any) -> RuleSettings:
    """Return a rule's settings."""
    return RuleSettings(**{"name": "r", "condition": condition} | settings)


def samples(symbol: str, every: int, value: Any, source: str, **tags: str) -> Iterator[Sample]:
    """Yield samples of 12 hours; `value` tells the value of a second."""
    labels = Tags({"source": source} | tags)
    for second in range(0, HOURS * 3_600, every):
        yield Sample(symbol, float(value(second)), at(second), labels)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Series of every pace: a site that was down for 10 minutes, and others that are pushed."""
    opened = Database(str(tmp_path_factory.mktemp("lint") / "oculus.db"))
    for series in (
        samples("net.http.site.rtt", 60, lambda second: 100 + second // 60 % 50, "network/http"),
        samples("net.http.site.up", 60, lambda second: not 7_200 <= second < 7_800, "network/http", zone="a"),
        samples("net.http.shop.up", 60, lambda second: 1, "network/http", zone="a"),
        samples("custom.slow", 600, lambda second: second // 600 % 5, "push"),
        samples("custom.daily", 3_600, lambda second: 1, "exec"),
        samples("pred.poly.rain.yes", 60, lambda second: second % 7 / 7, "polymarket"),
        samples("pred.poly.rain.yes.volume_24h", 60, lambda second: second % 900, "polymarket", unit="USD"),
        samples("net.ping.gw.loss", 60, lambda second: 0, "network/ping"),
    ):
        ingest.write(opened.connection, Batch(tuple(series)), 1)
    old = Sample("custom.old", 1.0, at(-3 * 86_400))
    ingest.write(opened.connection, Batch((old,)), 1)
    yield opened
    opened.close()


def lint(
    database: Database,
    *rules: RuleSettings,
    derived: Sequence[str] = (),
    queries: Mapping[str, QueryRun] = {},
) -> list[tuple[str, str, str]]:
    """Return level, code and message of each finding."""
    cursor = database.cursor()
    try:
        steps = list(survey(cursor, rules, derived, at(0), at(HOURS * 3_600), queries=queries))
    finally:
        cursor.close()
    assert [step.part for step in steps] == sorted(step.part for step in steps)
    found = steps[-1].result["findings"]
    assert all(each["advice"] for each in found)
    return [(each["level"], each["code"], each["message"]) for each in found]


WELL = [
    rule("net.http.*.up == 0 and net.http.site.rtt > 0", for_=300),
    rule("avg(net.http.site.rtt, 10m) > 130", until="net.http.site.rtt < 120", cooldown=3_600),
    rule("age(custom.daily) > 26h or absent(custom.daily, 3h)"),
    rule("avg(custom.slow, 30m) > 3 and rate(custom.slow, 1h) > 0"),
    rule("crosses_above(net.http.site.rtt, 120)"),
    rule("pred.poly.rain.yes.volume_24h > 500"),
    rule("net.http.site.rtt > 148 and time 22:00-06:00 or net.http.site.rtt > 120"),
]


@pytest.mark.parametrize("well", WELL, ids=lambda rule: rule.condition)
def test_of_what_is_well_nothing_needs_attention(database: Database, well: RuleSettings) -> None:
    """A warning that is none teaches people not to look."""
    assert [found for found in lint(database, well) if found[0] == "warn"] == []


@pytest.mark.parametrize(
    ("odd", "level", "code", "told"),
    [
        (rule("net.htp.site.rtt > 1"), "warn", "unknown-symbol", "(did you mean net.http.site.rtt?)"),
        (rule("custom.b > 1"), "info", "unknown-symbol", "is a derived value that has no sample yet"),
        (rule("custom.old > 1"), "warn", "gone", "custom.old has no sample in the time"),
        (rule("net.tcp.*.up == 0"), "warn", "no-match", "ever stored that net.tcp.*.up matches"),
        (rule("custom.slow > 3"), "warn", "stale-between", "a sample each 10m and is stale after 5m"),
        (rule("rate(custom.slow, 5m) > 3"), "warn", "window-too-short", "which never are within it"),
        (rule("rate(custom.slow, 15m) > 3"), "warn", "window-too-short", "which not always are within it"),
        (rule("max(custom.slow, 5m) > 3"), "warn", "window-too-short", "unknown most of the time"),
        (rule("absent(custom.slow, 5m)"), "warn", "window-too-short", "is true between any two samples"),
        (rule("age(custom.daily) > 30m"), "warn", "window-too-short", "age(custom.daily) > 30m is true"),
        (rule("count(custom.slow, 5m) > 3"), "info", "window-too-short", "is 1 at most"),
        (rule("net.http.site.up > 1"), "warn", "never-true", "can never hold: it is 0 to 1"),
        (rule("net.ping.gw.loss > 100"), "warn", "never-true", "can never hold: it is 0 to 100"),
        (rule("pred.poly.rain.yes > 60"), "warn", "never-true", "can never hold: it is 0 to 1"),
        (rule("net.http.site.rtt > 1000"), "info", "never-true", "its first value was 100 to 149"),
        (rule("net.http.site.rtt > 10"), "warn", "always-true", "whenever it was looked at, "),
        (rule("net.http.*.up > 0"), "warn", "always-true", "it held for net.http.shop.up whenever"),
        (rule("net.http.site.up == 0", for_=1_800), "info", "for-unreachable", "for 9m59s at most"),
        (
            rule("crosses_above(net.http.site.rtt, 120)", for_=120),
            "warn", "for-unreachable", "holds until the next sample, which comes after 1m",
        ),
        (
            rule("net.http.site.rtt > 120 and time 22:00-22:10", for_=1_800),
            "warn", "for-unreachable", "it can hold for 10m a day",
        ),
        (rule("custom.daily > 0 and custom.daily < 1", for_=60), "info", "for-too-short", "1h later"),
        (rule("net.http.site.rtt > 120", until="net.http.site.rtt < 0"), "warn", "until-never", "never held"),
        (rule("net.http.site.rtt > 120", until="net.http.site.rtt > 0"), "info", "until-always", "held all"),
        (rule("net.http.site.rtt > 120", cooldown=60, for_=60), "info", "cooldown-without-effect", "1m"),
        (rule("net.http.site.rtt > 120", cooldown=2 * 86_400), "info", "long-cooldown", "fires for 2d"),
        (rule("net.http.*.up == 0", limit=1), "info", "limit", "it stands for 2 series"),
    ],
    ids=lambda value: value.condition if isinstance(value, RuleSettings) else "",
)  # fmt: skip
def test_what_is_odd_is_found(
    database: Database, odd: RuleSettings, level: str, code: str, told: str
) -> None:
    """With its level, and in words that name the series and the numbers."""
    found = lint(database, odd, derived=["custom.b"])
    assert [(level, code)] == [each[:2] for each in found if each[1] == code]
    assert told in next(message for _, found_code, message in found if found_code == code)
    assert all(each[0] == "info" for each in found if each[1] != code)


def test_rules_that_depend_on_themselves(database: Database) -> None:
    """Told of each rule in the circle, and of no other; labels that no alert has are told as well."""
    condition = "net.http.site.up == 0"
    found = lint(
        database,
        rule(condition, name="a", depends_on=("b",), equal=("zone",)),
        rule(condition, name="b", depends_on=("c",), equal=("zoen",)),
        rule(condition, name="c", depends_on=("a",)),
        rule(condition, name="d", depends_on=("a",)),
    )
    assert [message for _, code, message in found if code == "circle"] == [
        "it depends on itself: a → b → c → a",
        "it depends on itself: b → c → a → b",
        "it depends on itself: c → a → b → c",
    ]
    assert [message for _, code, message in found if code == "no-label"] == [
        "none of its alerts has the label 'zoen' that `equal` names"
    ]


@pytest.mark.parametrize(
    ("sql", "settings", "code"),
    [
        ("select symbol, max(value) as value from metrics group by symbol", {"every": 60}, ""),
        ("select nothing from metrics", {}, "query-failed"),
        ("delete from metrics", {}, "query-failed"),
        ("select value from metrics limit 5", {}, "rows-alike"),
        ("select symbol from metrics", {}, "query-failed"),
        ("select distinct symbol from metrics", {"limit": 2}, "limit"),
        ("select symbol, $least as least from metrics limit 1", {"params": {"least": 3}}, ""),
    ],
)
def test_queries_are_run_once(database: Database, sql: str, settings: dict[str, Any], code: str) -> None:
    """Under the limits that they have: what fails, or brings rows that are no alerts, is told."""
    readers = Readers(database, 1)
    asked = RuleSettings(name="r", sql=sql, **settings)
    run = tried(readers, asked)
    readers.close()
    found = lint(database, asked, queries={"r": run})
    assert [each[:2] for each in found] == ([("warn", code)] if code else [])


def test_a_query_that_takes_long_is_told(database: Database) -> None:
    """Before it fails for good, or is due again sooner than it ends."""
    for every, seconds, told in (
        (60, 3.0, ["its query took 3.0 s of the 5 s that it may take"]),
        (2, 3.0, ["its query takes 3.0 s and is due each 2s"]),
        (2, 1.9, []),
    ):
        asked = RuleSettings(name="r", sql="select 1 as n", every=Seconds(every))
        found = lint(database, asked, queries={"r": QueryRun(seconds, 1)})
        assert [message for _, _, message in found] == told


def test_a_peak_within_a_rollup_is_seen(tmp_path: Path) -> None:
    """That it never held is not said of what only lacks the samples."""
    opened = Database(str(tmp_path / "x.db"))
    series = samples("custom.x", 10, lambda second: 99 if second == 30_010 else 5, "exec")
    ingest.write(opened.connection, Batch(tuple(series)), 1)
    while rollup.advance(opened.connection, at(HOURS * 3_600), DAY):
        pass
    keep = {"metrics": 3_600.0, "rollup_1m": 1e9, "rollup_1h": 1e9}
    retention.expire(opened.connection, at(HOURS * 3_600), keep)
    assert lint(opened, rule("custom.x > 50")) == []
    assert [code for _, code, _ in lint(opened, rule("custom.x > 100"))] == ["never-true"]
    assert lint(opened, rule("custom.x < 50")) == []
    opened.close()


def test_an_empty_store_has_nothing_to_say_of_truth(tmp_path: Path) -> None:
    """Only that the series are not known."""
    opened = Database(str(tmp_path / "x.db"))
    assert [code for _, code, _ in lint(opened, rule("custom.x > 50 or a.* > 1", name="q"))] == [
        "unknown-symbol", "no-match",
    ]  # fmt: skip
    assert lint(opened) == []
    opened.close()


def test_how_long_it_held_is_seen_between_the_samples() -> None:
    """A value holds until the next one comes, or until it is stale."""
    recorded = Recorded()
    engine = RuleEngine([rule("x > 5")])
    observer = Observer(engine.rules, recorded, at(0))
    for second, value in ((0, 1), (60, 9), (120, 8), (180, 1), (240, 9), (2_000, 9)):
        recorded.add("x", at(second), value)
        observer.take([(at(second), "x")], coarse=False)
    observer.finish(at(2_010))
    (seen,) = observer.seen["r"].values()
    assert seen.longest == pytest.approx(120)
    assert seen.unknown == 1
    assert (seen.lowest, seen.highest) == (1, 1)  # until it held


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "200ms"), (0, "0s"), (59.6, "1m"), (90, "1m30s"), (3_600, "1h"), (93_784, "1d2h")],
)
def test_durations_are_written_as_in_a_configuration(seconds: float, told: str) -> None:
    """So that they can be copied into one."""
    assert span(seconds) == told
