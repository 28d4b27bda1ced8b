"""The REST API over a real socket: shapes, filters, refusals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from oculus.clock import SECOND, iso, now, parse_iso
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.model import Event, Micros, Sample, Tags
from oculus.web import inputs
from oculus.web.exposition import counter
from tests.support import exposition
from tests.support.servers import wait_for
from tests.support.site import Site

BASE = parse_iso("2020-01-01T00:00:00Z")


def after(seconds: float) -> Micros:
    """Return the moment that many seconds after the tests' base."""
    return Micros(BASE + round(seconds * SECOND))


def strict(text: str) -> Any:
    """Return JSON that any parser takes; fails for NaN and Infinity, which only Python's does."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """Return the error of an answer; fails unless it has this status and the one shape of errors.

    Errors of SQL tell their place besides.
    """
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = strict(answer.text)
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert [key for key in error if key != "position" or error["code"] != "bad_query"] == ["code", "message"]
    assert all(isinstance(error[key], str) and error[key] for key in ("code", "message"))
    return error


# -- GET /api/metrics -----------------------------------------------------------------------------------


def fill(site: Site) -> None:
    """Store four series of three categories, ten seconds apart."""
    site.write(
        ("net.http.b.rtt", 2.5, after(10)),
        ("net.http.a.rtt", 1.5, after(20)),
        ("custom.index", 97412.25, after(30)),
        Sample("crypto.price.btc_usd", 100_000.5, after(40), Tags({"source": "push", "unit": "USD"})),
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with samples and alerts, shared by the tests that change nothing."""
    site = Site(tmp_path_factory.mktemp("filled"))
    fill(site)
    raise_alerts(site)
    yield site
    site.close()


def symbols(site: Site, parameters: str) -> list[str]:
    """Return the symbols that `/api/metrics` lists with these parameters."""
    return [metric["symbol"] for metric in site.json(f"/api/metrics?{parameters}")["metrics"]]


def test_metrics_without_any_series_is_an_empty_list(site: Site) -> None:
    """Nothing measured yet is an answer like any other, not an error."""
    assert site.json("/api/metrics") == {"metrics": []}


def test_metrics_tells_everything_about_the_last_sample(site: Site) -> None:
    """Each entry has symbol, category, value, time, whether that is old, unit and tags."""
    fill(site)
    assert site.json("/api/metrics?symbol=crypto.*")["metrics"] == [
        {
            "symbol": "crypto.price.btc_usd",
            "category": "crypto.price",
            "value": 100_000.5,
            "ts": "2020-01-01T00:00:40.000Z",
            "stale": True,
            "unit": "USD",
            "tags": {"source": "push", "unit": "USD"},
        }
    ]


def test_metrics_shows_the_newest_sample_of_a_series(site: Site) -> None:
    """A second sample takes the first one's place; a late arrival does not."""
    site.write(("custom.x", 1.0, after(10)), ("custom.x", 2.0, after(20)))
    site.write(("custom.x", 3.0, after(15)))
    (metric,) = site.json("/api/metrics")["metrics"]
    assert (metric["value"], metric["ts"]) == (2.0, "2020-01-01T00:00:20.000Z")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", ["crypto.price.btc_usd", "custom.index", "net.http.a.rtt", "net.http.b.rtt"]),
        ("category=net.http", ["net.http.a.rtt", "net.http.b.rtt"]),
        ("category=net", []),
        ("symbol=net.http.a.rtt", ["net.http.a.rtt"]),
        ("symbol=net.*.rtt", ["net.http.a.rtt", "net.http.b.rtt"]),
        ("symbol=net.http.[bc].*", ["net.http.b.rtt"]),
        ("symbol=custom.inde?", ["custom.index"]),
        ("symbol=net", []),
        ("symbol=NET.*", []),
        ("category=net.http&symbol=*.b.*", ["net.http.b.rtt"]),
        ("since=2020-01-01T00:00:30Z", ["crypto.price.btc_usd", "custom.index"]),
        ("until=2020-01-01T00:00:20Z", ["net.http.a.rtt", "net.http.b.rtt"]),
        ("since=2020-01-01T00:00:20Z&until=2020-01-01T00:00:30Z", ["custom.index", "net.http.a.rtt"]),
        ("since=2020-01-01T01:00:30%2B01:00", ["crypto.price.btc_usd", "custom.index"]),
        ("since=2020-01-01T01:00:30+01:00", ["crypto.price.btc_usd", "custom.index"]),
        (f"since={BASE // SECOND + 35}", ["crypto.price.btc_usd"]),
        (f"since={BASE // 1000 + 35_000}", ["crypto.price.btc_usd"]),
        ("since=1h", []),
        ("limit=2", ["crypto.price.btc_usd", "custom.index"]),
        ("limit=1&category=net.http", ["net.http.a.rtt"]),
        ("limit=1000000000", ["crypto.price.btc_usd", "custom.index", "net.http.a.rtt", "net.http.b.rtt"]),
    ],
)
def test_metrics_are_filtered_and_ordered_by_symbol(
    filled: Site, parameters: str, expected: list[str]
) -> None:
    """`category`, `symbol` with its glob, `since`, `until` and `limit` narrow the list; both ends count."""
    assert symbols(filled, parameters) == expected


