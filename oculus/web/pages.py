"""The pages and their live fragments. Each has a context class: what its template may use, and no more.

A page shows its fragment at once and HTMX asks for the same fragment again, so that both are one template.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bottle import response

from oculus.clock import SECOND, iso
from oculus.storage import queries
from oculus.web import figures, silences
from oculus.web.alert_page import AlertPages
from oculus.web.alerts_page import AlertsPages
from oculus.web.badges import Badges
from oculus.web.dashboard import Dashboard
from oculus.web.live import Live
from oculus.web.query_page import QueryPage
from oculus.web.rules_page import RulesPages
from oculus.web.series_page import SeriesPages
from oculus.web.services import Services
from oculus.web.status_page import StatusPage
from oculus.web.system_page import SystemPages
from oculus.web.templates import Templates


@dataclass(frozen=True, slots=True)
class Alert:
    """A step of an alert. `ruled` tells that its rule is there still, and has a page."""

    id: int
    rule: str
    state: str
    severity: str
    message: str
    at: str
    lasted: str
    ruled: bool


@dataclass(frozen=True, slots=True)
class LoginContext:
    """`pages/login.html`."""

    wrong: bool


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """`pages/error.html`."""

    status: int
    message: str


class Pages:
    """Builds contexts and renders them."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates
        self.forms = silences.Forms(services, templates)
        self.steps = AlertPages(services, templates)
        self.alerts = AlertsPages(services, templates)
        self.rules = RulesPages(services, templates)
        self.system = SystemPages(services, templates)
        self.dashboard = Dashboard(services, templates, self._recent)
        self.live = Live(services, self.dashboard)
        self.console = QueryPage(services, templates)
        self.series = SeriesPages(services, templates)
        self.status = StatusPage(services, templates)
        self.badges = Badges(services, self.status.targets, self.status.records)

    def login(self, *, wrong: bool = False) -> str:
        """GET /login"""
        if wrong:
            response.status = 403
        return self._templates.page("login", LoginContext(wrong))

    # -- contexts -------------------------------------------------------------------------------------

    def _recent(self, limit: int) -> list[Alert]:
        def read(cursor: queries.Cursor) -> list[queries.StoredEvent]:
            return queries.events(cursor, type="alert", limit=limit)

        names = {rule.name for rule in self._services.rule_settings()}
        return [_alert(event, names) for event in self._services.readers.run(read)]


def _alert(event: queries.StoredEvent, rules: Collection[str]) -> Alert:
    payload = event.payload
    rule = str(payload.get("rule", event.source))
    state, started_at = str(payload.get("state", "")), payload.get("started_at", event.ts)
    return Alert(
        id=event.id,
        rule=rule,
        state=state,
        severity=event.severity,
        message=event.message,
        at=iso(event.ts),
        lasted=figures.span_text(max(1, (event.ts - started_at) // SECOND)) if state == "resolved" else "",
        ruled=rule in rules,
    )
