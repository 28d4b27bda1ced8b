"""The page of a series and what it asks for, over a real socket: figures, rows, downloads, points."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from oculus.beside import copies_of
from oculus.clock import DAY, SECOND, iso, now
from oculus.config.settings import RuleSettings
from oculus.model import Batch, Candle, Micros, Sample, Tags
from oculus.storage import ingest
from tests.support.html import Element, parse
from tests.support.servers import wait_for
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}
MINUTE = 60 * SECOND
HOUR = 3600 * SECOND


def page(site: Site, path: str) -> Element:
    """Return a page or a fragment."""
    answer = site.get(path, headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def series(site: Site, symbol: str, values: list[float], every: int = MINUTE, **tags: str) -> Micros:
    """Store values that end now; return when the first one is from."""
    start = Micros(now() - (len(values) - 1) * every)
    site.write(
        *(Sample(symbol, value, Micros(start + n * every), Tags(tags)) for n, value in enumerate(values))
    )
    return start


def window(start: Micros, end: Micros) -> str:
    """Return the parameters of a range."""
    return f"from={iso(start)}&to={iso(end)}"


def figures(root: Element) -> dict[str, str]:
    """Return the figures by their names, with their notes."""
    cells = root.one("dl", class_="sums").find("div")
    return {cell.one("dt").text: cell.one("dd").text.replace("\xa0", " ") for cell in cells}


# -- how it stands --------------------------------------------------------------------------------------


def test_the_page_tells_how_a_series_stands(site: Site) -> None:
    """Its value with all digits that matter, its category, its labels, and a title to find it by."""
    series(site, "crypto.price.btc_usd", [95_000.0, 97_412.1], unit="USD", source="coinbase")
    root = page(site, "/series/crypto.price.btc_usd")
    head = root.one(class_="headline")
    assert root.one("h1").text == "crypto.price.btc_usd"
    assert head.attributes["data-category"] == "crypto.price"
    assert head.one("output").text == "$97,412.10"
    assert root.one("title").text == "$97,412.10 · crypto.price.btc_usd · Oculus"
    assert root.one(class_="crumbs").text == "Dashboard › Crypto"
    assert "coinbase" in root.text
    assert not root.find(class_="tag")
    assert not head.find(class_="related")
    live = root.one(id="live")
    assert live.attributes["hx-get"] == "/partials/series/crypto.price.btc_usd"
    assert live.text == page(site, live.attributes["hx-get"]).text


def test_a_failing_target_says_why_on_each_of_its_series(site: Site) -> None:
    """They lead to one another, in the order of their use."""
    tags = Tags({"target": "http://site/"})
    site.write(
        Sample("net.http.site.up", 0.0, now(), Tags(tags | {"error": "connection refused"})),
        Sample("net.http.site.rtt", 12.5, Micros(now() - MINUTE), tags),
        Sample("net.http.site.dns", 1.5, now(), tags),
        Sample("net.http.site2.rtt", 1.0, now(), tags),
    )
    root = page(site, "/series/net.http.site.rtt")
    head = root.one(class_="headline")
    assert "down" in head.classes
    assert head.one(class_="reason").text == "connection refused"
    links = head.one(class_="related").find("a")
    assert [link.attributes["href"] for link in links] == [
        f"/series/net.http.site.{part}" for part in ("rtt", "up", "dns")
    ]
    assert [link.text.replace("\xa0", " ") for link in links] == ["rtt 12.50 ms", "up down", "dns 1.50 ms"]
    assert [link.attributes.get("aria-current") for link in links] == ["page", None, None]


def test_what_is_doubted_is_neither_up_nor_down(site: Site) -> None:
    """While this host has lost the network, the target's state is unknown."""
    site.write(
        Sample("net.ping.site.up", 1.0, Micros(now() - HOUR), Tags({})),
        Sample("net.ping.site.unknown", 1.0, now(), Tags({"reason": "this host has lost the network"})),
    )
    head = page(site, "/series/net.ping.site.up").one(class_="headline")
    assert "unknown" in head.classes
    assert head.one(class_="reason").text == "this host has lost the network"


def test_an_old_value_is_marked(new_site: NewSite) -> None:
    """Stale, or with the word that its source has for a value that does not move."""
    site = new_site(stale_after=lambda symbol: 60.0, state=lambda symbol: "closed")
    site.write(("stock.price.tsla", 400.0, Micros(now() - 10 * SECOND)))
    assert page(site, "/series/stock.price.tsla").one(class_="tag").text == "closed"
    site.write(("custom.old", 1.0, Micros(now() - HOUR)))
    assert page(site, "/series/custom.old").one(class_="tag").text == "stale"


