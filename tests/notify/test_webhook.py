"""The webhook channel against a receiver over real sockets: bodies, signatures, refusals, and no secrets."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest

from oculus.notify.webhook import Webhook
from tests.notify.made import firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins.messages import Request
from tests.standins.webhook import Webhook as Receiver
from tests.support.log import logged

KEY = "sUpErSeCrEt-0123456789"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    running = Receiver()
    yield running
    running.stop()


def channel(receiver: Receiver, text: str = "", path: str = "/hook") -> Webhook:
    """Return a channel that sends to the receiver, with further settings."""
    made = read(Webhook, f'url: "{receiver.url}{path}"\n{text}')
    assert isinstance(made, Webhook)
    return made


def sent(receiver: Receiver) -> Request:
    """Return the one request that came."""
    (request,) = receiver.requests
    return request


def test_the_body_is_oculus_own_json(receiver: Receiver) -> None:
    """With the notice's id as the key by which a receiver tells a repetition."""
    assert channel(receiver).deliver(notice()) == "204"
    request = sent(receiver)
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "0f1e2d3c4b5a69788796"
    assert "x-signature" not in request.headers
    assert request.json()["alerts"][0]["message"] == "BTC crossed $100k"


def test_a_repetition_is_known(receiver: Receiver) -> None:
    """A second try of a notice has the same key and body; another notice has another key."""
    made = channel(receiver)
    made.deliver(notice())
    made.deliver(notice())
    made.deliver(notice(id="another"))
    assert len(receiver.requests) == 3
    assert list(receiver.taken) == ["0f1e2d3c4b5a69788796", "another"]


def test_the_raw_body_is_signed(receiver: Receiver) -> None:
    """The receiver checks the signature over the bytes that came, here with signs beyond ASCII."""
    receiver.secret = KEY
    channel(receiver, f"secret: {KEY}").deliver(notice(firing(message="größer als 5 €")))
    request = sent(receiver)
    assert "größer als 5 €" in request.body.decode()
    digest = hmac.new(KEY.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-signature"] == f"sha256={digest}"
    error = refusal(channel(receiver, "secret: another-key"), notice(), "another-key")
    assert error.permanent
    assert str(error).startswith("403: ")


@pytest.mark.parametrize("step", [firing, resolved])
def test_the_preset_of_alertmanager(receiver: Receiver, step: Any) -> None:
    """`format: alertmanager` sends what its receivers know, under the name that they are told."""
    channel(receiver, "format: alertmanager\nreceiver: team").deliver(notice(step()))
    body = sent(receiver).json()
    assert (body["version"], body["receiver"]) == ("4", "team")
    assert body["status"] == body["alerts"][0]["status"] == ("firing" if step is firing else "resolved")


def test_a_template_is_the_body(receiver: Receiver) -> None:
    """It sees the notice, its alerts, and the first of them; `tojson` makes any text safe."""
    template = """template: |
  {"content": {{ message | tojson }}, "over": {{ resolved | length }}, "host": "{{ alerts[0].labels.host }}",
   "rules": [{% for alert in firing %}{{ alert.rule | tojson }}{{ "," if not loop.last }}{% endfor %}]}
"""
    told = notice(firing("a", message='say "hi"\n', labels={"host": "h"}), firing("b"), resolved("c"))
    channel(receiver, template).deliver(told)
    request = sent(receiver)
    assert request.headers["content-type"] == "application/json"
    assert request.json() == {"content": 'say "hi"\n', "rules": ["a", "b"], "over": 1, "host": "h"}


def test_a_template_may_be_text(receiver: Receiver) -> None:
    """The type is told from the body, unless the user gives one."""
    channel(receiver, 'template: "{{ title }}"').deliver(notice())
    channel(receiver, 'template: "<a/>"\nheaders: {content-type: text/xml}').deliver(notice(id="b"))
    first, second = receiver.requests
    assert (first.headers["content-type"], first.body) == (
        "text/plain; charset=utf-8", b"[critical] btc_price (crypto.price.btc_usd)",
    )  # fmt: skip
    assert second.headers["content-type"] == "text/xml"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ title", "expected 'end of print statement'. (in line 1 of the template)"),
        ("a\n\n{% if %}", "(in line 3 of the template)"),
        ("{\n{{ titel }}", 'unknown name "titel" in line 2 of the template (did you mean "title"?)'),
        ("{{ alerts | nosuch }}", "No filter named 'nosuch'. (in line 1 of the template)"),
    ],
)  # fmt: skip
def test_a_wrong_template_is_told_at_load(template: str, told: str) -> None:
    """With its line; nothing is started with a body that could never be sent."""
    text = f"url: http://h/\ntemplate: {json.dumps(template)}"
    (mistake,) = mistakes_in(Webhook, text)
    assert mistake.startswith("c.yaml:2: notifications.ops.template: ")
    assert told in mistake


