"""Patterns of symbols: `*` stands for any run of characters within one part, `**` also for dots."""

from __future__ import annotations

import re

# Enough for every part of a long symbol. Of those that are not a whole part by themselves only a few are
# taken, because there are many ways to divide a symbol among them.
MAX_WILDCARDS = 8
MAX_LOOSE = 3

_WILDCARD = re.compile(r"\*\*?")
_WHOLE = re.compile(r"(?<![^.])\*(?![^.])")


def is_pattern(name: str) -> bool:
    """Tell whether a name has wildcards."""
    return "*" in name


def wildcards(pattern: str) -> int:
    """Return how many wildcards a pattern has."""
    return len(_WILDCARD.findall(pattern))


def fault(pattern: str) -> str | None:
    """Return what is wrong with the wildcards of a pattern, if anything is."""
    count = wildcards(pattern)
    if count > MAX_WILDCARDS:
        return f"more than {MAX_WILDCARDS} wildcards"
    if count - len(_WHOLE.findall(pattern)) > MAX_LOOSE:
        return f"more than {MAX_LOOSE} wildcards that are ** or a piece of a part"
    return None


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression whose groups are what the wildcards stand for."""
    pieces, at = [], 0
    for match in _WILDCARD.finditer(pattern):
        pieces.append(re.escape(pattern[at : match.start()]))
        pieces.append("(.*)" if match[0] == "**" else "([^.]*)")
        at = match.end()
    return re.compile("".join(pieces) + re.escape(pattern[at:]))


def filled(pattern: str, captured: tuple[str, ...]) -> str:
    """Return the symbol that a pattern names when its wildcards stand for these texts."""
    texts = iter(captured)
    return _WILDCARD.sub(lambda _: next(texts), pattern)
