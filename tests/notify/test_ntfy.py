"""The ntfy channel against a stand-in of its server: how loud, how long, refusals, and no secrets."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from oculus.notify.ntfy import Ntfy
from tests.notify.made import LINK, after, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins.ntfy import LONGEST
from tests.standins.ntfy import Ntfy as Service
from tests.standins.text import payload
from tests.support.log import logged

TOPIC, TOKEN = "oculus-8fKq2Zr", "tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2"


@pytest.fixture
def service() -> Iterator[Service]:
    """A server that takes everything."""
    running = Service()
    yield running
    running.stop()


def channel(service: Service, text: str = "") -> Ntfy:
    """Return a channel that publishes to the topic, with further settings."""
    made = read(Ntfy, f"base_url: {service.url}\ntopic: {TOPIC}\n{text}")
    assert isinstance(made, Ntfy)
    return made


def test_a_notice_is_a_message(service: Service) -> None:
    """The request has the documented fields, at the server's root: the topic stands in no path."""
    assert channel(service).deliver(notice(firing("btc", symbol=None))).startswith("message msg")
    (request,) = service.requests
    assert (request.method, request.target) == ("POST", "/")
    assert request.json() == {
        "topic": TOPIC, "title": "[critical] btc", "priority": 5, "tags": ["rotating_light"], "click": LINK,
        "message": "BTC crossed $100k (for 2 min)\ncrypto.price.btc_usd (100012.5) > 100000",
        "sequence_id": "0f1e2d3c4b5a69788796",
    }  # fmt: skip
    assert payload("ntfy-publish-request.json").keys() <= request.json().keys()


def test_a_second_try_is_no_second_notification(service: Service) -> None:
    """The server knows it by its sequence, and the app shows it once."""
    made = channel(service)
    made.deliver(notice())
    made.deliver(notice(sent_at=after(16)))
    assert len(service.requests) == 2
    ((_, shown),) = service.shown.items()
    assert "Sent 14 min late; it began at 12:00 UTC." in shown["message"]


@pytest.mark.parametrize(("severity", "priority"), [("info", 2), ("warn", 3), ("error", 4), ("critical", 5)])
def test_what_is_worse_is_louder(service: Service, severity: str, priority: int) -> None:
    """There are five priorities; what is over makes no noise, however bad it was."""
    channel(service).deliver(notice(firing(severity=severity)))
    channel(service).deliver(notice(resolved(severity=severity), id="b"))
    assert [each.json()["priority"] for each in service.requests] == [priority, 2]
    assert service.requests[1].json()["tags"] == ["white_check_mark"]


def test_priorities_are_the_users(service: Service) -> None:
    """Each level may be given another; the others stay."""
    made = channel(service, "priority: {critical: 4, resolved: 3}")
    made.deliver(notice())
    made.deliver(notice(resolved()))
    made.deliver(notice(firing(severity="warn")))
    assert [each.json()["priority"] for each in service.requests] == [4, 3, 3]


@pytest.mark.parametrize("sign", ["x", "é", "🚨", '"', "\n", "\\"])
def test_no_message_is_made_a_file(service: Service, sign: str) -> None:
    """Beyond 4,096 bytes the server would make one, and refuse a JSON of twice that."""
    for told in (
        notice(firing(message=sign * 9_000 + "end")),
        notice(*(firing(f"r{number}", message=f"a{sign * 40}") for number in range(300))),
        notice(text=sign * 9_000 + "end"),
    ):
        channel(service).deliver(told)
    assert service.files == []
    (shown,) = service.shown.values()  # the last of them: all have the same sequence
    sizes = [len(request.json()["message"].encode()) for request in service.requests]
    assert max(sizes) <= LONGEST
    assert len(shown["message"]) == 3 if sign == "\n" else min(sizes) > 2_000


@pytest.mark.parametrize("text", [f"token: {TOKEN}", f"auth: {{user: me, password: {TOKEN}}}"])
def test_a_token_or_a_user(service: Service, text: str) -> None:
    """Either lets one write to a topic that is protected."""
    service.token, service.user = TOKEN, f"me:{TOKEN}"
    assert channel(service, text).deliver(notice())
    error = refusal(channel(service), notice(), TOPIC, TOKEN)
    assert error.permanent
    assert str(error) == "403: forbidden (check token or auth, and that it may write to the topic)"
    error = refusal(channel(service, "token: wrong-one"), notice(), TOPIC, "wrong-one")
    assert str(error).startswith("401: unauthorized (check token")


@pytest.mark.parametrize(
    ("fault", "permanent", "told"),
    [
        (faults.rate_limited(), False, "429: limit reached: too many requests"),
        (faults.error(500), False, "500: "),
        (faults.error(404), True, "404: there is no ntfy server (check url)"),
        (faults.html(), False, "200, but what came is not ntfy's answer: "),
        (faults.malformed(), False, "200, but what came is not ntfy's answer: "),
        (faults.reset(), False, "connection reset"),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_what_a_failure_means(service: Service, fault: faults.Fault, permanent: bool, told: str) -> None:
    """A page of another server, with a status of success, is no delivery."""
    made = channel(service, f"token: {TOKEN}")
    service.token, service.fault = TOKEN, fault
    with logged(level="debug") as log:
        error = refusal(made, notice(), TOPIC, TOKEN)
    assert error.permanent is permanent
    assert str(error).lower().startswith(told.lower())
    assert TOPIC not in log.text
    assert TOKEN not in log.text


def test_an_outer_limit_ends_a_try(service: Service) -> None:
    """Whoever sends has a time limit, which passes through."""
    made = channel(service)
    service.fault = faults.hang()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.2):
        made.deliver(notice())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "notifications.ops.topic: is missing"),
        ("topic: a/b", "cannot be a topic (letters, digits, _ and -, at most 64)"),
        ("topic: a\nurl: https://ntfy.sh/a", "names more than a server (such as https://ntfy.sh;"),
        ("topic: a\ntoken: 'a b'", "the token holds a space"),
        ("topic: a\ntoken: a\nauth: {user: b}", "has token and auth (keep one of them)"),
        ("topic: a\npriority: {warning: 3}", 'unknown level "warning" (did you mean "warn"?)'),
        ("topic: a\npriority: {warn: 6}", "warn: 6 is out of range (1 to 5)"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_load(text: str, told: str) -> None:
    """Each with what would be right."""
    (mistake,) = mistakes_in(Ntfy, text)
    assert told in mistake
