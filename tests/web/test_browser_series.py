"""The page of a series in a real browser: what is drawn, what moving asks for, what comes in by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from oculus.web import figures
from tests.support import axe
from tests.support.browser import Page
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

pytestmark = pytest.mark.browser

CONFIG = """
database: {flush: 50ms}
rules:
  - {name: high, condition: "custom.wave > 150", until: "custom.wave < 120", severity: error}
"""
HOUR = 3600
EVERY = 60  # seconds between two samples of the past
GAP = (6 * HOUR, 8 * HOUR)  # seconds ago in which nothing was measured

PHONE = 390  # CSS pixels


def push(daemon: Daemon, samples: list[dict[str, Any]]) -> None:
    """Push samples and wait until the last one can be read."""
    assert daemon.post("/api/push", json=samples).status_code == 202
    last = samples[-1]
    wait_for(lambda: (daemon.latest(last["symbol"]) or {}).get("value") == last["value"])


def wave(daemon: Daemon, hours: int = 24) -> None:
    """Give the daemon a past of two series, with a time in which one of them was not measured."""
    now = time.time()
    ages = range(hours * HOUR, 0, -EVERY)
    waves = [
        {"symbol": "custom.wave", "value": 100 + age % 7200 / 300, "ts": now - age, "tags": {"unit": "ms"}}
        for age in ages
        if not GAP[0] <= age < GAP[1]
    ]
    coins = [
        {
            "symbol": "crypto.price.btc_usd",
            "value": 97_000 + age / 100,
            "ts": now - age,
            "tags": {"unit": "USD"},
        }
        for age in ages
    ]
    push(daemon, coins)
    push(daemon, waves)


def opened(page: Page, daemon: Daemon, path: str) -> None:
    """Open a page and wait until its chart is drawn and told of."""
    page.goto(daemon.url + path)
    page.wait("Oculus.chart?.points() > 0")


def wheel(page: Page, delta: int, times: int = 1) -> None:
    """Turn the wheel over the middle of the chart."""
    x, y = middle(page)
    for _ in range(times):
        page.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=delta)


def drag(page: Page, right: int) -> None:
    """Drag the chart by so many pixels."""
    x, y = middle(page)
    moves = [("mouseMoved", x + right * part // 5, 1) for part in range(1, 6)]
    for kind, at, buttons in (("mousePressed", x, 1), *moves, ("mouseReleased", x + right, 0)):
        mouse = {"button": "left", "buttons": buttons, "clickCount": 1}
        page.send("Input.dispatchMouseEvent", type=kind, x=at, y=y, **mouse)


def middle(page: Page) -> tuple[int, int]:
    """Return the place of the middle of the chart, which is in sight."""
    page.evaluate("document.getElementById('chart').scrollIntoView({block: 'center'})")
    box: Any = page.evaluate("document.getElementById('chart').getBoundingClientRect().toJSON()")
    return int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 3)


def clean(page: Page, daemon: Daemon) -> None:
    """Fail if something went wrong on the page, or anybody else was asked."""
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{daemon.port}") == []


def test_the_chart_has_what_the_store_has_and_moving_asks_for_more(
    page: Page, daemon: Callable[..., Daemon]
) -> None:
    """A point for each bucket, a gap where nothing was measured; zooming refines, panning loads more."""
    oculus = daemon(CONFIG)
    wave(oculus)
    page.resize(1200, 900)
    opened(page, oculus, "/series/custom.wave?range=1d")
    shown = page.evaluate(
        "({...Oculus.chart.loaded(), step: Oculus.chart.step(), points: Oculus.chart.points()})"
    )
    asked = f"symbol=custom.wave&from={shown['from']}&to={shown['to']}&step={shown['step']}"
    stored = oculus.json(f"/api/points?{asked}")["series"][0]
    assert shown["points"] == len(stored["ts"])
    assert shown["step"] > EVERY
    data = page.evaluate("Oculus.chart.data()")
    assert [point["time"] for point in data] == stored["ts"]
    assert [point["value"] for point in data] == pytest.approx(stored["avg"])
    assert page.evaluate("Oculus.chart.gaps()") == 1
    (gap,) = [place for place, point in enumerate(data) if point["gap"]]
    assert data[gap]["time"] - data[gap - 1]["time"] >= GAP[1] - GAP[0] - shown["step"]

    requests = page.evaluate("Oculus.chart.requests()")
    wheel(page, -240, 6)
    page.wait(f"Oculus.chart.step() < {shown['step']}")
    assert page.evaluate("Oculus.chart.requests()") > requests
    view = page.evaluate("Oculus.chart.view()")
    assert view["to"] - view["from"] < 20 * HOUR
    assert page.evaluate("Oculus.chart.points()") <= 5000
    assert page.evaluate("Oculus.chart.gaps()") <= 1
    page.wait(
        "document.querySelector('.range[aria-current]') === null && location.search.startsWith('?from=')"
    )

    loaded = page.evaluate("Oculus.chart.loaded()")
    assert loaded["from"] < view["from"]  # some more, so that one can move on without waiting
    for _ in range(12):
        drag(page, 450)
        if page.evaluate(f"Oculus.chart.view().from < {loaded['from']}"):
            break
    page.wait(f"Oculus.chart.loaded().from < {loaded['from']}")
    kept = "Date.parse(new URLSearchParams(location.search).get('from')) / 1000"
    page.wait(f"Math.abs({kept} - Oculus.chart.view().from) < 2")
    moved = page.evaluate("Oculus.chart.view()")
    page.wait(
        f"document.querySelector('.sums').dataset.to < '{time.strftime('%Y-%m-%dT%H:%M', time.gmtime())}'"
    )

    address = page.evaluate("location.href")
    page.goto(address)
    page.wait("Oculus.chart?.step() > 0")
    again = page.evaluate("Oculus.chart.view()")
    assert again["from"] == pytest.approx(moved["from"], abs=2)
    assert again["to"] == pytest.approx(moved["to"], abs=2)
    clean(page, oculus)


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "polled"])
def test_the_last_bar_is_live(page: Page, daemon: Callable[..., Daemon], sent: bool) -> None:
    """A new sample moves the last bar, the head and the title without a reload, sent or asked for."""
    oculus = daemon(CONFIG)
    wave(oculus, 2)
    if not sent:
        page.send("Page.addScriptToEvaluateOnNewDocument", source="delete window.EventSource")
    opened(page, oculus, "/series/custom.wave?range=1h")
    page.evaluate(
        "window.flashes = 0; document.addEventListener('animationstart', ({animationName, target}) =>"
        " { window.flashes += animationName === 'flash' && target.id === 'now'; }); window.mark = 1"
    )
    before = page.evaluate("Oculus.chart.points()")
    tags = {"unit": "ms"}
    push(oculus, [{"symbol": "custom.wave", "value": 333.25, "tags": tags}])
    page.wait("document.title.startsWith('333.2')")
    assert page.text("#now").split() == ["333.2", "ms"]
    page.wait("window.flashes > 0")
    page.wait("Oculus.chart.data().at(-1).high === 333.25")
    assert page.evaluate("Oculus.chart.points()") >= before
    assert page.evaluate("Oculus.chart.data().at(-1).time") > time.time() - 120
    push(oculus, [{"symbol": "custom.wave", "value": 12.5, "tags": tags}])
    page.wait("Oculus.chart.data().at(-1).low === 12.5 && document.title.startsWith('12.50')")
    assert page.evaluate("window.mark") == 1
    assert page.evaluate("new URLSearchParams(location.search).get('range') ?? '1h'") == "1h"
    assert any("/live/series" in url for url in page.requests) is sent
    clean(page, oculus)


def test_others_are_compared_by_the_keyboard_alone(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Found by a part of the name, on an axis of their own, kept in the URL, and taken away again."""
    oculus = daemon(CONFIG)
    wave(oculus)
    opened(page, oculus, "/series/custom.wave?range=6h")
    assert page.evaluate("Oculus.chart.scale('left').visible") is False
    page.evaluate("document.getElementById('compare').focus()")
    page.write("btc")
    page.wait(
        "document.querySelector('#compare-list [aria-selected=true]')?.dataset.symbol"
        " === 'crypto.price.btc_usd'"
    )
    assert page.evaluate("document.getElementById('compare').ariaExpanded") == "true"
    page.press("Enter")
    page.wait("Oculus.chart.points('crypto.price.btc_usd') > 0")
    assert page.evaluate("Oculus.chart.scale('left').visible") is True
    assert page.evaluate("Oculus.chart.points('crypto.price.btc_usd')") >= page.evaluate(
        "Oculus.chart.points()"
    )
    assert page.evaluate("location.search").endswith("with=crypto.price.btc_usd")
    assert "$97," in page.text("#readout")

    page.goto(page.evaluate("location.href"))
    page.wait("Oculus.chart?.points('crypto.price.btc_usd') > 0")
    page.evaluate("document.querySelector('.others button').focus()")
    page.press("Enter")  # the other axis
    page.wait(
        "location.search.endsWith('with=crypto.price.btc_usd-right') && !Oculus.chart.scale('left').visible"
    )
    assert page.evaluate("document.activeElement.textContent") == "right"
    page.press("Tab")
    page.press("Enter")  # away
    page.wait("!location.search.includes('with=') && document.querySelector('.others').children.length === 0")
    assert page.evaluate("document.activeElement.id") == "compare"
    clean(page, oculus)


