"""Programs: real plugins, and scripts that misbehave in every way that programs can."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess

from oculus.collectors.base import CollectError, Context
from oculus.collectors.exec import TURNS, Exec, ExecSettings
from oculus.collectors.process import MOST_OUTPUT
from oculus.config import loads
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Sample
from oculus.supervise import Watchdog
from oculus.vocabulary import vocabulary
from tests.support.mounts import run_beside_dead_disk
from tests.support.probes import open_files
from tests.support.process import printed
from tests.support.servers import free_port, wait_for

PLUGINS = Path("/usr/lib/nagios/plugins")
LIMIT = 30.0  # seconds: a run takes this long at most, or it hangs


def exec_(*command: str, context: Context | None = None, **settings: Any) -> Exec:
    """Return a collector named `x`."""
    settings = {key: Seconds(value) if key == "timeout" else value for key, value in settings.items()}
    spec = CollectorSpec("exec", "x", ExecSettings(command=command, **settings))
    return Exec(spec, context or Context())


def run(collector: Exec) -> tuple[dict[str, Sample], str]:
    """Run once; return samples by what follows `exec.x`, and the fault if there is one."""
    found: dict[str, Sample] = {}
    fault = ""
    with gevent.Timeout(LIMIT, TimeoutError("the run hangs")):
        try:
            for sample in collector.collect():
                part = sample.symbol.removeprefix("exec.x").removeprefix(".")
                assert part not in found, "a symbol came twice"
                found[part] = sample
        except CollectError as error:
            fault = str(error)
    return found, fault


def shell(script: str, **settings: Any) -> tuple[dict[str, Sample], str]:
    """Run a shell script once."""
    return run(exec_("sh", "-c", script, **settings))


def values(found: dict[str, Sample]) -> dict[str, float]:
    """Return values by what follows `exec.x`."""
    return {part: sample.value for part, sample in found.items()}


def why(found: dict[str, Sample]) -> dict[str, str]:
    """Return the tags of a status that is unknown, which is all that there is."""
    assert set(found) == {"status"}
    assert found["status"].value == 3.0
    return dict(found["status"].tags)


def number(script: str, **settings: Any) -> float:
    """Return the number that a script prints."""
    found, fault = shell(script, format="number", **settings)
    assert not fault
    return found[""].value


def children() -> set[int]:
    """Return the processes that this one started and nobody has waited for."""
    told = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(word) for word in told.split()}


def is_running(pid: int) -> bool:
    """Tell whether there is a process, other than one that has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No zombie and no open file is left by any run."""
    before, files = children(), open_files()
    yield
    wait_for(lambda: not children() - before, 5)
    wait_for(lambda: open_files() <= files + 2, 5)


# -- real plugins -------------------------------------------------------------------------------------


def plugin(name: str, *arguments: str, **settings: Any) -> tuple[dict[str, Sample], str]:
    """Run a plugin of Debian's monitoring-plugins-basic."""
    if not (PLUGINS / name).exists():
        if os.environ.get("OCULUS_REQUIRE_PLUGINS") == "1":
            pytest.fail("there are no monitoring plugins, and OCULUS_REQUIRE_PLUGINS asks for them")
        pytest.skip("monitoring-plugins-basic is not installed")
    return run(exec_(str(PLUGINS / name), *arguments, **settings))


def test_check_disk() -> None:
    """The value is in bytes and fits the file system; ranges are in its tags."""
    found, fault = plugin("check_disk", "-w", "1%", "-p", "/")
    assert not fault
    assert values(found)["status"] == 0.0
    assert not found["status"].tags
    disk = os.statvfs("/")
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    assert found["root"].value == pytest.approx(used, rel=0.05)
    assert found["root"].tags["unit"] == "B"
    assert float(found["root"].tags["warn"]) > used


def test_check_load() -> None:
    """Three values without unit, as in /proc; a threshold that is reached is a status and its reason."""
    found, fault = plugin("check_load", "-w", "9999,9999,9999", "-c", "99999,99999,99999")
    assert not fault
    assert values(found)["load1"] == pytest.approx(os.getloadavg()[0], abs=0.6)
    assert found["load5"].tags == {"warn": "9999", "crit": "99999"}
    found, fault = plugin("check_load", "-w", "0,0,0", "-c", "99999,99999,99999")
    assert found["status"].value in (0.0, 1.0)
    assert {"status", "load1", "load5", "load15"} == set(found)


