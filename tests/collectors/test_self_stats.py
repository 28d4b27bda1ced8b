"""The daemon's own figures as series."""

from __future__ import annotations

from oculus.collectors.base import Context
from oculus.collectors.self_stats import SelfSettings, SelfStats
from oculus.config.settings import CollectorSpec
from oculus.model import Sample


def test_every_figure_becomes_a_series() -> None:
    """What the daemon counts is asked for at each run, and named `oculus.<figure>`."""
    looks = iter([{"queue.rows": 1.0}, {"queue.rows": 2.0, "series": 3.0}])
    collector = SelfStats(CollectorSpec("self", "oculus", SelfSettings()), Context(lambda: next(looks)))
    assert list(collector.collect()) == [Sample("oculus.queue.rows", 1.0)]
    assert list(collector.collect()) == [Sample("oculus.queue.rows", 2.0), Sample("oculus.series", 3.0)]
    assert collector.tags == {"source": "oculus"}


def test_no_name_is_asked_for() -> None:
    """There is one daemon."""
    assert SelfSettings().default_name() == "oculus"
