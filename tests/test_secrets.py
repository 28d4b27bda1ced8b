"""No secret is shown: whatever fails, in whichever way, a run leaves none in anything that it writes.

A daemon is given every channel, collector and action that takes a secret, each with secrets of its own, and
servers that repeat whatever they are told. Then all that was written is searched for all of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import duckdb
import pytest
import trustme
import yaml

from oculus.notify import CHANNELS
from tests.support import exposition
from tests.support.command import Ended, oculus
from tests.support.configs import mistakes_of
from tests.support.daemon import ROOT, Daemon
from tests.support.leaks import FAULTS, Echoes, Mailer, Source, Vault
from tests.support.servers import free_port, wait_for

PROGRAM = (sys.executable, str(ROOT / "oculus.py"))

# Of an installed package, whose author did not think of secrets.
PLUGIN = '''
from dataclasses import dataclass
from oculus import Channel, ChannelSettings, Collector, CollectorSettings, setting

@dataclass(frozen=True, kw_only=True)
class LeakySettings(CollectorSettings):
    code: str = setting(help="what opens the door", secret=True)

class Leaky(Collector):
    """Raises an error that tells its code."""
    type = "leaky"
    Settings = LeakySettings

    def collect(self):
        raise RuntimeError(f"the collector does not open the door with {self.spec.settings.code}")

@dataclass(frozen=True, kw_only=True)
class BellSettings(ChannelSettings):
    code: str = setting(help="what opens the door", secret=True)

class Bell(Channel):
    """Raises an error that tells its code."""
    Settings = BellSettings

    def send(self, transition):
        raise RuntimeError(f"the door does not open with {self.settings.code}: {self.settings}")

class Bug(BaseException):
    pass

class Trap(Bell):
    """Raises what nothing expects: it ends its greenlet, with a traceback."""

    def send(self, transition):
        code = self.settings.code
        raise Bug(f"no error at all: {code}")
'''
POINTS = "[oculus.channels]\nbell = leaky:Bell\ntrap = leaky:Trap\n[oculus.collectors]\nleaky = leaky:Leaky\n"


@dataclass
class World:
    """Where all of it stands."""

    folder: Path
    vault: Vault
    source: Source
    echoes: Echoes
    mailers: dict[str, int]
    written: dict[str, str] = field(default_factory=dict)  # what was written and answered, by where

    def secret(self, settings: dict[str, Any], key: str, purpose: str, form: str = "{}") -> None:
        """Give a setting a secret."""
        self.source.put(settings, key, self.vault.new(purpose, form))

    # -- channels -------------------------------------------------------------------------------------------

    def channels(self) -> dict[str, dict[str, Any]]:
        """Return every kind of channel with every fault."""
        found = {}
        makers = {
            "telegram": self._telegram, "discord": self._discord, "slack": self._slack, "bot": self._bot,
            "webhook": self._webhook, "signed": self._signed, "ntfy": self._ntfy, "gotify": self._gotify,
            "pagerduty": self._pagerduty, "apprise": self._apprise, "proxied": self._proxied,
        }  # fmt: skip
        for fault in FAULTS:
            for name, make in makers.items():
                settings = {"group_wait": "0s", "timeout": "1s", "base_url": self.echoes.base(fault)}
                found[f"{name}_{fault}"] = settings | make(settings, f"{name} {fault}")
                if name == "apprise":
                    del found[f"{name}_{fault}"]["base_url"]
        for fault, port in self.mailers.items():
            found[f"email_{fault}"] = self._email(fault, port)
        for name in ("bell", "trap"):
            found[name] = {"group_wait": "0s"}
            self.source.put(found[name], "code", self.vault.new(name, key=True))
        return found

    def _telegram(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "telegram", "chat_id": "42"}
        self.secret(found, "bot_token", about, "123456:{}")
        return found

    def _discord(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "discord"}
        self.secret(found, "webhook_url", about, "https://discord.com/api/webhooks/123456789/{}")
        return found

    def _slack(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "slack"}
        self.secret(found, "webhook_url", about, "https://hooks.slack.com/services/T0000/B0000/{}")
        return found

    def _bot(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "slack", "channel": "#ops"}
        self.secret(found, "bot_token", about, "xoxb-{}")
        return found

    def _webhook(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "webhook", "headers": {}, "auth": {"user": "user"}}
        base = settings.pop("base_url")
        self.secret(found, "url", f"{about} url", f"{base}/{{}}?plain=1")
        self.source.put(found["headers"], "X-Key", self.vault.new(f"{about} header"))
        found["headers"] = {key.removesuffix("_file"): value for key, value in found["headers"].items()}
        if str(found["headers"]["X-Key"]).startswith("/"):
            found["headers_file"] = found.pop("headers")
        self.secret(found["auth"], "password", f"{about} password", "p@ss/wörd+{}&%")
        self.secret(found, "secret", f"{about} secret")
        settings["base_url"] = ""
        return found

    def _signed(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "webhook", "format": "alertmanager"}
        base = settings.pop("base_url")
        self.secret(found, "url", f"{about} url", f"{base}/hook?key={{}}")
        self.secret(found, "bearer", f"{about} bearer")
        settings["base_url"] = ""
        return found

    def _ntfy(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "ntfy"}
        self.secret(found, "topic", f"{about} topic")
        if "4" in about:
            self.secret(found, "token", f"{about} token")
        else:
            found["auth"] = {"user": "user"}
            self.secret(found["auth"], "password", f"{about} password")
        return found

    def _gotify(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "gotify", "url": settings["base_url"]}
        self.secret(found, "token", about)
        return found

    def _pagerduty(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "pagerduty"}
        self.secret(found, "routing_key", about, "R{}ABCDEFGHIJKLMNOPQR")
        return found

    def _apprise(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "apprise"}
        base = settings["base_url"].replace("https://", "jsons://").replace("http://", "json://")
        place = base.replace("://", f"://user:{self.vault.new(f'{about} password')}@")
        self.secret(found, "url", about, f"{place}/{{}}")
        return found

    def _proxied(self, settings: dict[str, Any], about: str) -> dict[str, Any]:
        """Return a webhook behind a proxy with a password."""
        found: dict[str, Any] = {"type": "webhook", "url": "http://hooks.invalid/x"}
        base = settings.pop("base_url")
        proxy = base.partition("://")[2].partition("/")[0]
        scheme = base.partition("://")[0]
        found["proxy"] = f"{scheme}://user:{self.vault.new(f'{about} proxy')}@{proxy}"
        settings["base_url"] = ""
        return found

    def _email(self, fault: str, port: int) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "email", "smtp_host": "no-such-host.invalid" if fault == "dns" else "127.0.0.1",
            "smtp_port": port, "tls": "implicit" if fault in ("tls", "untrusted") else "none",
            "smtp_user": "user", "from_address": "a@example.com", "to_addresses": ["b@example.com"],
            "group_wait": "0s", "timeout": "1s",
        }  # fmt: skip
        self.secret(found, "smtp_pass", f"email {fault}", "p@ss/wörd+{}")
        return found

    # -- collectors, actions, and the rest ------------------------------------------------------------------

    def collectors(self) -> list[dict[str, Any]]:
        """Return every kind of collector that takes a secret, with some faults."""
        found: list[dict[str, Any]] = []
        for fault in ("401", "500", "302", "json", "refused", "garbage", "untrusted"):
            base, about = self.echoes.base(fault), f"collector {fault}"

            def add(kind: str, name: str, fault: str = fault, **settings: Any) -> dict[str, Any]:
                found.append(
                    {"type": kind, "name": f"{name}_{fault}", "interval": "1s", "timeout": "1s"} | settings
                )
                return found[-1]

            api = add("api", "api", url=f"{base}/x?key={self.vault.new(f'{about} key')}", json_path="$.v")
            api["headers"] = {"X-Key": self.vault.new(f"{about} header")}
            self.secret(api, "bearer", f"{about} bearer")
            api = add("api", "post", url=f"{base}/x", json_path="$.v", method="POST", auth={"user": "user"})
            self.secret(api["auth"], "password", f"{about} password", "p@ss/wörd+{}")
            self.secret(api, "body", f"{about} body")
            self.secret(add("prometheus", "prom", url=base), "bearer", f"{about} prometheus")
            self.secret(add("oculus", "other", url=base), "token", f"{about} token")
            probe = add("network", "http", probe="http", target=f"{base}/x", auth={"user": "user"})
            probe["headers"] = {"X-Key": self.vault.new(f"{about} header of a probe")}
            self.secret(probe["auth"], "password", f"{about} password of a probe", "p@ss/wörd+{}")
            self.secret(probe, "body", f"{about} body of a probe")
            probe = add("network", "proxied", probe="http", target="http://site.invalid/x")
            proxy = f"http://user:{{}}@{self.echoes.address(fault)}"
            self.secret(probe, "proxy", f"{about} proxy of a probe", proxy)
            probe = add("network", "ws", probe="websocket", target=base.replace("http", "ws", 1))
            probe["headers"] = {"X-Key": self.vault.new(f"{about} header of a websocket")}
            self.secret(probe, "send", f"{about} websocket")
            step: dict[str, Any] = {}
            self.secret(step, "send", f"{about} dialogue")
            steps = [step, {"expect": "never"}]
            add("network", "tcp", probe="tcp", target=self.echoes.address(fault), steps=steps)
            key = {"base_url": base}
            coin = add("crypto", f"coin_{fault}", asset=f"btc_{fault[:3]}", source="coingecko", **key)
            self.secret(coin, "api_key", f"{about} coingecko")
            share = add("stock", "share", ticker=f"T{fault.upper()[:4]}", source="alphavantage", **key)
            self.secret(share, "api_key", f"{about} alphavantage")
            proxy = f"http://user:{{}}@{self.echoes.address(fault)}"
            share = add("stock", "proxied", ticker=f"P{fault.upper()[:4]}", base_url="http://stocks.invalid")
            self.secret(share, "proxy", f"{about} proxy of a source", proxy)
            api = add("api", "behind", url="http://api.invalid/x", json_path="$.v")
            self.secret(api, "proxy", f"{about} proxy of an api", proxy)
        program = {"type": "exec", "name": "program", "interval": "1s", "env": {}}
        program["command"] = ["sh", "-c", 'echo "CRITICAL $KEY"; echo "$KEY" >&2; exit 2']
        program["env"] = {"KEY": self.vault.new("environment of a program")}
        beat: dict[str, Any] = {"type": "heartbeat", "name": "job", "period": "1h", "grace": "1h"}
        beat["key"] = self.vault.new("key of a heartbeat", "key_{}")
        leaky = {"type": "leaky", "name": "leaky", "interval": "1s", "code": ""}
        leaky["code"] = self.vault.new("leaky", key=True)
        return [*found, program, leaky, beat]

    def actions(self) -> list[dict[str, Any]]:
        """Return actions of each kind."""
        found: list[dict[str, Any]] = []
        for fault in FAULTS:
            action: dict[str, Any] = {"type": "http_post", "retry": 1, "timeout": "1s"}
            self.secret(action, "url", f"action {fault} url", f"{self.echoes.base(fault)}/{{}}")
            action["headers"] = {"X-Key": self.vault.new(f"action {fault} header")}
            self.secret(action, "body", f"action {fault} body")
            found.append(action)
        program = 'echo "$KEY"; echo "$KEY" >&2; exit 3'
        env = {"KEY": self.vault.new("environment of an action")}
        return [*found, {"type": "exec", "command": ["sh", "-c", program], "env": env, "retry": 0}]

    def config(self, log_format: str) -> dict[str, Any]:
        """Return the whole configuration."""
        channels = self.channels()
        heartbeat: dict[str, Any] = {"interval": "1s", "timeout": "1s"}
        self.secret(heartbeat, "url", "heartbeat", f"{self.echoes.base('500')}/{{}}")
        self.secret(heartbeat, "fail_url", "heartbeat, failing", f"{self.echoes.base('404')}/{{}}")
        server: dict[str, Any] = {}
        self.secret(server, "token", "server")
        rule = {
            "name": "leak", "condition": "custom.go > 0", "severity": "critical",
            "channels": ["log", *channels], "actions": self.actions(),
        }  # fmt: skip
        return {
            "server": server, "log": {"level": "debug", "format": log_format, "file": "run.log"},
            "database": {"flush": "50ms"}, "collectors": self.collectors(), "rules": [rule],
            "notifications": channels, "heartbeat": heartbeat,
        }  # fmt: skip

    def leaks(self) -> list[str]:
        """Return where secrets are."""
        return [found for where, text in self.written.items() for found in self.vault.found(where, text)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def words() -> bool:
    """Whether secrets look like words."""
    return False


@pytest.fixture
def world(tmp_path: Path, words: bool) -> Iterator[World]:
    """Servers that fail in every way, and secrets."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    echoes = Echoes(certificate)
    echo, silent = Mailer(), Mailer(silent=True)
    plain = Mailer()
    mailers = {
        "echo": echo.port, "hang": silent.port, "tls": plain.port, "refused": free_port(),
        "dns": 2525, "garbage": int(echoes.address("garbage").partition(":")[2]),
        "untrusted": int(echoes.address("untrusted").partition(":")[2]),
    }  # fmt: skip
    made = World(tmp_path, Vault(words=words), Source(tmp_path), echoes, mailers)
    site = tmp_path / "site" / "leaky-1.0.dist-info"
    site.mkdir(parents=True)
    (tmp_path / "site" / "leaky.py").write_text(PLUGIN)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (site / "entry_points.txt").write_text(POINTS)
    yield made
    echoes.stop()
    for mailer in (echo, silent, plain):
        mailer.stop()


