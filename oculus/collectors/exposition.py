"""What programs expose for Prometheus, read: text format 0.0.4 and OpenMetrics become samples.

Names and labels are read by the official parser. It takes 25 µs for a line, all in Python, so it is shown as
little as possible: lines are chosen by name and counted before, and what a series' names and labels became
is remembered from one reading to the next. Still it is work for a native thread. Texts come from strangers:
lines, series, labels and time are bounded, and what is wrong is told with its line.
"""

from __future__ import annotations

import fnmatch
import io
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from oculus.clock import DAY, SECOND, now
from oculus.model import MAX_SYMBOL, NO_TAGS, Micros, Sample, Tags, is_symbol, slug, unit_of

# Series of one text unless told otherwise: node_exporter has about 500 on a small host.
MAX_SERIES = 1_000

# The parser goes over a line a few times, character by character: this one takes it 10 ms.
_LONGEST_LINE = 16 * 1024  # bytes

MAX_LABELS = 32  # of one series
_LABELS_TEXT = 4_000  # characters of the names and values of a series' labels

SECONDS = 10.0  # that a reading may take
_LOOK = 1_000  # lines from one look at the clock to the next

_DECIDED = 10_000  # names for which is remembered whether they are wanted

_NAME = re.compile(rb'([a-zA-Z_:][a-zA-Z0-9_:]*)|\{[ \t]*"((?:[^"\\]|\\.)*+)"')

# A sample of format 0.0.4: name and labels, value, milliseconds. A brace within quotes ends no labels. The
# value is as Go writes numbers, less hexadecimal ones.
_SAMPLE = re.compile(
    rb"([a-zA-Z_:][a-zA-Z0-9_:]*+[ \t]*(?:\{[^\"{}]*+(?:\"(?:[^\"\\]|\\.)*+\"[^\"{}]*+)*+\})?"
    rb"|\{[^\"{}]*+(?:\"(?:[^\"\\]|\\.)*+\"[^\"{}]*+)*+\})"
    rb"[ \t]*(?<=[ \t}])([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?[iI]nf|[nN]a[nN])"
    rb"(?:[ \t]+(-?\d{1,18}))?"
)

# Base units that names end in, before the suffixes of counters and sums, and how they are shown.
_UNITS = {
    "amperes": "A",
    "bytes": "B",
    "celsius": "°C",
    "hertz": "Hz",
    "joules": "J",
    "meters": "m",
    "percent": "%",
    "seconds": "s",
    "volts": "V",
    "watts": "W",
}

# Labels whose values are numbers, in which a sign means something.
_NUMERIC = frozenset({"le", "quantile"})


class ExpositionError(Exception):
    """A text is no exposition; the message tells where and why."""


class TooManySeries(ExpositionError):
    """A text has more series than are taken."""


