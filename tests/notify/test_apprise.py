"""The apprise channel: with the real package, to stand-ins of services, and without it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from oculus.notify.apprise import INSTALL, Apprise
from tests.notify.made import LINK, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins.base import Answer, Request, StandIn
from tests.support.log import logged

# What the package itself does wrong is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SECRET = "sUpErSeCrEt-0123456789"


class Json(StandIn):
    """What apprise's `json://` sends to; it refuses what comes to /no."""

    def answer(self, request: Request) -> Answer:
        return Answer({}, 400 if request.path.startswith("/no") else 200)


@pytest.fixture
def service() -> Iterator[Json]:
    """A server that takes everything, but at /no."""
    running = Json()
    yield running
    running.stop()


@pytest.fixture
def package() -> None:
    """The package itself; without it there is nothing to test here."""
    pytest.importorskip("apprise", reason=f"an optional extra: {INSTALL}")


def url(service: Json, path: str = "/yes") -> str:
    """Return the address that apprise sends to."""
    return f"json://user:{SECRET}@127.0.0.1:{service.port}{path}"


@pytest.mark.usefixtures("package")
def test_a_notice_is_a_message(service: Json) -> None:
    """Title, text with the link, and the kind of message."""
    made = read(Apprise, f"url: {url(service)}")
    assert made.deliver(notice(firing("btc", symbol=None))) == "taken"
    made.deliver(notice(resolved("btc", symbol=None), id="b", link=""))
    first, second = (request.json() for request in service.requests)
    assert first["title"] == "[critical] btc"
    assert first["message"] == (
        f"BTC crossed $100k (for 2 min)\ncrypto.price.btc_usd (100012.5) > 100000\n{LINK}"
    )
    assert (first["type"], second["type"]) == ("failure", "success")
    assert second["message"] == "BTC crossed $100k (lasted 14 min)"


@pytest.mark.usefixtures("package")
def test_who_has_taken_it_is_not_sent_it_again(service: Json) -> None:
    """Of several services one may fail: only that is tried again."""
    made = read(Apprise, f"urls: ['{url(service)}', '{url(service, '/no')}']")
    for _ in range(2):
        error = refusal(made, notice(), SECRET)
        assert not error.permanent
        assert str(error).startswith("JSON: ")
    assert [request.path for request in service.requests] == ["/yes", "/no", "/no"]
    assert read(Apprise, f"urls: ['{url(service)}', '{url(service)}']").deliver(notice()) == "2 taken"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    "fault", [faults.reset(), faults.down(), faults.error(503)], ids=lambda each: each.kind
)
def test_no_failure_names_a_secret(
    service: Json, fault: faults.Fault, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the error, and nothing of what the package logs comes out anywhere."""
    made = read(Apprise, f"url: '{url(service)}?+X-Token={SECRET}'")
    service.fault = fault
    caplog.set_level(logging.INFO)
    with logged(level="debug") as log:
        error = refusal(made, notice(), SECRET)
    assert not error.permanent
    assert SECRET not in log.text + caplog.text + "".join(capfd.readouterr())


@pytest.mark.usefixtures("package")
def test_a_service_that_hangs_holds_nobody_up(service: Json) -> None:
    """Other greenlets run meanwhile, and whoever sends can end it."""
    made = read(Apprise, f"url: {url(service)}")
    service.fault = faults.hang()
    turns = []

    def turn() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.01)

    greenlet = gevent.spawn(turn)
    try:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.4):
            made.deliver(notice())
    finally:
        greenlet.kill()
        service.fault = None
    assert len(turns) > 10


@pytest.mark.usefixtures("package")
def test_a_message_fits_its_service(monkeypatch: pytest.MonkeyPatch, service: Json) -> None:
    """Each service says how much it takes, the title included where it has none."""
    made = read(Apprise, f"url: {url(service)}")
    made.deliver(notice())
    assert isinstance(made, Apprise)
    assert made._services is not None
    plugin: Any = made._services[0]
    monkeypatch.setattr(type(plugin), "body_maxlen", 160)
    monkeypatch.setattr(type(plugin), "title_maxlen", 0)
    made.deliver(notice(*(firing(f"r{number}") for number in range(30)), id="b"))
    message = service.requests[-1].json()["message"]
    assert 100 < len(message) <= 160
    assert message.startswith("[critical] several rules: 30 alerts")
    assert "… +" in message


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "needs one of url and urls"),
        ("url: json://h\nurls: [json://h]", "needs one of url and urls"),
        (f"url: {SECRET}", "is no URL of apprise (such as pover://USER@TOKEN)"),
        (f"urls: [json://h, 'nosuch://{SECRET}']", "is no URL that apprise knows, nosuch://"),
        (f"url: 'pover://{SECRET}'", "is no URL that apprise knows, pover://"),
    ],
)
def test_mistakes_are_told_at_load(text: str, told: str) -> None:
    """A service that apprise does not know, or a URL in which something is missing; no key is shown."""
    (mistake,) = mistakes_in(Apprise, text)
    assert told in mistake
    assert SECRET not in mistake


def test_without_the_package_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """At load, and nothing else needs it."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    (mistake,) = mistakes_in(Apprise, f"url: 'json://{SECRET}'")
    assert mistake == (
        "c.yaml:1: notifications.ops.url: needs the package apprise, which is not installed"
        " (pip install 'apprise>=2.2' for the Python that runs Oculus)"
    )