@pytest.mark.parametrize(("status", "word"), [(0, "OK"), (1, "WARNING"), (2, "CRITICAL"), (3, "UNKNOWN")])
def test_check_dummy(status: int, word: str) -> None:
    """Each status, with the plugin's words unless all is well."""
    found, fault = plugin("check_dummy", str(status), "says so")
    assert not fault
    assert values(found) == {"status": float(status)}
    assert found["status"].tags == ({"output": f"{word}: says so"} if status else {})


def test_check_tcp(tcp_server: Any) -> None:
    """A time in seconds where something listens, and critical where nothing does."""
    found, fault = plugin("check_tcp", "-H", "127.0.0.1", "-p", str(tcp_server().port))
    assert (values(found)["status"], fault) == (0.0, "")
    assert 0 < found["time"].value < 5
    assert found["time"].tags["unit"] == "s"
    found, fault = plugin("check_tcp", "-H", "127.0.0.1", "-p", str(free_port()))
    assert (values(found), fault) == ({"status": 2.0}, "")
    assert "refused" in found["status"].tags["output"]


def test_a_plugin_that_tells_how_it_is_used() -> None:
    """Usage is no performance data, bars and all; the first line is the reason."""
    found, fault = plugin("check_disk")
    assert (values(found)["status"], fault) == (3.0, "")
    assert found["status"].tags["output"] == "check_disk: Could not parse arguments"


# -- how programs end ---------------------------------------------------------------------------------


def test_other_statuses_and_signals_are_unknown() -> None:
    """They are 3, with the reason and the first line of standard error, and no number counts."""
    found, fault = shell("echo 'fine | a=1'; echo; echo 'no such disk' >&2; exit 42")
    assert why(found) == {"output": "fine", "error": "exit status 42: no such disk"}
    assert not fault
    assert why(shell("echo 'a | b=1'; kill -9 $$")[0]) == {
        "output": "a", "error": "ended by signal 9 (SIGKILL)"
    }  # fmt: skip
    assert why(shell("kill -SEGV $$")[0]) == {"error": "ended by signal 11 (SIGSEGV)"}


def test_a_program_that_is_killed_from_outside_is_unknown() -> None:
    """Whoever ends it, the run ends with it."""
    running = gevent.spawn(shell, "exec sleep 60")
    (pid,) = wait_for(lambda: children() and [pid for pid in children() if _command(pid)[:1] == ["sleep"]])
    os.kill(pid, signal.SIGKILL)
    found, _ = running.get(timeout=10)
    assert why(found) == {"error": "ended by signal 9 (SIGKILL)"}


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def test_silence_on_standard_output_is_told_by_standard_error() -> None:
    """A plugin that only complains is heard."""
    found, fault = shell("echo 'cannot reach it' >&2; exit 2")
    assert (values(found), fault) == ({"status": 2.0}, "")
    assert found["status"].tags == {"error": "cannot reach it"}


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """It is asked first: what it wants to clean up is cleaned up."""
    script = f"""
        sleep 60 & echo $! > {tmp_path}/child
        trap 'touch {tmp_path}/asked; exit 0' TERM
        echo 'so far|a=1'
        wait
    """
    found, fault = shell(script, timeout=0.3)
    assert why(found) == {"output": "so far", "error": "not done after 0.3 s"}
    assert not fault
    assert (tmp_path / "asked").exists()
    wait_for(lambda: not is_running(int((tmp_path / "child").read_text())), 5)


def test_a_program_that_does_not_want_to_end_is_made_to(tmp_path: Path) -> None:
    """Ignoring the request helps a second, and its children no longer."""
    started = time.monotonic()
    script = f"""
        trap '' TERM
        sh -c 'echo $$ > {tmp_path}/child; while :; do sleep 1; done' &
        while :; do sleep 1; done
    """
    found, _ = shell(script, timeout=0.3)
    assert why(found) == {"error": "not done after 0.3 s"}
    assert time.monotonic() - started < 5
    wait_for(lambda: not is_running(int((tmp_path / "child").read_text())), 5)


