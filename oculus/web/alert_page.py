"""One step of an alert, as a page and for programs: what happened, who was told of it, what came before and
after."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bottle import HTTPResponse

from oculus.clock import iso, now
from oculus.model import AlertInstance, Micros, is_symbol, unit_of
from oculus.storage.queries import StoredEvent
from oculus.storage.steps import Story, story
from oculus.web import api, deliveries, silences
from oculus.web.problems import Problem
from oculus.web.services import Services
from oculus.web.steps import Past, labels_of, number, past, span
from oculus.web.templates import Templates

AROUND = 10  # steps of the same alert that are shown before this one, and after it

# HTMX stops asking again after this status.
SETTLED = 286

_ID = re.compile(r"[0-9]{1,18}")
_UNITLESS = ("", "bool", "code", "probability")


@dataclass(frozen=True, slots=True)
class AlertContext:
    """`fragments/alert.html`: a step, what became of it, the deliveries, and the steps around it.

    `series` tells whether the symbol can be that of a series: a query may call it what it likes. `identity`
    are all labels of the alert as JSON. `ended` is the step that ended what this one began, `lasted` how long
    after it; `still` tells that it goes on, and `settled` that nothing of all this will change by itself.
    """

    step: Past
    rule: str
    ruled: bool
    symbol: str
    series: bool
    value: str
    labels: tuple[tuple[str, str], ...]
    identity: str
    began: str
    held: str
    still: bool
    ended: Past | None
    lasted: str
    told: tuple[deliveries.Told, ...]
    untold: str
    steps: tuple[Past, ...]
    newer: bool
    older: bool
    silence: silences.Quiet | None
    settled: bool


class AlertPages:
    """Builds the contexts of single steps and renders them."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def alert(self, id: str) -> str:
        """GET /alerts/{id}"""
        return self._templates.page("alert", self._context(id))

    def alert_fragment(self, id: str) -> Any:
        """GET /partials/alerts/{id}: told to be the last one once nothing is to be expected any more."""
        context = self._context(id)
        headers = {"Content-Type": "text/html; charset=utf-8"}
        status = SETTLED if context.settled else 200
        return HTTPResponse(self._templates.fragment("alert", context), status, headers)

    def _context(self, id: str) -> AlertContext:
        services, found = self._services, _find(self._services, id)
        event, labels = found.event, labels_of(found.event)
        payload = event.payload
        rule, state = str(payload.get("rule", event.source)), str(payload.get("state", ""))
        symbol = str(payload.get("symbol") or "")
        began = Micros(payload.get("started_at", event.ts))
        ended = next((one for one in found.after if one.payload.get("state") != state), None)
        active = None if ended is not None else _active(services, rule, state, labels, began)
        told = tuple(deliveries.told(event, found.deliveries, services.progress))
        return AlertContext(
            step=past(event),
            rule=rule,
            ruled=any(one.name == rule for one in services.rule_settings()),
            symbol=symbol,
            series=is_symbol(symbol),
            value=_value(services, event),
            labels=tuple(sorted((name, text) for name, text in labels.items() if name != "symbol")),
            identity=json.dumps(dict(labels), sort_keys=True, ensure_ascii=False),
            began=iso(began),
            held=span(event.ts - began) if event.ts > began else "",
            still=active is not None,
            ended=None if ended is None else past(ended),
            lasted="" if ended is None else span(ended.ts - event.ts),
            told=told,
            untold="" if told else deliveries.untold(event),
            steps=tuple(map(past, _steps(found))),
            newer=found.newer,
            older=found.older,
            silence=None
            if active is None
            else silences.holding(services, rule, event.severity, labels, now(), active.active_at),
            settled=active is None and all(one.state != "waiting" for one in told),
        )


def answer(services: Services, id: str) -> dict[str, Any]:
    """GET /api/alerts/{id}: a step with its deliveries, and the steps of the same alert, newest first."""
    found = _find(services, id)
    event = found.event
    return api.alert(event) | {
        "deliveries": [deliveries.shown(event.id, one, services.progress) for one in found.deliveries],
        "steps": [
            {
                "id": one.id,
                "ts": iso(one.ts),
                "state": one.payload.get("state"),
                "previous": one.payload.get("previous"),
                "severity": one.severity,
                "message": one.message,
                "value": one.payload.get("value"),
            }
            for one in _steps(found)
        ],
    }


def _find(services: Services, id: str) -> Story:
    """Return what the store knows of a step; raises Problem when there is none of this id."""
    found = services.readers.run(story, int(id), AROUND) if _ID.fullmatch(id) else None
    if found is None:
        raise Problem(
            404, "not_found", f"there is no alert {id!r}: events are kept for a while, not for ever"
        )
    return found


def _steps(found: Story) -> Sequence[StoredEvent]:
    return (*reversed(found.after), found.event, *found.before)


def _active(
    services: Services, rule: str, state: str, labels: Mapping[str, str], began: Micros
) -> AlertInstance | None:
    """Return an alert as it stands, if it is still in the state to which it came after it began."""
    found = (one for each in services.rules() if each.name == rule for one in each.instances)
    known = (state, labels, began)
    return next((one for one in found if (one.state, dict(one.labels), one.active_at) == known), None)


def _value(services: Services, event: StoredEvent) -> str:
    """Return the value with its unit, where it has one that people write."""
    value, symbol = event.payload.get("value"), str(event.payload.get("symbol") or "")
    if value is None:
        return ""
    series = services.latest.get(symbol)
    unit = unit_of(symbol, labels_of(event)) if series is None else series.unit
    return number(value) if unit in _UNITLESS else f"{number(value)} {unit}"
