"""Badges over a real store: pictures that are well-formed whatever they say, and who may have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import now
from oculus.config.settings import ServerSettings, StatusGroup, StatusSettings
from oculus.model import Micros, Sample, Tags
from oculus.storage.tiers import HOUR, MINUTE, floor
from oculus.web.badges import BLUE, GREEN, GREY, LONGEST, RED, YELLOW, Badge, width_of
from tests.support.site import Site

TOKEN = "a long secret"
SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """A badge as a browser reads it."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        assert self.root.tag == f"{SVG}svg"
        self.title = self.root.findtext(f"{SVG}title")
        self.texts = [one.text or "" for one in self.root.iter(f"{SVG}text")]
        boxes = [one for one in self.root.iter(f"{SVG}rect") if "fill" in one.attrib]
        self.widths = [int(box.attrib["width"]) for box in boxes]
        self.colour = boxes[1].attrib["fill"]


def picture(answer: requests.Response, status: int = 200) -> Picture:
    """Return an answer as a badge."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].lower() == "image/svg+xml; charset=utf-8"
    assert answer.headers["Cache-Control"].endswith("max-age=60")
    return Picture(answer.text)


def told(site: Site, path: str, status: int = 200, headers: Mapping[str, str] = {}) -> tuple[str, str, str]:
    """Return what a badge says: label, message, colour."""
    found = picture(site.get(f"/badge/{path}", headers=dict(headers)), status)
    label, message = found.texts
    assert found.title == f"{label}: {message}"
    return label, message, found.colour


# -- what they say --------------------------------------------------------------------------------------


def test_each_state_has_its_colour(new_site: Callable[..., Site]) -> None:
    """Up is green, down is red, maintenance is blue, and what is unknown or old is grey."""
    site = new_site(stale_after=lambda symbol: 60.0)
    site.write(
        ("net.http.a.up", 1.0), ("net.http.b.up", 0.0), ("net.http.old.up", 1.0, Micros(now() - 90_000_000)),
        Sample("net.http.c.unknown", 1.0, now(), Tags({"reason": "maintenance: x"})),
        Sample("net.http.d.unknown", 1.0, now(), Tags({"reason": "this host has lost the network"})),
    )  # fmt: skip
    assert told(site, "net.http.a/status.svg") == ("a", "up", GREEN)
    assert told(site, "net.http.b/status.svg") == ("b", "down", RED)
    assert told(site, "net.http.c/status.svg") == ("c", "maintenance", BLUE)
    assert told(site, "net.http.d/status.svg") == ("d", "unknown", GREY)
    assert told(site, "net.http.old/status.svg") == ("old", "unknown", GREY)
    assert told(site, "net.http.a.up/status.svg") == ("a", "up", GREEN)


@pytest.mark.parametrize(("bad", "colour"), [(0, GREEN), (1, YELLOW), (30, RED)])
def test_uptime_has_a_colour_by_how_good_it_is(new_site: Callable[..., Site], bad: int, colour: str) -> None:
    """Ten hours with so many minutes down; 100 % only of none."""
    site = new_site(every=lambda symbol: 60.0)
    start = floor(Micros(now() - 10 * HOUR), HOUR)
    site.write(
        *(
            ("net.http.a.up", float(number >= bad), Micros(start + number * MINUTE))
            for number in range((now() - start) // MINUTE)
        )
    )
    for window in ("24h", "7d", "30d", "90d"):
        label, message, found = told(site, f"net.http.a/uptime.svg?window={window}")
        assert label == f"a {window}"
        assert found == colour
        assert (message == "100%") == (not bad)
        assert 90 < float(message.rstrip("%")) <= 100
    assert told(site, "net.http.a/uptime.svg")[0] == "a 30d"


def test_nothing_known_is_grey(site: Site) -> None:
    """A target with no result that counts has no uptime."""
    site.write(Sample("net.http.a.unknown", 1.0, now()))
    assert told(site, "net.http.a/uptime.svg") == ("a 30d", "unknown", GREY)


def test_values_have_their_unit(site: Site) -> None:
    """Any series, with the precision that suits it; of a target how long the last answer took."""
    site.write(
        ("net.http.a.up", 1.0), ("net.http.a.rtt", 12.345), ("net.tcp.b.up", 0.0), ("custom.moon", 0.42),
        Sample("crypto.price.btc_usd", 97_412.0, now(), Tags({"unit": "USD"})),
    )  # fmt: skip
    assert told(site, "net.http.a/value.svg") == ("a", "12.35 ms", BLUE)
    assert told(site, "net.http.a.rtt/value.svg") == ("a.rtt", "12.35 ms", BLUE)
    assert told(site, "net.tcp.b/value.svg") == ("b", "down", RED)
    assert told(site, "net.http.a.up/value.svg") == ("a.up", "up", GREEN)
    assert told(site, "custom.moon/value.svg") == ("moon", "0.42", BLUE)
    assert told(site, "crypto.price.btc_usd/value.svg?label=bitcoin") == ("bitcoin", "$97,412", BLUE)


def test_an_old_value_is_grey(new_site: Callable[..., Site]) -> None:
    """It is shown, but nobody should take it for the present one."""
    site = new_site(stale_after=lambda symbol: 60.0)
    site.write(("custom.moon", 0.42, Micros(now() - 90_000_000)))
    assert told(site, "custom.moon/value.svg") == ("moon", "0.42", GREY)


@pytest.mark.parametrize(
    "path",
    ["net.http.none/status.svg", "custom.moon/status.svg", "custom.moon/uptime.svg",
     "net.http.none/value.svg", "net.http.a/other.svg", "net/status.svg", ".up/status.svg"],
)  # fmt: skip
def test_what_is_not_there_is_a_grey_badge(site: Site, path: str) -> None:
    """A picture in any case, so that a page with it is not broken; programs see the status."""
    site.write(("custom.moon", 0.42), ("net.http.a.up", 1.0))
    _, message, colour = told(site, path, status=404)
    assert (message, colour) == ("unknown", GREY)


def test_a_target_that_is_named_in_full_has_badges_before_its_first_result(
    new_site: Callable[..., Site],
) -> None:
    """It stands on the page, so it is known, though nothing is known of it."""
    site = new_site(status=StatusSettings(groups=(StatusGroup(name="Web", symbols=("net.http.new",)),)))
    assert told(site, "net.http.new/status.svg") == ("new", "unknown", GREY)
    assert told(site, "net.http.new/uptime.svg") == ("new 30d", "unknown", GREY)


def test_a_window_that_is_none_is_a_mistake(site: Site) -> None:
    """Nobody is told the uptime of another time than the one that was asked for."""
    site.write(("net.http.a.up", 1.0))
    assert site.get("/badge/net.http.a/uptime.svg?window=1y").status_code == 400


# -- who may have them ----------------------------------------------------------------------------------


def test_visitors_have_the_badges_of_the_public_page(new_site: Callable[..., Site]) -> None:
    """Those of its targets and values that are named; all else looks as if it were not there."""
    site = new_site(
        server=ServerSettings(token=TOKEN, public_status=True),
        status=StatusSettings(
            groups=(StatusGroup(name="Web", symbols=("net.http.*",)),),
            names={"net.http.a": "Website"},
            badges=("crypto.price.*",),
        ),
    )
    site.write(
        ("net.http.a.up", 1.0), ("net.http.a.rtt", 12.0), ("net.tcp.b.up", 1.0), ("net.tcp.b.rtt", 3.0),
        ("crypto.price.btc_usd", 97_412.0), ("custom.salary", 5_000.0),
    )  # fmt: skip
    for path in ("net.http.a/status.svg", "net.http.a/uptime.svg", "net.http.a/value.svg",
                 "net.http.a.rtt/value.svg", "crypto.price.btc_usd/value.svg"):  # fmt: skip
        assert picture(site.get(f"/badge/{path}")).colour != GREY or "uptime" in path
        assert site.get(f"/badge/{path}").headers["Cache-Control"].startswith("public")
    for target, kind in (("net.tcp.b", "status"), ("net.tcp.b", "uptime"), ("net.tcp.b", "value"),
                         ("net.tcp.b.rtt", "value"), ("custom.salary", "value")):  # fmt: skip
        assert told(site, f"{target}/{kind}.svg", 404)[1:] == told(site, f"{target}_none/{kind}.svg", 404)[1:]
        answer = site.get(f"/badge/{target}/{kind}.svg", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"].startswith("private")
    assert told(site, "net.http.a/status.svg")[0] == "Website"


# -- the picture ----------------------------------------------------------------------------------------

TEXTS = st.text(max_size=2 * LONGEST)


@given(TEXTS, TEXTS)
def test_any_text_makes_a_picture_that_holds_it(label: str, message: str) -> None:
    """Signs of markup, controls and other scripts: well-formed, no other element, and as wide as its text."""
    found = Picture(Badge(label, message, GREEN).svg())
    assert {one.tag for one in found.root.iter()} <= {
        f"{SVG}{name}" for name in ("svg", "title", "clipPath", "rect", "g", "text")
    }
    assert int(found.root.attrib["width"]) == sum(found.widths)
    assert not [name for one in found.root.iter() for name in one.attrib if name.startswith("on")]
    shown = [text for text in (label[:LONGEST], message[:LONGEST]) if text]
    assert [len(text) for text in found.texts] == [len(text) for text in shown]


def test_markup_in_a_label_stays_text(site: Site) -> None:
    """What a URL asks for is shown and nothing else."""
    site.write(("net.http.a.up", 1.0))
    hostile = "\"'><script>alert(1)</script>&amp;"
    answer = site.get("/badge/net.http.a/status.svg", params={"label": hostile})
    assert picture(answer).texts[0] == hostile
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("", 0, 0), ("up", 12, 16), ("iiii", 10, 14), ("WWWW", 40, 46), ("監視", 20, 24)],
)
def test_widths_are_those_of_the_font(text: str, least: int, most: int) -> None:
    """Narrow and wide letters, and what the table does not list."""
    assert least <= width_of(text) <= most
