"""Plugins: what files, modules and installed packages may bring, and what a bad one can do: nothing."""

from __future__ import annotations

import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from oculus.collectors.base import Context
from oculus.collectors.contained import Unmade, make
from oculus.config import Settings
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Micros, Transition
from oculus.notify import made
from oculus.notify.base import Undelivered
from oculus.notify.notice import Notice
from oculus.plugins import Plugins
from tests.support.command import oculus
from tests.support.configs import mistakes_of, settings_of, write
from tests.support.daemon import ROOT, Daemon
from tests.support.servers import wait_for

# The example of the design, to the letter.
MOON = """\
from oculus import Collector, Sample

class Moon(Collector):
    type = "moon"                      # `- {type: moon, interval: 1h}`

    def collect(self):                 # runs in a greenlet, under the collector's timeout
        yield Sample(symbol="custom.moon", value=0.42)
"""
USE = "plugins: [moon.py]\ncollectors:\n  - {type: moon, interval: 1h}\n"

CITY = """\
from dataclasses import dataclass
from oculus import Collector, CollectorSettings, Sample, between, setting

@dataclass(frozen=True, kw_only=True)
class MoonSettings(CollectorSettings):
    city: str = setting(help="where it is seen from")
    phases: int = setting(8, help="phases that are told apart", check=between(1, 8))

class Moon(Collector):
    type = "moon"
    Settings = MoonSettings

    def collect(self):
        yield Sample("custom.moon", self.spec.settings.phases)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plugin(body: str, head: str = "from oculus import *\n") -> str:
    """Return a plugin with one kind, `moon`, that has this body."""
    return f"{head}\nclass Moon(Collector):\n    type = 'moon'\n" + textwrap.indent(body, "    ")


def collected(settings: Settings) -> list[tuple[str, float]]:
    """Return what the first collector of a configuration brings."""
    (spec, *_) = settings.collectors
    return [(sample.symbol, sample.value) for sample in make(spec, Context()).collect()]


# -- what is right ------------------------------------------------------------------------------------


def test_the_example_of_the_design_works() -> None:
    """A file beside the configuration brings a kind, of which there is one without a name."""
    write({"moon.py": MOON})
    settings = settings_of(USE)
    assert [spec.id for spec in settings.collectors] == ["moon/moon"]
    assert settings.collectors[0].settings.interval == 3600.0
    assert collected(settings) == [("custom.moon", 0.42)]
    assert not list(Path().rglob("__pycache__"))


def test_the_example_of_the_manual_works() -> None:
    """A collector in 15 lines, and the two that use it."""
    text = (ROOT / "docs" / "library.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (code,) = [block for block in blocks if "(Collector)" in block]
    assert sum(bool(line) for line in code.splitlines()) <= 15
    write({"moon.py": code})
    (use,) = re.findall(r"```\n(plugins: .*?)```", text, re.DOTALL)
    ((symbol, value),) = collected(settings_of(use))
    assert symbol == "custom.moon"
    assert 0.0 <= value < 1.0


def test_a_plugin_has_settings_of_its_own() -> None:
    """They are decoded and checked like those of the built-in kinds."""
    write({"moon.py": CITY})
    start = "plugins: moon.py\ncollectors:\n  - {type: moon, "
    assert collected(settings_of(f"{start}city: Brest, phases: 4}}")) == [("custom.moon", 4.0)]
    assert mistakes_of(f"{start}phases: 9, cty: x}}") == [
        "c.yaml:3: collectors[0].phases: 9 is out of range (1 to 8)",
        'c.yaml:3: collectors[0].cty: unknown key (did you mean "city"?)',
        "c.yaml:3: collectors[0].city: is missing (where it is seen from)",
    ]


def test_a_path_is_relative_to_the_file_that_names_it() -> None:
    """An included file names what lies beside itself; a folder is a package with relative imports."""
    write({
        "conf/more.yaml": "plugins: [moon.py, sun/]\n",
        "conf/moon.py": MOON,
        "conf/sun/__init__.py": "from .star import Sun\n",
        "conf/sun/star.py": plugin("def collect(self): return [Sample('custom.sun', 1.0)]")
        .replace("Moon", "Sun").replace("'moon'", "'sun'"),
    })  # fmt: skip
    settings = settings_of("include: conf/more.yaml\ncollectors: [{type: sun}, {type: moon}]\n")
    assert [spec.kind for spec in settings.collectors] == ["sun", "moon"]
    assert collected(settings) == [("custom.sun", 1.0)]


def test_a_probe_of_the_network_can_be_plugged_in() -> None:
    """Its type names both, and its settings are those of a probe."""
    write({"p.py": """\
