"""Regular expressions over what strangers send, in a process that is ended in time.

Python's `re` keeps the interpreter to itself while it searches, in whatever thread, and a body can be made
for which a harmless looking expression, such as `(a+)+$`, takes years.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from typing import cast

from gevent import subprocess
from gevent.lock import BoundedSemaphore

from oculus.collectors.base import CollectError

# A search is ended after this: a megabyte takes 10 ms, and so does Python's start (100 ms on a Pi).
LIMIT = 5.0  # seconds
_TURNS = BoundedSemaphore(2)  # searches that run at once

# What runs: pattern and numbers of groups are its arguments, the body its input. It gives way to the daemon,
# and may take as much memory as a search of the longest body needs, and no more. A group that is longer than
# this is no number anyway.
_PROGRAM = """\
import os, re, resource, sys
os.nice(10)
body = sys.stdin.buffer.read()
most = 256 * 2**20 + 16 * len(body)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
pattern = sys.argv[1].encode().decode("unicode_escape")
found = re.search(pattern, body.decode("utf-8-sig", "replace"))
groups = found and [found[int(number)] for number in sys.argv[2:]]
print(ascii(groups and [group and group[:200] for group in groups]))
"""


def search(pattern: str, groups: Sequence[int], data: bytes, limit: float = LIMIT) -> list[str | None] | None:
    """Return these groups of the first match in a text, or None where there is no match.

    Raises CollectError when there is no answer within `limit` seconds.
    """
    escaped = pattern.encode("unicode_escape").decode("ascii")  # fits whatever the locale is
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, escaped, *map(str, groups)]
    with _TURNS:
        try:
            done = subprocess.run(
                command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise CollectError(f"the regular expression was not done after {limit:g} s") from None
        except OSError as error:
            raise CollectError(f"no process for the regular expression: {error.strerror}") from None
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise CollectError(f"the regular expression failed: {told or f'status {done.returncode}'}")
    return cast("list[str | None] | None", ast.literal_eval(done.stdout.decode("ascii")))
