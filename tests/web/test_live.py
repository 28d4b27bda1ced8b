"""What open pages are told by server-sent events: only what has changed, to each what it has not seen."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import gevent
import pytest
import requests

from oculus import assets
from oculus.config.settings import RuleSettings
from oculus.web import live, view
from oculus.web.dashboard import Dashboard
from oculus.web.templates import Templates
from oculus.web.view import View
from tests.support.html import Element, parse
from tests.support.servers import wait_for
from tests.support.site import Site


class Stream:
    """An open stream of events, read as they come."""

    def __init__(self, site: Site, path: str, **headers: str) -> None:
        self.answer = requests.get(site.url + path, stream=True, timeout=20, headers=headers)
        assert self.answer.status_code == 200, self.answer.text
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")
        self.events: list[dict[str, str]] = []
        self._reader = gevent.spawn(self._read)

    def _read(self) -> None:
        event: dict[str, str] = {}
        try:
            for line in self.answer.iter_lines(decode_unicode=True, chunk_size=1):
                name, _, text = line.partition(": ")
                if line:
                    event[name] = f"{event[name]}\n{text}" if name == "data" and name in event else text
                elif "event" in event:
                    self.events.append(event)
                    event = {}
        except (OSError, AttributeError, requests.RequestException):
            return  # it was closed

    def named(self, name: str) -> list[dict[str, str]]:
        """Return the events of a kind that have come."""
        return [event for event in self.events if event["event"] == name]

    def wait(self, name: str, count: int = 1) -> dict[str, str]:
        """Wait for the so-manieth event of a kind, and return it."""
        wait_for(lambda: len(self.named(name)) >= count)
        return self.named(name)[count - 1]

    def close(self) -> None:
        """Hang up."""
        self._reader.kill()
        self.answer.close()


@pytest.fixture
def stream(site: Site) -> Iterator[Callable[..., Stream]]:
    """Open streams, all closed at the end."""
    opened: list[Stream] = []

    def start(path: str, **headers: str) -> Stream:
        opened.append(Stream(site, path, **headers))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def seen(site: Site, path: str = "/") -> str:
    """Return what tells which rows the page shows."""
    return parse(site.get(path).text).one(id="board").attributes["data-seen"]


def symbols(root: Element) -> list[str]:
    """Return the rows of a page or fragment."""
    return [row.attributes["data-symbol"] for row in root.find(class_="row")]


def test_only_rows_that_have_changed_are_told(site: Site, stream: Callable[..., Stream]) -> None:
    """A page that is up to date hears of the next value alone, and of a new series all."""
    site.write(("custom.a", 1.0), ("custom.b", 2.0))
    told = stream(f"/live?seen={seen(site)}")
    told.wait("head")
    assert not told.named("all")
    site.write(("custom.b", 3.0))
    event = told.wait("rows")
    assert symbols(parse(event["data"])) == ["custom.b"]
    assert "3" in parse(event["data"]).one(class_="value").text
    site.write(("custom.c", 4.0))
    event = told.wait("all")
    assert symbols(parse(event["data"])) == ["custom.a", "custom.b", "custom.c"]


def test_a_page_is_told_what_it_missed(site: Site, stream: Callable[..., Stream]) -> None:
    """What changed between the page and its stream comes at once; after another start all of it does."""
    site.write(("custom.a", 1.0), ("custom.b", 2.0))
    shown = seen(site)
    site.write(("custom.a", 5.0))
    assert symbols(parse(stream(f"/live?seen={shown}").wait("rows")["data"])) == ["custom.a"]
    event = stream("/live?seen=0badc0de.7").wait("all")
    assert symbols(parse(event["data"])) == ["custom.a", "custom.b"]
    again = stream("/live?seen=0badc0de.7", **{"Last-Event-ID": event["id"]})
    again.wait("head")
    assert not again.named("all")


def test_each_view_is_told_its_own_rows(site: Site, stream: Callable[..., Stream]) -> None:
    """A stream that is filtered tells neither other rows nor that they changed."""
    site.write(("custom.a", 1.0), ("crypto.price.btc_usd", 2.0))
    coins = stream("/live?category=crypto.price")
    assert symbols(parse(coins.wait("all")["data"])) == ["crypto.price.btc_usd"]
    site.write(("custom.a", 2.0))
    site.write(("crypto.price.btc_usd", 3.0))
    rows = [symbols(parse(coins.wait("rows", count)["data"])) for count in (1,)]
    assert all(found in ([], ["crypto.price.btc_usd"]) for found in rows)
    wait_for(lambda: any("btc" in event["data"] for event in coins.named("rows")))


def test_a_page_that_is_opened_takes_nothing_from_others(site: Site) -> None:
    """What another page's look has found is still new to a feed that was not brought up to date with it."""
    services = site.services
    dashboard = Dashboard(services, Templates(assets.folder("views"), token=False), lambda limit: [])
    site.write(("custom.a", 1.0), ("custom.b", 2.0))
    feed = dashboard.look(View())
    before, stamp = feed.version, dashboard.stamp(feed)
    site.write(("custom.a", 5.0))
    dashboard.look(View(category="other"))
    assert (feed.version, dashboard.stamp(feed)) == (before, stamp)
    dashboard.look_again()
    assert [entry.row.symbol for entry in feed.selection.entries if entry.version > before] == ["custom.a"]
    assert feed.ordered <= before < feed.version
    assert dashboard.seen(stamp) == before