def test_since_as_a_duration_counts_back_from_now(site: Site) -> None:
    """`since=1h` keeps what is younger than an hour."""
    site.write(("custom.old", 1.0, Micros(now() - 7200 * SECOND)), ("custom.young", 1.0))
    assert symbols(site, "since=1h") == ["custom.young"]


TIMES = [
    "yesterday",
    "2020-13-01T00:00:00Z",
    "1e300",
    "-1e300",
    "nan",
    "inf",
    "99999999999999d",
    "9" * 400 + "d",
]


@pytest.mark.parametrize(
    "path",
    [
        *(f"/api/metrics?since={text}" for text in TIMES),
        *(f"/api/metrics?until={text}" for text in TIMES),
        *(f"/api/metrics?limit={text}" for text in ("0", "-1", "1.5", "many", "9" * 5000)),
        *(f"/api/alerts?since={text}" for text in TIMES),
        *(f"/api/alerts?limit={text}" for text in ("0", "x", "9" * 5000)),
        *(f"/api/alerts?before={text}" for text in ("x", "-1", "9" * 5000)),
        "/api/alerts?severity=bad",
        "/api/alerts?state=open",
        *(f"/api/metrics/custom.index?from={text}" for text in TIMES),
        *(f"/api/metrics/custom.index?to={text}" for text in TIMES),
        *(
            f"/api/metrics/custom.index?step={text}"
            for text in ("0", "0s", "-5", "often", "9" * 400, "9" * 400 + "d")
        ),
        "/api/metrics/custom.index?from=2020-01-02T00:00Z&to=2020-01-01T00:00Z",
        "/api/metrics/custom.index?from=2020-01-01T00:00Z&to=2020-01-01T00:00Z",
        "/api/metrics/custom.index?from=2020-01-01T00:00Z&to=2020-01-03T00:00Z&step=1s",
    ],
    ids=lambda path: path[:70],
)
def test_a_bad_parameter_is_refused(filled: Site, path: str) -> None:
    """What is no time, number or word of the contract gets 400 and names the parameter or the reason."""
    error = error_of(filled.get(path), 400)
    assert error["code"] == "bad_request"


def test_a_refusal_names_parameter_and_value(filled: Site) -> None:
    """The message says which parameter is wrong, what was given, and what would be right."""
    message = error_of(filled.get("/api/metrics?since=yesterday"), 400)["message"]
    assert "since='yesterday'" in message
    assert "epoch seconds" in message


# -- GET /api/metrics/{symbol} --------------------------------------------------------------------------