from oculus.collectors.network.probe import Outcome, Probe, ProbeSettings

class Gopher(Probe):
    type = "network/gopher"
    Settings = ProbeSettings
    prefix = "net.gopher"

    def attempt(self, trace):
        return Outcome(True, {"rtt": 1.0})
"""})  # fmt: skip
    text = "plugins: [p.py]\ncollectors: [{type: network, probe: gopher, target: x}]\n"
    assert collected(settings_of(text)) == [("net.gopher.x.rtt", 1.0), ("net.gopher.x.up", 1.0)]


def test_a_module_is_named_without_an_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed, or on the path, is imported; anew once its file has changed."""
    write({"lib/lunar_module/__init__.py": MOON})
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    text = USE.replace("moon.py", "lunar_module")
    before = settings_of(text)
    assert collected(before) == [("custom.moon", 0.42)]
    assert settings_of(text) == before
    write({"lib/lunar_module/__init__.py": MOON.replace("0.42", "0.5")})
    after = settings_of(text)
    assert after != before
    assert collected(after) == [("custom.moon", 0.5)]
    write({"lib/lunar_module/__init__.py": "1 / 0\n"})
    assert "ZeroDivisionError" in mistakes_of(text)[0]
    assert sys.modules["lunar_module"].Moon is after.collectors[0].plugin


def test_only_what_has_changed_is_loaded_anew() -> None:
    """An unchanged file gives the same class, so that a reload touches nothing; a changed one another."""
    write({"moon.py": MOON})
    first = settings_of(USE)
    assert settings_of(USE) == first
    write({"moon.py": MOON.replace("0.42", "0.43")})
    second = settings_of(USE)
    assert second != first
    assert collected(first) == [("custom.moon", 0.42)]
    assert collected(second) == [("custom.moon", 0.43)]


# -- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os\ndef f():\n    return 1 / 0\nf()\n", "{}/m.py:3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "{}/m.py:2: it called sys.exit(3)"),
        ("x = 1\ndef (:\n", "{}/m.py:2: invalid syntax"),
        ("import no_such_module\n", "{}/m.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("from oculus import Moon\n", "{}/m.py:1: ImportError: cannot import name 'Moon' from 'oculus'"),
        ("raise ValueError('a\\nb' * 500)\n", "{}/m.py:1: ValueError: a ba ba b"),
        ("x = 1\n", "m.py holds no collector (a subclass of oculus.Collector that sets `type`)"),
        ("from oculus import Collector\nclass A(Collector): pass\n", "m.py holds no collector"),
        (plugin("pass"), "m.py: Moon: it has no collect()"),
        (plugin("type = 'Full Moon'"), "m.py: Moon: its type 'Full Moon' is no name"),
        (plugin("type = 5"), "m.py: Moon: its type 5 is no name"),
        (plugin("type = 'network'"), 'm.py: Moon: the type "network" is built in'),
        (plugin("type = 'network/http'"), 'm.py: Moon: the type "network/http" is built in'),
        (plugin("Settings = dict\ndef collect(self): ..."), "its Settings is not derived from"),
        (plugin("class Settings(CollectorSettings):\n    x: int = 5\ndef collect(self): ..."),
         "m.py: Moon: Settings has no @dataclass(frozen=True, kw_only=True) above it"),
        (CITY.replace('setting(help="where it is seen from")', '"Brest"'),
         "m.py: Moon: MoonSettings.city is not made with setting(…)"),
        (CITY.replace("city: str", "city: complex"),
         "m.py: Moon: MoonSettings has a type that a configuration file cannot give: TypeError"),
        (CITY.replace("frozen=True, ", ""), "cannot inherit non-frozen dataclass from a frozen one"),
        (f"{MOON}\nclass Sun(Moon):\n    type = 'moon'\n", 'm.py: Moon and Sun both have the type "moon"'),
        (b"\xff\xfe", "{}/m.py:1: "),
        (b"x = '\0'\n", "m.py"),
    ],
)  # fmt: skip
def test_a_bad_file_is_a_mistake_with_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    """One line: the configuration's place, that in the plugin, and the reason. What it would have brought is
    not told as unknown besides."""
    write({"m.py": text})
    mistakes = mistakes_of("plugins:\n  - m.py\ncollectors: [{type: moon}]\n")
    assert mistakes[0].startswith("c.yaml:2: plugins[0]: ")
    assert told.format(tmp_path) in mistakes[0]
    assert not [mistake for mistake in mistakes if "collectors" in mistake or "\n" in mistake]
    assert all(len(mistake) < 500 for mistake in mistakes)


