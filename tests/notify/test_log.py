"""The log channel: the line of each transition, as text and as JSON."""

from __future__ import annotations

import pytest

from oculus.model import AlertState, Micros, Severity, Transition
from oculus.notify.log import send
from tests.support.log import logged

STARTED = Micros(1_767_323_045_006_000)


def transition(
    state: AlertState = "firing",
    severity: Severity = "warn",
    message: str = "slow: 1534 ms",
    **fields: object,
) -> Transition:
    """Return a step of an alert."""
    return Transition(
        ts=Micros(STARTED + 1), rule="slow", state=state, previous="pending", severity=severity,
        message=message, started_at=STARTED,
        **{"symbol": "net.http.site.rtt", "value": 1534.25} | fields,  # type: ignore[arg-type]
    )  # fmt: skip


def test_an_alert_is_one_line_of_text_with_its_fields() -> None:
    """People see state and message first, then the fields."""
    with logged() as log:
        send(transition())
    (line,) = log.lines
    assert line[24:] == (
        " WARNING  alert firing: slow: 1534 ms alert=slow state=firing severity=warn symbol=net.http.site.rtt"
        " value=1534.25 started_at=2026-01-02T03:04:05.006Z"
    )


def test_an_alert_is_one_json_object_with_its_fields() -> None:
    """Programs find every fact under its name, numbers as numbers."""
    with logged(format="json") as log:
        send(transition())
    (record,) = log.records
    del record["time"]
    assert record == {
        "level": "warning", "message": "alert firing: slow: 1534 ms", "alert": "slow", "state": "firing",
        "severity": "warn", "symbol": "net.http.site.rtt", "value": 1534.25,
        "started_at": "2026-01-02T03:04:05.006Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "level"),
    [("info", "info"), ("warn", "warning"), ("error", "error"), ("critical", "critical")],
)
def test_a_firing_alert_is_as_loud_as_its_severity(severity: Severity, level: str) -> None:
    """Filters by level catch what is bad."""
    with logged(format="json") as log:
        send(transition(severity=severity))
    assert [record["level"] for record in log.records] == [level]


@pytest.mark.parametrize("state", ["pending", "inactive", "resolved"])
def test_every_other_step_is_information(state: AlertState) -> None:
    """Good news and mere suspicion wake nobody."""
    with logged(format="json") as log:
        send(transition(state=state, severity="critical"))
    (record,) = log.records
    assert (record["level"], record["state"], record["severity"]) == ("info", state, "critical")


def test_what_an_alert_does_not_have_is_left_out() -> None:
    """A condition without symbols has no value to tell."""
    with logged(format="json") as log:
        send(transition(symbol=None, value=None))
    assert {"symbol", "value"}.isdisjoint(log.records[0])


def test_a_value_of_zero_is_told() -> None:
    """Zero is a value."""
    with logged(format="json") as log:
        send(transition(value=0.0))
    assert log.records[0]["value"] == 0.0


@pytest.mark.parametrize("message", ["a\nb", "{value} {} {0}", "<red>x</red>", "a\r\x1b[31m"])
def test_a_message_is_text_and_nothing_else(message: str) -> None:
    """Braces, markup and line breaks of a user's message mean nothing to the log."""
    with logged(format="json") as log:
        send(transition(message=message))
    assert log.records[0]["message"] == f"alert firing: {message}"
    with logged() as log:
        send(transition(message=message))
    assert len(log.lines) == 1
