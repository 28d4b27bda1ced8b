"""Silences: which alerts are told to nobody, and until when. Pure: the time is an argument.

A silence matches an alert when each of its matchers does. `rule=site_*` looks at the rule's name,
`severity=warn` at its severity, `started_at=2026-01-31T*` at when it began, any other name at the label of
that name. One that names the very moment when an alert began ends with that alert: if it comes again, it is
told.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from typing import Literal

from oculus.clock import DAY, iso
from oculus.errors import OculusError
from oculus.model import SEVERITIES, Micros

MOST = 1_000  # silences that are kept, those that are over included: a bound on memory
KEPT = 7 * DAY  # microseconds that one stays listed after its end
# What is to be silent for longer is better taken out of the configuration, where it is seen.
LONGEST = 366 * DAY  # microseconds that one lasts, and that it may lie ahead

MOST_MATCHERS = 20  # of one silence
LONGEST_MATCHER = 300  # characters: the longest symbol has 200
LONGEST_COMMENT = 500  # characters; a line for people

_NAMES = frozenset({"rule", "severity", "started_at"})  # of matchers that are not about labels

SilenceState = Literal["active", "planned", "expired"]
SILENCE_STATES: tuple[SilenceState, ...] = ("active", "planned", "expired")


class SilenceError(OculusError):
    """A silence cannot be made as it was asked for."""


class TooManySilences(SilenceError):
    """There is no room for another silence."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """`NAME=GLOB`: what a rule's name, its severity or a label must be like; `*` stands for dots too."""

    name: str
    glob: str
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", re.compile(translate(self.glob)))

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Return the matcher that a text is; raises SilenceError."""
        name, _, glob = text.partition("=")
        name = name.strip()
        if not (name and glob):
            told = f"{text[:100]!r} is no matcher (NAME=GLOB, such as rule=site_* or severity=warn)"
            raise SilenceError(told)
        if len(text) > LONGEST_MATCHER:
            raise SilenceError(f"a matcher is longer than {LONGEST_MATCHER} characters: {text[:60]!r}…")
        if not text.isprintable():
            raise SilenceError(f"the matcher {text!r} has a control character in it")
        made = cls(name, glob)
        if name == "severity" and not any(made.pattern.match(severity) for severity in SEVERITIES):
            raise SilenceError(f"{text} matches no severity (they are {', '.join(SEVERITIES)})")
        return made

    @classmethod
    def exactly(cls, name: str, value: str) -> Matcher:
        """Return the matcher of one value, whatever signs it has; for what cannot be printed any sign will
        do."""
        glob = re.sub(r"([*?[])", r"[\1]", value)
        return cls(name, "".join(sign if sign.isprintable() else "?" for sign in glob))

    def __str__(self) -> str:
        return f"{self.name}={self.glob}"


@dataclass(frozen=True, slots=True)
class Silence:
    """No alert that all matchers match is sent from `starts_at` until right before `ends_at`."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: Micros
    ends_at: Micros
    comment: str
    created_at: Micros

    def state(self, now: Micros) -> SilenceState:
        """Tell whether it is in force, is to come, or is over."""
        if now >= self.ends_at:
            return "expired"
        return "active" if now >= self.starts_at else "planned"

    def matches(
        self, rule: str, severity: str, labels: Mapping[str, str], since: Micros | None = None
    ) -> bool:
        """Tell whether it is about such an alert, which began at `since`; a label that the alert lacks
        matches nothing."""
        for matcher in self.matchers:
            if matcher.name == "rule":
                value: str | None = rule
            elif matcher.name == "severity":
                value = severity
            elif matcher.name == "started_at":
                value = None if since is None else iso(since)
            else:
                value = labels.get(matcher.name)
            if value is None or matcher.pattern.match(value) is None:
                return False
        return True

    @property
    def once(self) -> bool:
        """Whether it ends with the alert, since it is about one beginning of it."""
        return any(matcher.name == "started_at" for matcher in self.matchers)

    def what(self) -> str:
        """Return its matchers as one line, in which quotes keep blanks together."""
        return " ".join(f'"{text}"' if " " in text else text for text in map(str, self.matchers))

    @property
    def reason(self) -> str:
        """Return what stands at an alert that was held back by it."""
        return f"silence {self.id}: {self.comment}" if self.comment else f"silence {self.id}"

    def to_json(self) -> str:
        """Return it as it is stored."""
        return json.dumps(
            {
                "id": self.id,
                "matchers": [[matcher.name, matcher.glob] for matcher in self.matchers],
                "starts_at": self.starts_at,
                "ends_at": self.ends_at,
                "comment": self.comment,
                "created_at": self.created_at,
            }
        )

    @classmethod
    def of_json(cls, text: str) -> Silence:
        """Return a stored one; raises ValueError, TypeError or KeyError for what is none."""
        stored = json.loads(text)
        return cls(
            id=str(stored["id"]),
            matchers=tuple(Matcher(str(name), str(glob)) for name, glob in stored["matchers"]),
            starts_at=Micros(int(stored["starts_at"])),
            ends_at=Micros(int(stored["ends_at"])),
            comment=str(stored["comment"]),
            created_at=Micros(int(stored["created_at"])),
        )


