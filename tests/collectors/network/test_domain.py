"""The domain probe against a stand-in of IANA's list and of registries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.collectors.base import Context
from oculus.collectors.fetch import Fetcher, SourceError
from oculus.collectors.network.domain import DomainExpectSettings, DomainProbe, DomainSettings, Registries
from oculus.collectors.network.expect import Comparison
from oculus.model import Sample, unit_of
from tests.standins import faults
from tests.standins.rdap import Rdap, domain
from tests.support import probes
from tests.support.clocks import Clock
from tests.support.configs import mistakes_of
from tests.support.probes import failure, values


def in_days(days: float) -> str:
    """Return a date as registries write it."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def rdap() -> Iterator[Rdap]:
    """Registries that know `site.test`, which ends in 100 days."""
    made = Rdap()
    made.domains["/gamma/v1", "site.test"] = domain(
        "site.test", ("registration", "2001-02-03T04:05:06Z"), ("expiration", in_days(100))
    )
    yield made
    made.stop()


@pytest.fixture
def context() -> Iterator[Context]:
    """What the probes of one daemon share."""
    made = Context()
    yield made
    made.close()


def probe(rdap: Rdap, context: Context, target: str = "site.test", **settings: Any) -> DomainProbe:
    """Return a probe that asks the stand-in."""
    made = probes.probe("domain", target, context, base_url=rdap.url, **settings)
    assert isinstance(made, DomainProbe)
    return made


def check(rdap: Rdap, context: Context, target: str = "site.test", **settings: Any) -> dict[str, Sample]:
    """Probe once."""
    return probes.run(probe(rdap, context, target, **settings))


def test_a_registered_domain_is_up(rdap: Rdap, context: Context) -> None:
    """A success has the days that are left, the time of the registry's answer, and up."""
    samples = check(rdap, context)
    assert set(samples) == {"expiry_days", "rtt", "up"}
    assert samples["expiry_days"].value == pytest.approx(100, abs=0.01)
    assert 0.0 < samples["rtt"].value < 20_000.0
    assert samples["expiry_days"].symbol == "net.domain.t.expiry_days"
    assert unit_of(samples["expiry_days"].symbol, {}) == "days"
    assert rdap.paths() == ["/rdap/dns.json", "/gamma/v1/domain/site.test"]
    assert "application/rdap+json" in rdap.requests[1].headers["accept"]


def test_the_list_of_registries_is_shared_and_kept(rdap: Rdap, context: Context) -> None:
    """Probes that start together ask IANA once."""
    rdap.domains["/gamma/v1", "other.test"] = domain("other.test", ("expiration", in_days(5)))
    both = [gevent.spawn(check, rdap, context, name) for name in ("site.test", "other.test")]
    gevent.joinall(both, raise_error=True)
    check(rdap, context)
    assert rdap.paths().count("/rdap/dns.json") == 1


def test_the_list_of_registries_is_kept_for_a_day(rdap: Rdap, context: Context) -> None:
    """It is fetched anew after that, and an old one is used where that fails."""
    clock = Clock()
    registries = Registries(Fetcher.of(context), rdap.url, clock)
    assert registries.server("a.test", 5.0) == f"{rdap.url}/gamma/v1"
    clock.now += 86_399.0
    registries.server("a.test", 5.0)
    assert len(rdap.requests) == 1
    clock.now += 1.0
    rdap.fault = faults.error(500)
    assert registries.server("a.test", 5.0) == f"{rdap.url}/gamma/v1"
    assert registries.server("a.test", 5.0) == f"{rdap.url}/gamma/v1"
    assert len(rdap.requests) == 2
    clock.now += 900.0
    rdap.fault = None
    rdap.bootstrap_body["services"] = [[["test"], ["https://registry.test/new/"]]]
    assert registries.server("a.test", 5.0) == f"{rdap.url}/new"


def test_the_registry_of_the_longest_match_is_asked(rdap: Rdap, context: Context) -> None:
    """IANA's list may name a registry below a top-level domain; capitals make no difference."""
    rdap.domains["/delta", "a.nested.invalid"] = domain("a", ("expiration", in_days(1)))
    rdap.domains["/epsilon", "a.invalid"] = domain("a", ("expiration", in_days(2)))
    rdap.domains["/gamma/v1", "a.example"] = domain("a", ("expiration", in_days(3)))
    for target, days in (("a.nested.invalid", 1), ("a.invalid", 2), ("A.Example.", 3)):
        assert check(rdap, context, target)["expiry_days"].value == pytest.approx(days, abs=0.01)


