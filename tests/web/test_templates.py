"""The templates and their context classes agree, and everything that is shown is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import jinja2
import pytest
from jinja2 import meta, nodes

from oculus import assets
from oculus.clock import now
from oculus.model import AlertInstance, RuleState
from oculus.storage import catalog
from oculus.web import (
    alert_page,
    alerts_page,
    backtest_form,
    board,
    dashboard,
    day_bars,
    deliveries,
    examples,
    pages,
    query_page,
    rule_page,
    rules_page,
    series_head,
    series_page,
    series_window,
    silences,
    status_page,
    steps,
    storage_page,
    summaries,
    system,
    system_page,
    timeline,
)
from oculus.web.templates import Templates
from oculus.web.view import Shown, View
from tests.support.html import Element, parse

# Every template that is rendered, with its context class. A page has its fragment's context.
CONTEXTS: dict[str, type] = {
    "pages/dashboard.html": dashboard.DashboardContext,
    "fragments/metrics.html": dashboard.MetricsContext,
    "fragments/head.html": dashboard.HeadContext,
    "fragments/recent.html": dashboard.RecentContext,
    "fragments/row.html": board.RowContext,
    "pages/alerts.html": alerts_page.AlertsContext,
    "fragments/alerts.html": alerts_page.AlertsContext,
    "pages/alert.html": alert_page.AlertContext,
    "fragments/alert.html": alert_page.AlertContext,
    "pages/rules.html": rules_page.RulesContext,
    "fragments/rules.html": rules_page.RulesContext,
    "pages/rule.html": rule_page.RulePageContext,
    "fragments/rule.html": rule_page.RuleContext,
    "fragments/tried.html": backtest_form.TriedContext,
    "pages/system.html": system_page.SystemPageContext,
    "fragments/system.html": system_page.SystemContext,
    "fragments/log.html": system_page.LogContext,
    "pages/query.html": query_page.QueryContext,
    "pages/status.html": status_page.StatusContext,
    "pages/public_status.html": status_page.StatusContext,
    "fragments/status.html": status_page.StatusContext,
    "pages/series.html": series_page.PageContext,
    "fragments/series.html": series_head.HeadContext,
    "fragments/window.html": series_window.WindowContext,
    "fragments/samples.html": series_page.RowsContext,
    "fragments/told.html": silences.ToldContext,
    "pages/login.html": pages.LoginContext,
    "pages/error.html": pages.ErrorContext,
}
# Templates that others include or extend, with no context of their own.
PARTS = {
    "layout.html",
    "fragments/alert_list.html",
    "fragments/held.html",
    "fragments/hush.html",
    "fragments/silences.html",
    "fragments/silence_rule.html",
    "fragments/step.html",
    "fragments/storage.html",
    "fragments/timeline.html",
}


# The only address of others that pages link to: the makers of the chart library want to be named.
CREDIT = "https://www.tradingview.com/"


@pytest.fixture(scope="module")
def templates() -> Templates:
    """The program's templates, with a log-in."""
    return Templates(assets.folder("views"), token=True)


def parsed(environment: jinja2.Environment, name: str) -> nodes.Template:
    """Return the syntax tree of a template."""
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, name)
    return environment.parse(source)


def needs(environment: jinja2.Environment, name: str) -> set[str]:
    """Return every name that a template and all that it extends and includes take from their context."""
    tree = parsed(environment, name)
    found = meta.find_undeclared_variables(tree)
    bound = {
        target.name
        for block in tree.find_all(nodes.With)
        for target in block.targets
        if isinstance(target, nodes.Name)
    }
    for other in meta.find_referenced_templates(tree):
        assert other is not None, f"{name} includes what only a run can tell"
        found |= needs(environment, other) - bound
    return found - set(environment.globals)


def test_every_template_has_a_context(templates: Templates) -> None:
    """A new template must be listed here, with its class or as a part of others."""
    assert set(templates._environment.list_templates()) == CONTEXTS.keys() | PARTS


@pytest.mark.parametrize(("name", "context"), list(CONTEXTS.items()), ids=list(CONTEXTS))
def test_a_template_uses_only_what_its_context_has(templates: Templates, name: str, context: type) -> None:
    """Each name is a field of the context class, or the page's own name."""
    allowed = {field.name for field in fields(context)} | ({"page"} if name.startswith("pages/") else set())
    assert needs(templates._environment, name) <= allowed


