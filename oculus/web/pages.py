"""The pages and their live fragments. Each has a context class: what its template may use, and no more.

A page shows its fragment at once and HTMX asks for the same fragment again, so that both are one template.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from bottle import response

from oculus.clock import SECOND, iso, now
from oculus.cooperate import slices
from oculus.errors import StorageError
from oculus.model import ALERT_STATES, SEVERITIES, Micros, RuleState
from oculus.storage import queries
from oculus.storage.latest import Series
from oculus.web import figures, inputs, silences, storage_page
from oculus.web.services import Services
from oculus.web.templates import Templates

# What the categories are called, in the order of the page; others follow by name.
_TITLES = {
    "net.http": "HTTP",
    "net.tcp": "TCP",
    "net.ping": "Ping",
    "net.dns": "DNS",
    "net.tls": "Certificates",
    "crypto.price": "Crypto",
    "crypto.sentiment": "Crypto sentiment",
    "crypto.onchain": "Crypto on-chain",
    "stock.price": "Stocks",
    "stock.index": "Indices",
    "stock.etf": "ETFs",
    "market.valuation": "Valuation",
    "pred.poly": "Predictions",
    "pred.prob": "Probabilities",
    "custom": "Custom",
    "heartbeat": "Heartbeats",
    "exec": "Commands",
    "host": "Host",
    "oculus": "Oculus",
}

# Kinds with few series to a category: they share one panel, since one for each would fill the page.
_SHARED = frozenset({"heartbeat", "exec", "host", "oculus"})

# Of a target's series, the one that is shown large, and those that stand small beside it.
_MAIN = ("rtt", "up")
_FACTS = ("status", "loss", "cert_days", "dns", "connect", "tls", "ttfb", "duration")
_FACT_NAMES = {
    "cert_days": "cert",
    "ttfb": "first byte",
    "change_24h": "24 h",
    "change_day": "day",
    "volume_24h": "volume",
}

# What stands beside a price, in series of its own.
_FIGURES = ("change_24h", "change_day", "bid", "ask", "volume_24h", "market_open")
_QUOTED = ("crypto.", "stock.", "market.", "pred.")

ALERTS_SHOWN = 100
RECENT_SHOWN = 5  # alerts on the dashboard


@dataclass(frozen=True, slots=True)
class Fact:
    """A small figure beside a target's main one."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One target, or one series that belongs to none. `state` is up, down, or empty where neither fits.

    `note` is a word about a value that does not move, such as `closed`.
    """

    symbol: str
    title: str
    state: str
    text: str
    unit: str
    trend: str
    change: str
    spark: str
    facts: list[Fact]
    reason: str
    at: str
    stale: bool
    note: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A category with its rows."""

    category: str
    title: str
    rows: list[Row]
    down: int


@dataclass(frozen=True, slots=True)
class Alert:
    """A step of an alert."""

    id: int
    rule: str
    state: str
    severity: str
    message: str
    at: str
    started_at: str
    lasted: str
    explanation: str
    labels: Mapping[str, str]
    ruled: bool  # whether its rule is there still, and has a page
    silence: silences.Quiet | None = None  # which one holds it back now
    silenceable: bool = False  # whether its rule can be silenced here


@dataclass(frozen=True, slots=True)
class MetricsContext:
    """`fragments/metrics.html`: the dashboard's live part."""

    up: int
    down: int
    series: int
    firing: list[RuleState]
    pending: list[RuleState]
    recent: list[Alert]
    panels: list[Panel]
    not_ready: str


