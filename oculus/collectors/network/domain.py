"""Domain probe: `net.domain.<name>.expiry_days`, `.rtt` (ms) and `.up`, through RDAP (RFC 9083).

IANA lists which registry serves which top-level domain (RFC 9224); that registry is asked for the domain,
whose event `expiration` has the date. What is up is the domain whose date is known and as expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gevent.lock import BoundedSemaphore

from oculus.collectors.base import Context
from oculus.collectors.fetch import Answer, Fetcher, Request, SourceError, check_base_url, rebased
from oculus.collectors.manners import Rate
from oculus.collectors.network.dns_exchange import ascii_name
from oculus.collectors.network.expect import Comparison
from oculus.collectors.network.probe import Outcome, Probe, ProbeError, ProbeSettings, Trace
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSpec

BOOTSTRAP = "https://data.iana.org/rdap/dns.json"
_BOOTSTRAP_KEPT = 86_400.0  # seconds: IANA adds a registry every few days, and never in a hurry

# Registries ban who asks too fast, and say not how fast that is: ten at once, then one a second.
_RATES = (Rate(10, 10.0),)

_MAX_ANSWER = 512 * 1024  # bytes of a registry's answer: they have about 10 kB

# Labels of the longest name that is asked for. Registrations are two to four labels deep (`example.k12.ca.us`
# has four), and each label more is a request.
_MOST_LABELS = 5

# A registry that does not know a name below a registered one says so in one of these ways.
_UNKNOWN = frozenset({400, 404, 422})

# A failure that says nothing of the domain is followed by a run after this, not after half a day.
_AGAIN = 900.0  # seconds

_DAY = 86_400.0  # seconds


def _check_target(target: str) -> None:
    if "." not in ascii_name(target):
        raise ValueError(f"{target!r} is not a domain (such as example.com)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainExpectSettings:
    """`expect:`: what the registration must be for the domain to count as up."""

    expiry_days: Comparison = setting(
        Comparison.parse("> 0"), help="days until the registration ends that are right"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSettings(ProbeSettings):
    """Settings of `probe: domain`."""

    target: str = setting(help="domain, or any name in it", check=_check_target)
    interval: Seconds = setting(
        Seconds(43_200.0), help="time from start to start", check=between(SHORTEST, LONGEST, "s")
    )
    timeout: Seconds = setting(
        Seconds(20.0), help="longest time of one attempt", check=between(SHORTEST, LONGEST, "s")
    )
    base_url: str = setting("", help="replaces scheme and host of all requests", check=check_base_url)
    expect: DomainExpectSettings = setting(DomainExpectSettings(), help="what the registration must be")

    def __post_init__(self) -> None:
        for key, given in (("family", self.family != "any"), ("resolver", bool(self.resolver))):
            if given:
                raise ValueError(f"{key} makes no sense here: registries are asked over HTTPS (leave it out)")


class Registries:
    """Which RDAP server serves which top-level domain: IANA's list, kept for a day.

    A list that cannot be fetched anew is used on: an old one is better than none.
    """

    def __init__(
        self, fetcher: Fetcher, base_url: str = "", monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetcher = fetcher
        self._base_url = base_url
        self._monotonic = monotonic
        self._servers: dict[str, str] = {}
        self._until = 0.0  # monotonic
        self._lock = BoundedSemaphore()  # who asks at the same time shares one request

    def server(self, name: str, timeout: float) -> str:
        """Return the URL below which a name's registry answers; raises SourceError and ProbeError."""
        with self._lock:
            if self._monotonic() >= self._until:
                self._refresh(timeout)
        labels = name.split(".")
        for start in range(1, len(labels)):  # the longest match
            url = self._servers.get(".".join(labels[start:]))
            if url is not None:
                return rebased(url, self._base_url)
        raise ProbeError(f"the registry of .{labels[-1]} has no RDAP server in IANA's list")

    def _refresh(self, timeout: float) -> None:
        request = Request(rebased(BOOTSTRAP, self._base_url), timeout=timeout, rates=_RATES)
        try:
            found = _servers(self._fetcher.fetch(request).json())
        except SourceError as error:
            if not self._servers:
                raise SourceError(f"IANA's list of RDAP servers: {error}", retry_in=error.retry_in) from None
            self._until = self._monotonic() + _AGAIN
            return
        self._servers = found
        self._until = self._monotonic() + _BOOTSTRAP_KEPT