def test_alerts_are_told(new_site: Callable[..., Site]) -> None:
    """What fires shows in the head, and its step among the newest alerts."""
    rule = RuleSettings(name="hot", condition="custom.t > 30")
    site = new_site(rules=[rule])
    site.write(("custom.t", 20.0))
    with closing(Stream(site, "/live")) as told:
        told.wait("head")
        site.write(("custom.t", 40.0))
        site.evaluate()
        wait_for(lambda: any("hot" in event["data"] for event in told.named("head")))
        wait_for(lambda: any("hot" in event["data"] for event in told.named("recent")))


def test_samples_of_series_are_told(site: Site, stream: Callable[..., Stream]) -> None:
    """Each new sample of the named series, and of no other."""
    site.write(("custom.a", 1.0), ("custom.b", 2.0))
    told = stream("/live/series?symbol=custom.a&symbol=custom.later")
    wait_for(lambda: site.get("/healthz").ok)
    site.write(("custom.b", 3.0))
    site.write(("custom.a", 4.0))
    first = json.loads(told.wait("sample")["data"])
    assert (first["symbol"], first["value"]) == ("custom.a", 4.0)
    site.write(("custom.later", 5.5))
    later = json.loads(told.wait("sample", 2)["data"])
    assert (later["symbol"], later["value"]) == ("custom.later", 5.5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", later["ts"])


@pytest.mark.parametrize(
    "query", ["", "?symbol=Not+A+Symbol", "?" + "&".join(f"symbol=a.{n}" for n in range(21))]
)
def test_a_stream_of_no_series_is_refused(site: Site, query: str) -> None:
    """One to twenty series, well-formed."""
    answer = site.get(f"/live/series{query}")
    assert answer.status_code == 400
    assert "symbol=" in answer.json()["error"]["message"]


def test_pages_beyond_a_bound_ask_instead(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further stream is refused; when one ends there is room again, and nobody looks for nobody."""
    monkeypatch.setattr(live, "MOST_VIEWERS", 1)
    monkeypatch.setattr(live, "BEAT", 0.2)
    with closing(Stream(site, "/live")) as one:
        one.wait("head")
        assert site.get("/live").status_code == 503
    wait_for(lambda: site.get("/live", stream=True).status_code == 200)


def test_a_view_is_a_page_of_what_fits(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filter by text, category and state; order; pages, with links that keep the rest."""
    monkeypatch.setattr(view, "ROWS", 3)
    site.write(*((f"custom.n{number}", float(number)) for number in range(8)), ("net.http.x.up", 0.0))

    def rows(query: str) -> list[str]:
        return symbols(parse(site.get(f"/partials/metrics{query}").text))

    assert rows("") == ["net.http.x.up", "custom.n0", "custom.n1"]
    assert rows("?page=2") == ["custom.n2", "custom.n3", "custom.n4"]
    assert rows("?page=99") == ["custom.n5", "custom.n6", "custom.n7"]
    assert rows("?sort=value&category=custom") == ["custom.n7", "custom.n6", "custom.n5"]
    assert rows("?q=N5") == ["custom.n5"]
    assert rows("?state=failing") == ["net.http.x.up"]
    assert rows("?q=nothing") == []
    assert rows("?page=x&sort=y&state=z") == rows("")
    found = parse(site.get("/?q=n&dense=1&page=2").text)
    links = [link.attributes["href"] for link in found.one(class_="pager").find("a")]
    assert links == ["/?q=n&dense=1", "/?q=n&page=3&dense=1"]


def test_pages_are_packed_for_browsers(site: Site) -> None:
    """A long page goes compressed to who takes that, and as it is to others."""
    site.write(*((f"custom.n{number:03}", float(number)) for number in range(240)))
    plain = site.get("/", headers={"Accept-Encoding": "identity"})
    packed: Any = site.get("/", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Vary"] == "Accept-Encoding"
    data = packed.raw.read(decode_content=False)
    assert gzip.decompress(data).decode().count("data-symbol=") == plain.text.count("data-symbol=") == 240
    assert len(data) < 100_000
