"""What chats share: a notice in lines, which each service marks up, and pages of them within its limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from oculus.config.decode import setting
from oculus.notify.chart import png
from oculus.notify.http import HttpSettings
from oculus.notify.notice import Notice, line
from oculus.notify.plain import clock, explained, figure, late_note, unsaid
from oculus.threads import NativeThreads

# A sign and a colour for each severity, the same in all chats.
Mood = Literal["info", "warn", "error", "critical", "resolved"]
SIGNS: dict[Mood, str] = {"info": "🔵", "warn": "🟡", "error": "🟠", "critical": "🔴", "resolved": "🟢"}
COLOURS: dict[Mood, int] = {
    "info": 0x3498DB, "warn": 0xF1C40F, "error": 0xE67E22, "critical": 0xE74C3C, "resolved": 0x2ECC71,
}  # fmt: skip

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 24  # values: they fit a telephone's width

_PICTURE = (640, 200)  # pixels: as wide as a telephone shows
_PAPER = "#ffffff"  # Telegram makes a photograph of it, in which nothing is transparent

# Of a text, be it a template's or an alert's: more than all pages of any service hold.
_LONGEST = 30_000  # characters

# Control characters have no place in a chat, and some services refuse a message for them.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

# What a line is; `marked` is a template's own markup, which is left as it is.
Kind = Literal["title", "heading", "alert", "text", "note", "marked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings(HttpSettings):
    """What every chat can be told."""

    markup: bool = setting(
        False, help="whether the template's text is in the service's own markup, and so not escaped"
    )
    chart: bool = setting(True, help="whether a single alert shows what its series did before")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a message before it is marked up. `alerts` is how many of them it stands for."""

    text: str
    kind: Kind = "text"
    alerts: int = 0


Render = Callable[[Line], str]
Measure = Callable[[str], int]


def mood(notice: Notice) -> Mood:
    """Return what a notice looks like: its severity, or that all is over."""
    return notice.severity if notice.fires else "resolved"


def mentions(notice: Notice, mention: Sequence[str]) -> Sequence[str]:
    """Return who is to be called: somebody only for what fires and is critical."""
    return mention if notice.fires and notice.severity == "critical" else ()


def title(notice: Notice) -> str:
    """Return the title, led by its sign."""
    return f"{SIGNS[mood(notice)]} {_clean(notice.title)}"


def late(notice: Notice) -> str:
    """Return the note that a message comes late, empty when it does not."""
    return late_note(notice) if notice.late else ""


def body(notice: Notice, markup: bool) -> list[Line]:
    """Return the lines below the title: the channel's own template, or the alerts and what explains them."""
    if notice.text:
        kind: Kind = "marked" if markup else "text"
        return [Line(text, kind) for text in _clean(notice.text.strip()[:_LONGEST]).split("\n")]
    return [*_alerts(notice), *_more(notice.more)]


def facts(notice: Notice, bars: bool) -> list[tuple[str, str]]:
    """Return what there is to know of a single alert, by name; nothing for several, or beside a template.

    With `bars` it tells what the series did before, too.
    """
    if notice.text or len(notice.alerts) != 1 or notice.more:
        return []
    (step,) = notice.alerts
    found: list[tuple[str, str]] = [("Severity", step.severity)]
    if value := figure(step):
        found.append(("Value", value))
    found.append(("Began", clock(step.started_at, notice.sent_at)))
    if step.state != "firing":
        found.append(("Ended", clock(step.ts, notice.sent_at)))
    if bars and (drawn := sparkline(notice.history)):
        found.append(("Lately", drawn))
    return [(name, _clean(text)) for name, text in found]


def sparkline(values: Sequence[float]) -> str:
    """Return the newest values as a row of bars, empty for fewer than two."""
    known = [value for value in values if math.isfinite(value)][-_MOST_BARS:]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = high / 2 - low / 2  # halves: of the largest numbers there is no difference
    steps = ((value / 2 - low / 2) / span if span else 0.5 for value in known)
    return "".join(_BARS[min(int(step * len(_BARS)), len(_BARS) - 1)] for step in steps)


def picture(notice: Notice) -> bytes:
    """Return a PNG of what the series of a single alert did before; empty where there is too little of it."""
    if len(notice.alerts) != 1 or notice.more or sum(map(math.isfinite, notice.history)) < 2:
        return b""
    threads = NativeThreads(1)
    try:
        return threads.run(png, notice.history, *_PICTURE, f"#{COLOURS[mood(notice)]:06x}", _PAPER)
    finally:
        threads.close()


