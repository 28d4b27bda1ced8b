"""The page of all rules: how each stands, why, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oculus.clock import now
from oculus.cooperate import slices
from oculus.model import SEVERITIES, Micros, RuleState
from oculus.web import inputs, silences
from oculus.web.filters import Filters
from oculus.web.services import Services
from oculus.web.templates import Templates

RULES_SHOWN = 100
MISSING_SHOWN = 3  # series without a fresh value, of one rule

# What can be chosen, by its word in the address.
SHOWN = ("firing", "pending", "trouble", "silent")


@dataclass(frozen=True, slots=True)
class RuleFilters(Filters):
    """What the page is asked for: rules by a text and by what they do; all of them, or the first ones."""

    q: str = ""
    show: str = ""
    all: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule in the list. `text` is its condition, with the values filled in where that reads well; `note` is
    what there is to say besides, `wrong` whether that is a fault of the rule."""

    rule: RuleState
    text: str
    note: str
    wrong: bool
    silence: silences.Quiet | None

    @property
    def marks(self) -> set[str]:
        """Under which words of SHOWN it is found."""
        found = {self.rule.state, "silent" if self.silence else "", "trouble" if self.troubled else ""}
        return found & set(SHOWN)

    @property
    def troubled(self) -> bool:
        """Whether it cannot do its work."""
        return self.rule.health in ("error", "no data")


@dataclass(frozen=True, slots=True)
class RulesContext:
    """`fragments/rules.html`: the rules that are asked for, those that fire first. `counts` are those of all
    rules, by the words that can be chosen."""

    filters: RuleFilters
    rules: list[Listed]
    found: int
    total: int
    counts: Mapping[str, int]


class RulesPages:
    """Builds the context of all rules and renders it."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def rules(self) -> str:
        """GET /rules"""
        return self._templates.page("rules", self._context())

    def fragment(self) -> str:
        """GET /partials/rules"""
        return self._templates.fragment("rules", self._context())

    def _context(self) -> RulesContext:
        show, at = inputs.choice_parameter("show", SHOWN) or "", now()
        filters = RuleFilters(inputs.query("q").strip(), show, int(inputs.query("all") == "1"))
        rules = [self._listed(rule, at) for rule in slices(self._services.rules())]
        counts = {word: sum(word in one.marks for one in rules) for word in SHOWN}
        text = filters.q.lower()
        wanted = [one for one in rules if (not show or show in one.marks) and _mentions(one.rule, text)]
        shown = sorted(wanted, key=_place)[: None if filters.all else RULES_SHOWN]
        return RulesContext(filters, shown, len(wanted), len(rules), counts)

    def _listed(self, rule: RuleState, at: Micros) -> Listed:
        silence = silences.holding_rule(self._services, rule, at)
        written = rule.condition or rule.sql
        if rule.health == "error":
            return Listed(rule, written, rule.error, True, silence)
        if rule.health == "no data":
            return Listed(rule, written, _lacking(rule), False, silence)
        why = rule.explain()
        # A wildcard, or a query, is not to be seen in the values of one alert.
        if rule.sql or "*" in rule.condition or not why:
            return Listed(rule, written, why, False, silence)
        return Listed(rule, why, "", False, silence)


def _lacking(rule: RuleState) -> str:
    if not rule.missing:
        return "no series matches yet"
    more = len(rule.missing) - MISSING_SHOWN
    names = ", ".join(rule.missing[:MISSING_SHOWN])
    return f"no fresh value of {names}{f' and {more} more' if more > 0 else ''}"


def _mentions(rule: RuleState, text: str) -> bool:
    return any(text in found.lower() for found in (rule.name, rule.condition, rule.sql, rule.message))


def _place(one: Listed) -> tuple[bool, bool, bool, bool, int]:
    """Return where a rule stands: what fires and is not silent first, then what cannot do its work."""
    state = one.rule.state
    return (
        state != "firing",
        state == "firing" and one.silence is not None,
        not one.wrong,
        state != "pending",
        -SEVERITIES.index(one.rule.severity),
    )
