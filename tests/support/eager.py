"""Runs Oculus with an upkeep that hardly rests: rollups and rewriting go on all the time.

For tests that end the daemon at any moment of it: `Daemon(…, {"program": EAGER})`.
"""

from __future__ import annotations

import sys
from pathlib import Path

EAGER = (sys.executable, "-W", "error", str(Path(__file__).resolve()))


def main() -> int:
    """Run the command line as `oculus` does."""
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from oculus.__main__ import patch

    patch()
    from oculus import cli
    from oculus.storage import upkeep

    upkeep.PERIOD, upkeep.EXPIRE_EVERY = 0.2, 0.5
    upkeep.SORT_FIRST, upkeep.SORT_EVERY = 0.3, 0.5
    return cli.execute(cli.parse(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
