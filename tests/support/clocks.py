"""Clocks that tests move by hand."""

from __future__ import annotations

import gevent

from oculus.clock import SECOND
from oculus.model import Micros


class Clock:
    """Stands for `time.monotonic` and `gevent.sleep`: time passes only when someone sleeps, at once."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.late = 0.0  # seconds by which every sleep is too long

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass, and other greenlets run."""
        self.now += seconds + self.late
        gevent.idle()


class WallClock:
    """A wall clock beside a monotonic one: `pass_by` moves both, `set_by` the wall clock alone."""

    def __init__(self, wall: Micros, monotonic: float = 1000.0) -> None:
        self.wall = wall
        self.monotonic = monotonic

    def pass_by(self, seconds: float) -> None:
        """Let true time pass."""
        self.monotonic += seconds
        self.set_by(seconds)

    def set_by(self, seconds: float) -> None:
        """Set the wall clock, as NTP or a person does."""
        self.wall = Micros(self.wall + int(seconds * SECOND))
