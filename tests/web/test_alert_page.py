"""The page of one step of an alert: what happened, who was told of it, and the steps around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from oculus.clock import SECOND, now
from oculus.config.settings import RuleSettings
from oculus.model import AlertState, Event, Micros, Operand, Transition
from oculus.notify.courier import Progress
from oculus.storage import outbox
from tests.support.axe import faults
from tests.support.browser import Page
from tests.support.daemon import Daemon
from tests.support.html import Element, parse
from tests.support.servers import HttpServer, wait_for
from tests.support.site import Site

NewSite = Callable[..., Site]
WEB = {"Accept": "text/html"}
START = Micros(1_787_227_200 * SECOND)  # 2026-08-20 12:00:00 UTC
RULE = RuleSettings(name="too hot", condition="custom.t > 30", severity="error")
LABELS = {"symbol": "custom.t", "target": "boiler"}


def step(
    second: float, state: AlertState = "firing", previous: AlertState = "pending", **more: Any
) -> Transition:
    """Return a step of an alert whose condition began to hold at START."""
    labels = more.pop("labels", LABELS)
    given: dict[str, Any] = {
        "rule": "too hot", "severity": "error", "message": "31.5 degrees", "started_at": START,
        "symbol": "custom.t", "value": 31.5, "labels": labels,
        "memory": (f"alert/too hot/{json.dumps(labels)}", None),
    }  # fmt: skip
    return Transition(ts=Micros(START + int(second * SECOND)), state=state, previous=previous, **given | more)


def store(site: Site, *steps: Transition, told: Iterable[str] = ()) -> None:
    """Store steps, the first of which these channels are to tell."""
    events = [one.event() for one in steps]
    site.store_events([replace(events[0], channels=tuple(told)), *events[1:]])


def settle(site: Site, *outcomes: outbox.Outcome) -> None:
    """Note what became of deliveries."""
    site.writer.call(outbox.settle, outcomes, {})


def shown(site: Site, id: int = 1) -> Element:
    """Return the page of a step."""
    answer = site.get(f"/alerts/{id}", headers=WEB)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def facts(root: Element) -> dict[str, str]:
    """Return what the page tells by name; values of the same name one after the other."""
    found: dict[str, str] = {}
    name = ""
    for row in root.one(class_="standing").one("dl").find("div"):
        name = row.one("dt").text or name
        found[name] = f"{found.get(name, '')} {row.one('dd').text}".strip()
    return found


def told(root: Element) -> dict[str, str]:
    """Return what became of each delivery, by channel."""
    return {
        row.attributes["data-channel"]: row.text.removeprefix(row.attributes["data-channel"]).strip()
        for row in root.one(class_="deliveries").find("li")
    }


# -- what happened --------------------------------------------------------------------------------------


def test_a_step_is_told_with_all_that_decided(new_site: NewSite) -> None:
    """Where and when, the value, the condition as it was, its operands with their ages, and the timers."""
    site = new_site(rules=[RULE])
    fired = step(
        120,
        explanation="custom.t (31.5) > 30 and absent(custom.u, 1h)",
        operands=(Operand("custom.t", 31.5, 12.0), Operand("absent(custom.u, 1h)", None)),
        timers={"held": 120.0, "for": 120.0, "cooldown": 0.0},
    )
    store(site, step(0, "pending", "inactive"), fired)
    root = shown(site, 2)
    assert root.one("head").one("title").text == "too hot: firing · Oculus"
    standing = root.one(class_="standing")
    assert {"firing", "error"} <= set(standing.classes)
    assert standing.one("h1").one("a").attributes["href"] == "/rules/too%20hot"
    assert standing.one(class_="message").text == "31.5 degrees"
    assert standing.one("pre").text == "custom.t (31.5) > 30 and absent(custom.u, 1h)"
    assert facts(root) == {
        "at": "2026-08-20 12:02:00 UTC",
        "step": "pending → firing",
        "symbol": "custom.t",
        "value": "31.5",
        "began": "2026-08-20 12:00:00 UTC",
        "held for": "2m by then",
        "labels": "target boiler",
        "values": "custom.t = 31.5 12s old absent(custom.u, 1h) = unknown",
        "timers": "held 2m, for 2m",
    }
    assert root.one(id="alert-series").attributes["href"] == "/series/custom.t"
    (current,) = root.one("nav", aria_label="Pages").find("a", aria_current="true")
    assert current.attributes["href"] == "/alerts"


def test_the_end_of_a_firing_is_told_and_leads_there(new_site: NewSite) -> None:
    """That it was told again meanwhile is no end; the end itself says how long it all was."""
    site = new_site(rules=[RULE])
    store(site, step(120), step(300, previous="firing"), step(840, "resolved", "firing"))
    first, again, end = (shown(site, id) for id in (1, 2, 3))
    assert facts(first)["then"] == "resolved 12m later"
    assert first.one(id="alert-ended").attributes["href"] == "/alerts/3"
    assert facts(again)["step"] == "firing → firing told again"
    assert facts(again)["then"] == "resolved 9m later"
    assert facts(end)["lasted"] == "14m"
    assert not {"then", "now"} & facts(end).keys()


def test_what_goes_on_says_so_and_can_be_acknowledged(new_site: NewSite) -> None:
    """As long as the rule has that alert; without scripts the form leads back to the page."""
    site = new_site(rules=[RULE])
    site.write(("custom.t", 31.5))
    site.evaluate()
    root = shown(site)
    assert facts(root)["now"].startswith("still firing, for")
    form = root.one("form", action="/silences/acknowledge")
    fields = {field.attributes["name"]: field.attributes["value"] for field in form.find("input")}
    back = {"Referer": f"{site.url}/alerts/1"}
    answer = site.post(form.attributes["action"], data=fields, headers=WEB | back, allow_redirects=False)
    assert answer.headers["Location"] == "/alerts/1"
    assert shown(site).one(class_="standing").one(class_="quieted").text.startswith("acknowledged")
    site.write(("custom.t", 3.0))
    site.evaluate()
    assert facts(shown(site))["then"].startswith("resolved")
    assert not shown(site).one(class_="standing").find("form")
    site.write(("custom.t", 31.5))
    site.evaluate()
    assert "now" not in facts(shown(site))  # that is another firing
    assert "now" in facts(shown(site, 3))


def test_a_rule_that_is_gone_and_a_symbol_that_is_none(new_site: NewSite) -> None:
    """Neither is a link into nothing."""
    site = new_site()
    store(site, step(0, symbol="Total of all", labels={"symbol": "Total of all"}))
    root = shown(site)
    assert root.one("h1").text == "too hot"
    assert not root.one("h1").find("a")
    assert facts(root)["symbol"] == "Total of all"
    assert not root.find(id="alert-series")


def test_the_unit_of_the_series_stands_behind_the_value(new_site: NewSite) -> None:
    """Digits are kept: a value beside a threshold must not look like it."""
    site = new_site(rules=[RULE])
    store(
        site, step(0, value=1000.000123, symbol="net.http.a.rtt"), step(0, value=0.0, symbol="net.http.a.up")
    )
    assert facts(shown(site, 1))["value"] == "1000.000123 ms"
    assert facts(shown(site, 2))["value"] == "0"


# -- who was told ---------------------------------------------------------------------------------------


def test_each_delivery_is_told_in_plain_words(new_site: NewSite) -> None:
    """When, after how many tries, what the service said, and the message's id."""
    site = new_site(rules=[RULE])
    channels = ("log", "once", "late", "wrong", "old", "lesser", "over", "gone", "never")
    store(site, step(120, channels=channels), told=channels[1:-1])
    at = Micros(START + 125 * SECOND)
    settle(
        site,
        outbox.Outcome(1, "once", "sent", Micros(START + 120 * SECOND), 1, "ab12", "message 7"),
        outbox.Outcome(1, "late", "sent", at, 3, "cd34", "200"),
        outbox.Outcome(1, "wrong", "failed", at, 1, "ef56", "401: the token is wrong"),
        outbox.Outcome(1, "old", "expired", at, 42, "", "connection refused"),
        outbox.Outcome(1, "lesser", "passed", at, told="less severe than this channel takes"),
        outbox.Outcome(1, "over", "passed", at, 2, "ab77", "200"),
        outbox.Outcome(1, "gone", "failed", at, told="the channel is not configured any more"),
    )
    on_time, moment = "2026-08-20 12:02:00 UTC", "2026-08-20 12:02:05 UTC"
    root = shown(site)
    assert told(root) == {
        "log": f"sent at once {on_time}",
        "never": f"sent to the log: there was no such channel then {on_time}",
        "once": f"sent at the first try {on_time} message 7 id ab12",
        "late": f"sent after 3 tries, 5s after the step {moment} 200 id cd34",
        "wrong": f"failed given up after 1 try, 5s after the step {moment} 401: the token is wrong id ef56",
        "old": f"expired given up after 42 tries, 5s after the step {moment} connection refused",
        "lesser": f"passed less severe than this channel takes {moment}",
        "over": f"passed there was nothing left to tell {moment} id ab77",
        "gone": f"failed given up: the channel is not configured any more {moment}",
    }
    late = root.one(data_channel="late").one("time")
    assert late.attributes["datetime"] == "2026-08-20T12:02:05.000Z"
    assert {row[0]: row[1:] for row in sql(site)}["late"] == ("sent", 3, "cd34", "200")