@pytest.mark.parametrize(("name", "context"), list(CONTEXTS.items()), ids=list(CONTEXTS))
def test_a_context_has_only_what_its_template_uses(templates: Templates, name: str, context: type) -> None:
    """A field that no template reads is computed for nothing."""
    assert {field.name for field in fields(context)} <= needs(templates._environment, name)


def test_what_is_missing_is_an_error(templates: Templates) -> None:
    """A misspelt name in a template fails loudly instead of showing nothing."""
    with pytest.raises(jinja2.UndefinedError):
        templates._environment.from_string("{{ nothing }}").render()


def test_nothing_is_marked_safe(templates: Templates) -> None:
    """No template turns escaping off."""
    environment = templates._environment
    assert environment.autoescape is True
    for name in environment.list_templates():
        tree = parsed(environment, name)
        assert not [
            found.name for found in tree.find_all(nodes.Filter) if found.name in ("safe", "forceescape")
        ]
        assert not list(tree.find_all(nodes.ScopedEvalContextModifier)), name


# -- hostile texts --------------------------------------------------------------------------------------

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} &lt;b&gt; javascript:alert(3)"


def hostile_rule(state: str, health: str) -> RuleState:
    """Return a rule all of whose texts are hostile."""
    return RuleState(
        name=HOSTILE, condition=HOSTILE, sql=HOSTILE, error=HOSTILE,
        severity=HOSTILE, message=HOSTILE,  # type: ignore[arg-type]
        for_seconds=60.0, cooldown_seconds=30.0, channels=(HOSTILE,), state=state,  # type: ignore[arg-type]
        health=health, missing=(HOSTILE,), explain=lambda: HOSTILE, value=1.0, active_at=now(),
        last_evaluation=now(), evaluations=1, missed=1,
        instances=(AlertInstance({HOSTILE: HOSTILE}, "firing", 1.0, now(), HOSTILE),),
    )  # fmt: skip


def hostile(kind: type, **given: Any) -> Any:
    """Return a value of a context class whose texts are hostile."""
    texts: dict[str, Any] = {field.name: HOSTILE for field in fields(kind) if field.type == "str"}
    return kind(**(texts | given))


def hostile_timeline() -> timeline.Timeline:
    """Return a timeline whose texts are hostile."""
    bars = timeline.Bar("firing", 1.0, 2.0, HOSTILE, 7), timeline.Bar("pending", 4.0, 2.0, HOSTILE)
    lanes = timeline.Lane(HOSTILE, bars, "/alerts?rule=x", "warn"), timeline.Lane(HOSTILE, bars)
    return timeline.Timeline(lanes, 3, (timeline.Tick(0.0, HOSTILE),))


def hostile_standing() -> dict[str, Any]:
    """Return what the page of a rule tells, with hostile texts."""
    return {
        "rule": hostile_rule("firing", "error"),
        "silence": None,
        "settings": tuple(rule_page.Setting(HOSTILE, (HOSTILE,), rules) for rules in (True, False)),
        "instances": (hostile(rule_page.Instance, labels=((HOSTILE, HOSTILE), ("a", HOSTILE))),),
        "week": hostile_timeline(),
        "history": (
            hostile(
                steps.Past, id=1, again=True, operands=(hostile(steps.Read),),
                timers=((HOSTILE, HOSTILE),), message=f"{HOSTILE}!",
            ),
        ),
        "unread": "",
    }  # fmt: skip


def hostile_result() -> backtest_form.Tried:
    """Return a backtest whose texts are hostile."""
    outcome = hostile(
        backtest_form.Outcome, firings=1, messages=1, left=1, lanes=hostile_timeline(),
        columns=(timeline.Column(1.0, 2.0, 3.0, HOSTILE),),
    )  # fmt: skip
    result = hostile(
        backtest_form.Result, outcomes=(outcome, outcome), ticks=(timeline.Tick(0.0, HOSTILE),), days=7,
        most=1, firings=(hostile(backtest_form.Firing, going=True),), left=2,
    )  # fmt: skip
    return backtest_form.Tried(HOSTILE, 7, result=result)


