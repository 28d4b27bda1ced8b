"""The values that every stage shares: samples, events and alert transitions.

Everything here is immutable and knows nothing of queues, databases or the network. Times are integers of
microseconds since 1970 UTC (`Micros`); durations are seconds as floats.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NewType

Micros = NewType("Micros", int)

Severity = Literal["info", "warn", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warn", "error", "critical")

EventType = Literal["alert", "error", "system", "audit"]

AlertState = Literal["inactive", "pending", "firing", "resolved"]
ALERT_STATES: tuple[AlertState, ...] = ("inactive", "pending", "firing", "resolved")

# A symbol's part; a symbol is one or more of these, joined by dots.
_PART = r"[a-z0-9_]+"
_SYMBOL = re.compile(rf"{_PART}(?:\.{_PART})*")
_NOT_SLUG = re.compile(r"[^a-z0-9_]+")

# Longest symbol accepted: keeps one bad push from filling pages and the store with a single name.
MAX_SYMBOL = 200  # characters

# Unit of a symbol's value by its last part, as the data contract lists them; a `unit` tag goes before.
_UNITS = {
    "rtt": "ms",
    "dns": "ms",
    "connect": "ms",
    "tls": "ms",
    "ttfb": "ms",
    "handshake": "ms",
    "response": "ms",
    "jitter": "ms",
    "loss": "%",
    "up": "bool",
    "status": "code",
    "cert_days": "days",
    "expiry_days": "days",
    "ttl": "s",
    "duration": "s",
    "change_24h": "%",
    "change_day": "%",
    "market_open": "bool",
    "percent": "%",
    "used_percent": "%",
    "inodes_used_percent": "%",
    "iowait_percent": "%",
    "steal_percent": "%",
    "busy_percent": "%",
    "used_bytes": "B",
    "available_bytes": "B",
    "free_bytes": "B",
    "rx_bytes": "B/s",
    "tx_bytes": "B/s",
    "read_bytes": "B/s",
    "write_bytes": "B/s",
    "rx_errors": "/s",
    "tx_errors": "/s",
    "reads": "/s",
    "writes": "/s",
    "uptime": "s",
}


def slug(text: str) -> str:
    """Return `text` as one part of a symbol: lower case, runs of anything else but `[a-z0-9_]` as `_`."""
    return _NOT_SLUG.sub("_", text.lower()).strip("_") or "_"


def is_symbol(text: str) -> bool:
    """Tell whether `text` is a well-formed symbol (dotted lower-case parts, at most MAX_SYMBOL long)."""
    return len(text) <= MAX_SYMBOL and _SYMBOL.fullmatch(text) is not None


def category_of(symbol: str) -> str:
    """Return the category of a symbol: its first two parts, or `custom` for `custom.*` and single names."""
    parts = symbol.split(".", 2)
    if parts[0] == "custom" or len(parts) == 1:
        return "custom"
    return f"{parts[0]}.{parts[1]}"


def unit_of(symbol: str, tags: Mapping[str, str]) -> str:
    """Return the unit of a series (`ms`, `%`, `bool` …), or an empty string where none is known.

    An empty tag says that there is none, whatever the symbol ends in.
    """
    unit = tags.get("unit")
    return _UNITS.get(symbol.rpartition(".")[2], "") if unit is None else unit


class Tags(dict[str, str]):
    """Labels of a series, with their JSON kept: one collector's samples all share one instance.

    Treat it as frozen once made; `json` is computed at the first use and remembered. `counted` is the
    queue's: whether it has counted the memory of this instance.
    """

    __slots__ = ("_json", "counted")
    _json: str
    counted: bool

    def __init__(self, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(labels)
        self.counted = False

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Tags:
        """Return labels of any kind as Tags; what are Tags already is passed on, with its JSON."""
        return labels if isinstance(labels, cls) else cls(labels)

    @property
    def json(self) -> str:
        """The labels as one JSON object, keys sorted, so that equal labels are equal text in the store."""
        try:
            return self._json
        except AttributeError:
            self._json = json.dumps(self, sort_keys=True, ensure_ascii=False)
            return self._json

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.json)


NO_TAGS = Tags()


@dataclass(frozen=True, slots=True)
class Candle:
    """What a series did in an interval of which one sample is kept: its first, highest and lowest number."""

    open: float
    high: float
    low: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of one series at one moment.

    `ts` may be left out by a collector: the scheduler then stamps the start of the run, so that all
    samples of a run share a time. `tags` are added to those of the collector. With a `candle` it stands for
    an interval, and `value` is the close.
    """

    symbol: str
    value: float
    ts: Micros | None = None
    tags: Mapping[str, str] = NO_TAGS
    candle: Candle | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for the `events` table."""

    ts: Micros
    source: str
    type: EventType
    severity: Severity
    message: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    # What is to be remembered from now on, stored in the same transaction: a key, and its text or nothing.
    memory: tuple[str, str | None] | None = None
    # The channels that are to tell it, each a row of `deliveries` in the same transaction.
    channels: tuple[str, ...] = ()


class Operand(NamedTuple):
    """Something that an expression reads: as written, its value (1 and 0 for true and false; None: unknown),
    and the seconds since the newest sample of its series (None: never seen, or not about a series)."""

    text: str
    value: float | None
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """A step of one alert instance from one state to another, as the rule engine decided it.

    From firing to firing it tells again of what goes on. `suppressed` is why it is recorded but not sent.
    """

    ts: Micros
    rule: str
    state: AlertState
    previous: AlertState
    severity: Severity
    message: str
    started_at: Micros
    symbol: str | None = None
    value: float | None = None
    labels: Mapping[str, str] = NO_TAGS
    channels: tuple[str, ...] = ("log",)
    explanation: str = ""
    operands: tuple[Operand, ...] = ()
    suppressed: str = ""
    timers: Mapping[str, float] = field(default_factory=dict)  # seconds
    memory: tuple[str, str | None] | None = None

    @property
    def alert(self) -> str:
        """What tells this alert from all others: the key under which the engine remembers it."""
        if self.memory is not None:
            return self.memory[0]
        return json.dumps([self.rule, dict(self.labels)], sort_keys=True)

    def event(self) -> Event:
        """Return the row of the `events` table that records this transition."""
        return Event(
            ts=self.ts,
            source=self.rule,
            type="alert",
            severity=self.severity,
            message=self.message,
            payload={
                "rule": self.rule,
                "state": self.state,
                "previous": self.previous,
                "symbol": self.symbol,
                "value": self.value,
                "labels": dict(self.labels),
                "started_at": self.started_at,
                "channels": list(self.channels),
                "explanation": self.explanation,
                "operands": [[operand.text, operand.value, operand.age] for operand in self.operands],
                "suppressed": self.suppressed,
                "timers": dict(self.timers),
            }
            | ({} if self.memory is None else {"alert": self.memory[0]}),
            memory=self.memory,
        )

    @classmethod
    def of_event(cls, event: Event) -> Transition:
        """Return the transition that an event records; raises KeyError or TypeError for another one."""
        found = dict(event.payload)
        return cls(
            ts=event.ts,
            severity=event.severity,
            message=event.message,
            channels=tuple(found.pop("channels")),
            operands=tuple(Operand(*operand) for operand in found.pop("operands", ())),
            memory=(found.pop("alert"), None) if "alert" in found else None,
            **found,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        event = self.event()
        return {**event.payload, "ts": self.ts, "severity": self.severity, "message": self.message}

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> Transition:
        """Return what `to_json` gave; raises KeyError or TypeError for anything else."""
        rest = dict(found)
        ts, severity, message = rest.pop("ts"), rest.pop("severity"), rest.pop("message")
        return cls.of_event(Event(ts, "", "alert", severity, message, rest))


@dataclass(frozen=True, slots=True)
class Batch:
    """What the writer commits in one transaction: samples in arrival order, all stamped, and events.

    `memories` are keys with texts to remember, each later than the memory of any event here.
    """

    samples: tuple[Sample, ...] = ()
    events: tuple[Event, ...] = ()
    memories: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.samples or self.events or self.memories)


def symbols_of(samples: Iterable[Sample]) -> set[str]:
    """Return the distinct symbols of some samples."""
    return {sample.symbol for sample in samples}


@dataclass(frozen=True, slots=True)
class AlertInstance:
    """One alert of a rule as it stands; `active_at` is when its condition began to hold."""

    labels: Mapping[str, str]
    state: AlertState
    value: float | None
    active_at: Micros
    suppressed: str


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule as it stands, for pages and the API; `value` and `active_at` are those of its oldest active
    instance.

    `explain()` gives the condition with its operands filled in, computed when it is asked for. `error` is why
    it could not be evaluated; `missed` counts the evaluations that were left out since the one before took
    too long.
    """

    name: str
    condition: str
    sql: str
    severity: Severity
    message: str
    for_seconds: float
    cooldown_seconds: float
    channels: tuple[str, ...]
    state: AlertState
    health: str
    error: str
    missing: tuple[str, ...]
    explain: Callable[[], str]
    value: float | None
    active_at: Micros | None
    instances: tuple[AlertInstance, ...]
    last_evaluation: Micros | None
    evaluations: int
    missed: int