def test_a_series_that_only_the_store_knows_has_a_page(site: Site) -> None:
    """It is shown over a range in which it was measured, and is said to be measured no more."""
    old = Micros(now() - 20 * DAY)
    site.writer.call(ingest.write, Batch((Sample("custom.gone", 7.5, old, Tags({"unit": "ms"})),)), 1)
    root = page(site, "/series/custom.gone")
    assert root.one(class_="tag").text == "measured no more"
    assert root.one(class_="headline").one("output").text == "7.50 ms"
    assert root.one(class_="range", aria_current="true").text == "30d"
    assert figures(root)["Samples"] == "1"


@pytest.mark.parametrize("path", ["/series/custom.nothing", "/series/No%20such", "/series/%27"])
def test_an_unknown_series_is_not_found(site: Site, path: str) -> None:
    """As a page for people; its parts and downloads likewise."""
    answer = site.get(path, headers=WEB)
    assert answer.status_code == 404
    assert "there is no series" in parse(answer.text).text
    symbol = path.removeprefix("/series/")
    for part in (
        f"/partials{path}",
        f"/partials{path}/window",
        f"/partials{path}/rows",
        f"{path}/export.csv",
    ):
        assert site.get(part).status_code == 404
    assert site.get(f"/api/metrics/{symbol}/stats").status_code == 404


# -- ranges ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "chosen"), [(5, "1h"), (90, "6h"), (600, "1d")])
def test_the_first_range_is_as_long_as_there_is_something_in_it(
    site: Site, minutes: int, chosen: str
) -> None:
    """A new series does not begin with an empty chart."""
    series(site, "custom.x", [1.0] * minutes)
    root = page(site, "/series/custom.x")
    assert root.one(class_="range", aria_current="true").text == chosen
    assert root.one(id="chart").attributes["data-range"] == chosen


def test_the_url_chooses_the_range(site: Site) -> None:
    """By its name or by two times; what is no time is refused."""
    series(site, "custom.x", [1.0, 2.0])
    assert page(site, "/series/custom.x?range=90d").one(class_="range", aria_current="true").text == "90d"
    start, end = Micros(now() - 10 * DAY), Micros(now() - 9 * DAY)
    chart = page(site, f"/series/custom.x?{window(start, end)}").one(id="chart")
    assert (chart.attributes["data-from"], chart.attributes["data-to"]) == (iso(start), iso(end))
    assert chart.attributes["data-range"] == ""
    for wrong in ("from=never", f"from={iso(end)}&to={iso(start)}"):
        assert site.get(f"/series/custom.x?{wrong}").status_code == 400


# -- figures, thresholds, alerts ------------------------------------------------------------------------


def test_figures_are_of_the_window(site: Site) -> None:
    """Change, extremes, mean and p95 of what is shown; the change of a price is good or bad."""
    start = series(site, "crypto.price.eth_usd", [3000.0, 3100.0, 2900.0, 3300.0], unit="USD")
    path = "/partials/series/crypto.price.eth_usd/window"
    root = page(site, f"{path}?{window(start, now())}")
    assert figures(root) == {
        "Change": "+10.00% +$300.00",
        "Min": "$2,900.00",
        "Max": "$3,300.00",
        "Mean": "$3,075.00",
        "p95": "$3,270.00",
        "Samples": "4",
    }
    assert "rise" in root.one("dl").find("div")[0].classes
    first = figures(page(site, f"{path}?{window(start, Micros(start + 90 * SECOND))}"))
    assert (first["Max"], first["Samples"]) == ("$3,100.00", "2")
    assert figures(page(site, f"{path}?{window(Micros(start - DAY), start)}")) == {"Samples": "0"}


def test_the_change_of_a_day_is_against_yesterday(site: Site) -> None:
    """Whatever the window is; a latency that rises is neither good nor bad by itself."""
    site.write(("net.tcp.db.rtt", 20.0, Micros(now() - DAY - HOUR)), ("net.tcp.db.rtt", 25.0))
    root = page(site, f"/partials/series/net.tcp.db.rtt/window?{window(Micros(now() - MINUTE), now())}")
    assert figures(root)["24 hours"] == "+25.00% +5 ms"
    assert not root.find(class_="rise")


