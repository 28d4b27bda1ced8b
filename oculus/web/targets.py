"""Targets, as the status page and badges know them: which there are, their names, and how they stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from oculus.config.settings import StatusSettings
from oculus.model import category_of
from oculus.storage.latest import Series
from oculus.web.board import panel_of, panel_title
from oculus.web.services import Services
from oculus.web.view import ordered

Standing = Literal["up", "down", "unknown", "maintenance"]

MOST = 200  # on the page

# How the reason of an unknown result begins while a maintenance window is open.
_MAINTENANCE = "maintenance:"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that is up or down: its series end in `.up`, `.unknown` and more. `reason` tells why it is
    not up, with all that it may say of addresses."""

    symbol: str
    name: str
    standing: Standing
    reason: str


@dataclass(frozen=True, slots=True)
class Group:
    """Targets with a heading."""

    name: str
    targets: tuple[Target, ...]


class Targets:
    """Finds the targets among all series."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looked: tuple[int, StatusSettings] | None = None  # what the rest is of
        self._listed: list[tuple[str, list[str]]] = []  # the headings of the page, with what stands below
        self._left = 0
        self._shown: set[str] = set()
        self._known: set[str] = set()

    def groups(self) -> tuple[list[Group], int]:
        """Return the groups of the page, and how many targets did not fit into it."""
        self._look()
        listed = self._listed
        found = [Group(name, tuple(self.target(symbol) for symbol in symbols)) for name, symbols in listed]
        return found, self._left

    def on_page(self) -> set[str]:
        """Return the targets that stand on the page."""
        self._look()
        return self._shown

    def target(self, symbol: str) -> Target:
        """Return a target by what its series' names begin with."""
        up, unknown = (self._services.latest.get(f"{symbol}.{part}") for part in ("up", "unknown"))
        standing, reason = self._standing(up, unknown)
        return Target(symbol, self._services.status().names.get(symbol) or title_of(symbol), standing, reason)

    def of(self, symbol: str) -> str | None:
        """Return the target that a symbol names, or one of whose series it is; None when there is none."""
        self._look()
        stem = symbol.rpartition(".")[0]
        return next((name for name in (symbol, stem) if name in self._known), None)

    def main(self, target: str) -> str:
        """Return the series of a target that tells the most: how long it took, or else whether it is up."""
        took = f"{target}.rtt"
        return f"{target}.up" if self._services.latest.get(took) is None else took

    def shows(self, target: str) -> bool:
        """Tell whether a target is one of the page's."""
        return self._services.status().shows(target)

    def _standing(self, up: Series | None, unknown: Series | None) -> tuple[Standing, str]:
        doubted = unknown if unknown is not None and unknown.value >= 0.5 else None
        newest = doubted or up
        if newest is None or self._services.stale(newest):
            return "unknown", "no result lately"
        if doubted is not None:
            reason = doubted.tags.get("reason", "")
            return "maintenance" if reason.startswith(_MAINTENANCE) else "unknown", reason
        return ("up", "") if newest.value >= 0.5 else ("down", newest.tags.get("error", ""))

    def _look(self) -> None:
        """Find the targets, and those of the page, when series have come or gone, or the settings changed."""
        latest, settings = self._services.latest, self._services.status()
        if self._looked == (latest.generation, settings):
            return
        self._looked = latest.generation, settings
        found = (series.symbol.rpartition(".") for series in latest)
        known = {stem for stem, _, part in found if stem and part in ("up", "unknown")}
        self._listed, self._left, room = [], 0, MOST
        for name, symbols in _chosen(settings, known) if settings.groups else _by_category(known):
            self._left += max(0, len(symbols) - room)
            if symbols[:room]:
                self._listed.append((name, symbols[:room]))
                room -= len(symbols[:room])
        self._shown = {symbol for _, symbols in self._listed for symbol in symbols}
        self._known = known | self._shown


def _chosen(settings: StatusSettings, known: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the configured groups; a target that is named in full is there before its first result."""
    for group in settings.groups:
        named = {text.removesuffix(".up") for text in group.symbols if not set(text) & set("*?[")}
        places = {target: group.places(target) for target in known | named}
        fitting = [(place, target) for target, place in places.items() if place is not None]
        yield group.name, [target for _, target in sorted(fitting)]


def _by_category(known: set[str]) -> Iterator[tuple[str, list[str]]]:
    by_panel: dict[str, list[str]] = {}
    for target in sorted(known):
        by_panel.setdefault(panel_of(category_of(target)), []).append(target)
    for panel in ordered(by_panel):
        yield panel_title(panel), by_panel[panel]


def title_of(symbol: str) -> str:
    """Return what a target is called where nobody gave it a name: what its symbol has after the category."""
    return symbol.removeprefix(panel_of(category_of(symbol))).lstrip(".") or symbol
