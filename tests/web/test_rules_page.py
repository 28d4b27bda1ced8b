"""The page of all rules over a real socket: what stands first, what is found, and what is wrong with a
rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oculus.clock import SECOND, now
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.model import Micros
from oculus.web.rules_page import RULES_SHOWN
from tests.support.html import Element, parse
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}


def page(site: Site, query: str = "") -> Element:
    """Return the page."""
    answer = site.get(f"/rules{query}", headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def names(root: Element) -> list[str]:
    """Return the rules that a page lists."""
    return [one.attributes["data-rule"] for one in root.find("li", class_="rule")]


def rule(name: str, condition: str = "", **settings: Any) -> RuleSettings:
    """Return a rule on custom.x."""
    given = {"name": name, "condition": condition or "custom.x > 100"} | settings
    return RuleSettings(**{"name": name} | settings if "sql" in settings else given)


def mixed(new_site: NewSite) -> Site:
    """Return a site with a rule of each sort."""
    site: Site = new_site(
        rules=[
            rule("calm"),
            rule("waits", "custom.x > 2", for_=Seconds(600.0)),
            rule("blind", "custom.a + custom.b + custom.c + custom.d > 1"),
            rule("query", sql="select nothing from nowhere", every=Seconds(60.0)),
            rule("mild", "custom.x > 1", severity="info", message="much <b>"),
            rule("bad", "custom.x > 1", severity="critical"),
            rule("each", "custom.*.t > 1", severity="error"),
            rule("hushed", "custom.x > 1", severity="critical"),
        ]
    )
    site.write(("custom.x", 5.0), ("custom.p.t", 5.0), ("custom.q.t", 6.0))
    site.engine.know(["custom.p.t", "custom.q.t"])
    site.evaluate()
    query = site.engine.get("query")
    assert query is not None
    site.engine.fail(query, "there is no table <nowhere>", now())
    body = {"matchers": ["rule=hushed"], "duration": "2h"}
    assert site.post("/api/silences", json=body).status_code == 201
    return site


def test_what_fires_stands_first_then_what_cannot_do_its_work(new_site: NewSite) -> None:
    """The worst of each first; what is silent fires behind what is not."""
    root = page(mixed(new_site))
    assert names(root) == ["bad", "each", "mild", "hushed", "query", "waits", "calm", "blind"]
    counts = {link.attributes["id"]: link.one("b").text for link in root.one("nav", class_="chips").find("a")}
    assert counts == {
        "show-all": "8", "show-firing": "4", "show-pending": "1", "show-trouble": "2", "show-silent": "1"
    }  # fmt: skip
    assert root.one("ul", class_="rules").attributes["data-failing"] == "4"


def test_a_rule_tells_why_how_often_and_since_when(new_site: NewSite) -> None:
    """With the values in its condition; a wildcard is shown as it is written, and an alert of it."""
    root = page(mixed(new_site))
    bad = root.one(data_rule="bad")
    assert bad.one("code").text == "custom.x (5) > 1"
    assert bad.find("time")
    assert bad.one(id="try-bad").attributes["href"] == "/rules/bad#backtest"
    each = root.one(data_rule="each")
    assert each.one("code").text == "custom.*.t > 1"
    assert "custom.p.t (5) > 1" in each.one(class_="note").text
    assert "2 alerts" in each.text
    assert "for 10m" in root.one(data_rule="waits").text
    hushed = root.one(data_rule="hushed")
    assert "silent for" in hushed.text
    assert not hushed.find("form", action="/silences")
    offered = [form.one("input", name="rule") for form in root.find("form", action="/silences")]
    assert [one.attributes["value"] for one in offered] == ["bad", "each", "mild"]


def test_what_is_wrong_with_a_rule_is_told(new_site: NewSite) -> None:
    """A query that fails is a fault; a series without a fresh value is no fault of the rule."""
    root = page(mixed(new_site))
    query, blind = root.one(data_rule="query"), root.one(data_rule="blind")
    assert query.one(class_="wrong").text == "error there is no table <nowhere>"
    assert query.one("code").text == "select nothing from nowhere"
    assert not blind.find(class_="wrong")
    told = "no data no fresh value of custom.a, custom.b, custom.c and 1 more"
    assert blind.one(class_="note").text == told
    assert "troubled" in blind.classes


def test_rules_are_found_and_chosen(new_site: NewSite) -> None:
    """By name, condition, query or message, and by what they do; the address and the live part say so."""
    site = mixed(new_site)
    for query, found in (
        ("?q=NOWHERE", ["query"]),
        ("?q=custom.%2A", ["each"]),
        ("?q=%3Cb%3E", ["mild"]),
        ("?show=trouble", ["query", "blind"]),
        ("?show=silent", ["hushed"]),
        ("?q=a&show=pending", ["waits"]),
        ("?q=nothing+like+it", []),
    ):
        root = page(site, query)
        assert names(root) == found, query
        again = parse(site.get(root.one(id="live").attributes["hx-get"]).text)
        assert names(again) == found
        assert root.one(id="show-firing").attributes["href"] == "/rules" + (
            f"{query.partition('&')[0]}&show=firing" if "q=" in query else "?show=firing"
        )
        if not found:
            assert "No rule matches" in root.one("main").text
    assert site.get("/rules?show=all", headers=WEB).status_code == 400


def test_no_page_is_filled_by_rules(new_site: NewSite) -> None:
    """The first hundred are shown until all are asked for; what fires is among them."""
    rules = [rule(f"r{number:03}") for number in range(RULES_SHOWN + 20)]
    site: Site = new_site(rules=[*rules, rule("last", "custom.x > 1")])
    site.write(("custom.x", 5.0, Micros(now() - SECOND)))
    site.evaluate()
    root = page(site)
    assert len(names(root)) == RULES_SHOWN
    assert names(root)[0] == "last"
    assert "and 21 more" in root.one("main").text
    every = page(site, root.one(id="rules-more").attributes["href"].removeprefix("/rules"))
    assert len(names(every)) == RULES_SHOWN + 21
    assert not every.find(id="rules-more")
