"""The page of a rule: how it stands, what its alerts did, and a form to try changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bottle import HTTPResponse, response

from oculus.clock import DAY, iso, now
from oculus.config.decode import encode
from oculus.config.settings import RuleSettings
from oculus.errors import StorageError
from oculus.model import AlertInstance, Micros, RuleState
from oculus.storage import queries
from oculus.web import silences, timeline
from oculus.web.backtest_form import CHOICES, DEFAULT, BacktestForm, Tried, TriedContext
from oculus.web.problems import Problem
from oculus.web.services import Services
from oculus.web.steps import Past, history, labels_of, number
from oculus.web.templates import Templates

HISTORY_SHOWN = 30  # steps of a rule's alerts
INSTANCES_SHOWN = 100
TIMELINE = 7 * DAY  # microseconds
MOST_STEPS = 1_000  # that the timeline is made of: some hundred firings

# Settings that the page shows in places of their own.
_SHOWN = frozenset({"name", "condition", "sql", "severity"})


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by its key in the file. `rules` tells that its texts are names of rules."""

    key: str
    texts: tuple[str, ...]
    rules: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """An alert that is active now."""

    state: str
    label: str
    labels: tuple[tuple[str, str], ...]
    value: str
    since: str
    suppressed: str


@dataclass(frozen=True, slots=True)
class RuleContext:
    """`fragments/rule.html`: how a rule stands, and what its alerts did."""

    rule: RuleState
    silence: silences.Quiet | None
    settings: tuple[Setting, ...]
    instances: tuple[Instance, ...]
    week: timeline.Timeline | None
    history: tuple[Past, ...]
    unread: str  # why the history cannot be read now


@dataclass(frozen=True, slots=True)
class RulePageContext(RuleContext):
    """`pages/rule.html`: the same, and the form with what came of it."""

    text: str
    days: int
    choices: tuple[int, ...]
    tried: Tried | None


class RulePages:
    """Builds the contexts of rules and renders them."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates
        self._form = BacktestForm(services)

    def rule(self, name: str) -> str:
        """GET /rules/{name}"""
        return self._page(name, None)

    def rule_fragment(self, name: str) -> str:
        """GET /partials/rules/{name}"""
        return self._templates.fragment("rule", RuleContext(**self._standing(name)))

    def tried(self, name: str) -> str:
        """POST /rules/{name}: the form without scripts; the page with what came of it."""
        self._state(name)
        tried = self._form.tried(name)
        response.status = tried.status
        return self._page(name, tried)

    def tried_fragment(self, name: str) -> Any:
        """POST /partials/rules/{name}/backtest: what came of the form alone."""
        self._state(name)
        tried = self._form.tried(name)
        headers = {"Content-Type": "text/html; charset=utf-8"}
        return HTTPResponse(self._templates.fragment("tried", TriedContext(tried)), tried.status, headers)

    def _page(self, name: str, tried: Tried | None) -> str:
        text, days = (self._form.text(name), DEFAULT) if tried is None else (tried.text, tried.days)
        standing = self._standing(name)
        return self._templates.page(
            "rule", RulePageContext(**standing, text=text, days=days, choices=CHOICES, tried=tried)
        )

    # -- contexts -------------------------------------------------------------------------------------

    def _state(self, name: str) -> RuleState:
        found = next((rule for rule in self._services.rules() if rule.name == name), None)
        if found is None:
            raise Problem(404, "not_found", f"there is no rule {name!r}")
        return found

    def _standing(self, name: str) -> dict[str, Any]:
        """Return the fields of a RuleContext; raises Problem when there is no such rule."""
        rule, at = self._state(name), now()
        settings = next((found for found in self._services.rule_settings() if found.name == name), None)
        try:
            events, unread = self._services.readers.run(_steps, name), ""
        except StorageError as error:
            events, unread = [], str(error)
        return {
            "rule": rule,
            "silence": silences.holding_rule(self._services, rule, at),
            "settings": () if settings is None else tuple(_settings(settings)),
            "instances": _instances(rule.instances),
            "week": None if unread else _timeline(events, rule.instances, at),
            "history": tuple(history(events[:HISTORY_SHOWN])),
            "unread": unread,
        }


def _steps(cursor: queries.Cursor, name: str) -> list[queries.StoredEvent]:
    return queries.events(cursor, type="alert", rule=name, limit=MOST_STEPS)


def _settings(settings: RuleSettings) -> Iterator[Setting]:
    """Yield what the file says of a rule besides its defaults, as it is written there."""
    for key, value in encode(settings).items():
        if key in _SHOWN:
            continue
        if key == "actions":
            texts = tuple(f"{action.title} ({', '.join(action.on)})" for action in settings.actions)
        elif isinstance(value, Mapping):
            texts = tuple(f"{name} = {text}" for name, text in value.items())
        else:
            texts = tuple(
                map(str, value if isinstance(value, Sequence) and not isinstance(value, str) else [value])
            )
        yield Setting(key, texts, key == "depends_on")


def _instances(found: Sequence[AlertInstance]) -> tuple[Instance, ...]:
    name = timeline.namer([one.labels for one in found])
    return tuple(
        Instance(
            state=one.state,
            label=name(one.labels),
            labels=tuple(sorted(one.labels.items())),
            value="" if one.value is None else number(one.value),
            since=iso(one.active_at),
            suppressed=one.suppressed,
        )
        for one in found[:INSTANCES_SHOWN]
    )


def _timeline(
    events: Sequence[queries.StoredEvent], instances: Sequence[AlertInstance], end: Micros
) -> timeline.Timeline:
    """Return when the alerts fired lately; where there were too many steps, since the oldest of them."""
    start = Micros(end - TIMELINE)
    oldest = max(start, events[-1].ts) if len(events) == MOST_STEPS else start
    steps = [
        timeline.Step(
            event.ts,
            labels_of(event),
            str(event.payload.get("state")),
            str(event.payload.get("previous")),
            event.id,
        )
        for event in reversed(events)
    ]
    active = [(one.labels, timeline.kind_of(one.state), one.active_at) for one in instances]
    known = [(labels, kind, since) for labels, kind, since in active if kind is not None]
    return timeline.timeline(timeline.spans_of(steps, known, oldest), start, end)
