"""A notice as plain text, for services that show text and little else: alerts line by line, within limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from oculus.clock import SECOND
from oculus.model import Micros, Transition, unit_of
from oculus.notify.notice import Notice, duration, line

# Alerts beside which their conditions with the values are shown: of more, the values alone are enough.
_EXPLAINED = 5

# What Oculus's own links end in.
_PATH = re.compile(r"/(?:alerts|rules)(?:/[^/]*)?$")

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
    if found := _PATH.search(link):
        return link[: found.start()]
    parts = urlsplit(link)
    return f"{parts.scheme}://{parts.netloc}" if link else ""


def page(step: Transition, notice: Notice) -> str:
    """Return a link to the page of one of a notice's alerts, or of its rule: its own leads to the first."""
    if not notice.link or step == notice.alerts[0]:
        return notice.link
    return f"{home(notice.link)}/rules/{quote(step.rule, safe='')}"


def explained(step: Transition, count: int) -> bool:
    """Tell whether the condition with its values is worth a line beside `count` alerts: not when the message
    is just that."""
    told = step.explanation and step.explanation not in step.message
    return bool(told) and step.state == "firing" and count <= _EXPLAINED


def figure(step: Transition) -> str:
    """Return the value with its unit, empty where there is none."""
    if step.value is None:
        return ""
    unit = unit_of(step.symbol or "", step.labels)
    return f"{step.value:.12g} {'' if unit in ('bool', 'code') else unit}".strip()


def unsaid(step: Transition, count: int) -> str:
    """Return the value of an alert that fires, if neither its message nor a line for its condition has it."""
    value = figure(step)
    if not value or step.state != "firing" or explained(step, count):
        return ""
    number = rf"(?<![\w.]){re.escape(value.partition(' ')[0])}(?!\.?\d)"
    told = (step.explanation and step.explanation in step.message) or re.search(number, step.message)
    return "" if told else value


def _line(step: Transition, notice: Notice, mixed: bool, rules: bool) -> str:
    """Return the line of an alert, led by what the title cannot say of all of them."""
    lead, count = "", len(notice.alerts)
    if step.state != "firing":
        lead = "resolved: " if notice.firing else ""
    elif mixed:
        lead = f"[{step.severity}] "
    rule = f"{step.rule}: " if rules else ""
    told = ", ".join(filter(None, (f"{lead}{rule}{line(step, notice.sent_at)}", unsaid(step, count))))
    return f"{told}\n{step.explanation}" if explained(step, count) else told


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
