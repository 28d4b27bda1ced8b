"""The web server: the list of all routes, the checks before each of them, and how errors are answered."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from bottle import Bottle, HTTPError, HTTPResponse, request, response
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from loguru import logger

from oculus import assets
from oculus.cooperate import pause
from oculus.errors import OculusError
from oculus.web import (
    alert_page,
    api,
    auth,
    backtests,
    downloads,
    heartbeats,
    inputs,
    packed,
    points,
    pushes,
    silences,
)
from oculus.web.pages import ErrorContext, Pages
from oculus.web.problems import Problem, problem_of
from oculus.web.rule_page import RulePages
from oculus.web.services import Services
from oculus.web.static import StaticFiles
from oculus.web.templates import Templates

# Connections that are served at once: a bound on memory, far above what one user's browsers open.
MAX_CONNECTIONS = 512
# A client that sends nothing for this long on an open connection is let go.
IDLE = 75.0  # seconds

_OPEN = frozenset({"/healthz", "/readyz", "/login"})  # answered without the token

# Likewise where `server.public_status` says so.
_PUBLIC = re.compile(r"/status|/partials/status|/badge/[^/]+/[^/]+")

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

Route = tuple[str, str, Callable[..., Any]]


def routes(
    services: Services, pages: Pages, rules: RulePages, static: StaticFiles, login: Login
) -> list[Route]:
    """Return every route: method, path, handler."""
    served: list[Route] = [
        ("GET", "/", pages.dashboard.page),
        ("GET", "/alerts", pages.alerts.alerts),
        ("GET", "/alerts/<id>", pages.steps.alert),
        ("GET", "/rules", pages.rules.rules),
        ("GET", "/rules/<name>", rules.rule),
        ("POST", "/rules/<name>", rules.tried),
        ("GET", "/query", pages.console.query),
        ("GET", "/system", pages.system.system),
        ("GET", "/storage", pages.system.storage),
        ("GET", "/status", pages.status.page),
        ("GET", "/live", pages.live.dashboard),
        ("GET", "/live/series", pages.live.series),
        ("GET", "/series/<symbol>", pages.series.page),
        ("GET", "/partials/series/<symbol>", pages.series.head),
        ("GET", "/partials/series/<symbol>/window", pages.series.window),
        ("GET", "/partials/series/<symbol>/rows", pages.series.rows),
        ("GET", "/partials/metrics", pages.dashboard.fragment),
        ("GET", "/partials/alerts", pages.alerts.fragment),
        ("GET", "/partials/alerts/<id>", pages.steps.alert_fragment),
        ("GET", "/partials/rules", pages.rules.fragment),
        ("GET", "/partials/rules/<name>", rules.rule_fragment),
        ("POST", "/partials/rules/<name>/backtest", rules.tried_fragment),
        ("GET", "/partials/system", pages.system.fragment),
        ("GET", "/partials/log", pages.system.log_fragment),
        ("GET", "/partials/status", pages.status.fragment),
        ("GET", "/badge/<symbol>/<kind>.svg", pages.badges.badge),
        ("GET", "/login", pages.login),
        ("POST", "/login", login.enter),
        ("POST", "/logout", login.leave),
        ("POST", "/silences", pages.forms.add),
        ("POST", "/silences/acknowledge", pages.forms.acknowledge),
        ("POST", "/silences/<id>/end", pages.forms.end),
        ("GET", "/static/<name:path>", static.serve),
    ]
    answered: list[Route] = [
        ("GET", "/api/metrics", api.metrics),
        ("GET", "/api/metrics/<symbol>", api.metric),
        ("GET", "/api/metrics/<symbol>/stats", points.stats),
        ("GET", "/api/points", points.points),
        ("GET", "/series/<symbol>/export.csv", downloads.csv),
        ("GET", "/series/<symbol>/export.parquet", downloads.parquet),
        ("POST", "/api/query", api.query),
        ("GET", "/api/rules", api.rules),
        ("GET", "/api/rules/<name>", api.rule),
        ("POST", "/api/backtest", backtests.backtest),
        ("GET", "/api/alerts", api.alerts),
        ("GET", "/api/alerts/<id>", alert_page.answer),
        ("GET", "/api/silences", silences.listing),
        ("POST", "/api/silences", silences.add),
        ("DELETE", "/api/silences/<id>", silences.end),
        ("POST", "/api/push", api.push),
        ("POST", "/api/push/<symbol>", api.push),
        ("POST", "/api/push/metrics/<group:path>", pushes.push),
        ("PUT", "/api/push/metrics/<group:path>", pushes.push),
        ("GET", "/api/heartbeat/<name>", heartbeats.ping),
        ("GET", "/api/heartbeat/<name>/<action>", heartbeats.ping),
        ("POST", "/api/heartbeat/<name>", heartbeats.ping),
        ("POST", "/api/heartbeat/<name>/<action>", heartbeats.ping),
        ("GET", "/healthz", api.healthz),
        ("GET", "/readyz", api.readyz),
        ("GET", "/metrics", api.self_metrics),
    ]
    return served + [(method, path, partial(handler, services)) for method, path, handler in answered]


class Login:
    """The page's log-in: trades the token for a cookie."""

    def __init__(self, token: str, pages: Pages) -> None:
        self._token = token
        self._pages = pages

    def enter(self) -> Any:
        """POST /login"""
        given = request.forms.getunicode("token") or ""
        if not self._token or not auth.token_matches(self._token, given):
            return self._pages.login(wrong=True)
        answer = HTTPResponse(status=303, headers={"Location": "/"})
        answer.set_cookie(
            auth.COOKIE,
            auth.cookie_value(self._token),
            path="/",
            httponly=True,
            samesite="strict",
            max_age=auth.COOKIE_AGE,
        )
        return answer

    def leave(self) -> Any:
        """POST /logout"""
        answer = HTTPResponse(status=303, headers={"Location": "/login"})
        answer.delete_cookie(auth.COOKIE, path="/")
        return answer


