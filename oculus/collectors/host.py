"""`type: host`: the machine that Oculus runs on, `host.*`: processor, memory, disks, network, temperatures.

In a container these are the figures that its /proc and /sys tell: most of them are those of the whole host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from oculus.collectors import host_parts
from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.host_parts import Choice, NotHere, Reading
from oculus.collectors.steps import MOST_STUCK, Steps
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings, CollectorSpec
from oculus.model import Sample

Part = Literal[
    "cpu", "load", "memory", "swap", "disk", "disk_io", "network", "temperature", "pi", "uptime", "processes"
]
PARTS: tuple[Part, ...] = get_args(Part)

# Parts that are told by two looks. After the first one the second follows soon: nobody wants to wait an
# interval of an hour for it.
_BY_GROWTH: frozenset[Part] = frozenset({"cpu", "disk_io", "network"})
_SECOND_LOOK = 1.0  # seconds

_SYS = Path("/sys")

# Failures that a message tells in full.
_TOLD = 3


def _check_globs(globs: tuple[str, ...]) -> None:
    if not all(globs):
        raise ValueError("holds an empty name (a glob such as /mnt/* or eth*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSettings:
    """Which of several things of a kind are measured."""

    include: tuple[str, ...] = setting((), help="globs of those to measure, and no other", check=_check_globs)
    exclude: tuple[str, ...] = setting((), help="globs of those to leave out", check=_check_globs)

    @property
    def choice(self) -> Choice:
        """The same for the measuring."""
        return Choice(self.include, self.exclude)


def _check_parts(parts: tuple[Part, ...]) -> None:
    if not parts:
        raise ValueError("is empty (leave it out for all parts)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings(CollectorSettings):
    """Settings of `type: host`."""

    interval: Seconds = setting(
        Seconds(10.0), help="time from start to start", check=between(SHORTEST, LONGEST, "s")
    )
    timeout: Seconds = setting(
        Seconds(2.0), help="longest time of one disk or sensor", check=between(SHORTEST, 60, "s")
    )
    parts: tuple[Part, ...] | None = setting(
        None, help="what is measured; all that this host has when left out", check=_check_parts
    )
    cores: bool = setting(False, help="also measure each core of the processor")
    disks: ChoiceSettings = setting(ChoiceSettings(), help="file systems, by where they are mounted")
    devices: ChoiceSettings = setting(ChoiceSettings(), help="disks whose reading and writing is measured")
    interfaces: ChoiceSettings = setting(ChoiceSettings(), help="network interfaces")

    def default_name(self) -> str:
        """There is one host, so the name is not asked for."""
        return "host"

    def longest_run(self) -> float:
        """As many steps as may hang are waited for once; a second for what does not."""
        return self.timeout * (MOST_STUCK + 1) + 1.0


class Host(Collector):
    """Measures part after part in a native thread; one that hangs or fails keeps no other from it."""

    type = "host"
    Settings = HostSettings

    def __init__(self, spec: CollectorSpec, context: Context, sys: Path = _SYS) -> None:
        """`sys` is where the kernel tells of devices."""
        super().__init__(spec, context)
        assert isinstance(spec.settings, HostSettings)
        settings = spec.settings
        self._named = frozenset(settings.parts or ())
        self._parts = frozenset(settings.parts or PARTS)
        self._disks = settings.disks.choice
        reads: dict[Part, Callable[[], list[Reading]]] = {
            "cpu": host_parts.Cpu(settings.cores).read,
            "load": host_parts.load,
            "memory": host_parts.memory,
            "swap": host_parts.swap,
            "disk_io": host_parts.DiskIo(settings.devices.choice, sys).read,
            "network": host_parts.Network(settings.interfaces.choice).read,
            "temperature": host_parts.temperatures,
            "pi": host_parts.Pi(sys).read,
            "uptime": host_parts.uptime,
            "processes": host_parts.processes,
        }
        self._reads = [
            (part, self._forgiving(part, read)) for part, read in reads.items() if part in self._parts
        ]
        self._steps = Steps(settings.timeout)
        self._looked = False

    def _forgiving(self, part: Part, read: Callable[[], list[Reading]]) -> Callable[[], list[Reading]]:
        """Return a reading of what this host may not have, which is a failure where it was asked for."""

        def forgiving() -> list[Reading]:
            try:
                return read()
            except NotHere:
                if part in self._named:
                    raise
                return []

        return forgiving

    def collect(self) -> Iterator[Sample]:
        """Measure everything, yield what there is, and then tell what failed."""
        found, faults = self._steps.run(self._reads)
        if "disk" in self._parts:
            listed, unlisted = self._steps.run([("disks", lambda: host_parts.mounts(self._disks))])
            mounts = listed.get("disks", [])
            disks, unread = self._steps.run(
                [(f"disk {mount.path}", lambda mount=mount: host_parts.disk(mount)) for mount in mounts]  # type: ignore[misc]
            )
            found |= disks
            faults |= unlisted | unread
        for readings in found.values():
            for reading in readings:
                yield Sample(f"host.{reading.symbol}", reading.value, None, reading.tags)
        if not self._looked and self._parts & _BY_GROWTH:
            self.rest = min(_SECOND_LOOK, self.spec.settings.interval)
        self._looked = True
        if faults:
            told = [f"{name}: {why}" for name, why in faults.items()]
            more = f" (and {len(told) - _TOLD} more)" if len(told) > _TOLD else ""
            raise CollectError("; ".join(told[:_TOLD]) + more)

    def close(self) -> None:
        """End the threads."""
        self._steps.close()