@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(60)", "threading.Lock().acquire(); hang()"])
def test_a_plugin_that_hangs_while_it_is_loaded_is_ended(body: str) -> None:
    """Whether it waits or computes, and though it catches what it can; its line is told."""
    head = "import threading, time\ndef hang():\n  while True: pass\n"
    write({"m.py": f"{head}try:\n  {body}\nexcept Exception: ...\n"})
    with pytest.raises(ConfigError) as caught:
        Plugins(0.05).load("m.py", "c.yaml")
    (mistake,) = caught.value.mistakes
    assert re.fullmatch(r"m\.py is not loaded after 0\.05 s: it hangs at .*m\.py:[35]", mistake)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("gone.py", "there is no file gone.py"),
        ("no/gone.py", "there is no file no/gone.py"),
        ("./", ". is a folder without an __init__.py (name its files one by one)"),
        ("./c.yaml", "c.yaml is not a Python file (a name that ends in .py)"),
        ("lune", "there is no module lune (a file is named with its ending: lune.py)"),
        ("folder", "there is no module folder (a folder is named with a slash: folder/)"),
        ("json", "module json holds no collector (a subclass of oculus.Collector that sets `type`)"),
        ("{}", "is a mapping (a Python file, a folder or a module)"),
        ("''", "is '' (a Python file, a folder or a module)"),
    ],
)  # fmt: skip
def test_what_is_no_plugin_is_told(item: str, told: str) -> None:
    """A missing file, a folder, a module that is none of ours."""
    Path("folder").mkdir()
    assert mistakes_of(f"plugins: [{item}]\n") == [f"c.yaml:1: plugins[0]: {told}"]


def test_two_plugins_cannot_bring_one_kind() -> None:
    """The second one is the mistake."""
    write({"a.py": MOON, "b.py": MOON})
    assert mistakes_of("plugins: [a.py, b.py]\n") == [
        'c.yaml:1: plugins[1]: b.py brings the kind "moon", which plugins[0] has'
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("    def default_name(self): return 1 / 0", "ZeroDivisionError: division by zero (in moon.py:8)"),
        ("    def __post_init__(self): self.nothing", "AttributeError: "),
        ("    def __post_init__(self): raise ValueError('no such city')", "no such city"),
    ],
)
def test_settings_that_raise_are_a_mistake(settings: str, told: str) -> None:
    """Whatever a plugin's settings do, it is told at the entry."""
    write({"moon.py": CITY.replace("\nclass Moon(", f"{settings}\n\nclass Moon(")})
    (mistake,) = mistakes_of("plugins: moon.py\ncollectors: [{type: moon, city: x}]\n")
    assert mistake.startswith("c.yaml:2: collectors[0]: ")
    assert told in mistake


# -- installed packages -------------------------------------------------------------------------------


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package with these entry points and modules, as pip leaves it."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def install(name: str, points: str, **files: str) -> None:
        for module, text in files.items():
            write({f"site/{module}.py": text})
        info = f"site/{name.replace('-', '_')}-1.0.dist-info"
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        write({f"{info}/METADATA": about, f"{info}/entry_points.txt": points})
        plugins = Plugins()
        monkeypatch.setattr("oculus.vocabulary._loader", lambda: plugins)

    return install


