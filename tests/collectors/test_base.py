"""What collectors of one daemon share, and the table of their kinds."""

from __future__ import annotations

import pytest

from oculus.collectors import KINDS, collector_class
from oculus.collectors.base import Collector, Context
from oculus.config.settings import CollectorSettings, CollectorSpec


class Thing:
    """Something that can be closed."""

    closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1


def test_what_is_shared_is_made_once() -> None:
    """The first who asks for a key makes it; the others get the same."""
    context = Context()
    first = context.shared("key", Thing)
    assert context.shared("key", Thing) is first
    assert context.shared("other", Thing) is not first


def test_what_could_not_be_made_is_tried_again() -> None:
    """A failure to make something is not remembered."""
    context = Context()
    with pytest.raises(ZeroDivisionError):
        context.shared("key", lambda: 1 / 0)
    assert context.shared("key", lambda: 5) == 5


def test_closing_closes_what_can_be_closed() -> None:
    """Things without `close` are let go; nothing is closed twice."""
    context = Context()
    thing = context.shared("thing", Thing)
    context.shared("number", lambda: 5)
    context.close()
    context.close()
    assert thing.closed == 1


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_loaded(kind: str) -> None:
    """The table names classes that are collectors, with their kind's type and documentation."""
    cls = collector_class(kind)
    assert issubclass(cls, Collector)
    assert cls.type == kind.partition("/")[0]
    assert issubclass(cls.Settings, CollectorSettings)
    assert cls.__doc__


def test_an_unknown_kind_is_a_key_error() -> None:
    """The configuration has checked the kind before."""
    with pytest.raises(KeyError):
        collector_class("network/none")


def test_a_collector_must_say_what_it_collects() -> None:
    """The base class measures nothing, and tags by the collector's kind."""
    collector = Collector(CollectorSpec("moon", "m", CollectorSettings(tags={"a": "b"})), Context())
    assert collector.tags == {"a": "b", "source": "moon"}
    with pytest.raises(NotImplementedError):
        collector.collect()