class Gate:
    """What every request passes before its handler: rate, host, origin, token."""

    def __init__(self, services: Services, hosts: auth.HostCheck, rate: auth.RateLimit) -> None:
        self._token = services.server.token
        self._public = services.server.public_status
        self._pings = heartbeats.PingGate(services.heartbeats)
        self._hosts = hosts
        self._rate = rate

    def check(self) -> None:
        """Raise Problem, or a redirect to the log-in, when the request may not pass."""
        path = request.path
        if path.startswith("/static/") or auth.LOCAL in request.environ:
            return
        cookie = auth.cookie_in(inputs.header("Cookie"))
        known = auth.authorized(self._token, inputs.header("Authorization"), cookie)
        request.environ[auth.KNOWN] = known
        beat, keyed = self._pings.find(path) or (None, False)
        if beat is not None and (keyed or known):
            wait = self._pings.take(beat)
        else:
            wait = self._rate.take(request.environ.get("REMOTE_ADDR", ""))
        if wait:
            raise Problem(429, "too_many_requests", f"too many requests; wait {wait} s", retry_after=wait)
        if keyed:
            return
        host = inputs.header("Host")
        if not self._token and not self._hosts.allows(host):
            name = auth.host_of(host)
            told = f"this server does not answer to the name {name!r}; add it to server.hosts to allow it"
            raise Problem(403, "wrong_host", told)
        if request.method not in ("GET", "HEAD") and not auth.same_origin(inputs.header("Origin"), host):
            raise Problem(403, "wrong_origin", "this request comes from another site's page")
        if path in _OPEN or known or (self._public and _PUBLIC.fullmatch(path)):
            return
        if "text/html" in inputs.header("Accept") and request.method == "GET":
            raise HTTPResponse(status=303, headers={"Location": "/login"})
        raise Problem(401, "unauthorized", "send the token as Authorization: Bearer …, or log in at /login")


