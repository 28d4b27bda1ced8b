"""The archive as people get it: one file, run by a plain Python in a home that never saw it."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from oculus import __version__
from tests.support.daemon import ROOT, Daemon
from tests.support.servers import wait_for

PYZ = ROOT / "dist" / "oculus.pyz"

# The Python below the environment that the tests run in: nothing of that environment may be needed.
PYTHON = str(getattr(sys, "_base_executable", "") or sys.executable)


def sources() -> list[Path]:
    """Return every file that the archive is made from."""
    folders = (ROOT / "oculus", ROOT / "views", ROOT / "static")
    inside = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    return [*inside, *(ROOT / ".ci").glob("*.py"), ROOT / "pyproject.toml", ROOT / "requirements.lock"]


@pytest.fixture(scope="module")
def pyz() -> Path:
    """The archive of the present sources; built when the one at hand is older than any of them."""
    if not PYZ.exists() or any(path.stat().st_mtime > PYZ.stat().st_mtime for path in sources()):
        environment = {**os.environ, "PYTHON": PYTHON}
        done = subprocess.run(
            [ROOT / "build.sh", "pyz"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return PYZ


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with nothing in it, shared so that the archive unpacks once."""
    return tmp_path_factory.mktemp("home")


def environ(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a user who has nothing set."""
    return {"PATH": os.environ["PATH"], "HOME": str(home)} | more


def run(pyz: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the archive in its own folder-less way and return what it did."""
    command = [PYTHON, "-W", "error", str(pyz), *arguments]
    return subprocess.run(
        command, cwd=home, env=environ(home), capture_output=True, text=True, timeout=120, check=False
    )


def test_the_archive_is_small_and_can_be_executed(pyz: Path) -> None:
    """Below 20 MB, with a first line that names Python and the right to execute."""
    assert pyz.stat().st_size < 20_000_000
    assert pyz.read_bytes()[:23] == b"#!/usr/bin/env python3\n"
    assert pyz.stat().st_mode & stat.S_IXUSR


def test_the_archive_holds_what_runs_and_nothing_else(pyz: Path) -> None:
    """Templates, static files and licences are inside; tests, sources of styles, the launcher are not."""
    with zipfile.ZipFile(pyz) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    inside = "site-packages/oculus/"
    for folder in ("views", "static"):
        wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        shipped = {path for path in wanted if not path.startswith("static/css/src/")}
        assert {inside + path for path in shipped} <= names
    assert "site-packages/oculus.py" not in names
    assert any(re.fullmatch(r"site-packages/oculus-.*\.dist-info/licenses/LICENSE", name) for name in names)
    left_out = ("/tests/", "/css/src/")
    assert not [name for name in names if any(part in name for part in left_out)]
    assert not [name for name in names if name.endswith((".db", ".c", ".pyx"))]


def test_version_and_help_are_answered(pyz: Path, home: Path) -> None:
    """The first thing that a newcomer types works, with nothing on standard error."""
    version = run(pyz, home, "--version")
    assert (version.returncode, version.stdout, version.stderr) == (0, f"oculus {__version__}\n", "")
    told = run(pyz, home, "--help")
    assert (told.returncode, told.stderr) == (0, "")
    for word in ("run", "check", "init"):
        assert word in told.stdout


def test_the_archive_runs_by_its_own_name(pyz: Path, home: Path, tmp_path: Path) -> None:
    """A copy anywhere starts as a program."""
    copy = tmp_path / "oculus.pyz"
    copy.write_bytes(pyz.read_bytes())
    copy.chmod(0o755)
    path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [copy, "--version"],
        env=environ(home, PATH=path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"oculus {__version__}\n"), done.stderr


def test_a_configuration_is_checked(pyz: Path, home: Path, tmp_path: Path) -> None:
    """`init` writes a good configuration, and `check` tells a mistake with its place."""
    config = tmp_path / "config.yaml"
    assert run(pyz, home, "init", str(config)).returncode == 0
    good = run(pyz, home, "check", str(config))
    assert (good.returncode, good.stderr) == (0, "")
    assert "good" in good.stdout
    config.write_text("collectors:\n  - {type: network, probe: htp, target: x}\n")
    bad = run(pyz, home, "check", str(config))
    assert bad.returncode == 2
    assert f"{config}:2: collectors[0].probe" in bad.stderr
    assert "did you mean" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_a_plugin_beside_the_configuration_works(
    pyz: Path, home: Path, tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    """The manual's own collector, with settings, from the archive: told, probed and run."""
    library = (ROOT / "docs" / "library.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", library, re.DOTALL)
    (text,) = [block for block in blocks if "type = " in block]
    (tmp_path / "moon.py").write_text(text)
    config = tmp_path / "config.yaml"
    config.write_text("plugins: [moon.py]\ncollectors:\n  - {type: moon, interval: 200ms}\n")
    told = run(pyz, home, "check", "--kinds", "moon", "--config", str(config))
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("type: moon (plugin)\n")
    probed = run(pyz, home, "probe", "--config", str(config), "moon")
    assert (probed.returncode, probed.stderr) == (0, "")
    assert "custom.moon" in probed.stdout
    oculus = daemon(
        config.read_text() + "database: {flush: 50ms}\n",
        program=(PYTHON, "-W", "error", str(pyz)),
        environ=environ(home),
    )
    wait_for(lambda: oculus.latest("custom.moon"))
    assert oculus.stop() == 0
    assert "Traceback" not in oculus.log()


# Runs before the archive: on a signal it writes down whether gevent has patched the standard library.
WITNESS = """\
import signal, sys

def tell(number, frame):
    from gevent import monkey
    import select, socket, ssl, subprocess, threading, time
    names = [name for name in ("socket", "select", "ssl", "subprocess", "threading", "time")
             if monkey.is_module_patched(name)]
    with open("witness.txt", "w") as file:
        print(*names, socket.socket.__module__, "oculus" in sys.modules, file=file)

signal.signal(signal.SIGUSR1, tell)
"""


def test_the_daemon_runs_from_the_archive(
    pyz: Path, home: Path, tmp_path: Path, daemon: Callable[..., Daemon]
) -> None:
    """It gets ready with gevent patched, serves pages and files from inside, and ends well on SIGTERM."""
    witness = tmp_path / "witness"
    witness.mkdir()
    (witness / "sitecustomize.py").write_text(WITNESS)
    config = (
        "database: {flush: 50ms}\n"
        "collectors:\n"
        '  - {type: network, probe: http, name: self, target: "http://127.0.0.1:$PORT/healthz",'
        " interval: 500ms}\n"
        "rules:\n"
        '  - {name: alive, condition: "net.http.self.up == 1", severity: info}\n'
    )
    oculus = daemon(
        config, program=(PYTHON, "-W", "error", str(pyz)), environ=environ(home, PYTHONPATH=str(witness))
    )
    wait_for(lambda: (oculus.latest("net.http.self.up") or {}).get("value") == 1)
    wait_for(lambda: oculus.json("/api/rules/alive")["state"] == "firing")
    page = oculus.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert 'data-symbol="net.http.self.rtt"' in page.text
    with zipfile.ZipFile(pyz) as archive:
        for name in ("css/oculus.css", "js/oculus.js", "vendor/htmx/htmx.min.js", "icons/oculus.svg"):
            inside = archive.read(f"site-packages/oculus/static/{name}")
            assert oculus.get(f"/static/{name}").content == inside

    oculus.signal(signal.SIGUSR1)
    told = wait_for(lambda: (tmp_path / "witness.txt").exists() and (tmp_path / "witness.txt").read_text())
    assert told.split()[:6] == ["socket", "select", "ssl", "subprocess", "threading", "time"]
    assert told.split()[6:] == ["gevent._socket3", "True"]

    asked = time.monotonic()
    assert oculus.stop() == 0
    assert time.monotonic() - asked < 5
    assert oculus.database.exists()
    assert "Traceback" not in oculus.log()
    assert "Warning" not in oculus.log()


def test_nothing_is_left_behind_but_the_unpacked_packages(pyz: Path, home: Path) -> None:
    """Outside of shiv's folder the home stays as it was."""
    run(pyz, home, "--version")
    assert {path.name for path in home.iterdir()} == {".shiv"}