def test_uptime_has_unknown_time_beside_it(new_site: NewSite) -> None:
    """On each series of the target; a gap is not counted as up, nor as down."""
    site = new_site(every=lambda symbol: 30.0)
    start = Micros(now() - 1000 * SECOND)
    site.write(
        *(
            Sample("net.http.site.up", float(second != 300), Micros(start + second * SECOND), Tags({}))
            for second in (*range(0, 400, 30), *range(700, 1000, 30))
        ),
        Sample("net.http.site.rtt", 5.0, Micros(start + SECOND), Tags({})),
    )
    for part in ("rtt", "up"):
        path = f"/partials/series/net.http.site.{part}/window?{window(start, Micros(start + 1000 * SECOND))}"
        found = figures(page(site, path))
        # Up to 480 s and from 700 s on something is known; of that, 30 s are down.
        assert found["Uptime"] == f"{(780 - 30) / 780 * 100:.2f} % down for 30s"
        assert found["Unknown"] == "22.00 % 3.67m without any result"
        assert ("Mean" in found) is (part == "rtt")
    told = site.json(f"/api/metrics/net.http.site.rtt/stats?{window(start, Micros(start + 1000 * SECOND))}")
    assert told["uptime"] == {
        "percent": pytest.approx(750 / 780 * 100),
        "up_seconds": 750.0,
        "down_seconds": 30.0,
        "unknown_seconds": 220.0,
    }


def test_rules_and_their_alerts_stand_below_the_chart(new_site: NewSite) -> None:
    """The thresholds as the chart needs them, and each beginning and end with a link to its page."""
    site = new_site(
        rules=[
            RuleSettings(
                name="hot & high", condition="custom.t > 30", until="custom.t < 25", severity="error"
            ),
            RuleSettings(name="other", condition="custom.o > 30"),
        ]
    )
    site.write(("custom.t", 35.0))
    site.evaluate()
    site.write(("custom.t", 20.0))
    site.evaluate()
    root = page(site, "/series/custom.t")
    marks = [mark.attributes for mark in root.one(class_="reads").find("data")]
    assert [
        (mark["value"], mark["data-sign"], mark["data-severity"], "data-ends" in mark) for mark in marks
    ] == [
        ("30.0", ">", "error", False),
        ("25.0", "<", "error", True),
    ]
    assert {mark["data-rule"] for mark in marks} == {"hot & high"}
    assert root.one(class_="reads").one("a").attributes["href"] == "/rules/hot%20%26%20high"
    turns = root.one(class_="turns").find("li")
    assert [turn.attributes["data-state"] for turn in turns] == ["resolved", "firing"]
    for turn in turns:
        assert site.get(turn.one("a").attributes["href"]).status_code == 200
        assert abs(float(turn.attributes["data-ts"]) - now() / SECOND) < 60
    early = page(
        site, f"/partials/series/custom.t/window?{window(Micros(now() - DAY), Micros(now() - HOUR))}"
    )
    assert early.one(class_="turns").find("li") == []


# -- rows -----------------------------------------------------------------------------------------------


def test_rows_come_in_pages(site: Site) -> None:
    """Fifty at a time, newest first; the button asks for the next ones, and is not there after the last."""
    series(site, "custom.x", [float(number) for number in range(120)], target="a")
    seen: list[str] = []
    path = "/partials/series/custom.x/rows"
    while path:
        root = page(site, path)
        rows = [row for row in root.find("tr") if "more" not in row.classes]
        assert len(rows) <= 50
        seen += [row.one("b").text for row in rows]
        more = root.find("button")
        path = more[0].attributes["hx-get"] if more else ""
    assert seen == [str(number) for number in reversed(range(120))]


def test_a_row_tells_its_bounds_and_what_changed_in_its_labels(site: Site) -> None:
    """Labels that all rows share are told once."""
    tags, at = Tags({"source": "feed"}), now()
    site.write(
        Sample("custom.x", 4.0, Micros(at - SECOND), tags, Candle(open=3.0, high=9.0, low=2.5)),
        Sample("custom.x", 5.0, at, Tags(tags | {"error": "<late>"})),
    )
    newest, older = page(site, "/partials/series/custom.x/rows").find("tr")
    assert "feed" in newest.text
    assert "<late>" in newest.text
    assert "open 3, high 9, low 2.50" in older.text
    assert "feed" not in older.text


# -- downloads ------------------------------------------------------------------------------------------


