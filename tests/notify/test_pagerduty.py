"""The PagerDuty channel against a stand-in of its events: incidents that open and close with their alerts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from oculus.notify.base import Undelivered
from oculus.notify.pagerduty import PagerDuty
from tests.notify.made import LINK, SERIES, after, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins.pagerduty import KEY
from tests.standins.pagerduty import PagerDuty as Service
from tests.standins.text import payload
from tests.support.log import logged


@pytest.fixture
def service() -> Iterator[Service]:
    """The service, with nothing open."""
    running = Service()
    yield running
    running.stop()


def channel(service: Service, text: str = "") -> PagerDuty:
    """Return a channel of the integration, with further settings."""
    made = read(PagerDuty, f"base_url: {service.url}\nrouting_key: {KEY}\n{text}")
    assert isinstance(made, PagerDuty)
    return made


def test_an_alert_is_an_incident(service: Service) -> None:
    """The event is the documented one, but for the details."""
    step = firing("btc_price_alert", ts=after(0))
    link = "http://oculus.example.test/alerts/7"
    assert channel(service, "source: oculus").deliver(notice(step, link=link)) == "1 triggered"
    (event,) = service.events
    assert event.pop("links") == [
        {"href": link, "text": "Open in Oculus"},
        {"href": SERIES, "text": "crypto.price.btc_usd"},
    ]
    expected = payload("pagerduty-trigger-request.json")
    assert event["payload"].pop("custom_details") == {
        "value": 100_012.5, "explanation": "crypto.price.btc_usd (100012.5) > 100000", "began": "12:00 UTC",
    }  # fmt: skip
    del expected["payload"]["custom_details"]
    expected["payload"] |= {
        "source": "oculus",
        "class": "btc_price_alert",
        "timestamp": "2026-08-20T12:00:00.000Z",
    }
    assert event == expected


def test_an_end_closes_its_incident_and_no_other(service: Service) -> None:
    """Each alert has its own key, which stays the same whatever else of it changes, over restarts too."""
    hosts = [firing("down", labels={"host": host, "zone": "x"}) for host in "abc"]
    assert channel(service).deliver(notice(*hosts)) == "3 triggered"
    assert len(service.open) == 3
    ended = resolved("down", labels={"zone": "x", "host": "b"}, severity="warn", symbol=None, value=1.0)
    assert channel(service).deliver(notice(hosts[0], ended, hosts[2])) == "2 triggered, 1 resolved"
    assert len(service.open) == 2
    assert service.events[-1].keys() == payload("pagerduty-resolve-request.json").keys()
    channel(service).deliver(notice(*(resolved("down", labels=host.labels) for host in hosts)))
    assert service.open == {}


def test_a_repetition_opens_no_second_incident(service: Service) -> None:
    """A second try and a reminder are events of the incident that is open."""
    channel(service).deliver(notice())
    channel(service).deliver(notice())
    channel(service).deliver(notice(id="reminder", reason="repeat"))
    assert (len(service.events), len(service.open)) == (3, 1)


def test_two_of_them_may_share_an_integration(service: Service) -> None:
    """Their sources tell their alerts apart; without one the host's name is shown, but is not in the key."""
    first, second = channel(service, "source: one"), channel(service, "source: two")
    first.deliver(notice())
    second.deliver(notice())
    second.deliver(notice(resolved()))
    ((key, event),) = service.open.items()
    assert (key, event["payload"]["source"]) == ("one/btc_price", "one")
    channel(service).deliver(notice())
    assert service.open["oculus/btc_price"]["payload"]["source"] == socket.gethostname()


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [("info", "info"), ("warn", "warning"), ("error", "error"), ("critical", "critical")],
)
def test_severities_are_theirs(service: Service, severity: str, theirs: str) -> None:
    """The service knows four words."""
    channel(service).deliver(notice(firing(severity=severity)))
    assert service.events[0]["payload"]["severity"] == theirs


def test_what_is_long_is_cut(service: Service) -> None:
    """Names, messages and explanations of any length make an event that is taken, and closed again."""
    long = {"message": "é" * 5_000, "explanation": "x" * 900_000, "labels": {"a": "y" * 1_000}}
    made = channel(service)
    made.deliver(notice(firing("r" * 1_000, **long), text="t" * 900_000))
    event = service.events[0]
    assert len(event["payload"]["summary"]) == 1_024
    assert len(event["dedup_key"]) <= 255
    made.deliver(notice(resolved("r" * 1_000, **long), id="b"))
    assert service.open == {}