def test_an_installed_kind_is_found(installed: Callable[..., None]) -> None:
    """Without `plugins:`, by its name."""
    installed("oculus-moon", "[oculus.collectors]\nmoon = inst_moon:Moon\n", inst_moon=MOON)
    assert collected(settings_of("collectors: [{type: moon}]")) == [("custom.moon", 0.42)]
    assert mistakes_of("collectors: [{type: moo}]") == [
        'c.yaml:1: collectors[0].type: unknown type "moo" (did you mean "moon"?)'
    ]


@pytest.mark.parametrize(
    ("points", "text", "told"),
    [
        ("moon = inst_bad:Moon", "1 / 0\n", 'site/inst_bad.py:1: ZeroDivisionError'),
        ("moon = inst_gone:Moon", "", "ModuleNotFoundError: No module named 'inst_gone'"),
        ("moon = inst_bad2:Moon", "Moon = 5\n", 'the installed "moon" is no collector'),
        ("moon = inst_bad3:Moon", MOON.replace('"moon"', '"sun"'), "its type is 'sun'"),
    ],
)  # fmt: skip
def test_a_broken_installed_kind_is_a_mistake_where_it_is_used(
    installed: Callable[..., None], points: str, text: str, told: str
) -> None:
    """It is no concern of configurations that do not name it."""
    module = points.partition(" = ")[2].partition(":")[0]
    installed("oculus-moon", f"[oculus.collectors]\n{points}\n", **({module: text} if text else {}))
    assert mistakes_of("collectors: [{type: self}]") == []
    (mistake,) = mistakes_of("collectors: [{type: moon}]")
    assert mistake.startswith("c.yaml:1: collectors[0]: ")
    assert told in mistake


def test_two_installed_packages_cannot_bring_one_kind(installed: Callable[..., None]) -> None:
    """Both are named."""
    installed("oculus-moon", "[oculus.collectors]\nmoon = inst_one:Moon\n", inst_one=MOON)
    installed("oculus-lune", "[oculus.collectors]\nmoon = inst_two:Moon\n", inst_two=MOON)
    (mistake,) = mistakes_of("collectors: [{type: moon}]")
    assert "oculus-moon 1.0" in mistake
    assert "oculus-lune 1.0" in mistake


def test_an_installed_channel_is_found(installed: Callable[..., None]) -> None:
    """A function that takes a step of an alert, used by the rules that name it."""
    installed(
        "oculus-bell", "[oculus.channels]\nbell = inst_bell:ring\nmute = inst_bell:nothing\n",
        inst_bell="def ring(transition): return transition\nnothing = 5\n",
    )  # fmt: skip
    rule = "rules: [{name: a, condition: x > 1, channels: [%s]}]"
    assert settings_of(rule % "bell").channels["bell"].plugin(7) == 7
    assert settings_of("notifications: {bell: {}}\n" + rule % "bell").channels["bell"].settings is None
    assert "takes no settings (leave out x)" in mistakes_of("notifications: {bell: {x: 1}}\n")[0]
    assert settings_of(rule % "log").channels == {}
    assert "is no function" in mistakes_of(rule % "mute")[0]
    assert 'unknown channel "bel" (did you mean "bell"?)' in mistakes_of(rule % "bel")[0]


BELL = """\
from dataclasses import dataclass
from oculus import Channel, ChannelSettings, between, setting

@dataclass(frozen=True, kw_only=True)
class BellSettings(ChannelSettings):
    door: str = setting(help="where it rings")
    times: int = setting(1, help="how often", check=between(1, 3))
    code: str = setting("", help="what opens it", secret=True)

class Bell(Channel):
    '''Rings at a door.'''
    Settings = BellSettings

    def __init__(self, settings):
        super().__init__(settings)
        self.rung = {"front": [], "back": []}[settings.door]

    def send(self, transition):
        self.rung.append(transition.rule * self.settings.times)
        return self.rung

class Mute(Channel):
    pass
"""


