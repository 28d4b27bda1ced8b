"""The Prometheus text exposition (format 0.0.4) of Oculus itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: samples as (suffix of the name, labels, value)."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Sequence[tuple[str, dict[str, str], float]]


def counter(name: str, help: str, value: float, **labels: str) -> Metric:
    """Return a counter with one sample; by convention its name ends in `_total`."""
    return Metric(name, "counter", help, (("", labels, value),))


def gauge(name: str, help: str, value: float, **labels: str) -> Metric:
    """Return a gauge with one sample."""
    return Metric(name, "gauge", help, (("", labels, value),))


def histogram(name: str, help: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    """Return a histogram; `counts` are per bucket, the last one for what exceeds all `bounds`."""
    samples: list[tuple[str, dict[str, str], float]] = []
    seen = 0
    for bound, count in zip((*bounds, math.inf), counts, strict=True):
        seen += count
        samples.append(("_bucket", {"le": number(bound)}, seen))
    samples += [("_sum", {}, total), ("_count", {}, seen)]
    return Metric(name, "histogram", help, samples)


def number(value: float) -> str:
    """Return a value as the format writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def render(metrics: Iterable[Metric]) -> str:
    """Return the whole exposition, each family in one piece."""
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.type}")
        for suffix, labels, value in metric.samples:
            inside = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
            lines.append(f"{metric.name}{suffix}{'{' + inside + '}' if inside else ''} {number(value)}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escape(text).replace('"', '\\"')
