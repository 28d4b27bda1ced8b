"""Reads the Prometheus text exposition (format 0.0.4) as strictly as the format's rules are written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
_HELP = re.compile(rf"# HELP ({_NAME}) ((?:[^\\]|\\\\|\\n)*)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (\S+)( -?\d+)?")
_VALUE = re.compile(r"NaN|[+-]Inf|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_ESCAPE = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """One metric family: its samples by name and labels."""

    name: str
    help: str = ""
    type: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def parse(text: str) -> dict[str, Family]:
    """Return the families by name; fails at the first line that breaks a rule of the format."""
    assert text.endswith("\n"), "the last line has no end"
    assert "\r" not in text
    families: dict[str, Family] = {}
    current: Family | None = None
    for line in text.removesuffix("\n").split("\n"):
        if match := _HELP.fullmatch(line):
            assert match[1] not in families, f"a second HELP, or a family in two pieces: {line}"
            current = families[match[1]] = Family(match[1], help=match[2])
        elif match := _TYPE.fullmatch(line):
            assert current is not None, line
            assert current.name == match[1], f"TYPE without its HELP: {line}"
            assert not current.type, f"a second TYPE: {line}"
            assert not current.samples, f"TYPE after samples: {line}"
            current.type = match[2]
        else:
            assert current is not None, f"a sample before its family: {line}"
            _sample(line, current)
    for family in families.values():
        assert family.type, f"{family.name} has no type"
        if family.type == "histogram":
            _histogram(family)
    return families


def _sample(line: str, family: Family) -> None:
    match = _SAMPLE.fullmatch(line)
    assert match, f"not a sample: {line!r}"
    suffixes = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
    assert match[1] in {family.name + suffix for suffix in suffixes}, f"{line!r} is not of {family.name}"
    assert _VALUE.fullmatch(match[3]), f"not a value: {line!r}"
    labels = []
    for label in re.findall(_LABEL, match[2] or ""):
        name, _, quoted = label.partition("=")
        labels.append((name, re.sub(r"\\.", lambda found: _ESCAPE[found[0]], quoted[1:-1])))
    assert len({name for name, _ in labels}) == len(labels), f"a label twice: {line!r}"
    key = (match[1], tuple(sorted(labels)))
    assert key not in family.samples, f"a sample twice: {line!r}"
    family.samples[key] = float(match[3].replace("Inf", "inf"))


def _histogram(family: Family) -> None:
    buckets = [
        (float(dict(labels)["le"].replace("Inf", "inf")), value)
        for (name, labels), value in family.samples.items()
        if name == f"{family.name}_bucket"
    ]
    assert buckets == sorted(buckets), f"{family.name}: its buckets are not in order, or not cumulative"
    assert buckets[-1][0] == float("inf"), f"{family.name} has no +Inf bucket"
    assert family.samples[f"{family.name}_count", ()] == buckets[-1][1], f"{family.name}: count ≠ +Inf"
    assert (f"{family.name}_sum", ()) in family.samples
