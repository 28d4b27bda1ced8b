"""Silences over real sockets into a real store: the API, the pages' forms, and a daemon that is killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from oculus.clock import SECOND, iso, now, parse_iso
from oculus.config.settings import RuleSettings, ServerSettings
from oculus.model import Micros
from oculus.rules.silences import MOST
from oculus.storage import ingest
from oculus.web.auth import COOKIE, cookie_value
from tests.support.daemon import Daemon
from tests.support.html import Element, parse
from tests.support.servers import wait_for
from tests.support.site import Site

NewSite = Callable[..., Site]

HOUR = 3_600 * SECOND
WEB = {"Accept": "text/html"}


def began(web: Site, *matchers: str, **more: Any) -> dict[str, Any]:
    """Begin a silence of two hours and return the answer."""
    answer = web.post("/api/silences", json={"matchers": matchers, "duration": "2h"} | more)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def form(web: Site, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> requests.Response:
    """Post a form as a browser does; redirects are not followed."""
    return web.post(path, data=fields, headers=WEB | (headers or {}), allow_redirects=False)


def page(web: Site, path: str) -> Element:
    """Return a page."""
    return parse(web.get(path, headers=WEB).text)


def ids(web: Site, query: str = "") -> list[str]:
    """Return the ids that the API lists."""
    return [one["id"] for one in web.json(f"/api/silences{query}")["silences"]]


# -- the API ------------------------------------------------------------------------------------------


def test_a_silence_is_begun_listed_and_ended(site: Site) -> None:
    """Each answer comes once the store has it; what ended stays listed; each change is an audit event."""
    before = now()
    made = began(site, "rule=site_*", "severity=warn", comment="deploy")
    assert made["state"] == "active"
    assert made["matchers"] == ["rule=site_*", "severity=warn"]
    assert before <= parse_iso(made["starts_at"]) <= now()
    assert 0 <= before + 2 * HOUR - parse_iso(made["ends_at"]) + SECOND <= 2 * SECOND
    (listed,) = site.json("/api/silences")["silences"]
    assert listed == {key: value for key, value in made.items() if key != "warning"}
    assert site.writer.call(ingest.read_states, "silence/").keys() == {f"silence/{made['id']}"}
    ended = site.ask("DELETE", f"/api/silences/{made['id']}")
    assert (ended.status_code, ended.json()["state"]) == (200, "expired")
    assert site.ask("DELETE", f"/api/silences/{made['id']}").json() == ended.json()
    assert (ids(site), ids(site, "?state=active")) == ([made["id"]], [])
    assert [event.type for event in site.events] == ["audit", "audit"]
    assert site.events[0].payload["by"].startswith("127.")


def test_a_silence_may_be_planned(site: Site) -> None:
    """By the time of its beginning, and its end as a time or as a duration after it."""
    start = Micros(now() // SECOND * SECOND + 5 * HOUR)
    end = Micros(start + 3 * HOUR)
    made = began(site, "rule=x", starts_at=iso(start))
    assert (made["state"], parse_iso(made["ends_at"])) == ("planned", start + 2 * HOUR)
    other = began(site, "rule=x", duration=None, starts_at=iso(start), ends_at=iso(end))
    assert (other["starts_at"], other["ends_at"]) == (iso(start), iso(end))
    assert ids(site, "?state=planned") == [made["id"], other["id"]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ([], "the body is not"),
        ({}, "matchers is not a list"),
        ({"matchers": "rule=x", "duration": "2h"}, "matchers is not a list"),
        ({"matchers": [1], "duration": "2h"}, "matchers is not a list"),
        ({"matchers": [], "duration": "2h"}, "needs a matcher"),
        ({"matchers": ["x"], "duration": "2h"}, "'x' is no matcher"),
        ({"matchers": ["rule=x"]}, "say how long"),
        ({"matchers": ["rule=x"], "duration": "2h", "ends_at": "2100-01-01"}, "say how long"),
        ({"matchers": ["rule=x"], "duration": "2"}, "'2' is not a duration (2s)"),
        ({"matchers": ["rule=x"], "duration": 2}, "duration 2 is not a text"),
        ({"matchers": ["rule=x"], "duration": "0s"}, "is over already"),
        ({"matchers": ["rule=x"], "duration": "9" * 400 + "h"}, "duration"),
        ({"matchers": ["rule=x"], "duration": "367d"}, "366 days at most"),
        ({"matchers": ["rule=x"], "ends_at": "noon"}, "ends_at 'noon' is not a time"),
        ({"matchers": ["rule=x"], "ends_at": 17}, "ends_at 17 is not a time"),
        ({"matchers": ["rule=x"], "ends_at": "2001-01-01"}, "is over already"),
        ({"matchers": ["rule=x"], "ends_at": "9999-12-31"}, "366 days at most"),
        ({"matchers": ["rule=x"], "duration": "2h", "comment": 1}, "comment is not a text"),
        ({"matchers": ["rule=x"], "duration": "2h", "comment": "x" * 501}, "longer than 500"),
        ({"matchers": ["rule=x"], "duration": "2h", "end": "2h"}, "unknown key 'end'"),
    ],
)
def test_a_wrong_request_is_told_and_changes_nothing(site: Site, body: Any, told: str) -> None:
    """400 with what would be right."""
    answer = site.post("/api/silences", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert told in answer.json()["error"]["message"]
    assert ids(site) == []


def test_what_there_is_not_is_404(site: Site) -> None:
    """So is what was forgotten."""
    answer = site.ask("DELETE", "/api/silences/nothing")
    assert answer.status_code == 404
    assert "there is no silence 'nothing'" in answer.json()["error"]["message"]
    assert site.get("/api/silences?state=over").status_code == 400


def test_a_slip_in_the_name_is_told(new_site: NewSite) -> None:
    """A silence of no rule that there is works, for one may come; the answer says so."""
    site = new_site(rules=[RuleSettings(name="site_slow", condition="custom.x > 1")])
    assert "warning" not in began(site, "rule=site_*")
    assert began(site, "rule=sit")["warning"] == "no rule has a name like 'sit' now"


def test_there_is_room_for_a_thousand(site: Site) -> None:
    """One more is refused until another ends."""
    keeper = site.silences.silences
    while len(keeper.snapshot()) < MOST:
        keeper.add(["rule=x"], now(), Micros(now() + HOUR), "", now())
    answer = site.post("/api/silences", json={"matchers": ["rule=x"], "duration": "2h"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_silences")
    assert len(ids(site)) == MOST


def test_the_token_is_needed_and_no_other_sites_page_may(new_site: NewSite) -> None:
    """For reading, for changing, and for the forms; neither forms nor scripts elsewhere get in."""
    site = new_site(server=ServerSettings(token="open sesame"))
    body = {"matchers": ["rule=*"], "duration": "2h"}
    assert site.get("/api/silences").status_code == 401
    assert site.post("/api/silences", json=body).status_code == 401
    assert form(site, "/silences", rule="x", duration="2h").status_code == 401
    cookie = {"Cookie": f"{COOKIE}={cookie_value('open sesame')}"}
    made = site.post("/api/silences", json=body, headers=cookie).json()["id"]
    for origin in ("https://elsewhere.example", "null"):
        headers = cookie | {"Origin": origin}
        assert site.post("/api/silences", json=body, headers=headers).status_code == 403
        assert site.ask("DELETE", f"/api/silences/{made}", headers=headers).status_code == 403
        assert form(site, "/silences", rule="x", duration="2h", headers=headers).status_code == 403
        assert form(site, f"/silences/{made}/end", headers=headers).status_code == 403
    own = cookie | {"Origin": site.url}
    assert form(site, "/silences", rule="x", duration="2h", headers=own).status_code == 303
    assert len(ids_with(site, cookie)) == 2


def ids_with(web: Site, headers: dict[str, str]) -> list[str]:
    """Return the ids of the silences in force."""
    return [one["id"] for one in web.get("/api/silences?state=active", headers=headers).json()["silences"]]


# -- the forms ----------------------------------------------------------------------------------------


def test_a_form_without_scripts_leads_back_to_its_page(site: Site) -> None:
    """Its mistakes are told on a page."""
    answer = form(site, "/silences", matchers="rule=x 'team=a b'", duration=" 30m ", comment="why")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/alerts")
    (silence,) = site.json("/api/silences")["silences"]
    assert (silence["matchers"], silence["comment"]) == (["rule=x", "team=a b"], "why")
    back = {"Referer": f"{site.url}/rules?x=1"}
    assert form(site, f"/silences/{silence['id']}/end", headers=back).headers["Location"] == "/rules"
    assert ids(site, "?state=active") == []
    away = {"Referer": "https://elsewhere.example/rules/../x"}
    assert form(site, "/silences", rule="x", duration="2h", headers=away).headers["Location"] == "/alerts"
    for matchers, duration, told in (
        ("rule='x", "2h", "a quotation mark is not closed"),
        ("rule=x", "", "is not a duration"),
        ("", "2h", "needs a matcher"),
    ):
        answer = form(site, "/silences", matchers=matchers, duration=duration)
        assert answer.status_code == 400
        assert told in parse(answer.text).text


def test_a_form_of_htmx_gets_a_line_and_a_signal(site: Site) -> None:
    """The line says what came of it, mistakes too; the page then asks for its live part."""
    answer = form(site, "/silences", rule="<b>[x]", duration="2h", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Trigger"]) == (200, "silences")
    assert "rule=<b>[[]x] is silent now, but no rule has a name like" in parse(answer.text).text
    answer = form(site, "/silences", matchers="x", duration="2h", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    assert "'x' is no matcher" in parse(answer.text).one("span", **{"class": "wrong"}).text
    answer = form(site, "/silences/nothing/end", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert "there is no silence" in parse(answer.text).text


def test_pages_show_silences_and_what_can_be_silenced(new_site: NewSite) -> None:
    """A firing rule has a button until it is silent; the list has what is in force and what is to come."""
    names = ("site_slow", "site_down", "calm")
    rules = [
        RuleSettings(name=name, condition=f"custom.x > {limit}")
        for name, limit in zip(names, (1, 2, 9), strict=True)
    ]
    site = new_site(rules=rules)
    site.write(("custom.x", 5.0))
    site.evaluate()

    def offered(path: str) -> set[str]:
        forms = page(site, path).find("form", action="/silences")
        return {one.attributes["value"] for found in forms for one in found.find("input", name="rule")}

    for path in ("/rules", "/alerts", "/partials/rules", "/partials/alerts"):
        assert offered(path) == {"site_slow", "site_down"}, path
    made = began(site, "rule=site_slow", "symbol=custom.*", comment="a <b>reason")
    later = began(site, "rule=later", starts_at=iso(Micros(now() + HOUR)))
    over = began(site, "rule=over")
    site.ask("DELETE", f"/api/silences/{over['id']}")
    for path in ("/rules", "/alerts"):
        assert offered(path) == {"site_down"}, path
    root = page(site, "/alerts")
    listed = [
        item.attributes["data-silence"] for item in root.find("li") if "data-silence" in item.attributes
    ]
    assert made["id"] in listed
    assert listed[-1] == later["id"]
    assert over["id"] not in listed
    assert "a <b>reason" in root.text
    assert root.find("form", action=f"/silences/{made['id']}/end")


# -- the daemon ---------------------------------------------------------------------------------------


def test_silences_outlast_a_kill(daemon: Callable[..., Daemon]) -> None:
    """Killed right after the answers; the restart knows what was begun and what was ended."""
    config = "database: {flush: 60s}\n"
    first = daemon(config)
    body = {"matchers": ["rule=*"], "duration": "2h", "comment": "power work"}
    kept, ended = (first.post("/api/silences", json=body).json()["id"] for _ in range(2))
    assert requests.delete(f"{first.url}/api/silences/{ended}", timeout=20).status_code == 200
    before = first.json("/api/silences")
    first.kill()
    second = daemon(config)
    assert second.json("/api/silences") == before
    assert [(one["id"], one["state"]) for one in before["silences"]] == [(kept, "active"), (ended, "expired")]
    assert second.stop() == 0


def test_what_fires_in_silence_is_recorded_and_told_when_that_ends(daemon: Callable[..., Daemon]) -> None:
    """The step names the silence; once that is ended the alert, which still fires, is told."""
    running = daemon("database: {flush: 50ms}\nrules:\n  - {name: hot, condition: custom.x > 1}\n")
    body = {"matchers": ["rule=hot", "symbol=custom.*"], "duration": "2h", "comment": "power work"}
    id = running.post("/api/silences", json=body).json()["id"]
    assert running.post("/api/push/custom.x", json={"value": 5}).status_code == 202
    reasons = "select payload->>'suppressed' from events where type = 'alert' order by id"
    wait_for(lambda: running.sql(reasons) == [[f"silence {id}: power work"]])
    assert "alert firing" not in running.log()
    assert requests.delete(f"{running.url}/api/silences/{id}", timeout=20).status_code == 200
    running.wait_log("alert firing")
    wait_for(lambda: running.sql(reasons) == [[f"silence {id}: power work"], [""]])