def test_what_a_program_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A process that stays in the group and holds the output is ended; what it printed counts."""
    started = time.monotonic()
    found, fault = shell(f"sleep 60 & echo $! > {tmp_path}/child; echo 'OK | a=1'")
    assert (values(found), fault) == ({"status": 0.0, "a": 1.0}, "")
    assert time.monotonic() - started < 5
    wait_for(lambda: not is_running(int((tmp_path / "child").read_text())), 5)


def test_a_daemon_that_leaves_the_group_stays(tmp_path: Path) -> None:
    """It holds the output for ever, and the run ends all the same."""
    started = time.monotonic()
    file = tmp_path / "child"
    found, fault = shell(
        f"setsid sh -c 'echo $$ > {file}; exec sleep 60' & while ! [ -s {file} ]; do :; done; echo OK"
    )
    assert (values(found), fault) == ({"status": 0.0}, "")
    assert time.monotonic() - started < 5
    pid = int(file.read_text())
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


def test_output_that_comes_a_little_late_counts() -> None:
    """A pipe's last command may end after the program that is waited for."""
    found, fault = shell("(sleep 0.1; echo 'OK | a=1') & exit 0")
    assert (values(found), fault) == ({"status": 0.0, "a": 1.0}, "")


def test_a_stop_ends_the_program(tmp_path: Path) -> None:
    """A reload or the end of the daemon leaves no program behind, nor its children."""
    running = gevent.spawn(shell, f"sleep 60 & echo $! $$ > {tmp_path}/pids; wait")
    wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().strip())
    running.kill(timeout=10)
    assert running.dead
    pids = (tmp_path / "pids").read_text().split()
    wait_for(lambda: not any(is_running(int(pid)) for pid in pids))


@pytest.mark.parametrize(
    ("command", "settings", "reason"),
    [
        (["no-such-program"], {}, "no-such-program cannot be run: no such file or directory"),
        (["/etc/passwd"], {}, "/etc/passwd cannot be run: permission denied"),
        (["/"], {}, "/ cannot be run: permission denied"),
        (
            ["true"],
            {"directory": "/nowhere"},
            "true cannot be run: its directory /nowhere cannot be entered: no such file or directory",
        ),
    ],
)
def test_what_cannot_be_run_is_unknown_and_an_error(
    command: list[str], settings: dict[str, Any], reason: str
) -> None:
    """A mistake of the configuration, which an event tells besides the status."""
    found, fault = run(exec_(*command, **settings))
    assert why(found) == {"error": reason}
    assert fault == reason
    assert run(exec_(*command, format="number", **settings)) == ({}, reason)


# -- what programs print ------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_flood_is_thrown_away() -> None:
    """It neither fills the memory nor keeps the hub; what came first is kept."""
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    found, _ = shell("exec yes 'OK | a=1'", timeout=1.0)
    watching.kill()
    assert why(found) == {"output": "OK", "error": "not done after 1 s"}
    assert watchdog.quantile(0.9) < 0.1


def test_more_than_is_kept_is_an_error() -> None:
    """A long output can end, its status counts, and so do the numbers that are kept as a whole."""
    found, fault = shell(f"echo 'OK | a=1'; head -c {2 * MOST_OUTPUT} /dev/zero | tr '\\0' x; exit 1")
    assert values(found) == {"status": 1.0, "a": 1.0}
    assert fault == "it printed more than 64 kB"
    assert shell(f"head -c {2 * MOST_OUTPUT} /dev/zero", format="number") == (
        {},
        "it printed more than 64 kB",
    )


def test_binary_output_is_harmless() -> None:
    """Whatever it is, the tags are text that the store takes."""
    found, fault = shell("head -c 5000 /dev/urandom; printf '\\0|\\377\\0=1'; exit 1")
    assert found["status"].value == 1.0
    assert all(text.isprintable() for text in (*found["status"].tags.values(), fault))
    json.dumps(dict(found["status"].tags)).encode()
    assert set(found) == {"status"}
    assert fault == "it printed binary data"


def test_labels_do_not_collide() -> None:
    """What a plugin calls `status` is not its exit status, and equal names get a number."""
    found, fault = shell("echo \"OK | status=5 a.b=1 'a b'=2\"")
    assert (values(found), fault) == ({"status": 0.0, "status_2": 5.0, "a_b": 1.0, "a_b_2": 2.0}, "")
    assert found["a_b_2"].tags == {"label": "a b"}


