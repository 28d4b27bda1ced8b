"""The templates and their context classes agree, and everything that is shown is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import jinja2
import pytest
from jinja2 import meta, nodes

from oculus import assets
from oculus.clock import now
from oculus.model import AlertInstance, RuleState
from oculus.web import backtest_form, pages, rule_page, silences, storage_page, timeline
from oculus.web.templates import Templates
from tests.support.html import Element, parse

# Every template that is rendered, with its context class. A page has its fragment's context.
CONTEXTS: dict[str, type] = {
    "pages/dashboard.html": pages.MetricsContext,
    "fragments/metrics.html": pages.MetricsContext,
    "pages/alerts.html": pages.AlertsContext,
    "fragments/alerts.html": pages.AlertsContext,
    "pages/rules.html": rule_page.RulesContext,
    "fragments/rules.html": rule_page.RulesContext,
    "pages/rule.html": rule_page.RulePageContext,
    "fragments/rule.html": rule_page.RuleContext,
    "fragments/tried.html": backtest_form.TriedContext,
    "pages/storage.html": storage_page.StorageContext,
    "fragments/storage.html": storage_page.StorageContext,
    "fragments/told.html": silences.ToldContext,
    "pages/login.html": pages.LoginContext,
    "pages/error.html": pages.ErrorContext,
}
# Templates that others include or extend, with no context of their own.
PARTS = {
    "layout.html",
    "fragments/alert_list.html",
    "fragments/silences.html",
    "fragments/silence_rule.html",
    "fragments/timeline.html",
}


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
    lane = timeline.Lane(HOSTILE, (timeline.Bar("firing", 1.0, 2.0, HOSTILE),))
    return timeline.Timeline((lane,), 3, (timeline.Tick(0.0, HOSTILE),))


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
                rule_page.Past, id=1, again=True, operands=(hostile(rule_page.Read),),
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


def hostile_contexts() -> Iterator[tuple[str, Any]]:
    """Yield every template with a context that fills all of its branches with hostile texts."""
    rows = [
        hostile(pages.Row, state=state, trend=trend, stale=stale, facts=[pages.Fact(HOSTILE, HOSTILE)])
        for state, trend, stale in (("down", "up", True), ("up", "down", False), ("", "flat", False))
    ]
    quiet = hostile(silences.Quiet, state="planned", matchers=(HOSTILE,))
    alerts = [
        hostile(pages.Alert, id=7, labels={}, **given)
        for given in ({"silence": quiet, "ruled": True}, {"silenceable": True, "ruled": False})
    ]
    metrics = pages.MetricsContext(
        up=1,
        down=1,
        series=3,
        firing=[hostile_rule("firing", "ok")],
        pending=[hostile_rule("pending", "no data")],
        recent=alerts,
        panels=[hostile(pages.Panel, rows=rows, down=1)],
        not_ready=HOSTILE,
    )
    rules = rule_page.RulesContext([hostile_rule("firing", "ok"), hostile_rule("inactive", "no data")], {})
    silenced = rule_page.RulesContext([hostile_rule("firing", "ok")], {HOSTILE: quiet})
    standing = hostile_standing()
    contexts = {
        pages.MetricsContext: metrics,
        pages.AlertsContext: hostile(pages.AlertsContext, silences=[quiet], alerts=alerts, ruled=True),
        rule_page.RulePageContext: rule_page.RulePageContext(
            **standing, text=HOSTILE, days=7, choices=(1, 7), tried=None
        ),
        rule_page.RuleContext: rule_page.RuleContext(**standing),
        backtest_form.TriedContext: backtest_form.TriedContext(hostile_result()),
        silences.ToldContext: silences.ToldContext(HOSTILE, wrong=True),
        rule_page.RulesContext: rules,
        storage_page.StorageContext: hostile(
            storage_page.StorageContext,
            full=99,
            tables=[hostile(storage_page.TableRow, share=1.5, start=0.0)],
        ),
        pages.LoginContext: pages.LoginContext(True),
        pages.ErrorContext: hostile(pages.ErrorContext, status=404),
    }
    for name, kind in CONTEXTS.items():
        yield name, contexts[kind]
    yield "fragments/rules.html", silenced
    yield "fragments/rule.html", rule_page.RuleContext(**standing | {"silence": quiet, "week": None})
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
    context = rule_page.RulesContext([], {})
    for token, count in ((True, 1), (False, 0)):
        root = parse(Templates(assets.folder("views"), token=token).page("rules", context))
        assert len(root.find("form", action="/logout")) == count
