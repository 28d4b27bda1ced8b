"""Commands as people type them: real processes in the working directory, with status and output."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gevent import subprocess

from tests.support.daemon import CHECKOUT


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return its output, which must be one JSON text, with nothing on standard error."""
        assert self.err == ""
        return json.loads(self.out)


def oculus(
    *arguments: str,
    prefix: Sequence[str] = (),
    program: Sequence[str] = CHECKOUT,
    environ: Mapping[str, str] = {},
    limit: float = 60.0,
) -> Ended:
    """Run the program in the working directory until it ends by itself; `prefix` is what starts it."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(Path.cwd()), **environ}
    done = subprocess.run(
        [*prefix, *program, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=limit,
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
