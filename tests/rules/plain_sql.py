"""Expressions as plain SQL over `metrics`, as the manual defines them: a second opinion on what they mean.

Written from the manual alone, with SQL's own logic of three values. Nothing that evaluates is shared with
the program: only the parsed tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oculus.rules.expression import nodes

# What is put together of quotients, roots and interpolations may differ in its last digits.
_ROUNDED = {"stddev", "median", "quantile", "rate", "pct_change", "zscore"}

# What was known at a moment, and each series' samples from the newest back.
_KNOWN = (
    """create or replace temp table numbers as
        select symbol, epoch_us(ts) as taken, rowid as place, value, coalesce(low, value) as low,
            coalesce(high, value) as high
        from metrics where epoch_us(ts) <= {now} and value is not null and not isnan(value)""",
    """create or replace temp table newest as
        select *, row_number() over (partition by symbol order by taken desc, place desc) as back
        from numbers""",
)

_OVER_WINDOW = {
    "avg": "avg(value)", "min": "min(low)", "max": "max(high)", "sum": "sum(value)",
    "count": "count(*)::double",
    "stddev": "stddev_pop(value)", "median": "quantile_cont(value, 0.5)",
    "quantile": "quantile_cont(value, {parameter})",
}  # fmt: skip


def known(now: int) -> Iterator[str]:
    """Yield the statements that must run before expressions as of a moment are asked for."""
    for statement in _KNOWN:
        yield statement.format(now=now)


@dataclass(frozen=True)
class Translator:
    """Writes expressions as of a moment, in microseconds. `intervals` are the collectors', in seconds."""

    now: int
    intervals: Mapping[str, float]
    captured: tuple[str, ...]
    closed: Sequence[str] = ()  # series whose market is closed
    open: Sequence[str] = ()

    def columns(self, root: nodes.Node) -> str:
        """Return the result of an expression, and whether it hangs on the last digits, for a SELECT."""
        doubts = " or ".join(f"coalesce({doubt}, false)" for doubt in self._doubts(root))
        return f"{self.written(root)}, {doubts or 'false'}"

    def written(self, node: nodes.Node) -> str:
        """Return a node as SQL."""
        match node:
            case nodes.Number(value):
                return f"{value!r}::double"
            case nodes.Symbol():
                return self._last(node)
            case nodes.Chain(first, rest):
                text = self.written(first)
                for sign, operand in rest:
                    other = self.written(operand)
                    if sign == "/":
                        other = f"nullif({other}, 0)"
                    text = f"({text} {sign} {other})"
                return text
            case nodes.Negative(operand):
                return f"(- {self.written(operand)})"
            case nodes.Absolute(operand):
                return f"abs({self.written(operand)})"
            case nodes.Comparison(sign, left, right):
                signs = {"==": "=", "!=": "<>"}
                return f"({self.written(left)} {signs.get(sign, sign)} {self.written(right)})"
            case nodes.Every(parts):
                return f"({' and '.join(map(self.written, parts))})"
            case nodes.Some(parts):
                return f"({' or '.join(map(self.written, parts))})"
            case nodes.Not(operand):
                return f"(not {self.written(operand)})"
            case nodes.TimeOfDay(first, last, zone):
                local = f"timezone('{zone}', make_timestamptz({self.now}))"
                minute = f"(hour({local}) * 60 + minute({local}))"
                joined = "or" if last <= first else "and"
                return f"({minute} >= {first} {joined} {minute} < {last})"
            case nodes.Weekday(days, zone):
                local = f"timezone('{zone}', make_timestamptz({self.now}))"
                return f"(isodow({local}) - 1 in ({', '.join(map(str, sorted(days)))}))"
            case nodes.Call():
                return self._call(node)

    def _call(self, call: nodes.Call) -> str:
        name, last = self._name(call.series), self._last(call.series)
        since = self.now - round(call.seconds * 1_000_000)
        inside = f"from numbers where symbol = '{name}' and taken > {since}"
        if call.name in _OVER_WINDOW:
            return f"(select {_OVER_WINDOW[call.name].format(parameter=call.parameter)} {inside})"
        match call.name:
            case "rate":
                return f"""(select sum(if(value < before, value, value - before))
                        / nullif((max(taken) - min(taken)) / 1e6, 0)
                    from (select taken, value, lag(value) over (order by taken, place) as before {inside}))"""
            case "change":
                return f"({last} - {self._value_at(name, since)})"
            case "pct_change":
                base = self._value_at(name, since)
                return f"(({last} - {base}) / abs(nullif({base}, 0)) * 100)"
            case "zscore":
                mean, spread = f"(select avg(value) {inside})", f"(select stddev_pop(value) {inside})"
                return f"(({last} - {mean}) / nullif({spread}, 0))"
            case "prev":
                return self._previous(call.series)
            case "age":
                return f"(select ({self.now} - max(taken)) / 1e6 from numbers where symbol = '{name}')"
            case "absent":
                return f"(select count(*) = 0 {inside})"
            case "market_open":
                return "true" if name in self.open else "false" if name in self.closed else "null::boolean"
        assert call.level is not None
        level, before = self.written(call.level), self._previous(call.series)
        assert call.name in ("crosses_above", "crosses_below")
        low, high = (before, last) if call.name == "crosses_above" else (last, before)
        between = f"{low} <= {level} and {high} > {level}"
        if call.name == "crosses_below":
            between = f"{low} < {level} and {high} >= {level}"
        # A difference of all three is unknown when one of them is.
        return f"if({before} - {last} - {level} is null, null, {between})"

    def _name(self, symbol: nodes.Symbol) -> str:
        texts = iter(self.captured)
        return re.sub(r"\*\*?", lambda _: next(texts), symbol.name)

    def _stale(self, name: str, at: str, now: int) -> str:
        age = f"({now} - {at})"
        return f"({age} > 300000000 and {age} > {3 * self.intervals.get(name, 0.0)!r} * 1e6)"

    def _last(self, symbol: nodes.Symbol) -> str:
        name = self._name(symbol)
        return f"""(select if({self._stale(name, "taken", self.now)}, null, value) from newest
            where symbol = '{name}' and back = 1)"""

    def _previous(self, symbol: nodes.Symbol) -> str:
        name = self._name(symbol)
        before = f"(select value from newest where symbol = '{name}' and back = 2)"
        return f"if({self._last(symbol)} is null, null, {before})"

    def _value_at(self, name: str, moment: int) -> str:
        return f"""(select if({self._stale(name, "taken", moment)}, null, value) from numbers
            where symbol = '{name}' and taken <= {moment} order by taken desc, place desc limit 1)"""

    def _doubts(self, node: nodes.Node) -> Iterator[str]:
        """Yield what tells that the last digits decide: numbers that are rounded, and nearly equal or 0."""
        match node:
            case nodes.Comparison(_, left, right) if _rounded(left) or _rounded(right):
                yield _near(self.written(left), self.written(right))
            case nodes.Call(series=series, level=level) if level is not None and _rounded(level):
                for value in (self._last(series), self._previous(series)):
                    yield _near(value, self.written(level))
            case nodes.Chain(_, rest):
                for sign, operand in rest:
                    if sign == "/" and _rounded(operand):
                        yield _near(self.written(operand), "0")
        for child in nodes.children(node):
            yield from self._doubts(child)


def _near(one: str, other: str) -> str:
    return f"(abs({one} - {other}) <= 1e-9 * greatest(abs({one}), abs({other}), 1000))"


def _rounded(node: nodes.Node) -> bool:
    """Tell whether a number may be rounded otherwise where it is computed in another order."""
    own = isinstance(node, nodes.Call) and node.name in _ROUNDED
    return own or any(_rounded(child) for child in nodes.children(node))
