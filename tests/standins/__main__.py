"""`python -m tests.standins`: see demo.py."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402

from tests.standins.demo import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
