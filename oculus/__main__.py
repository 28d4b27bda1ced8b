"""The program's entry: gevent patches the standard library before anything else is imported.

`--help`, `--version` and mistakes in the arguments need no gevent and are answered before it loads, so
that they stay quick on a small board.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line and return the exit status."""
    from oculus import cli

    arguments = cli.parse(sys.argv[1:])
    if arguments.needs_hub:
        from gevent import monkey

        monkey.patch_all()
    return cli.execute(arguments)


if __name__ == "__main__":
    sys.exit(main())
