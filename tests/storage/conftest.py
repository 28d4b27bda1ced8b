"""A real database file for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oculus.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An open database in a file of its own."""
    opened = Database(str(tmp_path / "oculus.db"))
    yield opened
    opened.close()
