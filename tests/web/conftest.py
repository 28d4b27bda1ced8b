"""Fixtures of the web's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, Page, find_chromium
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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    program = find_chromium()
    if program is None:
        if os.environ.get("OCULUS_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed, and OCULUS_REQUIRE_BROWSER asks for one")
        pytest.skip("no Chromium is installed")
    running = Browser(program, tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a visitor who was never here."""
    with browser.page() as page:
        yield page
