"""What a channel sends: one message about the alerts of a group, and how it is told in words.

Pure values: each channel puts them into the form of its service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from oculus.clock import SECOND
from oculus.model import NO_TAGS, SEVERITIES, Micros, Severity, Transition

Reason = Literal["first", "more", "resolved", "over", "repeat", "test"]

# What a person makes of a span shorter than this is nothing: a message is late beyond it.
LATE = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. `id` is the same for each try, so that a service or reader can tell a repetition.

    `firing` and `resolved` are the last steps of the alerts, oldest first; `more` are so many further ones
    that were left out. `at` is when it was to be sent, `sent_at` this try. `link` leads to the page of the
    first alert, or to its rule's, and `series_link` to that of its series, where it is about one; both are
    empty without `server.public_url`. `text` is the channel's own template, rendered; empty: none is given.
    `history` are the newest values of the first alert's series, oldest first, for a small chart.
    """

    id: str
    reason: Reason
    firing: tuple[Transition, ...]
    resolved: tuple[Transition, ...]
    at: Micros
    sent_at: Micros
    group: Mapping[str, str] = NO_TAGS
    more: int = 0
    link: str = ""
    series_link: str = ""
    text: str = ""
    history: tuple[float, ...] = field(default=(), repr=False)

    @property
    def alerts(self) -> tuple[Transition, ...]:
        """All steps, those that fire first."""
        return (*self.firing, *self.resolved)

    @property
    def fires(self) -> bool:
        """Whether anything still fires."""
        return bool(self.firing)

    @property
    def severity(self) -> Severity:
        """The worst severity of what fires, or of what ended when nothing does."""
        steps = self.firing or self.resolved
        return max((step.severity for step in steps), key=SEVERITIES.index)

    @property
    def title(self) -> str:
        """One line: what it is about, and how it stands."""
        first = self.alerts[0]
        about = first.rule if len({step.rule for step in self.alerts}) == 1 else "several rules"
        if len(self.alerts) + self.more == 1 and first.symbol:
            about = f"{first.rule} ({first.symbol})"
        if not self.firing:
            return f"Resolved: {about}"
        count = len(self.firing) + (self.more if not self.resolved else 0)
        told = f"[{self.severity}] {about}"
        return told if count == 1 else f"{told}: {count} alerts"

    @property
    def late(self) -> float:
        """The seconds by which it comes late; 0 when it does not."""
        behind = self.sent_at - self.at
        return behind / SECOND if behind > LATE else 0.0


def line(step: Transition, now: Micros) -> str:
    """Return an alert in one line: its message, and for how long it has been or was so."""
    held = duration((now if step.state == "firing" else step.ts) - step.started_at)
    if step.state == "firing":
        return f"{step.message} (for {held})" if held else step.message
    return f"{step.message} (lasted {held})"


def duration(micros: int) -> str:
    """Return a span in its two largest units, empty below a second."""
    seconds = micros // SECOND
    for size, unit, part, smaller in (
        (86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"),
    ):  # fmt: skip
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {unit} {rest} {smaller}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s" if seconds > 0 else ""
