"""The SQL console in a real browser: typed, completed, run, charted, saved, and found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from oculus.clock import SECOND, iso, now
from oculus.commands.output import csv_text
from oculus.model import Micros, Sample, Tags
from tests.support.axe import faults
from tests.support.browser import Page
from tests.support.servers import wait_for
from tests.support.site import Site

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="document.title=1">, "quoted"\nand a line; =1+1 </td>'
FIELD = "document.getElementById('sql')"
ROWS = """[...document.querySelectorAll('#rows tbody tr')].map(
    (row) => [...row.cells].map((cell) => cell.textContent))"""


def texts(selector: str) -> str:
    """Return the JavaScript of the texts of all such elements."""
    return f"[...document.querySelectorAll({selector!r})].map((element) => element.textContent)"


def opened(page: Page, site: Site, sql: str = "") -> None:
    """Open the console with a query in it."""
    page.goto(f"{site.url}/query{f'?sql={quote(sql)}' if sql else ''}")
    page.wait("!!Oculus.quickChart")


def put(page: Page, sql: str) -> None:
    """Type a query over what is in the editor."""
    page.evaluate(f"{FIELD}.focus()")
    page.press("a", control=True)
    page.write(sql)


def run(page: Page, sql: str, rows: int) -> None:
    """Type a query and run it, until so many rows are told."""
    put(page, sql)
    page.press("Enter", control=True)
    page.wait(f"document.getElementById('came').textContent.startsWith('{rows:,} row')")
    page.wait("!document.getElementById('run').disabled")


def unheard(page: Page, site: Site) -> list[str]:
    """Return what went wrong on the page, but for the browser's own note of an answer that says 400."""
    assert page.strangers(f"127.0.0.1:{site.port}") == []
    return [error for error in page.errors if "status of 400" not in error]


def tabbed(page: Page, condition: str) -> None:
    """Press Tab until a condition holds."""
    for _ in range(60):
        if page.evaluate(condition):
            return
        page.press("Tab")
    raise AssertionError(f"the keyboard does not get there: {condition}")


def test_a_query_is_written_and_run_by_the_keyboard_alone(page: Page, site: Site) -> None:
    """Names are suggested, Tab goes on, columns sort, and a reader of the page is told what came."""
    site.write(("custom.alpha", 2.0), ("custom.beta", 10.0), ("custom.gamma", 1.5))
    opened(page, site)
    tabbed(page, "document.activeElement.id === 'sql'")
    page.press("a", control=True)
    page.write("select symbol, value, null as nothing from me")
    labels = texts("#sql-options:not([hidden]) li code")
    page.wait(f"{labels}.length > 2")
    assert page.evaluate(labels) == ["metrics", "metrics_1m", "metrics_1h"]
    active = f"document.getElementById({FIELD}.getAttribute('aria-activedescendant'))"
    assert page.evaluate(f"{active}.textContent") == "metrics table"
    page.press("ArrowDown")
    assert page.evaluate(f"{active}.querySelector('code').textContent") == "metrics_1m"
    page.press("ArrowUp")
    page.press("Enter")
    page.write(" where symbol in ('custom.al")
    page.wait(f"{labels}.join() === 'custom.alpha'")
    assert faults(page) == []
    page.press("Enter")
    page.write("', 'custom.beta', 'custom.gamma')")
    page.press("Escape")
    names = "'custom.alpha', 'custom.beta', 'custom.gamma'"
    sql = f"select symbol, value, null as nothing from metrics where symbol in ({names})"
    assert page.evaluate(f"{FIELD}.value") == sql
    assert page.evaluate("document.getElementById('sql-shown').textContent") == f"{sql}\n"
    assert page.evaluate(texts("#sql-shown .sql-keyword")) == ["select", "null", "as", "from", "where", "in"]

    page.press("Enter", control=True)
    page.wait(f"{ROWS}.length === 3")
    assert page.evaluate(ROWS)[0] == ["custom.alpha", "2", "NULL"]
    page.wait("document.getElementById('said').textContent.startsWith('3 rows in ')")
    tabbed(page, "document.activeElement.closest('th')?.textContent.startsWith('value')")
    for order in (["1.5", "2", "10"], ["10", "2", "1.5"], ["2", "10", "1.5"]):
        page.press("Enter")
        assert [row[1] for row in page.evaluate(ROWS)] == order
    assert page.evaluate("document.activeElement.title") == "DOUBLE"
    assert page.evaluate("getComputedStyle(document.querySelector('#rows td.number')).textAlign") == "right"
    assert faults(page) == []
    assert unheard(page, site) == []


