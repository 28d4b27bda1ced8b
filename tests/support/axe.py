"""What axe-core finds wrong with a page for those who see, hear or move differently."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tests.support.browser import Page

_SCRIPT = Path(__file__).resolve().parent / "vendor" / "axe" / "axe.min.js"

# What axe calls worse than moderate.
_SERIOUS = ("serious", "critical")


@cache
def _script() -> str:
    return _SCRIPT.read_text(encoding="utf-8")


def faults(page: Page) -> list[str]:
    """Return each serious or critical fault of the page as it is now: the rule, what it asks, and where."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_script() + "; true")  # through the debugger, which the page's policy does not bind
    found: Any = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes']][:5]}"
        for one in found
        if one["impact"] in _SERIOUS
    ]