def units(text: str) -> int:
    """Return a text's length in UTF-16 units, as Telegram counts; for others it is no less than theirs."""
    return len(text) + sum(sign > "\uffff" for sign in text)


def clipped(text: str, most: int, escape: Callable[[str], str] = str) -> str:
    """Return a text in one line, escaped, of at most `most` UTF-16 units."""
    text = " ".join(_clean(text[:_LONGEST]).split())
    if units(found := escape(text)) <= most:
        return found
    text = text[: most - 1]
    while units(escape(text)) > most - 1:
        text = text[:-1]
    return f"{escape(text.rstrip())}…"


def paged(
    lines: Iterable[Line], room: int, render: Render, *, pages: int = 1, measure: Measure = units
) -> list[str]:
    """Return lines, marked up by `render`, as at most `pages` texts of at most `room` as `measure` counts.

    A line too long for any page is broken at a space. What does not fit is counted in the last line: alerts,
    or lines where no alert is lost.
    """
    waiting = [piece for each in lines for piece in _pieces(each, room, render, measure)]
    done: list[str] = []
    while waiting and len(done) < pages:
        sizes = [measure(render(each)) + 1 for each in waiting]  # with the line's end
        count = _fitting(sizes, room + 1)
        left = ""
        if count < len(waiting) and len(done) == pages - 1:
            while count and sum(sizes[:count]) + units(_left(waiting[count:])) > room:
                count -= 1
            left = _left(waiting[count:])
        done.append("\n".join([*map(render, waiting[:count]), *([left] if left else [])]))
        waiting = waiting[count:]
    return [page for page in done if page.strip()]


def _alerts(notice: Notice) -> Iterator[Line]:
    count = len(notice.alerts)
    single = count == 1 and not notice.more
    rules = len({step.rule for step in notice.alerts}) > 1
    mixed = len({step.severity for step in notice.firing}) > 1
    for heading, steps in (("Firing", notice.firing), ("Resolved", notice.resolved)):
        if steps and notice.firing and notice.resolved:
            yield Line(heading, "heading")
        for step in steps:
            text = line(step, notice.sent_at)
            if rules:
                text = f"{step.rule}: {text}"
            if mixed and step.state == "firing":
                text = f"[{step.severity}] {text}"
            if not single:
                beside = ("" if step.symbol and step.symbol in text else step.symbol, unsaid(step, count))
                text = ", ".join(part for part in (text, " = ".join(filter(None, beside))) if part)
            first, *further = _clean(text.strip()[:_LONGEST]).split("\n")
            yield Line(first if single else f"• {first}", "alert", 1)
            yield from (Line(each) for each in further)
            if explained(step, count):
                yield from (Line(each, "note") for each in _clean(step.explanation[:_LONGEST]).split("\n"))


def _more(count: int) -> list[Line]:
    return [Line(f"… +{count} more", "text", count)] if count else []


def _left(lines: Sequence[Line]) -> str:
    """Return the line that stands for those that are left out."""
    if alerts := sum(each.alerts for each in lines):
        return f"… +{alerts} more"
    return f"… +{len(lines)} more line{'s' if len(lines) > 1 else ''}"


def _fitting(sizes: Sequence[int], room: int) -> int:
    """Return how many of the first sizes fit together, at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if total > room:
            return max(1, count)
    return len(sizes)


def _pieces(each: Line, room: int, render: Render, measure: Measure) -> Iterator[Line]:
    """Yield a line in pieces that fit a page."""
    while measure(render(each)) > room:
        low, high = 1, min(len(each.text), 4 * room)  # markup adds to a text, as a rule
        while low < high:  # the longest beginning that fits; marked up, a text of half the length may not
            middle = (low + high + 1) // 2
            fits = measure(render(replace(each, text=each.text[:middle]))) <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        space = each.text.rfind(" ", low // 2, low)
        end = space if space > 0 else low
        yield replace(each, text=each.text[:end])
        each = replace(each, text=each.text[end:].lstrip(), alerts=0)
        if not each.text:
            return
    yield each


def _clean(text: str) -> str:
    """Return a text without control characters, its lines ended by line feeds alone."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
