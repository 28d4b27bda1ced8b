"""Badges: small pictures for a README or another page, in the common flat form: a label and a message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from xml.sax.saxutils import escape, quoteattr

from bottle import HTTPResponse, request

from oculus.storage.uptime import Share
from oculus.web import auth, figures, inputs
from oculus.web.records import WINDOWS, Records, over
from oculus.web.services import Services
from oculus.web.targets import Target, Targets, title_of

CACHED = 60  # seconds that a badge may be kept by browsers and proxies

LONGEST = 80  # characters of either side

# White text can be read on each of them.
GREEN, YELLOW, RED, GREY, BLUE = "#2c8a3c", "#9a6b00", "#c8323d", "#6b7280", "#1f6fb8"

_COLOURS = {"up": GREEN, "down": RED, "unknown": GREY, "maintenance": BLUE}

# Uptime from which on a badge is of a colour.
_LEVELS = ((0.999, GREEN), (0.98, YELLOW), (0.0, RED))

# Widths of Verdana's characters in thousandths of its size: a badge is as wide as its text in that font, and
# a browser without it squeezes or stretches its own to that (textLength).
_WIDTHS = {
    " ": 352, "!": 394, '"': 459, "#": 818, "$": 636, "%": 1076, "&": 727, "'": 269, "(": 454, ")": 454,
    "*": 636, "+": 818, ",": 364, "-": 454, ".": 364, "/": 454, ":": 454, ";": 454, "<": 818, "=": 818,
    ">": 818, "?": 545, "@": 1000, "A": 684, "B": 686, "C": 698, "D": 771, "E": 632, "F": 575, "G": 775,
    "H": 751, "I": 421, "J": 455, "K": 693, "L": 557, "M": 843, "N": 748, "O": 787, "P": 603, "Q": 787,
    "R": 695, "S": 684, "T": 616, "U": 732, "V": 684, "W": 989, "X": 685, "Y": 615, "Z": 685, "[": 454,
    "\\": 454, "]": 454, "^": 818, "a": 601, "b": 623, "c": 521, "d": 623, "e": 596, "f": 352, "g": 623,
    "h": 633, "i": 274, "j": 344, "k": 592, "l": 274, "m": 973, "n": 633, "o": 607, "p": 623, "q": 623,
    "r": 427, "s": 521, "t": 394, "u": 633, "v": 592, "w": 818, "x": 592, "y": 592, "z": 525, "{": 635,
    "|": 454, "}": 635, "~": 818,
}  # fmt: skip
_WIDTH, _WIDE = 636, 1000  # of digits and of what is not listed; of East Asian characters, from U+1100 on
_SIZE = 11  # pixels
_PADDING = 5  # pixels beside each text


@dataclass(frozen=True, slots=True)
class Badge:
    """What a badge says."""

    label: str
    message: str
    colour: str

    def svg(self) -> str:
        """Return the picture."""
        label, message = (_printable(text[:LONGEST]) for text in (self.label, self.message))
        widths = [width_of(text) for text in (label, message)]
        left, right = (width + 2 * _PADDING for width in widths)
        title = quoteattr(f"{label}: {message}")
        places = (_PADDING + widths[0] / 2, left + _PADDING + widths[1] / 2)
        texts = "".join(
            f'<text x="{x:.1f}" y="14" textLength="{width}">{escape(text)}</text>'
            for text, x, width in zip((label, message), places, widths, strict=True)
            if text
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"'
            f" aria-label={title}><title>{escape(f'{label}: {message}')}</title>"
            f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
            f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444b55"/>'
            f'<rect x="{left}" width="{right}" height="20" fill="{self.colour}"/></g>'
            f'<g fill="#fff" text-anchor="middle" font-family="Verdana,Geneva,DejaVu Sans,sans-serif"'
            f' font-size="{_SIZE}">{texts}</g></svg>'
        )


def _printable(text: str) -> str:
    """Return a text without what XML has no place for."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def width_of(text: str) -> int:
    """Return the width of a text in pixels."""
    units = sum(_WIDTHS.get(sign, _WIDE if sign >= "\u1100" else _WIDTH) for sign in text)
    return round(units * _SIZE / 1000)


class Badges:
    """Answers with badges."""

    def __init__(self, services: Services, targets: Targets, records: Records) -> None:
        self._services = services
        self._targets = targets
        self._records = records

    def badge(self, symbol: str, kind: str) -> HTTPResponse:
        """GET /badge/{symbol}/{kind}.svg: `status`, `uptime` or `value`; a grey one for what is not there.

        Who has no token sees what stands on the public page, and what `status.badges` names besides.
        """
        window = inputs.choice_parameter("window", tuple(WINDOWS)) or "30d"
        inside = auth.inside(request.environ)
        found = self._found(symbol, kind, window, inside=inside)
        label = inputs.query("label") or (found.label if found else title_of(symbol))
        badge = replace(found or Badge("", "unknown", GREY), label=label)
        cache = f"{'private' if inside else 'public'}, max-age={CACHED}"
        headers = {"Content-Type": "image/svg+xml; charset=utf-8", "Cache-Control": cache}
        return HTTPResponse(badge.svg().encode(), 200 if found else 404, headers)

    def _found(self, symbol: str, kind: str, window: str, *, inside: bool) -> Badge | None:
        name = self._targets.of(symbol)
        open_ = inside or (name is not None and self._targets.shows(name))
        if kind == "value":
            patterns = self._services.status().badges
            open_ = open_ or any(fnmatchcase(symbol, pattern) for pattern in patterns)
            return self._value(symbol, name) if open_ else None
        if name is None or not open_:
            return None
        target = self._targets.target(name)
        if kind == "status":
            return Badge(target.name, target.standing, _COLOURS[target.standing])
        return self._uptime(target, window) if kind == "uptime" else None

    def _value(self, symbol: str, name: str | None) -> Badge | None:
        """Return the badge of a series, or of the main one of a target that is named itself."""
        latest = self._services.latest
        if symbol == name:
            series = latest.get(self._targets.main(symbol))
            label = self._targets.target(symbol).name
        else:
            series, label = latest.get(symbol), title_of(symbol)
        if series is None:
            return None
        text, unit = figures.measure(series.value, series.unit)
        colour = GREY if self._services.stale(series) else _COLOURS.get(text, BLUE)
        return Badge(label, f"{text} {unit}".strip(), colour)

    def _uptime(self, target: Target, window: str) -> Badge:
        on_page = self._targets.on_page()
        record = self._records.of(on_page if target.symbol in on_page else [target.symbol])
        share = Share() if record is None else over(record.targets[target.symbol], window)
        known = share.up + share.down
        label = f"{target.name} {window}"
        if not known:
            return Badge(label, "unknown", GREY)
        colour = next(colour for least, colour in _LEVELS if share.up / known >= least)
        return Badge(label, figures.share_text(share.up, known).replace(" ", ""), colour)
