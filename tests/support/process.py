"""Python in a process of its own: what it prints and says about itself is what tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.support.daemon import ROOT

GEVENT = "from gevent import monkey\nmonkey.patch_all()\n"


def python(code: str, *arguments: object, patched: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script with warnings as errors; `patched` makes it begin with gevent's patches."""
    program = (GEVENT if patched else "") + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(code: str, *arguments: object, patched: bool = False) -> str:
    """Run a script that must succeed in silence on stderr; return what it printed."""
    done = python(code, *arguments, patched=patched)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
