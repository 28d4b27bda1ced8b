"""Fixtures of the web's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.site import Site


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Open sites with options of `Site`: `new_site(server=…)`; all are closed at the end."""
    opened: list[Site] = []

    def make(**options: object) -> Site:
        folder = tmp_path / f"site{len(opened)}"
        folder.mkdir()
        site = Site(folder, **options)  # type: ignore[arg-type]
        opened.append(site)
        return site

    yield make
    for site in opened:
        site.close()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """A site with an empty store and no token."""
    return new_site()
