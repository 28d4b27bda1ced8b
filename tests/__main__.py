"""The whole suite, in three processes side by side, and then what measures time: `python -m tests`.

Most tests wait for processes and sockets, so three take turns well on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5  # pytest's exit status when nothing was selected
# The daemon as a whole, its pages and messages, and its parts; they take about as long as each other.
WHOLE = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py")))
PAGES = ("tests/web", "tests/notify", "tests/hindsight")
PARTS = ("tests", *(f"--ignore={folder}" for folder in PAGES), "--ignore-glob=tests/test_*.py")


def start(*arguments: str, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start pytest in the checkout."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def main() -> int:
    """Run everything and return 0 when all of it passed."""
    side_by_side = ("-p", "no:cacheprovider", "-m", "not soak and not alone")
    with ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        others = [
            start(*side_by_side, *what, output=file) for what, file in zip((WHOLE, PAGES), kept, strict=True)
        ]
        statuses = [process.wait() for process in (start(*side_by_side, *PARTS), *others)]
        for file in kept:
            file.seek(0)
            sys.stdout.buffer.write(file.read())
        sys.stdout.flush()
    statuses.append(start("-m", "alone").wait())
    return max(status for status in statuses if status != NO_TESTS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