def test_points_are_open_high_low_close_average_and_count(site: Site) -> None:
    """Each bucket matches what a person computes: open and close by time, both ends of the range exact."""
    site.write(
        ("custom.x", 100.0, after(-0.000001)),  # before the range
        ("custom.x", 9.0, after(10)),
        ("custom.x", 2.0, after(59.999999)),
        ("custom.x", 5.0, after(0)),  # stored late, still the first by time
        ("custom.x", 7.0, after(60)),
        ("custom.x", 8.0, after(119)),
        ("custom.x", 1.0, after(180)),
        ("custom.x", 50.0, after(240)),  # the range ends before it
        ("custom.y", 77.0, after(30)),
    )
    answer = site.json("/api/metrics/custom.x?from=2020-01-01T00:00:00Z&to=2020-01-01T00:04:00Z&step=1m")
    points = answer["points"]
    assert [point.pop("avg") for point in points] == pytest.approx([16 / 3, 7.5, 1.0])
    assert points == [
        {"ts": "2020-01-01T00:00:00.000Z", "open": 5.0, "high": 9.0, "low": 2.0, "close": 2.0, "count": 3},
        {"ts": "2020-01-01T00:01:00.000Z", "open": 7.0, "high": 8.0, "low": 7.0, "close": 8.0, "count": 2},
        {"ts": "2020-01-01T00:03:00.000Z", "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "count": 1},
    ]
    assert (answer["from"], answer["to"]) == ("2020-01-01T00:00:00.000Z", "2020-01-01T00:04:00.000Z")
    assert answer["step"] == 60.0


def test_one_series_tells_unit_tags_and_last_value(site: Site) -> None:
    """Beside the points stand the series' unit, tags, and last value with its time, in range or not."""
    site.write(Sample("net.http.site.rtt", 12.5, after(5), Tags({"target": "http://site/"})))
    answer = site.json("/api/metrics/net.http.site.rtt?from=1h")
    assert answer["symbol"] == "net.http.site.rtt"
    assert answer["category"] == "net.http"
    assert answer["unit"] == "ms"
    assert answer["tags"] == {"target": "http://site/"}
    assert answer["last"] == {"ts": "2020-01-01T00:00:05.000Z", "value": 12.5}
    assert answer["points"] == []


def test_points_default_to_the_last_hour_in_300_steps(site: Site) -> None:
    """Without parameters the range is one hour up to now, in steps of twelve seconds."""
    site.write(
        ("custom.x", 1.0, Micros(now() - 3700 * SECOND)), ("custom.x", 2.0, Micros(now() - 60 * SECOND))
    )
    answer = site.json("/api/metrics/custom.x")
    assert parse_iso(answer["to"]) - parse_iso(answer["from"]) == 3600 * SECOND
    assert abs(parse_iso(answer["to"]) - now()) < 60 * SECOND
    assert answer["step"] == 12.0
    assert [point["close"] for point in answer["points"]] == [2.0]


def test_a_bare_step_is_seconds(site: Site) -> None:
    """`step=30` means thirty seconds."""
    site.write(("custom.x", 1.0, after(0)), ("custom.x", 2.0, after(29)), ("custom.x", 3.0, after(30)))
    answer = site.json("/api/metrics/custom.x?from=2020-01-01T00:00Z&to=2020-01-01T00:01Z&step=30")
    assert [point["count"] for point in answer["points"]] == [2, 1]


@pytest.mark.parametrize("symbol", ["custom.nothing", "UPPER", "custom.x%27%20or%201=1", "%ff"])
def test_an_unknown_series_is_not_found(filled: Site, symbol: str) -> None:
    """A symbol without samples gets 404, whatever it is made of."""
    assert error_of(filled.get(f"/api/metrics/{symbol}"), 404)["code"] == "not_found"


# -- POST /api/query ------------------------------------------------------------------------------------


def run(site: Site, sql: str, params: Any = None) -> Any:
    """Ask `/api/query`, and return the answer."""
    return site.post("/api/query", json={"sql": sql, "params": params})


def test_a_query_answers_columns_with_types_and_rows(site: Site) -> None:
    """The answer has names and DuckDB types of the columns, the rows, their count and the time it took."""
    site.write(("custom.x", 1.5, after(1)), ("custom.y", 2.5, after(2)))
    answer = strict(run(site, "select symbol, value, ts, tags from metrics order by ts").text)
    assert list(answer) == ["columns", "rows", "row_count", "truncated", "elapsed_ms"]
    assert answer["columns"] == [
        {"name": "symbol", "type": "VARCHAR"},
        {"name": "value", "type": "DOUBLE"},
        {"name": "ts", "type": "TIMESTAMP WITH TIME ZONE"},
        {"name": "tags", "type": "JSON"},
    ]
    assert answer["rows"] == [
        ["custom.x", 1.5, "2020-01-01T00:00:01.000Z", "{}"],
        ["custom.y", 2.5, "2020-01-01T00:00:02.000Z", "{}"],
    ]
    assert (answer["row_count"], answer["truncated"]) == (2, False)
    assert 0 < answer["elapsed_ms"] < 5000


@pytest.mark.parametrize(
    ("sql", "params", "row"),
    [
        ("select $a + 1 as n", {"a": 41}, [42]),
        ("select $name as n, $on as o", {"name": "x' or '1'='1", "on": True}, ["x' or '1'='1", True]),
        ("select ? || ?", ["a", "b"], ["ab"]),
        ("select $1 + $2", [1, 2], [3]),
        ("select $nothing is null", {"nothing": None}, [True]),
    ],
)
def test_a_query_takes_parameters_by_name_or_place(
    filled: Site, sql: str, params: Any, row: list[Any]
) -> None:
    """Parameters are bound, never pasted in."""
    assert strict(run(filled, sql, params).text)["rows"] == [row]


def test_every_value_of_a_row_is_json(filled: Site) -> None:
    """NaN, infinities, times, decimals, blobs and nested values come as what JSON has."""
    answer = run(
        filled,
        "select 'nan'::double, 'inf'::double, date '2020-01-02', 1.50::decimal(5,2), 'ab'::blob, null,"
        " [1, 2], {'a': timestamptz '2020-01-01 00:00:00+00'},"
        " 170141183460469231731687303715884105727::hugeint",
    )
    assert strict(answer.text)["rows"] == [
        [
            "nan",
            "inf",
            "2020-01-02",
            "1.50",
            "YWI=",
            None,
            [1, 2],
            {"a": "2020-01-01T00:00:00.000Z"},
            str(2**127 - 1),
        ]
    ]


@pytest.mark.parametrize(("count", "truncated"), [(999, False), (1000, False), (1001, True), (50_000, True)])
def test_a_query_shows_at_most_1000_rows_and_says_so(filled: Site, count: int, truncated: bool) -> None:
    """The first thousand rows come; `truncated` tells whether there were more."""
    answer = strict(run(filled, "select range from range($n) order by range", {"n": count}).text)
    assert answer["truncated"] is truncated
    assert answer["row_count"] == len(answer["rows"]) == min(count, 1000)
    assert answer["rows"][-1] == [min(count, 1000) - 1]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("selec 1", "Parser Error"),
        ("select nothing from metrics", 'Referenced column "nothing" not found'),
        ("select * from nowhere", "Table with name nowhere does not exist"),
        ("select $a", "a"),
        ("select 1; select 2", "exactly one"),
        ("", "exactly one"),
        ("select * from metrics where query('select 1')", "query() is not allowed"),
        ("insert into metrics values (now(), 'a', 'a', 1, '{}')", "INSERT"),
        ("delete from metrics", "DELETE"),
        ("drop table metrics", "DROP"),
        ("create table x (a int)", "CREATE"),
        ("copy metrics to '/tmp/x.csv'", "COPY"),
        ("attach '/tmp/x.db'", "ATTACH"),
        ("set threads = 8", "SET"),
        ("checkpoint", ""),
        ("select * from read_csv('/etc/passwd')", ""),
        ("select * from '/etc/passwd'", ""),
        ("install httpfs", ""),
        ("pragma database_size", ""),
    ],
)
def test_a_query_that_is_wrong_or_does_not_read_is_refused_in_duckdbs_words(
    filled: Site, sql: str, told: str
) -> None:
    """One reading statement is run; the refusal of any other quotes what DuckDB says."""
    error = error_of(run(filled, sql), 400)
    assert error["code"] == "bad_query"
    assert told in error["message"]
    assert len(filled.stored("custom.index")) == 1


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("select nothing from metrics", 7),
        ("select 'x", 7),
        ("select 1; select 2", None),
        ("drop table x", None),
    ],
)
def test_a_wrong_query_tells_the_place_if_there_is_one(filled: Site, sql: str, position: int | None) -> None:
    """The answer names the character at which DuckDB found the fault."""
    assert error_of(run(filled, sql), 400).get("position") == position


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"select 1"',
        "{}",
        '{"sql": 1}',
        '{"sql": null}',
        '{"sql": "select 1", "params": 5}',
        '{"sql": "select 1", "params": "a"}',
        '{"sql": "select \'\\ud800\'"}',
        '{"sql": "select $a", "params": {"a": "\\udfff"}}',
        b'{"sql": "\xff\xfe"}',
        b'{"sql": "\xed\xa0\x80"}',
        "[" * 100_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_query_body_that_is_none_is_refused(filled: Site, body: str | bytes) -> None:
    """Anything but `{"sql": text, "params": {…}}` in JSON gets 400."""
    assert error_of(filled.post("/api/query", data=body), 400)["code"] == "bad_request"


