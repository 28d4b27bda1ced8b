"""What a mail says: its plain text, and its HTML with the same content.

The HTML is what mail programs of all ages show alike: tables, and styles at each element. Those in its head
are for dark screens only, and may be stripped. It loads nothing from anywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from oculus.model import Transition, unit_of
from oculus.notify.mail_template import TEMPLATE
from oculus.notify.notice import Notice, Reason, duration
from oculus.notify.plain import clock, late_note

if TYPE_CHECKING:
    import jinja2

# What stands for a severity: readable in large letters on white and on black.
COLOURS = {
    "info": "#2f7fd6", "warn": "#c98500", "error": "#e25a12", "critical": "#dc2f41", "resolved": "#189a5f",
}  # fmt: skip

# Gmail shows the first 102 kB of a page; an alert's row takes half a kilobyte and its texts twice, in bytes.
_MOST_ALERTS = 60
_LONGEST = 400  # characters of an alert's texts, where there are several
_LONGEST_TEXT = 20_000  # characters of a template's text, or of a single alert's message

_STANDING: dict[Reason, str] = {
    "first": "firing",
    "more": "new alerts",
    "resolved": "some are over",
    "over": "resolved",
    "repeat": "still firing",
    "test": "test",
}

# Control characters are no text, and neither are halves of surrogate pairs.
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as it is shown. `held` is for how long it has been, or was, so."""

    severity: str
    colour: str
    rule: str
    message: str
    symbol: str
    value: str
    held: str
    began: str
    ended: str
    explanation: str
    labels: tuple[tuple[str, str], ...]

    @property
    def about(self) -> str:
        """What it is about, in a line."""
        labels = (f"{name}={value}" for name, value in self.labels)
        return ", ".join(text for text in (self.symbol, *labels) if text)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What there is to know of it besides, by name."""
        found = [("Rule", self.rule), ("Symbol", self.symbol), ("Began", self.began), ("Ended", self.ended)]
        return [(name, text) for name, text in (*found, *self.labels) if text]


@dataclass(frozen=True, slots=True)
class Page:
    """A notice as it is shown. `single` is its only alert, `more` counts the alerts that are left out.

    `series` is a name and where it leads, both empty for none. `mixed` are alerts of several rules, `graded`
    ones of several severities.
    """

    standing: str
    title: str
    colour: str
    preview: str
    when: str
    text: str
    single: Alert | None
    sections: tuple[tuple[str, tuple[Alert, ...]], ...]
    more: int
    chart: str
    late: str
    link: str
    series: tuple[str, str]
    mixed: bool
    graded: bool
    test: bool


def page_of(notice: Notice) -> Page:
    """Return what is shown of a notice."""
    steps = notice.alerts[:_MOST_ALERTS]
    alone = len(notice.alerts) == 1 and not notice.more
    alerts = [_alert(step, notice, None if alone else _LONGEST) for step in steps]
    firing = tuple(alert for alert in alerts if not alert.ended)
    resolved = tuple(alert for alert in alerts if alert.ended)
    named = (("Firing", firing), ("Resolved", resolved))
    severity = notice.severity
    rest = notice.title.removeprefix(f"[{severity}] ").removeprefix("Resolved: ")
    word = _STANDING[notice.reason]
    text = notice.text.strip()[:_LONGEST_TEXT]
    preview = text or "; ".join(alert.message for alert in alerts[:3])
    return Page(
        standing=f"{severity} · {word}" if notice.fires else word,
        title=alerts[0].rule if alone else rest,
        colour=COLOURS[severity if notice.fires else "resolved"],
        preview=preview[:150],
        when=clock(notice.sent_at, notice.sent_at),
        text=text,
        single=alerts[0] if alone and not text else None,
        sections=() if text or alone else tuple((name, found) for name, found in named if found),
        more=0 if text else notice.more + len(notice.alerts) - len(steps),
        chart=_caption(notice),
        late=late_note(notice) if notice.late else "",
        link=_address(notice.link),
        series=_series(notice),
        graded=len({step.severity for step in notice.firing}) > 1,
        mixed=len({step.rule for step in notice.alerts}) > 1,
        test=notice.reason == "test",
    )


def one_text(text: str) -> str:
    """Return a text without what is none."""
    return _NO_TEXT.sub(" ", text)


def html(page: Page, chart: str = "") -> str:
    """Return the page; `chart` is the address of the picture, empty for none."""
    return _NO_TEXT.sub("", _template().render(page=page, chart=chart))


def plain(page: Page) -> str:
    """Return the same as plain text."""
    return _NO_TEXT.sub("", "\n".join(_lines(page)).strip() + "\n")


def figure(value: float, unit: str) -> str:
    """Return a value as people read it, with its unit."""
    if unit == "bool":
        return "up" if value >= 0.5 else "down"
    if unit == "probability":
        value, unit = value * 100, "%"
    whole = 1e6 <= abs(value) < 1e15
    text = f"{value:,.0f}" if whole else f"{value:,.6g}"
    return f"{text}{'' if unit == '%' else ' '}{'' if unit == 'code' else unit}".strip()


def _alert(step: Transition, notice: Notice, longest: int | None) -> Alert:
    over = step.state != "firing"
    severity = "resolved" if over else step.severity
    message = step.message.strip()[:_LONGEST_TEXT]
    explanation = step.explanation.strip()[:_LONGEST_TEXT]
    labels = tuple((name, _cut(value, longest)) for name, value in step.labels.items() if name != "unit")
    return Alert(
        severity=severity,
        colour=COLOURS[severity],
        rule=step.rule,
        message=_cut(message, longest),
        symbol=step.symbol or "",
        value="" if step.value is None else figure(step.value, unit_of(step.symbol or "", step.labels)),
        held=duration((step.ts if over else notice.sent_at) - step.started_at),
        began=clock(step.started_at, notice.sent_at),
        ended=clock(step.ts, notice.sent_at) if over else "",
        # Without a message of its own, an alert's is just that.
        explanation="" if explanation in message else _cut(explanation, longest),
        labels=labels[: None if longest is None else 8],
    )


def _cut(text: str, longest: int | None) -> str:
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _address(link: str) -> str:
    """Return a link that a mail may have, else nothing."""
    return link if link.startswith(("http://", "https://")) else ""


def _series(notice: Notice) -> tuple[str, str]:
    link = _address(notice.series_link)
    return (_cut(notice.alerts[0].symbol or "series", 100), link) if link else ("", "")


def _caption(notice: Notice) -> str:
    """Return what is written below the chart, empty where there is nothing to be drawn."""
    known = [value for value in notice.history if math.isfinite(value)]
    if len(known) < 2:
        return ""
    step = notice.alerts[0]
    unit = unit_of(step.symbol or "", step.labels)
    least, most = figure(min(known), unit), figure(max(known), unit)
    span = least if least == most else f"{least} to {most}"
    return f"{step.symbol or step.rule}, last {len(known)} values: {span}"


def _lines(page: Page) -> Iterator[str]:
    yield page.title
    yield f"{page.standing}, {page.when}"
    yield ""
    if page.text:
        yield page.text
    if page.single is not None:
        yield from _told(page.single)
    for name, alerts in page.sections:
        if len(page.sections) > 1:
            yield f"{name}:"
        for alert in alerts:
            yield from _item(alert, page.mixed)
        yield ""
    if page.more:
        yield f"… +{page.more} more"
    if page.chart:
        yield from ("", f"{page.chart}.")
    if page.late:
        yield from ("", page.late)
    if page.test:
        yield from ("", "This is a test: nothing is wrong.")
    if page.link or page.series[1]:
        yield ""
    yield from (link for link in (page.link, page.series[1]) if link)


def _told(alert: Alert) -> Iterator[str]:
    yield alert.message
    yield ""
    rows = [("Value", alert.value), ("Lasted" if alert.ended else "For", alert.held)]
    rows += [("Because", alert.explanation), *alert.facts]
    width = max(len(name) for name, text in rows if text)
    for name, text in rows:
        if text:
            yield f"{name.ljust(width)}  {text}"


def _item(alert: Alert, mixed: bool) -> Iterator[str]:
    rule = f"{alert.rule}: " if mixed else ""
    since = f" ({'lasted' if alert.ended else 'for'} {alert.held})" if alert.held else ""
    yield f"- [{alert.severity}] {rule}{_indented(alert.message)}{since}"
    if beside := _beside(alert):
        yield f"  {beside}"


def _beside(alert: Alert) -> str:
    parts: Sequence[str] = (alert.value, alert.about, alert.explanation)
    return _indented(" | ".join(part for part in parts if part))


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE)
