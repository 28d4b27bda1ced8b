"""`expect:` of the HTTP probe: what can be asked of an answer, and whether it is so."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oculus.collectors.extract.documents import HUB_JSON, loads, loads_politely
from oculus.collectors.extract.numerals import shown
from oculus.collectors.network.expect import Comparison, JsonCondition, Pattern
from oculus.collectors.network.http_answer import Head, unpacked
from oculus.collectors.network.probe import ProbeError
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST
from oculus.cooperate import slices

# Longest JSON whose conditions are looked at in the hub: a path takes about 20 µs for each KB at worst.
_HUB_PATHS = 8 * 1024  # bytes
# Longest body that is turned into UTF-8 in the hub.
_HUB_TEXT = 256 * 1024  # bytes
# Part of a body that is searched for a text at once: up to 4 µs for each KB.
_HUB_SEARCH = 512 * 1024  # bytes
_SNIPPET = 80  # characters of a body that a reason shows

_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE | re.ASCII)
# What is not UTF-8 and yet text: other codecs of Python's are slow, or no character sets at all.
_CHARSETS = ("iso8859", "cp125", "cp8", "koi8", "utf-16", "gb", "big5", "euc", "shift_jis", "iso2022")


@dataclass(frozen=True, slots=True)
class StatusSet:
    """A set of status codes: `200`, `200-299`, `200-299,301`."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> StatusSet:
        """Return the set that `text` describes; raises ValueError."""
        ranges = []
        for part in text.replace(" ", "").split(","):
            low, dash, high = part.partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()):
                raise ValueError(f"{text!r} is no set of status codes (such as 200, 200-299 or 200-299,404)")
            first, last = int(low), int(high or low)
            if not 100 <= first <= last <= 599:
                raise ValueError(f"{part!r} is no range of status codes (100 to 599)")
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{low}-{high}" if low != high else str(low) for low, high in self.ranges)


@dataclass(frozen=True, slots=True)
class HeaderText:
    """What the value of a header must hold: a text, or between slashes a regular expression."""

    text: str
    pattern: Pattern | None

    @classmethod
    def parse(cls, text: str) -> HeaderText:
        """Return what `text` describes; raises ValueError."""
        is_pattern = len(text) > 2 and text.startswith("/") and text.endswith("/")
        return cls(text, Pattern(text[1:-1]) if is_pattern else None)

    def fault(self, name: str, values: list[str]) -> str:
        """Return why no header of this name is right; an empty text where one is. Raises ProbeError."""
        if not values:
            return f"no header {name}, expected {self._wanted}"
        for value in values:
            if self.text in value if self.pattern is None else self.pattern.found_in(value.encode()):
                return ""
        return f"header {name} is {shown(values[-1])}, expected {self._wanted}"

    @property
    def _wanted(self) -> str:
        return repr(self.text) if self.pattern is None else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectSettings:
    """`expect:`: what the answer must be for the target to count as up."""

    status: StatusSet = setting(StatusSet.parse("200-299"), help="status codes that are right")
    headers: Mapping[str, HeaderText] = setting(
        factory=dict, help="header → text that it must hold, or /regular expression/"
    )
    body: tuple[str, ...] = setting((), help="text that must be in the body; several as a list")
    not_body: tuple[str, ...] = setting((), help="text that must not be in it")
    body_regex: tuple[Pattern, ...] = setting((), help="regular expression that the body must match")
    not_body_regex: tuple[Pattern, ...] = setting((), help="regular expression that it must not match")
    json: tuple[JsonCondition, ...] = setting((), help="condition on a JSON body: $.status == 'up'")
    cert_days: Comparison | None = setting(None, help="days that the certificate must have left: > 14")
    max_time: Seconds | None = setting(
        None, help="longest time of the whole", check=between(0.001, LONGEST, "s")
    )

    def __post_init__(self) -> None:
        if any(not text for text in (*self.body, *self.not_body)):
            raise ValueError("body and not_body need a text: an empty one is in every body")
        if self.cert_days is not None and not isinstance(self.cert_days.wanted, int | float):
            raise ValueError("cert_days is a number of days (such as > 14)")

    def status_fault(self, status: int) -> str:
        """Return why a status is not as expected; an empty text where it is."""
        return "" if status in self.status else f"status {status}, expected {self.status}"

    @property
    def reads_body(self) -> bool:
        """Whether anything is expected of the body."""
        return bool(self.body or self.not_body or self.body_regex or self.not_body_regex or self.json)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: the head, the body as it was sent, the time of the whole, and the certificate's days."""

    head: Head
    body: bytes
    seconds: float
    cert_days: float | None
    max_body: int


