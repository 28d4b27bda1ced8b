"""`/api/backtest` over a real socket: which rules are asked for, over what time, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oculus.clock import DAY, SECOND, iso, now
from oculus.config.settings import RuleSettings
from oculus.model import Micros, Sample
from tests.support.site import Site

NewSite = Callable[..., Site]

RULES = (
    RuleSettings(name="hot", condition="custom.t > 30", depends_on=("cause",)),
    RuleSettings(name="cause", condition="custom.t > 39"),
)


@pytest.fixture
def site(new_site: NewSite) -> Site:
    """A site with a series that was high an hour ago."""
    made = new_site(rules=RULES)
    start = now() - 3_600 * SECOND
    values = (20.0, 35.0, 20.0)
    made.write(
        *(Sample("custom.t", value, Micros(start + n * 60 * SECOND)) for n, value in enumerate(values))
    )
    return made


def names(answer: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the rules of an answer with how often each fired."""
    return [(rule["name"], rule["firings"]) for rule in answer["rules"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("hot", 1), ("cause", 0)]),
        ({"rule": "hot"}, [("hot", 1)]),
        ({"rule": "hot", "since": "30m"}, [("hot", 0)]),
        ({"rules": {"name": "warm", "condition": "custom.t > 20"}}, [("warm", 1)]),
        ({"rules": "- {name: warm, condition: custom.t > 20}\n- {name: hot, condition: custom.t > 50}"},
         [("warm", 1), ("hot", 0)]),
        ({"rules": [{"name": "a", "condition": "custom.t > 30", "depends_on": ["b"]},
                    {"name": "b", "condition": "custom.t > 30"}], "names": ["a"]}, [("a", 1)]),
        ({"rules": [{"name": "a", "condition": "custom.t > 30"}], "names": []}, []),
        # A time before anything could be stored, and one that is to come.
        ({"rule": "hot", "since": "1970-01-01"}, [("hot", 1)]),
        ({"rule": "hot", "since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}, [("hot", 1)]),
        ({"rule": "hot", "since": -5}, [("hot", 1)]),
    ],
)  # fmt: skip
def test_rules_are_replayed(site: Site, body: Any, expected: list[tuple[str, int]]) -> None:
    """Configured ones by their name, or others as they are written."""
    answer = site.post("/api/backtest", json=body)
    assert answer.status_code == 200, answer.text
    assert names(answer.json()) == expected
    assert answer.json()["to"] <= iso(now())


def test_days_without_a_store_are_not_counted(site: Site) -> None:
    """Half a century of them would be no answer that anyone reads."""
    (rule,) = site.post("/api/backtest", json={"rule": "hot", "since": "1970-01-01"}).json()["rules"]
    assert 1 <= len(rule["days"]) <= 2
    assert sum(day["firings"] for day in rule["days"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ([], 400, "the body is not"),
        ({"rulez": "hot"}, 400, "the body is not"),
        ({"rule": "cold"}, 404, "there is no rule 'cold'"),
        ({"rule": 5}, 404, "there is no rule 5"),
        ({"rule": "hot", "rules": []}, 400, "cannot be together"),
        ({"rules": []}, 400, "there is no rule in it"),
        ({"rules": 5}, 400, "a list"),
        ({"rules": [{"name": "a", "condition": "custom.t >"}]}, 400, "ends too early"),
        ({"rules": [{"name": "a", "condition": "b > 1"}], "names": "a"}, 400, "names is not a list of names"),
        ({"rules": [{"name": "a", "condition": "b > 1"}], "names": 5}, 400, "names is not a list of names"),
        ({"rules": [{"name": "a", "condition": "b > 1"}], "names": [5]}, 400, "names is not a list of names"),
        ({"rules": [{"name": "a", "condition": "b > 1"}], "names": ["b"]}, 400, "there is no rule 'b'"),
        ({"since": "1000000000d"}, 400, "is not a time"),
        ({"since": 1e18}, 400, "is not a time"),
        ({"since": True}, 400, "since is not a time"),
        ({"since": "1h", "until": "2h"}, 400, "since is not before until"),
        ({"since": "9999-12-31"}, 400, "since is not before until"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_told(site: Site, body: Any, status: int, told: str) -> None:
    """With what would be right."""
    answer = site.post("/api/backtest", json=body)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]


def test_the_last_week_is_what_is_meant(new_site: NewSite) -> None:
    """When nobody says."""
    site = new_site(rules=RULES)
    site.write(
        *(
            Sample("custom.t", value, Micros(now() - days * DAY))
            for value, days in ((35.0, 9), (20.0, 8), (36.0, 6))
        )
    )
    (rule,) = site.post("/api/backtest", json={"rule": "hot"}).json()["rules"]
    assert [found["value"] for found in rule["intervals"]] == [36.0]