def hostile_alert(**more: Any) -> alert_page.AlertContext:
    """Return the page of a step whose texts are hostile."""
    past = hostile(
        steps.Past, id=1, again=True, operands=(hostile(steps.Read),), timers=((HOSTILE, HOSTILE),),
        message=f"{HOSTILE}!",
    )  # fmt: skip
    given: dict[str, Any] = {
        "step": past, "ruled": True, "labels": ((HOSTILE, HOSTILE),), "series": True, "still": False,
        "ended": past,
        "told": (hostile(deliveries.Told),), "steps": (past, replace(past, id=2)),
        "newer": True, "older": True, "silence": None, "settled": False,
    }  # fmt: skip
    made: alert_page.AlertContext = hostile(alert_page.AlertContext, **given | more)
    return made


def hostile_alerts(quiet: silences.Quiet) -> alerts_page.AlertsContext:
    """Return the page of all alerts with hostile texts."""
    active = [
        hostile(alerts_page.Active, id=id, state="firing", silence=silence)
        for id, silence in ((1, quiet), (0, replace(quiet, once=True)), (2, None))
    ]
    entries = [
        hostile(
            alerts_page.Entry,
            step=hostile(
                steps.Past, id=1, again=True, operands=(hostile(steps.Read),), timers=((HOSTILE, HOSTILE),)
            ),
            ruled=ruled,
            told=told,
        )
        for ruled, told in ((True, ()), (False, (hostile(deliveries.Told, state="failed"),)))
    ]
    filters = hostile(alerts_page.AlertFilters, before=9)
    made: alerts_page.AlertsContext = hostile(
        alerts_page.AlertsContext, filters=filters, ranges=("6h", HOSTILE), ruled=True,
        lanes=hostile_timeline(), partial=True, firing=2, active=active, more=3, silences=[quiet],
        silences_more=2, entries=entries, older=filters.link(before=1), ever=True,
    )  # fmt: skip
    return made


def hostile_rules(quiet: silences.Quiet) -> rules_page.RulesContext:
    """Return the page of all rules with hostile texts."""
    firing, lacking = hostile_rule("firing", "error"), hostile_rule("inactive", "no data")
    rules = [
        rules_page.Listed(rule, HOSTILE, HOSTILE, wrong, silence)
        for rule, wrong, silence in ((firing, True, None), (lacking, False, quiet))
    ]
    filters = rules_page.RuleFilters(HOSTILE, HOSTILE)
    return rules_page.RulesContext(filters, rules, 3, 3, {"firing": 1, "pending": 0, HOSTILE: 1})


def hostile_system() -> dict[str, Any]:
    """Return the page of the system with hostile texts."""
    channel = hostile(system.ChannelState, sent=1, failed=1, waiting=1, failing_since=now())
    return {
        "filters": hostile(system_page.SystemFilters, all=1),
        "not_ready": HOSTILE,
        "stats": [hostile(system_page.Stat)],
        "lost": [(HOSTILE, "1")],
        "total": 500,
        "failing": 1,
        "found": 500,
        "collectors": [
            hostile(system_page.CollectorRow, skipped=2, state=state) for state in ("failing", "ok", HOSTILE)
        ],
        "channels": [system_page.ChannelRow(channel, HOSTILE)],
        "workers": [hostile(system.WorkerState, alive=alive, restarts=2) for alive in (True, False)],
        "restarts": 4,
        "storage": hostile(
            storage_page.StorageContext,
            full=99,
            tables=[hostile(storage_page.TableRow, share=1.5, start=0.0)],
        ),
        "facts": [(HOSTILE, HOSTILE), ("up since", HOSTILE)],
    }


def hostile_log() -> dict[str, Any]:
    """Return a log with hostile texts."""
    return {"levels": ("debug", HOSTILE), "lines": [hostile(system_page.LogRow)], "seen": 7}


def hostile_console() -> query_page.QueryContext:
    """Return the SQL console with hostile texts."""
    column, function = hostile(catalog.Column), hostile(catalog.Function)
    group = query_page.Group(HOSTILE, (hostile(examples.Example, chart=True),))
    console: query_page.QueryContext = hostile(
        query_page.QueryContext, groups=(group,),
        tables=(hostile(catalog.Table, columns=(column,)),), functions=(function,), max_rows=1000, max_sql=9,
    )  # fmt: skip
    return console


