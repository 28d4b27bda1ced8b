"""What a Linux host tells of itself, part by part: readings out of /proc and /sys, none of which needs root.

Everything here runs in a native thread. A part remembers the counters of its last reading, and tells what
they grew by a second; where one went backwards (a reset, a wrap) there is no figure rather than a wrong one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from oculus.collectors.base import CollectError
from oculus.model import NO_TAGS, Tags, slug

# Disks, interfaces or sensors of one kind that are looked at: a host with more of them than this has not
# many disks but many containers.
MOST = 100

# File systems without a block device that hold somebody's files all the same.
_REMOTE = frozenset({"9p", "ceph", "cifs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "virtiofs"})
# File systems that are images, always as full as they were made.
_IMAGES = frozenset({"cramfs", "erofs", "iso9660", "romfs", "squashfs", "udf"})

# Interfaces that others stand behind, or nothing at all.
_INNER_INTERFACES = ("lo", "veth*", "docker*", "br-*", "virbr*", "vnet*", "cni*", "flannel*", "cali*", "lxc*",
                     "lxdbr*", "podman*", "dummy*", "ifb*")  # fmt: skip

# Where the firmware of a Raspberry Pi tells why it slows its processor down; the folder's name has changed.
_THROTTLED = "devices/platform/soc*/*firmware/get_throttled"
_UNDERVOLTAGE_NOW = 1 << 0
_THROTTLED_NOW = 1 << 1 | 1 << 2 | 1 << 3  # the frequency is capped, throttled, or too hot for the highest


class NotHere(CollectError):
    """Raised where this host has nothing of a kind; the text says so."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure of this moment. `symbol` follows `host.`."""

    symbol: str
    value: float
    tags: Tags = NO_TAGS


@dataclass(frozen=True, slots=True)
class Choice:
    """Globs of names. Those in `include`, if any, take the place of the usual choice."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, name: str, usual: bool) -> bool:
        """Tell whether something is wanted that is, or is not, so by default."""
        if any(fnmatchcase(name, glob) for glob in self.exclude):
            return False
        return any(fnmatchcase(name, glob) for glob in self.include) if self.include else usual


class Growth:
    """What counters grew by a second between two readings."""

    def __init__(self) -> None:
        self._at = 0.0
        self._before: dict[str, tuple[float, ...]] = {}

    def take(self, present: Mapping[str, tuple[float, ...]], at: float) -> Iterator[tuple[str, list[float]]]:
        """Take a reading, and yield the rates of what the last one had too and what did not go backwards.

        `at` is its time in seconds, monotonic.
        """
        before = self._before
        seconds = at - self._at
        self._at, self._before = at, dict(present)
        for name, counters in present.items():
            grown = [now - then for now, then in zip(counters, before.get(name, ()), strict=False)]
            if grown and min(grown) >= 0 and seconds > 0:
                yield name, [round(amount / seconds, 3) for amount in grown]


def distinct(names: Iterable[str]) -> list[str]:
    """Return parts of symbols for names, in their order; what is taken becomes `…_2`. `/` is `root`."""
    parts: dict[str, None] = {}
    counts: dict[str, int] = {}  # a thousand of one name take no longer than a thousand names
    for name in names:
        part = base = "root" if name == "/" else slug(name)
        while part in parts:
            counts[base] = counts.get(base, 1) + 1
            part = f"{base}_{counts[base]}"
        parts[part] = None
    return list(parts)


def percent(part: float, whole: float) -> float:
    """Return a share in percent, to two decimals."""
    return round(100.0 * part / whole, 2)


# -- processor and memory -------------------------------------------------------------------------------


class Cpu:
    """Shares of the processor's time since the last reading."""

    def __init__(self, cores: bool) -> None:
        self._cores = cores
        self._before: list[Any] = []

    def read(self) -> list[Reading]:
        """Return them; nothing at the first reading."""
        import psutil

        present = [psutil.cpu_times(), *(psutil.cpu_times(percpu=True) if self._cores else ())]
        before, self._before = self._before, present
        if len(before) != len(present):  # a core went, or came: which one, nobody tells
            return []
        found: list[Reading] = []
        for index, (then, now) in enumerate(zip(before, present, strict=True)):
            # Idle time and that of waiting may go back a little, as the kernel says.
            spent = {name: max(0.0, getattr(now, name) - getattr(then, name)) for name in now._fields}
            # A guest's time is counted as the user's too.
            whole = sum(spent.values()) - spent.get("guest", 0.0) - spent.get("guest_nice", 0.0)
            if whole <= 0:
                continue
            idle, waiting = spent["idle"], spent.get("iowait", 0.0)
            busy = percent(max(0.0, whole - idle - waiting), whole)
            if index:
                found.append(Reading(f"cpu.core{index - 1}.percent", busy))
                continue
            found.append(Reading("cpu.percent", busy))
            found.append(Reading("cpu.iowait_percent", percent(waiting, whole)))
            found.append(Reading("cpu.steal_percent", percent(spent.get("steal", 0.0), whole)))
        return found


