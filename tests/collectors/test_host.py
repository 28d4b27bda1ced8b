"""The host's own figures, against /proc as the test reads it; disks that hang; made-up /sys of a Pi."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest
from gevent import socket

from oculus.collectors.base import CollectError, Context
from oculus.collectors.host import PARTS, ChoiceSettings, Host, HostSettings
from oculus.collectors.host_parts import Choice, Growth, Reading, distinct, of_sensors
from oculus.config import loads
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import unit_of
from oculus.vocabulary import vocabulary
from tests.support.mounts import run_beside_dead_disk


@contextmanager
def host(sys: Path | None = None, **settings: Any) -> Iterator[Host]:
    """Give a collector of this host."""
    more = {} if sys is None else {"sys": sys}
    collector = Host(CollectorSpec("host", "host", HostSettings(**settings)), Context(), **more)
    try:
        yield collector
    finally:
        collector.close()


def look(collector: Host) -> dict[str, float]:
    """Run once; return values by symbol."""
    samples = list(collector.collect())
    found = {sample.symbol: sample.value for sample in samples}
    assert len(found) == len(samples), "a symbol came twice"
    return found


def proc(name: str) -> dict[str, list[str]]:
    """Return the lines of a file of /proc, by their first word."""
    lines = (line.replace(":", " ").split() for line in Path("/proc", name).read_text().splitlines())
    return {words[0]: words[1:] for words in lines if words}


# -- against /proc ------------------------------------------------------------------------------------


def test_memory_load_uptime_and_processes_are_those_of_proc() -> None:
    """What does not need two looks is there after the first."""
    with host(parts=("memory", "load", "uptime", "processes")) as collector:
        found = look(collector)
        memory = {name: int(words[0]) * 1024 for name, words in proc("meminfo").items()}
    total = memory["MemTotal"]
    assert found["host.mem.available_bytes"] == pytest.approx(memory["MemAvailable"], abs=0.1 * total)
    assert found["host.mem.used_bytes"] + found["host.mem.available_bytes"] == total
    assert found["host.mem.used_percent"] == pytest.approx(
        100 * found["host.mem.used_bytes"] / total, abs=0.01
    )
    loads = [float(word) for word in Path("/proc/loadavg").read_text().split()[:3]]
    assert [found[f"host.load.{span}"] for span in ("1m", "5m", "15m")] == pytest.approx(loads, abs=0.6)
    assert found["host.uptime"] == pytest.approx(float(Path("/proc/uptime").read_text().split()[0]), abs=5)
    count = sum(entry.name.isdecimal() for entry in Path("/proc").iterdir())
    assert found["host.processes.count"] == pytest.approx(count, abs=20)
    assert found["host.processes.running"] >= 1


def test_the_processors_share_is_that_of_proc_stat() -> None:
    """Busy is neither idle nor waiting for a disk; a guest's time is not counted twice."""

    def times() -> list[int]:
        return [int(word) for word in proc("stat")["cpu"][:8]]

    with host(parts=("cpu",), cores=True) as collector:
        before = times()
        assert look(collector) == {}
        assert collector.rest == 1.0
        gevent.sleep(0.5)
        found = look(collector)
        spent = [now - then for then, now in zip(before, times(), strict=True)]
    busy = 100 * (1 - (spent[3] + spent[4]) / sum(spent))
    assert found["host.cpu.percent"] == pytest.approx(busy, abs=10)
    cores = os.sysconf("SC_NPROCESSORS_ONLN")
    each = [found[f"host.cpu.core{core}.percent"] for core in range(cores)]
    assert sum(each) / cores == pytest.approx(found["host.cpu.percent"], abs=10)
    assert {"host.cpu.iowait_percent", "host.cpu.steal_percent"} < found.keys()
    assert all(0 <= value <= 100 for value in found.values())


def test_the_root_disk_is_as_full_as_df_says() -> None:
    """`/` is there on every host, on whatever it is."""
    with host(parts=("disk",)) as collector:
        found = look(collector)
        shown = subprocess.run(["df", "-P", "/"], capture_output=True, text=True, check=True).stdout
    words = shown.splitlines()[-1].split()
    used, available = int(words[2]), int(words[3])
    assert found["host.disk.root.used_percent"] == pytest.approx(100 * used / (used + available), abs=1)
    assert found["host.disk.root.free_bytes"] == pytest.approx(available * 1024, rel=0.02)


