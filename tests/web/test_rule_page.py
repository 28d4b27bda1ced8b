"""The page of a rule over a real socket: how it stands, what it did, what another text would have done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from oculus.clock import DAY, SECOND, now
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings, ServerSettings
from oculus.errors import Busy, QueryTimeout
from oculus.model import Micros, Operand, Sample, Tags, Transition
from oculus.storage.history import Part
from oculus.web.backtest_form import MAX_TEXT, source_text
from tests.support.html import Element, parse
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}
MINUTE = 60 * SECOND

HOT = RuleSettings(
    name="too hot", condition="custom.t > 30", for_=Seconds(120.0), cooldown=Seconds(300.0), severity="error",
    message="{{ value }} degrees",
)  # fmt: skip


def page(site: Site, path: str) -> Element:
    """Return a page."""
    answer = site.get(path, headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def measured(site: Site, symbol: str, values: list[float], ago: int, every: int = MINUTE) -> Micros:
    """Store values of a series from so long ago on; return when the first is from."""
    start = Micros(now() - ago)
    tags = Tags({"target": "boiler"})
    site.write(*(Sample(symbol, value, Micros(start + n * every), tags) for n, value in enumerate(values)))
    return start


def tried(site: Site, text: str, days: int = 1, rule: str = "too%20hot", **options: Any) -> requests.Response:
    """Post the form as HTMX does."""
    headers = {"HX-Request": "true"} | options.pop("headers", {})
    path = f"/partials/rules/{rule}/backtest"
    return site.post(path, data={"rule": text, "days": str(days)}, headers=headers, **options)


def result(site: Site, text: str, days: int = 1, rule: str = "too%20hot") -> Element:
    """Return what comes of a text that is right."""
    answer = tried(site, text, days, rule)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return parse(answer.text)


def counts(root: Element) -> dict[str, list[str]]:
    """Return the table of what each rule would have done."""
    rows = root.one("table", class_="compare").one("tbody").find("tr")
    return {row.one("th").text: [cell.text for cell in row.find("td")] for row in rows}


# -- how it stands --------------------------------------------------------------------------------------


def test_the_page_tells_how_a_rule_stands(new_site: NewSite) -> None:
    """State, condition, the values in it, what is set, and the alert with its labels."""
    site = new_site(rules=[HOT])
    site.write(Sample("custom.t", 31.5, now(), Tags({"target": "boiler"})))
    site.evaluate()
    root = page(site, "/rules/too%20hot")
    standing = root.one(class_="standing")
    assert {"pending", "error"} <= set(standing.classes)
    assert root.one("h1").text == "too hot"
    assert standing.one("pre").text == "custom.t > 30"
    assert "custom.t (31.5) > 30" in standing.one(class_="now").text
    settings = {div.one("dt").text: div.one("dd").text for div in standing.one("dl").find("div")}
    assert settings == {"for": "2m", "cooldown": "5m", "message": "{{ value }} degrees"}
    (alert,) = root.one(class_="instances").find("li")
    assert "pending" in alert.classes
    assert alert.one("b").text == "31.5"
    assert alert.one(class_="who").text == "custom.t"
    assert root.one("head").one("title").text == "too hot · Oculus"
    current = root.one("nav", aria_label="Pages").find("a", aria_current="true")
    assert [link.attributes["href"] for link in current] == ["/rules"]


def test_what_is_missing_or_wrong_is_told(new_site: NewSite) -> None:
    """A series without a fresh value, and a query that fails."""
    query = RuleSettings(name="query", sql="select nothing from nowhere", every=Seconds(60.0))
    site = new_site(rules=[RuleSettings(name="blind", condition="custom.nothing > 1"), query])
    assert "Not evaluated yet" in page(site, "/rules/blind").one(class_="lacking").text
    site.evaluate()
    assert "no fresh value of custom.nothing" in page(site, "/rules/blind").one(class_="lacking").text
    rule = site.engine.get("query")
    assert rule is not None
    site.engine.fail(rule, "there is no table nowhere", now())
    found = page(site, "/rules/query").one(class_="standing")
    assert found.one(class_="wrong").text == "there is no table nowhere"
    assert found.one("pre").text == "select nothing from nowhere"


def test_a_cause_is_linked_and_an_unknown_rule_is_404(new_site: NewSite) -> None:
    """As a page for people, as JSON for the live part."""
    site = new_site(rules=[RuleSettings(name="a/b"[:1], condition="custom.x > 1", depends_on=("up & down",))])
    link = page(site, "/rules/a").one(id="cause-1")
    assert link.attributes["href"] == "/rules/up%20%26%20down"
    gone = site.get(link.attributes["href"], headers=WEB)
    assert gone.status_code == 404
    assert "there is no rule 'up & down'" in parse(gone.text).one("main").text
    for answer in (site.get("/partials/rules/none"), tried(site, "", rule="none")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_the_live_part_is_the_page_s_own(new_site: NewSite) -> None:
    """What the page asks for again is what it shows; the form is not in it, so that no typed text is lost."""
    site = new_site(rules=[HOT])
    site.write(("custom.t", 31.5))
    site.evaluate()
    live = page(site, "/rules/too%20hot").one(id="live")
    assert "every" in live.attributes["hx-trigger"]
    assert not live.find("textarea")
    fragment = page(site, live.attributes["hx-get"])
    assert not fragment.find("html")
    assert live.text == fragment.text


def test_a_firing_rule_can_be_silenced_on_its_page(new_site: NewSite) -> None:
    """Without scripts the form leads back to it; the page then tells for how long."""
    site = new_site(rules=[RuleSettings(name="x & y", condition="custom.x > 1")])
    site.write(("custom.x", 5.0))
    site.evaluate()
    (form,) = page(site, "/rules/x%20%26%20y").find("form", class_="hush")
    fields = {field.attributes["name"]: field.attributes["value"] for field in form.find("input")}
    back = {"Referer": f"{site.url}/rules/x%20%26%20y"}
    answer = site.post(form.attributes["action"], data=fields, headers=WEB | back, allow_redirects=False)
    assert answer.headers["Location"] == "/rules/x%20%26%20y"
    root = page(site, "/rules/x%20%26%20y")
    assert root.one(class_="standing").one(class_="quieted").text.startswith("silent for")
    assert not root.find("form", class_="hush")


# -- what it did ----------------------------------------------------------------------------------------


def step(ts: int, previous: str, state: str, **more: Any) -> Transition:
    """Return a step of the alert of HOT."""
    labels = more.pop("labels", {"symbol": "custom.t", "target": "boiler"})
    return Transition(
        Micros(ts), "too hot", state, previous, "error",  # type: ignore[arg-type]
        more.pop("message", "31.5 degrees"), Micros(ts - 3 * MINUTE), "custom.t", 31.5, labels, **more,
    )  # fmt: skip


def test_the_history_is_told_newest_first_with_what_was_read(new_site: NewSite) -> None:
    """Each step unfolds to the values, their ages, the timers, and what kept it from being told."""
    site = new_site(rules=[HOT])
    start = now() - DAY
    fired = step(
        start + 2 * MINUTE, "pending", "firing",
        explanation="custom.t (31.5) > 30",
        operands=(Operand("custom.t", 31.5, 12.0), Operand("absent(custom.u, 1h)", None)),
        timers={"held": 120.0, "for": 120.0, "cooldown": 0.0},
        suppressed="silence abc: deploy",
    )  # fmt: skip
    steps = [
        step(start, "inactive", "pending"), fired, step(start + 5 * MINUTE, "firing", "firing"),
        step(start + 9 * MINUTE, "firing", "resolved"),
    ]  # fmt: skip
    site.store_events(one.event() for one in steps)
    past = page(site, "/rules/too%20hot").one(class_="past").find("details")
    assert [one.one(class_="badge").text for one in past] == ["resolved", "firing", "firing", "pending"]
    assert [one.attributes["id"] for one in past] == ["step-4", "step-3", "step-2", "step-1"]
    assert "after 3m" in past[0].one("summary").text
    assert "told again" in past[1].one("summary").text
    told = past[2].text
    for text in (
        "pending → firing", "31.5 degrees", "custom.t (31.5) > 30", "custom.t = 31.5", "12s old",
        "absent(custom.u, 1h) = unknown", "held 2m, for 2m", "silence abc: deploy",
    ):  # fmt: skip
        assert text in told
    assert "cooldown" not in told


def test_the_timeline_has_the_firings_of_a_week(new_site: NewSite) -> None:
    """A lane for each alert, its bars in percent of the week, each with its times."""
    site = new_site(rules=[HOT])
    end = now()
    half = end - 7 * DAY // 2
    other = {"symbol": "custom.u"}
    site.store_events(
        one.event()
        for one in (
            step(end - 20 * DAY, "inactive", "firing"),
            step(end - 19 * DAY, "firing", "resolved"),
            step(half, "inactive", "firing"),
            step(half + DAY, "firing", "resolved"),
            step(end - DAY, "inactive", "firing", labels=other),
            step(end - DAY // 2, "firing", "resolved", labels=other),
        )
    )
    lanes = [
        lane for lane in page(site, "/rules/too%20hot").find(class_="lane") if "axis" not in lane.classes
    ]
    assert [lane.one(class_="who").text for lane in lanes] == ["custom.t", "custom.u"]
    (bar,) = lanes[0].find("rect")
    assert float(bar.attributes["x"].rstrip("%")) == pytest.approx(50, abs=0.1)
    assert float(bar.attributes["width"].rstrip("%")) == pytest.approx(100 / 7, abs=0.1)
    assert bar.one("title").text.endswith("(1d)")


def test_a_rule_that_did_nothing_says_so(new_site: NewSite) -> None:
    """There is no empty picture."""
    text = page(new_site(rules=[HOT]), "/rules/too%20hot").one(id="live").text
    assert "No alert in the last 7 days" in text
    assert "Nothing has happened yet" in text


# -- the backtest ---------------------------------------------------------------------------------------

TEXT = "name: too hot\ncondition: custom.t > 30\nfor: 2m\ncooldown: 5m\nseverity: error\n"


def heated(new_site: NewSite) -> Site:
    """Return a site whose boiler was at 31 for 10 minutes, and at 50 for 5, in the last 3 hours."""
    site = new_site(rules=[HOT])
    values = [20.0] * 180
    values[30:40] = [31.0] * 10
    values[100:105] = [50.0] * 5
    measured(site, "custom.t", values, 3 * 60 * MINUTE)
    return site


def test_the_form_has_the_rule_as_it_is_configured(new_site: NewSite) -> None:
    """Its text can be tried as it is; it is then compared with nothing."""
    site = heated(new_site)
    form = page(site, "/rules/too%20hot").one(id="backtest").one("form")
    text = "".join(str(part) for part in form.one("textarea").parts).removeprefix("\n")
    assert text.splitlines()[:3] == ["name: too hot", "condition: custom.t > 30", "for: 2m"]
    assert [one.attributes["value"] for one in form.find("option")] == ["1", "7", "30", "90"]
    assert form.attributes["hx-post"] == "/partials/rules/too%20hot/backtest"
    found = result(site, text)
    assert counts(found) == {"As configured": ["2", "11m", "4"]}


def test_a_changed_rule_is_compared_with_the_configured_one(new_site: NewSite) -> None:
    """Both are replayed over the same history; a picture, the days and the firings are there."""
    site = heated(new_site)
    found = result(site, TEXT.replace("> 30", "> 40"))
    compared = counts(found)
    assert {title: row[0] for title, row in compared.items()} == {"As edited": "1", "As configured": "2"}
    edited, configured = found.find("section", class_="outcome")
    assert len(edited.one(class_="timeline").find("rect", class_="firing")) == 1
    assert len(configured.one(class_="timeline").find("rect", class_="firing")) == 2
    assert edited.one(class_="perday").find("rect")
    (line,) = found.one("ol").find("li")
    assert "custom.t (50) > 40" in line.text
    assert "From every sample" in found.text
    assert "Times are UTC" in found.text
    assert [rule.settings.condition for rule in site.engine.rules] == ["custom.t > 30"]  # nothing was changed
    assert site.json("/api/alerts")["alerts"] == []


def test_a_rule_of_another_name_is_compared_too(new_site: NewSite) -> None:
    """As is one that takes the name of another rule, or depends on one."""
    site = heated(new_site)
    site.engine.load([HOT, RuleSettings(name="other", condition="custom.t > 0")])
    for name in ("other", "a third", "too hot_"):
        found = result(site, TEXT.replace("too hot", name).replace("> 30", "> 40"))
        assert [row[0] for row in counts(found).values()] == ["1", "2"], name
    found = result(site, f"{TEXT}depends_on: [other]\n")
    assert [row[0] for row in counts(found).values()] == ["2", "2"]


def test_wildcards_have_a_lane_each_and_no_more_than_thirty(new_site: NewSite) -> None:
    """The others are counted."""
    site = new_site(rules=[RuleSettings(name="x", condition="custom.s*.up == 0")])
    for number in range(33):
        measured(site, f"custom.s{number}.up", [1.0, 1.0, *[0.0] * (number % 5 + 1), 1.0, 1.0], 30 * MINUTE)
    found = result(site, "name: x\ncondition: custom.s*.up == 0", rule="x")
    assert counts(found)["As configured"][0] == "33"
    assert len([lane for lane in found.find(class_="lane") if "axis" not in lane.classes]) == 30
    assert "+3 more" in found.text


def test_only_a_hundred_firings_are_listed(new_site: NewSite) -> None:
    """The newest ones; how many there are besides is told."""
    site = new_site(rules=[RuleSettings(name="x", condition="custom.x > 0.5", flap=0)])
    measured(site, "custom.x", [0.0, 1.0] * 120, 6 * 60 * MINUTE)
    found = result(site, "name: x\ncondition: custom.x > 0.5\nflap: 0\n", rule="x")
    assert counts(found)["As configured"][0] == "120"
    assert len(found.one("ol").find("li")) == 100
    assert "+20 more" in found.text


def test_a_rule_that_never_fired_has_no_picture(new_site: NewSite) -> None:
    """It says so."""
    found = result(heated(new_site), TEXT.replace("> 30", "> 99"))
    assert "It would never have fired" in found.text
    assert counts(found)["As edited"] == ["0", "0s", "0"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rule"),
        ("name: x\ncondition: custom.t >\n", "condition"),
        ("name: x\ncondition: custom.t > 1\nfro: 2m\n", "fro"),
        ("name: x\ncondition: [\n", "YAML"),
        ("- {name: x, condition: a > 1}\n- {name: y, condition: a > 1}\n", "2 rules; one at a time"),
        ("name: x\ncondition: avg(custom.t) > 1000\n", "^"),
        ("<script>alert(1)</script>", ""),
    ],
)
def test_mistakes_of_the_text_are_told(new_site: NewSite, text: str, told: str) -> None:
    """All of them, each with its spot, in the place of the result."""
    answer = tried(heated(new_site), text)
    assert answer.status_code == 400
    root = parse(answer.text)
    assert not root.find("script")
    mistakes = "".join(map(str, root.one("pre", class_="mistakes").parts))
    assert told.lower() in mistakes.lower()
    assert not root.find("table")


def test_the_caret_stands_below_the_spot(new_site: NewSite) -> None:
    """The lines are kept as they are."""
    root = parse(tried(heated(new_site), "name: x\ncondition: avg(custom.t) > 1000\n").text)
    lines = "".join(map(str, root.one("pre", class_="mistakes").parts)).splitlines()
    assert lines[1].index(")") == lines[2].index("^")


@pytest.mark.parametrize(
    ("error", "status"),
    [(Busy("another backtest is running"), 503), (QueryTimeout("the backtest took longer than 60 s"), 408)],
)
def test_what_goes_wrong_is_one_line(new_site: NewSite, error: Exception, status: int) -> None:
    """With the status that fits."""

    def fail(*_: object) -> Any:
        raise error

    answer = tried(new_site(rules=[HOT], backtest=fail), TEXT)
    assert answer.status_code == status
    assert parse(answer.text).one(class_="wrong").text == str(error)


def test_a_query_is_replayed_too(new_site: NewSite) -> None:
    """As of each time at which it would have been asked; where that is too often, it is told."""
    sql = (
        "select symbol, max(value) as v from metrics where ts > now() - interval 90 second"
        " group by symbol having v > 30"
    )
    site = new_site(rules=[RuleSettings(name="q", sql=sql, every=Seconds(60.0))])
    measured(site, "custom.t", [20, 31, 32, 20, 20, 20], 60 * MINUTE)
    found = result(site, f"name: q\nsql: {sql}\nevery: 1m\n", rule="q")
    assert counts(found) == {"As configured": ["1", "3m", "2"]}
    assert "Its query was asked" not in found.text
    found = result(site, f"name: q\nsql: {sql}\nevery: 1s\n", rule="q")
    assert "Its query was asked every 2s instead of every 1s." in found.text


def test_a_query_that_cannot_be_replayed_says_so(new_site: NewSite) -> None:
    """And why."""
    site = new_site(rules=[RuleSettings(name="q", sql="select 1 as one", every=Seconds(60.0))])
    site.write(("custom.t", 1.0))
    found = result(site, "name: q\nsql: select * from deliveries\nevery: 1m\n", rule="q")
    assert "deliveries has no past" in found.one(class_="wrong").text


def test_the_form_works_without_scripts(new_site: NewSite) -> None:
    """The page comes with the result, and with the text as it was typed; mistakes likewise."""
    site = heated(new_site)
    text = TEXT.replace("> 30", "> 40").replace("\n", "\r\n")  # as browsers send it
    answer = site.post("/rules/too%20hot", data={"rule": text, "days": "30"}, headers=WEB)
    assert answer.status_code == 200
    root = parse(answer.text)
    assert counts(root)["As edited"][0] == "1"
    assert "custom.t > 40" in root.one("textarea").text
    assert [o.attributes["value"] for o in root.find("option") if "selected" in o.attributes] == ["30"]
    wrong = site.post("/rules/too%20hot", data={"rule": "name: <b>"}, headers=WEB)
    assert wrong.status_code == 400
    assert parse(wrong.text).one("textarea").text == "name: <b>"


def test_a_form_of_another_site_is_refused(new_site: NewSite) -> None:
    """As are those who have no token, and texts that are no rule by their size."""
    site = new_site(rules=[HOT])
    assert tried(site, TEXT, headers={"Origin": "https://evil.example"}).status_code == 403
    assert tried(site, TEXT, headers={"Origin": site.url}).status_code == 200
    assert tried(site, "#" * (MAX_TEXT + 1)).status_code == 413
    closed = new_site(rules=[HOT], server=ServerSettings(token="secret"))
    assert tried(closed, TEXT).status_code == 401
    assert tried(closed, TEXT, headers={"Authorization": "Bearer secret"}).status_code == 200


DAY_0 = 20_400 * DAY  # 8 November 2025


def part(source: str, start: float, end: float) -> Part:
    """Return a part of the history by its days."""
    return Part(source, Micros(int(DAY_0 + start * DAY)), Micros(int(DAY_0 + end * DAY)))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "Nothing is stored of what the rule reads"),
        ([part("samples", 0, 7)], "From every sample"),
        ([part("1h", 0, 3), part("1h", 3, 7)], "From 1-hour rollups"),
        (
            [part("1m", 0, 3), part("samples", 3, 7)],
            "Before 11 Nov from 1-minute rollups, then from every sample",
        ),
        (
            [part("1h", 0, 1), part("1m", 1, 3), part("samples", 3, 7)],
            "Before 9 Nov from 1-hour rollups, before 11 Nov from 1-minute rollups, then from every sample",
        ),
        (
            [part("1h", -1, 1), part("1m", 1, 3)],
            "Before 9 Nov from 1-hour rollups, then from 1-minute rollups",
        ),
        (
            [part("samples", 2.5, 7)],
            "From every sample (nothing is stored before 10 Nov 12:00)",
        ),
    ],
)
def test_what_was_replayed_is_told_in_words(parts: list[Part], told: str) -> None:
    """Coarser rows where the finer ones are not kept any more."""
    assert source_text(parts, Micros(DAY_0)) == told