def sql(site: Site) -> list[tuple[Any, ...]]:
    """Return what the table says."""
    statement = "select channel, state, tries, notice, told from deliveries where event = 1"
    rows: list[tuple[Any, ...]] = site.readers.run(lambda cursor: cursor.execute(statement).fetchall())
    return rows


def test_what_waits_says_for_what(new_site: NewSite) -> None:
    """For its group, for the end of the quiet hours, or for the next try, with why the last one failed."""
    due = Micros(now() + 100 * SECOND)
    known = {
        "group": Progress(0, "", due, quiet=False),
        "night": Progress(0, "", None, quiet=True),
        "down": Progress(4, "503: busy", due, quiet=False),
        "trying": Progress(2, "503: busy", None, quiet=False),
    }
    asked = []

    def progress(event: int, channel: str) -> Progress | None:
        asked.append(event)
        return known.get(channel)

    site = new_site(rules=[RULE], progress=progress)
    store(site, step(120, channels=("ops",)), told=[*known, "ops"])
    root = shown(site)
    ahead = root.one(data_channel="down").one("time", class_="ahead").attributes["datetime"]
    assert told(root) == {
        "group": f"waiting for the next message of its group, in {ahead}",
        "night": "waiting for the end of the quiet hours",
        "down": f"waiting after 4 tries, the next one in {ahead} 503: busy",
        "trying": "waiting try 2 is under way 503: busy",
        "ops": "waiting",
    }
    found = {one.pop("channel"): one for one in site.json("/api/alerts/1")["deliveries"]}
    assert found["down"] == {
        "state": "waiting", "ended": None, "due": ahead, "tries": 4, "notice": "", "told": "503: busy",
    }  # fmt: skip
    assert (found["night"]["due"], found["ops"]["tries"]) == (None, 0)
    assert set(asked) == {1}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (step(0, "pending", "inactive"), "No channel is told of such a step"),
        (step(0, suppressed="silence abc: deploy"), "Held back: silence abc: deploy."),
        (step(0, channels=()), "The rule names no channel."),
    ],
)
def test_why_nobody_was_told(new_site: NewSite, given: Transition, why: str) -> None:
    """There is no empty list."""
    site = new_site(rules=[RULE])
    store(site, given)
    found = shown(site).one(class_="deliveries")
    assert why in found.text
    assert not found.find("li")


