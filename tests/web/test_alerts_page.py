"""The page of all alerts over a real socket: its timeline, what is active, filters, steps and
acknowledgements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from oculus.clock import DAY, SECOND, now
from oculus.config.settings import RuleSettings
from oculus.model import Event, Micros, Operand, Severity, Transition
from oculus.rules.engine import STORED
from oculus.storage import outbox
from oculus.web.alerts_page import ACTIVE_SHOWN, MOST_LANES, RANGES, STEPS_SHOWN
from tests.support.html import Element, parse
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}
HTMX = WEB | {"HX-Request": "true"}
MINUTE, HOUR = 60 * SECOND, 3_600 * SECOND


def page(site: Site, query: str = "") -> Element:
    """Return the page."""
    answer = site.get(f"/alerts{query}", headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def ids(root: Element) -> list[int]:
    """Return the steps that a page lists."""
    return [int(one.attributes["data-id"]) for one in root.find("li", class_="alert")]


def active(root: Element) -> list[Element]:
    """Return the alerts that a page says are active."""
    return root.one(class_="going").find("li")


def story(
    rule: str, ago: int, lasted: int, symbol: str = "", severity: Severity = "warn", told: str = ""
) -> Iterator[Event]:
    """Yield the steps of an alert that fired so long ago and resolved, each told by the channel `told`."""
    began = Micros(now() - ago)
    labels = {"symbol": symbol or f"custom.{rule}", "team": "web"}
    firing = Transition(
        ts=began, rule=rule, state="firing", previous="inactive", severity=severity, started_at=began,
        message=f"{rule} is hot", symbol=labels["symbol"], value=31.5, labels=labels,
        channels=("log", *([told] if told else ())), explanation=f"{labels['symbol']} (31.5) > 30",
        operands=(Operand(labels["symbol"], 31.5, 4.2), Operand("custom.limit", None)),
        timers={"held": 0.0, "for": 120.0, "cooldown": 0.0},
        memory=(f"{STORED}{rule}/{symbol}", None),
    )  # fmt: skip
    steps = [firing]
    if lasted:
        steps.append(replace(firing, ts=Micros(began + lasted), state="resolved", previous="firing"))
    for step in steps:
        yield replace(step.event(), channels=(told,) if told else ())


def lanes(root: Element) -> dict[str, list[Element]]:
    """Return the bars of a timeline by the names of their lanes."""
    found = [lane for lane in root.one(class_="timeline").find(class_="lane") if "axis" not in lane.classes]
    return {
        lane.one(class_="who").text if lane.find(class_="who") else "": lane.find("rect") for lane in found
    }


def boilers(new_site: NewSite, *values: float) -> Site:
    """Return a site on which a rule with a wildcard watches boilers at these temperatures, named from a
    on."""
    site: Site = new_site(
        rules=[
            RuleSettings(name="too hot", condition="custom.*.t > 30", severity="error"),
            RuleSettings(name="level", condition="custom.level < 1", severity="critical"),
        ]
    )
    symbols = [f"custom.{chr(ord('a') + number)}.t" for number in range(len(values))]
    site.write(*zip(symbols, values, strict=True), ("custom.level", 5.0))
    site.engine.know(symbols)
    site.evaluate()
    return site


# -- the timeline ---------------------------------------------------------------------------------------


def test_each_rule_has_a_lane_whose_bars_lead_to_what_began_them(site: Site) -> None:
    """Those of the last day; the name leads to the rule's alerts, several bars in one place likewise."""
    site.store_events(story("slow & steady", 5 * HOUR, HOUR, severity="critical"))
    site.store_events(story("hot", 3 * HOUR, MINUTE))
    site.store_events(story("hot", 3 * HOUR - 2 * MINUTE, MINUTE))
    site.store_events(story("hot", 2 * HOUR, 0, symbol="custom.other"))  # no end on record
    site.store_events(story("old", 30 * HOUR, HOUR))
    root = page(site)
    found = lanes(root)
    assert list(found) == ["slow & steady", "hot"]
    links = root.one("svg", aria_label="slow & steady: 1 times").find("a")
    assert [link.attributes["href"] for link in links] == ["/alerts/1"]
    bar = float(found["slow & steady"][0].attributes["width"].rstrip("%"))
    assert 100 / 24 - 0.5 < bar < 100 / 24 + 0.5
    who = root.one(id="lane-1")
    assert who.attributes["href"] == "/alerts?rule=slow+%26+steady"
    lane = next(one for one in root.find(class_="lane") if "critical" in one.classes)
    assert lane.one(class_="who").text == "slow & steady"
    several = root.one("svg", aria_label="hot: 2 times").find("a")
    assert [link.attributes["href"] for link in several] == ["/alerts?rule=hot", "/alerts/7"]


