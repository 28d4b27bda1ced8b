"""Silences over HTTP: for programs as JSON, for people as the forms of the pages.

A form works without scripts, and then leads back to its page. HTMX sends it without leaving the page: it gets
a line that says what came of it, and the page is told to ask for its live part again.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bottle import HTTPResponse, request, response

from oculus.clock import DAY, SECOND, iso, now, parse_iso
from oculus.config.decode import parse_duration
from oculus.errors import OculusError
from oculus.model import AlertInstance, Micros, RuleState
from oculus.rules.silences import (
    KEPT,
    SILENCE_STATES,
    Matcher,
    Silence,
    SilenceError,
    SilenceState,
    TooManySilences,
    of_alert,
)
from oculus.web import inputs
from oculus.web.auth import LOCAL
from oculus.web.problems import Problem, bad_request, problem_of
from oculus.web.services import Services
from oculus.web.templates import Templates

_KEYS = {"matchers", "duration", "starts_at", "ends_at", "comment"}
_EXAMPLE = '{"matchers": ["rule=site_*"], "duration": "2h", "comment": "deploy"}'

# An alert is acknowledged until it is over, but no longer than this: who has forgotten it is told again.
ACKNOWLEDGED = DAY  # microseconds

# A form leads back to one of these, or to the page of a rule or an alert: their live parts show silences.
_PAGES = ("/alerts", "/rules")
_PAGE_OF_ONE = re.compile(r"/(?:rules|alerts)/[^/]+")


@dataclass(frozen=True, slots=True)
class Quiet:
    """A silence as the pages show it; one that is `once` is the acknowledgement of an alert."""

    id: str
    state: SilenceState
    matchers: tuple[str, ...]
    starts_at: str
    ends_at: str
    comment: str
    once: bool = False

    @classmethod
    def of(cls, silence: Silence, at: Micros) -> Quiet:
        """Return what is shown of a silence."""
        matchers, times = tuple(map(str, silence.matchers)), (iso(silence.starts_at), iso(silence.ends_at))
        return cls(silence.id, silence.state(at), matchers, *times, silence.comment, silence.once)


def holding(
    services: Services,
    rule: str,
    severity: str,
    labels: Mapping[str, str],
    at: Micros,
    since: Micros | None = None,
) -> Quiet | None:
    """Return the silence that holds an alert back now, which began at `since`, if any does."""
    found = services.silences.silences.matching(rule, severity, labels, at, since)
    return None if found is None else Quiet.of(found, at)


def holding_rule(services: Services, rule: RuleState, at: Micros) -> Quiet | None:
    """Return the silence that ends first of those of a rule's alerts; None when one of them is told."""
    firing = [one for one in rule.instances if one.state == "firing"]
    found = [
        holding(services, rule.name, rule.severity, one.labels, at, one.active_at) for one in firing
    ] or [holding(services, rule.name, rule.severity, {}, at)]
    kept = [silence for silence in found if silence is not None]
    return min(kept, key=lambda silence: silence.ends_at) if len(kept) == len(found) else None


@dataclass(frozen=True, slots=True)
class ToldContext:
    """`fragments/told.html`: what came of a form."""

    message: str
    wrong: bool


# -- the API ------------------------------------------------------------------------------------------


def listing(services: Services) -> dict[str, Any]:
    """GET /api/silences: those in force, those to come, and those that ended in the last week."""
    at = now()
    state = inputs.choice_parameter("state", SILENCE_STATES)
    found = services.silences.silences.all(at)
    return {"silences": [_shown(silence, at) for silence in found if state in (None, silence.state(at))]}


def add(services: Services) -> dict[str, Any]:
    """POST /api/silences: begin a silence; answered once it is stored."""
    body = inputs.json_body()
    if not isinstance(body, dict):
        raise bad_request(f"the body is not {_EXAMPLE}")
    unknown = set(body) - _KEYS
    if unknown:
        raise bad_request(f"unknown key {min(unknown)!r} (known: {', '.join(sorted(_KEYS))})")
    matchers, comment = body.get("matchers"), body.get("comment", "")
    if not isinstance(matchers, list) or not all(isinstance(text, str) for text in matchers):
        raise bad_request('matchers is not a list of texts such as ["rule=site_*", "severity=warn"]')
    if not isinstance(comment, str):
        raise bad_request("comment is not a text")
    made = _add(services, matchers, _span(body), comment)
    response.status = 201
    answer = _shown(made, now())
    warning = _warning(services, made)
    return answer | {"warning": warning} if warning else answer


def end(services: Services, id: str) -> dict[str, Any]:
    """DELETE /api/silences/{id}: end a silence now; one that is over stays as it is."""
    return _shown(_end(services, id), now())


def _shown(silence: Silence, at: Micros) -> dict[str, Any]:
    return {
        "id": silence.id,
        "state": silence.state(at),
        "matchers": list(map(str, silence.matchers)),
        "starts_at": iso(silence.starts_at),
        "ends_at": iso(silence.ends_at),
        "comment": silence.comment,
        "created_at": iso(silence.created_at),
    }


def _span(body: dict[str, Any]) -> tuple[Micros, Micros]:
    """Return when a silence is to begin and to end."""
    starts_at = _time(body, "starts_at")
    ends_at, duration = _time(body, "ends_at"), body.get("duration")
    if (ends_at is None) is (duration is None):
        raise bad_request("say how long it lasts, by duration or by ends_at")
    starts_at = now() if starts_at is None else starts_at
    return starts_at, Micros(starts_at + _duration(duration)) if ends_at is None else ends_at