def test_without_a_base_url_the_registrys_own_is_asked(rdap: Rdap, context: Context) -> None:
    """Of two addresses the one with TLS."""
    registries = Registries(Fetcher.of(context), rdap.url)
    registries.server("a.test", 5.0)
    registries._base_url = ""
    assert registries.server("a.test", 5.0) == "https://registry.test/gamma/v1"


@pytest.mark.parametrize("status", [404, 400, 422])
def test_a_name_in_a_domain_leads_to_the_domain(rdap: Rdap, context: Context, status: int) -> None:
    """Labels are left out until the registry knows the name, which is remembered; there are few requests."""
    rdap.unknown = status
    collector = probe(rdap, context, "q.w.e.r.t.www.shop.site.test")
    assert values(probes.run(collector))["up"] == 1.0
    asked = [path.rpartition("/")[2] for path in rdap.paths()[1:]]
    assert asked == ["t.www.shop.site.test", "www.shop.site.test", "shop.site.test", "site.test"]
    probes.run(collector)
    assert rdap.paths()[6:] == []
    assert rdap.paths()[5] == "/gamma/v1/domain/site.test"


def test_names_in_other_scripts(rdap: Rdap, context: Context) -> None:
    """They are asked for as the DNS has them."""
    rdap.domains["/gamma/v1", "xn--mnchen-3ya.test"] = domain("x", ("expiration", in_days(9)))
    assert values(check(rdap, context, "www.münchen.test"))["up"] == 1.0


@pytest.mark.parametrize(
    ("days", "expect", "up"),
    [(100, "> 30", True), (20, "> 30", False), (-1, "> 0", False), (-1, "> -30", True)],
)
def test_days_left(rdap: Rdap, context: Context, days: float, expect: str, up: bool) -> None:
    """What is expected decides; a domain that has ended is down by default."""
    rdap.domains["/gamma/v1", "site.test"] = domain("site.test", ("expiration", in_days(days)))
    settings = DomainExpectSettings(expiry_days=Comparison.parse(expect))
    samples = check(rdap, context, expect=settings)
    assert samples["up"].value == up
    assert samples["expiry_days"].value == pytest.approx(days, abs=0.01)
    if not up:
        phase, error = failure(samples)
        assert phase == "expect"
        assert error.startswith("expiry_days is ")
        assert error.endswith(f", expected {expect}")
    assert DomainExpectSettings().expiry_days == Comparison.parse("> 0")


NO_DATE = "the registry tells no date of expiration"
REDACTED = [{"name": {"description": "Registry Expiry Date"}, "method": "removal"}]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (domain("site.test", ("registration", in_days(-9))), NO_DATE),
        (domain("site.test", events=None), NO_DATE),
        (domain("site.test", events=[7, {"eventAction": []}, {}]), NO_DATE),
        (domain("x", redacted=REDACTED), "the registry keeps the date of expiration to itself (redacted)"),
        (domain("x", ("expiration", "soon")), "the date of expiration cannot be read: 'soon'"),
        (domain("x", ("expiration", "2026-13-40T00:00:00Z")), "the date of expiration cannot be read: '2026"),
        ({"objectClassName": "entity"}, "the registry's answer is no RDAP domain"),
        ([1], "the registry's answer is no RDAP domain"),
    ],
)
def test_an_answer_without_a_date_is_down(rdap: Rdap, context: Context, body: Any, error: str) -> None:
    """Each with its reason; nothing is invented."""
    rdap.domains["/gamma/v1", "site.test"] = body
    samples = check(rdap, context)
    assert set(samples) == {"up"}
    phase, told = failure(samples)
    assert (phase, told[: len(error)]) == ("query", error)


@pytest.mark.parametrize(
    ("action", "date"),
    [
        ("expiration", "2999-08-13T04:00:00Z"),
        ("expiration", "2999-08-13T06:00:00.123456789+02:00"),
        ("expiration", "2999-08-13T04:00:00"),
        ("registrar expiration", "2999-08-13"),
    ],
)
def test_dates_are_read_in_these_ways(rdap: Rdap, context: Context, action: str, date: str) -> None:
    """With a zone or as UTC, to the day or to the nanosecond."""
    rdap.domains["/gamma/v1", "site.test"] = domain("site.test", (action, date))
    left = (datetime(2999, 8, 13, 4, tzinfo=UTC) - datetime.now(UTC)) / timedelta(days=1)
    assert check(rdap, context)["expiry_days"].value == pytest.approx(left, abs=0.2)


