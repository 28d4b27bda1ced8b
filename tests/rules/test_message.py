"""Alert messages: what a template may do, and that a failing one never hides the alert."""

from __future__ import annotations

from typing import Any

import pytest

from oculus.errors import ExpressionError
from oculus.rules.message import MAX_MESSAGE, check, render

VALUES: dict[str, Any] = {
    "rule": "slow", "state": "firing", "severity": "warn", "symbol": "net.http.site.rtt", "value": 1534.25,
    "started_at": "2026-01-02T03:04:05.000Z", "condition": "x > 1", "explanation": "x (2) > 1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain, 100%", "plain, 100%"),
        ("", ""),
        ("{{ symbol }} is {{ value }}", "net.http.site.rtt is 1534.25"),
        ("{{ value | round(1) }} ms, {{ '%.0f' | format(value) }}", "1534.2 ms, 1534"),
        ("{% if state == 'firing' %}DOWN{% else %}up{% endif %}", "DOWN"),
        ("<b>{{ '<&>' }}</b>", "<b><&></b>"),
        ("[{{ nothing }}]", "[]"),
        ("{# a comment #}x", "x"),
        ("${{ value }}", "$1534.25"),
        ("a } b }} c", "a } b }} c"),
    ],
)
def test_a_message_is_its_template_filled_in(template: str, text: str) -> None:
    """The alert's values are at hand, signs of HTML stay as they are, unknown names are empty."""
    check(template)
    assert render(template, VALUES) == text


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ value", "unexpected end of template, expected 'end of print statement'."),
        ("a\n{% if x %}", "Unexpected end of template. Jinja was looking for the following tags: "),
        ("{{ }}", "Expected an expression, got 'end of print statement'"),
        ("{{ value | nosuch }}", "No filter named 'nosuch'."),
        ("{% nosuch %}", "Encountered unknown tag 'nosuch'."),
        ("{{ " + "9" * 5000 + " }}", "cannot be used as a template: "),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "cannot be used as a template: "),
    ],
    ids=lambda text: text[:30],
)
def test_a_template_that_does_not_parse_is_told_before_it_is_needed(template: str, told: str) -> None:
    """The configuration is refused, not the alert spoilt."""
    with pytest.raises(ExpressionError) as caught:
        check(template)
    assert str(caught.value).startswith(told)


def test_the_line_of_a_template_is_told() -> None:
    """A message of several lines has its fault told with the line in it."""
    with pytest.raises(ExpressionError, match=r"\(in line 3 of the template\)$"):
        check("a\nb\n{{ | }}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ value.missing.deeper }}",
        "{{ 1 / 0 }}",
        "{{ value() }}",
        "{{ 'x' + 1 }}",
        "{% include 'other' %}",
        "{{ [1, 2, 3][9].real }}",
        "{% for n in range(10 ** 9) %}x{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_fails_shows_itself_and_why(template: str) -> None:
    """The alert goes out with the template's text and the reason."""
    check(template)
    text = render(template, VALUES)
    assert text.startswith(f"{template} [the message's template failed: ")
    assert len(text) > len(template) + 40


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ '' | attr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ '{0.__class__.__mro__}'.format(value) }}",
        "{{ '%s' | format(value.__class__) }}",
        "{{ joiner.__init__.__code__ }}",
        "{{ [].append.__self__ }}",
        "{% set x = values.update({'a': 1}) %}{{ values }}",
        "{% set x = listed.append(9) %}{{ listed }}",
        "{{ (1).__class__.__base__ }}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    """No way to types, functions' globals or the program's own values; what it was given stays as it was."""
    given: dict[str, Any] = {"value": 1.5, "values": {"b": 2}, "listed": [1]}
    text = render(template, given)
    for leak in ("<class", "<function", "<module", "uid=", "'a': 1", "9]", "builtins", "<code", "<built-in"):
        assert leak not in text.replace(template, "")
    assert given == {"value": 1.5, "values": {"b": 2}, "listed": [1]}


def test_a_message_has_an_end() -> None:
    """A loop in a template does not make megabytes of log lines."""
    assert render("{% for n in range(90000) %}xxxxxxxxxx{% endfor %}", {}) == "x" * MAX_MESSAGE
    assert len(render("{{ 1 / 0 }}" + "y" * 5000, {})) == MAX_MESSAGE