ENDLESS = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"


def test_a_query_is_ended_after_five_seconds_and_hinders_nobody(site: Site) -> None:
    """The slow query gets 408; meanwhile and afterwards others are answered at once."""
    started = time.monotonic()
    slow = gevent.spawn(run, site, ENDLESS)
    gevent.sleep(0.5)
    asked = time.monotonic()
    assert strict(run(site, "select 42").text)["rows"] == [[42]]
    assert time.monotonic() - asked < 2
    error = error_of(slow.get(timeout=20), 408)
    taken = time.monotonic() - started
    assert error["code"] == "timeout"
    assert "5 s" in error["message"]
    assert 4.9 < taken < 9
    assert strict(run(site, "select 43").text)["rows"] == [[43]]


def test_too_many_waiting_queries_are_turned_away(site: Site) -> None:
    """When all threads are taken and the waiting room is full, the next query gets 503 and when to return."""
    busy = [gevent.spawn(run, site, ENDLESS) for _ in range(site.readers._most_waiting + 2)]
    try:
        wait_for(lambda: site.readers._now_waiting == site.readers._most_waiting)
        answer = run(site, "select 1")
        assert error_of(answer, 503)["code"] == "busy"
        assert int(answer.headers["Retry-After"]) >= 1
    finally:
        gevent.killall(busy)