# -- the steps around it --------------------------------------------------------------------------------


def test_the_steps_of_the_same_alert_lead_to_their_pages(new_site: NewSite) -> None:
    """Newest first, this one marked, those of other alerts left out."""
    site = new_site(rules=[RULE])
    other = {"symbol": "custom.u"}
    store(
        site,
        step(0, "pending", "inactive"), step(5, labels=other), step(120, suppressed="flapping"),
        step(840, "resolved", "firing", message="it is over"), step(900, "pending", "inactive"),
    )  # fmt: skip
    root = shown(site, 3)
    lines = root.one(class_="steps").find("li")
    assert [line.one(class_="badge").text for line in lines] == ["pending", "resolved", "firing", "pending"]
    links = [link.attributes["href"] for line in lines for link in line.find("a")]
    assert links == ["/alerts/5", "/alerts/4", "/alerts/1"]
    assert lines[2].one(aria_current="true").text == "31.5 degrees"
    assert lines[1].one(class_="what").text == "it is over after 14m"
    assert "not told" in lines[2].text
    assert [one["id"] for one in site.json("/api/alerts/3")["steps"]] == [5, 4, 3, 1]
    assert "older" not in root.one(class_="steps").text


def test_no_more_than_ten_steps_on_either_side(new_site: NewSite) -> None:
    """That there are others is told."""
    site = new_site(rules=[RULE])
    store(site, *(step(number) for number in range(30)))
    found = shown(site, 15).one(class_="steps")
    assert len(found.find("li")) == 21
    assert "There are newer ones" in found.text
    assert found.one(id="steps-all").attributes["href"] == "/alerts?rule=too%20hot"
    assert [one["id"] for one in site.json("/api/alerts/15")["steps"]] == list(range(25, 4, -1))


