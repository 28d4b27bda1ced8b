"""The page `/query` over a real socket: what the editor begins with, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oculus.clock import DAY, SECOND, now
from oculus.config.settings import ServerSettings
from oculus.model import Event, Micros, Sample, Tags
from oculus.storage import sandbox
from oculus.web.examples import STARTER
from tests.support.html import Element, parse
from tests.support.site import Site

WEB = {"Accept": "text/html"}
HOUR = 3600 * SECOND
HOSTILE = "</textarea><script>alert(1)</script> & select '&lt;'"


def console(site: Site, **query: str) -> Element:
    """Return the page."""
    answer = site.get("/query", headers=WEB, params=query)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def editor(root: Element) -> str:
    """Return what the editor holds, as it is; a browser leaves out the line break that it begins with."""
    (text,) = root.one("textarea", id="sql").parts
    assert isinstance(text, str)
    return text.removeprefix("\n")


def examples(root: Element) -> dict[str, str]:
    """Return the examples by their titles."""
    buttons = root.one("details", id="examples").find("button", class_="take")
    return {button.text: button.attributes["data-sql"] for button in buttons}


def asked(site: Site, sql: str) -> dict[str, Any]:
    """Return what a query answers; fails when it is wrong or slow."""
    answer = site.post("/api/query", json={"sql": sql})
    assert answer.status_code == 200, f"{sql}\n{answer.text}"
    found: dict[str, Any] = answer.json()
    return found


def fill(site: Site) -> None:
    """Store three days of two sites with outages, a price, alerts, a start, and a message that failed."""
    start = Micros(now() - 3 * DAY)
    samples: list[Sample] = []
    for step in range(3 * 24 * 6):
        at = Micros(start + step * HOUR // 6)
        for name in ("docs", "shop"):
            up = step % 50 != 7
            tags = Tags({"target": name} | ({} if up else {"error": "connection refused"}))
            samples.append(Sample(f"net.http.{name}.up", float(up), at, tags))
            if up:
                samples += [
                    Sample(f"net.http.{name}.{part}", 10.0 + step % 9 + place, at)
                    for place, part in enumerate(("dns", "connect", "tls", "ttfb", "rtt"))
                ]
        samples.append(Sample("crypto.price.eth_usd", 3000.0 + step, at))
    # A rise in the last hour is a move.
    recent = [Micros(now() - minute * 60 * SECOND) for minute in (9, 5, 1)]
    samples += [Sample("crypto.price.eth_usd", 5000.0, at) for at in recent]
    site.write(*samples)
    fired = {"rule": "slow", "state": "firing", "previous": "pending"}
    site.store_events(
        [
            Event(Micros(now() - DAY), "slow", "alert", "warn", "slow fires", fired, channels=("mail",)),
            Event(Micros(now() - DAY), "daemon", "system", "info", "started"),
        ]
    )
    failed = "update deliveries set state = 'failed', tries = 3, told = 'refused'"
    site.writer.call(lambda connection: connection.execute(failed))


def test_the_editor_begins_with_a_query_that_runs(site: Site) -> None:
    """Who comes without one can press Run at once."""
    assert editor(console(site)) == STARTER
    assert asked(site, STARTER)["columns"]


def test_an_address_fills_the_editor(site: Site) -> None:
    """`?sql=` arrives as it is, and as text."""
    sql = "select 'é',\n  1 as \"a b\" -- ?"
    assert editor(console(site, sql=sql)) == sql
    root = console(site, sql=HOSTILE)
    assert editor(root) == HOSTILE
    assert all(script.attributes["src"].startswith("/static/") for script in root.find("script"))


def test_the_tables_are_those_of_the_store(site: Site) -> None:
    """Each column stands there with its type and what it is, as the store itself tells."""
    buttons = console(site).one(id="tables").find("button", data_kind="column")
    names = [(button.attributes["data-table"], button.attributes["data-call"]) for button in buttons]
    types = [button.one("small").attributes["title"] for button in buttons]
    shown = [(*name, kind) for name, kind in zip(names, types, strict=True)]
    sql = """select table_name, column_name, data_type from duckdb_columns() where not internal
        and table_name in ('metrics', 'metrics_1m', 'metrics_1h', 'events', 'deliveries')"""
    assert {tuple(row) for row in asked(site, sql)["rows"]} == set(shown)
    assert shown[0] == ("metrics", "ts", "TIMESTAMP WITH TIME ZONE")
    assert len(shown) == len(set(shown))


def test_every_example_runs_on_an_empty_store(site: Site) -> None:
    """None of them needs anything to be there."""
    found = examples(console(site))
    assert len(found) >= 12
    for sql in found.values():
        asked(site, sql)


def test_every_example_finds_something(site: Site) -> None:
    """On a store with a bit of all, each has rows, and names series that are there."""
    fill(site)
    found = examples(console(site))
    for title, sql in found.items():
        answer = asked(site, sql)
        assert answer["rows"], title
        assert not answer["truncated"], title
        assert "net.http.site" not in sql, title
        assert "btc_usd" not in sql, title
    ((correlation, pairs),) = asked(site, found["Do the two move together?"])["rows"]
    assert -1 <= correlation <= 1
    assert pairs > 100
    columns = [column["name"] for column in asked(site, found["Candles of an hour"])["columns"]]
    assert columns[1:5] == ["open", "high", "low", "close"]
    outages = asked(site, found["Outages of the last day"])["rows"]
    assert {row[0] for row in outages} == {"net.http.docs.up", "net.http.shop.up"}
    assert {(row[2], row[3]) for row in outages} == {("00:10:00", "connection refused")}


def test_the_page_comes_while_the_store_cannot_be_read(site: Site) -> None:
    """It tells so in place of the tables; what was typed is not lost to an error page."""
    site.readers.close()
    site.database.close()
    root = console(site, sql="select 1")
    assert editor(root) == "select 1"
    assert "cannot be read now" in root.one(id="tables").one(class_="wrong").text
    assert not root.one(id="tables").find("button")


def test_the_bounds_are_those_of_the_queries(site: Site) -> None:
    """What the page says of rows and length is what the API keeps to."""
    root = console(site)
    assert root.one("textarea", id="sql").attributes["maxlength"] == str(sandbox.MAX_SQL)
    assert root.one(id="result").attributes["data-most"] == str(sandbox.MAX_ROWS)
    assert f"{sandbox.MAX_ROWS:,} rows" in root.one(id="before").text


def test_the_token_is_asked_for(new_site: Callable[..., Site]) -> None:
    """The page shows nothing to strangers."""
    site = new_site(server=ServerSettings(token="secret"))
    answer = site.get("/query", headers=WEB, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