# -- GET /api/rules -------------------------------------------------------------------------------------

RULES = (
    RuleSettings(
        name="slow site", condition="net.http.site.rtt > 1000", for_=Seconds(120.0), severity="error",
        message="{{ symbol }} took {{ value }} ms", cooldown=Seconds(60.0), channels=("log",),
    ),
    RuleSettings(name="quiet", condition="custom.nothing == 0 or custom.none > 1"),
)  # fmt: skip


def test_rules_are_listed_with_their_state(new_site: Callable[..., Site]) -> None:
    """Each rule tells its settings, state, health, and its condition with the values filled in."""
    site = new_site(rules=RULES)
    moment = now()
    site.write(("net.http.site.rtt", 1500.0, moment))
    site.evaluate(moment)
    first, second = site.json("/api/rules")["rules"]
    assert first == {
        "name": "slow site",
        "condition": "net.http.site.rtt > 1000",
        "sql": "",
        "for": 120.0,
        "cooldown": 60.0,
        "severity": "error",
        "message": "{{ symbol }} took {{ value }} ms",
        "channels": ["log"],
        "state": "pending",
        "health": "ok",
        "error": "",
        "missing": [],
        "value": 1500.0,
        "explanation": "net.http.site.rtt (1500) > 1000",
        "active_at": iso(moment),
        "last_evaluation": iso(moment),
        "evaluations": 1,
        "missed": 0,
        "instances": [
            {
                "labels": {"symbol": "net.http.site.rtt"},
                "state": "pending",
                "value": 1500.0,
                "active_at": iso(moment),
                "suppressed": "",
            }
        ],
    }
    assert (second["name"], second["state"], second["health"]) == ("quiet", "inactive", "no data")
    assert second["missing"] == ["custom.nothing", "custom.none"]
    assert (second["active_at"], second["value"]) == (None, None)


def test_rules_without_any_are_an_empty_list(site: Site) -> None:
    """A configuration without rules is answered like any other."""
    assert site.json("/api/rules") == {"rules": []}


def test_one_rule_comes_with_its_history_newest_first(new_site: Callable[..., Site]) -> None:
    """The history holds this rule's steps only."""
    site = new_site(rules=(*RULES, RuleSettings(name="other", condition="net.http.site.rtt > 1")))
    start = Micros(now() - 200 * SECOND)
    site.write(("net.http.site.rtt", 1500.0, start))
    site.evaluate(start)
    site.evaluate(Micros(start + 120 * SECOND))
    site.write(("net.http.site.rtt", 15.0, Micros(start + 130 * SECOND)))
    site.evaluate(Micros(start + 130 * SECOND))
    rule = site.json("/api/rules/slow%20site")
    assert rule["state"] == "inactive"
    assert [(step["state"], step["previous"]) for step in rule["history"]] == [
        ("resolved", "firing"),
        ("firing", "pending"),
        ("pending", "inactive"),
    ]
    assert {step["rule"] for step in rule["history"]} == {"slow site"}
    fired = rule["history"][1]
    assert fired["message"] == "net.http.site.rtt took 1500.0 ms"
    assert fired["started_at"] == iso(start)
    assert fired["ts"] == iso(Micros(start + 120 * SECOND))


def test_an_unknown_rule_is_not_found(filled: Site) -> None:
    """A name that no rule carries gets 404."""
    error = error_of(filled.get("/api/rules/nothing"), 404)
    assert error["code"] == "not_found"
    assert "nothing" in error["message"]


# -- GET /api/alerts ------------------------------------------------------------------------------------


def raise_alerts(site: Site) -> None:
    """Store five steps of two rules, ten seconds apart, and an event that is no alert."""
    steps = [
        ("a", "pending", "warn"),
        ("a", "firing", "warn"),
        ("b", "firing", "critical"),
        ("a", "resolved", "warn"),
        ("b", "resolved", "critical"),
    ]
    events = [
        Event(after(10 * place), rule, "alert", severity, f"{rule} is {state}",  # type: ignore[arg-type]
              {"rule": rule, "state": state, "previous": "inactive", "symbol": "custom.x", "value": 2.0,
               "labels": {}, "started_at": after(0), "channels": ["log"], "explanation": "custom.x (2) > 1"})
        for place, (rule, state, severity) in enumerate(steps)
    ]  # fmt: skip
    site.store_events([*events, Event(after(99), "oculus", "system", "info", "not an alert")])


