"""Who may ask: tokens, names of hosts, origins, and the rate of requests."""

from __future__ import annotations

import pytest

from oculus.web import auth
from oculus.web.auth import (
    BURST,
    RATE,
    HostCheck,
    RateLimit,
    authorized,
    cookie_in,
    cookie_value,
    same_origin,
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def passed(limit: RateLimit, address: str, requests: int) -> int:
    """Return how many of these requests may pass now."""
    return sum(limit.take(address) == 0 for _ in range(requests))


# -- rate -----------------------------------------------------------------------------------------------


def test_a_burst_of_twenty_passes_and_no_more() -> None:
    """An address that was silent may send twenty requests at once; the next one waits."""
    limit = RateLimit(clock=Clock())
    assert (RATE, BURST) == (10.0, 20.0)
    assert passed(limit, "a", 30) == 20


def test_ten_requests_a_second_pass_for_ever() -> None:
    """The rate is refilled with time, and what is refused costs nothing."""
    clock = Clock()
    limit = RateLimit(clock=clock)
    passed(limit, "a", 100)
    for _ in range(20):
        clock.now += 1.0
        assert passed(limit, "a", 100) == 10


def test_rest_fills_the_burst_up_but_never_beyond() -> None:
    """After any length of silence the burst is twenty again, not more."""
    clock = Clock()
    limit = RateLimit(clock=clock)
    passed(limit, "a", 20)
    clock.now += 2.0
    assert passed(limit, "a", 100) == 20
    clock.now += 1e9
    assert passed(limit, "a", 100) == 20


def test_the_wait_that_is_told_is_enough() -> None:
    """After the seconds of Retry-After a request passes."""
    clock = Clock()
    limit = RateLimit(rate=0.1, burst=1, clock=clock)
    assert limit.take("a") == 0
    assert limit.take("a") == 10
    clock.now += 4.5
    assert limit.take("a") == 6
    clock.now += 6
    assert limit.take("a") == 0


def test_the_wait_is_at_least_a_second() -> None:
    """Retry-After has no fractions."""
    limit = RateLimit(clock=Clock())
    passed(limit, "a", 20)
    assert limit.take("a") == 1


def test_each_address_has_its_own_rate() -> None:
    """A greedy neighbour takes nothing away."""
    limit = RateLimit(clock=Clock())
    passed(limit, "a", 100)
    assert passed(limit, "b", 30) == 20


def test_addresses_are_forgotten_in_the_order_of_their_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is bounded, and one that asks all the time is not the one to go."""
    monkeypatch.setattr(auth, "_MOST_ADDRESSES", 3)
    limit = RateLimit(clock=Clock())
    passed(limit, "busy", 100)
    for other in range(50):
        limit.take(f"other{other}")
        assert passed(limit, "busy", 1) == 0
    assert len(limit._buckets) == 3


# -- token ----------------------------------------------------------------------------------------------

TOKEN = "a long secret"


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (f"BEARER   {TOKEN} ", True),
        (f"Bearer {TOKEN}x", False),
        ("Bearer a long secre", False),
        ("Bearer ", False),
        ("Bearer", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        ("", False),
        ("Bearer \xff\xfe", False),
    ],
)
def test_the_bearer_header_carries_the_token(header: str, passes: bool) -> None:
    """The whole token behind `Bearer` passes, in any case of that word; nothing else does."""
    assert authorized(TOKEN, header, "") is passes


def test_a_token_may_hold_any_characters() -> None:
    """Tokens are compared as UTF-8."""
    token = "gehëim 🔑"
    assert authorized(token, f"Bearer {token}", "")
    assert not authorized(token, f"Bearer {token}x", "")


def test_the_cookie_proves_the_token_without_holding_it() -> None:
    """The log-in cookie passes for its own token only, and does not contain it."""
    cookie = cookie_value(TOKEN)
    assert TOKEN not in cookie
    assert authorized(TOKEN, "", cookie)
    assert not authorized(TOKEN, "", cookie_value("another secret"))
    assert not authorized(TOKEN, "", TOKEN)
    assert not authorized(TOKEN, "", cookie[:-1])
    assert not authorized(TOKEN, f"Bearer {cookie}", "")


def test_without_a_token_all_may_pass() -> None:
    """No token set means no log-in."""
    assert authorized("", "", "")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("oculus=abc", "abc"),
        ("a=1; oculus=abc; b=2", "abc"),
        ("a(b=1; oculus=abc", "abc"),
        (';;; =; a="x; oculus=abc', "abc"),
        ("oculusx=abc; xoculus=abc", ""),
        ("oculus", ""),
        ("", ""),
    ],
)
def test_the_cookie_is_found_among_others(header: str, value: str) -> None:
    """Other programs' cookies, well-formed or not, are not in the way."""
    assert cookie_in(header) == value


# -- hosts and origins ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LOCALHOST:8080", True),
        ("localhost.", True),
        ("oculus.localhost:8080", True),
        ("127.0.0.1:8080", True),
        ("192.168.1.5", True),
        ("[::1]:8080", True),
        ("[fe80::1%eth0]:8080", True),
        ("2001:db8::1", True),
        ("monitor.example:8080", True),
        ("MONITOR.example.", True),
        ("evil.example", False),
        ("evil.example:8080", False),
        ("localhost.evil.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.evil.example", False),
        ("x.monitor.example", False),
        ("[evil.example]:80", False),
        ("evil.example:80:80", False),
    ],
)
def test_only_addresses_and_known_names_are_answered(header: str, allowed: bool) -> None:
    """A name that somebody else's DNS points here is not this server."""
    assert HostCheck("127.0.0.1", ("monitor.example",)).allows(header) is allowed


def test_this_hosts_own_name_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pi called `attic` answers to `attic` and `attic.local`."""
    monkeypatch.setattr("socket.gethostname", lambda: "Attic")
    check = HostCheck("0.0.0.0", ())
    assert check.allows("attic:8080")
    assert check.allows("attic.local")
    assert not check.allows("attic.evil.example")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("", "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://Monitor.Example", "monitor.example", True),
        ("http://127.0.0.1:9090", "127.0.0.1:8080", False),
        ("http://evil.example", "127.0.0.1:8080", False),
        ("http://127.0.0.1:8080.evil.example", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("file://", "127.0.0.1:8080", False),
    ],
)
def test_a_write_from_another_sites_page_is_told_apart(origin: str, host: str, same: bool) -> None:
    """A program sends no Origin, our pages send ours, and any other is a stranger's."""
    assert same_origin(origin, host) is same
