"""The style sheet is the one that its sources make: `./build.sh styles` was run after the last change."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
AGAIN = "run ./build.sh styles"


@pytest.fixture(scope="module")
def styles() -> ModuleType:
    """The script that makes the sheet."""
    spec = importlib.util.spec_from_file_location("styles", ROOT / ".ci" / "styles.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sheet_is_current(styles: ModuleType) -> None:
    """It tells the digests of what it was made from and of what it is: neither has changed since."""
    first, _, body = styles.TARGET.read_text(encoding="utf-8").partition("\n")
    assert f"{first}\n" == styles.header(body), AGAIN


def test_a_changed_template_is_noticed(styles: ModuleType, tmp_path: Path) -> None:
    """What is added to, changed in or taken from the sources makes another digest."""
    (tmp_path / "views" / "pages").mkdir(parents=True)
    page = tmp_path / "views" / "pages" / "one.html"
    digests = [styles.sources(tmp_path)]
    for text in ("<b class=grow>", "<b class=shrink>"):
        page.write_text(text)
        digests.append(styles.sources(tmp_path))
    page.rename(page.with_name("two.html"))
    digests.append(styles.sources(tmp_path))
    assert len(set(digests)) == len(digests)


def test_the_lock_file_names_no_registry() -> None:
    """What npm installs is pinned by its hash."""
    text = (ROOT / ".ci" / "styles" / "package-lock.json").read_text()
    assert "http" not in text.replace("https://opencollective", "").replace("https://github.com", "")
    assert text.count('"integrity": "sha512-') > 10