def test_an_alert_tells_what_happened(filled: Site) -> None:
    """Every field of a stored step is shown, under the names of the contract."""
    assert filled.json("/api/alerts?limit=1")["alerts"] == [
        {
            "id": 5,
            "ts": "2020-01-01T00:00:40.000Z",
            "rule": "b",
            "state": "resolved",
            "previous": "inactive",
            "severity": "critical",
            "message": "b is resolved",
            "symbol": "custom.x",
            "value": 2.0,
            "labels": {},
            "started_at": "2020-01-01T00:00:00.000Z",
            "explanation": "custom.x (2) > 1",
            "operands": [],
            "timers": {},
            "suppressed": "",
            "channels": ["log"],
        }
    ]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("rule=a", [4, 2, 1]),
        ("rule=nothing", []),
        ("rule=a%27%20or%20%271%27=%271", []),
        ("severity=critical", [5, 3]),
        ("severity=info", []),
        ("state=firing", [3, 2]),
        ("state=resolved&rule=a", [4]),
        ("since=2020-01-01T00:00:20Z", [5, 4, 3]),
        ("since=1h", []),
        ("before=4", [3, 2, 1]),
        ("before=4&rule=a&limit=1", [2]),
        ("q=nothing+like+it", []),
        ("limit=2", [5, 4]),
        ("limit=1&severity=warn&state=firing&since=2020-01-01T00:00:00Z", [2]),
    ],
)
def test_alerts_are_filtered_newest_first(filled: Site, parameters: str, expected: list[int]) -> None:
    """Each parameter narrows the list; other events are no alerts."""
    assert [alert["id"] for alert in filled.json(f"/api/alerts?{parameters}")["alerts"]] == expected


# -- POST /api/push -------------------------------------------------------------------------------------


def pushed(site: Site, body: Any, path: str = "/api/push") -> int:
    """Push and return how many samples were accepted; fails unless they were."""
    answer = site.post(path, json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    accepted = answer.json()
    assert list(accepted) == ["accepted"]
    return int(accepted["accepted"])


def test_a_pushed_sample_is_stored_and_shown(site: Site) -> None:
    """One value at its symbol's path is stored with the present time and its source."""
    before = now()
    assert pushed(site, {"value": 1.5}, "/api/push/custom.room.temperature") == 1
    site.settle()
    ((ts, value, tags),) = site.stored("custom.room.temperature")
    assert before <= ts <= now()
    assert (value, json.loads(tags)) == (1.5, {"source": "push"})
    assert site.json("/api/metrics/custom.room.temperature")["last"]["value"] == 1.5


def test_tags_come_with_the_sample(site: Site) -> None:
    """Tags are stored as texts, numbers and truth values as JSON writes them, any language untouched."""
    pushed(
        site,
        {"symbol": "custom.x", "value": 1, "tags": {"room": "Küche 🍲", "n": 5, "on": True, "nul": "a\0b"}},
    )
    site.settle()
    ((_, _, tags),) = site.stored("custom.x")
    assert json.loads(tags) == {"room": "Küche 🍲", "n": "5", "on": "true", "nul": "a\0b", "source": "push"}


@pytest.mark.parametrize(
    "ts",
    [
        "2020-01-01T00:00:01.5Z",
        "2020-01-01T01:00:01.5+01:00",
        "2020-01-01T00:00:01.5",
        BASE / SECOND + 1.5,
        BASE // 1000 + 1500,
        BASE + 1_500_000,
    ],
)
def test_a_pushed_time_is_iso_or_epoch(site: Site, ts: Any) -> None:
    """ISO 8601 with or without an offset, and epoch seconds, milliseconds or microseconds, mean the same."""
    pushed(site, {"value": 1, "ts": ts}, "/api/push/custom.x")
    site.settle()
    assert site.stored("custom.x")[0][0] == after(1.5)


def test_ten_thousand_samples_go_in_one_request(site: Site) -> None:
    """The largest batch is taken whole, in order."""
    batch = [
        {"symbol": f"custom.s{n % 7}", "value": n, "ts": BASE + n, "tags": {"n": str(n)}}
        for n in range(10_000)
    ]
    assert pushed(site, batch) == inputs.MAX_PUSH == 10_000
    site.settle()
    rows = site.readers.run(
        lambda cursor: cursor.execute("select count(*), sum(value) from metrics").fetchall()
    )
    assert rows == [(10_000, sum(range(10_000)))]


def test_a_list_may_go_to_one_symbol(site: Site) -> None:
    """At a symbol's path the samples of a list need not name it."""
    assert pushed(site, [{"value": n, "ts": BASE + n} for n in range(3)], "/api/push/custom.x") == 3
    site.settle()
    assert [row[1] for row in site.stored("custom.x")] == [0, 1, 2]


def test_an_empty_list_is_accepted(site: Site) -> None:
    """Nothing to store is no mistake."""
    assert pushed(site, []) == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, [{"symbol": "custom.x", "value": 1}] * 10_001),
        (413, {"symbol": "custom.x", "value": 1, "tags": {"a": "x" * inputs.MAX_BODY}}),
    ],
    ids=["samples", "bytes"],
)
def test_what_is_too_large_is_refused(site: Site, status: int, body: Any) -> None:
    """More than 10,000 samples or 4 MiB get 413 and store nothing."""
    assert error_of(site.post("/api/push", json=body), status)["code"] == "too_large"
    site.settle()
    assert site.stored("custom.x") == []


