"""Rules as text: read from outside the configuration, and written as they stand in it."""

from __future__ import annotations

import pytest

from oculus.config import read_rules, rule_yaml
from oculus.errors import ConfigError
from oculus.vocabulary import vocabulary

RULE = """name: slow
condition: net.http.*.rtt > 1k and time 08:00-20:00
for: 90s
keep_firing_for: 2h
severity: critical
message: |
  {{ symbol }}
  is slow
flap: 0
depends_on:
- uplink
channels:
- telegram
"""


def test_a_rule_is_written_as_it_is_read() -> None:
    """Defaults are left out, durations are in their largest unit, and lines stay lines."""
    (rule,) = read_rules(RULE, vocabulary(), ["uplink"])
    assert rule_yaml(rule) == RULE
    query = "name: q\nsql: select 1\nparams:\n  a: 1.5\n  b: x\nevery: 500ms\n"
    assert rule_yaml(*read_rules(query, vocabulary())) == query


@pytest.mark.parametrize(
    "text",
    ["- {name: x, condition: a > 5}", '[{"name": "x", "condition": "a > 5"}]', "name: x\ncondition: a > 5"],
)
def test_one_rule_or_a_list_in_yaml_or_json(text: str) -> None:
    """Whatever people and programs write."""
    assert [(rule.name, rule.condition) for rule in read_rules(text, vocabulary())] == [("x", "a > 5")]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name: x\ncondition: a >", "rule:2: condition: "),
        ("- {name: x, sql: select 1}\n- {name: y, sq: select 1}", "rule:2: rules[1].sq: unknown key"),
        ("name: ${HOME}\ncondition: a > 1\ndepends_on: [other]", 'names no rule: "other"'),
        ("", "there is no rule in it"), ("[]", "there is no rule in it"), ("a: [", "is not valid YAML"),
        ("5", "(a list)"), ("include: /etc/passwd", "unknown key"), ("{name: x, name: y}", "twice"),
    ],
)  # fmt: skip
def test_mistakes_are_told_as_those_of_a_file(text: str, mistake: str) -> None:
    """With line and key; no variable of the environment is filled in, and no file is read."""
    with pytest.raises(ConfigError) as caught:
        read_rules(text, vocabulary())
    assert mistake in "\n".join(caught.value.mistakes)
    assert "/root" not in "\n".join(caught.value.mistakes)