def hostile_status(**given: Any) -> status_page.StatusContext:
    """Return the status page with hostile texts."""
    drawn = hostile(day_bars.Bars, count=90)
    past = hostile(status_page.Past, bars=drawn, uptime=(hostile(status_page.Figure),))
    entries = (
        hostile(status_page.Entry, standing="down", past=past),
        hostile(status_page.Entry, standing="up", past=None, series=""),
    )
    incidents = tuple(hostile(status_page.Incident, going=going) for going in (True, False))
    shown: dict[str, Any] = {
        "failing": 1, "sections": (hostile(status_page.Section, entries=entries, down=1),), "left": 3,
        "incidents": incidents,
    }  # fmt: skip
    context: status_page.StatusContext = hostile(status_page.StatusContext, **shown | given)
    return context


def hostile_series() -> dict[type, Any]:
    """Return the contexts of a series' page and its fragments, with hostile texts."""
    head = hostile(
        series_head.HeadContext, value=1.0, stale=True, gone=False,
        related=(hostile(series_head.Related), hostile(series_head.Related)),
    )  # fmt: skip
    mark = hostile(series_window.Mark, value=1.0, ends=True)
    window = hostile(
        series_window.WindowContext, stats=(hostile(summaries.Stat),), more=True,
        reads=(hostile(series_window.Read, marks=(mark,)),),
        turns=(hostile(series_window.Turn, id=7, ts=1.5),),
    )  # fmt: skip
    page = hostile(
        series_page.PageContext, **vars(head) | vars(window), choices=(series_page.Choice(HOSTILE, True),),
        tags=((HOSTILE, HOSTILE),), phases=(HOSTILE,), every=1.0,
    )  # fmt: skip
    row = hostile(series_page.Sampled, tags=((HOSTILE, HOSTILE),))
    rows = series_page.RowsContext(HOSTILE, (row,), HOSTILE)
    return {type(each): each for each in (head, window, page, rows)}


def hostile_contexts() -> Iterator[tuple[str, Any]]:
    """Yield every template with a context that fills all of its branches with hostile texts."""
    rows = [
        hostile(
            board.Row, state=state, trend=trend, stale=stale, facts=[board.Fact(HOSTILE, HOSTILE)],
            value=1.0, moved=1.0, ts=now(),
        )
        for state, trend, stale in (("down", "up", True), ("up", "down", False), ("", "flat", False))
    ]  # fmt: skip
    entries = [
        board.Entry(HOSTILE, row, (), 1, Templates(assets.folder("views"), token=True)) for row in rows
    ]
    quiet = hostile(silences.Quiet, state="planned", matchers=(HOSTILE,))
    alerts = [hostile(pages.Alert, id=7, ruled=ruled) for ruled in (True, False)]
    head: dict[str, Any] = {
        "up": 1,
        "down": 1,
        "unknown": 1,
        "series": 3,
        "rate": HOSTILE,
        "size": HOSTILE,
        "firing": [hostile_rule("firing", "ok")],
        "pending": [hostile_rule("pending", "no data")] * 12,
        "not_ready": HOSTILE,
    }
    seen = View(text=HOSTILE, category=HOSTILE, page=2)
    metrics: dict[str, Any] = head | {
        "recent": alerts,
        "panels": [Shown(HOSTILE, entries, 3, 1)],
        "view": seen,
        "total": 500,
        "number": 2,
        "pages": 3,
        "first": 241,
        "last": 480,
        "seen": HOSTILE,
    }
    choices = [dashboard.Choice(HOSTILE, HOSTILE), dashboard.Choice("b", "B")]
    standing = hostile_standing()
    contexts = {
        dashboard.DashboardContext: dashboard.DashboardContext(
            **metrics, choices=choices, sorts=(HOSTILE,), wall=True
        ),
        dashboard.MetricsContext: dashboard.MetricsContext(**metrics),
        dashboard.HeadContext: dashboard.HeadContext(**head),
        dashboard.RecentContext: dashboard.RecentContext(alerts),
        board.RowContext: board.RowContext(rows[0]),
        alerts_page.AlertsContext: hostile_alerts(quiet),
        rule_page.RulePageContext: rule_page.RulePageContext(
            **standing, text=HOSTILE, days=7, choices=(1, 7), tried=None
        ),
        rule_page.RuleContext: rule_page.RuleContext(**standing),
        alert_page.AlertContext: hostile_alert(),
        backtest_form.TriedContext: backtest_form.TriedContext(hostile_result()),
        silences.ToldContext: silences.ToldContext(HOSTILE, wrong=True),
        rules_page.RulesContext: hostile_rules(quiet),
        system_page.SystemContext: system_page.SystemContext(**hostile_system()),
        system_page.SystemPageContext: system_page.SystemPageContext(**hostile_system(), **hostile_log()),
        system_page.LogContext: system_page.LogContext(
            filters=hostile(system_page.SystemFilters), **hostile_log()
        ),
        query_page.QueryContext: hostile_console(),
        status_page.StatusContext: hostile_status(),
        **hostile_series(),
        pages.LoginContext: pages.LoginContext(True),
        pages.ErrorContext: hostile(pages.ErrorContext, status=404),
    }
    for name, kind in CONTEXTS.items():
        yield name, contexts[kind]
    yield "fragments/rule.html", rule_page.RuleContext(**standing | {"silence": quiet, "week": None})
    yield "fragments/alert.html", hostile_alert(still=True, ended=None, silence=quiet, told=(), series=False)
    yield "fragments/status.html", hostile_status(read_at="", left=0)
    fires = replace(hostile_alert().step, state="firing")
    yield "fragments/alert.html", hostile_alert(step=fires, still=True)
    yield "fragments/tried.html", backtest_form.TriedContext(backtest_form.Tried("", 7, mistakes=HOSTILE))
    yield "fragments/tried.html", backtest_form.TriedContext(backtest_form.Tried("", 7, error=HOSTILE))


