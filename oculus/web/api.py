"""The REST API: handlers take the services and answer JSON-ready values or text. Routes are in `server`."""

from __future__ import annotations

import json
import math
import re
import time
from fnmatch import translate
from functools import lru_cache
from itertools import islice
from typing import Any

from bottle import response

from oculus.clock import SECOND, iso
from oculus.cooperate import slices
from oculus.errors import QueryError
from oculus.model import ALERT_STATES, SEVERITIES, RuleState, Sample, Tags
from oculus.storage import queries, sandbox
from oculus.storage.latest import Series
from oculus.web import exposition, inputs, points
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services

MAX_METRICS = 100_000  # series in one answer
MAX_ALERTS = 1_000  # alerts in one answer


def metrics(services: Services) -> str:
    """GET /api/metrics: the latest sample of each series."""
    category, pattern = inputs.query("category"), inputs.query("symbol")
    since, until = inputs.time_parameter("since", None), inputs.time_parameter("until", None)
    limit = inputs.limit_parameter(MAX_METRICS, MAX_METRICS)

    fits = re.compile(translate(pattern)).match if pattern else None
    wanted = (
        series
        for series in slices(services.latest)
        if (not category or series.category == category)
        and (fits is None or fits(series.symbol))
        and (since is None or series.ts >= since)
        and (until is None or series.ts <= until)
    )
    response.content_type = "application/json"
    stale = services.stale
    entries = (_last_json(series, stale(series)) for series in islice(wanted, limit))
    return '{"metrics": [' + ", ".join(entries) + "]}"


def _last_json(series: Series, stale: bool) -> str:
    """Return `_last` as JSON, three times as fast: all but value, time and age is remembered."""
    head = _head_json(series.symbol, series.category, series.unit, series.tags)
    old = "true" if stale else "false"
    return f'{head}, "value": {json.dumps(series.value)}, "ts": "{iso(series.ts)}", "stale": {old}}}'


@lru_cache(maxsize=20_000)
def _head_json(symbol: str, category: str, unit: str, tags: Tags) -> str:
    return json.dumps({"symbol": symbol, "category": category, "unit": unit, "tags": tags})[:-1]


def _last(series: Series, stale: bool) -> dict[str, Any]:
    return {
        "symbol": series.symbol,
        "category": series.category,
        "value": series.value,
        "ts": iso(series.ts),
        "stale": stale,
        "unit": series.unit,
        "tags": series.tags,
    }


def metric(services: Services, symbol: str) -> str:
    """GET /api/metrics/{symbol}: one series with its points in buckets."""
    series = services.latest.get(symbol) or points.gone(services, symbol)
    start, end, step = points.window()
    head = _last(series, services.stale(series)) | {
        "last": {"ts": iso(series.ts), "value": series.value},
        "from": iso(start),
        "to": iso(end),
        "step": step / SECOND,
    }
    found = services.readers.run(_points, symbol, start, end, step)
    response.content_type = "application/json"
    return f'{json.dumps(head)[:-1]}, "points": {found}}}'


def _points(cursor: queries.Cursor, *asked: Any) -> str:
    """Return points as JSON, made in the reader's thread."""
    return json.dumps(
        [
            {
                "ts": iso(point.ts),
                "open": point.open,
                "high": point.high,
                "low": point.low,
                "close": point.close,
                "avg": point.avg if math.isfinite(point.avg) else None,
                "count": point.count,
            }
            for point in queries.points(cursor, *asked)
        ]
    )