def _time(body: dict[str, Any], key: str) -> Micros | None:
    given = body.get(key)
    if given is None:
        return None
    try:
        moment = parse_iso(given) if isinstance(given, str) else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise bad_request(f"{key} {given!r} is not a time (such as 2026-01-31T12:00Z)")
    return moment


def _duration(given: Any) -> int:
    """Return the microseconds of a duration such as 2h; raises Problem."""
    if not isinstance(given, str):
        raise bad_request(f"duration {given!r} is not a text such as 2h")
    try:
        return int(parse_duration(given.strip()) * SECOND)
    except (ValueError, OverflowError) as error:
        raise bad_request(f"duration: {error}") from None


def _add(services: Services, matchers: Iterable[str], span: tuple[Micros, Micros], comment: str) -> Silence:
    try:
        return services.silences.add(matchers, *span, comment, _who())
    except TooManySilences as error:
        raise Problem(409, "too_many_silences", str(error)) from None
    except SilenceError as error:
        raise bad_request(str(error)) from None


def _end(services: Services, id: str) -> Silence:
    ended = services.silences.end(id, _who())
    if ended is None:
        told = f"there is no silence {id!r}; one that is over for {KEPT // DAY} days is forgotten"
        raise Problem(404, "not_found", told)
    return ended


def _who() -> str:
    """Return who asks, for the event."""
    return "command line" if LOCAL in request.environ else str(request.environ.get("REMOTE_ADDR", ""))


def _warning(services: Services, silence: Silence) -> str:
    """Return what is odd about a silence: a name with a slip in it would hold nothing back, unnoticed."""
    names = [rule.name for rule in services.rules()]
    for matcher in silence.matchers:
        if matcher.name == "rule" and not any(map(matcher.pattern.match, names)):
            return f"no rule has a name like {matcher.glob!r} now"
    return ""


# -- the forms ----------------------------------------------------------------------------------------


class Forms:
    """What the forms of the pages post."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def add(self) -> Any:
        """POST /silences: by `rule`, which is a name, with the `labels` of one of its alerts, or by
        `matchers`, which are several in one line."""

        def work() -> str:
            fields = inputs.form()
            if "labels" in fields:
                matchers = of_alert(*_alert(fields))
            else:
                matchers = [str(Matcher.exactly("rule", name)) for name in fields.get("rule", [])]
            matchers += _split(" ".join(fields.get("matchers", [])))
            start = now()
            span = start, Micros(start + _duration(fields.get("duration", [""])[0]))
            made = _add(self._services, matchers, span, fields.get("comment", [""])[0])
            warning = _warning(self._services, made)
            return f"{made.what()} is silent now" + (f", but {warning}" if warning else "")

        return self._answer(work)

    def acknowledge(self) -> Any:
        """POST /silences/acknowledge: the alert of a `rule` with these `labels` is told no more until it is
        over."""

        def work() -> str:
            rule, labels = _alert(inputs.form())
            alert = _firing(self._services, rule, labels)
            if alert is None:
                raise Problem(409, "not_firing", f"{rule} does not fire there any more")
            start = now()
            span = start, Micros(start + ACKNOWLEDGED)
            _add(self._services, of_alert(rule, labels, alert.active_at), span, "acknowledged")
            return f"{rule} is acknowledged: there are no more messages until it is over"

        return self._answer(work)

    def end(self, id: str) -> Any:
        """POST /silences/{id}/end"""
        return self._answer(lambda: f"The silence of {_end(self._services, id).what()} has ended")

    def _answer(self, work: Callable[[], str]) -> Any:
        if not inputs.header("HX-Request"):
            work()
            page = urlsplit(inputs.header("Referer")).path
            back = page if page in _PAGES or _PAGE_OF_ONE.fullmatch(page) else "/alerts"
            return HTTPResponse(status=303, headers={"Location": back})
        try:
            context, status = ToldContext(work(), wrong=False), 200
        except (Problem, OculusError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            context, status = ToldContext(problem.message, wrong=True), problem.status
        headers = {"Content-Type": "text/html; charset=utf-8", "HX-Trigger": "silences"}
        return HTTPResponse(self._templates.fragment("told", context), status, headers)


def _alert(fields: Mapping[str, list[str]]) -> tuple[str, dict[str, str]]:
    """Return the rule and the labels of the alert that a form is about; raises Problem."""
    try:
        labels = json.loads(fields["labels"][0])
        return fields["rule"][0], {str(name): str(value) for name, value in labels.items()}
    except (KeyError, ValueError, AttributeError, RecursionError):
        raise bad_request("the form names no alert by rule and labels") from None


def _firing(services: Services, name: str, labels: Mapping[str, str]) -> AlertInstance | None:
    """Return the alert that fires, if it does."""
    found = (one for rule in services.rules() if rule.name == name for one in rule.instances)
    return next((one for one in found if one.state == "firing" and dict(one.labels) == labels), None)


def _split(line: str) -> list[str]:
    """Return the matchers of a line, in which quotes keep a blank as they do in a shell; raises Problem."""
    try:
        return shlex.split(line)
    except ValueError:
        raise bad_request("a quotation mark is not closed") from None