def test_an_alert_without_much(service: Service) -> None:
    """Neither symbol, nor value, nor message, nor link: it is an incident all the same."""
    bare = firing(symbol=None, value=None, message="", explanation="")
    channel(service).deliver(notice(bare, link="", sent_at=after(90)))
    (event,) = service.events
    assert event["payload"]["summary"] == "btc_price"
    assert event.keys().isdisjoint({"links", "client_url"})
    assert event["payload"]["custom_details"] == {
        "began": "12:00 UTC", "for": "1 h 30 min", "late": "Sent 1 h 28 min late; it began at 12:00 UTC.",
    }  # fmt: skip


class Grudging(Service):
    """Takes so many events and then no more, until it is asked again."""

    left = 2

    def answer(self, request: Any) -> Any:
        if self.left == 0:
            self.left = 2
            return self.limited(request, None)
        self.left -= 1
        return super().answer(request)


def test_a_refusal_in_the_middle_does_not_begin_anew() -> None:
    """Each try goes on where the last one was cut off: else many alerts would never all be taken."""
    service = Grudging()
    try:
        made = channel(service)
        told = notice(*(firing("down", labels={"host": str(number)}) for number in range(5)))
        for _ in range(2):
            with pytest.raises(Undelivered) as caught:
                made.deliver(told)
            assert not caught.value.permanent
        assert made.deliver(told) == "5 triggered"
        assert (len(service.events), len(service.open)) == (5, 5)
    finally:
        service.stop()


def test_a_limit_of_time_in_the_middle_does_not_begin_anew(service: Service) -> None:
    """What was taken before whoever sends lost patience is not sent again."""
    made = channel(service)
    told = notice(firing("a"), firing("b"))
    service.fault = faults.hang(only="oculus/b")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        made.deliver(told)
    service.fault = None
    assert made.deliver(told) == "2 triggered"
    assert [event["dedup_key"] for event in service.events] == ["oculus/a", "oculus/b"]


def test_a_wrong_key_is_told_and_not_tried_again(service: Service) -> None:
    """With what the service says and what to do."""
    wrong = "X" * 32
    made = read(PagerDuty, f"base_url: {service.url}\nrouting_key: {wrong}")
    error = refusal(made, notice(), wrong)
    assert error.permanent
    assert str(error) == (
        "400: Event object is invalid: 'routing_key' is invalid"
        " (check routing_key: that of an Events API v2 integration)"
    )


@pytest.mark.parametrize(
    ("fault", "permanent", "told"),
    [
        (faults.rate_limited(), False, "429: Requests for this service are arriving too quickly"),
        (faults.error(500), False, "500: "),
        (faults.html(), False, "200, but what came is not PagerDuty's answer: "),
        (faults.reset(), False, "connection reset"),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_what_a_failure_means(service: Service, fault: faults.Fault, permanent: bool, told: str) -> None:
    """A page of another server, with a status of success, is no delivery."""
    made = channel(service)
    service.fault = fault
    with logged(level="debug") as log:
        error = refusal(made, notice(), KEY)
    assert error.permanent is permanent
    assert str(error).lower().startswith(told.lower())
    assert KEY not in log.text


def test_the_link_leads_to_the_alert(service: Service) -> None:
    """And the client's to Oculus itself."""
    channel(service).deliver(notice(firing("a"), firing("b", symbol="net.http.b.up")))
    first, second = ([link["href"] for link in event["links"]] for event in service.events)
    assert first == [LINK, SERIES]
    assert second == ["https://oculus.example/rules/b"]  # the notice's links are about the first
    assert service.events[0]["client_url"] == "https://oculus.example"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "notifications.ops.routing_key: is missing"),
        ("routing_key: short", "is no routing key (the 32 letters and digits of an Events API v2"),
    ],
)
def test_mistakes_are_told_at_load(text: str, told: str) -> None:
    """Each with what would be right."""
    (mistake,) = mistakes_in(PagerDuty, text)
    assert told in mistake
    assert "short" not in mistake
