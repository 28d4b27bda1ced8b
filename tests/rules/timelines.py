"""The conformance table: what must become of an alert, second by second, case by case.

The cases are numbered by what they are about: 1 failures, 2 what holds, 3 what holds no longer, 4 `for`,
5 the rule, 6 a restart, 7 staleness; 8 is what goes beyond these. Alerts are meant to behave as those of
Prometheus; where one deviates, the case says so.

In rules and steps `$` stands for the case's own symbols: `$.x` is its series x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# In the daemon all cases run at once, so that they share the seconds of the reload and the restart.
RELOAD = 9.0
RESTART = 18.0
BACK = 23.0  # from when on the daemon is sure to be there again


@dataclass(frozen=True)
class Change:
    """The configuration is read anew, with other settings for this rule, or without the rule.

    With `restart` the program is killed and started again.
    """

    settings: Mapping[str, Any] | None = None  # None: as they are
    gone: bool = False
    restart: bool = False


Values = Mapping[str, float]  # samples by the last part of their symbol


@dataclass(frozen=True)
class Check:
    """How a rule stands at a second: state, health, and the value of its oldest alert, unless left out."""

    second: float
    state: str
    health: str = "ok"
    value: float | None = None
    error: str = ""  # what its error must hold


@dataclass(frozen=True)
class Timeline:
    """A case: a rule as in the file, what happens to it, and the steps that must follow, and no others.

    A step is written `before→after`, with `a: ` before it where the alert is about the series `$.a`, and
    ` (why)` behind it when it is not told. `alone` is why it can't be run in the daemon. There, a step
    may come `late` seconds later than an evaluation after each commit and every second makes it.
    """

    rule: Mapping[str, Any]
    moments: tuple[tuple[float, Values | Change], ...]
    steps: tuple[tuple[float, str], ...]
    checks: tuple[Check, ...] = ()
    interval: float = 0.0  # of its series, in seconds
    late: float = 0.0
    alone: str = ""

    @property
    def end(self) -> float:
        """The last second at which something happens."""
        happens = [second for second, _ in self.moments]
        return max(*happens, *(second for second, _ in self.steps), *(check.second for check in self.checks))


UP, FIRES, AT_ONCE = "inactive→pending", "pending→firing", "inactive→firing"
DROPS, ENDS, AGAIN, BACK_DOWN = "pending→inactive", "firing→resolved", "firing→firing", "firing→pending"

HIGH = {"condition": "$.x > 10"}
# Each series whose newest value is high is a row; a negative one makes the query fail.
ROWS = {
    "sql": "select symbol, case when v < 0 then ('out of order ' || v)::double else v end as v from"
    " (select symbol, arg_max(value, ts) as v from metrics where symbol like '$.%' group by symbol)"
    " where v > 10 or v < 0",
    "every": "500ms",
}
# The same without a text that tells the rows from each other.
SAME = {"sql": f"select 'same' as name, v from ({ROWS['sql']})", "every": "500ms"}

MINUTES = "it takes minutes: no value is stale sooner"

TIMELINES: dict[str, Timeline] = {
    # -- 1: a failure leaves everything as it is, and is the rule's health ---------------------------------
    "1 a query that fails ends no alert": Timeline(
        ROWS,
        ((0, {"x": 11}), (4, {"x": -1}), (8, {"x": 12}), (12, {"x": 5})),
        ((0, AT_ONCE), (12, ENDS)),
        (
            Check(3, "firing", value=11),
            Check(7, "firing", "error", 11, "out of order"),
            Check(11, "firing", value=12),
            Check(15, "inactive"),
        ),
    ),
    "1 a query that fails is no evidence against what is pending": Timeline(
        ROWS | {"for": "8s"},
        ((0, {"x": 11}), (3, {"x": -1}), (6, {"x": 11}), (12, {"x": 5})),
        ((0, UP), (8, FIRES), (12, ENDS)),
        (Check(5.5, "pending", "error"),),
    ),
    "1 a query that fails begins no alert": Timeline(
        ROWS, ((0, {"x": 5}), (3, {"x": -1})), (), (Check(6, "inactive", "error"),)
    ),
    "1 two rows with one key are an error": Timeline(
        SAME,
        ((0, {"x": 11}), (3, {"y": 11}), (7, {"x": 5}), (11, {"y": 5})),
        ((0, AT_ONCE), (11, ENDS)),
        (
            Check(6, "firing", "error", error="two rows cannot be told from each other: name same"),
            Check(10, "firing"),
        ),
    ),
    # -- 2: what holds --------------------------------------------------------------------------------------
    "2 it is pending from the moment at which it holds, and its value follows": Timeline(
        HIGH | {"for": "8s"},
        ((0, {"x": 5}), (2, {"x": 11}), (5, {"x": 12}), (13, {"x": 13}), (16, {"x": 5})),
        ((2, UP), (10, FIRES), (16, ENDS)),
        (Check(4.5, "pending", value=11), Check(8, "pending", value=12), Check(15.5, "firing", value=13)),
    ),
    "2 a row is pending from the moment at which it is there, and its value follows": Timeline(
        ROWS | {"for": "8s"},
        ((0, {"x": 5}), (2, {"x": 11}), (5, {"x": 12}), (13, {"x": 13}), (16, {"x": 5})),
        ((2, UP), (10, FIRES), (16, ENDS)),
        (Check(4.5, "pending", value=11), Check(8, "pending", value=12), Check(15.5, "firing", value=13)),
    ),
    "2 each match is an alert of its own": Timeline(
        {"condition": "$.* > 10", "for": "3s"},
        ((0, {"a": 11, "b": 5}), (5, {"b": 11}), (11, {"a": 5}), (14, {"b": 5})),
        (
            (0, f"a: {UP}"), (3, f"a: {FIRES}"), (5, f"b: {UP}"), (8, f"b: {FIRES}"), (11, f"a: {ENDS}"),
            (14, f"b: {ENDS}"),
        ),
    ),
    "2 each row is an alert of its own": Timeline(
        ROWS | {"for": "3s"},
        ((0, {"a": 11, "b": 5}), (6, {"b": 11}), (12, {"a": 5}), (15, {"b": 5})),
        (
            (0, f"a: {UP}"), (3, f"a: {FIRES}"), (6, f"b: {UP}"), (9, f"b: {FIRES}"), (12, f"a: {ENDS}"),
            (15, f"b: {ENDS}"),
        ),
    ),
    "2 what holds again is kept by nothing else": Timeline(
        HIGH | {"keep_firing_for": "5s"},
        ((0, {"x": 11}), (2, {"x": 5}), (4.5, {"x": 11}), (8, {"x": 5})),
        ((0, AT_ONCE), (13, ENDS)),
        (Check(7.5, "firing"), Check(12, "firing")),
    ),
    # -- 3: what holds no longer -----------------------------------------------------------------------------
    "3 what is pending ends": Timeline(
        HIGH | {"for": "6s"},
        ((0, {"x": 11}), (3, {"x": 5}), (7, {"x": 11}), (10, {"x": 5})),
        ((0, UP), (3, DROPS), (7, UP), (10, DROPS)),
    ),
    "3 a row that is gone while it is pending ends": Timeline(
        ROWS | {"for": "7s"}, ((0, {"x": 11}), (4, {"x": 5})), ((0, UP), (4, DROPS))
    ),
    "3 what fires resolves at once": Timeline(
        HIGH, ((0, {"x": 11}), (3, {"x": 10}), (6, {"x": 11}), (9, {"x": 5})),
        ((0, AT_ONCE), (3, ENDS), (6, AT_ONCE), (9, ENDS)),
    ),
    "3 what fires is kept for keep_firing_for": Timeline(
        HIGH | {"keep_firing_for": "5s"}, ((0, {"x": 11}), (3, {"x": 5})), ((0, AT_ONCE), (8, ENDS)),
        (Check(6, "firing", value=5), Check(12, "inactive")),
    ),
    "3 a row that is gone is kept for keep_firing_for": Timeline(
        ROWS | {"keep_firing_for": "5s"}, ((0, {"x": 11}), (3, {"x": 5})), ((0, AT_ONCE), (8, ENDS)),
        (Check(6, "firing"),),
    ),
    "3 keep_firing_for keeps nothing that is pending": Timeline(
        HIGH | {"keep_firing_for": "9s", "for": "6s"}, ((0, {"x": 11}), (3, {"x": 5})), ((0, UP), (3, DROPS))
    ),
    # -- 4: for ---------------------------------------------------------------------------------------------
    "4 without for it fires in the evaluation that finds it": Timeline(
        HIGH, ((0, {"x": 11}), (4, {"x": 12}), (8, {"x": 5})), ((0, AT_ONCE), (8, ENDS))
    ),
    "4 it fires once for has passed, without another sample": Timeline(
        HIGH | {"for": "4s"}, ((0, {"x": 11}), (9, {"x": 5})), ((0, UP), (4, FIRES), (9, ENDS)),
        (Check(2, "pending"), Check(8, "firing")),
    ),
    "4 a reload that lengthens for takes back what has not held so long": Timeline(
        HIGH | {"for": "3s"},
        ((0, {"x": 11}), (RELOAD, Change({"for": "15s"})), (24, {"x": 5})),
        ((0, UP), (3, FIRES), (RELOAD, BACK_DOWN), (15, FIRES), (24, ENDS)),
        (Check(13, "pending"), Check(17.6, "firing")),
    ),
    "4 a reload that lengthens for leaves what has held so long": Timeline(
        HIGH | {"for": "3s"},
        ((0, {"x": 11}), (RELOAD, Change({"for": "6s"})), (15, {"x": 5})),
        ((0, UP), (3, FIRES), (15, ENDS)),
        (Check(13, "firing"),),
    ),
    "4 a reload that shortens for fires what has held long enough": Timeline(
        HIGH | {"for": "1h"},
        ((0, {"x": 11}), (RELOAD, Change({"for": "5s"})), (15, {"x": 5})),
        ((0, UP), (RELOAD, FIRES), (15, ENDS)),
    ),
    "4 a reload of other settings is silent": Timeline(
        HIGH | {"for": "3s"},
        ((0, {"x": 11}), (RELOAD, Change({"for": "3s", "severity": "critical"})), (15, {"x": 5})),
        ((0, UP), (3, FIRES), (15, ENDS)),
        (Check(13, "firing"),),
    ),
    "4 a reload with another condition ends what fires, and begins anew": Timeline(
        HIGH,
        ((0, {"x": 11}), (RELOAD, Change({"condition": "$.x > 9"})), (13, {"x": 11}), (16, {"x": 5})),
        ((0, AT_ONCE), (RELOAD, ENDS), (RELOAD, AT_ONCE), (16, ENDS)),
        late=10,  # nothing tells the daemon's loop to look at it before its sweep
    ),
    "4 a reload that removes the rule ends what fires": Timeline(
        HIGH, ((0, {"x": 11}), (RELOAD, Change(gone=True))), ((0, AT_ONCE), (RELOAD, ENDS))
    ),
    "4 a reload that removes the rule ends what is pending": Timeline(
        HIGH | {"for": "1h"}, ((0, {"x": 11}), (RELOAD, Change(gone=True))), ((0, UP), (RELOAD, DROPS))
    ),
    # -- 5: the rule ----------------------------------------------------------------------------------------
    "5 a rule is as bad as its worst alert": Timeline(
        {"condition": "$.* > 10", "for": "5s"},
        ((0, {"a": 11}), (4, {"b": 11}), (12, {"a": 5, "b": 5})),
        (
            (0, f"a: {UP}"), (4, f"b: {UP}"), (5, f"a: {FIRES}"), (9, f"b: {FIRES}"), (12, f"a: {ENDS}"),
            (12, f"b: {ENDS}"),
        ),
        (Check(3, "pending"), Check(8, "firing"), Check(15, "inactive")),
    ),
    "5 it is unknown before the first evaluation": Timeline(
        {"sql": ROWS["sql"], "schedule": "0 0 29 2 *"}, ((0, {"x": 11}),), (),
        (Check(6, "inactive", "unknown"),),
    ),
    "5 more alerts than limit allows are none": Timeline(
        {"condition": "$.* > 10", "limit": 2},
        ((0, {"a": 11, "b": 5}), (2, {"b": 11}), (5, {"c": 11}), (9, {"c": 5}), (13, {"a": 5, "b": 5})),
        (
            (0, f"a: {AT_ONCE}"), (2, f"b: {AT_ONCE}"), (5, f"a: {ENDS}"), (5, f"b: {ENDS}"),
            (9, f"a: {AT_ONCE}"), (9, f"b: {AT_ONCE}"), (13, f"a: {ENDS}"), (13, f"b: {ENDS}"),
        ),
        (Check(8, "inactive", "error", error="3 alerts, of which limit allows 2"), Check(12, "firing")),
    ),
    "5 more rows than limit allows are none": Timeline(
        ROWS | {"limit": 2},
        ((0, {"a": 11}), (2, {"b": 11}), (5, {"c": 11}), (9, {"c": 5}), (13, {"a": 5, "b": 5})),
        (
            (0, f"a: {AT_ONCE}"), (2, f"b: {AT_ONCE}"), (5, f"a: {ENDS}"), (5, f"b: {ENDS}"),
            (9, f"a: {AT_ONCE}"), (9, f"b: {AT_ONCE}"), (13, f"a: {ENDS}"), (13, f"b: {ENDS}"),
        ),
        (Check(8, "inactive", "error", error="3 alerts, of which limit allows 2"), Check(12, "firing")),
    ),
    "5 over the limit what is pending is dropped as well": Timeline(
        {"condition": "$.* > 10", "limit": 1, "for": "9s"},
        ((0, {"a": 11}), (4, {"b": 11}), (8, {"b": 5}), (13, {"a": 5})),
        ((0, f"a: {UP}"), (4, f"a: {DROPS}"), (8, f"a: {UP}"), (13, f"a: {DROPS}")),
    ),
    # -- 6: a restart. Deviation: no alert starts afresh, however short its `for` --------------------------
    "6 what fires is not told again, and its end is told": Timeline(
        HIGH,
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (BACK, {"x": 12}), (27, {"x": 5})),
        ((14, AT_ONCE), (27, ENDS)),
        (Check(26, "firing", value=12),),
    ),
    "6 what is pending carries on with the time it has (deviation: also below 10 min)": Timeline(
        HIGH | {"for": "13s"},
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (BACK, {"x": 12}), (31, {"x": 5})),
        ((14, UP), (27, FIRES), (31, ENDS)),
        (Check(26, "pending", value=12),),
    ),
    "6 what was due meanwhile fires at the next evaluation that finds it": Timeline(
        HIGH | {"for": "7s"},
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (24, {"x": 12}), (28, {"x": 5})),
        ((14, UP), (24, FIRES), (28, ENDS)),
    ),
    "6 what holds no longer after a restart ends": Timeline(
        HIGH | {"for": "20s"},
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (24, {"x": 5})),
        ((14, UP), (24, DROPS)),
    ),
    "6 nothing is judged by values from before the stop": Timeline(
        HIGH | {"for": "7s"},
        ((14, {"x": 11}), (RESTART, Change(restart=True))),
        ((14, UP),),
        (Check(29, "pending", "no data"),),
    ),
    "6 rows carry on": Timeline(
        ROWS,
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (27, {"x": 5})),
        ((14, AT_ONCE), (27, ENDS)),
        (Check(26, "firing", value=11),),
    ),
    "6 pending rows carry on": Timeline(
        ROWS | {"for": "12s"},
        ((14, {"x": 11}), (RESTART, Change(restart=True)), (30, {"x": 5})),
        ((14, UP), (26, FIRES), (30, ENDS)),
    ),
    "6 keep_firing_for goes on": Timeline(
        HIGH | {"keep_firing_for": "12s"},
        ((10, {"x": 11}), (14, {"x": 5}), (RESTART, Change(restart=True)), (BACK, {"x": 5})),
        ((10, AT_ONCE), (26, ENDS)),
        (Check(25.5, "firing"),),
    ),
    "6 keep_firing_for that was over meanwhile ends at the next evaluation that finds it": Timeline(
        HIGH | {"keep_firing_for": "7s"},
        ((10, {"x": 11}), (14, {"x": 5}), (RESTART, Change(restart=True)), (24, {"x": 5})),
        ((10, AT_ONCE), (24, ENDS)),
    ),
    "6 what held again before a restart is kept by nothing else after it": Timeline(
        HIGH | {"keep_firing_for": "6s"},
        (
            (8, {"x": 11}), (11, {"x": 5}), (14, {"x": 11}), (RESTART, Change(restart=True)),
            (BACK, {"x": 5}),
        ),
        ((8, AT_ONCE), (29, ENDS)),
        (Check(27.5, "firing"),),
    ),
    "6 a row that is gone is kept on": Timeline(
        ROWS | {"keep_firing_for": "12s"},
        ((10, {"x": 11}), (14, {"x": 5}), (RESTART, Change(restart=True))),
        ((10, AT_ONCE), (26, ENDS)),
    ),
    "6 the cooldown goes on": Timeline(
        HIGH | {"cooldown": "17s"},
        ((10, {"x": 11}), (13, {"x": 5}), (RESTART, Change(restart=True)), (BACK, {"x": 11}), (30, {"x": 5})),
        ((10, AT_ONCE), (13, ENDS), (BACK, UP), (27, FIRES), (30, ENDS)),
    ),
    "6 an alert whose rule is gone meanwhile ends": Timeline(
        HIGH, ((14, {"x": 11}), (RESTART, Change(gone=True, restart=True))), ((14, AT_ONCE), (RESTART, ENDS)),
        late=3,
    ),
    "6 an alert whose condition has changed meanwhile ends, and begins anew": Timeline(
        HIGH,
        (
            (14, {"x": 11}), (RESTART, Change({"condition": "$.x > 9"}, restart=True)), (24, {"x": 12}),
            (28, {"x": 5}),
        ),
        ((14, AT_ONCE), (RESTART, ENDS), (24, AT_ONCE), (28, ENDS)),
        late=3,
    ),
    "6 a `for` that was lengthened meanwhile takes back what has not held so long": Timeline(
        HIGH,
        ((14, {"x": 11}), (RESTART, Change({"for": "13s"}, restart=True)), (BACK, {"x": 12}), (31, {"x": 5})),
        ((14, AT_ONCE), (BACK, BACK_DOWN), (27, FIRES), (31, ENDS)),
    ),
    "6 a gap longer than a value may be old ends what is pending": Timeline(
        HIGH | {"for": "1h"},
        ((0, {"x": 11}), (10, Change(restart=True))),
        ((0, UP), (300.5, DROPS)),
        alone=MINUTES,
    ),
    "6 a gap longer than a value may be old keeps what fires": Timeline(
        HIGH, ((0, {"x": 11}), (10, Change(restart=True)), (900, {"x": 5})), ((0, AT_ONCE), (900, ENDS)),
        alone=MINUTES,
    ),
    # -- 7: staleness. Deviations: the look-back follows the interval; what is missing resolves nothing ----
    "7 a value counts for 5 minutes": Timeline(
        HIGH | {"for": "1h"}, ((0, {"x": 11}),), ((0, UP), (300.5, DROPS)), (Check(300, "pending"),),
        alone=MINUTES,
    ),
    "7 a value counts for three intervals where these are longer (deviation)": Timeline(
        HIGH | {"for": "1h"}, ((0, {"x": 11}),), ((0, UP), (360.5, DROPS)), interval=120, alone=MINUTES
    ),
    "7 three short intervals are no limit": Timeline(
        HIGH | {"for": "1h"}, ((0, {"x": 11}),), ((0, UP), (300.5, DROPS)), interval=10, alone=MINUTES
    ),
    "7 a range is open at its beginning": Timeline(
        {"condition": "count($.x, 10s) >= 2", "every": "500ms"},
        ((0, {"x": 1}), (3, {"x": 1})),
        ((3, AT_ONCE), (10, ENDS)),
        late=1.5,  # figures are fetched each second
    ),
    "7 absent is true when nothing came": Timeline(
        {"condition": "absent($.x, 4s) and $.y > 0"},
        ((0, {"x": 1, "y": 1}), (3, {"x": 1}), (17, {"x": 1, "y": 0})),
        ((7, AT_ONCE), (17, ENDS)),
        late=10,  # no commit tells of it: the sweep of all rules does
    ),
    "7 a missing value keeps what fires (deviation)": Timeline(
        HIGH, ((0, {"x": 11}), (700, {"x": 5})), ((0, AT_ONCE), (700, ENDS)),
        (Check(600, "firing", "no data"),), alone=MINUTES,
    ),
    "7 no_data ok takes a missing value for well (deviation)": Timeline(
        HIGH | {"no_data": "ok"}, ((0, {"x": 11}),), ((0, AT_ONCE), (300.5, ENDS)), alone=MINUTES
    ),
    "7 no_data alert takes a missing value for wrong (deviation)": Timeline(
        HIGH | {"no_data": "alert"}, ((0, {"x": 5}), (400, {"x": 5})), ((300.5, AT_ONCE), (400, ENDS)),
        alone=MINUTES,
    ),
    "7 no_data alert waits for for as well": Timeline(
        HIGH | {"no_data": "alert", "for": "1m"}, ((0, {"x": 5}), (400, {"x": 5})),
        ((300.5, UP), (360.5, FIRES), (400, ENDS)), alone=MINUTES,
    ),
    "7 no_data alert takes no value at all for wrong, once it had time to come": Timeline(
        {"condition": "$.x > 10 and $.y > 10", "no_data": "alert"}, ((0, {"x": 11}),), ((300.5, AT_ONCE),),
        (Check(299, "inactive", "no data"),), alone=MINUTES,
    ),
    "7 what cannot be told begins nothing and keeps what fires": Timeline(
        {"condition": "$.x / $.y > 10"},
        ((0, {"x": 20, "y": 0}), (3, {"y": 1}), (6, {"y": 0}), (10, {"y": 5})),
        ((3, AT_ONCE), (10, ENDS)),
        (Check(2.9, "inactive", "no data"), Check(9, "firing", "no data")),
    ),
    "7 what cannot be told ends what is pending": Timeline(
        {"condition": "$.x / $.y > 10", "for": "7s"},
        ((0, {"x": 20, "y": 1}), (3, {"y": 0})),
        ((0, UP), (3, DROPS)),
    ),
    "7 no_data ok takes what cannot be told for well": Timeline(
        {"condition": "$.x / $.y > 10", "no_data": "ok"},
        ((0, {"x": 20, "y": 1}), (3, {"y": 0})),
        ((0, AT_ONCE), (3, ENDS)),
    ),
    "7 no_data ok heeds keep_firing_for": Timeline(
        {"condition": "$.x / $.y > 10", "no_data": "ok", "keep_firing_for": "5s"},
        ((0, {"x": 20, "y": 1}), (3, {"y": 0})),
        ((0, AT_ONCE), (8, ENDS)),
    ),
    # -- 8: beyond Prometheus -------------------------------------------------------------------------------
    "8 until: it resolves no sooner": Timeline(
        HIGH | {"until": "$.x < 5"},
        ((0, {"x": 11}), (2, {"x": 9}), (6, {"x": 4}), (9, {"x": 9})),
        ((0, AT_ONCE), (6, ENDS)),
        (Check(5, "firing", value=9), Check(12, "inactive")),
    ),
    "8 until: each target has its own": Timeline(
        {"condition": "$.* > 10", "until": "$.* < 5"},
        ((0, {"a": 11, "b": 11}), (3, {"a": 4, "b": 9}), (6, {"b": 4})),
        ((0, f"a: {AT_ONCE}"), (0, f"b: {AT_ONCE}"), (3, f"a: {ENDS}"), (6, f"b: {ENDS}")),
    ),
    "8 cooldown: it waits until that has passed": Timeline(
        HIGH | {"cooldown": "10s"},
        ((0, {"x": 11}), (3, {"x": 5}), (6, {"x": 11}), (14, {"x": 5})),
        ((0, AT_ONCE), (3, ENDS), (6, UP), (10, FIRES), (14, ENDS)),
    ),
    "8 cooldown: what ends meanwhile does not fire": Timeline(
        HIGH | {"cooldown": "10s"},
        ((0, {"x": 11}), (2, {"x": 5}), (4, {"x": 11}), (6, {"x": 5}), (13, {"x": 11}), (16, {"x": 5})),
        ((0, AT_ONCE), (2, ENDS), (4, UP), (6, DROPS), (13, AT_ONCE), (16, ENDS)),
    ),
    "8 repeat: it is told again while it fires": Timeline(
        HIGH | {"repeat": "5s"}, ((0, {"x": 11}), (9, {"x": 5})), ((0, AT_ONCE), (5, AGAIN), (9, ENDS))
    ),
    "8 repeat: a row is told again while it is there": Timeline(
        ROWS | {"repeat": "5s"}, ((0, {"x": 11}), (9, {"x": 5})), ((0, AT_ONCE), (5, AGAIN), (9, ENDS))
    ),
    "8 repeat: it is told again also while values are missing": Timeline(
        HIGH | {"repeat": "4m"}, ((0, {"x": 11}), (500, {"x": 5})),
        ((0, AT_ONCE), (240, AGAIN), (480, AGAIN), (500, ENDS)), alone=MINUTES,
    ),
    "8 flap: beyond so many firings an hour it is not told": Timeline(
        HIGH | {"flap": 2},
        tuple((2.0 * number, {"x": 5.0 if number % 2 else 11.0}) for number in range(6)),
        (
            (0, AT_ONCE), (2, ENDS), (4, AT_ONCE), (6, ENDS), (8, f"{AT_ONCE} (flapping)"),
            (10, f"{ENDS} (flapping)"),
        ),
    ),
    "8 flap: what still fires when it has calmed down is told": Timeline(
        HIGH | {"flap": 1},
        ((0, {"x": 11}), (2, {"x": 5}), (4, {"x": 11}), (3700, {"x": 5})),
        ((0, AT_ONCE), (2, ENDS), (4, f"{AT_ONCE} (flapping)"), (3600, AGAIN), (3700, ENDS)),
        late=10,  # a replay looks as often as the sweep of all rules
        alone="it takes an hour",
    ),
}  # fmt: skip