def rendered(templates: Templates, name: str, context: Any) -> str:
    """Render a template as the pages do."""
    folder, _, file = name.partition("/")
    render = templates.page if folder == "pages" else templates.fragment
    return render(file.removesuffix(".html"), context)


def shape(root: Element) -> list[tuple[str, tuple[str, ...]]]:
    """Return the tags and names of attributes, without any text."""
    return [(element.tag, tuple(sorted(element.attributes))) for element in root.walk()]


@pytest.mark.parametrize(
    ("name", "context"), list(hostile_contexts()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_text_becomes_markup(templates: Templates, name: str, context: Any) -> None:
    """Hostile names, tags, units and messages stay text: no element, attribute or script comes of them."""
    root = parse(rendered(templates, name, context))
    for element in root.walk():
        assert not [attribute for attribute in element.attributes if attribute.startswith("on")]
        for attribute in ("href", "src", "action", "hx-get", "hx-post"):
            value = element.attributes.get(attribute, "/")
            if element.tag == "a" and value == CREDIT:
                continue
            assert value.startswith(("/", "#")), (element.tag, attribute, value)
            assert not value.startswith("//")
        if element.tag == "script":
            assert element.attributes["src"].startswith("/static/")
            assert element.text == ""
        assert element.tag != "style"
        assert element.attributes.get("src") != "x"
    if name != "pages/login.html":
        assert "alert(1)" in root.text  # it was shown, as text
        assert "{{ 7*7 }}" in root.text


@pytest.mark.parametrize("name", [name for name in CONTEXTS if name.startswith("pages/")])
def test_a_page_runs_no_inline_code(templates: Templates, name: str) -> None:
    """The content policy forbids inline scripts, styles and handlers, so no page has any."""
    root = parse(rendered(templates, name, dict(hostile_contexts())[name]))
    assert root.one("html").attributes["lang"] == "en"
    assert not root.find("style")
    assert not [element for element in root.walk() if "style" in element.attributes]
    assert all(element.text == "" for element in root.find("script"))
    assert root.one("head").one("title").text


def test_the_log_out_button_needs_a_log_in() -> None:
    """Without a token there is nothing to log out of."""
    context = rules_page.RulesContext(rules_page.RuleFilters(), [], 0, 0, {})
    for token, count in ((True, 1), (False, 0)):
        root = parse(Templates(assets.folder("views"), token=token).page("rules", context))
        assert len(root.find("form", action="/logout")) == count