@dataclass(slots=True)
class Reading:
    """What a text gave: samples, and why others are none. `series` counts those that were looked for."""

    samples: list[Sample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    series: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    """A sample's line as far as it is read without the parser."""

    number: int
    series: bytes  # name and labels
    value: float
    ts: float | None  # microseconds


@dataclass(frozen=True, slots=True)
class _Series:
    """What name and labels become, or the fault of them."""

    symbol: str
    tags: Tags = NO_TAGS
    fault: str = ""


class ExpositionReader:
    """Reads texts whose samples become `<prefix>.<metric>`, with a part for each label in order of names.

    `include` and `exclude` are globs of metric names. `labels` are added to those of each series and go
    before them, `tags` are added to the tags alone. A label whose name is among `reserved` becomes the tag
    `exported_<label>`. Symbols in `taken` are those of somebody else.
    """

    def __init__(
        self,
        prefix: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        most: int = MAX_SERIES,
        timestamps: bool = True,
        labels: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        reserved: Iterable[str] = (),
        taken: Iterable[str] = (),
        seconds: float = SECONDS,
    ) -> None:
        self._prefix = prefix
        self._include, self._exclude = _any_of(include), _any_of(exclude)
        self._most = most
        self._timestamps = timestamps
        self._labels = dict(labels or {})
        self._tags = dict(tags or {})
        self._reserved = frozenset(reserved) | self._tags.keys() | {"unit"}
        self._taken = frozenset(taken)
        self._seconds = seconds
        self._decided: dict[bytes, bool] = {}
        self._known: dict[bytes, _Series] = {}

    def read(self, data: bytes, content_type: str = "") -> Reading:
        """Return what a text holds; raises ExpositionError. Takes long: call it in a native thread."""
        lines = _Lines(data, self._seconds)
        kind = content_type.lower()
        if "protobuf" in kind:
            raise ExpositionError("it is in Prometheus's binary format (this reads text)")
        if not data.endswith(b"\n") and data:
            raise ExpositionError("its last line has no end, so it is not whole")
        if "openmetrics" in kind or (data.endswith(b"# EOF\n") and "version=0.0.4" not in kind):
            found = self._open_metrics(lines)
        else:
            found = self._text(lines)
        return self._reading(found)

    # -- format 0.0.4 ---------------------------------------------------------------------------------

    def _text(self, lines: _Lines) -> list[tuple[str, _Series, float, float | None]]:
        kept: list[_Line] = []
        count = 0
        for number, raw in lines:
            line = raw.strip(b" \t\r\n")
            if not line or line.startswith(b"#") or not self._wants(line, number):
                continue
            count += 1
            if count > self._most:
                continue  # only counted
            match = _SAMPLE.fullmatch(line)
            if match is None:
                raise _no_sample(number, line)
            milliseconds = None if match[3] is None else 1000.0 * int(match[3])
            kept.append(_Line(number, match[1], float(match[2]), milliseconds))
        self._check_count(count)
        known = self._known
        unknown = {line.series: line.number for line in kept if line.series not in known}
        known |= self._parsed(unknown, lines)
        # What is gone is forgotten.
        self._known = {line.series: known[line.series] for line in kept}
        return [(f"line {line.number}", known[line.series], line.value, line.ts) for line in kept]

    def _parsed(self, series: Mapping[bytes, int], lines: _Lines) -> dict[bytes, _Series]:
        """Have the parser read names and labels, which are at these lines."""
        from prometheus_client.parser import text_fd_to_metric_families

        reached = 0, b""

        def shown() -> Iterator[str]:
            nonlocal reached
            for text, number in series.items():
                reached = number, text
                lines.check_time()
                yield text.decode() + " 0\n"

        found: dict[bytes, _Series] = {}
        try:
            # Without lines of types each sample is a family of its own, and its name is left as it is.
            for family in text_fd_to_metric_families(shown()):  # type: ignore[arg-type]
                for sample in family.samples:
                    found[reached[1]] = self._series(sample.name, sample.labels)
        except ExpositionError:
            raise
        except Exception:  # whatever the parser stumbles over
            raise _no_sample(*reached) from None
        return found

    # -- OpenMetrics ----------------------------------------------------------------------------------

    def _open_metrics(self, lines: _Lines) -> list[tuple[str, _Series, float, float | None]]:
        from prometheus_client.openmetrics.parser import text_fd_to_metric_families

        # A family of which anything is wanted is shown whole: the parser checks one line by another.
        count, families, kept = 0, _Families(), set()
        for number, line in lines:
            family = families.of(line)
            if not line.startswith(b"#") and self._wants(line, number):
                count += 1
                kept.add(family)
        self._check_count(count)
        reached = 0

        def shown() -> Iterator[str]:
            nonlocal reached
            families = _Families()
            for number, line in lines:
                if families.of(line) in kept or line == b"# EOF\n":
                    reached = number
                    yield line.decode()

        found = []
        try:
            for family in text_fd_to_metric_families(shown()):  # type: ignore[no-untyped-call]
                for sample in family.samples:
                    if sample.value is not None and self._is_wanted(sample.name.encode()):
                        series = self._series(sample.name, sample.labels)
                        ts = None if sample.timestamp is None else float(sample.timestamp) * SECOND
                        found.append((sample.name, series, _number(sample.value), ts))
        except ExpositionError:
            raise
        except Exception as error:  # whatever the parser stumbles over
            why = " ".join(str(error).split())[:150] or type(error).__name__
            raise ExpositionError(f"it is no OpenMetrics, at line {reached} or before: {why}") from None
        return found

    # -- what both share ------------------------------------------------------------------------------

    def _wants(self, line: bytes, number: int) -> bool:
        """Tell whether a sample's metric is wanted; raises ExpositionError where a line has no name."""
        match = _NAME.match(line)
        if match is None:
            raise _no_sample(number, line)
        return self._is_wanted(match[1] or match[2])

    def _is_wanted(self, name: bytes) -> bool:
        decided = self._decided.get(name)
        if decided is None:
            text = name.decode(errors="replace")
            decided = (self._include is None or self._include.match(text) is not None) and (
                self._exclude is None or self._exclude.match(text) is None
            )
            if len(self._decided) >= _DECIDED:
                self._decided.clear()
            self._decided[name] = decided
        return decided

    def _check_count(self, count: int) -> None:
        if count > self._most:
            raise TooManySeries(f"it has {count} series, and at most {self._most} are taken")

    def _series(self, name: str, labels: Mapping[str, str]) -> _Series:
        """Return what a series' name and labels become."""
        labels = {**labels, **self._labels}
        if len(labels) > MAX_LABELS:
            return _Series("", fault=f"{name[:100]} has {len(labels)} labels; at most {MAX_LABELS}")
        if sum(len(label) + len(value) for label, value in labels.items()) > _LABELS_TEXT:
            return _Series("", fault=f"{name[:100]} has more than {_LABELS_TEXT} characters of labels")
        parts = (_part(label, labels[label]) for label in sorted(labels))
        symbol = ".".join((self._prefix, slug(name), *parts))
        if not is_symbol(symbol):
            shown = f"{symbol[:80]}…"
            return _Series("", fault=f"{shown} has {len(symbol)} characters; at most {MAX_SYMBOL}")
        tags = dict(self._tags)
        for label, value in labels.items():
            key = label
            while key in self._reserved or (key != label and key in labels):
                key = f"exported_{key}"
            tags[key] = value
        unit = _unit_of(name)
        if unit or unit_of(symbol, {}):  # a label's value at the end, such as `up`, tells no unit
            tags["unit"] = unit
        return _Series(symbol, Tags(tags) if tags else NO_TAGS)

    def _reading(self, found: list[tuple[str, _Series, float, float | None]]) -> Reading:
        reading = Reading(series=len(found))
        uses = Counter(series.symbol for _, series, _, _ in found)
        latest = now() + DAY
        for where, series, value, ts in found:
            fault = series.fault
            if not fault and uses[series.symbol] > 1:
                fault = f"{series.symbol} would be more than one series"
            elif series.symbol in self._taken:
                fault = f"{series.symbol} is told by Oculus itself"
            elif not self._timestamps:
                ts = None  # noqa: PLW2901
            elif ts is not None and not 0 <= ts <= latest:
                fault = fault or f"{series.symbol} has a time before 1970 or more than a day ahead"
            if fault:
                reading.faults.append(f"{where}: {fault}")
            elif math.isfinite(value):
                stamp = None if ts is None else Micros(round(ts))
                reading.samples.append(Sample(series.symbol, value, stamp, series.tags))
        return reading


class _Lines:
    """The lines of a text with their numbers, as bytes; raises ExpositionError for what takes too long."""

    def __init__(self, data: bytes, seconds: float) -> None:
        self._data = data
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(io.BytesIO(self._data), 1):
            if number % _LOOK == 0:
                self.check_time()
            if len(line) > _LONGEST_LINE:
                raise ExpositionError(f"line {number} has {len(line)} bytes; at most {_LONGEST_LINE}")
            yield number, line

    def check_time(self) -> None:
        """Raise ExpositionError when the time is over."""
        if time.monotonic() > self._until:
            raise ExpositionError(f"it was not read within {self._seconds:g} s")


class _Families:
    """Counts the families of an OpenMetrics text: each begins with the first line that describes it."""

    def __init__(self) -> None:
        self._count = 0
        self._name = b""

    def of(self, line: bytes) -> int:
        """Return the number of the family that the next line is in."""
        if line.startswith(b"# "):
            name = (line.split(b" ", 3) + [b""] * 2)[2]
            if name != self._name:
                self._count, self._name = self._count + 1, name
        return self._count


def told(faults: Sequence[str]) -> str:
    """Return the first fault, and how many more there are."""
    return faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")


def _any_of(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, globs))) if globs else None


def _no_sample(number: int, line: bytes) -> ExpositionError:
    text = line.decode(errors="replace").strip()
    shown = text[:60] + "…" if len(text) > 60 else text
    return ExpositionError(f"line {number} is no sample: {shown!r}")


def _part(label: str, value: str) -> str:
    """Return a label's value as a part of a symbol; 1e-06 and 1e+06 are two buckets, as are -5 and 5."""
    if label in _NUMERIC:
        value = value.replace("+", "").replace("-", "m")
    return slug(value)


def _unit_of(name: str) -> str:
    stem = name.removesuffix("_total").removesuffix("_sum")
    return _UNITS.get(stem.rpartition("_")[2], "")


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
