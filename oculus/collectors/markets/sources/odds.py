"""What the prediction markets share: what is asked for, how outcomes are named, when a number is from, and
how often what is over is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from zlib import crc32

from gevent.pool import Pool

from oculus.collectors.markets.sources.base import Item, ItemError, Quotes, SourceError
from oculus.model import Micros, slug

# A settled market says nothing new; one that is only closed is settled within minutes or days.
SETTLED = 86_400.0  # seconds
UNSETTLED = 900.0  # seconds

# What a source does not know is asked for again after this time: it may be listed by then.
UNKNOWN = 3_600.0  # seconds

# With `pred.poly.` and the longest figure (`.volume_24h`) these stay below a symbol's 200 characters.
LONGEST_MARKET = 100  # characters
LONGEST_OUTCOME = 60  # characters

# An outcome of such a name would be taken for a figure beside the price.
RESERVED = frozenset({"bid", "ask", "change_24h", "change_day", "volume_24h", "market_open"})

_LONGEST_TEXT = 100  # characters of an outcome's own words that a tag keeps
_AT_ONCE = 4  # requests for single items

_Item = TypeVar("_Item", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Bet:
    """A market, an event (several markets), or the token of one outcome, by the source's own name of it."""

    id: str
    kind: Literal["market", "event", "token"] = "market"

    def __str__(self) -> str:
        return self.id


def shortened(name: str, longest: int, key: str = "") -> str:
    """Return a name of at most that many characters; one that is cut off ends in a mark of `key`."""
    return name if len(name) <= longest else _marked(name, longest, key or name)


def outcome_names(texts: Mapping[str, str], longest: int = LONGEST_OUTCOME) -> dict[str, str]:
    """Return a part of a symbol for each text, by id. No two are alike.

    A name depends on nothing but the texts and ids, whatever their order: names that several would have,
    that are too long, or that mean something else end in a mark of the id.
    """
    plain = {key: slug(text) for key, text in texts.items()}
    uses = Counter(plain.values())
    names: dict[str, str] = {}
    taken: set[str] = set()
    for key, wanted in plain.items():
        name = wanted
        if uses[name] > 1 or len(name) > longest or name in RESERVED or name == "_":
            name = _marked(name, longest, key)
        while name in taken:
            name = _marked(name, longest, f"{key} {name}")
        taken.add(name)
        names[key] = name
    return names


def _marked(name: str, longest: int, key: str) -> str:
    mark = f"{crc32(key.encode('utf-8', 'replace')):08x}"
    return f"{name[: longest - 9].strip('_') or 'outcome'}_{mark}"


def outcome_tag(text: str) -> dict[str, str]:
    """Return the tag that carries an outcome's own words, which its name may have lost."""
    # What JSON may carry is not always text: half a surrogate pair cannot be stored.
    return {"outcome": text[:_LONGEST_TEXT].encode("utf-8", "replace").decode()}


class Moments:
    """When numbers are from, where the source's time is that of a record and not of the numbers in it."""

    def __init__(self) -> None:
        self._last: dict[Hashable, tuple[Hashable, Micros]] = {}

    def of(self, key: Hashable, values: Hashable, told: Micros | None, received: Micros) -> Micros:
        """Return the time of `values`: what the source told if that is new, else when they came first."""
        last = self._last.get(key)
        if last is None:
            ts = received if told is None else told
        elif told is not None and told > last[1]:
            ts = told
        elif values == last[0]:
            ts = last[1]
        else:  # other numbers under an old time
            ts = max(received, last[1])
        self._last[key] = (values, ts)
        return ts


def each(look: Callable[[_Item], Quotes], items: Sequence[_Item]) -> dict[Item, Quotes | ItemError]:
    """Return what `look` gives for each item, some at once; raises the first SourceError."""
    failures: list[SourceError] = []

    def one(item: _Item) -> Quotes | ItemError:
        if failures:
            return ItemError("was not asked for")
        try:
            return look(item)
        except ItemError as error:
            return error
        except SourceError as error:
            failures.append(error)
            return ItemError(str(error))

    found: dict[Item, Quotes | ItemError] = {}
    found.update(zip(items, Pool(_AT_ONCE).map(one, items), strict=True))
    if failures:
        raise failures[0]
    return found
