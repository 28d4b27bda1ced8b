"""Heartbeats: what jobs ping, and who may.

A cron job on another host has only a URL. With its key in place of its name a heartbeat needs no token, and
what is added behind (`/start`, `/fail`, `/3`) works the same.
"""

from __future__ import annotations

import uuid
from typing import Any

import gevent
from bottle import request, response

from oculus.clock import iso, now
from oculus.collectors.heartbeat_state import Kind, Ping
from oculus.collectors.heartbeats import Beat, Heartbeats
from oculus.web import inputs
from oculus.web.auth import RateLimit
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services

PREFIX = "/api/heartbeat/"

MAX_BODY = 10_000  # bytes of a ping's body that are kept; what follows is thrown away
BODY_WITHIN = 10.0  # seconds: a ping counts without the rest of a body that takes longer

# Pings of one heartbeat, whoever sends them: a hundred jobs behind one address may all start at the full
# hour, and a list of hundreds of tasks may be one heartbeat.
RATE, BURST = 50.0, 500.0  # a second, and at once

_WORDS: dict[str, Kind] = {"": "success", "start": "start", "fail": "fail", "log": "log"}


class PingGate:
    """What the checks before each request need to know of pings."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._rate = RateLimit(RATE, BURST)

    def find(self, path: str) -> tuple[Beat, bool] | None:
        """Return the heartbeat that a path pings, and whether it is named by its key."""
        if not path.startswith(PREFIX):
            return None
        return self._heartbeats.find(path.removeprefix(PREFIX).partition("/")[0])

    def take(self, beat: Beat) -> int:
        """Count a ping; return 0 if it may pass, else the whole seconds to wait."""
        return self._rate.take(beat.name)


def ping(services: Services, name: str, action: str = "") -> dict[str, Any]:
    """GET, HEAD and POST /api/heartbeat/{name} and …/{action}: a job tells how it fares."""
    _find(services, name)
    if inputs.header("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Problem(403, "wrong_origin", "this request comes from another site's page")
    kind, status = _meaning(action)
    given = Ping(kind, _run_id(), status, _body())
    beat = _find(services, name)  # a reload may have come while the body did
    stored = services.heartbeats.ping(beat, given)
    if kind == "log" and not stored:
        told = f"heartbeat {beat.name} has sent too many texts; wait 60 s"
        raise Problem(429, "too_many_requests", told, retry_after=60)
    # A text is queued for the store, a ping is in it.
    response.status = 200 if stored and kind != "log" else 202
    response.headers["Cache-Control"] = "no-store"
    present = now()
    return {
        "heartbeat": beat.name,
        "state": beat.phase(present),
        "running": beat.state.started is not None,
        "last": None if beat.state.last is None else iso(beat.state.last),
        "deadline": None if beat.due is None else iso(beat.due.at),
        "stored": stored and kind != "log",
    }


def _find(services: Services, name: str) -> Beat:
    found = services.heartbeats.find(name)
    if found is None:
        raise Problem(404, "not_found", f"there is no heartbeat {name!r}")
    return found[0]


def _meaning(action: str) -> tuple[Kind, int | None]:
    """Return what the last part of a path says, and the exit status if it is one."""
    if action in _WORDS:
        return _WORDS[action], None
    if not action.isascii() or not action.isdecimal():
        raise Problem(
            404, "not_found", f"{action!r} is none of start, fail, log and an exit status (0 to 255)"
        )
    if len(action) > 3 or int(action) > 255:
        raise bad_request(f"{action} is no exit status (0 to 255)")
    status = int(action)
    return ("fail" if status else "success"), status


def _run_id() -> str:
    given = inputs.query("rid")
    if not given:
        return ""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise bad_request(f"rid={given!r} is not a UUID (make one with: uuidgen)") from None


def _body() -> str:
    """Return the beginning of the body, as much of it as comes in time."""
    data = b""
    try:
        with gevent.Timeout(BODY_WITHIN):
            while len(data) < MAX_BODY:
                piece = request.environ["wsgi.input"].read(min(1024, MAX_BODY - len(data)))
                if not piece:
                    break
                data += piece
    except (OSError, gevent.Timeout):  # slow, or gone: it has pinged all the same
        pass
    return data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
