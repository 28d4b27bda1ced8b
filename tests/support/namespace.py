"""Python run in a network namespace of its own, where even the kernel's settings may be changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from functools import cache
from typing import Any

import pytest

from tests.support.daemon import ROOT

_UNSHARE = ("unshare", "--user", "--map-root-user", "--net")

_PRELUDE = """
from gevent import monkey
monkey.patch_all()
import fcntl, json, socket, struct, sys
from pathlib import Path

def up(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", name.encode(), 0x41))  # SIOCSIFFLAGS: up, running

def give_address(name, address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH2x4s8x", name.encode(), socket.AF_INET, socket.inet_aton(address))
        fcntl.ioctl(sock, 0x8916, request)  # SIOCSIFADDR

def take_address(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", name.encode(), 0))  # an alias goes with its flags

def set_kernel(name, value):
    Path("/proc/sys/net", name).write_text(value)

def tell(value):
    print(json.dumps(value))

"""


@cache
def _command() -> tuple[str, ...] | None:
    """Return what runs a program in a network namespace, or None where the host does not let us."""
    for command in (_UNSHARE, ("unshare", "--net")):
        try:
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            return None
    return None


def run_in_namespace(code: str, loopback: bool = True) -> Any:
    """Run code that calls `tell(value)` once, and return that value; skips where there are no namespaces."""
    command = _command()
    if command is None:
        pytest.skip("network namespaces are not permitted here")
    program = _PRELUDE + ("up('lo')\n" if loopback else "") + textwrap.dedent(code)
    done = subprocess.run(
        [*command, sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
