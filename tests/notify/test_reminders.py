"""Reminders of what fires still: not of what a silence holds back by then."""

from __future__ import annotations

from pathlib import Path

from oculus.clock import SECOND
from oculus.config.settings import ChannelSettings
from oculus.model import Micros, Transition
from oculus.notify.backlog import Shelf
from oculus.notify.courier import Courier
from tests.notify.ledgers import StoredLedger
from tests.notify.test_courier import Service

START = 1_800_000_000 * SECOND


def test_a_silence_holds_reminders_back(tmp_path: Path) -> None:
    """Of the alerts that it is about; a message of them alone is none. The end of one is told still."""
    service = Service(ChannelSettings(group_by=("team",), group_wait=0, group_interval=10, repeat=60))  # type: ignore[arg-type]
    ledger, clock, silent = StoredLedger(str(tmp_path / "x.db")), [0], set[str]()
    courier = Courier(
        "ops", service, Shelf(ledger, "ops"), lambda event: None,
        time_now=lambda: Micros(START + clock[0] * SECOND), silenced=lambda step: step.rule in silent,
    )  # fmt: skip

    def take(id: int, rule: str, state: str = "firing") -> None:
        at = Micros(START + clock[0] * SECOND)
        step = Transition(
            ts=at, rule=rule, state=state, previous="inactive" if state == "firing" else "firing",  # type: ignore[arg-type]
            severity="warn", message=rule, started_at=at, channels=("ops",), memory=(f"alert/{rule}/", None),
        )  # fmt: skip
        ledger.store(id, step.event())
        courier.take(id, step)

    def told(second: int) -> list[tuple[str, list[str], list[str]]]:
        """Go on to a second, and return what was told since."""
        service.got.clear()
        while clock[0] < second:
            clock[0] += 10
            courier.step()
        return [
            (one.reason, [step.rule for step in one.firing], [step.rule for step in one.resolved])
            for one in service.got
        ]

    take(1, "a")
    take(2, "b")
    assert told(10) == [("first", ["a", "b"], [])]
    assert told(70) == [("repeat", ["a", "b"], [])]
    silent.add("a")
    assert told(130) == [("repeat", ["b"], [])]
    silent.add("b")
    assert told(400) == []
    silent.clear()
    assert told(460) == [("repeat", ["a", "b"], [])]
    silent.add("a")
    take(3, "a", "resolved")
    assert told(480) == [("resolved", ["b"], ["a"])]
