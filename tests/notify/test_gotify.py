"""The Gotify channel against a stand-in of its server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oculus.notify.gotify import Gotify
from tests.notify.made import LINK, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins.gotify import TOKEN
from tests.standins.gotify import Gotify as Service
from tests.standins.text import payload
from tests.support.log import logged


@pytest.fixture
def service() -> Iterator[Service]:
    """A server with one application."""
    running = Service()
    yield running
    running.stop()


def channel(service: Service, text: str = "", path: str = "") -> Gotify:
    """Return a channel of the application, with further settings."""
    made = read(Gotify, f"url: {service.url}{path}\ntoken: {TOKEN}\n{text}")
    assert isinstance(made, Gotify)
    return made


@pytest.mark.parametrize("path", ["", "/", "/push", "/push/"])
def test_a_notice_is_a_message(service: Service, path: str) -> None:
    """The request has the documented fields; the server may be below a path; the token is in a header."""
    assert channel(service, path=path).deliver(notice(firing("btc", symbol=None))) == "message 1"
    assert service.taken == [{
        "title": "[critical] btc", "priority": 8,
        "message": "BTC crossed $100k (for 2 min)\ncrypto.price.btc_usd (100012.5) > 100000",
        "extras": {
            "client::display": {"contentType": "text/plain"},
            "client::notification": {"click": {"url": LINK}},
        },
    }]  # fmt: skip
    assert service.taken[0].keys() == payload("gotify-message-request.json").keys()
    assert TOKEN not in service.requests[0].target


@pytest.mark.parametrize(("severity", "priority"), [("info", 2), ("warn", 5), ("error", 7), ("critical", 8)])
def test_what_is_worse_is_louder(service: Service, severity: str, priority: int) -> None:
    """What is over makes no noise; each level may be given another priority."""
    channel(service).deliver(notice(firing(severity=severity)))
    channel(service).deliver(notice(resolved(severity=severity)))
    channel(service, f"priority: {{{severity}: 10}}").deliver(notice(firing(severity=severity)))
    assert [each["priority"] for each in service.taken] == [priority, 2, 10]


def test_without_a_link_nothing_can_be_tapped(service: Service) -> None:
    """And an alert without any text is still one: the server refuses an empty message."""
    channel(service).deliver(notice(text=" \n", link=""))
    assert service.taken[0]["message"].startswith("[critical] btc_price")
    assert service.taken[0]["extras"].keys() == {"client::display"}


def test_a_wrong_token_is_told_and_not_tried_again(service: Service) -> None:
    """With what the server says and what to do."""
    made = read(Gotify, f"url: {service.url}\ntoken: Awrong-token-0")
    error = refusal(made, notice(), "Awrong-token-0")
    assert error.permanent
    assert str(error) == (
        "401: you need to provide a valid access token or user credentials to access this api"
        " (check token: that of an application, which begins with A)"
    )


@pytest.mark.parametrize(
    ("fault", "permanent", "told"),
    [
        (faults.rate_limited(7), False, "429: Too many requests"),
        (faults.error(502), False, "502: "),
        (faults.error(404), True, "404: there is no Gotify server (check url)"),
        (faults.html(), False, "200, but what came is not Gotify's answer: "),
        (faults.down(), False, "connection refused"),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_what_a_failure_means(service: Service, fault: faults.Fault, permanent: bool, told: str) -> None:
    """A page of another server, with a status of success, is no delivery."""
    made = channel(service)
    service.fault = fault
    with logged(level="debug") as log:
        error = refusal(made, notice(), TOKEN)
    assert error.permanent is permanent
    assert str(error).lower().startswith(told.lower())
    assert TOKEN not in log.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("token: A1", "notifications.ops.url: is missing"),
        ("url: http://h", "notifications.ops.token: is missing"),
        ("url: http://h\ntoken: ''", "is empty (the token of an application)"),
        ("url: http://h/message\ntoken: A1", "names more than a server"),
        ("url: http://h/?token=A1\ntoken: A1", "names more than a server"),
        ("url: http://h\ntoken: A1\npriority: {warn: 11}", "warn: 11 is out of range (0 to 10)"),
    ],
)
def test_mistakes_are_told_at_load(text: str, told: str) -> None:
    """Each with what would be right."""
    (mistake,) = mistakes_in(Gotify, text)
    assert told in mistake