def test_a_view_is_kept_in_the_url(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Style, scale, average; thresholds and alerts are on the chart; it can be saved as a picture."""
    oculus = daemon(CONFIG)
    wave(oculus)
    for value in (155.0, 110.0):
        push(oculus, [{"symbol": "custom.wave", "value": value, "tags": {"unit": "ms"}}])
        state = "firing" if value > 150 else "inactive"
        wait_for(lambda state=state: oculus.json("/api/rules/high")["state"] == state)  # type: ignore[misc]
    opened(page, oculus, "/series/custom.wave?range=1h")
    assert page.evaluate("Oculus.chart.kind()") == "Custom"
    for pressed in ("kind-candles", "log", "ma", "samples"):
        page.evaluate(f"document.getElementById('{pressed}').click()")
    page.wait("Oculus.chart.kind() === 'Candlestick' && Oculus.chart.average().length > 0")
    address = page.evaluate("location.href")
    assert address.endswith("?range=1h&type=candles&log=1&ma=20&samples=0")

    opened(page, oculus, address.removeprefix(oculus.url))
    page.wait("Oculus.chart.kind() === 'Candlestick' && Oculus.chart.average().length > 0")
    assert page.evaluate("Oculus.chart.scale('right').mode") == 1
    pressed = "[...document.querySelectorAll('.pick[aria-pressed=true]')].map((one) => one.id)"
    assert page.evaluate(pressed) == ["kind-candles", "log", "ma"]
    candle = page.evaluate("Oculus.chart.data().at(-1)")
    assert candle["low"] <= min(candle["open"], candle["close"]) <= candle["high"]
    page.wait("Oculus.chart.levels().length === 2 && Oculus.chart.markers().length === 2")
    assert page.evaluate("Oculus.chart.levels()") == [150, 120]
    assert sorted(page.evaluate("Oculus.chart.markers().map((one) => one.shape)")) == ["arrowDown", "circle"]
    picture = page.evaluate("Oculus.chart.png()")
    assert picture.startswith("data:image/png;base64,iVBORw0KGgo")
    assert len(picture) > 10_000

    view = page.evaluate("Oculus.chart.view()")
    page.evaluate("document.getElementById('chart').focus()")
    page.write("+")
    page.send("Input.dispatchKeyEvent", type="keyDown", key="+", text="+")
    page.wait(f"Oculus.chart.view().to - Oculus.chart.view().from < {0.6 * (view['to'] - view['from'])}")
    page.send(
        "Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft", code="ArrowLeft", windowsVirtualKeyCode=37
    )
    page.wait(f"Oculus.chart.view().to < {view['to'] - 60}")
    clean(page, oculus)


def test_the_samples_unfold_page_by_page(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Asked for when they are opened, and more by a button; times are of the visitor's zone."""
    oculus = daemon(CONFIG)
    wave(oculus, 2)
    page.send("Emulation.setTimezoneOverride", timezoneId="America/St_Johns")
    opened(page, oculus, "/series/custom.wave?range=1h")
    assert not any("/rows" in url for url in page.requests)
    page.evaluate("document.querySelector('#raw summary').click()")
    page.wait("document.querySelectorAll('#raw tbody tr:not(.more)').length === 50")
    page.wait("!!document.getElementById('more-rows')['htmx-internal-data']")
    page.evaluate("document.getElementById('more-rows').click()")
    page.wait("document.querySelectorAll('#raw tbody tr:not(.more)').length === 100")
    first = page.evaluate(
        "(() => { const t = document.querySelector('#raw time');"
        " const shown = new Date(t.dateTime).toLocaleTimeString(undefined, {hourCycle: 'h23'});"
        " return [t.textContent, shown]; })()"
    )
    assert first[0].endswith(first[1])
    assert "America/St_Johns" in page.text("#zone")
    clean(page, oculus)


def test_the_clock_of_the_visitor_begins_days_and_hours(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Also on the days on which it is changed: the times themselves stay what they are."""
    oculus = daemon(CONFIG)
    wave(oculus, 2)
    page.send("Emulation.setTimezoneOverride", timezoneId="Europe/Berlin")
    opened(page, oculus, "/series/custom.wave?range=1h")
    # From 28 March 2026, 21:00 UTC on, hour by hour: the night in which Berlin goes from UTC+1 to UTC+2.
    start = 1_774_731_600
    weights = page.evaluate(
        f"(() => {{ const hour = (_, n) => ({{originalTime: {start} + n * 3600}});"
        " const points = Array.from({length: 52}, hour);"
        " new Oculus.times.LocalScale().fillWeightsForPoints(points);"
        " return points.map((point) => point.timeWeight); })()"
    )
    days = [start + place * HOUR for place, weight in enumerate(weights) if weight == 50 and place]
    assert [time.strftime("%d %H:%M", time.gmtime(day)) for day in days] == [
        "28 23:00",
        "29 22:00",
        "30 22:00",
    ]
    assert page.evaluate(f"Oculus.times.field({start + 4 * HOUR})") == "2026-03-29T03:00:00"
    assert page.evaluate(f"Oculus.buckets.align({days[1]} + 5, 86400)") == days[1]
    clean(page, oculus)


def probe(daemon: Daemon) -> None:
    """Push what an HTTP probe writes: answers, and a failure that got as far as the connection."""
    now = time.time()
    samples = []
    for age in range(3000, 0, -30):
        down = age == 1500
        parts = {"dns": 2.0, "connect": 5.0, "tls": 10.0, "ttfb": 20.0, "rtt": 45.0, "up": 1.0}
        if down:
            parts = {"dns": 2.0, "connect": 5.0, "tls": 0.0, "ttfb": 0.0, "up": 0.0}
        samples += [
            {"symbol": f"net.http.site.{part}", "value": value, "ts": now - age}
            for part, value in parts.items()
        ]
    push(daemon, samples)


def test_phases_stand_on_one_another_up_to_the_whole(page: Page, daemon: Callable[..., Daemon]) -> None:
    """The bands of an HTTP probe add up to the time that it took; a failed run has no transfer."""
    oculus = daemon(CONFIG)
    probe(oculus)
    opened(page, oculus, "/series/net.http.site.rtt?range=1h")
    page.wait("Oculus.chart.phases().length === 5")
    bands = page.evaluate("Oculus.chart.phases()")
    heights = [
        [band[place]["value"] - band[place]["base"] for band in bands] for place in range(len(bands[0]))
    ]
    assert len(heights) == 100
    assert [height for height in heights if height == [2, 5, 10, 20, 8]] == heights[:1] * 99
    assert [height for height in heights if height[4] == 0] == [[2, 5, 0, 0, 0]]
    assert "transfer 8 ms" in page.text("#readout").replace("\xa0", " ")
    page.evaluate("document.getElementById('phases').click()")
    page.wait("Oculus.chart.phases().length === 0 && location.search.includes('phases=0')")
    clean(page, oculus)


def test_a_phone_and_a_screen_reader_get_all_of_it(page: Page, daemon: Callable[..., Daemon]) -> None:
    """No sideways scroll at 390 px with a long name, in either scheme, and axe finds no serious fault."""
    oculus = daemon(CONFIG)
    wave(oculus, 3)
    probe(oculus)
    long = "custom." + "a_very_long_name_that_somebody_gave_" * 4
    push(oculus, [{"symbol": long, "value": 1.7e12, "tags": {"target": long * 3, "unit": "USD"}}])
    for scheme, width, path in (
        ("dark", PHONE, f"/series/{long}?with=custom.wave"),
        ("light", PHONE, "/series/net.http.site.rtt?ma=5"),
        ("dark", 1200, "/series/custom.wave?with=crypto.price.btc_usd&type=candles"),
    ):
        page.prefer(scheme)
        page.resize(width, 844, mobile=width == PHONE)
        opened(page, oculus, path)
        page.evaluate("document.querySelector('#raw summary').click()")
        page.wait("document.querySelectorAll('#raw tbody tr').length > 0")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert axe.faults(page) == []
        widths = "[...document.querySelectorAll('#chart canvas')].map((one) => one.clientWidth)"
        assert max(page.evaluate(widths)) > width / 2
    clean(page, oculus)


def test_numbers_are_written_alike_on_both_sides(page: Page, daemon: Callable[..., Daemon]) -> None:
    """What the chart and the page say of one value is the same text."""
    oculus = daemon(CONFIG)
    wave(oculus, 1)
    opened(page, oculus, "/series/custom.wave?range=1h")
    values = [
        *(0.0, 1.0, -1.0, 0.51, 0.4, 0.635, 12.34, 42.0, 999.6, 1234.56, 1536.0, -97_412.1, 123_456.789),
        *(2_500_000.0, 7.5e9, 3.2e15, 1e-3, -0.0001234, 2.1e-5, 7e-8, 3.3e-10),
        *(333.25, 2.125, 0.03125, 1000.25, 10_000.5, 1.5, -0.5, 99.995),  # halves go to the even digit
    ]
    units = ["", "ms", "%", "USD", "EUR", "CHF", "bool", "code", "probability", "B", "B/s", "s"]
    cases = [(value, unit) for value in values for unit in units]
    told = page.evaluate(f"{json.dumps(cases)}.map(([value, unit]) => Oculus.figures.full(value, unit))")
    wrong = {
        (value, unit): (text, expected)
        for (value, unit), text in zip(cases, told, strict=True)
        if (expected := figures.full_text(value, unit)) != text
        and not (unit[:1] == "B" and abs(value) < 1e-4)
    }
    assert wrong == {}
    clean(page, oculus)