def test_a_wrong_value_is_an_error_and_the_others_count() -> None:
    """It is told by its label."""
    found, fault = shell("echo 'OK | a=1 b=x c=3 d'")
    assert values(found) == {"status": 0.0, "a": 1.0, "c": 3.0}
    assert fault == "b is 'x', which is no number (and 1 more)"


def test_a_number() -> None:
    """All that is printed is one number, or there is none."""
    assert number("echo ' 42.5 '") == 42.5
    assert shell("echo 42 43", format="number") == (
        {}, "the answer is '42 43', which is no number"
    )  # fmt: skip
    assert shell("echo 42; echo 'went wrong' >&2; exit 1", format="number") == (
        {}, "exit status 1: went wrong"
    )  # fmt: skip
    assert shell("echo 4; sleep 9", format="number", timeout=0.3) == ({}, "not done after 0.3 s")


def test_json() -> None:
    """Paths as in `type: api`; what is none of it is an error with what was printed."""
    printed = '{"a": {"b": 1.5}, "list": [{"id": "X", "n": 1}, {"id": "Y", "n": 2}]}'
    found, fault = run(exec_("echo", printed, json_path="$.a.b", unit="V"))
    assert (values(found), fault) == ({"": 1.5}, "")
    found, fault = run(exec_("echo", printed, values={"one": "$.a.b", "two": "$.a.c"}))
    assert (values(found), fault) == ({"one": 1.5}, "two: nothing at $.a.c")
    found, fault = run(exec_("echo", printed, list_="$.list", label="$.id", json_path="$.n"))
    assert (values(found), fault) == ({"x": 1.0, "y": 2.0}, "")
    assert run(exec_("echo", "oops", json_path="$.a")) == ({}, "it printed no JSON: oops")
    assert run(exec_("true", json_path="$.a")) == ({}, "it printed no JSON: (empty)")
    deep = "[" * 30_000
    assert run(exec_("echo", deep, json_path="$.a"))[1].startswith("it printed no JSON: [[[")


def test_prometheus() -> None:
    """Metrics with their labels, whether the last line has its end or not."""
    text = '# TYPE a gauge\na{disk="sda"} 1\na{disk="sdb"} 2\nb_bytes 3 1000'
    found, fault = run(exec_("printf", "%s", text, format="prometheus"))
    assert (values(found), fault) == ({"a.sda": 1.0, "a.sdb": 2.0, "b_bytes": 3.0}, "")
    assert found["a.sda"].tags == {"disk": "sda"}
    assert found["b_bytes"].ts is None
    assert "is no sample" in run(exec_("echo", "no metrics here", format="prometheus"))[1]
    assert run(exec_("true", format="prometheus")) == ({}, "it printed no series")


# -- what programs get --------------------------------------------------------------------------------


def test_the_environment_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's secrets are not handed on; what is given is, and no message tells it."""
    monkeypatch.setenv("OCULUS_TOKEN", "secret")
    monkeypatch.setenv("TZ", "Europe/Paris")
    found, _ = shell("env | cut -d= -f1 | sort | tr '\\n' ' '; exit 1", env={"PASSWORD": "hunter2"})
    names = set(found["status"].tags["output"].split())
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} <= {
        "HOME", "LC_ALL", "LOGNAME", "PASSWORD", "PATH", "SHELL", "TMPDIR", "TZ", "USER"
    }  # fmt: skip
    assert {"PASSWORD", "PATH", "TZ", "LC_ALL"} <= names
    found, _ = shell('echo "with $PASSWORD"; echo $PASSWORD >&2; exit 9', env={"PASSWORD": "hunter2"})
    assert why(found) == {"output": "with ***", "error": "exit status 9: ***"}


