"""A notice as data: in Oculus's own form, in that of Alertmanager's webhooks (version 4), and for templates.

Pure functions of the notice; texts are as the notice has them, numbers that JSON cannot write are null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from oculus import templates
from oculus.clock import SECOND, iso
from oculus.config.decode import did_you_mean
from oculus.errors import ExpressionError
from oculus.model import Severity, Transition
from oculus.notify.notice import Notice, Reason
from oculus.notify.plain import home, page, text_of

# What an alert that fires has as its end in Alertmanager's JSON: the zero of its language's time.
_NEVER = "0001-01-01T00:00:00Z"

# Receivers know Prometheus's word for it.
_SEVERITIES: dict[Severity, str] = {
    "info": "info", "warn": "warning", "error": "error", "critical": "critical",
}  # fmt: skip

_REASONS: dict[Reason, str] = {
    "first": "first notification",
    "more": "new alerts added",
    "resolved": "some alerts resolved",
    "over": "all alerts resolved",
    "repeat": "repeat interval elapsed",
    "test": "first notification",
}

# What a user's template sees: all that Oculus's own form holds, the alerts by their states, and of the first
# of them what rules' messages see.
NAMES = frozenset({
    "id", "reason", "state", "severity", "title", "text", "link", "series_link", "at", "sent_at", "late",
    "group", "more", "alerts", "firing", "resolved",
    "rule", "message", "symbol", "value", "labels", "started_at", "seconds", "explanation",
})  # fmt: skip

_NOT_LABEL = re.compile(r"[^A-Za-z0-9_]")


def own(notice: Notice) -> dict[str, Any]:
    """Return a notice in Oculus's own form; `alerts` have the names of `/api/alerts`."""
    return {
        "id": notice.id,
        "reason": notice.reason,
        "state": "firing" if notice.fires else "resolved",
        "severity": notice.severity,
        "title": notice.title,
        "text": text_of(notice),
        "link": notice.link,
        "series_link": notice.series_link,
        "at": iso(notice.at),
        "sent_at": iso(notice.sent_at),
        "late": notice.late,
        "group": dict(notice.group),
        "more": notice.more,
        "alerts": [_alert(step, notice) for step in notice.alerts],
    }


def values(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a template sees of a notice in Oculus's own form."""
    alerts = own["alerts"]
    found = {**alerts[0], **own}
    for state in ("firing", "resolved"):
        found[state] = [alert for alert in alerts if (alert["state"] == "firing") == (state == "firing")]
    return {name: found[name] for name in NAMES}


def check_template(template: str) -> None:
    """Raise ValueError for a template that cannot be used, or that reads what there is not."""
    try:
        templates.check(template)
    except ExpressionError as error:
        raise ValueError(error.told) from None
    for name, row in templates.names(template):
        if name not in NAMES:
            raise ValueError(
                f'unknown name "{name}" in line {row} of the template{did_you_mean(name, NAMES)}'
            )


def _alert(step: Transition, notice: Notice) -> dict[str, Any]:
    until = notice.sent_at if step.state == "firing" else step.ts
    return {
        "ts": iso(step.ts),
        "rule": step.rule,
        "state": step.state,
        "severity": step.severity,
        "message": step.message,
        "symbol": step.symbol,
        "value": number(step.value),
        "labels": dict(step.labels),
        "started_at": iso(step.started_at),
        "seconds": max(0.0, (until - step.started_at) / SECOND),
        "explanation": step.explanation,
        "operands": [
            {"text": operand.text, "value": number(operand.value), "age": number(operand.age)}
            for operand in step.operands
        ],
    }


def number(value: float | None) -> float | None:
    """Return a number that JSON can write, or None."""
    return value if value is not None and math.isfinite(value) else None


def alertmanager(notice: Notice, receiver: str) -> dict[str, Any]:
    """Return a notice in the form of Alertmanager's webhooks."""
    alerts = [_theirs(step, page(step, notice)) for step in notice.alerts]
    group = {_label(name): value for name, value in notice.group.items()}
    if "severity" in group:
        group["severity"] = _SEVERITIES.get(group["severity"], group["severity"])  # type: ignore[call-overload]
    key = ", ".join(f"{name}={_quoted(value)}" for name, value in sorted(group.items()))
    return {
        "receiver": receiver,
        "status": "firing" if notice.fires else "resolved",
        "alerts": alerts,
        "notification_reason": _REASONS[notice.reason],
        "groupLabels": group,
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "routeLabels": {},
        "externalURL": home(notice.link),
        "version": "4",
        "groupKey": f"{{}}:{{{key}}}",
        "truncatedAlerts": notice.more,
    }


def _theirs(step: Transition, link: str) -> dict[str, Any]:
    labels = {_label(name): value for name, value in step.labels.items()}
    labels |= {"alertname": step.rule, "severity": _SEVERITIES[step.severity]}
    if step.symbol:
        labels["symbol"] = step.symbol
    annotations = {"summary": step.message}
    if step.value is not None:
        annotations["value"] = f"{step.value:.12g}"
    if step.explanation:
        annotations["description"] = step.explanation
    return {
        "status": "firing" if step.state == "firing" else "resolved",
        "labels": labels,
        "annotations": annotations,
        "startsAt": iso(step.started_at),
        "endsAt": _NEVER if step.state == "firing" else iso(step.ts),
        "generatorURL": link,
        "fingerprint": identity(step),
    }


def identity(step: Transition) -> str:
    """Return 16 hexadecimal digits that are the same for all steps of an alert, and of no other one."""
    # Not its symbol nor its severity: these may change while it fires.
    parts = [step.rule, *(text for pair in sorted(step.labels.items()) for text in pair)]
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()


def _label(name: str) -> str:
    """Return a name that Prometheus takes for a label: letters, digits, _."""
    return "alertname" if name == "rule" else _NOT_LABEL.sub("_", name)


def _quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _common(each: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return what all the mappings agree on."""
    first, *others = each
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