def query(services: Services) -> str:
    """POST /api/query: one reading SQL statement."""
    body = inputs.json_body()
    if not isinstance(body, dict) or not isinstance(body.get("sql"), str):
        raise bad_request('the body is not {"sql": "select …", "params": {…}}')
    params = body.get("params")
    if params is not None and not isinstance(params, dict | list):
        raise bad_request("params is neither an object of named values nor a list")
    started = time.perf_counter()
    try:
        result, rows = services.sandbox.run(_query, body["sql"], params, ceiling=True)
    except sandbox.SqlError as error:
        raise QueryProblem(error) from None
    columns = json.dumps([{"name": name, "type": kind} for name, kind in result.columns])
    about = {
        "row_count": len(result.rows),
        "truncated": result.truncated,
        "elapsed_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    response.content_type = "application/json"
    return f'{{"columns": {columns}, "rows": {rows}, {json.dumps(about)[1:]}'


def _query(cursor: queries.Cursor, sql: str, params: Any) -> tuple[sandbox.Result, str]:
    """Return the result, and its rows as JSON: megabytes of it are made in the reader's thread."""
    try:
        result = sandbox.query(cursor, sql, params)
        return result, f"[{', '.join(map(json.dumps, result.rows))}]"
    except MemoryError:
        raise QueryError("the query needs more memory than one may take here") from None


class QueryProblem(Problem):
    """The answer to SQL that is wrong: it tells the place as well, where DuckDB does."""

    def __init__(self, error: sandbox.SqlError) -> None:
        super().__init__(400, "bad_query", str(error))
        self._position = error.position

    def body(self) -> dict[str, object]:
        """Return the JSON of the answer."""
        told: dict[str, object] = {"code": self.code, "message": self.message}
        if self._position is not None:
            told["position"] = self._position
        return {"error": told}


def rules(services: Services) -> dict[str, Any]:
    """GET /api/rules: configured rules with their state."""
    return {"rules": [_rule(rule) for rule in services.rules()]}


def rule(services: Services, name: str) -> dict[str, Any]:
    """GET /api/rules/{name}: one rule with its history, newest first."""
    found = next((rule for rule in services.rules() if rule.name == name), None)
    if found is None:
        raise Problem(404, "not_found", f"there is no rule {name!r}")
    history = services.readers.run(_events, {"rule": name, "limit": 100})
    return _rule(found) | {"history": [alert(event) for event in history]}


def _rule(rule: RuleState) -> dict[str, Any]:
    return {
        "name": rule.name,
        "condition": rule.condition,
        "sql": rule.sql,
        "for": rule.for_seconds,
        "cooldown": rule.cooldown_seconds,
        "severity": rule.severity,
        "message": rule.message,
        "channels": rule.channels,
        "state": rule.state,
        "health": rule.health,
        "error": rule.error,
        "missing": rule.missing,
        "value": rule.value,
        "explanation": rule.explain(),
        "active_at": iso(rule.active_at) if rule.active_at is not None else None,
        "last_evaluation": iso(rule.last_evaluation) if rule.last_evaluation is not None else None,
        "evaluations": rule.evaluations,
        "missed": rule.missed,
        "instances": [
            {
                "labels": dict(found.labels),
                "state": found.state,
                "value": found.value,
                "active_at": iso(found.active_at),
                "suppressed": found.suppressed,
            }
            for found in rule.instances
        ],
    }


def alerts(services: Services) -> dict[str, Any]:
    """GET /api/alerts: recent steps of alerts, newest first."""
    filters = {
        "rule": inputs.query("rule") or None,
        "severity": inputs.choice_parameter("severity", SEVERITIES),
        "state": inputs.choice_parameter("state", ALERT_STATES),
        "since": inputs.time_parameter("since", None),
        "before": inputs.id_parameter("before"),
        "text": inputs.query("q") or None,
        "limit": inputs.limit_parameter(100, MAX_ALERTS),
    }
    return {"alerts": [alert(event) for event in services.readers.run(_events, filters)]}


def _events(cursor: queries.Cursor, filters: dict[str, Any]) -> list[queries.StoredEvent]:
    return queries.events(cursor, type="alert", **filters)


def alert(event: queries.StoredEvent) -> dict[str, Any]:
    """Return a stored transition as the API shows it."""
    payload = event.payload
    return {
        "id": event.id,
        "ts": iso(event.ts),
        "rule": payload.get("rule", event.source),
        "state": payload.get("state"),
        "previous": payload.get("previous"),
        "severity": event.severity,
        "message": event.message,
        "symbol": payload.get("symbol"),
        "value": payload.get("value"),
        "labels": payload.get("labels", {}),
        "started_at": iso(payload["started_at"]) if "started_at" in payload else None,
        "explanation": payload.get("explanation", ""),
        "operands": [
            {"text": text, "value": value, "age": age} for text, value, age in payload.get("operands", ())
        ],
        "timers": payload.get("timers", {}),
        "suppressed": payload.get("suppressed", ""),
        "channels": payload.get("channels", []),
    }


def push(services: Services, symbol: str | None = None) -> str:
    """POST /api/push and /api/push/{symbol}: samples from outside, all or none of them."""
    kind = inputs.content_type()
    if "version=0.0.4" in kind or "openmetrics" in kind:
        raise bad_request("Prometheus's text format goes to /api/push/metrics/job/<job>")
    data = inputs.body()
    number = inputs.number_of(data) if symbol is not None else None
    body = inputs.json_of(data) if number is None else {"value": number}
    if isinstance(body, list):
        if len(body) > inputs.MAX_PUSH:
            raise Problem(413, "too_large", f"{len(body)} samples; at most {inputs.MAX_PUSH} in one request")
        samples = [
            inputs.pushed_sample(item, symbol, f"sample {index}: ") for index, item in slices(enumerate(body))
        ]
    else:
        samples = [inputs.pushed_sample(body, symbol, "")]
    return queued(services, samples)


def queued(services: Services, samples: list[Sample]) -> str:
    """Queue samples from outside and return the answer; raises Problem when there is no room."""
    if not services.offer(samples):
        raise Problem(503, "queue_full", "the queue is full; try again in a moment", retry_after=1)
    response.status = 202
    response.content_type = "application/json"
    return json.dumps({"accepted": len(samples)})


def healthz(services: Services) -> dict[str, Any]:
    """GET /healthz: the process is up."""
    return {"status": "ok"}


def readyz(services: Services) -> dict[str, Any]:
    """GET /readyz: the database is open and the writer writes."""
    reason = services.not_ready()
    if reason:
        raise Problem(503, "not_ready", reason)
    return {"status": "ready"}


def self_metrics(services: Services) -> str:
    """GET /metrics: Oculus itself, for Prometheus."""
    response.content_type = exposition.CONTENT_TYPE
    return exposition.render(services.metrics())
