"""A notice as plain text, for services that show text and little else: alerts line by line, within limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from oculus.clock import SECOND
from oculus.model import Micros, Transition
from oculus.notify.notice import Notice, duration, line

# More than anybody reads on a phone; a service may allow less.
LONGEST = 10_000  # characters

Measure = Callable[[str], int]


def text_of(notice: Notice, longest: int = LONGEST, measure: Measure = len) -> str:
    """Return what a notice tells below its title, at most `longest` as `measure` counts.

    What does not fit is cut at a line: alerts are then counted.
    """
    if notice.text:
        return _cut(notice.text, longest, measure)
    mixed = len({step.severity for step in notice.firing}) > 1
    rules = len({step.rule for step in notice.alerts}) > 1
    lines = [_line(step, notice, mixed, rules) for step in notice.alerts]
    after: list[str] = []
    if len(lines) == 1 and notice.fires and notice.firing[0].explanation not in notice.firing[0].message:
        lines[0] += f"\n{notice.firing[0].explanation}"
    if notice.late:
        after.append(late_note(notice))

    def showing(shown: int) -> str:
        left = len(lines) - shown + notice.more
        return "\n".join([*lines[:shown], *([f"… +{left} more"] if left else []), *after])

    shown = _most(len(lines), lambda count: measure(showing(count)) <= longest)
    return showing(shown) if shown else _cut(lines[0], longest, measure)


def late_note(notice: Notice) -> str:
    """Return the line that says how late a notice comes, and when what it tells began."""
    began = min(step.started_at for step in notice.alerts)
    return f"Sent {duration(notice.sent_at - notice.at)} late; it began at {clock(began, notice.sent_at)}."


def clock(ts: Micros, beside: Micros) -> str:
    """Return a time of day in UTC, with its date when that is not the one of `beside`."""
    moment, other = (datetime.fromtimestamp(each / SECOND, UTC) for each in (ts, beside))
    return moment.strftime("%H:%M UTC" if moment.date() == other.date() else "%Y-%m-%d %H:%M UTC")


def one_line(text: str, longest: int) -> str:
    """Return a text in one line of at most `longest` characters."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def home(link: str) -> str:
    """Return the address of Oculus itself that a link into its pages begins with; empty without a link."""
    start, found, _ = link.partition("/alerts/")
    if found:
        return start
    parts = urlsplit(link)
    return f"{parts.scheme}://{parts.netloc}" if link else ""


def _line(step: Transition, notice: Notice, mixed: bool, rules: bool) -> str:
    """Return the line of an alert, led by what the title cannot say of all of them."""
    lead = ""
    if step.state != "firing":
        lead = "resolved: " if notice.firing else ""
    elif mixed:
        lead = f"[{step.severity}] "
    return f"{lead}{f'{step.rule}: ' if rules else ''}{line(step, notice.sent_at)}"


def _cut(text: str, longest: int, measure: Measure) -> str:
    """Return a text that is cut at a line, or within its first one."""
    text = text.strip()
    if measure(text) <= longest:
        return text
    lines = text.split("\n")

    def showing(shown: int) -> str:
        return "\n".join([*lines[:shown], f"… +{len(lines) - shown} more lines"])

    shown = _most(len(lines) - 1, lambda count: measure(showing(count)) <= longest)
    if shown:
        return showing(shown)
    return lines[0][: _most(len(lines[0]), lambda count: measure(f"{lines[0][:count]}…") <= longest)] + "…"


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """Return the most up to `count` that fits, 0 when nothing does: what is less fits too."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
