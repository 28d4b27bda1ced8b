"""Long work in slices: other greenlets get their turn, and nothing of the work changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import gevent

from oculus.web.cooperate import SLICE, json_list, slices

STEP = SLICE / 4


def busy(items: int) -> Iterator[int]:
    """Yield numbers, each after a moment's work that holds the interpreter."""
    for item in range(items):
        until = time.perf_counter() + STEP
        while time.perf_counter() < until:
            pass
        yield item


def turns_during(work: Iterator[object]) -> int:
    """Return how often another greenlet ran while `work` was consumed."""
    turns = 0
    done = False

    def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            gevent.sleep(0)

    beside = gevent.spawn(other)
    for _ in work:
        pass
    done = True
    beside.join()
    return turns


def test_other_greenlets_run_between_slices() -> None:
    """A hundred slices of work let another greenlet run about as often; without slices it waits."""
    assert turns_during(slices(busy(400))) >= 40
    assert turns_during(busy(400)) <= 1


def test_short_work_does_not_yield() -> None:
    """Work below one slice costs no switch."""
    assert turns_during(slices(iter(range(10)))) <= 1


def test_slices_pass_every_item_on_in_order() -> None:
    """Nothing is lost or doubled at the borders."""
    assert list(slices(busy(50))) == list(range(50))


def test_a_list_is_encoded_as_json_would() -> None:
    """The answer made in slices is the answer made at once, empty or not."""
    items = [{"a": 1.5, "b": None, "c": "ü\n"}, [], "x"]
    assert json.loads(json_list("items", iter(items))) == {"items": items}
    assert json.loads(json_list("items", [])) == {"items": []}