def test_the_alerts_of_one_rule_have_a_lane_each(site: Site) -> None:
    """As soon as the page is about that rule."""
    for number in range(MOST_LANES + 3):
        site.store_events(story("hot", 5 * HOUR, HOUR + number * MINUTE, symbol=f"custom.s{number:02}"))
    site.store_events(story("other", 5 * HOUR, HOUR))
    root = page(site, "?rule=hot")
    names = [f"custom.s{number:02}" for number in reversed(range(3, MOST_LANES + 3))]
    assert list(lanes(root)) == names
    assert "+3 more" in root.one(class_="timeline").text
    assert list(lanes(page(site))) == ["hot", "other"]


def test_what_fires_now_reaches_the_right_edge(new_site: NewSite) -> None:
    """Also where it began before anything that is stored."""
    site = boilers(new_site, 35.0, 20.0)
    (bar,) = lanes(page(site))["too hot"]
    assert float(bar.attributes["x"].rstrip("%")) + float(bar.attributes["width"].rstrip("%")) > 99.99
    site.writer.call(lambda connection: connection.execute("delete from events"))
    rule = site.engine.get("too hot")
    assert rule is not None
    rule.instances["a"].active_at = Micros(now() - 30 * DAY)
    root = page(site, "?range=6h")
    (bar,) = lanes(root)["too hot"]
    assert (bar.attributes["x"], bar.attributes["width"]) == ("0.0%", "100.0%")
    assert ids(root) == []


def test_the_range_is_of_the_timeline_and_of_the_steps(site: Site) -> None:
    """What is older is found by a longer one; the page says so where it has nothing."""
    site.store_events(story("hot", 3 * DAY, HOUR))
    root = page(site)
    assert ids(root) == []
    assert "No alert in the last 24h" in root.one(class_="log").text
    assert root.one(id="wider").attributes["href"] == "/alerts?range=30d"
    current = [link.text for link in root.one("nav", aria_label="Range").find("a", aria_current="true")]
    assert current == ["24h"]
    assert list(RANGES) == [link.text for link in root.one("nav", aria_label="Range").find("a")]
    root = page(site, root.one(id="range-7d").attributes["href"].removeprefix("/alerts"))
    assert ids(root) == [2, 1]
    assert list(lanes(root)) == ["hot"]
    assert site.get("/alerts?range=1y", headers=WEB).status_code == 400


def test_the_live_part_is_the_same_until_something_happens(site: Site) -> None:
    """So that the page that shows it is left alone: what is read, or selected, stays."""
    site.store_events(story("hot", 5 * HOUR, HOUR))
    first, second = (site.get("/partials/alerts?range=30d").text for _ in range(2))
    assert first == second
    site.store_events(story("hot", HOUR, MINUTE))
    assert site.get("/partials/alerts?range=30d").text != first


# -- the steps ------------------------------------------------------------------------------------------


def test_steps_come_in_pages(site: Site) -> None:
    """Each leads to the next older one, the last one nowhere; every filter is kept."""
    for number in range(STEPS_SHOWN + 5):
        site.store_events(story("hot", (STEPS_SHOWN + 6 - number) * MINUTE, 0))
        site.store_events(story("other", HOUR, 0))
    root = page(site, "?rule=hot")
    every = ids(root)
    assert len(every) == STEPS_SHOWN
    older = root.one(id="older").attributes["href"]
    assert older == f"/alerts?rule=hot&before={every[-1]}"
    rest = page(site, older.removeprefix("/alerts"))
    every += ids(rest)
    assert every == list(range(2 * STEPS_SHOWN + 9, 0, -2))
    assert not rest.find(id="older")
    assert rest.one(id="newest").attributes["href"] == "/alerts?rule=hot"
    assert rest.one(id="live").attributes["hx-get"] == f"/partials{older}"
    for wrong in ("x", "-1", "1" * 30):
        assert site.get(f"/alerts?before={wrong}", headers=WEB).status_code == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=IS+HOT", [4, 3, 2, 1]),
        ("?q=boil", [2, 1]),
        ("?q=custom.kettle", [4, 3]),
        ("?q=(31.5)", [4, 3, 2, 1]),
        ("?q=web&state=resolved", [4, 2]),
        ("?q=team", []),
        ("?q=suppressed", []),
        ("?q=%25", []),
        ("?severity=critical", [4, 3]),
        ("?rule=boiler&state=firing", [1]),
    ],
)
def test_steps_are_found_by_their_texts(site: Site, query: str, found: list[int]) -> None:
    """By rule, message, explanation, or the value of a label; not by the names of what is stored of a
    step."""
    site.store_events(story("boiler", 2 * HOUR, HOUR))
    site.store_events(story("kettle", 2 * HOUR, HOUR, severity="critical"))
    root = page(site, query)
    assert ids(root) == found
    form = root.one(id="search")
    sent = {one.attributes["name"]: one.attributes["value"] for one in form.find("input")}
    asked = dict(parse_qsl(query.removeprefix("?")))
    assert {name: value for name, value in sent.items() if value} == asked
    if not found:
        assert "No alert matches" in root.one(class_="log").text