def load() -> list[Reading]:
    """Return the load averages of one, five and fifteen minutes."""
    averages = zip(("1m", "5m", "15m"), os.getloadavg(), strict=True)
    return [Reading(f"load.{span}", round(value, 2)) for span, value in averages]


def memory() -> list[Reading]:
    """Return what programs use, and what they could still get without swapping."""
    import psutil

    found = psutil.virtual_memory()
    used = found.total - found.available
    return [
        Reading("mem.used_percent", percent(used, found.total)),
        Reading("mem.used_bytes", used),
        Reading("mem.available_bytes", found.available),
    ]


def swap() -> list[Reading]:
    """Return how full it is."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(fields[name].split()[0]) * 1024 for name in ("SwapTotal", "SwapFree"))
    if not total:
        raise NotHere("this host has no swap")
    return [
        Reading("swap.used_percent", percent(total - free, total)),
        Reading("swap.used_bytes", total - free),
    ]


def uptime() -> list[Reading]:
    """Return the seconds since the host was started, those asleep included."""
    return [Reading("uptime", round(time.clock_gettime(time.CLOCK_BOOTTIME), 2))]


def processes() -> list[Reading]:
    """Return how many there are, how many want the processor, and how many wait for a disk."""
    import psutil

    fields = dict(line.split(" ", 1) for line in Path("/proc/stat").read_text().splitlines())
    return [
        Reading("processes.count", len(psutil.pids())),
        Reading("processes.running", int(fields["procs_running"])),
        Reading("processes.blocked", int(fields["procs_blocked"])),
    ]


# -- disks ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system where it is mounted; `part` names it in symbols."""

    path: str
    part: str
    device: str


def mounts(choice: Choice) -> list[Mount]:
    """Return the file systems to measure: of each device the one with the shortest path, and always `/`."""
    import psutil

    blocks = set(psutil.disk_partitions(all=False))
    found = {entry.mountpoint: entry for entry in psutil.disk_partitions(all=True)}  # the last lies on top
    devices: set[str] = set()
    chosen = []
    for path in sorted(found, key=lambda path: (path != "/", path.count("/"), len(path), path)):
        entry = found[path]
        real = path == "/" or _is_real(entry.device, entry.fstype, path, block=entry in blocks)
        if choice.takes(path, real and entry.device not in devices):
            devices.add(entry.device)
            chosen.append(path)
    del chosen[MOST:]
    return [
        Mount(path, part, found[path].device) for path, part in zip(chosen, distinct(chosen), strict=True)
    ]


def _is_real(device: str, kind: str, path: str, block: bool) -> bool:
    if kind in _REMOTE or kind == "fuseblk":
        return True
    if kind.startswith("fuse."):  # sshfs, rclone and their like; a desktop's portals hold no files
        return ":" in device
    if not block or kind in _IMAGES:
        return False
    # Containers have single files of the host mounted over their own. This does not wait for a disk: what
    # something is mounted on is in memory.
    return Path(path).is_dir()


def disk(mount: Mount) -> list[Reading]:
    """Return how full a file system is, as df counts: of what is not kept for root. This may hang."""
    tags = Tags({"mount": mount.path, "device": mount.device})
    found = os.statvfs(mount.path)
    used = found.f_blocks - found.f_bfree
    readings = []
    if used + found.f_bavail > 0:
        readings.append(("used_percent", percent(used, used + found.f_bavail)))
        readings.append(("free_bytes", found.f_bavail * found.f_frsize))
    if found.f_files > 0:  # some file systems make inodes as they go
        readings.append(("inodes_used_percent", percent(found.f_files - found.f_ffree, found.f_files)))
    return [Reading(f"disk.{mount.part}.{name}", value, tags) for name, value in readings]


