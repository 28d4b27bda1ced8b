"""Debian's own programs, which tests use where they are installed."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Return the path of a program; skips the test without it, or fails where all must be there."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("OCULUS_REQUIRE_PROGRAMS") == "1":
            pytest.fail(f"{name} is not installed, and OCULUS_REQUIRE_PROGRAMS asks for it")
        pytest.skip(f"{name} is not installed")
    return found
