"""Imports follow the data, and only the storage knows DuckDB, only the web knows Bottle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "oculus"

# Lower may not import higher, nor may two stages of one rank import each other.
RANKS = {
    "": 0, "model": 0, "errors": 0, "clock": 0, "assets": 0, "supervise": 0, "cooperate": 0, "beside": 0,
    "holdup": 0, "masking": 0, "threads": 0, "cron": 0, "windowed": 0, "windows": 0, "zones": 0,
    "templates": 0,
    "config": 1, "pipe": 1,
    "logs": 2, "storage": 2, "collectors": 2,
    "rules": 3, "notify": 3,
    "hindsight": 4,
    "web": 5, "plugins": 5,
    "health": 6, "known": 6, "ledger": 6, "telemetry": 6, "vocabulary": 6, "vitals": 7, "app": 8,
    "commands": 8, "cli": 9, "__main__": 10,
}  # fmt: skip

# Third-party packages that belong to one folder.
RESERVED = {"duckdb": "storage", "bottle": "web"}


def stage_of(module: str) -> str:
    """Return the file or folder right below the package that a module is in."""
    return module.split(".")[1] if "." in module else ""


def files() -> list[Path]:
    """Return every source file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports at run time, at its top or inside functions."""
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped.update(inner for child in node.body for inner in ast.walk(child))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "oculus":
                yield from (f"oculus.{alias.name}" for alias in node.names if alias.name != "__version__")


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_layers(path: Path) -> None:
    """A module imports lower ranks only, its own folder, and no third-party package that is reserved."""
    relative = path.relative_to(PACKAGE).with_suffix("")
    stage = relative.parts[0] if relative.parts[0] != "__init__" else ""
    for module in imports(path):
        top = module.partition(".")[0]
        if top == "oculus":
            other = stage_of(module)
            assert other == stage or RANKS[other] < RANKS[stage] or RANKS[other] == RANKS[stage] == 0, (
                f"{relative} imports {module}"
            )
        elif top in RESERVED:
            assert stage == RESERVED[top], f"{relative} imports {module}"


def test_every_file_has_a_rank() -> None:
    """A new file or folder must be given its place."""
    stages = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {"__init__"}
    assert stages <= RANKS.keys()