def test_a_program_has_the_usual_number_of_files() -> None:
    """The daemon takes as many as it may have, and some programs go through all that they could have open."""
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
        from oculus.app import allow_open_files
        from oculus.collectors.process import Program
        allow_open_files()
        ended = Program(["sh", "-c", "ulimit -Sn; ulimit -Hn"], {"PATH": "/bin:/usr/bin"}, None).run(10)
        print(resource.getrlimit(resource.RLIMIT_NOFILE), ended.output.split())
    """
    assert printed(textwrap.dedent(code), patched=True).split("\n")[0] == ("(4096, 4096) [b'1024', b'4096']")


def test_it_runs_in_its_directory(tmp_path: Path) -> None:
    """Or in the daemon's."""
    found, _ = shell("pwd; exit 1", directory=str(tmp_path))
    assert found["status"].tags["output"] == str(tmp_path)
    found, _ = shell("pwd; exit 1")
    assert found["status"].tags["output"] == str(Path.cwd())


def test_nothing_of_the_daemon_is_inherited() -> None:
    """No file but the three, no bound on memory, no blocked signal; and its session is its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    keep = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(keep, True)
    code = (
        "import os, resource, signal, sys;"
        "files = sorted(int(name) for name in os.listdir('/proc/self/fd'));"
        "print(files[:3], [os.path.exists(f'/proc/self/fd/{file}') for file in files[3:]],"
        " resource.getrlimit(resource.RLIMIT_DATA), signal.pthread_sigmask(signal.SIG_BLOCK, []),"
        " os.getsid(0) == os.getpgrp() == os.getpid(), sys.stdin.read() == ''); sys.exit(1)"
    )
    resource.setrlimit(resource.RLIMIT_DATA, (2**34, hard))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        found, _ = run(exec_(sys.executable, "-I", "-S", "-c", code))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        os.close(keep)
    # The fourth is the one that lists the folder, and is closed again.
    assert found["status"].tags["output"] == f"[0, 1, 2] [False] {(hard, hard)} set() True True"


# -- many at once -------------------------------------------------------------------------------------


@contextmanager
def most_at_once(folder: Path) -> Iterator[list[int]]:
    """Count, while the body runs, how many files there are in a folder at most."""
    counted = [0]

    def count() -> None:
        while True:
            counted[0] = max(counted[0], len(list(folder.iterdir())))
            gevent.sleep(0.005)

    counting = gevent.spawn(count)
    try:
        yield counted
    finally:
        counting.kill()


@pytest.mark.alone
def test_a_hundred_at_once_take_turns(tmp_path: Path) -> None:
    """All come to their turn, a bounded number runs at any time, and the hub stays free."""
    context, watchdog = Context(), Watchdog()
    script = f"touch {tmp_path}/$$; sleep 0.05; rm {tmp_path}/$$; echo 'OK | a=1'"
    collectors = [exec_("sh", "-c", script, context=context, timeout=20.0) for _ in range(100)]
    watching = gevent.spawn(watchdog.run)
    with most_at_once(tmp_path) as counted:
        runs = [gevent.spawn(run, collector) for collector in collectors]
        gevent.joinall(runs, timeout=LIMIT)
    watching.kill()
    context.close()
    assert [values(one.get(block=False)[0]) for one in runs] == [{"status": 0.0, "a": 1.0}] * 100
    assert 2 <= counted[0] <= TURNS
    assert watchdog.quantile(0.9) < 0.1


def test_a_run_that_does_not_come_to_its_turn_is_an_error(tmp_path: Path) -> None:
    """Nothing ran, so nothing is told of the program."""
    context = Context()
    script = f"touch {tmp_path}/$$; exec sleep 60"
    busy = [exec_("sh", "-c", script, context=context, timeout=60.0) for _ in range(TURNS)]
    running = [gevent.spawn(run, collector) for collector in busy]
    wait_for(lambda: len(list(tmp_path.iterdir())) == TURNS)
    late = exec_("true", context=context, timeout=0.2, interval=Seconds(0.2))
    assert run(late) == ({}, f"it waited 0.2 s for its turn: {TURNS} programs run already")
    gevent.killall(running)
    again = run(exec_("true", context=context, timeout=20.0))
    assert (values(again[0]), again[1]) == ({"status": 0.0}, "")
    context.close()


_DEAD = """
from oculus.collectors.base import CollectError, Context
from oculus.collectors.exec import Exec, ExecSettings
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec

settings = ExecSettings(command=(f"{dead}/check",), timeout=Seconds(0.5), format="number")
collector = Exec(CollectorSpec("exec", "x", settings), Context())

def fault():
    started = time.monotonic()
    try:
        list(collector.collect())
    except CollectError as error:
        return str(error).replace(folder, "…"), time.monotonic() - started

