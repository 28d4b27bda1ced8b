"""The documents say what the code does: settings, kinds, routes and tables; their examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints
from unittest.mock import MagicMock

import pytest

from oculus import cli
from oculus.collectors import KINDS, collector_class
from oculus.config import loads, settings
from oculus.config.decode import keys_of
from oculus.notify import ACTIONS, action_class
from oculus.storage import Storage
from oculus.vocabulary import vocabulary
from oculus.web import server

ROOT = Path(__file__).resolve().parents[1]
DOCS = {path.name: path.read_text() for path in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]}


def keys(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield every key of a settings class, nested ones dotted."""
    hints = get_type_hints(cls)
    for key, field in keys_of(cls).items():
        inner = hints[field.name]
        inner = next((part for part in get_args(inner) if is_dataclass(part)), inner)
        if is_dataclass(inner) and not hasattr(inner, "parse") and not field.metadata.get("apart"):
            yield from keys(inner, f"{prefix}{key}.")  # type: ignore[arg-type]
        else:
            yield prefix + key


SECTIONS = {
    "server": settings.ServerSettings,
    "database": settings.DatabaseSettings,
    "log": settings.LogSettings,
    "rules": settings.RuleSettings,
    "maintenance": settings.MaintenanceSettings,
    "status": settings.StatusSettings,
    "heartbeat": vocabulary().heartbeat(),
} | {kind: collector_class(kind).Settings for kind in KINDS}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_in_the_manual(section: str) -> None:
    """A setting that the manual does not name is one that nobody finds."""
    text = DOCS["configuration.md"]
    missing = [key for key in keys(SECTIONS[section]) if f"| `{key}` |" not in text]
    assert not missing


@pytest.mark.parametrize("kind", ACTIONS)
def test_every_setting_of_actions_is_in_the_manual(kind: str) -> None:
    """Those of all kinds, and those of each below its heading."""
    text = DOCS["rules.md"]
    common = text.partition("## Actions")[2].partition("\n### ")[0]
    own = text.partition(f"### `type: {kind}`")[2].partition("\n### ")[0]
    settings = action_class(kind).Settings
    assert not [key for key in keys(settings) if f"`{key}`" not in common + own]


@pytest.mark.parametrize("kind", KINDS)
def test_every_collector_kind_is_in_the_manual(kind: str) -> None:
    """Each kind has its heading or paragraph."""
    kind, _, probe = kind.partition("/")
    assert f"### `type: {kind}`" in DOCS["configuration.md"]
    assert not probe or f"`probe: {probe}` — " in DOCS["configuration.md"]


def test_every_route_is_in_the_manual() -> None:
    """Each path that the server answers is in the table of the HTTP interface."""
    table = DOCS["api.md"]
    for _, path, _ in server.routes(*[MagicMock()] * 5):
        shown = re.sub(r"<(\w+)(:path)?>", r"{\1}", path)
        assert f"`{shown}`" in table or shown.startswith("/static/"), path


def test_every_command_and_option_is_in_the_manual() -> None:
    """docs/commands.md names what the parser takes, and no command that it does not."""
    text = DOCS["commands.md"]
    subparsers = cli._parser()._subparsers
    assert subparsers is not None
    commands = subparsers._group_actions[0].choices
    assert isinstance(commands, dict)
    assert set(re.findall(r"^\| `oculus \[?([\w-]+)", text, re.MULTILINE)) == commands.keys()
    for name, parser in commands.items():
        for option in parser._option_string_actions:
            if option.startswith("--") and option != "--help":
                assert re.search(rf"{option}\b", text), f"{name} {option}"


def test_the_tables_are_as_documented(tmp_path: Path) -> None:
    """docs/schema.md names every column of the live schema with its type, and no other."""
    with Storage(str(tmp_path / "x.db")) as store:
        rows = store.query(
            "select table_name, column_name, data_type from duckdb_columns() where not internal"
        ).rows
    live = {(table, column, kind) for table, column, kind in rows}
    documented = set()
    table = ""
    for line in DOCS["schema.md"].splitlines():
        if found := re.match(r"## `(\w+)`$", line):
            table = found[1]
        elif found := re.match(r"\| `(?:(\w+)\.)?(\w+)` \| ([A-Z ]+) \|", line):
            documented.add((found[1] or table, found[2], found[3]))
    assert documented == live


@pytest.mark.parametrize("name", ["README.md", "configuration.md", "rules.md"])
def test_every_yaml_example_is_accepted(name: str) -> None:
    """An example that is copied must work."""
    for block in re.findall(r"```yaml\n(.*?)```", DOCS[name], re.DOTALL):
        loads(block, name, vocabulary())


def test_every_python_example_runs(tmp_path: Path) -> None:
    """The library's examples run as they stand, in a plain Python, and print nothing on standard error."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS["library.md"], re.DOTALL)
    assert blocks
    for block in blocks:
        if "(Collector)" in block:  # no program: test_plugins.py runs it as what it is
            continue
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_links_between_the_documents_lead_somewhere() -> None:
    """A link to a file of the project names one that is there."""
    for name, text in DOCS.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (folder / target).exists(), f"{name} → {target}"