def test_a_mistake_is_marked_where_it_is(page: Page, site: Site) -> None:
    """Places count characters, some of which JavaScript counts twice; the mark goes with the next key."""
    opened(page, site)
    put(page, "select '𝒳é',\n  nope from metrics")
    page.press("Enter", control=True)
    page.wait("!document.getElementById('sql-wrong').hidden")
    assert page.text("#sql-shown .fault") == "nope"
    told = page.text("#sql-wrong span")
    assert "nope" in told
    assert "\n" not in told
    assert page.text("#sql-wrong button") == "line 2, column 3"
    assert page.evaluate(f"{FIELD}.getAttribute('aria-invalid')") == "true"
    page.evaluate("document.querySelector('#sql-wrong button').click()")
    page.write("ts, ")
    assert page.evaluate(f"{FIELD}.value") == "select '𝒳é',\n  ts, nope from metrics"
    assert page.evaluate("document.querySelector('#sql-shown .fault') === null")
    # The end of the text is a place too.
    put(page, "select 1 from")
    page.press("Enter", control=True)
    page.wait("document.getElementById('sql-wrong').textContent.includes('syntax error')")
    assert page.evaluate("document.querySelector('#sql-shown .fault') !== null")
    assert faults(page) == []
    run(page, "select $least + 1 as more", 1)
    page.wait(f"{ROWS}.join() === 'NULL'")
    page.evaluate("document.querySelector('#params input').focus()")
    page.write("41")
    page.press("Enter")
    page.wait(f"{ROWS}.join() === '42'")
    assert page.evaluate("document.getElementById('sql-wrong').hidden")
    assert unheard(page, site) == []


def test_rows_are_text_and_files_have_all_of_them(page: Page, site: Site, tmp_path: Path) -> None:
    """Hostile tags are shown as they are; the CSV is the one that `oculus query` would print."""
    tags = Tags({"note": HOSTILE, "source": "push"})
    at = Micros(now() - 60 * SECOND)
    site.write(*(Sample("custom.a", value / 3, at, tags) for value in range(1201)))
    opened(page, site)
    columns = "ts, value, tags->>'note' as note, tags, null as nothing, value > 1 as large"
    sql = f"select {columns} from metrics order by value"
    run(page, sql, 1000)
    first = page.evaluate(ROWS)[1]
    assert first[1] == "0.33333333"
    assert first[2] == HOSTILE
    assert first[0] == iso(at).replace("T", " ").removesuffix("Z").removesuffix(".000")
    assert page.evaluate("document.querySelectorAll('#rows img').length") == 0
    assert page.evaluate("document.title") == "SQL · Oculus"
    assert "only the first 1,000 rows" in page.text("#left-out")

    page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate("document.getElementById('save-csv').click()")
    (file,) = wait_for(lambda: [path for path in tmp_path.glob("oculus-*.csv") if path.stat().st_size > 9])
    answer = site.post("/api/query", json={"sql": sql}).json()
    expected = csv_text([(column["name"], column["type"]) for column in answer["columns"]], answer["rows"])
    text = file.read_bytes().decode()
    assert text.count("\r\n") == expected.count("\r\n") == 1001
    # Python writes a whole number of a DOUBLE as 2.0, JavaScript as 2.
    assert text == expected.replace(".0,", ",")

    copies = "Oculus.rows.json({columns: [{name: 'a'}, {name: 'a'}], rows: [[1, null], ['x', [2]]]})"
    assert page.evaluate(copies) == '[{"a":1,"a_2":null},\n {"a":"x","a_2":[2]}]\n'
    assert unheard(page, site) == []


def test_queries_are_found_again(page: Page, site: Site) -> None:
    """In the history after a reload, by an address that runs nothing by itself, and as the tab left it."""
    opened(page, site, "select 1 as one")
    assert page.evaluate(f"{FIELD}.value") == "select 1 as one"
    assert page.evaluate("document.getElementById('result').hidden")
    run(page, "select 7 as seven from range(2)", 2)
    run(page, f"select '{HOSTILE.replace(chr(39), '')}' as said", 1)
    put(page, "select nope")
    page.press("Enter", control=True)
    page.wait("document.getElementById('past-count').textContent === '3'")
    address = page.evaluate("location.href")
    assert "#sql=" in address
    assert "?" not in address
    asked = len([url for url in page.requests if url.endswith("/api/query")])
    put(page, "select 'a draft'")
    page.send("Page.reload")
    page.loaded()
    page.wait("document.getElementById('past-count')?.textContent === '3'")
    assert page.evaluate(f"{FIELD}.value") == "select 'a draft'"
    past = page.evaluate(texts("#past-list button"))
    assert past[0].startswith("select nope")
    assert past[0].endswith("failed")
    assert "onerror" in past[1]
    assert past[2].startswith("select 7 as seven from range(2)")
    assert "2 rows, " in past[2]
    page.evaluate("document.querySelectorAll('#past-list button')[2].click()")
    assert page.evaluate(f"{FIELD}.value") == "select 7 as seven from range(2)"
    assert len([url for url in page.requests if url.endswith("/api/query")]) == asked

    clear = "document.getElementById('clear-past')"
    page.evaluate(f"{clear}.click()")
    assert page.evaluate("document.querySelectorAll('#past-list li').length") == 0
    assert page.evaluate("localStorage.getItem('oculus.queries')") == "[]"
    page.evaluate(f"{clear}.click()")
    assert page.evaluate("document.querySelectorAll('#past-list li').length") == 3
    page.goto(f"{site.url}/rules")
    page.goto(address)
    page.wait(f"{FIELD}.value === 'select nope'")
    assert len([url for url in page.requests if url.endswith("/api/query")]) == asked
    assert unheard(page, site) == []