told = [fault(), fault(), watchdog.quantile(1.0)]
revive(server)
tell([*told, fault()])
"""


@pytest.mark.alone
def test_a_program_on_a_disk_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """What cannot start in time is an error, and is not started again before it has."""
    first, second, lateness, third = run_beside_dead_disk(_DEAD, tmp_path)
    assert first[0] == "the program could not be started within 0.5 s"
    assert first[1] < 3
    assert second[0] == "the program of an earlier run hangs and cannot be ended"
    assert third[0].startswith("…/dead/check cannot be run: ")
    assert lateness < 0.25


# -- configuration ------------------------------------------------------------------------------------


def mistake(text: str) -> str:
    """Return what is wrong with a collector."""
    with pytest.raises(ConfigError) as error:
        loads(f"collectors: [{{type: exec, {text}}}]", "c.yaml", vocabulary())
    (found,) = error.value.mistakes
    return found.split(": ", 2)[-1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a", "is missing (program and its arguments, a list)"),
        ("command: []", "is empty (a list of program and arguments, such as [check_disk, -w, 10%])"),
        (
            "command: \"a -w '10 %'\"",
            'is a text, and no shell takes it apart (a list of program and arguments: ["a", "-w", "10 %"])',
        ),
        ("command: a, env: {'a=b': c}", "'a=…' cannot be a variable of the environment ({NAME: value})"),
        ("command: a, format: xml", "is 'xml' (one of: nagios, json, prometheus, number)"),
        ("command: a, format: json", "format json needs json_path or values"),
        (
            "command: a, format: number, json_path: $.a",
            "json_path with format number makes no sense (keep one of them)",
        ),
        ("command: a, unit: s", "unit with format nagios makes no sense (the output tells units)"),
        ("command: a, json_path: $.a, label: $.b", "label needs a list"),
        ("command: a, json_path: a", "'a' is not a JSONPath (it begins with $, such as $.data.value)"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    """Each with what would be right."""
    assert mistake(text) == told


def test_the_name_is_the_programs() -> None:
    """A single word may stand without brackets; secrets are not printed."""
    text = "collectors: [{type: exec, command: /opt/check_It, env: {A: hunter2}}]"
    (spec,) = loads(text, "c.yaml", vocabulary()).collectors
    assert (spec.id, getattr(spec.settings, "command", None)) == ("exec/check_it", ("/opt/check_It",))
    assert "hunter2" not in repr(spec)
    assert Exec(spec, Context()).tags == {"source": "check_It"}


def test_only_what_can_be_a_secret_is_left_out_of_texts() -> None:
    """A `C` in the environment is none, and would be missing in every other word."""
    settings = {"env": {"LC_ALL": "C", "DEBUG": "1", "PASSWORD": "hunter22"}}
    found, _ = shell("echo CRITICAL 1 hunter22; exit 2", **settings)
    assert found["status"].tags["output"] == "CRITICAL 1 ***"


def test_a_thousand_values_of_one_label_take_no_time() -> None:
    """They are told apart by numbers, within the time of a slice."""
    started = time.monotonic()
    found, fault = shell("printf 'x |'; yes a=1 | head -1000 | tr '\\n' ' '")
    assert not fault
    assert len(found) == 1_001
    assert time.monotonic() - started < 1.0


def test_a_killed_daemon_leaves_no_program_behind(tmp_path: Path) -> None:
    """Nobody would be there to end it after its time."""
    code = """
        import sys, time
        from oculus.collectors.process import Program
        script = "echo $$ > " + sys.argv[1] + "; exec sleep 60"
        Program(["sh", "-c", script], {"PATH": "/bin:/usr/bin"}, None).run(60)
    """
    noted = tmp_path / "pid"
    code = "from gevent import monkey; monkey.patch_all()\n" + textwrap.dedent(code)
    daemon = subprocess.Popen([sys.executable, "-c", code, str(noted)])
    wait_for(lambda: noted.exists() and noted.read_text().strip())
    daemon.kill()
    daemon.wait()
    program = Path("/proc", noted.read_text().strip(), "stat")
    wait_for(lambda: not program.exists() or program.read_text().rpartition(")")[2].split()[0] == "Z")
