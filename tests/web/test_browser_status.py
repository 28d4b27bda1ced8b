"""The status page in a real browser: bars that tell their day, states that follow, phones, paper, an app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oculus.clock import DAY, now
from oculus.config.settings import ServerSettings, StatusGroup, StatusSettings
from oculus.model import Micros
from oculus.storage.tiers import HOUR, MINUTE
from oculus.web.records import days
from tests.support import axe
from tests.support.browser import Page
from tests.support.site import Site

pytestmark = pytest.mark.browser

KEYS = {"ArrowLeft": 37, "Home": 36, "End": 35, "Escape": 27}


def key(page: Page, name: str) -> None:
    """Press and release a key that moves in a slider."""
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=KEYS[name])


def point(page: Page, bars: int, share: float) -> None:
    """Move the mouse over the days of one target, so far from the left."""
    box: Any = page.evaluate(
        f"document.querySelectorAll('.days svg')[{bars}].getBoundingClientRect().toJSON()"
    )
    x, y = box["x"] + share * box["width"], box["y"] + 5
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)


@pytest.fixture
def public(new_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> Site:
    """A public status page of a site that was down for an hour yesterday, and of a database."""
    monkeypatch.setenv("TZ", "UTC")  # where each day has 24 hours
    site = new_site(
        server=ServerSettings(token="a long secret", public_status=True),
        status=StatusSettings(
            title="Acme",
            announcement="Work on Saturday.",
            groups=(StatusGroup(name="Web", symbols=("net.http.*", "net.tcp.*")),),
            names={"net.http.site": "Website with a name that is rather long for a phone"},
        ),
        every=lambda symbol: 60.0,
    )
    down = days(now())[-1] - DAY + 6 * HOUR
    for target in ("net.http.site", "net.tcp.db"):
        site.write(
            *(
                (f"{target}.up", float(target == "net.tcp.db" or not down <= ts < down + HOUR), Micros(ts))
                for ts in range(down - DAY, now(), MINUTE)
            ),
            *((f"{target}.rtt", 12.0, Micros(now() - ago * HOUR)) for ago in range(8)),
        )
    return site


def test_days_are_told_and_states_follow(page: Page, public: Site) -> None:
    """Mouse and arrow keys choose a day; what goes down turns the banner and the icon red, and back."""
    page.resize(1440, 900)
    page.goto(f"{public.url}/status")
    assert page.text(".overall h2") == "All systems operational"
    assert page.evaluate("document.querySelectorAll('.days').length") == 2
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    point(page, 0, 88.5 / 90)
    assert page.wait("document.querySelector('.daytip:not([hidden])')?.innerText") == (
        f"{yesterday}: 95.83 % up, 1 h down"
    )
    point(page, 1, 88.5 / 90)
    page.wait(f"document.querySelector('.daytip').innerText === '{yesterday}: 100 % up'")
    point(page, 1, 10 / 90)
    page.wait("document.querySelector('.daytip').innerText.endsWith(': no data')")
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
    page.wait("document.querySelector('.daytip').hidden")

    for _ in range(12):
        page.press("Tab")
        if page.evaluate("document.activeElement.matches('.days')"):
            break
    key(page, "ArrowLeft")
    value = "document.activeElement.getAttribute('aria-valuetext')"
    assert page.evaluate(value) == f"{yesterday}: 95.83 % up, 1 h down"
    assert page.evaluate("document.querySelector('.daytip').innerText") == page.evaluate(value)
    key(page, "Home")
    assert page.evaluate(value).endswith(": no data")
    assert page.evaluate("document.activeElement.getAttribute('aria-valuenow')") == "1"
    assert axe.faults(page) == []

    icon = "document.querySelector('link[rel=icon]').getAttribute('href')"
    assert "oculus.svg" in page.evaluate(icon)
    focused = page.evaluate("document.activeElement.id")
    public.write(("net.tcp.db.up", 0.0))
    page.evaluate("htmx.ajax('GET', '/partials/status', '#live')")
    page.wait("document.querySelector('.overall h2').innerText === 'db is down'")
    page.wait(f"{icon}.includes('oculus-bad.svg')")
    assert page.evaluate("document.title") == "(1) Acme · Oculus"
    assert page.evaluate("document.activeElement.id") == focused  # the keyboard's place outlasts it
    assert axe.faults(page) == []
    public.write(("net.tcp.db.up", 1.0))
    page.evaluate("htmx.ajax('GET', '/partials/status', '#live')")
    page.wait("document.querySelector('.overall').classList.contains('good')")
    page.wait(f"!{icon}.includes('oculus-bad.svg')")
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{public.port}") == []


def test_phones_paper_and_an_app(page: Page, public: Site) -> None:
    """No sideways scroll on a phone, in either scheme; black on white on paper; ready to be installed."""
    page.resize(390, 844, mobile=True)
    for scheme in ("dark", "light"):
        page.prefer(scheme)
        page.goto(f"{public.url}/status")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert axe.faults(page) == []
    assert page.text(".ends .half") == "45 days ago"

    found = page.send("Page.getAppManifest")
    assert found["url"].startswith(f"{public.url}/static/manifest.webmanifest")
    assert found["errors"] == []
    hindrances = page.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A page of a test shares no cookies with others, which is how Chromium calls a private window.
    assert {one["errorId"] for one in hindrances} <= {"in-incognito"}

    page.resize(1000, 1400)
    page.prefer("dark")
    screen = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.send("Emulation.setEmulatedMedia", media="print")
    assert screen != "rgb(255, 255, 255)"
    paper: Any = page.evaluate("Object.assign({}, ...['backgroundColor', 'color'].map((name) => ({[name]:"
                               " getComputedStyle(document.body)[name]})))")  # fmt: skip
    assert paper == {"backgroundColor": "rgb(255, 255, 255)", "color": "rgb(0, 0, 0)"}
    assert page.evaluate("document.getElementById('scheme').getClientRects().length") == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.days .down')).fill") != "rgb(0, 0, 0)"
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{public.port}") == []
