"""The values that every stage shares."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.model import (
    MAX_SYMBOL,
    Batch,
    Event,
    Micros,
    Operand,
    Sample,
    Tags,
    Transition,
    category_of,
    is_symbol,
    slug,
    symbols_of,
    unit_of,
)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("site", "site"), ("My Site", "my_site"), ("8.8.8.8", "8_8_8_8"),
        ("https://a.b/c?d=1", "https_a_b_c_d_1"),
        ("a--b__c", "a_b__c"), ("[::1]:22", "1_22"), ("ÀB", "b"), ("日本", "_"), ("", "_"), ("///", "_"),
        ("_", "_"),
        ("a\nb", "a_b"), ("disk/sda1", "disk_sda1"),
    ],
)  # fmt: skip
def test_a_slug_is_one_part_of_a_symbol(text: str, part: str) -> None:
    """Lower case, and one underscore for each run of anything else."""
    assert slug(text) == part


@given(st.text())
def test_every_slug_is_a_symbol_and_its_own_slug(text: str) -> None:
    """Whatever a user writes as a name can stand in a symbol, and a slug does not change again."""
    part = slug(text)
    assert len(part) > MAX_SYMBOL or is_symbol(part)
    assert "." not in part
    assert slug(part) == part


@pytest.mark.parametrize("text", ["a", "a.b", "net.http.site.rtt", "0", "_", "a_1.2_b", "x" * MAX_SYMBOL])
def test_dotted_slugs_are_symbols(text: str) -> None:
    """One or more parts of lower-case letters, digits and underscores."""
    assert is_symbol(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "A",
        "a b",
        "a-b",
        "é",
        "a\n",
        "a.b\n",
        "٣",
        "x" * (MAX_SYMBOL + 1),
        "a/b",
        "a*",
    ],
)
def test_anything_else_is_no_symbol(text: str) -> None:
    """Capitals, other signs, empty parts and endless names are refused."""
    assert not is_symbol(text)


@pytest.mark.parametrize(
    ("symbol", "category"),
    [
        ("net.http.site.rtt", "net.http"), ("crypto.price.btc_usd", "crypto.price"),
        ("custom.moon", "custom"),
        ("custom.a.b.c", "custom"), ("oculus.memory", "oculus.memory"), ("single", "custom"), ("a.b", "a.b"),
        ("customs.a.b", "customs.a"),
    ],
)  # fmt: skip
def test_the_category_is_the_first_two_parts(symbol: str, category: str) -> None:
    """Custom series and single names share the category custom."""
    assert category_of(symbol) == category


@pytest.mark.parametrize(
    ("symbol", "tags", "unit"),
    [
        ("net.ping.a.rtt", {}, "ms"), ("net.http.a.dns", {}, "ms"), ("net.http.a.connect", {}, "ms"),
        ("net.http.a.tls", {}, "ms"), ("net.http.a.ttfb", {}, "ms"), ("net.ping.a.loss", {}, "%"),
        ("net.ping.a.up", {}, "bool"), ("net.http.a.status", {}, "code"),
        ("net.http.a.cert_days", {}, "days"),
        ("custom.moon", {}, ""), ("custom.a", {"unit": "kg"}, "kg"), ("net.ping.a.rtt", {"unit": "s"}, "s"),
        ("net.ping.a.rtt", {"unit": ""}, ""), ("rtt", {}, "ms"),
    ],
)  # fmt: skip
def test_the_unit_is_told_by_the_last_part_or_by_a_tag(symbol: str, tags: dict[str, str], unit: str) -> None:
    """A `unit` tag goes before what the name tells; an empty one says that there is none."""
    assert unit_of(symbol, tags) == unit


def test_equal_tags_are_equal_text() -> None:
    """The order in which labels were given does not matter in the store."""
    one, two = Tags({"b": "2", "a": "é"}), Tags({"a": "é", "b": "2"})
    assert one.json == two.json == '{"a": "é", "b": "2"}'
    assert one.json is one.json
    assert hash(one) == hash(two)
    assert one == two
    assert {one: 1}[two] == 1


@given(st.dictionaries(st.text(), st.text()))
def test_the_json_of_tags_gives_the_tags_back(labels: dict[str, str]) -> None:
    """Quotes, line breaks and any other sign survive."""
    assert json.loads(Tags(labels).json) == labels


def test_samples_and_events_are_frozen() -> None:
    """What one stage has passed on, no other can change."""
    sample = Sample("a", 1.0)
    with pytest.raises(FrozenInstanceError):
        sample.value = 2.0  # type: ignore[misc]
    assert (sample.ts, dict(sample.tags)) == (None, {})
    event = Event(Micros(1), "s", "system", "info", "m")
    with pytest.raises(FrozenInstanceError):
        event.message = "n"  # type: ignore[misc]
    assert dict(event.payload) == {}


def test_a_batch_is_true_when_it_holds_anything() -> None:
    """The writer passes over what is empty."""
    assert not Batch()
    assert Batch(samples=(Sample("a", 1.0),))
    assert Batch(events=(Event(Micros(1), "s", "system", "info", "m"),))


def test_symbols_of_samples_are_named_once() -> None:
    """Many samples of one series wake its rules once."""
    assert symbols_of([Sample("a", 1), Sample("b", 2), Sample("a", 3)]) == {"a", "b"}
    assert symbols_of([]) == set()


def test_a_transition_is_recorded_as_an_alert_event() -> None:
    """The event's row says which rule went from where to where, and on what evidence."""
    transition = Transition(
        ts=Micros(2), rule="slow", state="firing", previous="pending", severity="error", message="slow!",
        started_at=Micros(1), symbol="a.b", value=5.0, labels=Tags({"host": "x"}), channels=("log", "ops"),
        explanation="a.b (5) > 1", operands=(Operand("a.b", 5.0, 1.5),), suppressed="silence 1",
        timers={"held": 1.0}, memory=("alert/slow/", "{}"),
    )  # fmt: skip
    event = transition.event()
    assert (event.ts, event.source, event.type) == (2, "slow", "alert")
    assert (event.severity, event.message) == ("error", "slow!")
    assert event.memory == ("alert/slow/", "{}")
    assert event.payload == {
        "rule": "slow", "state": "firing", "previous": "pending", "symbol": "a.b", "value": 5.0,
        "labels": {"host": "x"}, "started_at": 1, "channels": ["log", "ops"], "explanation": "a.b (5) > 1",
        "operands": [["a.b", 5.0, 1.5]], "suppressed": "silence 1", "timers": {"held": 1.0},
        "alert": "alert/slow/",
    }  # fmt: skip
    json.dumps(event.payload)
