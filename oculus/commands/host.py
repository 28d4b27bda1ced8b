"""What `oculus doctor` looks at on the host itself: clock, memory, files, disk, and the program's parts."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import shutil
import statistics
import struct
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from oculus import __version__
from oculus.commands.findings import Needs, Report, fail, ok, warn
from oculus.commands.output import size_text
from oculus.storage.database import LOGS
from oculus.zones import zone

# The clock of a host that has just booted without a battery shows 1970, or the day its system was made.
_WRITTEN = 2026  # the year in which this was written

_AHEAD = 60.0  # seconds that two clocks may differ

# An idle daemon takes some 90 MB beside DuckDB's limit, and other programs need room too.
_DAEMON = 90 * 10**6  # bytes

# Files that the daemon has open whatever it does: the database, its logs, pipes, the server's sockets.
_OWN_FILES = 64
_FILES_EACH = 2  # of a collector that runs: its connection, and one that is just being closed

_LITTLE_SPACE, _NO_SPACE = 500 * 10**6, 20 * 10**6  # bytes free on the disk
_SLOW_SYNC = 0.05  # seconds that a commit may wait for the disk
_SYNCS = 10
_FULL = (errno.ENOSPC, errno.EDQUOT)

_NETWORK_DISKS = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs")
_MEMORY_DISKS = ("tmpfs", "ramfs")

_PACKAGES = ("gevent", "duckdb", "bottle", "jinja2", "requests", "pyyaml", "loguru")


def program(needs: Needs) -> Report:
    """Yield the versions of program, Python, system and packages."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield fail(f"the package {name} is not installed", "./build.sh run installs what is needed")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} on {platform.machine()}"
    yield ok(f"Oculus {__version__}, {python}, {system}, {', '.join(versions)}")
    if sys.maxsize < 2**32:
        yield fail(
            "this Python is a 32-bit one", "DuckDB is published for 64-bit ones: install a 64-bit system"
        )


