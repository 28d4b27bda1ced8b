"""Targets, as the status page and badges know them: which there are, their names, and how they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oculus.config.settings import StatusSettings
from oculus.model import category_of
from oculus.storage.latest import Series
from oculus.web.board import TITLES, panel_of
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
        self._known: list[str] = []
        self._generation = -1

    def groups(self) -> tuple[list[Group], int]:
        """Return the groups of the page, and how many targets did not fit into it."""
        listed, left = self._listed()
        found = [Group(name, tuple(self.target(symbol) for symbol in symbols)) for name, symbols in listed]
        return found, left

    def on_page(self) -> set[str]:
        """Return the targets that stand on the page."""
        return {symbol for _, symbols in self._listed()[0] for symbol in symbols}

    def target(self, symbol: str) -> Target:
        """Return a target by what its series' names begin with."""
        up, unknown = (self._services.latest.get(f"{symbol}.{part}") for part in ("up", "unknown"))
        standing, reason = self._standing(up, unknown)
        return Target(symbol, self._services.status().names.get(symbol) or title_of(symbol), standing, reason)

    def of(self, symbol: str) -> str | None:
        """Return the target that a symbol names, or one of whose series it is; None when there is none."""
        known = {*self._all(), *self.on_page()}
        stem = symbol.rpartition(".")[0]
        return symbol if symbol in known else stem if stem in known else None

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

    def _all(self) -> list[str]:
        """Return all targets by name."""
        latest = self._services.latest
        if self._generation != latest.generation:
            self._generation = latest.generation
            found = (series.symbol.rpartition(".") for series in latest)
            self._known = sorted({stem for stem, _, part in found if stem and part in ("up", "unknown")})
        return self._known

    def _listed(self) -> tuple[list[tuple[str, list[str]]], int]:
        """Return the headings with what stands below each, and how many targets do not fit."""
        settings = self._services.status()
        found, room, left = [], MOST, 0
        for name, symbols in self._chosen(settings) if settings.groups else self._by_category():
            left += max(0, len(symbols) - room)
            if symbols[:room]:
                found.append((name, symbols[:room]))
                room -= len(found[-1][1])
        return found, left

    def _chosen(self, settings: StatusSettings) -> list[tuple[str, list[str]]]:
        """Return the configured groups; a target that is named in full is there before its first result."""
        found = []
        for group in settings.groups:
            named = {text.removesuffix(".up") for text in group.symbols if not set(text) & set("*?[")}
            places = {target: group.places(target) for target in {*self._all(), *named}}
            fitting = [(place, target) for target, place in places.items() if place is not None]
            found.append((group.name, [target for _, target in sorted(fitting)]))
        return found

    def _by_category(self) -> list[tuple[str, list[str]]]:
        by_panel: dict[str, list[str]] = {}
        for target in self._all():
            by_panel.setdefault(panel_of(category_of(target)), []).append(target)
        return [(TITLES.get(panel, panel), by_panel[panel]) for panel in ordered(by_panel)]


def title_of(symbol: str) -> str:
    """Return what a target is called where nobody gave it a name: what its symbol has after the category."""
    return symbol.removeprefix(panel_of(category_of(symbol))).lstrip(".") or symbol