def test_a_step_unfolds_to_what_decided_it_and_who_was_told(site: Site) -> None:
    """Operands with their ages, timers, what held it back, and each delivery."""
    site.store_events(story("hot", 2 * HOUR, HOUR, told="ops"))
    (held,) = story("quiet", HOUR, 0)
    site.store_events([replace(held, payload={**held.payload, "suppressed": "silence 3f9c2b: deploy"})])
    at = Micros(now() - 2 * HOUR + 3 * SECOND)
    site.writer.call(outbox.settle, [outbox.Outcome(1, "ops", "failed", at, 2, "n1", "HTTP 500 <b>")], {}, [])
    quiet, resolved, firing = page(site).find("li", class_="alert")
    told = firing.one("dl").text
    assert "custom.hot = 31.5 4.2s old" in told
    assert "custom.limit = unknown" in told
    assert "for 2m" in told
    assert "log sent" in told
    assert "ops failed given up after 2 tries" in told
    assert "HTTP 500 <b>" in told
    assert firing.one("summary").one(class_="failed").text == "ops failed"
    assert firing.one(id="page-1").attributes["href"] == "/alerts/1"
    assert resolved.one("summary").one(class_="wait").text == "ops waits"
    assert "after 1h" in resolved.one("summary").text
    assert quiet.one("summary").one(class_="tag").text == "not told"
    assert "Held back: silence 3f9c2b: deploy" in quiet.one("dl").text
    assert firing.one("details").attributes["id"] == "step-1"


# -- what is active -------------------------------------------------------------------------------------


def test_what_is_active_stands_by_itself(new_site: NewSite) -> None:
    """However long ago it began: the worst first, each alert of a rule with its label and value."""
    site = boilers(new_site, 35.0, 20.0, 41.25)
    site.write(("custom.level", 0.5))
    site.evaluate()
    found = active(page(site))
    assert [one.one(class_="rule-name").text for one in found] == ["level", "too hot", "too hot"]
    assert "custom.level (0.5) < 1" in found[0].text
    texts = [one.one(class_="what").text for one in found[1:]]
    assert sorted(texts) == ["custom.a.t = 35", "custom.c.t = 41.25"]
    assert page(site).one(class_="going").attributes["data-failing"] == "3"
    began = found[0].one(class_="since").one("a").attributes["href"]
    assert page(site, f"/{began.rpartition('/')[2]}").one("h1").text == "level"
    assert [one.one(class_="what").text for one in active(page(site, "?q=custom.c"))] == [
        "custom.c.t = 41.25"
    ]
    assert len(active(page(site, "?severity=critical"))) == 1
    assert active(page(site, "?state=pending")) == []


def test_no_page_is_filled_by_what_is_active(new_site: NewSite) -> None:
    """So many are shown, and the others counted."""
    site: Site = new_site(rules=[RuleSettings(name="hot", condition="custom.*.t > 30", limit=500)])
    symbols = [f"custom.s{number}.t" for number in range(ACTIVE_SHOWN + 12)]
    site.write(*((symbol, 40.0) for symbol in symbols))
    site.engine.know(symbols)
    site.evaluate()
    root = page(site).one(class_="going")
    assert len(root.find("li")) == ACTIVE_SHOWN
    assert "and 12 more" in root.text
    assert f"{ACTIVE_SHOWN + 12} firing" in root.text


# -- acknowledged, and silent ---------------------------------------------------------------------------


def forms(alert: Element, action: str) -> list[dict[str, str]]:
    """Return what the forms of an alert send to a path."""
    return [
        {one.attributes["name"]: one.attributes["value"] for one in form.find("input")}
        for form in alert.find("form", action=action)
    ]


