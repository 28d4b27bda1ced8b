"""`oculus check --kinds`: every kind documents itself, and what it says is what the decoder takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oculus.collectors import KINDS, collector_class
from oculus.config.describe import describe
from tests.support.command import oculus


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_kind_and_setting_is_told() -> None:
    """For people: the common settings once, then a heading and the own settings of each kind."""
    ended = oculus("check", "--kinds")
    assert (ended.status, ended.err) == (0, "")
    for kind in KINDS:
        type_, _, probe = kind.partition("/")
        assert f"\ntype: {type_}{f', probe: {probe}' if probe else ''}\n" in ended.out
    for key in ("name", "interval", "expect.status", "tls.verify", "json_path", "grace"):
        assert re.search(rf"^  {re.escape(key)} ", ended.out, re.MULTILINE), key


def test_programs_get_json() -> None:
    """Every kind with its settings: key, type, default, whether it is required or a secret, and help."""
    kinds = {kind["kind"]: kind for kind in oculus("check", "--kinds", "--format", "json").json()}
    assert kinds.keys() == KINDS.keys()
    settings = {one["key"]: one for one in kinds["network/http"]["settings"]}
    assert settings["target"] == {
        "key": "target", "type": "text", "default": None, "required": True, "secret": False,
        "help": "URL to fetch",
    }  # fmt: skip
    assert settings["timeout"]["default"] == "5s"
    assert settings["expect.status"]["default"] == "200-299"
    assert settings["tls.verify"] == settings["tls.verify"] | {"type": "true or false", "default": "true"}
    assert settings["bearer"]["secret"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_setting_is_without_help(kind: str) -> None:
    """What a class declares is enough for people to go by; a secret's default is not told."""
    for one in describe(collector_class(kind).Settings):
        assert one.help
        assert one.type
        assert not (one.secret and one.default)
        assert not (one.required and one.default)


def test_one_kind_is_told_in_full() -> None:
    """By its type, its probe, or both; with the settings that all kinds have."""
    ended = oculus("check", "--kinds", "ping")
    assert ended == oculus("check", "--kinds", "network/ping")
    assert ended.out.startswith("type: network, probe: ping\n")
    assert re.search(r"^  count +whole number +3 +packets per run$", ended.out, re.MULTILINE)
    assert re.search(r"^  interval +duration +30s ", ended.out, re.MULTILINE)
    unknown = oculus("check", "--kinds", "pin")
    assert (unknown.status, unknown.err) == (2, 'unknown kind "pin" (did you mean "ping"?)\n')


def test_plugins_are_told_too() -> None:
    """Those of a configuration; the default of a secret is left out."""
    Path("p.py").write_text(
        "from dataclasses import dataclass\n"
        "from oculus import Collector, CollectorSettings, setting\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class S(CollectorSettings):\n"
        "    key: str = setting('hunter2', help='what opens it', secret=True)\n"
        "class P(Collector):\n"
        '    """Looks at the moon."""\n'
        "    type, Settings = 'moon', S\n"
        "    def collect(self): return []\n"
    )
    Path("c.yaml").write_text("plugins: [p.py]\n")
    ended = oculus("check", "--kinds", "moon", "--config", "c.yaml")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("type: moon (plugin)\n  Looks at the moon.\n")
    assert re.search(r"^  key +text, secret +what opens it$", ended.out, re.MULTILINE)
    assert "hunter2" not in ended.out + oculus("check", "--kinds", "--config", "c.yaml").out
    Path("p.py").write_text("1 / 0\n")
    assert oculus("check", "--kinds", "--config", "c.yaml").status == 2