# -- addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["2", "3", "0", "-1", "x", "1.0", "²", "9" * 18, "9" * 400, "1%20or%201"])
def test_what_is_no_step_is_not_found(new_site: NewSite, id: str) -> None:
    """An event of another kind, and what can be no id; a page for people, JSON for programs."""
    site = new_site()
    site.store_events([step(0).event(), Event(START, "x", "error", "error", "no step")])
    answer = site.get(f"/alerts/{id}", headers=WEB)
    assert answer.status_code == 404
    assert "there is no alert" in parse(answer.text).one("main").text
    for path in (f"/api/alerts/{id}", f"/partials/alerts/{id}"):
        found = site.get(path)
        assert (found.status_code, found.json()["error"]["code"]) == (404, "not_found")


def test_the_json_is_the_entry_of_the_list_and_more(new_site: NewSite) -> None:
    """Under the same id."""
    site = new_site(rules=[RULE])
    store(site, step(0), told=["ops"])
    (entry,) = site.json("/api/alerts")["alerts"]
    found = site.json(f"/api/alerts/{entry['id']}")
    assert {name: found[name] for name in entry} == entry
    assert found.keys() - entry.keys() == {"deliveries", "steps"}
    assert [one["channel"] for one in found["deliveries"]] == ["ops"]
    assert found["steps"] == [
        {"id": 1, "ts": "2026-08-20T12:00:00.000Z", "state": "firing", "previous": "pending",
         "severity": "error", "message": "31.5 degrees", "value": 31.5}
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/alerts", "/rules/too%20hot", "/"])
def test_lists_of_alerts_lead_here(new_site: NewSite, path: str) -> None:
    """Each entry to its own page."""
    site = new_site(rules=[RULE])
    for value in (31.5, 3.0):
        site.write(("custom.t", value))
        site.evaluate()
    answer = site.get(path, headers=WEB)
    links = [link.attributes["href"] for link in parse(answer.text).one("main").find("a")]
    assert {"/alerts/1", "/alerts/2"} <= set(links)


def test_the_page_asks_again_only_while_something_may_change(new_site: NewSite) -> None:
    """For the fragment that it shows; the last answer tells HTMX to stop."""
    site = new_site(rules=[RULE])
    store(site, step(0), told=["ops"])
    root = shown(site)
    live = root.one(id="live")
    assert "every" in live.attributes["hx-trigger"]
    fragment = site.get(live.attributes["hx-get"])
    assert fragment.status_code == 200
    assert parse(fragment.text).text == live.text
    settle(site, outbox.Outcome(1, "ops", "sent", now(), 1, "ab12", "200"))
    last = site.get(live.attributes["hx-get"])
    assert last.status_code == 286
    assert last.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "hx-get" not in shown(site).one(id="live").attributes
    assert shown(site).find(data_settled="")
    site.write(("custom.t", 31.5))
    site.evaluate()
    assert "hx-get" in shown(site, 2).one(id="live").attributes  # nothing waits, but it goes on


# -- the whole path -------------------------------------------------------------------------------------

CONFIG = """
server: {public_url: "https://oculus.example/mon"}
database: {flush: 50ms}
rules:
  - {name: too_hot, condition: "custom.temperature > 30", severity: critical, channels: [log, ops]}
notifications:
  ops: {type: webhook, url: "%s/hook", group_wait: 0s, group_interval: 300ms, repeat: 300ms}
"""


class Hook:
    """A webhook that answers 503 a few times, or while it is `down`, and keeps what it takes.

    It asks to be tried again soon: else the waits would double.
    """

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails
        self.down = False
        self.tried = 0
        self.got: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.tried += 1
        if self.down or self.tried <= self.fails:
            start("503 Service Unavailable", [("Retry-After", "1")])
            return [b"busy"]
        self.got.append(json.loads(body))
        start("200 OK", [])
        return [b""]


def push(daemon: Daemon, value: float) -> None:
    """Push a temperature."""
    assert daemon.post("/api/push/custom.temperature", json={"value": value}).status_code == 202


def fired(daemon: Daemon) -> int:
    """Return the id of the step in which it fired, once there is one."""
    found = wait_for(lambda: daemon.json("/api/alerts?state=firing")["alerts"])
    return int(found[-1]["id"])


def test_a_message_that_arrives_at_the_third_try(
    daemon: Callable[..., Daemon], http_server: Callable[..., HttpServer]
) -> None:
    """The page, the API and SQL tell the same, and the messages lead to the page, reminders too."""
    hook = Hook(fails=2)
    oculus = daemon(CONFIG % http_server(hook).url)
    push(oculus, 35.5)
    id = fired(oculus)
    row = wait_for(
        lambda: oculus.sql("select state, tries, notice, told from deliveries where state <> 'waiting'"), 30
    )[0]
    assert row[:2] == ["sent", 3]
    (one,) = oculus.json(f"/api/alerts/{id}")["deliveries"]
    assert [one[name] for name in ("state", "tries", "notice", "told")] == row
    found = told(parse(oculus.get(f"/alerts/{id}", headers=WEB).text))
    assert found["ops"].startswith("sent after 3 tries, ")
    assert found["ops"].endswith(f" 200 id {row[2]}")
    assert found["log"].startswith("sent at once")
    wait_for(lambda: len(hook.got) >= 2)
    first_message, reminder = hook.got[:2]
    assert (first_message["reason"], reminder["reason"]) == ("first", "repeat")
    for message in (first_message, reminder):
        assert message["link"] == f"https://oculus.example/mon/alerts/{id}"
        assert message["series_link"] == "https://oculus.example/mon/series/custom.temperature"
    assert first_message["id"] == row[2]
    push(oculus, 20.0)
    end = wait_for(lambda: oculus.json("/api/alerts?state=resolved")["alerts"])[0]["id"]
    wait_for(lambda: hook.got[-1]["reason"] == "over")
    assert hook.got[-1]["link"] == f"https://oculus.example/mon/alerts/{end}"


@pytest.mark.browser
def test_one_watches_a_message_being_delivered(
    page: Page, daemon: Callable[..., Daemon], http_server: Callable[..., HttpServer]
) -> None:
    """Without a reload: it waits, it is sent, the alert ends, and then nothing is asked for any more."""
    hook = Hook()
    hook.down = True
    oculus = daemon(CONFIG % http_server(hook).url)
    push(oculus, 35.5)
    page.resize(390, 844, mobile=True)
    page.goto(f"{oculus.url}/alerts/{fired(oculus)}")
    page.evaluate("window.mark = 1")
    row = "document.querySelector('[data-channel=ops]')"
    page.wait(f"{row}?.classList.contains('waiting') && {row}.innerText.includes('503: busy')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    hook.down = False
    page.wait(f"{row}?.classList.contains('sent')", 30)
    assert "tries" in page.evaluate(f"{row}.innerText") or "first try" in page.evaluate(f"{row}.innerText")
    assert "still firing" in page.text("#live")
    assert faults(page) == []
    push(oculus, 20.0)
    page.wait("document.getElementById('alert-ended')?.innerText === 'resolved'")
    page.wait("document.querySelector('[data-settled]') !== null")
    assert page.evaluate("getComputedStyle(document.querySelector('.beat')).visibility") == "hidden"
    assert page.evaluate("window.mark") == 1
    asked = len(page.requests)
    page.resize(1440, 900)
    boxes: Any = page.evaluate(
        "[...document.querySelectorAll('.split > div')].map((box) => box.getBoundingClientRect().top)"
    )
    assert boxes[0] == boxes[1]  # side by side
    page.evaluate("new Promise((done) => setTimeout(done, 4500))")  # two of its intervals
    assert len(page.requests) == asked
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []
