"""The whole suite, in two processes side by side, and then what measures time: `python -m tests`.

Most tests wait for processes and sockets, so two take turns well on two cores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS = 5  # pytest's exit status when nothing was selected
# The daemon as a whole, and its parts; they take about as long as each other.
WHOLE = ("tests/web", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").glob("test_*.py")))
PARTS = ("tests", "--ignore=tests/web", "--ignore-glob=tests/test_*.py")


def start(*arguments: str, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start pytest in the checkout."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def main() -> int:
    """Run everything and return 0 when all of it passed."""
    side_by_side = ("-p", "no:cacheprovider", "-m", "not soak and not alone")
    with tempfile.TemporaryFile() as kept:
        whole = start(*side_by_side, *WHOLE, output=kept)
        statuses = [start(*side_by_side, *PARTS).wait(), whole.wait()]
        kept.seek(0)
        sys.stdout.buffer.write(kept.read())
        sys.stdout.flush()
    statuses.append(start("-m", "alone").wait())
    return max(status for status in statuses if status != NO_TESTS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