def test_a_chunked_body_is_bounded_too(site: Site) -> None:
    """A sender that does not tell the length in advance meets the same bound."""

    def pieces() -> Any:
        yield b'{"value": 1, "tags": {"a": "'
        for _ in range(5):
            yield b"x" * (1024 * 1024)
        yield b'"}}'

    assert error_of(site.post("/api/push/custom.x", data=pieces()), 413)["code"] == "too_large"


def test_a_chunked_body_is_read(site: Site) -> None:
    """A sender that streams is understood."""
    assert site.post("/api/push/custom.x", data=iter([b'{"val', b'ue": 2}'])).status_code == 202


BAD_SAMPLES = [
    {},
    {"value": None},
    {"value": "1.5"},
    {"value": True},
    {"value": [1]},
    {"value": float("nan")},
    {"value": float("inf")},
    {"value": float("-inf")},
    {"value": 10**400},
    {"value": 1, "symbol": "UPPER"},
    {"value": 1, "symbol": ""},
    {"value": 1, "symbol": "a..b"},
    {"value": 1, "symbol": ".a"},
    {"value": 1, "symbol": "a b"},
    {"value": 1, "symbol": "a/b"},
    {"value": 1, "symbol": "<script>"},
    {"value": 1, "symbol": "a\n"},
    {"value": 1, "symbol": "a" * 201},
    {"value": 1, "symbol": 5},
    {"value": 1, "symbol": None},
    {"value": 1, "ts": "soon"},
    {"value": 1, "ts": -1},
    {"value": 1, "ts": "1969-12-31T23:59:59Z"},
    {"value": 1, "ts": 1e300},
    {"value": 1, "ts": float("nan")},
    {"value": 1, "ts": 10**400},
    {"value": 1, "ts": "2999-01-01T00:00:00Z"},
    {"value": 1, "ts": True},
    {"value": 1, "ts": []},
    {"value": 1, "tags": []},
    {"value": 1, "tags": "a"},
    {"value": 1, "tags": {"a": None}},
    {"value": 1, "tags": {"a": {}}},
    {"value": 1, "tags": {"a": [1]}},
    {"value": 1, "tags": {str(n): "x" for n in range(33)}},
    {"value": 1, "tags": {"a": "\ud800"}},
    {"value": 1, "tags": {"\udc00": "a"}},
    {"value": 1, "unit": "ms"},
    5,
    "text",
    None,
    [],
]


@pytest.mark.parametrize("bad", BAD_SAMPLES, ids=lambda bad: repr(bad)[:50])
def test_a_bad_sample_refuses_its_whole_batch(filled: Site, bad: Any) -> None:
    """One wrong sample gets 400 that names its place, and none of the batch is stored."""
    sample = {"symbol": "custom.bad"} | bad if isinstance(bad, dict) else bad
    good = {"symbol": "custom.good", "value": 1}
    error = error_of(filled.post("/api/push", data=json.dumps([good, sample, good])), 400)
    assert error["code"] == "bad_request"
    if "\\ud" not in json.dumps(bad):
        assert error["message"].startswith("sample 1: ")
    assert len(filled.pipe) == 0
    assert filled.pipe.accepted == 0