def tried(daemon: Daemon, token: str, channels: Mapping[str, Any]) -> bool:
    """Tell whether each channel has tried to send."""
    families = exposition.parse(daemon.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text)

    def count(family: str, name: str) -> float:
        return families[f"oculus_channel_{family}"].samples[f"oculus_channel_{family}", (("channel", name),)]

    missing = [
        name
        for name in channels
        if name != "trap" and not count("failures_total", name) + count("sent_total", name)
    ]
    return not missing


@pytest.mark.parametrize(("log_format", "words"), [("text", False), ("json", True)])
def test_nothing_that_a_daemon_writes_or_answers_shows_a_secret(
    daemon: Callable[..., Daemon], world: World, log_format: str
) -> None:
    """Whatever fails, and whatever is wrong with what it is told to reload."""
    config = world.config(log_format)
    environ = world.source.environ | {"PYTHONPATH": str(world.folder / "site")}
    # The package apprise warns of itself.
    running = daemon(yaml.safe_dump(config, allow_unicode=True), environ=environ, program=PROGRAM)
    token = world.vault.secret("server")
    headers = {"Authorization": f"Bearer {token}"}
    assert running.get("/").status_code in (303, 401)
    assert running.post("/api/push/custom.go", json=1, headers=headers).status_code == 202
    wait_for(lambda: tried(running, token, config["notifications"]), 120)
    running.wait_log("no error at all", 60)
    key = config["collectors"][-1]["key"]
    for wrong in (key, f"{key}x"):
        world.written[f"a ping {wrong == key}"] = running.get(f"/api/heartbeat/job?key={wrong}").text
    running.post("/api/push/custom.go", json=0, headers=headers)
    wait_for(lambda: running.log().count("alert resolved") > 0, 30)
    running.configure(wrong_config(config))
    running.wait_log("reload refused", 30)
    for path in (
        "/", "/alerts", "/rules", "/rules/leak", "/system", "/storage", "/status", "/query", "/metrics",
        "/api/rules", "/api/rules/leak", "/api/alerts?limit=100", "/api/metrics", "/readyz",
        "/partials/log?level=debug",
    ):  # fmt: skip
        answer = running.get(path, headers=headers)
        assert answer.status_code == 200, path
        world.written[path] = answer.text
    statement = {"sql": "select id from events where type = 'alert' order by id limit 5"}
    ids = running.post("/api/query", json=statement, headers=headers).json()["rows"]
    assert ids
    for (id,) in ids:
        for path in (f"/alerts/{id}", f"/api/alerts/{id}"):
            world.written[path] = running.get(path, headers=headers).text
    assert running.stop() == 0
    world.written["standard error"] = running.log()
    world.written["the log file"] = (world.folder / "run.log").read_text()
    world.written |= stored(running.database)
    for text in ("telegram_401", "email_echo", "connection refused", "cannot be called", "401", "500"):
        assert text in world.written["standard error"], text
    assert "telegram_401" in world.written[f"/alerts/{ids[0][0]}"]
    assert "Traceback" in world.written["standard error"] or log_format == "json"
    assert all(f"{kind}" in world.written["table deliveries"] for kind in CHANNELS)
    assert "action:leak" in world.written["table deliveries"]
    assert "the collector does not open the door with ***" in world.written["standard error"]
    leaks = world.leaks()
    assert not leaks, "\n".join(leaks)


