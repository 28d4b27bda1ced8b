"""The `pagerduty` channel: an incident for each alert that fires, which ends with it (Events API v2)."""

from __future__ import annotations

import re
import socket
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from oculus.clock import iso
from oculus.config.decode import between, setting
from oculus.config.settings import ChannelSettings
from oculus.model import Severity, Transition
from oculus.notify.base import Channel, Undelivered
from oculus.notify.http import Answer, HttpSettings, refused
from oculus.notify.notice import Notice, duration
from oculus.notify.payload import identity, number
from oculus.notify.plain import clock, home, late_note, one_line, page

URL = "https://events.pagerduty.com/v2/enqueue"

MAX_SUMMARY = 1_024  # characters, as the service has it
MAX_KEY = 255  # characters of a deduplication key, likewise
# An event may have 512 kB; texts of this length leave room for all labels.
MAX_DETAIL = 4_000  # characters

_ROUTING_KEY = re.compile(r"[A-Za-z0-9]{32}")

_SEVERITIES: Mapping[Severity, str] = {
    "info": "info", "warn": "warning", "error": "error", "critical": "critical",
}  # fmt: skip

# Notices of which some events have been taken and others not: few are under way at a time.
_UNDER_WAY = 100


def _check_key(key: str) -> None:
    if not _ROUTING_KEY.fullmatch(key):
        raise ValueError("is no routing key (the 32 letters and digits of an Events API v2 integration)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDutySettings(HttpSettings):
    """Settings of `type: pagerduty`."""

    routing_key: str = setting(
        help="integration key of a service (Events API v2)", check=_check_key, secret=True
    )
    # One that is only counted would open no incident.
    most: int = setting(1_000, help="most alerts in a message", check=between(1, 1_000))
    source: str = setting("", help="what tells this Oculus from others; this host's name when left out")


class PagerDuty(Channel):
    """Sends an event for each alert of a notice. Sent again, an event is no second incident.

    What has been taken of a notice is remembered: a refusal in its middle must not begin it anew for ever.
    """

    Settings: ClassVar[type[ChannelSettings]] = PagerDutySettings
    settings: PagerDutySettings

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        self._taken: OrderedDict[str, set[str]] = OrderedDict()

    def deliver(self, notice: Notice) -> str:
        taken = self._taken.setdefault(notice.id, set())
        while len(self._taken) > _UNDER_WAY:
            self._taken.popitem(last=False)
        for step in notice.alerts:
            key = self.key(step)
            if key not in taken:
                self._send(self._event(step, notice))
                taken.add(key)
        self._taken.pop(notice.id, None)
        ended = len(notice.resolved)
        counts = ((len(notice.firing), "triggered"), (ended, "resolved"))
        return ", ".join(f"{count} {what}" for count, what in counts if count)

    def key(self, step: Transition) -> str:
        """Return what names the incident of an alert: the same from its firing to its end, and afterwards.

        The host's name is no part of it, since a container has another one after each start.
        """
        start = one_line(f"{self.settings.source or 'oculus'}/{step.rule}", MAX_KEY - 17)
        return f"{start}/{identity(step)}" if step.labels else start

    def _send(self, event: Mapping[str, Any]) -> None:
        answer = self.settings.post(URL, json=event, secrets=(self.settings.routing_key,))
        if not answer.ok:
            raise refused(answer, _told(answer))
        if answer.fields.get("status") != "success":
            raise Undelivered(f"{answer.status}, but what came is not PagerDuty's answer: {answer.snippet}")

    def _event(self, step: Transition, notice: Notice) -> dict[str, Any]:
        fires = step.state == "firing"
        event: dict[str, Any] = {
            "routing_key": self.settings.routing_key,
            "event_action": "trigger" if fires else "resolve",
            "dedup_key": self.key(step),
        }
        if not fires:
            return event
        event["client"] = "Oculus"
        if notice.link:
            event["client_url"] = home(notice.link)
            event["links"] = [{"href": page(step, notice), "text": "Open in Oculus"}]
            if notice.series_link and step.symbol and step.symbol == notice.alerts[0].symbol:
                event["links"].append({"href": notice.series_link, "text": step.symbol})
        event["payload"] = {
            "summary": one_line(step.message, MAX_SUMMARY) or step.rule,
            "source": self.settings.source or socket.gethostname(),
            "severity": _SEVERITIES[step.severity],
            "timestamp": iso(step.ts),
            "class": step.rule,
            "custom_details": _details(step, notice),
        }
        if step.symbol:
            event["payload"] |= {"component": step.symbol, "group": step.symbol.partition(".")[0]}
        return event


def _details(step: Transition, notice: Notice) -> dict[str, Any]:
    """Return what an incident shows below its title."""
    found: dict[str, Any] = {
        "value": number(step.value),
        "explanation": step.explanation[:MAX_DETAIL],
        "began": clock(step.started_at, notice.sent_at),
        "for": duration(notice.sent_at - step.started_at),
        "labels": dict(step.labels),
        "text": notice.text[:MAX_DETAIL],
        "late": late_note(notice) if notice.late else "",
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}


def _told(answer: Answer) -> str:
    fields = answer.fields
    errors = fields.get("errors")
    each = [answer.words(error) for error in errors] if isinstance(errors, list) else []
    told = ": ".join(filter(None, [answer.words(fields.get("message")), ", ".join(filter(None, each))]))
    if answer.status in (400, 401, 403, 404):
        return f"{told or answer.snippet} (check routing_key: that of an Events API v2 integration)"
    return told
