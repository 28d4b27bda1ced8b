"""When an expression may come to something else although no sample comes and no value goes stale.

The daemon looks every few seconds and need not know. A replay of months has no time for that: it looks when a
clock shows the time of a guard, or when something is as old as it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.rules.expression.nodes import (
    Call,
    Comparison,
    Names,
    Node,
    Number,
    TimeOfDay,
    Weekday,
    children,
    local_time,
)
from oculus.rules.view import View

# Where clocks are set, which they are at a full or half hour, it is looked that often until they are.
_HALF_HOUR = 1_800 * SECOND

_AGE = "age"


def next_change(node: Node, view: View, names: Names, step: int) -> Micros | None:
    """Return the first such moment after `view.now`, None when there is none.

    Where it could be at any time it is `step` microseconds from now.
    """
    return min((Micros(at) for at in _changes(node, view, names, step) if at > view.now), default=None)


def _changes(node: Node, view: View, names: Names, step: int) -> Iterator[int]:
    compared = _age_and_limit(node)
    if compared is not None:
        call, limit = compared
        newest = view.newest(names.get(call.series.name, call.series.name))
        if newest is not None:
            at = newest + round(limit * SECOND)
            yield from (at, at + 1)  # as old as that, and older
        return
    match node:
        case TimeOfDay(first, last, zone):
            yield from (_shows(view, zone, minute % 1_440) for minute in (first, last))
        case Weekday(_, zone):
            yield _shows(view, zone, 0)
        case Call() if node.function.turns is not None:
            yield from node.function.turns(view, names.get(node.series.name, node.series.name), node.seconds)
        case Call() if node.function.passing:
            yield view.now + step
    for child in children(node):
        yield from _changes(child, view, names, step)


def _age_and_limit(node: Node) -> tuple[Call, float] | None:
    """Return the parts of `age(s) > 5m` in either order, None for anything else."""
    if isinstance(node, Comparison):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if isinstance(one, Call) and one.name == _AGE and isinstance(other, Number):
                return one, other.value
    return None


def _shows(view: View, zone: tzinfo, minute: int) -> int:
    """Return when clocks next show a minute of the day; where they are set before, an earlier moment."""
    local = local_time(view.now, zone)
    into = ((local.hour * 60 + local.minute) * 60 + local.second) * SECOND + local.microsecond
    at = view.now + ((minute * 60 * SECOND - into) % DAY or DAY)
    if local_time(at, zone).utcoffset() == local.utcoffset():
        return at
    return min(at, view.now - view.now % _HALF_HOUR + _HALF_HOUR)
