"""The program's entry: gevent patches the standard library before anything else is imported.

`--help`, `--version` and mistakes in the arguments need no gevent and are answered before it loads, so
that they stay quick on a small board.
"""

from __future__ import annotations

import sys
from typing import Any


def main() -> int:
    """Run the command line and return the exit status."""
    from oculus import cli

    arguments = cli.parse(sys.argv[1:])
    if arguments.needs_hub:
        patch()
    return cli.execute(arguments)


def patch() -> None:
    """Make the standard library cooperative."""
    import gc

    gc.disable()  # start-up makes a lot that stays; cli turns it on again
    from gevent import events, monkey

    # For each of a dozen modules gevent would look through all installed packages for plugins of its
    # patching. There are none here, and the search takes a sixth of the whole start.
    hooks: Any = events
    hooks.notify_and_call_entry_points = hooks.notify
    monkey.patch_all()


if __name__ == "__main__":
    sys.exit(main())