class Silences:
    """All silences of a daemon, by id."""

    def __init__(
        self, silences: Iterable[Silence] = (), new_id: Callable[[], str] = lambda: secrets.token_hex(3)
    ) -> None:
        self._new_id = new_id
        self._by_id = {silence.id: silence for silence in silences}

    def add(
        self, matchers: Iterable[str], starts_at: Micros, ends_at: Micros, comment: str, now: Micros
    ) -> Silence:
        """Take another one in and return it with its id; raises SilenceError.

        One that began in the past begins now. What has been over for KEPT is forgotten, and sooner when
        there is no room.
        """
        starts_at = max(starts_at, now)
        made = Silence("", _parsed(matchers), starts_at, ends_at, _line(comment), now)
        if ends_at <= starts_at:
            why = "is over already" if ends_at <= now else "ends before it begins"
            raise SilenceError(f"such a silence {why}: it ends at {iso(ends_at)}")
        if max(ends_at - starts_at, starts_at - now) > LONGEST:
            raise SilenceError(f"a silence lasts {LONGEST // DAY} days at most, and lies no further ahead")
        self._make_room(now)
        id = self._new_id()
        while id in self._by_id:
            id = self._new_id()
        self._by_id[id] = made = replace(made, id=id)
        return made

    def expire(self, id: str, now: Micros) -> Silence | None:
        """End one now, and return it as it is then; None when there is none of this id."""
        silence = self._by_id.get(id)
        if silence is None or silence.ends_at <= now:
            return silence
        # One that is yet to come has neither begun nor lasted.
        ended = replace(silence, starts_at=min(silence.starts_at, now), ends_at=now)
        self._by_id[id] = ended
        return ended

    def get(self, id: str) -> Silence | None:
        """Return one by its id."""
        return self._by_id.get(id)

    def all(self, now: Micros) -> list[Silence]:
        """Return those in force, the first to end first, then those to come, then those that are over."""
        kept = [silence for silence in self._by_id.values() if now < silence.ends_at + KEPT]
        return sorted(kept, key=lambda silence: _place(silence, now))

    def active(self, now: Micros) -> list[Silence]:
        """Return those in force, the first to end first."""
        return [silence for silence in self.all(now) if silence.state(now) == "active"]

    def matching(
        self, rule: str, severity: str, labels: Mapping[str, str], now: Micros, since: Micros | None = None
    ) -> Silence | None:
        """Return the silence that holds an alert back at `now`, which began at `since`; of several the one
        that lasts longest."""
        found: Silence | None = None
        for silence in self._by_id.values():
            if (
                silence.starts_at <= now < silence.ends_at
                and (found is None or found.ends_at < silence.ends_at)
                and silence.matches(rule, severity, labels, since)
            ):
                found = silence
        return found

    def snapshot(self) -> dict[str, Silence]:
        """Return all of them by id."""
        return dict(self._by_id)

    def restore(self, silences: Mapping[str, Silence]) -> None:
        """Take these in place of what there is."""
        self._by_id = dict(silences)

    def _make_room(self, now: Micros) -> None:
        over = [silence for silence in self._by_id.values() if silence.ends_at <= now]
        over.sort(key=lambda silence: silence.ends_at)
        for silence in over:
            if silence.ends_at + KEPT > now and len(self._by_id) < MOST:
                break
            del self._by_id[silence.id]
        if len(self._by_id) >= MOST:
            raise TooManySilences(f"there are {MOST} silences already; end those that are needed no more")


def of_alert(rule: str, labels: Mapping[str, str], since: Micros | None = None) -> list[str]:
    """Return the matchers of one alert, or of its one beginning; labels that no matcher can name are left
    out."""
    found = [Matcher.exactly("rule", rule)]
    if since is not None:
        found.append(Matcher.exactly("started_at", iso(since)))
    for name, value in labels.items():
        plain = name == name.strip() and name.isprintable() and "=" not in name and name not in _NAMES
        matcher = Matcher.exactly(name, value)
        if name and value and plain and len(str(matcher)) <= LONGEST_MATCHER:
            found.append(matcher)
    return [str(matcher) for matcher in found[:MOST_MATCHERS]]


def _parsed(texts: Iterable[str]) -> tuple[Matcher, ...]:
    found = tuple(dict.fromkeys(map(Matcher.parse, texts)))
    if not found:
        raise SilenceError("a silence needs a matcher, such as rule=site_* (rule=* is about every alert)")
    if len(found) > MOST_MATCHERS:
        raise SilenceError(f"a silence has {MOST_MATCHERS} matchers at most; these are {len(found)}")
    return found


def _line(comment: str) -> str:
    """Return a comment as one line that can be printed; raises SilenceError when it is too long."""
    line = " ".join(comment.split())
    if len(line) > LONGEST_COMMENT:
        raise SilenceError(f"the comment is longer than {LONGEST_COMMENT} characters")
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def _place(silence: Silence, now: Micros) -> tuple[int, int]:
    state = silence.state(now)
    when = {"active": silence.ends_at, "planned": silence.starts_at, "expired": -silence.ends_at}[state]
    return SILENCE_STATES.index(state), when