Aside = Callable[..., Any]


def fault_of(expect: ExpectSettings, answer: Answer, aside: Aside) -> str:
    """Return why an answer of the right status is not as expected; an empty text where it is.

    `aside(work, argument)` runs what would hold the hub for too long in a native thread.
    """
    head = answer.head
    if expect.cert_days is not None:
        if answer.cert_days is None:
            return f"no certificate over plain HTTP, expected cert_days {expect.cert_days}"
        if told := expect.cert_days.fault(answer.cert_days):
            return f"cert_days {told}"
    try:
        for name, wanted in expect.headers.items():
            if told := wanted.fault(name, head.all(name.lower())):
                return told
        if expect.reads_body and (told := _body_fault(expect, answer, aside)):
            return told
    except ProbeError as error:
        return str(error)
    if expect.max_time is not None and answer.seconds > expect.max_time:
        return f"took {answer.seconds:.3f} s, expected at most {expect.max_time:g} s"
    return ""


def _body_fault(expect: ExpectSettings, answer: Answer, aside: Aside) -> str:
    body = unpacked(answer.head, answer.body, answer.max_body)
    text = _utf8(answer.head, body, aside)
    for wanted in expect.body:
        if not _holds(text, wanted):
            return f"{shown(wanted)} is not in the body, which is {_snippet(text)}"
    for unwanted in expect.not_body:
        if _holds(text, unwanted):
            return f"{shown(unwanted)} is in the body"
    for pattern in expect.body_regex:
        if not pattern.found_in(text):
            return f"the body does not match {pattern.text!r}; it is {_snippet(text)}"
    for pattern in expect.not_body_regex:
        if pattern.found_in(text):
            return f"the body matches {pattern.text!r}"
    if not expect.json:
        return ""
    try:
        document = loads(body) if len(body) <= HUB_JSON else aside(loads_politely, body)
    except (ValueError, RecursionError):
        return f"the body is not JSON, it is {_snippet(text)}"
    if len(body) <= _HUB_PATHS:
        return _json_fault(expect.json, document)
    told: str = aside(_json_fault, expect.json, document)
    return told


def _holds(text: bytes, wanted: str) -> bool:
    """Tell whether a text is in another; in a long one it is searched piece by piece, which overlap."""
    sought = wanted.encode("utf-8", "surrogateescape")
    step = max(_HUB_SEARCH, len(sought))
    return any(
        text.find(sought, at, at + step + len(sought) - 1) >= 0 for at in slices(range(0, len(text), step))
    )


def _json_fault(conditions: tuple[JsonCondition, ...], document: Any) -> str:
    return next(filter(None, (condition.fault(document) for condition in conditions)), "")


def _utf8(head: Head, body: bytes, aside: Aside) -> bytes:
    """Return a text as UTF-8; what names no other character set is taken for that."""
    found = _CHARSET.search(head.headers.get("content-type", "")[:200])
    if found is None or found[1].lower() in ("utf-8", "utf8", "us-ascii"):
        return body
    try:
        name = codecs.lookup(found[1]).name
    except LookupError:
        return body
    if not name.startswith(_CHARSETS):
        return body
    turned: bytes = _turned(body, name) if len(body) <= _HUB_TEXT else aside(_turned, body, name)
    return turned


def _turned(body: bytes, charset: str) -> bytes:
    return body.decode(charset, "replace").encode("utf-8", "replace")


def _snippet(text: bytes) -> str:
    """Return the beginning of a body, fit for a reason: one line, tags left out."""
    start = re.sub(r"<[^>]*>|\s+", " ", text[:2_000].decode("utf-8-sig", "replace"))
    start = "".join(sign if sign.isprintable() else "·" for sign in " ".join(start.split()))
    return (start[:_SNIPPET] + "…" if len(start) > _SNIPPET else start) or "(empty)"
