"""Python run in a mount namespace of its own, with a file system in it that never answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import ROOT

# A FUSE file system whose server, which is this process, answers nothing; `revive` ends the waiting.
_PRELUDE = """
from gevent import monkey
monkey.patch_all()
import ctypes, json, os, sys, time
import gevent
from oculus.supervise import Watchdog

folder = sys.argv[1]
library = ctypes.CDLL(None, use_errno=True)

def mount(source, name, kind, flags=0, data=""):
    path = f"{folder}/{name}"
    os.makedirs(path, exist_ok=True)
    if library.mount(source.encode(), path.encode(), kind.encode(), flags, data.encode() or None):
        raise OSError(ctypes.get_errno(), f"mount {kind}")
    return path

def mount_dead(name):
    server = os.open("/dev/fuse", os.O_RDWR)
    data = f"fd={server},rootmode=40000,user_id=0,group_id=0"
    return mount(f"{name}:/export", name, "fuse.sshfs", 0, data), server

def revive(server):
    os.close(server)
    gevent.sleep(0.2)

def tell(value):
    print(json.dumps(value), flush=True)

dead, server = mount_dead("dead")
watchdog = Watchdog()
gevent.spawn(watchdog.run)
"""


def run_beside_dead_disk(code: str, folder: Path) -> Any:
    """Run code that calls `tell(value)` once, and return that value.

    Below `folder` there is `dead`, which hangs. Skips where the host permits no namespaces, or has no FUSE.
    """
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no FUSE here")
    told = ""
    for command in (("unshare", "--user", "--map-root-user", "--mount"), ("unshare", "--mount")):
        done = subprocess.run(
            [*command, sys.executable, "-c", _PRELUDE + textwrap.dedent(code), str(folder)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        told = done.stderr
        if "unshare: " not in told and "PermissionError" not in told:
            raise AssertionError(told)
    pytest.skip(f"mounting is not permitted here: {told}")