def stored(path: Path) -> dict[str, str]:
    """Return what is in a database: each table as text, and the bytes of the file."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("checkpoint")
        tables = connection.execute("select table_name from duckdb_tables()").fetchall()
        found = {
            f"table {table}": "\n".join(map(str, connection.execute(f"select * from {table}").fetchall()))
            for (table,) in tables
        }
    return found | {"the database": path.read_bytes().decode("latin-1")}


def wrong_config(config: dict[str, Any]) -> str:
    """Return the same configuration with a mistake at each secret."""
    wrong = json.loads(json.dumps(config))
    for name, channel in wrong["notifications"].items():
        for key in [key for key in channel if key not in ("type", "group_wait", "timeout")]:
            value = channel[key]
            channel[key] = [value, {"x": value}] if isinstance(value, str) else {"x": value, "y": [value]}
        channel[f"unknown_{name}"] = "x"
    for collector in wrong["collectors"]:
        for key in ("headers", "bearer", "token", "api_key", "auth", "body", "send", "key", "env", "proxy"):
            if key in collector:
                collector[key] = [collector[key], "x"]
    wrong["server"] = {key: [value] for key, value in wrong["server"].items()}
    wrong["heartbeat"] = {key: [value] for key, value in wrong["heartbeat"].items()}
    return yaml.safe_dump(wrong, allow_unicode=True)


def shown(world: World, where: str, ended: Ended) -> Ended:
    """Note what a command printed."""
    world.written[where] = ended.out + ended.err
    return ended


@pytest.mark.parametrize("words", [True])
def test_check_shows_none_of_them(world: World) -> None:
    """Of a right file it has nothing to say, of a wrong one it tells each mistake."""
    config = world.config("text")
    environ = world.source.environ | {"PYTHONPATH": str(world.folder / "site")}
    Path("right.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    Path("wrong.yaml").write_text(wrong_config(config))
    assert shown(world, "right", oculus("check", "right.yaml", environ=environ, program=PROGRAM)).status == 0
    ended = shown(world, "wrong", oculus("check", "wrong.yaml", environ=environ, program=PROGRAM))
    assert ended.status == 2
    for told in ("notifications.telegram_401.bot_token", "heartbeat.url", "server.token", "collectors[0]."):
        assert told in ended.err
    assert world.leaks() == []


SECRET_LINES = {
    # A value that is none, in each of the ways in which values are read.
    "telegram": "notifications: {telegram: {bot_token: [%s], chat_id: 4}}",
    "webhook": "notifications: {webhook: {url: 'ftp://user:%s@x.example/%s'}}",
    "user": "notifications: {webhook: {url: 'https://user:%s@x.example/'}}",
    "port": "notifications: {webhook: {url: 'https://x.example:99999/%s'}}",
    "line": 'notifications: {webhook: {url: "https://x.example/a b\\n%s"}}',
    "header": 'notifications: {webhook: {url: "https://x.example/", headers: {X-Key: "a\\n%s"}}}',
    "bearer": 'notifications: {webhook: {url: "https://x.example/", bearer: "a %s\\n"}}',
    "template": "notifications: {webhook: {url: 'https://x.example/', template: '{{ %s'}}",
    "pagerduty": "notifications: {pagerduty: {routing_key: %s}}",
    "ntfy": "notifications: {ntfy: {topic: 'a b %s'}}",
    "apprise": "notifications: {apprise: {url: 'nothing://%s/%s'}}",
    "proxy": "notifications: {gotify: {url: 'https://x.example', token: A, proxy: 'socks://u:%s@x'}}",
    "proxy of a probe": "collectors: [{type: network, probe: http, target: 'http://x/', proxy: 'x://u:%s@x'}]",
    "proxy of an api": "collectors: [{type: api, name: a, url: 'http://x/', json_path: $.a, proxy: 'x://%s@x'}]",
    "base": "notifications: {slack: {webhook_url: 'https://x.example/a', base_url: 'ftp://u:%s@x'}}",
    "action": "rules: [{name: a, condition: x > 1, action: {type: http_post, url: 'https://u:%s@x.example'}}]",
    "body": "rules: [{name: a, condition: x > 1, action: {type: http_post, url: 'http://x', body: '{{ %s'}}]",
    "env": 'rules: [{name: a, condition: x > 1, action: {type: exec, command: [a], env: {"A=%s": "%s"}}}]',
    "env of a program": 'collectors: [{type: exec, name: a, command: [a], env: {A: "\\0%s"}}]',
    "key": "collectors: [{type: heartbeat, name: a, period: 1h, grace: 1h, key: 'a %s'}]",
    "heartbeat": "heartbeat: {url: 'ftp://x.example/%s', fail_url: [%s]}",
    "twice": "server: {token: %s, token: %s}",
    "beside a file": "server: {token: %s, token_file: secret}",
    # What is no YAML.
    "quote": 'server:\n  token: "%s\n  port: 1\n',
    "tab": "server:\n\ttoken: %s\n",
    "brace": "server: {token: %s\nport: 1",
    "anchor": "server: {token: *%s}",
    "variable": "server: {token: '${%s'}",
    "at": "server: {token: @%s}",
}


@pytest.mark.parametrize("name", SECRET_LINES)
def test_a_mistake_beside_a_secret_does_not_show_it(name: str) -> None:
    """Nor does the reader of the file, which would show the line."""
    vault = Vault(words=True)
    text = SECRET_LINES[name]
    secrets = [vault.new(name) for _ in range(text.count("%s"))]
    Path("secret").write_text(vault.new("a file"))
    told = "\n".join(mistakes_of(text % tuple(secrets)))
    assert told
    assert list(vault.found(name, told)) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("quote", 'server = {token = "%s}\n'),
        ("value", "[server]\ntoken = %s\n"),
        ("twice", '[server]\ntoken = "%s"\ntoken = "%s"\n'),
        ("type", '[server]\ntoken = ["%s"]\n'),
    ],
)
def test_a_mistake_in_toml_does_not_show_it_either(name: str, text: str) -> None:
    """Whose reader is another one."""
    vault = Vault(words=True)
    told = "\n".join(mistakes_of(text % tuple(vault.new(name) for _ in range(text.count("%s"))), "c.toml"))
    assert told
    assert list(vault.found(name, told)) == []


@pytest.mark.parametrize("words", [True])
def test_the_test_of_a_channel_shows_none_of_them(world: World) -> None:
    """Whatever the service says."""
    channels = world.channels()
    faults = cycle(("401", "404", "500", "302", "json"))
    kinds = dict.fromkeys(name.partition("_")[0] for name in channels if "_" in name)
    names = [f"{kind}_{fault}" for kind, fault in zip(kinds, faults, strict=False) if kind != "email"]
    names += ["email_echo", "bell"]
    environ = world.source.environ | {"PYTHONPATH": str(world.folder / "site")}
    configured = {"notifications": {name: channels[name] for name in names}}
    Path("config.yaml").write_text(yaml.safe_dump(configured, allow_unicode=True))
    for name in names:
        ended = shown(world, name, oculus("notify-test", name, environ=environ, program=PROGRAM))
        taken = name.endswith("json") and channels[name]["type"] in ("webhook", "apprise")
        assert ended.status == (0 if taken else 1), (name, ended)
        assert ended.out + ended.err
    assert world.leaks() == []