@pytest.mark.parametrize(
    ("body", "value"),
    [("12.5", 12.5), (" -3\n", -3.0), ("+.5\r\n", 0.5), ("1e3", 1000.0), ("5.", 5.0), ("0" * 300 + "7", 7.0)],
)
def test_a_bare_number_is_a_value(site: Site, body: str, value: float) -> None:
    """Shell scripts send `curl -d 12.5`, whatever the type is that it goes by."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert site.post("/api/push/custom.x", data=body, headers=kind).json() == {"accepted": 1}
    site.settle()
    assert site.stored("custom.x")[0][1] == value


@pytest.mark.parametrize("body", ["1e999", "nan", "inf", "1_000", "12,5", "0x10", "1 2", "true", "9" * 401])
def test_what_is_no_bare_number_is_refused(filled: Site, body: str) -> None:
    """It is never guessed at; and without a symbol in the path a number says nothing."""
    assert error_of(filled.post("/api/push/custom.x", data=body), 400)["code"] == "bad_request"
    assert error_of(filled.post("/api/push", data="12.5"), 400)["code"] == "bad_request"


@pytest.mark.parametrize("body", ["", "{", "nonsense", b"\xff", '{"value": 1} x', "[" * 100_000])
def test_a_push_that_is_no_json_is_refused(filled: Site, body: str | bytes) -> None:
    """A body that cannot be read gets 400."""
    assert error_of(filled.post("/api/push/custom.x", data=body), 400)["code"] == "bad_request"


def test_a_full_queue_answers_503_and_takes_all_or_nothing(new_site: Callable[..., Site]) -> None:
    """What does not fit as a whole is refused with the time to wait; what fits still goes in."""
    site = new_site(queue=1_000, drain=False)
    assert pushed(site, [{"symbol": "custom.x", "value": n} for n in range(900)]) == 900
    answer = site.post("/api/push", json=[{"symbol": "custom.y", "value": n} for n in range(200)])
    assert error_of(answer, 503)["code"] == "queue_full"
    assert int(answer.headers["Retry-After"]) >= 1
    assert (len(site.pipe), site.pipe.refused, site.pipe.dropped) == (900, 200, 0)
    assert pushed(site, [{"symbol": "custom.z", "value": n} for n in range(100)]) == 100
    assert error_of(site.post("/api/push/custom.x", json={"value": 1}), 503)["code"] == "queue_full"


# -- health and figures ---------------------------------------------------------------------------------


def test_healthz_is_ok_while_the_process_runs(new_site: Callable[..., Site]) -> None:
    """The process is up even when the database is not."""
    site = new_site(not_ready=lambda: "the disk is full")
    assert site.json("/healthz") == {"status": "ok"}


def test_readyz_tells_why_not(new_site: Callable[..., Site]) -> None:
    """Ready is 200; not ready is 503 with the reason."""
    reasons = ["", "the disk is full"]
    site = new_site(not_ready=lambda: reasons[0])
    assert site.json("/readyz") == {"status": "ready"}
    del reasons[0]
    assert error_of(site.get("/readyz"), 503) == {"code": "not_ready", "message": "the disk is full"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/api/metrics", "/", "/metrics"])
def test_head_is_answered_like_get_without_the_body(filled: Site, path: str) -> None:
    """Monitors that ask with HEAD get the same status and type."""
    got, headed = filled.get(path), filled.ask("HEAD", path)
    assert (headed.status_code, headed.headers["Content-Type"]) == (200, got.headers["Content-Type"])
    assert headed.content == b""


def test_metrics_are_exposed_for_prometheus(new_site: Callable[..., Site]) -> None:
    """`/metrics` has the format's own type and what the daemon counts."""
    site = new_site(metrics=lambda: [counter("oculus_things_total", "Things.", 3)])
    answer = site.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert exposition.parse(answer.text)["oculus_things_total"].samples == {("oculus_things_total", ()): 3.0}


# -- what no route takes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/nothing", "/api/metrics/", "/api/metrics/a/b", "/api/rules/", "/nothing", "//"],
)
def test_an_unknown_path_is_not_found(filled: Site, path: str) -> None:
    """A path without a route gets 404 in the one shape of errors."""
    assert error_of(filled.get(path), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/metrics", "GET"),
        ("DELETE", "/api/metrics/custom.x", "GET"),
        ("GET", "/api/query", "POST"),
        ("GET", "/api/push", "POST"),
        ("PUT", "/api/push/custom.x", "POST"),
        ("POST", "/healthz", "GET"),
        ("POST", "/", "GET"),
        ("GET", "/logout", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(filled: Site, method: str, path: str, allowed: str) -> None:
    """A route asked with another method gets 405 and an Allow header."""
    answer = filled.ask(method, path)
    assert error_of(answer, 405)["code"] == "method_not_allowed"
    assert allowed in answer.headers["Allow"].split(",")