def clock(needs: Needs) -> Report:
    """Yield whether the wall clock can be believed, by everything but the network."""
    present = time.time()
    shown = datetime.fromtimestamp(present, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if datetime.fromtimestamp(present, UTC).year < _WRITTEN:
        yield fail(f"the clock says {shown}, which is past", "set it, or wait for NTP: timedatectl")
        return
    written = max((_mtime(needs.database + suffix) for suffix in ("", *LOGS)), default=0.0)
    if written > present + _AHEAD:
        days = (written - present) / 86_400
        told = f"the clock says {shown}, and the database was written {days:.1f} days after that"
        yield fail(told, "one of the two was wrong: look at the clock with timedatectl")
        return
    synchronized, error = _kernel_clock()
    if synchronized:
        yield ok(f"{shown}, kept by NTP to {error * 1000:.0f} ms")
    elif synchronized is None:
        yield ok(f"{shown}; whether NTP keeps it cannot be seen here")
    else:
        yield warn(f"{shown}, and nothing keeps it right", "timedatectl set-ntp true, or install chrony")
    yield from _battery(present)


def _battery(present: float) -> Report:
    try:
        kept = float(Path("/sys/class/rtc/rtc0/since_epoch").read_text())
    except (OSError, ValueError):
        return  # a Pi and most virtual machines have none; NTP sets the clock at each start
    if abs(kept - present) > _AHEAD:
        told = f"the clock with the battery is {kept - present:+,.0f} s off: the next start begins with that"
        yield warn(told, "hwclock --systohc")


def _kernel_clock() -> tuple[bool | None, float]:
    """Return whether the kernel counts its clock as synchronized, and its own estimate of the error in s."""
    buffer = ctypes.create_string_buffer(512)  # struct timex, all zero: look only
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None, 0.0
    if state < 0 or struct.calcsize("l") != 8:
        return None, 0.0
    _, _, _, _, error, status = struct.unpack_from("@illlli", buffer.raw)
    return not status & 0x40, error / 1e6  # STA_UNSYNC


def time_zones(needs: Needs) -> Report:
    """Yield whether local times can be computed."""
    try:
        zone("America/New_York")
    except (KeyError, ValueError, OSError):
        told = "there is no time zone data: trading hours and local windows cannot be computed"
        yield fail(told, "install tzdata")
        return
    yield ok(f"the data is there; this host is in {time.strftime('%Z')} (UTC{time.strftime('%z')})")


def memory(needs: Needs) -> Report:
    """Yield whether there is room for the daemon and DuckDB."""
    figures = {}
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, rest = line.partition(":")
            figures[name] = int(rest.split()[0]) * 1024
    if "MemAvailable" not in figures:
        yield ok("how much there is cannot be seen here")
        return
    free, bound = figures["MemAvailable"], ""
    limit = _group_limit()
    if limit is not None and limit < free:
        free, bound = limit, ", the limit of this control group"
    told = f"{size_text(free)} of {size_text(figures.get('MemTotal', 0))} can be used{bound}"
    wanted = _DAEMON + needs.memory_limit
    if free < wanted:
        yield warn(f"{told}; the daemon takes up to {size_text(wanted)}", "lower database.memory_limit")
    else:
        yield ok(told)


def _group_limit() -> int | None:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        group = next(line.partition("::")[2] for line in lines if line.startswith("0::"))
        return int(Path(f"/sys/fs/cgroup{group}/memory.max").read_text())
    return None


def open_files(needs: Needs) -> Report:
    """Yield whether all collectors can be connected at once."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # the daemon takes all that it may have
    if limit == resource.RLIM_INFINITY:
        yield ok("as many as are wanted")
        return
    wanted = _OWN_FILES + _FILES_EACH * needs.collectors
    told = f"{limit} may be open at once"
    if limit < wanted:
        advice = f"ulimit -n {max(4096, wanted)} as root, or LimitNOFILE= in the systemd unit"
        yield fail(f"{told}, and {needs.collectors} collectors may need {wanted}", advice)
    else:
        room = (limit - _OWN_FILES) // _FILES_EACH
        yield ok(f"{told}, enough for {room:,} collectors that run at once")


def disk(needs: Needs) -> Report:
    """Yield space, speed and kind of the disk that the database is on."""
    folder = Path(os.path.realpath(needs.database)).parent
    if not folder.is_dir():
        yield fail(f"there is no folder {folder}", "make it, or name another file with --db or database.path")
        return
    kind, device = _mount(folder)
    free = shutil.disk_usage(folder).free
    told = f"{folder} is on {kind or 'an unknown file system'}{f' of {device}' if device else ''}"
    told += f", {size_text(free)} free"
    if free < _NO_SPACE:
        yield fail(f"{told}: too little to store samples", "make room, or set database.max_size")
    elif kind in _MEMORY_DISKS:
        yield warn(
            f"{told}: it is in memory, a restart of the host empties it", "set database.path to a disk"
        )
    elif kind in _NETWORK_DISKS:
        yield warn(f"{told}: a network's disk may not keep locks and writes in order", "use a local disk")
    elif free < _LITTLE_SPACE:
        yield warn(f"{told}: little", "set database.max_size, or a shorter database.retention")
    elif "mmcblk" in device:
        yield warn(
            f"{told}: a memory card wears out by writing", "a longer database.flush, such as 10s, spares it"
        )
    else:
        yield ok(told)
    yield from _speed(folder)


def _speed(folder: Path) -> Report:
    """Measure how long a small write takes to be on the disk, as every commit waits for that."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            times = []
            for _ in range(_SYNCS):
                started = time.perf_counter()
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - started)
    except OSError as error:
        told = f"{folder} cannot be written to: {(error.strerror or str(error)).lower()}"
        advice = "run as the daemon's user, or name another file with --db or database.path"
        if error.errno in _FULL:
            advice = f"make room: df -h {folder}; df -i {folder}"
        yield fail(told, advice)
        return
    median = statistics.median(times)
    told = f"a write is on the disk after {median * 1000:.1f} ms (up to {max(times) * 1000:.1f} ms)"
    if median > _SLOW_SYNC:
        yield warn(f"{told}, which every commit waits for", "set a longer database.flush, such as 5s")
    else:
        yield ok(told)


def _mount(folder: Path) -> tuple[str, str]:
    """Return file system and device that a folder is on; empty where that cannot be told."""
    best, found = -1, ("", "")
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode().decode("unicode_escape")
            inside = point == "/" or f"{folder}/".startswith(f"{point}/")
            if inside and len(point) >= best:
                best, words = len(point), right.split()
                found = words[0], words[1] if words[1].startswith("/dev/") else ""
    return found


def temporary(needs: Needs) -> Report:
    """Yield whether there is room for what is needed for a while."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        yield fail("there is no folder for temporary files that can be written to", "set TMPDIR")
        return
    unpacked = next((part for part in sys.path if part.endswith("site-packages") and ".shiv" in part), "")
    yield ok(f"{folder}, {size_text(shutil.disk_usage(folder).free)} free"
             + (f"; the program is unpacked in {unpacked}" if unpacked else ""))  # fmt: skip


def size_of(database: str) -> int:
    """Return the bytes of a database file and its logs."""
    total = 0
    for suffix in ("", *LOGS):
        with suppress(OSError):
            total += Path(database + suffix).stat().st_size
    return total


def _mtime(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