class Answers:
    """Turns what handlers return or raise into answers: JSON for programs, a page for browsers."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def call(self, handler: Callable[..., Any], **arguments: Any) -> Any:
        """Call a route's handler; never raises."""
        try:
            answered = handler(**arguments)
        except HTTPResponse as answer:
            return answer
        except Problem as problem:
            return self.problem(problem)
        except OculusError as error:
            return self.problem(problem_of(error))
        except Exception as error:
            logger.opt(exception=error).error("a request failed: {} {}", request.method, request.path)
            return self.problem(Problem(500, "internal", "an internal error; the log tells more"))
        html = isinstance(answered, str) and not response.content_type  # bottle's default is HTML
        return packed.page(answered) if html else answered

    def finish(self) -> None:
        """Add what every answer carries, whoever made it (bottle calls this after each request)."""
        response.headers.update(_HEADERS)

    def guard(self, check: Callable[[], None]) -> None:
        """Run a check before routing; raises the answer of a request that may not pass."""
        try:
            check()
        except Problem as problem:
            raise self.problem(problem) from None

    def problem(self, problem: Problem) -> HTTPResponse:
        """Return the answer for an error."""
        headers = {}
        if problem.retry_after is not None:
            headers["Retry-After"] = str(problem.retry_after)
        if problem.status == 429:
            headers["Connection"] = "close"
        if _wants_page():
            body = self._templates.page("error", ErrorContext(problem.status, problem.message))
            return HTTPResponse(body, problem.status, headers | {"Content-Type": "text/html; charset=utf-8"})
        body = json.dumps(problem.body())
        return HTTPResponse(body, problem.status, headers | {"Content-Type": "application/json"})

    def not_routed(self, error: HTTPError) -> bytes:
        """Answer what no route takes (bottle calls this)."""
        status = int(error.status_code)
        code, told = {
            404: ("not_found", f"there is nothing at {request.path}"),
            405: ("method_not_allowed", f"{request.method} is not allowed here"),
        }.get(status, ("bad_request", str(error.body)))
        answer = self.problem(Problem(status, code, told))
        for name, value in answer.headers.items():
            error.set_header(name, value)
        error.apply(response)
        return str(answer.body).encode()


def _wants_page() -> bool:
    if request.path.startswith(("/api/", "/partials/")):
        return False
    return "text/html" in inputs.header("Accept")


def application(services: Services) -> Bottle:
    """Return the WSGI application."""
    templates = Templates(assets.folder("views"), token=bool(services.server.token))
    gevent.get_hub().threadpool.spawn(templates.compile)
    answers = Answers(templates)
    pages = Pages(services, templates)
    gate = Gate(services, auth.HostCheck(services.server.bind, services.server.hosts), auth.RateLimit())
    static = StaticFiles(assets.folder("static"))
    app = Bottle()
    app.catchall = False
    rules, login = RulePages(services, templates), Login(services.server.token, pages)
    for method, path, handler in routes(services, pages, rules, static, login):
        app.route(path, method, partial(answers.call, handler))
    app.add_hook("before_request", partial(answers.guard, gate.check))
    app.add_hook("after_request", answers.finish)
    app.default_error_handler = answers.not_routed
    return app


class _Handler(WSGIHandler):
    """Serves one connection, quietly, and lets go of clients that fall silent."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        sock.settimeout(IDLE)
        super().__init__(sock, address, server)

    def handle_one_request(self) -> Any:
        """Serve one request, and let others have their turn before it.

        Requests that a client sends ahead are in the buffer already: nothing else would make this
        greenlet wait, and one client could hold the hub.
        """
        pause()
        return super().handle_one_request()

    def log_request(self) -> None:
        """Requests are counted, not logged."""


class _ErrorLog(io.TextIOBase):
    """Takes what the server writes about broken connections."""

    def write(self, text: str) -> int:
        """Keep it for those who look for it."""
        if text.strip():
            logger.debug("web server: {}", text.strip())
        return len(text)


def serving(listener: Any, application: Any, environ: dict[str, Any] | None = None) -> WSGIServer:
    """Return a server that is not started yet; `environ` is what every request's environment has besides."""
    return WSGIServer(
        listener,
        application,
        log=None,
        error_log=_ErrorLog(),
        spawn=Pool(MAX_CONNECTIONS),
        handler_class=_Handler,
        environ=environ,
    )


class WebServer:
    """The listening server."""

    def __init__(self, listener: Any, services: Services) -> None:
        self.services = services
        self.application = application(services)
        self._server = serving(listener, self.application)

    def start(self) -> None:
        """Begin to accept connections."""
        self._server.start()

    def stop(self, timeout: float) -> None:
        """Stop accepting; requests under way have `timeout` seconds to end."""
        self._server.stop(timeout=timeout)