def test_one_alert_is_acknowledged_with_one_click(new_site: NewSite) -> None:
    """It is told no more, but for its end, and only until that; the others are as before."""
    site = boilers(new_site, 35.0, 41.25)
    (first,) = forms(active(page(site))[0], "/silences/acknowledge")
    answer = site.post("/silences/acknowledge", data=first, headers=HTMX)
    assert (answer.status_code, answer.headers["HX-Trigger"]) == (200, "silences")
    assert "too hot is acknowledged" in parse(answer.text).text
    (silence,) = site.json("/api/silences")["silences"]
    began = site.json("/api/rules/too hot")["instances"]
    labels = json.loads(first["labels"])
    started = next(one["active_at"] for one in began if one["labels"] == labels)
    assert silence["matchers"] == ["rule=too hot", f"started_at={started}", f"symbol={labels['symbol']}"]
    assert silence["comment"] == "acknowledged"
    root = page(site)
    told, held = active(root)
    assert forms(told, "/silences/acknowledge")
    assert not forms(held, "/silences/acknowledge")
    assert "acknowledged" in held.one(class_="quieted").text
    assert not root.find("section", class_="silences")  # it stands at its alert
    again = site.post("/silences/acknowledge", data=first, headers=HTMX)
    assert again.status_code == 200  # a second click of somebody else
    undo = held.find("form")[0].attributes["action"]
    assert site.post(undo, headers=HTMX).status_code == 200

    # The same alert, after it was over and began anew.
    site.write((labels["symbol"], 20.0))
    site.evaluate()
    gone = site.post("/silences/acknowledge", data=first, headers=HTMX)
    assert gone.status_code == 409
    assert "does not fire there any more" in parse(gone.text).one("span", class_="wrong").text
    site.write((labels["symbol"], 36.0))
    site.evaluate()
    assert all(forms(alert, "/silences/acknowledge") for alert in active(page(site)))


def test_without_scripts_an_acknowledgement_leads_back(new_site: NewSite) -> None:
    """To the page that it came from."""
    site = boilers(new_site, 35.0)
    (fields,) = forms(active(page(site))[0], "/silences/acknowledge")
    back = WEB | {"Referer": f"{site.url}/alerts?range=7d"}
    answer = site.post("/silences/acknowledge", data=fields, headers=back, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/alerts")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"rule": "too hot"},
        {"rule": "too hot", "labels": "x"},
        {"rule": "too hot", "labels": "[]"},
        {"rule": "too hot", "labels": "[" * 100_000},
        {"labels": "{}"},
    ],
    ids=["nothing", "no labels", "no JSON", "a list", "deep", "no rule"],
)
def test_a_form_that_names_no_alert_is_refused(new_site: NewSite, fields: dict[str, str]) -> None:
    """400, and nothing is silent."""
    site = boilers(new_site, 35.0)
    answer = site.post("/silences/acknowledge", data=fields, headers=HTMX)
    assert answer.status_code == 400
    assert "names no alert" in answer.text
    assert site.json("/api/silences")["silences"] == []


def test_one_alert_or_all_of_its_rule_are_silenced_for_a_while(new_site: NewSite) -> None:
    """The menu beside an alert has both, each with a few durations."""
    site = boilers(new_site, 35.0, 41.25)
    alert = active(page(site))[0]
    one, every = forms(alert.one(class_="menu"), "/silences")
    buttons = alert.one(class_="menu").find("button")
    assert [button.attributes["value"] for button in buttons] == ["1h", "4h", "1d", "7d"] * 2
    assert site.post("/silences", data=one | {"duration": "4h"}, headers=HTMX).status_code == 200
    (silence,) = site.json("/api/silences")["silences"]
    assert silence["matchers"] == ["rule=too hot", f"symbol={json.loads(one['labels'])['symbol']}"]
    told, held = active(page(site))
    assert "silent for" in held.text
    assert forms(told, "/silences/acknowledge")
    assert page(site).find("section", class_="silences")
    assert site.post("/silences", data=every | {"duration": "1d"}, headers=HTMX).status_code == 200
    assert not any(forms(alert, "/silences/acknowledge") for alert in active(page(site)))


def test_hostile_labels_are_text_and_can_be_acknowledged(new_site: NewSite) -> None:
    """Signs of globs, quotes, control characters and names that no matcher can have."""
    site: Site = new_site(rules=[RuleSettings(name="rows", sql="select 1", every=60.0)])  # type: ignore[arg-type]
    rule = site.engine.get("rows")
    assert rule is not None
    row = {"host": "a*[b]\n\"'<b>", "rule": "other", "a=b": "x", "long": "y" * 400, " c": "z", "value": 3.0}
    site.store_events(
        step.event() for step in site.engine.evaluate_rows(rule, [row, {"host": "plain"}], now())
    )
    alert = next(one for one in active(page(site)) if "<b>" in one.text)
    (fields,) = forms(alert, "/silences/acknowledge")
    assert site.post("/silences/acknowledge", data=fields, headers=HTMX).status_code == 200
    (silence,) = site.json("/api/silences")["silences"]
    assert silence["matchers"][0] == "rule=rows"
    assert silence["matchers"][2:] == ["host=a[*][[]b]?\"'<b>"]
    held = [one for one in active(page(site)) if one.find(class_="quieted")]
    assert len(held) == 1
    assert "<b>" in held[0].text