def test_an_installed_channel_has_settings(installed: Callable[..., None], tmp_path: Path) -> None:
    """They are checked like those of collectors; it may have several names; what it needs must be given."""
    points = "[oculus.channels]\nbell = inst_door:Bell\nmute = inst_door:Mute\n"
    installed("oculus-door", points, inst_door=BELL)
    rule = "rules: [{name: a, condition: x > 1, channels: [ops, bell]}]\n"
    settings = settings_of(
        "notifications: {ops: {type: bell, door: back, times: 2}, bell: {door: side}}\n" + rule
    )
    channels = {name: made(spec) for name, spec in settings.channels.items()}
    step = Transition(Micros(1), "a", "firing", "inactive", "warn", "m", Micros(1), channels=("ops", "bell"))
    notice = Notice("1", "first", (step,), (), Micros(1), Micros(1))
    channels["ops"].deliver(notice)
    assert channels["ops"].rung == ["aa"]  # type: ignore[attr-defined]
    with pytest.raises(Undelivered, match=r"it cannot be made: KeyError: 'side' \(in inst_door.py:16\)"):
        channels["bell"].deliver(notice)
    wrong = mistakes_of("notifications:\n  bell: {times: 5, dor: x}\n" + rule.replace("ops, ", ""))
    assert wrong == [
        "c.yaml:2: notifications.bell.times: 5 is out of range (1 to 3)",
        'c.yaml:2: notifications.bell.dor: unknown key (did you mean "door"?)',
        "c.yaml:2: notifications.bell.door: is missing (where it rings)",
    ]
    assert mistakes_of(rule.replace("ops, ", "")) == [
        "c.yaml:1: rules[0].channels[1].door: is missing (where it rings)".replace("[1]", "[0]")
    ]
    assert "has no send()" in mistakes_of("notifications: {mute: {}}")[0]
    ended = oculus("check", "--kinds", "bell", environ={"PYTHONPATH": str(tmp_path / "site")})
    assert ended.out.startswith("notifications: bell (plugin)\n  Rings at a door.\n")
    assert re.search(r"^  times +whole number +1 +how often$", ended.out, re.MULTILINE)


# -- containment --------------------------------------------------------------------------------------


def spec_of(body: str) -> CollectorSpec:
    """Return the one collector of a plugin with this body."""
    write({"moon.py": plugin(body)})
    return settings_of("plugins: [moon.py]\ncollectors: [{type: moon, timeout: 200ms}]\n").collectors[0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def __init__(self, spec, context): 1 / 0", "ZeroDivisionError: division by zero (in moon.py:5)"),
        ("def __init__(self, spec, context): raise SystemExit(2)", "it called sys.exit(2)"),
        ("def __init__(self, spec, context):\n    import gevent; gevent.sleep(60)", "not done after 0.2 s"),
        ("def describe(self): return 5", "TypeError: 'int' object is not a mapping"),
        ("def __new__(cls, *given): return 5", "AssertionError"),
    ],
)
def test_a_collector_that_cannot_be_made_fails_at_its_runs(body: str, told: str) -> None:
    """It stands in the list of collectors as a failing one, with the reason."""
    made = make(spec_of(f"{body}\ndef collect(self): return []"), Context())
    assert isinstance(made, Unmade)
    with pytest.raises(Exception, match="cannot be made: ") as caught:
        list(made.collect())
    assert told in str(caught.value)


WILD = """\
import sys, time
import gevent
from oculus import Collector, Sample

class Raises(Collector):
    type = "raises"
    def collect(self):
        yield Sample("custom.raised", 1.0)
        raise ValueError("no moon tonight")

class Quits(Collector):
    type = "quits"
    def collect(self):
        sys.exit(3)

class Hangs(Collector):
    type = "hangs"
    def collect(self):
        gevent.sleep(3600)

class Floods(Collector):
    type = "floods"
    def collect(self):
        for number in range(20_000):
            yield Sample(f"custom.flood.n{number}", 1.0)

class Rubbish(Collector):
    type = "rubbish"
    def collect(self):
        yield "a sample"

class Unmade(Collector):
    type = "unmade"
    def __init__(self, spec, context):
        raise KeyError("x")
    def collect(self):
        return []

class Blocks(Collector):
    type = "blocks"
    def collect(self):
        until = time.monotonic() + 8
        while time.monotonic() < until:
            pass
        yield Sample("custom.blocked", 1.0)
"""


