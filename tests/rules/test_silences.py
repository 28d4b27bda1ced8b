"""Silences: what they match, how long they last, how many are kept, and that none is lost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest

from oculus.clock import DAY, SECOND, iso
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.errors import StorageError
from oculus.model import Event, Micros
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.silence_keeper import STORED, SilenceKeeper
from oculus.rules.silences import (
    KEPT,
    MOST,
    Matcher,
    Silence,
    SilenceError,
    Silences,
    TooManySilences,
    of_alert,
)
from oculus.rules.view import Point

NOW = Micros(1_800_000_000 * SECOND)
HOUR = 3_600 * SECOND


def after(hours: float) -> Micros:
    """Return a time so many hours from NOW."""
    return Micros(NOW + int(hours * HOUR))


def begun(*matchers: str, starts: float = 0, ends: float = 2, comment: str = "") -> Silences:
    """Return silences with one that was added at NOW."""
    silences = Silences()
    silences.add(matchers, after(starts), after(ends), comment, NOW)
    return silences


LABELS = {"symbol": "net.http.site.rtt", "team": "web"}


@pytest.mark.parametrize(
    ("matchers", "matches"),
    [
        (["rule=site_slow"], True),
        (["rule=site_*"], True),
        (["rule=site"], False),
        (["rule=Site_slow"], False),
        (["rule=site_[a-s]low"], True),
        (["rule=*"], True),
        (["severity=warn"], True),
        (["severity=error"], False),
        (["symbol=net.http.*"], True),
        (["symbol=net.*.rtt"], True),
        (["symbol=net.http.**"], True),
        (["symbol=net.tcp.*"], False),
        (["team=w?b"], True),
        (["team=*", "zone=*"], False),
        (["rule=site_*", "severity=warn", "team=web"], True),
        (["rule=site_*", "severity=error"], False),
        ([" team =web"], True),
        (["rule=site_slow=x"], False),
        (["started_at=2027-01-15T07:59:50.250Z"], True),
        (["started_at=2027-01-15T*"], True),
        (["started_at=2027-01-15T07:59:50.251Z"], False),
    ],
)
def test_all_matchers_must_match(matchers: list[str], matches: bool) -> None:
    """Rule, severity, beginning and labels are globs; a label that the alert lacks matches nothing."""
    began = Micros(NOW - 9_750_000)
    found = begun(*matchers).matching("site_slow", "warn", LABELS, NOW, began)
    assert (found is not None) is matches


def test_a_label_cannot_stand_for_the_rule() -> None:
    """An alert with a label `rule` or `severity` is still known by its own."""
    silences = begun("rule=other", "severity=info")
    assert silences.matching("mine", "warn", {"rule": "other", "severity": "info"}, NOW) is None


@pytest.mark.parametrize(
    ("matchers", "told"),
    [
        ([], "needs a matcher"),
        (["site"], "'site' is no matcher (NAME=GLOB, such as rule=site_* or severity=warn)"),
        (["=site"], "is no matcher"),
        (["rule="], "is no matcher"),
        (["severity=warning"], "severity=warning matches no severity (they are info, warn, error, critical)"),
        (["rule=" + "x" * 300], "longer than 300 characters"),
        (["rule=a\nb"], "control character"),
        ([f"a{n}=x" for n in range(21)], "20 matchers at most; these are 21"),
    ],
)
def test_wrong_matchers_are_told(matchers: list[str], told: str) -> None:
    """What is wrong is one line, with what would be right."""
    with pytest.raises(SilenceError) as error:
        begun(*matchers)
    assert told in str(error.value)


@pytest.mark.parametrize("name", ["site", "what?", "[all] of *", "a[b]c", "]x[", "a=b"])
def test_a_rule_is_named_exactly(name: str) -> None:
    """The matcher of one rule matches its name, whatever signs that has, and no other."""
    matcher = Matcher.parse(str(Matcher.exactly("rule", name)))
    assert matcher.pattern.match(name)
    for other in (name + "x", name.replace("*", "y"), name.replace("?", "y"), name.replace("[b]", "b")):
        assert other == name or not matcher.pattern.match(other)


def test_an_alert_is_named_with_its_beginning() -> None:
    """By its rule and labels; one that began later is another, and so is one with another label."""
    labels = LABELS | {"path": "/a[b]*", "text": "two\nlines", "a=b": "x", "rule": "x", "long": "x" * 300}
    matchers = of_alert("slow [all]", labels, NOW)
    assert matchers == [
        "rule=slow [[]all]", f"started_at={iso(NOW)}", "symbol=net.http.site.rtt", "team=web",
        "path=/a[[]b][*]", "text=two?lines",
    ]  # fmt: skip
    silences = begun(*matchers)
    (silence,) = silences.all(NOW)
    assert silence.once
    assert silences.matching("slow [all]", "warn", labels, NOW, NOW) is silence
    assert silences.matching("slow [all]", "warn", labels, NOW, after(1)) is None
    assert silences.matching("slow [all]", "warn", labels, NOW) is None  # it is over
    assert silences.matching("slow [all]", "warn", labels | {"team": "ops"}, NOW, NOW) is None
    many = {f"label{number}": "x" for number in range(50)}
    assert len(of_alert("r", many, NOW)) == 20
    assert not begun(*of_alert("r", many)).all(NOW)[0].once


def test_what_is_acknowledged_is_told_again_only_when_it_is_over() -> None:
    """No reminder comes of it; its end does, and so does its next beginning."""
    silences = Silences()

    def silenced(
        rule: str, severity: str, labels: Mapping[str, str], at: Micros, since: Micros | None
    ) -> str:
        found = silences.matching(rule, severity, labels, at, since)
        return "" if found is None else found.reason

    values = {"load": 20.0}
    rule = RuleSettings(name="busy", condition="load > 10", repeat=Seconds(60.0))
    engine = RuleEngine([rule], silenced=silenced, started=NOW)

    def steps(hours: float) -> list[tuple[str, str, str]]:
        view = Live(after(hours), lambda symbol: (Point(after(hours), values[symbol], None), 0.0))
        return [(step.previous, step.state, step.suppressed) for step in engine.evaluate(view)]

    assert steps(0) == [("inactive", "firing", "")]
    assert steps(1) == [("firing", "firing", "")]
    (found,) = engine.states(Live(after(1), lambda symbol: None))[0].instances
    silences.add(
        of_alert("busy", found.labels, found.active_at), after(1), after(25), "acknowledged", after(1)
    )
    assert steps(2) == []
    assert steps(20) == []
    values["load"] = 1.0
    assert steps(21) == [("firing", "resolved", "")]
    values["load"] = 20.0
    assert steps(22) == [("inactive", "firing", "")]


def test_it_is_in_force_from_its_start_until_right_before_its_end() -> None:
    """A silence to come holds nothing back yet, one that is over nothing any more."""
    silences = begun("rule=*", starts=1, ends=3)
    (silence,) = silences.all(NOW)
    for hours, state in ((0, "planned"), (1, "active"), (2.999, "active"), (3, "expired"), (100, "expired")):
        at = after(hours)
        assert silence.state(at) == state
        assert (silences.matching("x", "warn", {}, at) is silence) is (state == "active")
        assert silences.active(at) == ([silence] if state == "active" else [])


@pytest.mark.parametrize(
    ("starts", "ends", "told"),
    [
        (0, 0, "is over already"),
        (-3, -1, "is over already"),
        (3, 2, "ends before it begins"),
        (0, 24 * 366.1, "lasts 366 days at most"),
        (24 * 366.1, 24 * 366.2, "lies no further ahead"),
    ],
)
def test_a_span_that_makes_no_sense_is_refused(starts: float, ends: float, told: str) -> None:
    """Mixed-up and forgotten-for-ever ones are told at once."""
    with pytest.raises(SilenceError, match=told):
        begun("rule=*", starts=starts, ends=ends)


def test_one_that_began_in_the_past_begins_now() -> None:
    """What was sent is not taken back."""
    (silence,) = begun("rule=*", starts=-5).all(NOW)
    assert (silence.starts_at, silence.created_at) == (NOW, NOW)


def test_of_several_the_longest_holds() -> None:
    """An alert names the silence that it waits for in the end."""
    silences = begun("rule=*", ends=1)
    long = silences.add(["rule=x"], NOW, after(5), "long", NOW)
    silences.add(["rule=y"], NOW, after(9), "other", NOW)
    assert silences.matching("x", "warn", {}, NOW) is long
    assert long.reason == f"silence {long.id}: long"


def test_ending_one_is_at_once_and_for_good() -> None:
    """It stays listed as it ended; ending it again changes nothing; a stranger's id is nobody's."""
    silences = begun("rule=*")
    (silence,) = silences.all(NOW)
    ended = silences.expire(silence.id, after(1))
    assert ended is not None
    assert ended.ends_at == after(1)
    assert silences.matching("x", "warn", {}, after(1)) is None
    assert silences.expire(silence.id, after(1.5)) == ended
    assert [one.state(after(1)) for one in silences.all(after(1))] == ["expired"]
    assert silences.expire("nobody", NOW) is None


def test_one_that_has_not_begun_can_be_ended() -> None:
    """It then has lasted no time, instead of less than none."""
    silences = begun("rule=*", starts=5, ends=9)
    ended = silences.expire(silences.all(NOW)[0].id, after(1))
    assert ended is not None
    assert ended.starts_at == ended.ends_at == after(1)
    assert silences.matching("x", "warn", {}, after(6)) is None


def test_they_are_listed_by_what_comes_next() -> None:
    """First those in force by their end, then those to come, then the last that ended."""
    silences = Silences()
    for name, starts, ends in (
        ("e", 0, 1),
        ("a", 0, 5),
        ("p", 4, 6),
        ("f", 0, 2),
        ("b", 0, 9),
        ("q", 3.5, 9),
    ):
        silences.add([f"rule={name}"], after(starts), after(ends), "", NOW)
    assert [one.what()[-1] for one in silences.all(after(3))] == ["a", "b", "q", "p", "f", "e"]


def test_a_line_of_matchers_can_be_read_back() -> None:
    """Blanks within a matcher are kept together by quotes."""
    (silence,) = begun("rule=a b", "severity=warn").all(NOW)
    assert silence.what() == '"rule=a b" severity=warn'


def test_it_comes_back_from_its_json() -> None:
    """All of it, of whatever text."""
    (silence,) = begun('rule=a"\\*é☃', "x=[!b]", comment="two\n lines \0 and ☃").all(NOW)
    assert silence.comment == "two lines � and ☃"
    assert Silence.of_json(silence.to_json()) == silence
    assert silence.to_json().isascii()


def test_a_week_after_their_end_they_are_forgotten() -> None:
    """They are listed until then; room is made when the next one comes."""
    silences = begun("rule=old")
    end = after(2)
    assert len(silences.all(Micros(end + KEPT - 1))) == 1
    assert silences.all(Micros(end + KEPT)) == []
    silences.add(["rule=new"], Micros(0), Micros(end + KEPT + DAY), "", Micros(end + KEPT))
    assert [one.what() for one in silences.snapshot().values()] == ["rule=new"]


def test_their_number_is_bounded() -> None:
    """Those that are over make room, the oldest first; when all are needed, another is refused."""
    numbers = count()
    silences = Silences(new_id=lambda: f"{next(numbers):04}")
    for n in range(MOST):
        silences.add(["rule=x"], NOW, after(1 if n < 2 else 9), "", NOW)
    with pytest.raises(TooManySilences, match="there are 1000 silences already"):
        silences.add(["rule=x"], NOW, after(9), "", NOW)
    silences.expire("0500", after(0.5))
    for _ in range(3):
        silences.add(["rule=y"], NOW, after(9), "", after(2))
    assert len(silences.snapshot()) == MOST
    assert not {"0000", "0001", "0500"} & silences.snapshot().keys()
    with pytest.raises(TooManySilences):
        silences.add(["rule=y"], NOW, after(9), "", after(2))


def test_an_id_is_never_given_twice() -> None:
    """A random one that is taken is drawn again."""
    drawn = iter(["a", "a", "a", "b"])
    silences = Silences(new_id=lambda: next(drawn))
    ids = [silences.add(["rule=x"], NOW, after(1), "", NOW).id for _ in range(2)]
    assert ids == ["a", "b"]


# -- the keeper ---------------------------------------------------------------------------------------


class Store:
    """What a store does, in memory; `broken` makes it refuse."""

    def __init__(self, **stored: str) -> None:
        self.stored = {STORED + id: text for id, text in stored.items()}
        self.broken = False
        self.events: list[Event] = []

    def save(self, states: Mapping[str, str | None]) -> None:
        """Store some texts, all or none."""
        if self.broken:
            raise StorageError("the disk is full")
        for key, text in states.items():
            self.stored.pop(key, None)
            if text is not None:
                self.stored[key] = text

    def open(self, at: Micros = NOW) -> SilenceKeeper:
        """Return a keeper of what is stored."""
        return SilenceKeeper(
            Silences(), lambda prefix: dict(self.stored), self.save, self.events.append, lambda: at
        )


def shown(silences: Silences) -> dict[str, Any]:
    """Return all silences by id."""
    return silences.snapshot()


def test_what_is_answered_is_stored() -> None:
    """A keeper that opens the same store has the same silences; each change is one event."""
    store = Store()
    keeper = store.open()
    made = keeper.add(["rule=x"], NOW, after(2), "deploy", "127.0.0.1")
    planned = keeper.add(["rule=y"], after(1), after(2), "", "command line")
    assert shown(store.open().silences) == {made.id: made, planned.id: planned}
    ended = keeper.end(made.id, "127.0.0.1")
    assert ended is not None
    assert shown(store.open().silences)[made.id] == ended
    keeper.end(made.id, "127.0.0.1")  # it is over: no change, no event
    assert keeper.end("nobody", "") is None
    first, second, third = store.events
    assert first.message == f"silence {made.id} of rule=x until 2027-01-15T10:00:00.000Z (deploy)"
    assert (first.type, first.source, first.payload["by"]) == ("audit", f"silence/{made.id}", "127.0.0.1")
    assert "of rule=y from 2027-01-15T09:00:00.000Z until" in second.message
    assert "ended before its time, which was 2027-01-15T10:00:00.000Z" in third.message


def test_a_change_that_cannot_be_stored_is_not_made() -> None:
    """Who asked is told, and what was in force stays so."""
    store = Store()
    keeper = store.open()
    made = keeper.add(["rule=x"], NOW, after(2), "", "")
    store.broken = True
    with pytest.raises(StorageError):
        keeper.add(["rule=y"], NOW, after(2), "", "")
    with pytest.raises(StorageError):
        keeper.end(made.id, "")
    assert shown(keeper.silences) == {made.id: made}
    assert len(store.events) == 1


def test_what_is_forgotten_leaves_the_store() -> None:
    """With the next silence, in the same step."""
    store = Store()
    store.open().add(["rule=old"], NOW, after(1), "", "")
    made = store.open(Micros(NOW + 8 * DAY)).add(["rule=new"], NOW, Micros(NOW + 9 * DAY), "", "")
    assert store.stored.keys() == {STORED + made.id}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "x", "matchers": [["rule"]]}', "nul"])
def test_a_stored_one_that_cannot_be_read_is_told_and_the_others_hold(text: str) -> None:
    """The daemon starts all the same."""
    store = Store()
    made = store.open().add(["rule=x"], NOW, after(2), "", "")
    store.stored["silence/bad"] = text
    assert shown(store.open().silences) == {made.id: made}
    assert "the stored silence bad cannot be read" in store.events[-1].message
    assert store.events[-1].severity == "error"
