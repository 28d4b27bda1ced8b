"""`oculus probe`: any collector, run once, and what it saw."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_type_hints

import gevent

from oculus import config, logs
from oculus.clock import SECOND, iso, now
from oculus.collectors.base import Collector, Context
from oculus.collectors.contained import make
from oculus.collectors.scheduler import Job, Scheduler
from oculus.commands import output
from oculus.config import document
from oculus.config.decode import Seconds, did_you_mean, keys_of
from oculus.config.describe import describe, is_compound
from oculus.config.document import Mistakes, Node
from oculus.config.kinds import Kind, Kinds
from oculus.config.settings import CollectorSettings, CollectorSpec, LogSettings
from oculus.errors import ConfigError
from oculus.model import Sample, unit_of
from oculus.supervise import Supervisor
from oculus.vocabulary import vocabulary

if TYPE_CHECKING:
    from oculus.cli import Arguments

# How messages call the arguments; it is taken off before they are shown.
_HERE = "command line"

# `key=value`, `expect.status=200` or `headers.X-Api-Key=…`; a URL or an address does not look like it.
_SETTING = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)", re.DOTALL)

# A price is waited for this long; a quiet market may have none for minutes.
_STREAM = 5.0  # seconds
_LOOK = 0.2  # seconds between two looks
_STREAM_INTERVAL = 1.0  # seconds of the first candle

# What is told by two looks (the processor's load) asks for the second one this soon.
_SECOND_LOOK = 2.0  # seconds

# These tell what happens within a daemon, and alone they have nothing to tell.
_OF_A_DAEMON = ("heartbeat", "self")

_AGE = 5  # seconds from which on the time of a sample is told


def carry_out(arguments: Arguments) -> int:
    """Run what the command line names and print it; return 1 when it failed. Raises ConfigError."""
    spec = _spec(arguments.config, arguments.what)
    logs.setup(LogSettings(level="warning"))
    seen = _Seen(spec)
    seen.run()
    print(seen.json() if arguments.format == "json" else seen.text())
    return int(bool(seen.error))


# -- what is meant ------------------------------------------------------------------------------------


def _spec(path: str | None, what: Sequence[str]) -> CollectorSpec:
    """Return the collector that is meant: one of a configuration by its name, or one made of a kind."""
    words = vocabulary()
    if not what:
        raise ConfigError(["what is to be probed? (a kind and a target: oculus probe http https://…)"])
    word, *rest = what
    named: dict[str, CollectorSpec] = {}
    if path is not None:
        settings = config.load(path, words)
        named = {spec.id: spec for spec in settings.collectors}
        meant = [spec for spec in named.values() if word in (spec.id, spec.name)]
        if meant and not rest:
            if len(meant) > 1:
                several = ", ".join(spec.id for spec in meant)
                raise ConfigError([f'several collectors are named "{word}" (one of: {several})'])
            return meant[0]
    kinds = config.kinds(path, words)
    kind = kinds.find(word)
    if kind is None:
        known = [*kinds.words, *named, *(spec.name for spec in named.values())]
        what = "kind or collector" if named else "kind"
        raise ConfigError([f'unknown {what} "{word}"{did_you_mean(word, known)}'])
    return _made(kinds, kind, rest)


def _made(kinds: Kinds, kind: Kind, rest: Sequence[str]) -> CollectorSpec:
    mistakes = Mistakes()
    node = Node(_HERE, 1, {})
    for key, text in _pairs(kind, rest):
        _put(node, kind.settings, key, text, mistakes)
    spec = None
    if not mistakes.errors:
        spec = kinds.collector(kind, node, "", mistakes, unnamed="probe")
    if spec is None:
        raise ConfigError([mistake.removeprefix(f"{_HERE}:1: ") for mistake in mistakes.errors])
    return spec


def _pairs(kind: Kind, rest: Sequence[str]) -> list[tuple[str, str]]:
    """Return the arguments as settings. The first that is none is the target, whatever the kind calls it."""
    known, pairs = keys_of(kind.settings), []
    target = _target_key(kind.settings)
    targeted = False
    for text in rest:
        found = _SETTING.fullmatch(text)
        if found is not None and (found[1].partition(".")[0] in known or "?" not in text):
            pairs.append((found[1], found[2]))
        elif targeted or not target:
            raise ConfigError([f"{text!r} is neither key=value nor the only target"])
        else:
            targeted = True
            pairs.append((target, text))
    return pairs


def _target_key(settings: type[CollectorSettings]) -> str:
    """Return the setting that a kind cannot do without: `target`, `url`, `asset`, `command` …"""
    common = keys_of(CollectorSettings)
    own = [key for key in keys_of(settings) if key not in common]
    required = [one.key for one in describe(settings) if one.required and "." not in one.key]
    return "target" if "target" in own else next(iter((*required, *_first_own(settings, own))), "")


def _first_own(settings: type[CollectorSettings], own: list[str]) -> list[str]:
    """Return the settings that the class itself adds: `asset` comes before what all quotes share."""
    inherited = {key for base in settings.__mro__[1:] if issubclass(base, CollectorSettings)
                 for key in keys_of(base)}  # fmt: skip
    return [key for key in own if key not in inherited]


def _put(node: Node, settings: type, key: str, text: str, mistakes: Mistakes) -> None:
    """Put a setting where its dotted key says, read as a configuration file would read it."""
    first, *below = key.split(".")
    field = keys_of(settings).get(first)
    hint = get_type_hints(settings)[field.name] if field is not None else str
    flow = text[:1] + text[-1:] in ("{}", "[]") and (bool(below) or is_compound(hint))
    # Quoted as JSON, which YAML reads: a plain text is never more than a text.
    read = document.parse(f'"value": {text if flow else json.dumps(text)}', _HERE, mistakes)
    assert isinstance(read.value, dict)
    value = read.value.get("value")
    if value is None:
        return
    for part in (first, *below[:-1]) if below else ():
        assert isinstance(node.value, dict)
        node = node.value.setdefault(part, Node(_HERE, 1, {}))
        if not isinstance(node.value, dict):
            mistakes.add(node, key, f"{part} is {node.kind} already")
            return
    last = below[-1] if below else first
    assert isinstance(node.value, dict)
    if last in node.value:
        mistakes.add(node, key, "is given twice")
    node.value[last] = value


# -- what is seen -------------------------------------------------------------------------------------


class _Seen:
    """A collector's run, and everything that came of it."""

    def __init__(self, spec: CollectorSpec) -> None:
        self.streams = bool(getattr(spec.settings, "stream", False))
        # One run is to tell what it sees, however many it usually takes to be believed.
        changed: dict[str, Any] = {key: 1 for key in ("failures", "successes") if hasattr(spec.settings, key)}
        if self.streams and spec.settings.interval > _STREAM_INTERVAL:
            changed["interval"] = Seconds(_STREAM_INTERVAL)
        self.spec = replace(spec, settings=replace(spec.settings, **changed))
        self.samples: list[Sample] = []
        self.error = ""
        self.phase = ""
        self.seconds = 0.0
        self.tags: dict[str, str] = {}

    def run(self) -> None:
        """Run it, where it streams until a price has come."""
        supervisor = Supervisor(lambda worker, trace: None)
        context = Context(spawn=supervisor.spawn, end=supervisor.stop)
        started = time.monotonic()
        collector = make(self.spec, context)
        self.tags = dict(collector.tags)
        scheduler = Scheduler(supervisor, self.samples.extend, lambda event: None)
        try:
            job = scheduler.once(collector)
            if job.rest is not None and job.rest <= _SECOND_LOOK and not job.failing:
                gevent.sleep(job.rest)
                self.samples.clear()
                job = scheduler.once(collector)
            if self.streams:
                job = self._await_price(scheduler, collector, job)
        finally:
            self.seconds = time.monotonic() - started
            collector.close()
            context.close()
            supervisor.stop(*(worker.name for worker in supervisor.workers))
        self._judge(job)

    def _await_price(self, scheduler: Scheduler, collector: Collector, job: Job) -> Job:
        until = time.monotonic() + _STREAM
        while not any(sample.candle for sample in self.samples):
            if time.monotonic() > until:
                self.error = f"no price came over the stream within {_STREAM:.0f} s"
                break
            gevent.sleep(_LOOK)
            job = scheduler.once(collector)
        return job

    def _judge(self, job: Job) -> None:
        """Say why it failed, if it did: by its own error, or because a target is not up."""
        if job.failing:
            self.error = job.last_error
        for sample in self.samples:
            if not self.error and sample.value == 0.0 and sample.symbol.endswith(".up"):
                self.error = sample.tags.get("error") or "it is not up"
                self.phase = sample.tags.get("phase", "")
            if not self.error and sample.symbol == f"exec.{self.spec.name}.status" and sample.value:
                told = sample.tags.get("output") or sample.tags.get("error") or "the program told no reason"
                self.error = f"exit status {sample.value:.0f}: {told}"
        if not self.error and not self.samples:
            self.error = "it brought no samples"
            if self.spec.kind in _OF_A_DAEMON:
                self.error += " (it tells of a daemon that runs: see its pages)"

    def json(self) -> str:
        """Return all of it for programs."""
        told = {
            "collector": self.spec.id,
            "ok": not self.error,
            "error": self.error or None,
            "phase": self.phase or None,
            "seconds": round(self.seconds, 3),
            "tags": self.tags,
            "samples": [_record(sample) for sample in self.samples],
        }
        return json.dumps(told, ensure_ascii=False, indent=1)

    def text(self) -> str:
        """Return it for people: a line for each value, units and decimal signs below each other."""
        about = "  ".join(f"{key}={value}" for key, value in self.tags.items() if key != "unit")
        lines = [f"{self.spec.id}  {about}"]
        cells = [(sample.symbol, *_number(sample), self._rest(sample)) for sample in self.samples]
        widths = [max((len(row[index]) for row in cells), default=0) for index in range(4)]
        for symbol, whole, part, unit, rest in cells:
            number = f"{whole:>{widths[1]}}{part:<{widths[2]}}"
            lines.append(f"  {symbol:<{widths[0]}}  {number}  {unit:<{widths[3]}}  {rest}")
        took = f"after {self.seconds:.3g} s"
        where = f" in the phase {self.phase}" if self.phase else ""
        lines.append(f"failed{where}: {self.error} ({took})" if self.error else f"good ({took})")
        return "\n".join(output.clean(line.rstrip()) for line in lines)

    def _rest(self, sample: Sample) -> str:
        told = [
            f"{key}={value}"
            for key, value in sample.tags.items()
            if key not in ("unit", "error", "phase") and self.tags.get(key) != value
        ]
        if sample.candle is not None:
            candle = sample.candle
            told.append(f"open={candle.open:.12g} high={candle.high:.12g} low={candle.low:.12g}")
        if sample.ts is not None and abs(now() - sample.ts) > _AGE * SECOND + self.seconds * SECOND:
            told.append(f"at {iso(sample.ts)}")
        return "  ".join(told)


def _number(sample: Sample) -> tuple[str, str, str]:
    """Return what stands before the decimal sign, the rest, and the unit."""
    unit = unit_of(sample.symbol, sample.tags)
    if unit == "bool" and sample.value in (0.0, 1.0):
        return ("yes" if sample.value else "no"), "", ""
    whole, sign, part = f"{sample.value:.12g}".partition(".")
    return whole, sign + part, "" if unit == "code" else unit


def _record(sample: Sample) -> dict[str, Any]:
    told: dict[str, Any] = {
        "symbol": sample.symbol,
        "value": sample.value,
        "unit": unit_of(sample.symbol, sample.tags),
        "ts": None if sample.ts is None else iso(sample.ts),
        "tags": dict(sample.tags),
    }
    if sample.candle is not None:
        told |= {"open": sample.candle.open, "high": sample.candle.high, "low": sample.candle.low}
    return told
