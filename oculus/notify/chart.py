"""A small picture of a series for messages, as a PNG: a line with soft edges over a fading area.

Pure Python on zlib, as no drawing library is worth its size for this.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate

# Parts of a column of pixels that are drawn each for itself, so that steep lines have soft edges, too.
_PARTS = 4
# What one part adds to a pixel that it covers. All together fit a byte.
_WHOLE = 60
_FULL = _PARTS * _WHOLE

# Width of the line, and radius of the dot at its end.
_LINE = 0.022  # of the height …
_THINNEST = 1.5  # … and pixels at least
_DOT = 0.045

# How much of its colour the area below the line has, at the top of the picture and at the bottom.
_SHADE = (0.36, 0.03)


def png(values: Sequence[float], width: int, height: int, colour: str, background: str = "") -> bytes:
    """Return the picture of values, oldest first, in so many pixels; with fewer than two it is empty.

    Colours are `#rrggbb`. Without a background it is transparent, which fits light and dark pages alike. What
    is not a finite number is left out.
    """
    known = [value for value in values if math.isfinite(value)]
    drawn = len(known) > 1
    pixels = b"".join(_columns(known, width, height)) if drawn else bytes(width * height)
    rows = b"".join(b"\0" + pixels[row::height] for row in range(height))  # 0: the bytes of a row as they are
    kind = 8, 3, 0, 0, 0  # bits, each choosing from a palette
    chunks = (
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind)),
        *_palette(colour, background),
        _chunk(b"IDAT", zlib.compress(rows, 9)),
        _chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _palette(colour: str, background: str) -> Iterator[bytes]:
    """Yield the chunks that turn how much a pixel is covered, 0 to `_FULL`, into its colour."""
    front = bytes.fromhex(colour.removeprefix("#"))
    shares = [level / _FULL for level in range(_FULL + 1)]
    if background:
        back = bytes.fromhex(background.removeprefix("#"))
        mixed = (
            round(f * share + b * (1 - share)) for share in shares for f, b in zip(front, back, strict=True)
        )
        yield _chunk(b"PLTE", bytes(mixed))
    else:
        yield _chunk(b"PLTE", front * len(shares))
        yield _chunk(b"tRNS", bytes(round(255 * share) for share in shares))


def _columns(values: Sequence[float], width: int, height: int) -> Iterator[bytes]:
    """Yield the columns from left to right: how much each pixel is covered, from top to bottom."""
    high, low = _SHADE
    shade = bytes(round(_FULL * (high + (low - high) * row / height)) for row in range(height))
    radius = max(_THINNEST, height * _LINE) / 2
    dot = max(2 * radius, height * _DOT)
    end = width - dot - 1.0  # where the line ends, so that the dot has room
    tops, bottoms, last = _curve(values, end, width, height, dot + 1.0)
    tops, bottoms = _broadened(tops, bottoms, radius)
    for part in range(max(0, int((end - dot) * _PARTS)), width * _PARTS):
        away = (part + 0.5) / _PARTS - end
        if abs(away) < dot:
            half = math.sqrt(dot * dot - away * away)
            tops[part] = min(tops[part], last - half)
            bottoms[part] = max(bottoms[part], last + half)
    for column in range(width):
        parts = slice(column * _PARTS, (column + 1) * _PARTS)
        yield _column(tops[parts], bottoms[parts], height, shade if column < end else b"")


def _curve(
    values: Sequence[float], end: float, width: int, height: int, margin: float
) -> tuple[list[float], list[float], float]:
    """Return where the curve runs highest and lowest in each part, in pixels from the top, and where it ends.

    Where it does not run at all, the highest is below the lowest.
    """
    floor, ceiling = min(values), max(values)
    span = ceiling / 2 - floor / 2  # halves: of the largest numbers there is no difference
    room = height - 2 * margin
    heights = [margin + room * (1 - (value / 2 - floor / 2) / span if span > 0 else 0.5) for value in values]
    tops, bottoms = [math.inf] * (width * _PARTS), [-math.inf] * (width * _PARTS)
    step = end * _PARTS / (len(values) - 1)
    for index in range(len(values) - 1):
        left, first, following = index * step, heights[index], heights[index + 1]
        slope = (following - first) / step
        for part in range(int(left), min(int(left + step) + 1, width * _PARTS)):
            enters = first + slope * (max(left, part) - left)
            leaves = first + slope * (min(left + step, part + 1) - left)
            tops[part] = min(tops[part], enters, leaves)
            bottoms[part] = max(bottoms[part], enters, leaves)
    return tops, bottoms, heights[-1]


def _broadened(tops: list[float], bottoms: list[float], radius: float) -> tuple[list[float], list[float]]:
    """Return what a round brush of this radius covers that is led along a curve."""
    reach = int(radius * _PARTS)
    beyond = [math.inf] * reach
    above, below = beyond + tops + beyond, [-x for x in beyond] + bottoms + [-x for x in beyond]
    wide_tops, wide_bottoms = tops, bottoms
    for part in range(-reach, reach + 1):
        half = math.sqrt(radius * radius - (part / _PARTS) ** 2)
        start = reach + part
        moved = slice(start, start + len(tops))
        wide_tops = list(map(min, wide_tops, [top - half for top in above[moved]]))
        wide_bottoms = list(map(max, wide_bottoms, [bottom + half for bottom in below[moved]]))
    return wide_tops, wide_bottoms


def _column(tops: Sequence[float], bottoms: Sequence[float], height: int, shade: bytes) -> bytes:
    """Return a column out of the stretches that its parts cover, with the shade below them."""
    stretches = [
        (max(top, 0.0), min(bottom, height - 0.01))
        for top, bottom in zip(tops, bottoms, strict=True)
        if bottom - top > 0.1  # of a pixel: less cannot be seen
    ]
    if not stretches:
        return bytes(height)
    first = int(min(top for top, _ in stretches))
    changes = [0] * (int(max(bottom for _, bottom in stretches)) - first + 2)
    for top, bottom in stretches:
        begins, ends = int(top), int(bottom)
        entered, left = round((begins + 1 - top) * _WHOLE), round((bottom - ends) * _WHOLE)
        changes[begins - first] += entered
        changes[begins - first + 1] += _WHOLE - entered
        changes[ends - first] -= _WHOLE - left
        changes[ends - first + 1] -= left
    covered = bytes(first) + bytes(accumulate(changes))
    if shade:
        inside = int(max(top for top, _ in stretches)) + 1
        beside = shade[inside : len(covered)]
        covered = covered[:inside] + bytes(map(max, covered[inside:], beside)) + shade[len(covered) :]
    return covered[:height].ljust(height, b"\0")