class DiskIo:
    """What disks read and write."""

    def __init__(self, choice: Choice, sys: Path) -> None:
        self._choice = choice
        self._blocks = sys / "block"
        self._growth = Growth()

    def read(self) -> list[Reading]:
        """Return the rates since the last reading; of hardware, not of what is made of it."""
        import psutil

        at = time.monotonic()
        counters = {
            name: (disk.read_bytes, disk.write_bytes, disk.read_count, disk.write_count, disk.busy_time)
            for name, disk in psutil.disk_io_counters(perdisk=True, nowrap=False).items()
            if self._choice.takes(name, (self._blocks / name.replace("/", "!") / "device").exists())
        }
        parts = _parts(counters)
        found = []
        rates = self._growth.take({name: counters[name] for name in parts}, at)
        for name, (read, written, reads, writes, busy) in rates:
            tags = Tags({"device": name})
            values = {
                "read_bytes": read, "write_bytes": written, "reads": reads, "writes": writes,
                "busy_percent": min(100.0, round(busy / 10, 2)),  # milliseconds of a second
            }  # fmt: skip
            found += [Reading(f"io.{parts[name]}.{key}", value, tags) for key, value in values.items()]
        return found


# -- network, sensors -----------------------------------------------------------------------------------


class Network:
    """What goes through the interfaces."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._growth = Growth()

    def read(self) -> list[Reading]:
        """Return the rates since the last reading."""
        import psutil

        at = time.monotonic()
        counters = {
            name: (found.bytes_recv, found.bytes_sent, found.errin, found.errout)
            for name, found in psutil.net_io_counters(pernic=True, nowrap=False).items()
            if self._choice.takes(name, not any(fnmatchcase(name, glob) for glob in _INNER_INTERFACES))
        }
        parts = _parts(counters)
        keys = ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors")
        found = []
        for name, rates in self._growth.take({name: counters[name] for name in parts}, at):
            tags = Tags({"interface": name})
            pairs = zip(keys, rates, strict=True)
            found += [Reading(f"net.{parts[name]}.{key}", value, tags) for key, value in pairs]
        return found


def temperatures() -> list[Reading]:
    """Return what the sensors of hwmon tell, or else those of the thermal zones."""
    import psutil

    return of_sensors(psutil.sensors_temperatures())


def of_sensors(found: Mapping[str, Sequence[Any]]) -> list[Reading]:
    """Return the temperatures of sensors, which are listed by chip."""
    named = [
        (f"{chip} {sensor.label}".strip(), sensor.current)
        for chip, sensors in found.items()
        for sensor in sensors
    ][:MOST]
    if not named:
        raise NotHere("this host tells of no temperature")
    parts = distinct(name for name, _ in named)
    return [
        Reading(f"temp.{part}", round(value, 3), Tags({"sensor": name, "unit": "°C"}))
        for part, (name, value) in zip(parts, named, strict=True)
    ]


class Pi:
    """Whether a Raspberry Pi gets too little voltage, and whether it slows down for that or for heat."""

    def __init__(self, sys: Path) -> None:
        self._sys = sys
        self._files: tuple[Path | None, Path | None] | None = None

    def read(self) -> list[Reading]:
        """Return what is so now: the firmware's own word, and the kernel's alarm."""
        if self._files is None:
            self._files = self._find()
        firmware, alarm = self._files
        found: dict[str, bool] = {}
        if alarm is not None:
            found["undervoltage"] = alarm.read_text().strip() == "1"
        if firmware is not None:
            bits = int(firmware.read_text(), 16)
            found["undervoltage"] = found.get("undervoltage", False) or bool(bits & _UNDERVOLTAGE_NOW)
            found["throttled"] = bool(bits & _THROTTLED_NOW)
        if not found:
            raise NotHere("this host is no Raspberry Pi")
        return [Reading(f"pi.{name}", float(value)) for name, value in found.items()]

    def _find(self) -> tuple[Path | None, Path | None]:
        alarms = (
            chip / "in0_lcrit_alarm"
            for chip in sorted(self._sys.glob("class/hwmon/hwmon*"))
            if (chip / "name").read_text().strip() == "rpi_volt"
        )
        return next(iter(sorted(self._sys.glob(_THROTTLED))), None), next(alarms, None)


def _parts(counters: Mapping[str, object]) -> dict[str, str]:
    """Return the first of some names, with their parts of symbols."""
    names = sorted(counters)[:MOST]
    return dict(zip(names, distinct(names), strict=True))