def test_what_goes_through_an_interface_is_measured() -> None:
    """The rate holds what was sent meanwhile; loopback is only measured when it is asked for."""
    with host(parts=("network",)) as usual:
        look(usual)
        assert not any(symbol.startswith("host.net.lo.") for symbol in look(usual))
    with host(parts=("network",), interfaces=ChoiceSettings(include=("lo",))) as collector:
        started = time.monotonic()
        look(collector)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(bytes(10_000), ("127.0.0.1", 9))
        gevent.sleep(0.1)
        found = look(collector)
        seconds = time.monotonic() - started
    assert set(found) == {f"host.net.lo.{key}" for key in ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors")}
    assert found["host.net.lo.rx_bytes"] >= 1_000_000 / seconds
    assert found["host.net.lo.tx_bytes"] >= 1_000_000 / seconds


def test_disk_rates_are_those_of_what_is_there() -> None:
    """Each device that is hardware has five figures."""
    with host(parts=("disk_io",)) as collector:
        look(collector)
        gevent.sleep(0.1)
        found = look(collector)
    hardware = [entry for entry in Path("/sys/block").iterdir() if (entry / "device").exists()]
    assert len(found) == 5 * len(hardware)
    assert all(value >= 0 for value in found.values())


def test_every_figure_has_a_unit() -> None:
    """Percent, bytes and seconds are shown as such; counts and loads have none."""
    with host() as collector:
        list(collector.collect())
        gevent.sleep(0.1)
        samples = list(collector.collect())
    bare = {sample.symbol for sample in samples if not unit_of(sample.symbol, sample.tags)}
    assert bare <= {f"host.load.{span}" for span in ("1m", "5m", "15m")} | {
        f"host.processes.{key}" for key in ("count", "running", "blocked")
    } | {"host.pi.undervoltage", "host.pi.throttled"}


# -- counters -----------------------------------------------------------------------------------------


def test_a_counter_that_goes_back_gives_no_rate() -> None:
    """Neither a reset nor a wrap of 32 bits is a negative number, and the next rate is right again."""
    growth = Growth()
    assert list(growth.take({"eth0": (2**32 - 100, 5)}, 10.0)) == []
    assert list(growth.take({"eth0": (400, 6)}, 11.0)) == []
    assert list(growth.take({"eth0": (2400, 6)}, 13.0)) == [("eth0", [1000.0, 0.0])]


def test_what_appears_has_a_rate_after_two_looks() -> None:
    """An interface that was away begins anew."""
    growth = Growth()
    list(growth.take({"a": (0,)}, 0.0))
    assert list(growth.take({"a": (1,), "b": (9,)}, 1.0)) == [("a", [1.0])]
    assert list(growth.take({"b": (10,)}, 2.0)) == [("b", [1.0])]
    assert list(growth.take({"a": (5,), "b": (10,)}, 2.0)) == []


# -- names and choices --------------------------------------------------------------------------------


def test_names_become_parts_of_symbols() -> None:
    """`/` is root, and no two names become one."""
    assert distinct(["/", "/mnt/data", "/mnt_data", "/root", "eth0.100", "é"]) == [
        "root", "mnt_data", "mnt_data_2", "root_2", "eth0_100", "_"
    ]  # fmt: skip


def test_globs_choose() -> None:
    """`include` takes the place of the usual choice, `exclude` goes before both."""
    assert Choice().takes("x", usual=True)
    assert not Choice().takes("x", usual=False)
    assert Choice(include=("/mnt/*",)).takes("/mnt/a", usual=False)
    assert not Choice(include=("/mnt/*",)).takes("/", usual=True)
    assert not Choice(include=("*",), exclude=("lo",)).takes("lo", usual=True)


class Sensor(NamedTuple):
    """What psutil tells of a sensor, as far as it is used."""

    label: str
    current: float


def test_sensors_are_named_by_chip_and_label() -> None:
    """Those without a label are told apart by number."""
    sensors = {
        "coretemp": [Sensor("Package id 0", 61.0), Sensor("Core 0", 60.5)],
        "nvme": [Sensor("", 40.0), Sensor("", 41.0)],
        "cpu_thermal": [Sensor("", 48.312)],
    }
    found = of_sensors(sensors)
    assert {reading.symbol: reading.value for reading in found} == {
        "temp.coretemp_package_id_0": 61.0, "temp.coretemp_core_0": 60.5,
        "temp.nvme": 40.0, "temp.nvme_2": 41.0, "temp.cpu_thermal": 48.312,
    }  # fmt: skip
    assert found[0].tags == {"sensor": "coretemp Package id 0", "unit": "°C"}
    assert isinstance(found[0], Reading)


# -- a Pi ---------------------------------------------------------------------------------------------


def pi(folder: Path, throttled: str | None, alarm: str | None) -> Path:
    """Write what the kernel of a Raspberry Pi tells in /sys."""
    if throttled is not None:
        firmware = folder / "devices/platform/soc/soc:firmware"
        firmware.mkdir(parents=True)
        (firmware / "get_throttled").write_text(throttled)
    if alarm is not None:
        chip = folder / "class/hwmon/hwmon1"
        chip.mkdir(parents=True)
        (chip / "name").write_text("rpi_volt\n")
        (chip / "in0_lcrit_alarm").write_text(alarm)
    return folder


@pytest.mark.parametrize(
    ("throttled", "alarm", "expected"),
    [
        ("0\n", "0\n", {"undervoltage": 0.0, "throttled": 0.0}),
        ("50005\n", "1\n", {"undervoltage": 1.0, "throttled": 1.0}),
        ("50000\n", None, {"undervoltage": 0.0, "throttled": 0.0}),
        ("1\n", None, {"undervoltage": 1.0, "throttled": 0.0}),
        ("8\n", None, {"undervoltage": 0.0, "throttled": 1.0}),
        (None, "1\n", {"undervoltage": 1.0}),
    ],
)
def test_a_pi_tells_of_low_voltage_and_throttling(
    tmp_path: Path, throttled: str | None, alarm: str | None, expected: dict[str, float]
) -> None:
    """What is so now counts, not what was since the start."""
    with host(pi(tmp_path, throttled, alarm), parts=("pi",)) as collector:
        assert look(collector) == {f"host.pi.{key}": value for key, value in expected.items()}


def test_what_a_host_does_not_have_is_told_only_where_it_was_asked_for(tmp_path: Path) -> None:
    """No error for no sensors by default, one where the part was named."""
    with host(tmp_path) as collector:
        assert "host.load.1m" in look(collector)
    with host(tmp_path, parts=("pi", "load")) as collector:
        run = collector.collect()
        assert next(run).symbol == "host.load.1m"
        with pytest.raises(CollectError, match=r"^pi: this host is no Raspberry Pi$"):
            list(run)


# -- what hangs ---------------------------------------------------------------------------------------

_MOUNTS = """
from oculus.collectors.base import CollectError, Context
from oculus.collectors.host import ChoiceSettings, Host, HostSettings
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec

mount("tmpfs", "memory", "tmpfs")
os.makedirs(f"{folder}/plain")
mount(f"{folder}/plain", "bind", "none", 0x1000)  # MS_BIND

def look(host):
    symbols, fault, started = [], "", time.monotonic()
    try:
        for sample in host.collect():
            symbols.append(sample.symbol)
    except CollectError as error:
        fault = str(error)
    return symbols, fault.replace(folder, "…"), time.monotonic() - started

def make(**settings):
    return Host(CollectorSpec("host", "host", HostSettings(timeout=Seconds(0.5), **settings)), Context())

host = make()
told = {"first": look(host), "second": look(host)}
chosen = make(parts=("disk",), disks=ChoiceSettings(include=(f"{folder}/memory", f"{folder}/bind")))
told["chosen"] = look(chosen)
told["lateness"] = watchdog.quantile(1.0)
revive(server)
told["third"] = look(host)
tell(told)
mount_dead("again")
look(host)
host.close()
sys.exit(0)  # with a thread that hangs
"""


@pytest.mark.alone
def test_a_disk_that_hangs_is_named_and_keeps_nothing_from_being_measured(tmp_path: Path) -> None:
    """It costs its time limit once, then no time; it is asked again once it has answered.

    Neither memory nor the second mount of a device is a disk, unless it is asked for; the process can end.
    """
    told = run_beside_dead_disk(_MOUNTS, tmp_path)
    symbols, fault, seconds = told["first"]
    assert fault == "disk …/dead: no answer within 0.5 s"
    assert 0.5 <= seconds < 5
    assert {"host.disk.root.used_percent", "host.load.1m", "host.uptime"} <= set(symbols)
    disks = {symbol.split(".")[2] for symbol in symbols if symbol.startswith("host.disk.")}
    assert not any(disk.endswith(("memory", "bind", "dead")) for disk in disks)
    symbols, fault, seconds = told["second"]
    assert fault == "disk …/dead: still does not answer"
    assert "host.cpu.percent" in symbols
    assert seconds < 0.4
    chosen = {symbol.split(".")[2] for symbol in told["chosen"][0]}
    assert {disk.rpartition("_")[2] for disk in chosen} == {"memory", "bind"}
    assert not told["chosen"][1]
    assert "does not answer" not in told["third"][1]
    assert "no answer" not in told["third"][1]
    assert told["lateness"] < 0.25


# -- configuration ------------------------------------------------------------------------------------


def mistake(text: str) -> str:
    """Return what is wrong with a collector."""
    with pytest.raises(ConfigError) as error:
        loads(f"collectors: [{{type: host, {text}}}]", "c.yaml", vocabulary())
    (found,) = error.value.mistakes
    return found.split(": ", 2)[-1]


def test_parts_are_chosen() -> None:
    """All by default; what is none is a mistake, and so is nothing."""
    settings = loads(
        "collectors: [{type: host}, {type: host, name: a, parts: [cpu]}]", "c.yaml", vocabulary()
    )
    assert [spec.id for spec in settings.collectors] == ["host/host", "host/a"]
    assert len(PARTS) == 11
    assert "one of: cpu, load" in mistake("parts: [gpu]")
    assert mistake("parts: []") == "is empty (leave it out for all parts)"
    assert mistake("disks: {include: ['']}") == "holds an empty name (a glob such as /mnt/* or eth*)"