@dataclass(frozen=True, slots=True)
class AlertsContext:
    """`fragments/alerts.html`: silences, and recent steps of alerts, newest first."""

    silences: list[silences.Quiet]
    alerts: list[Alert]
    rule: str
    ruled: bool
    state: str
    severity: str


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
        self._sparks: dict[str, tuple[Micros, figures.Shape]] = {}
        self.forms = silences.Forms(services, templates)

    def dashboard(self) -> str:
        """GET /"""
        return self._templates.page("dashboard", self._metrics_context())

    def metrics_fragment(self) -> str:
        """GET /partials/metrics"""
        return self._templates.fragment("metrics", self._metrics_context())

    def alerts(self) -> str:
        """GET /alerts"""
        return self._templates.page("alerts", self._alerts_context())

    def alerts_fragment(self) -> str:
        """GET /partials/alerts"""
        return self._templates.fragment("alerts", self._alerts_context())

    def storage(self) -> str:
        """GET /storage"""
        return self._templates.page("storage", storage_page.context(self._services.storage()))

    def storage_fragment(self) -> str:
        """GET /partials/storage"""
        return self._templates.fragment("storage", storage_page.context(self._services.storage()))

    def login(self, *, wrong: bool = False) -> str:
        """GET /login"""
        if wrong:
            response.status = 403
        return self._templates.page("login", LoginContext(wrong))

    # -- contexts -------------------------------------------------------------------------------------

    def _metrics_context(self) -> MetricsContext:
        services = self._services
        panels = self._panels(now())
        rules = services.rules()
        rows = [row for panel in panels for row in panel.rows]
        return MetricsContext(
            up=sum(row.state == "up" and not row.stale for row in rows),
            down=sum(row.state == "down" and not row.stale for row in rows),
            series=len(services.latest),
            firing=[rule for rule in rules if rule.state == "firing"],
            pending=[rule for rule in rules if rule.state == "pending"],
            recent=self._recent_if_any(),
            panels=panels,
            not_ready=services.not_ready(),
        )

    def _alerts_context(self) -> AlertsContext:
        rule, state = inputs.query("rule"), inputs.choice_parameter("state", ALERT_STATES)
        severity = inputs.choice_parameter("severity", SEVERITIES)
        found = self._recent(ALERTS_SHOWN, rule=rule or None, state=state, severity=severity)
        at = now()
        kept = [one for one in self._services.silences.silences.all(at) if one.state(at) != "expired"]
        shown = [silences.Quiet.of(one, at) for one in kept]
        listed, ruled = list(self._with_silences(found, at)), rule in self._rule_names()
        return AlertsContext(shown, listed, rule, ruled, state or "", severity or "")

    def _with_silences(self, alerts: list[Alert], at: Micros) -> Iterator[Alert]:
        """Yield the alerts; the newest firing of each rule that still fires can be silenced, or is."""
        firing = {rule.name for rule in self._services.rules() if rule.state == "firing"}
        for alert in alerts:
            if alert.state == "firing" and alert.rule in firing:
                silence = silences.holding(self._services, alert.rule, alert.severity, alert.labels, at)
                yield replace(alert, silence=silence, silenceable=silence is None)
                if silence is None:
                    firing.remove(alert.rule)
            else:
                yield alert

    def _recent_if_any(self) -> list[Alert]:
        """Return the alerts of the dashboard; none while the store cannot be read: all else is in memory."""
        try:
            return self._recent(RECENT_SHOWN)
        except StorageError:
            return []

    def _recent(self, limit: int, **filters: str | None) -> list[Alert]:
        def read(cursor: queries.Cursor) -> list[queries.StoredEvent]:
            return queries.events(cursor, type="alert", limit=limit, **filters)  # type: ignore[arg-type]

        names = self._rule_names()
        return [_alert(event, names) for event in self._services.readers.run(read)]

    def _rule_names(self) -> set[str]:
        return {rule.name for rule in self._services.rule_settings()}

    def _panels(self, at: Micros) -> list[Panel]:
        by_category: dict[str, list[Row]] = {}
        for stem, group in groupby(slices(self._services.latest), key=_stem):
            row = self._row(stem, list(group), at)
            by_category.setdefault(row[0], []).append(row[1])
        order = {category: place for place, category in enumerate(_TITLES)}
        panels = []
        for category in sorted(by_category, key=lambda name: (order.get(name, len(order)), name)):
            rows = sorted(by_category[category], key=lambda row: (row.state != "down", row.symbol))
            down = sum(row.state == "down" for row in rows)
            panels.append(Panel(category, _TITLES.get(category, category), rows, down))
        return panels

    def _row(self, stem: str, group: list[Series], at: Micros) -> tuple[str, Row]:
        by_part = {series.symbol[len(stem) + 1 :]: series for series in group}
        up = by_part.get("up")
        main = next((by_part[part] for part in _MAIN if part in by_part), group[0])
        state = "" if up is None else "up" if up.value >= 0.5 else "down"
        unknown = by_part.get("unknown")
        # What failed for a reason of ours says nothing about the target.
        doubted = unknown if unknown is not None and unknown.value >= 0.5 else None
        if doubted is not None:
            state = ""
        newest = doubted or up or main
        stale = self._services.stale(newest)
        down = state == "down"
        shape, state_of = self._shape(main), self._services.state
        text, unit = figures.measure(main.value, main.unit)
        panel = _panel(main.category)
        title = (stem if up or unknown else main.symbol).removeprefix(panel).lstrip(".") or stem
        # Odds are many to a market: the outcome is the title, and the market stands below.
        market, dot, outcome = title.rpartition(".") if panel.startswith("pred.") else ("", "", "")
        owner = [Fact("", market)] if dot else []
        title = outcome if dot else title
        return panel, Row(
            symbol=main.symbol,
            title=title,
            state=state,
            text="unknown" if doubted else "down" if down else text,
            unit="" if down or doubted else unit,
            trend="flat" if down or doubted else shape.trend if up else shape.direction,
            change="" if up else shape.change,
            spark=shape.spark,
            facts=[*owner, *(_facts(by_part, newest.ts) if up else _figures(by_part, newest.ts))],
            reason=up.tags.get("error", "") if up is not None and down else "",
            at=iso(newest.ts),
            stale=stale,
            note=doubted.tags.get("reason", "") if doubted else "" if stale else state_of(main.symbol),
        )

    def _shape(self, series: Series) -> figures.Shape:
        """Return what a series' history looks like, computed once per sample."""
        known = self._sparks.get(series.symbol)
        if known is None or known[0] != series.ts:
            if len(self._sparks) > 2 * len(self._services.latest) + 1000:
                self._sparks.clear()  # series that are gone
            known = (series.ts, figures.shape(series.history))
            self._sparks[series.symbol] = known
        return known[1]


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
        started_at=iso(started_at),
        lasted=figures.span_text(max(1, (event.ts - started_at) // SECOND)) if state == "resolved" else "",
        explanation=str(payload.get("explanation", "")),
        labels={"symbol": str(payload.get("symbol") or ""), **payload.get("labels", {})},
        ruled=rule in rules,
    )


def _panel(category: str) -> str:
    """Return the panel that a category stands in."""
    kind = category.partition(".")[0]
    return kind if kind in _SHARED else category


def _stem(series: Series) -> str:
    """Return what the series of one target share; a series of no target stands alone."""
    stem, _, part = series.symbol.rpartition(".")
    if series.category.startswith(("net.", "heartbeat.")):
        return stem
    return stem if part in _FIGURES and series.category.startswith(_QUOTED) else series.symbol


def _figures(by_part: dict[str, Series], newest: Micros) -> Iterator[Fact]:
    """Yield what came with a quote."""
    for part in _FIGURES:
        series = by_part.get(part)
        if series is None or series.ts != newest or part == "market_open":
            continue
        text = figures.value_text(series.value, series.unit)
        if part.startswith("change"):
            text = f"{'−' if series.value < 0 else '+'}{abs(series.value):.2f}%"
        yield Fact(_FACT_NAMES.get(part, part), text)


def _facts(by_part: dict[str, Series], newest: Micros) -> Iterator[Fact]:
    """Yield the small figures of the last run; what an older run measured is not shown beside it."""
    for part in _FACTS:
        series = by_part.get(part)
        if series is None or series.ts != newest or (part == "tls" and not series.value):
            continue
        if part == "loss" and not series.value:
            continue
        unit = "d" if part == "cert_days" else figures.unit_text(series.unit)
        value = round(series.value) if part == "cert_days" else series.value
        text = figures.value_text(value, series.unit) + (f" {unit}" if unit else "")
        yield Fact(_FACT_NAMES.get(part, part), text)