def test_wild_plugins_harm_no_other_and_are_named(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """One that raises, quits, hangs, floods, brings rubbish or cannot be made is told with its reason, and
    so is one that holds the hub; what is sound goes on."""
    write({"wild.py": WILD, "moon.py": MOON})
    kinds = ("raises", "quits", "hangs", "floods", "rubbish", "unmade")
    wild = "".join(f"  - {{type: {kind}, interval: 300ms, timeout: 1s}}\n" for kind in kinds)
    sound = "  - {type: moon, interval: 300ms}\n"
    start = "plugins: [wild.py, moon.py]\ndatabase: {flush: 50ms}\ncollectors:\n"
    oculus = daemon(f"{start}{sound}{wild}")
    for kind, why in {
        "raises": "ValueError: no moon tonight (in wild.py:9)",
        "quits": "it called sys.exit(3) (in wild.py:14)",
        "hangs": "not done after 1 s",
        "floods": "more than 10000 series; those beyond are left out, as custom.flood.n10000",
        "rubbish": "'a sample' is no sample",
        "unmade": "cannot be made: KeyError: 'x' (in wild.py:35)",
    }.items():
        oculus.wait_log(f"collector {kind}/{kind} failed: {why}")
    assert oculus.latest("custom.raised") is not None
    seen = oculus.sql("select count(*) from metrics where symbol = 'custom.moon'")
    wait_for(lambda: oculus.sql("select count(*) from metrics where symbol = 'custom.moon'") > seen)
    oculus.configure(f"{start}{sound}  - {{type: blocks, interval: 60s, timeout: 1s}}\n")
    line = oculus.wait_log("the hub is held for 6 s by collector blocks/blocks", 60.0)
    assert "wild.py:" in line
    assert "(collect)" in line
    oculus.wait_log("the hub was held for ", 30.0)
    (held,) = oculus.sql("select message from events where message like 'the hub was held%'") or wait_for(
        lambda: oculus.sql("select message from events where message like 'the hub was held%'")
    )
    assert "by collector blocks/blocks in " in held[0]
    assert oculus.stop() == 0
    assert "Traceback" not in oculus.log()


def test_a_reload_takes_a_changed_plugin_over(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Its collectors are started anew, others are not touched; a broken one changes nothing."""
    write({"moon.py": MOON})
    text = USE.replace("1h", "200ms").replace("moon.py", "moon.py") + "  - {type: self, interval: 1h}\n"
    oculus = daemon(f"database: {{flush: 50ms}}\n{text}")
    wait_for(lambda: (oculus.latest("custom.moon") or {}).get("value") == 0.42)
    write({"moon.py": MOON.replace("0.42", "0.5")})
    oculus.configure(f"database: {{flush: 50ms}}\n{text}")
    oculus.wait_log("reloaded: 1 collectors started, 1 stopped")
    wait_for(lambda: (oculus.latest("custom.moon") or {}).get("value") == 0.5)
    write({"moon.py": "def (:\n"})
    oculus.configure(f"database: {{flush: 50ms}}\n{text}")
    oculus.wait_log("plugins[0]: ")
    oculus.wait_log("reload refused, the configuration is as before")
    seen = oculus.sql("select count(*) from metrics where value = 0.5")
    wait_for(lambda: oculus.sql("select count(*) from metrics where value = 0.5") > seen)
    assert oculus.stop() == 0


def test_a_broken_plugin_keeps_the_daemon_from_starting(daemon: Callable[..., Daemon]) -> None:
    """Exit status 2, with the line, and no database is made."""
    write({"moon.py": "import sys\nsys.exit(0)\n"})
    oculus = daemon(USE, ready=False)
    assert oculus.process.wait(timeout=60) == 2
    assert "moon.py:2: it called sys.exit(0)" in oculus.log()
    assert oculus.log().count("\n") == 1
    assert not oculus.database.exists()
