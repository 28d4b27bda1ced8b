"""The bounded queue: order, bounds, counters, and when the consumer gets a batch."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import gevent
import pytest

from oculus.errors import TooLarge
from oculus.model import Batch, Event, Micros, Sample, Tags
from oculus.pipe import MAX_EVENTS, Pipe, weigh

LONG = 60.0  # seconds that no test waits

SHARED = Tags({"source": "push"})


def run(count: int, start: int = 0) -> list[Sample]:
    """Return a run of samples whose values count up."""
    return [Sample("custom.x", float(number), Micros(1)) for number in range(start, start + count)]


def event(number: int = 0) -> Event:
    """Return an event."""
    return Event(Micros(number), "test", "system", "info", f"event {number}")


def numbers(batch: Batch | None) -> list[float]:
    """Return the values of a batch."""
    assert batch is not None
    return [sample.value for sample in batch.samples]


def take(pipe: Pipe, max_rows: int = 1000, linger: float = 0.0) -> Batch | None:
    """Take a batch, and fail instead of hanging."""
    with gevent.Timeout(5.0, TimeoutError("no batch came")):
        return pipe.take(max_rows, linger)


def test_samples_come_out_in_order() -> None:
    """Runs are joined to one batch in the order of their arrival."""
    pipe = Pipe(100)
    pipe.put(run(2))
    pipe.put(run(3, 2))
    assert len(pipe) == 5
    assert numbers(take(pipe)) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert len(pipe) == 0
    assert pipe.accepted == 5
    assert pipe.high_water == 5


def test_runs_are_kept_whole() -> None:
    """A batch ends with the run that reaches its size; what follows waits for the next."""
    pipe = Pipe(100)
    for start in (0, 3, 6):
        pipe.put(run(3, start))
    assert numbers(take(pipe, 4)) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(pipe) == 3
    assert numbers(take(pipe, 4)) == [6.0, 7.0, 8.0]


def test_samples_and_events_come_together() -> None:
    """A batch has the events that wait, also when it has no samples."""
    pipe = Pipe(100)
    pipe.put_event(event(1))
    pipe.put(run(1))
    pipe.put_event(event(2))
    assert pipe.events == 2
    batch = take(pipe)
    assert batch is not None
    assert batch.events == (event(1), event(2))
    assert numbers(batch) == [0.0]
    pipe.put_event(event(3))
    assert take(pipe) == Batch((), (event(3),))
    assert pipe.events == 0


def test_what_is_to_be_remembered_comes_once_and_newest() -> None:
    """A later text takes the place of one that waits, and so does an event with a memory of that key."""
    pipe = Pipe(100)
    pipe.remember({"a": "1", "b": "1"})
    pipe.remember({"a": "2"})
    assert take(pipe) == Batch(memories=(("a", "2"), ("b", "1")))
    pipe.remember({"a": "3", "b": "2"})
    ended = replace(event(1), memory=("a", None))
    pipe.put_event(ended)
    pipe.remember({"c": "1"})
    assert take(pipe) == Batch((), (ended,), (("b", "2"), ("c", "1")))
    pipe.remember({"a": "4"})
    pipe.close()
    assert take(pipe) == Batch(memories=(("a", "4"),))
    assert take(pipe) is None


# -- bounds --------------------------------------------------------------------------------------------


def test_the_oldest_go_when_a_collector_finds_it_full() -> None:
    """`put` never blocks or refuses: the newest measurements are kept, and the loss is counted."""
    pipe = Pipe(10)
    for start in range(0, 25, 5):
        pipe.put(run(5, start))
    assert len(pipe) == 10
    assert pipe.dropped == 15
    assert pipe.accepted == 25
    assert pipe.high_water == 10
    assert numbers(take(pipe)) == [float(number) for number in range(15, 25)]


def test_only_as_many_go_as_must() -> None:
    """A long run loses its oldest samples, not all of them."""
    pipe = Pipe(10)
    pipe.put(run(9))
    pipe.put(run(3, 9))
    assert pipe.dropped == 2
    assert numbers(take(pipe)) == [float(number) for number in range(2, 12)]


def test_a_run_that_never_fits_keeps_its_end() -> None:
    """A run longer than the whole queue leaves its newest samples."""
    pipe = Pipe(10)
    pipe.put(run(3, 100))
    pipe.put(run(25))
    assert pipe.dropped == 18
    assert numbers(take(pipe)) == [float(number) for number in range(15, 25)]


def test_an_offer_is_refused_whole_when_it_does_not_fit() -> None:
    """Who can try again later is told so; what waits already is not touched."""
    pipe = Pipe(10)
    assert pipe.offer(run(8))
    assert not pipe.offer(run(3, 8))
    assert pipe.refused == 3
    assert pipe.dropped == 0
    assert pipe.offer(run(2, 8))
    assert numbers(take(pipe)) == [float(number) for number in range(10)]
    assert pipe.offer(run(10))


def test_nothing_is_queued_for_nothing() -> None:
    """Empty runs wake nobody."""
    pipe = Pipe(10)
    pipe.put([])
    assert pipe.offer([])
    waiting = gevent.spawn(pipe.take, 10, 0.0)
    gevent.sleep(0.02)
    assert not waiting.dead
    waiting.kill()
    assert pipe.accepted == 0


def test_events_have_a_bound_of_their_own() -> None:
    """A flood of samples costs no event; past their own bound the oldest events go, and are counted."""
    pipe = Pipe(10)
    for number in range(MAX_EVENTS + 5):
        pipe.put_event(event(number))
    pipe.put(run(100))
    assert pipe.dropped_events == 5
    batch = take(pipe)
    assert batch is not None
    assert [batch.events[0], batch.events[-1]] == [event(5), event(MAX_EVENTS + 4)]
    assert len(batch.events) == MAX_EVENTS


# -- memory --------------------------------------------------------------------------------------------


def tagged(count: int, length: int = 100) -> list[Sample]:
    """Return samples with tags of their own."""
    return [Sample("custom.x", float(n), Micros(n), Tags({"text": f"{n:0{length}}"})) for n in range(count)]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: [Sample("custom.x", float(i), Micros(10**15 + i), SHARED) for i in range(n)],
        lambda n: [Sample(f"custom.x{i}", i + 0.5, Micros(10**15 + i), SHARED) for i in range(n)],
        lambda n: [Sample("custom.x", i + 0.5, Micros(10**15 + i), Tags({"a": f"{i}"})) for i in range(n)],
        tagged,
        lambda n: [
            Sample("custom.x", i + 0.5, Micros(10**15 + i), Tags({f"k{j}": f"{i}-{j}" for j in range(10)}))
            for i in range(n)
        ],
        lambda n: [
            Sample("custom.x", i + 0.5, Micros(10**15 + i), Tags({"a": f"é☂{i}" * 200})) for i in range(n)
        ],
    ],
    ids=["shared tags", "names of their own", "one tag", "a long tag", "ten tags", "wide text"],
)
def test_the_weight_is_what_samples_take(make: Callable[[int], list[Sample]]) -> None:
    """Within 30 percent below and 60 above of what Python allocates, the JSON of the tags included."""
    gc.collect()
    tracemalloc.start()
    try:
        samples = make(3000)
        for sample in samples:
            assert Tags.of(sample.tags).json
        batch = tuple(samples)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.7 * taken < weigh(batch) < 1.6 * taken


def test_shared_tags_are_counted_once() -> None:
    """A collector's own tags are no burden of the queue's, however many samples carry them."""
    tags = Tags({"target": "x" * 1000})
    samples = [Sample("custom.x", float(n), Micros(n), tags) for n in range(10)]
    first = weigh(samples)
    assert first > weigh(samples) + 2000
    assert weigh(samples) < 10 * 250


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    """Samples with long tags fill it before the rows do; what goes is counted with the reason."""
    pipe = Pipe(1_000_000, 100_000)
    for _ in range(50):
        pipe.put(tagged(10, 1000))
        assert pipe.bytes <= 100_000
    assert pipe.drops["queue_memory"] == pipe.dropped > 400
    assert pipe.drops["queue_full"] == 0
    assert len(pipe) == 500 - pipe.dropped
    left = len(pipe)
    kept: list[float] = []
    while len(pipe):
        kept += numbers(take(pipe))
    assert len(kept) == left
    assert kept[-1] == 9.0
    take_nothing = gevent.spawn(pipe.take, 1, 0.0)
    gevent.sleep(0)
    assert pipe.bytes == 0
    take_nothing.kill()


def test_a_batch_counts_until_the_consumer_comes_back() -> None:
    """The writer may have to keep it: together with what waits it stays within the bound."""
    pipe = Pipe(1_000_000, 100_000)
    pipe.put(tagged(10, 1000))
    before = pipe.bytes
    numbers(take(pipe))
    assert pipe.bytes == before
    while pipe.offer(tagged(1, 1000)):
        assert pipe.bytes <= 100_000
    assert pipe.bytes > 90_000


def test_an_offer_that_can_never_fit_is_told_so() -> None:
    """Trying again would not help: neither past the rows nor past the memory."""
    pipe = Pipe(10, 20_000)
    with pytest.raises(TooLarge, match="11 samples; the queue takes 10"):
        pipe.offer(run(11))
    with pytest.raises(TooLarge, match="MB of memory"):
        pipe.offer(tagged(5, 10_000))
    assert pipe.refused == 0
    assert pipe.offer(run(10))


def test_a_run_that_never_fits_in_memory_keeps_its_end() -> None:
    """As with rows."""
    pipe = Pipe(1000, 20_000)
    pipe.put(tagged(40, 1000))
    assert pipe.bytes <= 20_000
    found = numbers(take(pipe))
    assert found
    assert found == [float(n) for n in range(40 - len(found), 40)]
    assert pipe.drops["queue_memory"] == 40 - len(found)


def test_a_sender_that_outruns_the_consumer_waits_for_it() -> None:
    """What is accepted is soon taken; a consumer that does not come back is not waited for."""
    pipe = Pipe(100_000)
    ended = False

    def consume() -> None:
        while not ended:
            pipe.take(100, 0.01)
            gevent.sleep(0.01)

    consumer = gevent.spawn(consume)
    gevent.sleep(0)
    most = 0
    for start in range(0, 5000, 50):
        assert pipe.offer(run(50, start))
        most = max(most, len(pipe))
    assert most <= 150
    ended = True
    consumer.join(5)
    started = time.monotonic()
    for start in range(0, 5000, 50):
        assert pipe.offer(run(50, start))
    assert time.monotonic() - started < 2.0
    assert len(pipe) >= 4900


@pytest.mark.alone
def test_a_stop_holds_no_sender_back() -> None:
    """Who waits for the consumer is let go at once."""
    pipe = Pipe(100_000)
    consumer = gevent.spawn(pipe.take, 100, 0.0)
    gevent.sleep(0)
    assert pipe.offer(run(200))
    gevent.spawn_later(0.05, pipe.hurry)
    started = time.monotonic()
    consumer.join(5)
    assert pipe.offer(run(200))
    assert pipe.offer(run(200))
    assert time.monotonic() - started < 0.5


# -- time ----------------------------------------------------------------------------------------------


def test_a_batch_waits_for_more_at_most_its_time() -> None:
    """The first sample waits `linger` seconds for company."""
    pipe = Pipe(100)
    pipe.put(run(1))
    gevent.spawn_later(0.02, pipe.put, run(1, 1))
    started = time.monotonic()
    assert numbers(take(pipe, 100, 0.2)) == [0.0, 1.0]
    assert time.monotonic() - started >= 0.19


@pytest.mark.alone
def test_the_time_counts_from_the_first_sample() -> None:
    """Time that a sample has waited before the consumer came is not waited again."""
    pipe = Pipe(100)
    pipe.put(run(1))
    gevent.sleep(0.2)
    started = time.monotonic()
    assert numbers(take(pipe, 100, 0.2)) == [0.0]
    assert time.monotonic() - started < 0.15


def test_a_full_batch_does_not_wait() -> None:
    """The size is reached: at once, whether it was before the consumer came or while it waits."""
    pipe = Pipe(100)
    pipe.put(run(5))
    assert len(numbers(take(pipe, 5, LONG))) == 5
    waiting = gevent.spawn(take, pipe, 5, LONG)
    for _ in range(5):
        gevent.sleep(0)
        assert not waiting.dead
        pipe.put(run(1))
    assert len(numbers(waiting.get(timeout=5.0))) == 5


def test_a_consumer_waits_for_the_first_sample() -> None:
    """An empty queue costs nothing: no polling, no empty batches."""
    pipe = Pipe(100)
    waiting = gevent.spawn(take, pipe)
    gevent.sleep(0.05)
    assert not waiting.dead
    pipe.put_event(event())
    assert waiting.get(timeout=5.0) == Batch((), (event(),))


@pytest.mark.alone
def test_what_a_batch_left_behind_is_not_waited_for_again() -> None:
    """The rest of a full queue has waited long enough."""
    pipe = Pipe(100)
    pipe.put(run(5))
    pipe.put(run(2, 5))
    gevent.sleep(0.1)
    assert len(numbers(take(pipe, 5, 0.1))) == 5
    started = time.monotonic()
    assert numbers(take(pipe, 5, 0.1)) == [5.0, 6.0]
    assert time.monotonic() - started < 0.09


# -- the end -------------------------------------------------------------------------------------------


def test_a_closed_queue_is_drained_at_once_and_then_ends() -> None:
    """Nobody waits for a batch to fill any more; after the last sample comes None, again and again."""
    pipe = Pipe(100)
    for start in (0, 3, 6):
        pipe.put(run(3, start))
    pipe.put_event(event())
    pipe.close()
    first = take(pipe, 4, LONG)
    assert numbers(first) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert numbers(take(pipe, 4, LONG)) == [6.0, 7.0, 8.0]
    assert take(pipe, 4, LONG) is None
    assert take(pipe, 4, LONG) is None


def test_closing_wakes_a_consumer_that_waits() -> None:
    """Both one that waits for the first sample and one that waits for more."""
    empty, some = Pipe(100), Pipe(100)
    some.put(run(1))
    waiting = [gevent.spawn(take, pipe, 100, LONG) for pipe in (empty, some)]
    gevent.sleep(0.01)
    empty.close()
    some.close()
    gevent.joinall(waiting, timeout=5.0)
    assert waiting[0].get() is None
    assert numbers(waiting[1].get()) == [0.0]


def test_what_comes_while_it_drains_is_taken_too() -> None:
    """The last words of a stopping program are not lost."""
    pipe = Pipe(100)
    pipe.put(run(1))
    pipe.close()
    pipe.put_event(event(1))
    pipe.put(run(1, 1))
    batch = take(pipe, 100, LONG)
    assert numbers(batch) == [0.0, 1.0]
    assert batch is not None
    assert batch.events == (event(1),)
    assert take(pipe) is None


def test_a_consumer_that_is_ended_while_it_waits_loses_nothing() -> None:
    """What a killed consumer waited with is there for the next."""
    pipe = Pipe(100)
    pipe.put(run(2))
    waiting = gevent.spawn(take, pipe, 100, LONG)
    gevent.sleep(0.01)
    waiting.kill()
    assert numbers(take(pipe)) == [0.0, 1.0]