def test_what_is_shown_can_be_downloaded(site: Site, tmp_path: Path) -> None:
    """As CSV and as Parquet, with the rows of the range alone; nothing is left beside the database."""
    start = series(site, "custom.x", [1.0, 2.5, 4.0, 5.5], unit="ms")
    site.write(("custom.y", 9.0))
    asked = window(start, Micros(start + 150 * SECOND))
    answer = site.get(f"/series/custom.x/export.csv?{asked}")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["symbol"], float(row["value"]), row["source"]) for row in rows] == [
        ("custom.x", value, "samples") for value in (1.0, 2.5, 4.0)
    ]
    answer = site.get(f"/series/custom.x/export.parquet?{asked}")
    name = answer.headers["Content-Disposition"].partition('filename="')[2].rstrip('"')
    assert name.startswith("custom.x_")
    assert name.endswith("Z.parquet")
    (tmp_path / name).write_bytes(answer.content)
    query = f"select value, tags->>'unit' from '{tmp_path / name}' order by ts"
    found = duckdb.connect().execute(query).fetchall()
    assert found == [(1.0, "ms"), (2.5, "ms"), (4.0, "ms")]
    wait_for(lambda: not copies_of(site.database.path).exists())


def test_a_download_that_nobody_takes_leaves_nothing(site: Site) -> None:
    """A client that asks for the head alone, or hangs up at once."""
    series(site, "custom.x", [1.0] * 100)
    assert site.ask("HEAD", "/series/custom.x/export.csv?from=1d").status_code == 200
    assert site.get("/series/custom.x/export.csv?from=1d", stream=True).status_code == 200
    wait_for(lambda: not copies_of(site.database.path).exists())


def test_one_download_at_a_time(site: Site) -> None:
    """While a copy is made, others are told to come again."""
    series(site, "custom.x", [1.0, 2.0])
    site.copier.take_turn()
    try:
        answer = site.get("/series/custom.x/export.csv?from=1d")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    finally:
        site.copier.pass_on()
    assert site.get("/series/custom.x/export.csv?from=1d").status_code == 200


# -- points and figures for programs --------------------------------------------------------------------


def test_points_come_as_columns(new_site: NewSite) -> None:
    """Of several series on one grid, with what a chart must know of each."""
    site = new_site(every=lambda symbol: 60.0 if symbol == "custom.x" else 0.0)
    start = Micros(now() // HOUR * HOUR - HOUR)
    site.write(
        *(("custom.x", float(n), Micros(start + n * 30 * SECOND)) for n in range(4)),
        Sample("custom.y", 5.0, Micros(start + MINUTE), Tags({"unit": "USD"})),
    )
    asked = (
        f"symbol=custom.x&symbol=custom.y&symbol=custom.none&{window(start, Micros(start + HOUR))}&step=60"
    )
    told = site.json(f"/api/points?{asked}")
    assert (told["from"], told["to"], told["step"]) == (iso(start), iso(Micros(start + HOUR)), 60.0)
    assert [part["source"] for part in told["resolution"]] == ["samples"]
    first, second, none = told["series"]
    seconds = start // SECOND
    assert first == {
        "symbol": "custom.x", "interval": 60.0, "stale": True, "unit": "",
        "last": {"ts": iso(Micros(start + 90 * SECOND)), "value": 3.0},
        "ts": [seconds, seconds + 60], "open": [0.0, 2.0], "high": [1.0, 3.0], "low": [0.0, 2.0],
        "close": [1.0, 3.0], "avg": [0.5, 2.5], "count": [2, 2],
    }  # fmt: skip
    assert (second["unit"], second["ts"], second["interval"]) == ("USD", [seconds + 60], None)
    assert (none["ts"], none["last"]) == ([], None)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("", "1 to 12 series"),
        ("symbol=No+such", "1 to 12 series"),
        ("&".join(f"symbol=custom.x{n}" for n in range(13)), "1 to 12 series"),
        ("symbol=custom.x&from=1d&step=1", "5000 points"),
        ("symbol=a&symbol=b&symbol=c&symbol=d&symbol=e&from=4500&to=9000&step=1", "20000 points in all"),
        ("symbol=custom.x&from=9&to=8", "not before"),
    ],
)
def test_points_that_are_too_many_are_refused(site: Site, asked: str, told: str) -> None:
    """With what would be right."""
    answer = site.get(f"/api/points?{asked}")
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]


def test_figures_for_programs(site: Site) -> None:
    """The same as on the page, as numbers; a series without a state has no uptime."""
    start = series(site, "custom.x", [1.0, 5.0, 3.0], unit="ms")
    told: dict[str, Any] = site.json(f"/api/metrics/custom.x/stats?{window(start, now())}")
    assert {key: told[key] for key in ("count", "first", "last", "min", "max", "mean", "p95_source")} == {
        "count": 3, "first": 1.0, "last": 3.0, "min": 1.0, "max": 5.0, "mean": 3.0, "p95_source": "samples",
    }  # fmt: skip
    assert told["p95"] == pytest.approx(4.8)
    assert (told["unit"], told["uptime"]) == ("ms", None)
