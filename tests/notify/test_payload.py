"""A notice as plain text and as JSON: what is told, within limits, and in the forms that receivers know."""

from __future__ import annotations

import json
import math

import pytest

from oculus.model import Operand
from oculus.notify import payload
from oculus.notify.notice import Notice
from oculus.notify.plain import LONGEST, clock, home, one_line, page, text_of
from tests.notify.made import LINK, MINUTE, NOON, SERIES, after, firing, notice, resolved
from tests.standins.text import payload as documented

# -- text -------------------------------------------------------------------------------------------------


def test_one_alert_is_its_message_and_why() -> None:
    """How long it has been so, and the condition with its values."""
    assert text_of(notice()) == "BTC crossed $100k (for 2 min)\ncrypto.price.btc_usd (100012.5) > 100000"


def test_an_end_tells_how_long_it_lasted() -> None:
    """Why it had fired is no longer of interest."""
    assert text_of(notice(resolved())) == "BTC crossed $100k (lasted 14 min)"


def test_an_explanation_is_not_told_twice() -> None:
    """A rule without a message has its explanation in it."""
    assert text_of(notice(firing(message="x (2) > 1", explanation="x (2) > 1"))) == "x (2) > 1 (for 2 min)"


def test_several_alerts_are_a_line_each() -> None:
    """Each says what the title cannot say of all: rule, severity, that it is over; and why, below it."""
    told = notice(
        firing("a", message="one"), firing("b", message="two", severity="warn"),
        resolved("a", message="three"), more=4,
    )  # fmt: skip
    why = "crypto.price.btc_usd (100012.5) > 100000"
    assert text_of(told).split("\n") == [
        "[critical] a: one (for 2 min)", why, "[warn] b: two (for 2 min)", why,
        "resolved: a: three (lasted 14 min)", "… +4 more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message", "told"),
    [
        (17.5, "hot", "hot (for 2 min), 17.5"),
        (17.5, "17.5 degrees", "17.5 degrees (for 2 min)"),
        (7.0, "17.5 degrees", "17.5 degrees (for 2 min), 7"),
        (17.0, "17.5 degrees", "17.5 degrees (for 2 min), 17"),
        (None, "hot", "hot (for 2 min)"),
        (17.52, "t (17.5) > 1", "t (17.5) > 1 (for 2 min)"),  # the condition, in fewer digits
    ],
)
def test_of_many_alerts_each_has_its_value(value: float | None, message: str, told: str) -> None:
    """In place of its condition, which would double the lines; not where the message has it."""
    steps = [
        firing(symbol=f"t{number}", value=value, message=message, explanation="t (17.5) > 1")
        for number in range(6)
    ]
    assert set(text_of(notice(*steps)).split("\n")) == {told}


def test_a_late_notice_says_so() -> None:
    """The time is that of the beginning; another day is named."""
    told = notice(at=after(2), sent_at=after(16))
    assert text_of(told).endswith("\nSent 14 min late; it began at 12:00 UTC.")
    assert clock(NOON, after(24 * 60)) == "2026-08-20 12:00 UTC"


def test_what_does_not_fit_is_cut_at_a_line() -> None:
    """What is left out is counted, together with what was left out before."""
    steps = [firing(f"r{number}", message="x" * 50) for number in range(100)]
    text = text_of(notice(*steps, more=7, sent_at=after(30)), 1_000)
    assert 900 < len(text) <= 1_000
    *lines, left, late = text.split("\n")
    assert left == f"… +{107 - len(lines)} more"
    assert late.startswith("Sent 28 min late")
    assert all(line.endswith("(for 30 min), 100012.5") for line in lines)


@pytest.mark.parametrize("measure", [len, lambda text: len(json.dumps(text))], ids=["characters", "bytes"])
def test_one_line_that_is_too_long_is_cut_within(measure: object) -> None:
    """Nothing is longer than a service takes, whatever its lines are."""
    assert callable(measure)
    for told in (notice(firing(message="é" * 20_000)), notice(text='"' * 20_000), notice(text="a\n" * 9_000)):
        text = text_of(told, 500, measure)
        assert 450 < measure(text) <= 500
        assert "…" in text


def test_a_template_of_the_channel_replaces_the_text() -> None:
    """What the user wrote is told, and no more than fits."""
    assert text_of(notice(text=" mine\n")) == "mine"
    lines = text_of(notice(text="line\n" * 5_000)).split("\n")
    assert lines[-1] == f"… +{5_000 - len(lines) + 1} more lines"
    assert len("\n".join(lines)) <= LONGEST


def test_titles_are_one_line() -> None:
    """Line breaks in a rule's name or a long name harm no header."""
    assert one_line("a\n b\tc", 10) == "a b c"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"


def test_the_address_of_oculus_is_the_beginning_of_the_link() -> None:
    """It may be served below a path."""
    assert home(LINK) == "https://oculus.example"
    assert home("https://h.example/oculus/alerts/7") == "https://h.example/oculus"
    assert home("https://h.example/alerts/rules/slow%20one") == "https://h.example/alerts"
    assert home("https://h.example/oculus/rules") == "https://h.example/oculus"
    assert home("https://h.example/series?x=1") == "https://h.example"
    assert home("") == ""


