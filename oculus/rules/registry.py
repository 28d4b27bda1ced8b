"""The rules in force, the series that are known, and which instance reads which of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from oculus.config.settings import RuleSettings
from oculus.rules.rule import Rule

# Passes items through; whoever gives it may let others run between them.
Each = Callable[[Iterable[Any]], Iterable[Any]]

# The keys of the instances that read a series, by series and rule.
_Index = dict[str, dict[str, list[str]]]


class Registry:
    """Rules by name and by the series that they read; a wildcard has an instance for each that it matches."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._by_symbol: _Index = {}
        self._known: set[str] = set()
        self.loads = 0  # how often rules were loaded

    @property
    def rules(self) -> list[Rule]:
        """All rules, in the order of the configuration."""
        return list(self._rules.values())

    def get(self, name: str) -> Rule | None:
        """Return a rule by its name."""
        return self._rules.get(name)

    def load(self, rules: Iterable[RuleSettings], each: Each = iter) -> None:
        """Replace the rules; one whose expression stayed keeps its instances.

        What takes long goes through `each`, which may let others run meanwhile: they find the old rules.
        """
        known, loaded, index = tuple(self._known), list[Rule](), _Index()
        for _ in each(self._loaded(tuple(rules), known, loaded, index)):
            pass
        before, self._rules, self._by_symbol = self._rules, {}, index
        self.loads += 1
        late = self._known.difference(known)
        for rule in loaded:
            self._rules[rule.settings.name] = rule
            was = before.get(rule.settings.name)
            if was is not None and was.expression == rule.expression:
                rule.adopt(was)
            for symbol in late:
                self._index(rule, rule.match(symbol))
            self._index(rule, [key for key in rule.instances if rule.watch(key)])
        self._rank()

    def _loaded(
        self, rules: Sequence[RuleSettings], known: Sequence[str], loaded: list[Rule], index: _Index
    ) -> Iterator[RuleSettings]:
        """Make the rules ready, a little at a time."""
        for settings in rules:
            rule = Rule.of(settings)
            loaded.append(rule)
            self._index(rule, rule.watched, index)
            if rule.condition is not None and rule.condition.is_glob:
                for symbol in known:
                    self._index(rule, rule.match(symbol), index)
                    yield settings
            yield settings

    def know(self, symbols: Iterable[str]) -> None:
        """Take note of series: a wildcard has an instance for each that it matches."""
        for symbol in symbols:
            if symbol not in self._known:
                self._known.add(symbol)
                for rule in self._rules.values():
                    self._index(rule, rule.match(symbol))

    def forget_all_but(self, symbols: Container[str]) -> None:
        """Drop the series that are not there any more: no wildcard stands for them, but for alerts."""
        gone = [symbol for symbol in self._known if symbol not in symbols]
        if not gone:
            return
        self._known.difference_update(gone)
        forgotten = [rule.forget(self._known) for rule in self._rules.values()]
        if any(forgotten):
            self._by_symbol = {}
            for rule in self._rules.values():
                self._index(rule, rule.watched)

    def _index(self, rule: Rule, keys: Iterable[str], index: _Index | None = None) -> None:
        found = self._by_symbol if index is None else index
        for key in keys:
            for symbol in rule.watched[key].symbols:
                found.setdefault(symbol, {}).setdefault(rule.settings.name, []).append(key)

    def _rank(self) -> None:
        """Rank the rules, so that in one pass a cause is evaluated before what depends on it."""
        for _ in self._rules:
            raised = False
            for rule in self._rules.values():
                causes = (self._rules.get(name) for name in rule.settings.depends_on)
                rank = 1 + max((cause.rank for cause in causes if cause is not None), default=-1)
                if rule.rank < rank < len(self._rules):  # in a circle there is no order
                    rule.rank, raised = rank, True
            if not raised:
                return

    def concerning(self, symbols: Iterable[str]) -> list[Rule]:
        """Return the rules that name any of these symbols."""
        found = {name: None for symbol in symbols for name in self._by_symbol.get(symbol, ())}
        return [self._rules[name] for name in found]

    def instances_of(self, symbol: str) -> Mapping[str, Sequence[str]]:
        """Return, by rule, the keys of the instances that read a series."""
        return self._by_symbol.get(symbol, {})