def test_a_domain_that_nobody_has_registered(rdap: Rdap, context: Context) -> None:
    """The registry's word is final: the next run is that of the interval."""
    collector = probe(rdap, context, "www.free.test")
    assert failure(probes.run(collector)) == ("query", "the registry knows no such domain (status 404)")
    assert collector.rest is None
    rdap.unknown = 422
    assert failure(check(rdap, context, "free.test"))[1] == "the registry refuses the name: status 422"


def test_a_top_level_domain_without_rdap(rdap: Rdap, context: Context) -> None:
    """Many countries have none."""
    collector = probe(rdap, context, "site.zz")
    error = "the registry of .zz has no RDAP server in IANA's list"
    assert failure(probes.run(collector)) == ("bootstrap", error)
    assert collector.rest is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.error(500), "status 500: "),
        (faults.html(), "the answer is not JSON: "),
        (faults.malformed(), "the answer is not JSON: "),
        (faults.rate_limited(7200), "status 429: "),
        (faults.reset(), "connection reset by peer"),
        (faults.huge(), "a body of more than 0.5"),
        (faults.redirect(), "redirected to another host"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_failing_registry_is_asked_again_soon(
    rdap: Rdap, context: Context, fault: faults.Fault, error: str
) -> None:
    """That says nothing of the domain: the next run comes in 15 minutes, or when the registry wants it."""
    collector = probe(rdap, context)
    probes.run(collector)
    rdap.fault = fault
    phase, told = failure(probes.run(collector))
    assert phase == "query"
    assert error in told
    expected = 7200.0 if fault.kind == "rate_limited" else 900.0
    assert collector.rest == pytest.approx(expected, abs=5)


def test_a_limit_that_is_used_up_says_nothing_of_the_domain(rdap: Rdap, context: Context) -> None:
    """A hundred domains at one registry take their turns; who comes too late to one is not down."""
    made = probe(rdap, context, timeout=0.2)
    for _ in range(9):
        assert values(probes.run(made))["up"] == 1.0
    with pytest.raises(SourceError, match="is used up") as caught:
        list(made.collect())
    assert caught.value.told
    assert 0.0 < (caught.value.retry_in or 0.0) <= 1.0


def test_a_registry_that_hangs(rdap: Rdap, context: Context) -> None:
    """The time limit ends it, and the next run comes soon."""
    rdap.fault = faults.hang()
    collector = probe(rdap, context, timeout=0.3)
    phase, error = failure(probes.run(collector))
    assert phase == "bootstrap"
    assert "within 0.3 s" in error or error == "timed out after 0.3 s"
    assert collector.rest == 900.0


@pytest.mark.parametrize(
    "body",
    [[], {}, {"services": []}, {"services": [[["test"]]]}, {"services": [[["test"], ["ftp://x"]]]},
     {"services": [[[1], ["https://x"]]]}, {"services": 7}, {"services": [[["test"], [None]]]}],
)  # fmt: skip
def test_a_list_of_registries_that_is_none(rdap: Rdap, context: Context, body: Any) -> None:
    """Its reason, and a run soon."""
    rdap.bootstrap_body = body
    collector = probe(rdap, context)
    told = failure(probes.run(collector))
    assert told == ("bootstrap", "IANA's list of RDAP servers: the answer is no list of RDAP servers")
    assert collector.rest == 900.0


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("target: localhost", "'localhost' is not a domain (such as example.com)"),
        ("target: a..b", "is not a name in the DNS"),
        ("target: a.test, family: ipv4", "family makes no sense here"),
        ("target: a.test, resolver: 9.9.9.9", "resolver makes no sense here"),
        ("target: a.test, base_url: here", "is not a URL"),
        ("target: a.test, expect: {expiry_days: 30}", "is not a comparison"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: str, mistake: str
) -> None:
    """`oculus check` finds them."""
    monkeypatch.chdir(tmp_path)
    (told,) = mistakes_of(f"collectors:\n  - {{type: network, probe: domain, {settings}}}\n")
    assert mistake in told


def test_it_runs_twice_a_day() -> None:
    """Registries are asked no more than that makes sense."""
    assert DomainSettings(target="a.test").interval == 43_200.0