def points(page: Page) -> list[list[Any]]:
    """Return the lines that the library draws, each with its number of points."""
    found: list[list[Any]] = page.wait("Oculus.quickChart.points().length && Oculus.quickChart.points()")
    return found


@pytest.mark.parametrize("width", [1440, 390])
def test_a_result_is_charted(page: Page, site: Site, width: int) -> None:
    """Lines for columns or for the values of a text, candles, bars; the library comes with the first."""
    page.resize(width, 844, mobile=width < 600)
    start = now() - 24 * 3600 * SECOND
    site.write(
        *(
            Sample(f"net.http.{name}.rtt", 10.0 + step % 7 + place, Micros(start + step * 1440 * SECOND))
            for step in range(60)
            for place, name in enumerate(("api", "shop"))
        ),
        *(
            Sample("crypto.price.btc_usd", 97000.0 + step, Micros(start + step * 60 * SECOND))
            for step in range(1440)
        ),
    )
    opened(page, site)
    library = "/static/vendor/lightweight-charts/"
    run(page, "select ts, symbol, value from metrics where symbol like 'net.%' order by ts", 120)
    assert not any(library in url for url in page.requests)
    page.evaluate("document.getElementById('as-chart').click()")
    assert points(page) == [["net.http.api.rtt", 60], ["net.http.shop.rtt", 60]]
    assert any(library in url for url in page.requests)
    assert page.evaluate("document.querySelectorAll('#legend li').length") == 2
    assert page.evaluate("document.getElementById('rows').hidden")
    assert "tradingview.com" in page.evaluate("document.querySelector('#chart-credit a').href")
    assert faults(page) == []

    examples = "[...document.querySelectorAll('#examples .take')].find((button) => button.textContent"
    page.evaluate(f"{examples} === 'A price beside a latency').click()")
    page.wait("Oculus.quickChart.points()[0]?.[0].startsWith('latency')")
    (latency, count), (price, other) = points(page)
    assert (latency, price) == ("latency (right)", "price (left)")
    assert count == other > 50
    page.evaluate("document.getElementById('scheme').click()")  # the colours are the scheme's
    page.evaluate(f"{examples} === 'Candles of an hour').click()")
    page.wait("Oculus.quickChart.points()[0]?.[0] === ''")
    ((_, candles),) = points(page)
    assert candles in (24, 25)
    assert page.text("#legend").startswith("open 9")

    figures = "count(*) as samples, -max(value) as low"
    run(page, f"select symbol, {figures} from metrics group by all order by samples", 3)
    page.wait("document.querySelectorAll('#drawn .bars li').length === 3")
    bars = "[...document.querySelectorAll('#drawn .bars i')].map((bar) => bar.getBoundingClientRect().width)"
    widths = page.evaluate(bars)
    assert widths == sorted(widths)
    assert widths[2] > 10 * widths[0]
    page.evaluate("document.getElementById('measure').selectedIndex = 1")
    page.evaluate("document.getElementById('measure').dispatchEvent(new Event('change'))")
    assert page.evaluate("document.querySelectorAll('#drawn .bars .below').length") == 3
    assert faults(page) == []
    run(page, "select 'no number' as text", 1)
    assert page.evaluate("document.getElementById('as-chart').disabled")
    assert not page.evaluate("document.getElementById('rows').hidden")

    # A wide table scrolls in its own box, which the keyboard reaches.
    page.evaluate("document.getElementById('as-table').click()")
    run(page, "select repeat('wide ', 60) as a, * from metrics limit 5", 5)
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(over) <= 0
    assert page.evaluate("document.getElementById('rows').tabIndex") == 0
    if width < 600:
        assert page.evaluate("((box) => box.scrollWidth > box.clientWidth)(document.getElementById('rows'))")
    assert unheard(page, site) == []