def test_names_of_a_templates_own_are_no_mistake(receiver: Receiver) -> None:
    """Loops, variables and built-in functions are the template's."""
    text = "{% set n = 1 %}{% for a in alerts %}{% for i in range(2) %}{{ n + i }}{% endfor %}{% endfor %}"
    channel(receiver, f"template: {json.dumps(text)}").deliver(notice())
    assert sent(receiver).body == b"12"


@pytest.mark.parametrize(
    "template",
    ["{{ alerts[0].nosuch.deeper }}", "{{ 1 / 0 }}", "{{ title.__class__.__mro__[1].__subclasses__() }}"],
)
def test_a_template_that_fails_is_told_and_not_tried_again(receiver: Receiver, template: str) -> None:
    """The error goes to the record, and the alert to the fallback; nothing is sent, nothing is let out."""
    error = refusal(channel(receiver, f"template: {json.dumps(template)}"), notice())
    assert error.permanent
    assert str(error).startswith("the template failed: ")
    assert receiver.requests == []


def test_a_template_makes_no_more_than_can_be_sent(receiver: Receiver) -> None:
    """A loop that went wrong ends with the body's limit."""
    text = "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}"
    channel(receiver, f'template: "{text}"').deliver(notice())
    assert len(sent(receiver).body) == 1_000_000


def test_headers_and_methods_are_the_users(receiver: Receiver) -> None:
    """What the user gives goes before what is sent anyway."""
    receiver.token = "Token abc"
    channel(receiver, "method: PUT\nheaders: {Authorization: Token abc, User-Agent: me, X-Y: z}").deliver(
        notice()
    )
    request = sent(receiver)
    assert request.method == "PUT"
    assert (request.headers["user-agent"], request.headers["x-y"]) == ("me", "z")


@pytest.mark.parametrize(
    ("text", "header"),
    [("bearer: tok", "Bearer tok"), ("auth: {user: u, password: p}", "Basic dTpw")],
)
def test_the_usual_ways_to_say_who_one_is(receiver: Receiver, text: str, header: str) -> None:
    """A token, or user and password."""
    receiver.token = header
    assert channel(receiver, text).deliver(notice()) == "204"


@pytest.mark.parametrize(
    ("fault", "permanent", "wait", "told"),
    [
        (faults.rate_limited(30), False, 30.0, "429: "),
        (faults.error(503), False, None, "503: "),
        (faults.error(404), True, None, "404: "),
        (faults.error(410), True, None, "410: "),
        (faults.reset(), False, None, "connection reset"),
        (faults.down(), False, None, "connection refused"),
        (faults.redirect(), True, None, "302: redirected to http://127.0.0.2:"),
    ],
    ids=lambda each: getattr(each, "kind", ""),
)
def test_what_a_failure_means(
    receiver: Receiver, fault: faults.Fault, permanent: bool, wait: float | None, told: str
) -> None:
    """Refusals end the matter; limits and outages do not. No redirect is followed."""
    made = channel(receiver, f"secret: {KEY}\nheaders: {{X-Token: {KEY}}}", f"/hooks/{KEY}?key={KEY}")
    receiver.fault = fault
    with logged(level="debug") as log:
        error = refusal(made, notice(), KEY)
    assert (error.permanent, error.retry_after) == (permanent, wait)
    assert told.lower() in str(error).lower()
    assert KEY not in log.text


def test_an_answer_that_repeats_a_secret_shows_none(receiver: Receiver) -> None:
    """A page that says what was asked for would bring the URL's key into the log."""

    class Parrot(Receiver):
        def answer(self, request: Request) -> Any:
            from tests.standins.messages import Answer

            told = f"no {request.target} for {request.headers['authorization']} {request.headers['x-token']}"
            return Answer(told, 404, type="text/plain")

    parrot = Parrot()
    try:
        text = f"bearer: {KEY}1\nheaders: {{X-Token: {KEY}2}}"
        error = refusal(channel(parrot, text, f"/hooks/{KEY}?a=b&key={KEY}3"), notice(), KEY)
    finally:
        parrot.stop()
    assert error.permanent
    assert str(error).startswith("404: no /***")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "notifications.ops.url: is missing (where it is sent)"),
        ("url: nowhere", "is not a URL"),
        ("url: 'http://u:pass@h/'", "the URL holds a user name or password (give them as auth:"),
        ("url: http://h/\nmethod: GET", "(one of: POST, PUT, PATCH)"),
        ("url: http://h/\nheaders: {X-Signature: a}", "is a header that the request sets itself"),
        ("url: http://h/\nheaders: {Authorization: a}\nbearer: b", "has more than one of auth, bearer and"),
        ("url: http://h/\ntemplate: a\nformat: alertmanager", "has template and format"),
        ("url: http://h/\ntemplat: a", "unknown key (did you mean \"template\"?)"),
    ],
)  # fmt: skip
def test_mistakes_are_told_at_load(text: str, told: str) -> None:
    """Each with what would be right, and without a secret."""
    (mistake,) = mistakes_in(Webhook, text)
    assert told in mistake
    assert "pass@" not in mistake
