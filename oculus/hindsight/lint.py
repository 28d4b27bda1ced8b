"""What is odd about rules, held against what is stored: rules that cannot fire, always do, or do not see.

Pure: the facts come in, findings come out. `survey.py` gathers the facts.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from oculus.clock import SECOND
from oculus.hindsight.findings import QUERY_LIMIT, Facts, Finding, info, span, warn
from oculus.hindsight.observe import Seen, together
from oculus.rules.expression import nodes, patterns
from oculus.rules.expression.nodes import Call, Comparison, Every, Node, Number, Symbol, TimeOfDay
from oculus.rules.rule import Rule
from oculus.rules.view import lookback

# Of fewer looks nobody can say always or never.
LEAST_MOMENTS = 10

# The share of its time limit from which on a query is slow.
SLOW = 0.4

_SHOWN = 3  # series that one finding names


def lint(rules: Sequence[Rule], facts: Facts) -> list[Finding]:
    """Return all findings, those of a rule together, in the order of the rules."""
    found: list[Finding] = []
    names = {rule.settings.name: rule for rule in rules}
    for rule in rules:
        of_rule: list[Finding] = []
        for check in _CHECKS:
            told = {finding.code for finding in of_rule}
            of_rule += [finding for finding in check(rule, facts) if finding.code not in told]
        if not any(finding.level == "warn" for finding in of_rule):
            of_rule += _blind(rule, facts)
        found += [*of_rule, *_circle(rule, names)]
    return found


# -- what it reads ------------------------------------------------------------------------------------------


def _series(rule: Rule, facts: Facts) -> Iterator[Finding]:
    written = [part.patterns for part in (rule.condition, rule.until) if part is not None]
    for name in dict.fromkeys(name for names in written for name in names):
        if patterns.is_pattern(name):
            glob = patterns.compiled(name)
            if not any(glob.fullmatch(symbol) for symbol in facts.known):
                yield warn(
                    rule, "no-match",
                    f"no series was ever stored that {name} matches{_close(name, facts.known)}",
                    "correct the pattern, or take the rule away",
                )  # fmt: skip
        elif name not in facts.known:
            yield _unknown(rule, name, facts)
        elif name not in facts.recent:
            yield warn(
                rule, "gone", f"{name} has no sample in the time that was looked at",
                "see whether its collector still runs",
            )  # fmt: skip


def _unknown(rule: Rule, name: str, facts: Facts) -> Finding:
    if name in facts.derived:
        told = f"{name} is a derived value that has no sample yet"
        return info(rule, "unknown-symbol", told, f"oculus derive --backfill {name} computes its history")
    return warn(
        rule, "unknown-symbol", f"nothing was ever stored of {name}{_close(name, facts.known)}",
        "correct the name, or wait for its first sample",
    )  # fmt: skip


def _close(name: str, known: Collection[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {found[0]}?)" if found else ""


# -- how often its series come ------------------------------------------------------------------------------


def _pace(rule: Rule, facts: Facts) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    parts = [part for part in (rule.condition, rule.until) if part is not None]
    read = [
        (node, node.name if isinstance(node, Symbol) else node.series.name)
        for part in parts
        for node in nodes.readings(part.root)
        if isinstance(node, Symbol | Call)
    ]
    for key in rule.watched:
        captured = tuple(key.split(","))
        for node, name in read:
            symbol = patterns.filled(name, captured) if patterns.is_pattern(name) else name
            found = _slow(rule, node, symbol, facts)
            # Of a hundred series that a pattern stands for the first is told.
            if found is not None and (found.code, name) not in told:
                told.add((found.code, name))
                yield found
    if rule.condition is not None:
        yield from _old(rule, rule.condition.root, facts)


def _slow(rule: Rule, node: Symbol | Call, symbol: str, facts: Facts) -> Finding | None:
    """Return what is wrong with how a series is read that comes seldom."""
    gap = facts.shown.get(symbol, 0.0)
    if not gap:
        return None
    fresh = lookback(facts.configured.get(symbol, gap)) / SECOND
    if isinstance(node, Symbol) or node.name in (
        "prev",
        "change",
        "pct_change",
        "crosses_above",
        "crosses_below",
    ):
        if gap <= fresh:
            return None
        return warn(
            rule, "stale-between",
            f"{symbol} has a sample each {span(gap)} and is stale after {span(fresh)}: in between, the"
            " condition is unknown",
            f"store it more often, or use a figure over time such as avg({symbol}, {span(2 * gap)})",
        )  # fmt: skip
    call = f"{node.name}({symbol}, {span(node.seconds)})"
    wider = f"use a window of {span(3 * gap)} or more"
    come = f"{symbol} has a sample each {span(gap)}"
    if node.name in ("rate", "zscore", "stddev"):
        if node.seconds < 2 * gap:
            often = "never" if node.seconds <= gap else "not always"
            told = f"{call} needs two samples, which {often} are within it: {come}"
            return warn(rule, "window-too-short", told, wider)
    elif node.name == "absent":
        if node.seconds <= gap:
            told = f"{call} is true between any two samples: {come}"
            return warn(rule, "window-too-short", told, wider)
    elif node.name == "count":
        if node.seconds < gap:
            return info(rule, "window-too-short", f"{call} is 1 at most: {come}", wider)
    elif node.seconds and node.seconds < gap:
        told = f"{call} is unknown most of the time, since no sample is within it: {come}"
        return warn(rule, "window-too-short", told, wider)
    return None


def _old(rule: Rule, root: Node, facts: Facts) -> Iterator[Finding]:
    """Yield where an age is asked for that each sample reaches."""
    for node in _all(root):
        if not (isinstance(node, Comparison) and isinstance(node.right, Number) and node.sign in (">", ">=")):
            continue
        if isinstance(node.left, Call) and node.left.name == "age":
            symbol = node.left.series.name
            gap = facts.shown.get(symbol, 0.0)
            if gap and node.right.value < gap:
                told = f"age({symbol}) > {span(node.right.value)} is true between any two samples, which"
                yield warn(
                    rule, "window-too-short", f"{told} come each {span(gap)}",
                    f"ask for {span(3 * gap)} or more",
                )  # fmt: skip


# -- whether it can be true ---------------------------------------------------------------------------------


def _impossible(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """Yield comparisons with what a value cannot be, such as a share of 1 with percent."""
    if rule.condition is None:
        return
    for node in _all(rule.condition.root):
        if isinstance(node, Comparison) and isinstance(node.left, Symbol) and isinstance(node.right, Number):
            name, limit = node.left.name, node.right.value
            reach = facts.reach(name)
            if reach is None:
                continue
            low, high = reach
            possible = {
                ">": high > limit, ">=": high >= limit, "<": low < limit, "<=": low <= limit,
                "==": low <= limit <= high, "!=": True,
            }[node.sign]  # fmt: skip
            if not possible:
                yield warn(
                    rule, "never-true",
                    f"{name} {node.sign} {limit:g} can never hold: it is {low:g} to {high:g}",
                    f"compare it with a number from {low:g} to {high:g}",
                )  # fmt: skip


def _truth(rule: Rule, facts: Facts) -> Iterator[Finding]:
    seen = facts.seen.get(rule.settings.name)
    if not seen or rule.condition is None:
        return
    always = [
        key for key, each in seen.items()
        if each.held >= LEAST_MOMENTS and not each.failed and not each.dipped
    ]  # fmt: skip
    if always:
        about = f" for {_listed([_label(rule, key) for key in always])}" if rule.condition.is_glob else ""
        held = sum(seen[key].held for key in always)
        yield warn(
            rule, "always-true", f"it held{about} whenever it was looked at, {held} times",
            "correct the condition: an alert that is always there tells nothing",
        )  # fmt: skip
    total = together(seen)
    if total.failed >= LEAST_MOMENTS and not total.held and not total.peaked:
        values = (
            ""
            if total.lowest is None or total.highest is None
            else f"; its first value was {total.lowest:.6g} to {total.highest:.6g}"
        )
        yield info(
            rule, "never-true", f"it never held, of {total.failed} times{values}",
            "that may be as it should; oculus rules suggest SYMBOL tells what would have fired",
        )  # fmt: skip


def _blind(rule: Rule, facts: Facts) -> Iterator[Finding]:
    """Yield that a condition could never be told, for which nothing else accounts."""
    seen = facts.seen.get(rule.settings.name)
    total = together(seen) if seen else Seen()
    if total.unknown >= LEAST_MOMENTS and not total.held and not total.failed:
        yield warn(
            rule, "never-known", f"it could not be told whether it held, at any of {total.unknown} times",
            "see at /rules which value is missing",
        )  # fmt: skip


# -- its timers ---------------------------------------------------------------------------------------------


def _for(rule: Rule, facts: Facts) -> Iterator[Finding]:
    if not rule.settings.for_ or rule.condition is None:
        return
    wanted = rule.settings.for_
    root = rule.condition.root
    for node in root.parts if isinstance(root, Every) else (root,):
        if isinstance(node, TimeOfDay):
            minutes = (node.last - node.first) % 1440 or 1440
            if minutes * 60 < wanted:
                yield warn(
                    rule, "for-unreachable",
                    f"it can hold for {span(minutes * 60)} a day, and `for` asks for {span(wanted)}",
                    "shorten `for`, or lengthen the time of day",
                )  # fmt: skip
                return
        if isinstance(node, Call) and node.name.startswith("crosses_"):
            gap = facts.shown.get(node.series.name, 0.0)
            if gap and wanted >= gap:
                yield warn(
                    rule, "for-unreachable",
                    f"{node.name} holds until the next sample, which comes after {span(gap)}; `for` asks for"
                    f" {span(wanted)}",
                    "leave `for` out, or compare the value itself",
                )  # fmt: skip
                return
    total = together(facts.seen.get(rule.settings.name, {}))
    if total.held and total.longest < wanted:
        yield info(
            rule, "for-unreachable",
            f"it held, but for {span(math.floor(total.longest))} at most, of the {span(wanted)} of `for`",
            "shorten `for` if one of these should have fired",
        )  # fmt: skip
        return
    gaps = [facts.shown.get(symbol, 0.0) for watched in rule.watched.values() for symbol in watched.symbols]
    slowest = max(gaps, default=0.0)
    if slowest > wanted and not any(rule.windows):
        yield info(
            rule, "for-too-short",
            f"`for: {span(wanted)}` is over before a second sample, {span(slowest)} later: one is enough to"
            " fire",
            f"ask for {span(2 * slowest)} to see it confirmed",
        )  # fmt: skip


def _until(rule: Rule, facts: Facts) -> Iterator[Finding]:
    total = together(facts.seen.get(rule.settings.name, {}))
    if rule.until is None or total.until_known < LEAST_MOMENTS:
        return
    if not total.until_held:
        yield warn(
            rule, "until-never", "`until` never held: an alert that fires would not have ended",
            "loosen `until`, or leave it out",
        )  # fmt: skip
    elif total.until_held == total.until_known:
        told = "`until` held all the time: it keeps no alert from ending"
        yield info(rule, "until-always", told, "tighten `until`, or leave it out")


def _timers(rule: Rule, facts: Facts) -> Iterator[Finding]:
    settings = rule.settings
    if 0 < settings.cooldown <= settings.for_:
        yield info(
            rule, "cooldown-without-effect",
            f"`cooldown: {span(settings.cooldown)}` is over before `for: {span(settings.for_)}` can be",
            "lengthen it, or leave it out",
        )  # fmt: skip
    elif settings.cooldown > 86_400:
        yield info(
            rule, "long-cooldown", f"after it fired, nothing fires for {span(settings.cooldown)}",
            "use `repeat` or a silence to hear less of what goes on",
        )  # fmt: skip
    if len(rule.watched) > settings.limit:
        told = f"it stands for {len(rule.watched)} series; more than {settings.limit} alerts at once are none"
        yield info(rule, "limit", told, "raise `limit`, or narrow the pattern")


# -- what it depends on -------------------------------------------------------------------------------------


def _circle(rule: Rule, rules: Mapping[str, Rule]) -> Iterator[Finding]:
    path = _way_back(rule.settings.name, rule.settings.name, rules, ())
    if path:
        yield warn(
            rule, "circle", f"it depends on itself: {' → '.join(path)}",
            "take one of them out of `depends_on`: while both fire neither is told",
        )  # fmt: skip


def _way_back(name: str, to: str, rules: Mapping[str, Rule], path: tuple[str, ...]) -> tuple[str, ...]:
    if name in path:
        return (*path, name) if name == to else ()
    rule = rules.get(name)
    ways = (
        _way_back(cause, to, rules, (*path, name)) for cause in (rule.settings.depends_on if rule else ())
    )
    return next(filter(None, ways), ())


def _equal(rule: Rule, facts: Facts) -> Iterator[Finding]:
    if not rule.settings.depends_on or rule.condition is None or not rule.watched:
        return
    labels = {"symbol"}
    for watched in rule.watched.values():
        labels.update(facts.known.get(watched.symbols[0], {}) if watched.symbols else ())
    for label in rule.settings.equal:
        if label not in labels:
            yield warn(
                rule, "no-label", f"none of its alerts has the label {label!r} that `equal` names",
                "name a tag of its series: a label that both lack counts as equal",
            )  # fmt: skip


# -- its query ----------------------------------------------------------------------------------------------


def _query(rule: Rule, facts: Facts) -> Iterator[Finding]:
    run = facts.queries.get(rule.settings.name)
    if run is None:
        return
    if run.error:
        yield warn(rule, "query-failed", f"its query fails: {run.error}", "try it with oculus query")
    elif 0 < rule.settings.every < run.seconds:
        told = f"its query takes {run.seconds:.1f} s and is due each {span(rule.settings.every)}"
        yield warn(rule, "query-slow", told, "lengthen `every`")
    elif run.seconds > SLOW * QUERY_LIMIT:
        yield warn(
            rule, "query-slow",
            f"its query took {run.seconds:.1f} s of the {QUERY_LIMIT:g} s that it may take",
            "narrow it: a condition on ts and symbol helps most",
        )  # fmt: skip
    if run.alike:
        yield warn(
            rule, "rows-alike", f"its {run.rows} rows cannot be told from each other by a text column",
            "select a text that is another in each row, or group by it",
        )  # fmt: skip
    elif run.rows > rule.settings.limit:
        told = f"its query has {run.rows} rows; more than {rule.settings.limit} alerts at once are none"
        yield warn(rule, "limit", told, "raise `limit`, or narrow the query")


_CHECKS: tuple[Callable[[Rule, Facts], Iterator[Finding]], ...] = (
    _series, _pace, _impossible, _truth, _for, _until, _timers, _equal, _query,
)  # fmt: skip


# -- words --------------------------------------------------------------------------------------------------


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in nodes.children(node):
        yield from _all(child)


def _label(rule: Rule, key: str) -> str:
    watched = rule.watched.get(key)
    return watched.symbols[0] if watched and watched.symbols else key


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