def _servers(listed: Any) -> dict[str, str]:
    """Return domain → URL of IANA's list; raises SourceError for what is no such list."""
    found: dict[str, str] = {}
    try:
        for domains, urls in listed["services"]:
            usable = [url for url in urls if url.startswith(("https://", "http://"))]
            if usable:
                url = min(usable, key=lambda each: not each.startswith("https://"))
                found |= {domain.lower(): url.rstrip("/") for domain in domains}
    except (KeyError, TypeError, ValueError, AttributeError):
        found = {}
    if not found:
        raise SourceError("the answer is no list of RDAP servers")
    return found


class DomainProbe(Probe):
    """Asks the registry of a domain when its registration ends."""

    prefix = "net.domain"
    Settings = DomainSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, DomainSettings)
        settings = self._settings = spec.settings
        self._fetcher = Fetcher.of(context)
        self._registries = context.shared(
            (Registries, settings.base_url), lambda: Registries(self._fetcher, settings.base_url)
        )
        self._name = ascii_name(settings.target)
        self._registered = ""  # which part of the name the registry knows

    def attempt(self, trace: Trace) -> Outcome:
        """Ask once."""
        interval = self._settings.interval
        self.rest = _AGAIN if interval > _AGAIN else None  # stands where the time limit ends this
        try:
            trace.enter("bootstrap")
            server = self._registries.server(self._name, self._settings.timeout)
            trace.enter("query")
            answer, milliseconds = self._ask(server)
            ends = expiration(answer)
        except SourceError as error:
            if error.told:  # the limit is used up: nothing was asked, and nothing is known of the domain
                self.rest = None
                raise
            if self.rest is not None:
                self.rest = min(interval, max(self.rest, error.retry_in or 0.0))
            raise ProbeError(str(error)) from None
        except ProbeError:  # the registry has spoken, and says the same in a quarter of an hour
            self.rest = None
            raise
        self.rest = None
        days = (ends - time.time()) / _DAY
        values = {"expiry_days": round(days, 3)}
        wrong = self._settings.expect.expiry_days.fault(values["expiry_days"])
        if wrong:
            return Outcome(False, values, f"expiry_days {wrong}", "expect")
        return Outcome(True, {"rtt": milliseconds, **values})

    def _ask(self, server: str) -> tuple[Any, float]:
        """Return what the registry says, and in how many milliseconds; raises SourceError and ProbeError."""
        answer: Answer | None = None
        for name in self._names():
            request = Request(
                f"{server}/domain/{name}",
                headers={"Accept": "application/rdap+json, application/json"},
                timeout=self._settings.timeout,
                max_body=_MAX_ANSWER,
                rates=_RATES,
            )
            started = time.perf_counter()
            answer = self._fetcher.fetch(request)
            if answer.status not in _UNKNOWN:
                self._registered = name
                return answer.json(), round((time.perf_counter() - started) * 1000.0, 3)
        self._registered = ""
        assert answer is not None
        if answer.status == 404:
            raise ProbeError("the registry knows no such domain (status 404)")
        raise ProbeError(f"the registry refuses the name: status {answer.status}")

    def _names(self) -> Iterator[str]:
        """Yield the names to ask for: the one that was known last time, else the longest first."""
        if self._registered:
            yield self._registered
        labels = self._name.split(".")[-_MOST_LABELS:]
        for start in range(len(labels) - 1):
            name = ".".join(labels[start:])
            if name != self._registered:
                yield name


def expiration(answer: Any) -> float:
    """Return when a registration ends, in seconds since 1970; raises ProbeError where it is not told."""
    if not isinstance(answer, dict) or answer.get("objectClassName") != "domain":
        raise ProbeError("the registry's answer is no RDAP domain")
    events = answer.get("events")
    dates = {
        event.get("eventAction"): event.get("eventDate")
        for event in (events if isinstance(events, list) else ())
        if isinstance(event, dict) and isinstance(event.get("eventAction"), str)
    }
    date = dates.get("expiration", dates.get("registrar expiration"))
    if date is None:
        redacted = "expir" in str(answer.get("redacted", "")).lower()
        raise ProbeError(
            "the registry keeps the date of expiration to itself (redacted)"
            if redacted
            else "the registry tells no date of expiration"
        )
    try:
        moment = datetime.fromisoformat(str(date))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ProbeError(f"the date of expiration cannot be read: {str(date)[:40]!r}") from None
