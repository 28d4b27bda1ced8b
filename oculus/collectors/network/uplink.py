"""Whether this host itself has lost the network: canaries are asked when a probe has failed.

A probe that fails while most canaries fail too says nothing about its target. Its result is unknown then, and
one alert tells why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import gevent
from gevent.event import AsyncResult

from oculus.collectors import collector_class
from oculus.collectors.base import Context
from oculus.collectors.network.probe import Probe
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.model import slug

# Time that one canary has; a probe that failed waits for it before its result is known.
TIMEOUT = 2.0  # seconds

# Pause between two looks while the uplink is down: the end is seen this soon.
_RETURN = 5.0  # seconds

# Canaries that must fail at least: that of one alone would look like ours.
QUORUM = 2


def canary_kind(text: str) -> str:
    """Return the kind of probe that a canary is asked with: `https://…`, `host:port`, or a host to ping."""
    if "://" in text:
        return "network/http"
    ported = text.startswith("[") or text.count(":") == 1
    return "network/tcp" if ported else "network/ping"


def check_canary(text: str) -> None:
    """Raise ValueError unless `text` is a target of the probe that it would be asked with."""
    settings = collector_class(canary_kind(text)).Settings
    check = next(field.metadata["check"] for field in fields(settings) if field.name == "target")
    check(text)
    settings(target=text)  # type: ignore[call-arg]


def canary(text: str, context: Context) -> Probe:
    """Return the probe of a canary, which was checked."""
    kind = canary_kind(text)
    make = collector_class(kind)
    settings = make.Settings(target=text, timeout=Seconds(TIMEOUT))  # type: ignore[call-arg]
    probe = make(CollectorSpec(kind, f"canary_{slug(text)}", settings), context)
    assert isinstance(probe, Probe)
    return probe


@dataclass(slots=True)
class _Look:
    began: float  # monotonic
    outcome: AsyncResult[bool]


class Uplink:
    """Asks canaries; `told(down, reasons)` is called when the uplink goes and when it returns."""

    def __init__(
        self,
        probes: Sequence[Probe],
        told: Callable[[bool, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._probes = probes
        self._told = told
        self._monotonic = monotonic
        self._sleep = sleep
        self._look: _Look | None = None
        self._last: _Look | None = None
        self._watcher: gevent.Greenlet[..., None] | None = None
        self._closed = False
        self.down = False

    def lost(self) -> bool:
        """Tell whether the uplink is down, by a look that begins now or later; waits for it.

        Who asks while one goes on that began before waits for the next: the probe may have failed since.
        """
        if self.down:  # its return is watched for
            return True
        return self._looked()

    def _looked(self) -> bool:
        asked = self._monotonic()
        while True:
            if self._look is None:
                self._look = _Look(self._monotonic(), AsyncResult())
                gevent.spawn(self._serve, self._look)
            look = self._look
            down = bool(look.outcome.get())
            if look.began >= asked or down:
                return down

    def resume(self) -> None:
        """Begin with the uplink down, as another one with other canaries has found and told."""
        self.down = True
        self._watcher = gevent.spawn(self._await_return)

    def close(self) -> None:
        """End what goes on; nothing is told any more."""
        self._closed = True
        if self._watcher is not None:
            self._watcher.kill(block=False)

    def _serve(self, look: _Look) -> None:
        try:
            down, reasons = self._ask()
        except Exception as error:  # a bug: those who wait must hear of it
            look.outcome.set_exception(error)
            return
        finally:
            self._look = None
        # First of all who waits: to tell it may take a while, where that goes over the network.
        look.outcome.set(down)
        if down != self.down and not self._closed:
            self.down = down
            if down:
                self._watcher = gevent.spawn(self._await_return)
            self._told(down, reasons)

    def _ask(self) -> tuple[bool, str]:
        """Ask all canaries at once; return whether most failed, and how."""
        asked = [gevent.spawn(probe.look) for probe in self._probes]
        gevent.joinall(asked)
        failed = [
            f"{probe.probe_settings.target}: {greenlet.value.error if greenlet.value else greenlet.exception}"
            for probe, greenlet in zip(self._probes, asked, strict=True)
            if greenlet.value is None or not greenlet.value.up
        ]
        return len(failed) >= QUORUM and 2 * len(failed) > len(asked), "; ".join(failed)

    def _await_return(self) -> None:
        while self.down:
            self._sleep(_RETURN)
            self._looked()