def test_the_link_of_each_alert() -> None:
    """That of a notice leads to its first alert; the others have their rules' pages."""
    told = notice(firing("a"), firing("b c/d"), link="https://h.example/oculus/alerts/7")
    assert [page(step, told) for step in told.alerts] == [
        "https://h.example/oculus/alerts/7", "https://h.example/oculus/rules/b%20c%2Fd",
    ]  # fmt: skip
    assert [page(step, notice(*told.alerts, link="")) for step in told.alerts] == ["", ""]
    theirs = payload.alertmanager(told, "ops")
    assert [alert["generatorURL"] for alert in theirs["alerts"]] == [page(step, told) for step in told.alerts]


# -- Oculus's own form ------------------------------------------------------------------------------------


def test_the_own_form_has_every_fact() -> None:
    """Times are ISO 8601, durations seconds, and names those of /api/alerts."""
    told = payload.own(notice(firing(labels={"host": "a"}), resolved("b"), more=1, sent_at=after(16)))
    alert, ended = told.pop("alerts")
    assert told == {
        "id": "0f1e2d3c4b5a69788796", "reason": "first", "state": "firing", "severity": "critical",
        "title": "[critical] several rules", "link": LINK, "series_link": SERIES,
        "at": "2026-08-20T12:02:00.000Z", "sent_at": "2026-08-20T12:16:00.000Z", "late": 840.0,
        "group": {"rule": "btc_price"}, "more": 1,
        "text": "btc_price: BTC crossed $100k (for 16 min)\ncrypto.price.btc_usd (100012.5) > 100000\n"
        "resolved: b: BTC crossed $100k (lasted 14 min)\n"
        "… +1 more\nSent 14 min late; it began at 12:00 UTC.",
    }  # fmt: skip
    assert alert == {
        "ts": "2026-08-20T12:02:00.000Z", "rule": "btc_price", "state": "firing", "severity": "critical",
        "message": "BTC crossed $100k", "symbol": "crypto.price.btc_usd", "value": 100_012.5,
        "labels": {"host": "a"}, "started_at": "2026-08-20T12:00:00.000Z", "seconds": 960.0,
        "explanation": "crypto.price.btc_usd (100012.5) > 100000",
        "operands": [{"text": "crypto.price.btc_usd", "value": 100_012.5, "age": 3.0}],
    }  # fmt: skip
    assert (ended["state"], ended["seconds"]) == ("resolved", 840.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_number_that_json_cannot_write_is_null(value: float | None) -> None:
    """No receiver's parser must stumble over it."""
    told = notice(firing(value=value, operands=(Operand("x", value, value),)))
    json.dumps(payload.own(told), allow_nan=False)
    json.dumps(payload.alertmanager(told, "ops"), allow_nan=False)


# -- Alertmanager's ---------------------------------------------------------------------------------------


def theirs(told: Notice) -> dict[str, object]:
    """Return Alertmanager's form with the link's own path left out."""
    found = payload.alertmanager(told, "ops")
    for alert in found["alerts"]:
        alert["generatorURL"] = alert["generatorURL"].replace("/alerts/ab12", "/rules/btc_price_alert")
        alert["fingerprint"] = "9f8e7d6c5b4a3f21"
    return found


@pytest.mark.parametrize("state", ["firing", "resolved"])
def test_the_preset_is_alertmanagers_own_json(state: str) -> None:
    """Byte by byte what Alertmanager sends, but for the fingerprint: receivers of it need no change."""
    step = firing if state == "firing" else resolved
    told = notice(step("btc_price_alert", explanation=""), link="http://oculus.example.test/alerts/ab12")
    assert theirs(told) == documented(f"alertmanager-webhook-v4-{state}.json")


def test_the_preset_of_many_alerts() -> None:
    """What all have in common is told once more; what was left out is counted; values are texts."""
    found = payload.alertmanager(
        notice(
            firing("down", labels={"host": "a", "net.zone": "x"}, severity="warn", value=0.1),
            resolved("down", labels={"host": "b", "net.zone": "x"}, severity="warn", value=None),
            group={"severity": "warn", "rule": 'do"wn'}, reason="resolved", more=3,
        ),
        "ops",
    )  # fmt: skip
    assert (found["status"], found["truncatedAlerts"]) == ("firing", 3)
    assert found["notification_reason"] == "some alerts resolved"
    assert found["groupKey"] == '{}:{alertname="do\\"wn", severity="warning"}'
    assert found["groupLabels"] == {"alertname": 'do"wn', "severity": "warning"}
    assert found["commonLabels"] == {
        "alertname": "down", "severity": "warning", "net_zone": "x", "symbol": "crypto.price.btc_usd",
    }  # fmt: skip
    first, second = found["alerts"]
    assert first["annotations"]["value"] == "0.1"
    assert "value" not in second["annotations"]
    assert first["fingerprint"] != second["fingerprint"]
    assert all(isinstance(text, str) for text in (*first["labels"].values(), *first["annotations"].values()))


def test_an_alert_keeps_its_identity() -> None:
    """From firing to its end, whatever its symbol, value and severity are meanwhile; another one differs."""
    known = payload.identity(firing(labels={"a": "1", "b": "2"}))
    assert known == payload.identity(resolved(labels={"b": "2", "a": "1"}, severity="warn", symbol=None))
    others = [
        firing("x", labels={"a": "1", "b": "2"}),
        firing(labels={"a": "1"}),
        firing(labels={"a": "1b", "": "2"}),
    ]
    assert known not in {payload.identity(step) for step in others}


def test_a_day_is_told_in_hours() -> None:
    """The fixture's times are what they say."""
    assert text_of(notice(resolved(ts=after(26 * 60)))) == "BTC crossed $100k (lasted 1 d 2 h)"
    assert after(1) - NOON == MINUTE
