"""A whole configuration: what it may hold, and the exact message for each mistake in it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.collectors import KINDS, collector_class
from oculus.collectors.network.http import HttpSettings
from oculus.collectors.network.ping import PingSettings
from oculus.config import Settings, load, loads
from oculus.config.builtin import DEMO, STARTER
from oculus.errors import ConfigError
from oculus.storage.database import DEFAULT_MEMORY
from tests.support.configs import SEED, VOCABULARY, mistakes_of, settings_of, write

# -- what is right ------------------------------------------------------------------------------------


def test_an_empty_file_has_every_default() -> None:
    """Nothing is required: the defaults are those of the manual."""
    settings = settings_of("")
    assert (settings.server.bind, settings.server.port, settings.server.token) == ("127.0.0.1", 8080, "")
    assert settings.server.loopback
    assert not settings.server.insecure
    database = settings.database
    assert (database.path, database.retention, database.flush) == ("oculus.db", 7 * 86_400.0, 1.0)
    assert (database.memory_limit, database.threads) == (DEFAULT_MEMORY, 1)
    assert (settings.log.level, settings.log.format, settings.log.file) == ("info", "text", "")
    assert settings.collectors == ()
    assert settings.rules == ()
    assert settings.warnings == ()


@pytest.mark.parametrize(
    "key", ["server", "database", "log", "collectors", "rules", "notifications", "include"]
)
def test_a_section_without_content_is_as_good_as_none(key: str) -> None:
    """A key whose lines are all commented out is no mistake."""
    assert settings_of(f"{key}:\n") == settings_of("")


def test_the_first_example_is_accepted_with_a_warning() -> None:
    """A channel without settings does not stop the rest."""
    settings = settings_of(SEED)
    assert [spec.id for spec in settings.collectors] == ["network/ping/8_8_8_8", "crypto/btc_usd"]
    assert settings.collectors[0].settings.interval == 30.0
    (rule,) = settings.rules
    assert (rule.name, rule.severity, rule.channels) == ("btc_price_alert", "info", ("telegram", "log"))
    assert settings.warnings == (
        'c.yaml:17: rules[0].channels[0]: the channel "telegram" is not configured; its alerts go to the log',
    )


CONTRACT = """\
server:    {bind: 127.0.0.1, port: 8080, token: "${OCULUS_TOKEN:-}"}
database:  {path: oculus.db, retention: 7d, flush: 1s, memory_limit: 128MB, threads: 1}
collectors:
  - {type: network, probe: ping, target: 8.8.8.8, interval: 30s}
  - {type: network, probe: http, name: site, target: "https://example.com", interval: 30s, timeout: 5s,
     expect: {status: 200-299}}
  - {type: network, probe: tcp, target: "db.local:5432"}
  - {type: crypto, asset: btc_usd, source: coingecko, interval: 60s}
  - {type: crypto, indicator: fng}
  - {type: stock, ticker: TSLA, source: yahoo, interval: 60s}
  - {type: prediction, slug: will-it-rain, source: polymarket}
  - {type: api, name: custom_index, url: "https://example.com/x", headers: {a: b}, json_path: $.data.value,
     interval: 60s}
rules:
  - {name: slow, condition: "net.http.site.rtt > 1000", for: 2m, severity: warn, message: "…",
     channels: [log]}
notifications:
  telegram: {bot_token: "${TELEGRAM_TOKEN}", chat_id: "42"}
  discord:  {webhook_url: "${HOOK}"}
  slack:    {webhook_url: "${HOOK}"}
  email:    {smtp_host: a, smtp_port: 587, tls: starttls, from_address: a@b, to_addresses: [c@d]}
  webhook:  {url: "http://a/", method: POST, headers: {a: b}, template: "…"}
  ops:      {type: slack, webhook_url: "${HOOK}"}
"""


def test_the_contract_examples_of_this_version_are_accepted() -> None:
    """Servers, stores, probes, rules and channels are read as the contract writes them."""
    settings = settings_of(CONTRACT, environ={"TELEGRAM_TOKEN": "t", "HOOK": "h"})
    assert [spec.id for spec in settings.collectors] == [
        "network/ping/8_8_8_8", "network/http/site", "network/tcp/db_local_5432", "crypto/btc_usd",
        "crypto/fng", "stock/tsla", "prediction/will_it_rain", "api/custom_index",
    ]  # fmt: skip
    http = settings.collectors[1].settings
    assert isinstance(http, HttpSettings)
    assert (http.interval, http.timeout, http.target) == (30.0, 5.0, "https://example.com")
    assert 204 in http.expect.status
    assert 301 not in http.expect.status
    (rule,) = settings.rules
    assert (rule.for_, rule.message, rule.cooldown) == (120.0, "…", 0.0)
    names = ["telegram", "discord", "slack", "email", "webhook", "ops"]
    assert list(settings.channels) == names
    assert [type(spec.settings).__module__.rpartition(".")[2] for spec in settings.channels.values()] == [
        "telegram", "discord", "slack", "mail", "webhook", "slack",
    ]  # fmt: skip
    # Placeholders are taken, with a word about them.
    assert [warning.split(": ")[1] for warning in settings.warnings] == [
        "notifications.telegram.bot_token", "notifications.discord.webhook_url",
        "notifications.slack.webhook_url", "notifications.ops.webhook_url",
    ]  # fmt: skip


def test_toml_takes_the_same_keys() -> None:
    """A file that ends in .toml means the same as its YAML twin."""
    toml = settings_of(
        "[server]\nport = 9000\n"
        '[[collectors]]\ntype = "network"\nprobe = "ping"\ntarget = "::1"\ncount = 2\ninterval = "10s"\n'
        "tags = {room = 7}\n"
        '[[rules]]\nname = "r"\ncondition = "a > 1"\nfor = "1m"\nchannels = ["log"]\n',
        "c.toml",
    )
    yaml = settings_of(
        "server: {port: 9000}\n"
        "collectors:\n"
        "- {type: network, probe: ping, target: '::1', count: 2, interval: 10s, tags: {room: 7}}\n"
        "rules: [{name: r, condition: a > 1, for: 1m, channels: [log]}]\n"
    )
    assert toml == yaml
    assert isinstance(toml.collectors[0].settings, PingSettings)
    assert toml.collectors[0].settings.tags == {"room": "7"}


def test_collectors_are_named_by_the_slug_of_name_or_target() -> None:
    """A symbol's part is lower case with underscores, whatever the user writes."""
    settings = settings_of(
        "collectors:\n"
        "- {type: network, probe: ping, target: Router.Local}\n"
        "- {type: network, probe: ping, target: a, name: My Router!}\n"
        "- {type: network, probe: http, target: 'http://a/x?y=1'}\n"
        "- {type: network, probe: tcp, target: '[::1]:22'}\n"
        "- {type: self}\n"
    )
    assert [spec.name for spec in settings.collectors] == [
        "router_local", "my_router", "http_a_x_y_1", "1_22", "oculus",
    ]  # fmt: skip


def test_the_same_name_may_stand_for_different_kinds() -> None:
    """Ping and HTTP of one host have symbols of their own."""
    settings = settings_of(
        "collectors:\n"
        "- {type: network, probe: ping, name: site, target: a}\n"
        "- {type: network, probe: http, name: site, target: 'http://a/'}\n"
    )
    assert [spec.id for spec in settings.collectors] == ["network/ping/site", "network/http/site"]


def test_collectors_of_included_files_join_in() -> None:
    """A folder of files, one for each host, is one configuration."""
    write({"hosts/a.yaml": "collectors: [{type: network, probe: ping, target: a}]"})
    write({"hosts/b.toml": '[[collectors]]\ntype = "network"\nprobe = "ping"\ntarget = "b"\n'})
    settings = settings_of("include: hosts\ncollectors: [{type: self}]\n")
    assert [spec.name for spec in settings.collectors] == ["oculus", "a", "b"]


@pytest.mark.parametrize(
    ("notifications", "channels", "warnings"),
    [
        ("", "[log]", []),
        ("", "log", []),
        ("", "[]", []),
        ("", "[slack]", [("c.yaml:2: rules[0].channels[0]: the channel \"slack\" is not configured;"
                         " its alerts go to the log")]),
        ('slack: {webhook_url: "https://hooks.example.com/x"}', "[slack]", []),
        ("ops: {type: ntfy, topic: x}", "[ops, log]", []),
        ("journal: {type: log}", "[journal]", []),
    ],
)  # fmt: skip
def test_a_rule_may_name_the_channels_of_this_program(
    notifications: str, channels: str, warnings: list[str]
) -> None:
    """Configured channels, those by other names, and the log are known; a missing one is a warning."""
    settings = settings_of(
        f"notifications: {{{notifications}}}\nrules: [{{name: a, condition: x > 1, channels: {channels}}}]\n"
    )
    assert list(settings.warnings) == warnings


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("example.com", False), ("", False),
        ("localhost.example.com", False), ("::ffff:192.0.2.1", False),
    ],
)  # fmt: skip
def test_only_loopback_addresses_count_as_loopback(bind: str, loopback: bool) -> None:
    """A name that could resolve to anything is taken as open to others."""
    assert settings_of(f"server: {{bind: '{bind}'}}").server.loopback is loopback


def test_the_built_in_configuration_is_right() -> None:
    """What runs without a file has no mistake, no warning, and something to show."""
    settings = loads(DEMO, "built-in", VOCABULARY, {"HOST": "127.0.0.1", "PORT": "8080"})
    assert settings.warnings == ()
    assert {spec.kind for spec in settings.collectors} == {
        "network/http", "network/ping", "network/tcp", "self",
    }  # fmt: skip
    assert settings.rules


def test_the_configuration_that_init_writes_is_right() -> None:
    """What a newcomer starts from has no mistake and no warning, with its comments taken away as well."""
    assert settings_of(STARTER).warnings == ()
    assert len(settings_of(STARTER.replace("  # - ", "  - ")).collectors) == 10


# -- what is wrong ------------------------------------------------------------------------------------

_PING = "  - {type: network, probe: ping, target: a"
# A mistake is a line; below it an expression with a caret may be shown.
ONE_LINE = re.compile(r"[^\n]+(\n    .+\n +\^)?")
_HTTP = "  - {type: network, probe: http, target: 'http://a/'"
_SECTIONS = (
    "canaries, collectors, database, derived, heartbeat, include, log, maintenance, notifications, plugins,"
    " rules, server, status"
)
_CHANNELS = "apprise, discord, email, gotify, log, ntfy, pagerduty, slack, telegram, webhook"
_TYPES = ", ".join(sorted({kind.partition("/")[0] for kind in KINDS}))
_PROBES = ", ".join(sorted(kind.partition("/")[2] for kind in KINDS if "/" in kind))

MISTAKES = [
    # sections
    ("server: {}\ncolectors: []", '2: colectors: unknown key (did you mean "collectors"?)'),
    ("xyz: 1", f"1: xyz: unknown key (known: {_SECTIONS})"),
    ("log: {}\nexport: []", "2: export: is not available in this version"),
    ("derived:\n  - {name: a, formula: b +}",
     "2: derived[0].formula: the formula ends too early\n    b +\n       ^"),
    ("derived:\n  - {name: a, formula: x.* + 1}",
     "2: derived[0].formula: a formula is about named series, without wildcards"),
    ("derived:\n  - {name: a, formula: b}\n  - {name: b, formula: 2 * a}",
     "2: derived: is made of itself: a → b → a"),
    ("derived:\n  - {name: a, formula: b}\n  - {name: a, formula: c}",
     '3: derived[1].name: "a" is there twice'),
    ("export: {}", "1: export: is not available in this version"),
    ("plugins: [a.py]", "1: plugins[0]: there is no file a.py"),
    ("server: [1]", "1: server: is a list (a mapping of settings)"),
    ("log: debug", "1: log: is 'debug' (a mapping of settings)"),
    ("collectors: {type: self}", "1: collectors: is a mapping (a list)"),
    ("rules: none", "1: rules: is 'none' (a list)"),
    ("notifications: [telegram]", "1: notifications: is a list (a mapping of channels)"),
    ("server:\n  port: 1\n  port: 2", "3: server.port: is set twice (first in line 2)"),
    ("server: {}\nserver: {}", "2: server: is set twice (first in line 1)"),
    # settings
    ("server:\n  prot: 80", '2: server.prot: unknown key (did you mean "port"?)'),
    ("server: {port: 99999}", "1: server.port: 99999 is out of range (0 to 65535)"),
    ("server:\n  port: http", "2: server.port: 'http' is not a whole number"),
    ("server: {insecure: maybe}", "1: server.insecure: 'maybe' is neither true nor false"),
    ("server: {token: '${TOKEN}'}",
     "1: server.token: the environment variable TOKEN is not set (set it, or ${TOKEN:-default})"),
    ("database: {memory_limit: lots}",
     "1: database.memory_limit: 'lots' is not a size (such as 128MB or 2GiB)"),
    ("database: {memory_limit: 1MB}", "1: database.memory_limit: 1MB is out of range (32MB to 10TB)"),
    ("database: {retention: 1s}", "1: database.retention: 1s is out of range (1m to 36600d)"),
    ("database: {retention: 7}", "1: database.retention: '7' is not a duration (7s)"),
    ("database: {flush: 2m}", "1: database.flush: 2m is out of range (10ms to 1m)"),
    ("database: {batch: 0}", "1: database.batch: 0 is out of range (1 to 100000)"),
    ("database: {queue: 10}", "1: database.queue: 10 is out of range (1000 to 10000000)"),
    ("database: {path: ''}", "1: database.path: '' is not a file name (a path such as oculus.db)"),
    ('database: {path: "a\\0"}', "1: database.path: 'a\\x00' is not a file name (a path such as oculus.db)"),
    ("log: {level: loud}", "1: log.level: is 'loud' (one of: debug, info, warning, error)"),
    ("log: {format: xml}", "1: log.format: is 'xml' (one of: text, json)"),
    ("log: {file: 'a{b}.log'}", "1: log.file: 'a{b}.log' is not a file name (a path such as oculus.log)"),
    ("log: {keep: ever}", "1: log.keep: 'ever' is not a duration (such as 500ms, 30s, 5m, 1h or 7d)"),
    # collectors
    ("collectors:\n  - self", "2: collectors[0]: is 'self' (a mapping of settings)"),
    ("collectors:\n  -", "2: collectors[0]: is nothing (a mapping of settings)"),
    ("collectors:\n  - {interval: 5s}",
     f"2: collectors[0].type: is missing (one of: {_TYPES})"),
    ("collectors:\n  - {type: netwrk}",
     '2: collectors[0].type: unknown type "netwrk" (did you mean "network"?)'),
    ("collectors:\n  - {type: weather}",
     f'2: collectors[0].type: unknown type "weather" (known: {_TYPES})'),
    ("collectors:\n  - type: network\n    target: a",
     f"2: collectors[0].probe: is missing (one of: {_PROBES})"),
    ("collectors:\n  - type: network\n    probe: pign",
     '3: collectors[0].probe: unknown probe "pign" (did you mean "ping"?)'),
    ("collectors:\n  - {type: self, probe: ping}",
     "2: collectors[0].probe: unknown key (known: interval, name, tags, timeout)"),
    ("collectors:\n  - type: self\n    intervall: 5s",
     '3: collectors[0].intervall: unknown key (did you mean "interval"?)'),
    ("collectors:\n  - {type: network, probe: ping}",
     "2: collectors[0].target: is missing (host name or address)"),
    (f"collectors:\n{_PING}, tags: {{Room: x}}}}",
     "2: collectors[0].tags: 'Room' is not a tag name (lower-case letters, digits, _)"),
    (f"collectors:\n{_PING}, name: '//'}}",
     "2: collectors[0].name: '//' has no letter or digit (a name such as site)"),
    (f"collectors:\n{_PING}, retries: 11}}", "2: collectors[0].retries: 11 is out of range (0 to 10)"),
    (f"collectors:\n{_PING}, family: ipv5}}",
     "2: collectors[0].family: is 'ipv5' (one of: any, ipv4, ipv6)"),
    (f"collectors:\n{_PING}, count: 0}}", "2: collectors[0].count: 0 is out of range (1 to 100)"),
    (f"collectors:\n{_PING}, interval: 30}}", "2: collectors[0].interval: '30' is not a duration (30s)"),
    (f"collectors:\n{_PING}, timeout: 0s}}",
     "2: collectors[0].timeout: 0s is out of range (100ms to 366d)"),
    ("collectors:\n  - {type: network, probe: ping, target: ''}",
     "2: collectors[0].target: '' is not a host (such as db.local or 192.0.2.1)"),
    ("collectors:\n  - {type: network, probe: ping, target: 'http://a/'}",
     "2: collectors[0].target: 'http://a/' is not a host (such as db.local or 192.0.2.1)"),
    ("collectors:\n  - {type: network, probe: tcp, target: db.local}",
     "2: collectors[0].target: 'db.local' is not host:port (such as db.local:5432)"),
    ("collectors:\n  - {type: network, probe: http, target: example.com}",
     "2: collectors[0].target: 'example.com' is not a URL (such as https://example.com/health)"),
    (f"collectors:\n{_HTTP},\n     expect: {{status: ok}}}}",
     "3: collectors[0].expect.status: 'ok' is no set of status codes (such as 200, 200-299 or 200-299,404)"),
    (f"collectors:\n{_HTTP},\n     expect: {{statsu: 200}}}}",
     '3: collectors[0].expect.statsu: unknown key (did you mean "status"?)'),
    ("collectors:\n  - {type: self}\n  - {type: self}",
     '3: collectors[1].name: the name "oculus" is taken by collectors[0] (give one of them another name)'),
    (f"collectors:\n{_PING}}}\n{_PING}, name: A}}",
     '3: collectors[1].name: the name "a" is taken by collectors[0] (give one of them another name)'),
    (f"collectors:\n  - {{type: network, probe: http, target: 'http://a/{'x' * 100}'}}",
     ('2: collectors[0].name: the name "http_a_xxxxxxxxxxxxx…" has more than 100 characters'
     " (give it a shorter one)")),
    # rules
    ("rules: [a > 1]", "1: rules[0]: is 'a > 1' (a mapping of settings)"),
    ("rules:\n  - condition: a > 1", "2: rules[0].name: is missing (name of the rule)"),
    ("rules:\n  - name: a",
     "2: rules[0]: needs one of condition and sql"),
    ("rules:\n  - {name: a/b, condition: a > 1}",
     "2: rules[0].name: 'a/b' cannot name a rule (a name such as slow_site)"),
    ("rules:\n  - {name: ' ', condition: a > 1}",
     "2: rules[0].name: ' ' cannot name a rule (a name such as slow_site)"),
    ("rules:\n  - name: a\n    condition: net.x.rtt >",
     "3: rules[0].condition: the condition ends too early\n    net.x.rtt >\n               ^"),
    ("rules:\n  - {name: a, condition: net.x.rtt}",
     "2: rules[0].condition: 'net.x.rtt' is a number, not a condition (compare it: net.x.rtt > 0)"),
    ("rules:\n  - name: a\n    condition: x > 1\n    message: '{{ value'",
     ("4: rules[0].message: unexpected end of template, expected 'end of print statement'."
     " (in line 1 of the template)")),
    ("rules:\n  - name: a\n    condition: x > 1\n    message: '{{ value | nosuch }}'",
     "4: rules[0].message: No filter named 'nosuch'. (in line 1 of the template)"),
    ("rules:\n  - {name: a, condition: x > 1, severity: warning}",
     "2: rules[0].severity: is 'warning' (one of: info, warn, error, critical)"),
    ("rules:\n  - {name: a, condition: x > 1, for: 2}", "2: rules[0].for: '2' is not a duration (2s)"),
    ("rules:\n  - {name: a, condition: x > 1, for_: 2s}",
     '2: rules[0].for_: unknown key (did you mean "for"?)'),
    ("rules:\n  - {name: a, condition: x > 1, cooldown: 400d}",
     "2: rules[0].cooldown: 400d is out of range (0s to 366d)"),
    ("rules:\n  - {name: a, condition: x > 1}\n  - {name: a, condition: x > 2}",
     '3: rules[1].name: the name "a" is taken by rules[0]'),
    (
        "rules:\n  - {name: a, sql: select 1, condition: x > 1}",
        "2: rules[0]: needs one of condition and sql",
    ),
    ("rules:\n  - {name: a, condition: x > 1, until: y.* < 1}",
     ("2: rules[0].until: until has 1 wildcards, and the condition 0"
     " (as many, which then stand for the same texts)")),
    ("rules:\n  - {name: a, condition: x > 1, depends_on: [b]}",
     '2: rules[0].depends_on: names no rule: "b" (known: a)'),
    ("rules:\n  - {name: a, condition: x > 1, depends_on: a}", "2: rules[0].depends_on: is the rule itself"),
    ("rules:\n  - {name: a, sql: select 1, schedule: 61 * * * *}",
     "2: rules[0]: '61 * * * *' is not a cron expression (such as 30 3 * * *)"),
    ("rules:\n  - name: a\n    condition: x > 1\n    channels:\n      - log\n      - telegramm",
     '6: rules[0].channels[1]: unknown channel "telegramm" (did you mean "telegram"?)'),
    ("rules:\n  - name: a\n    condition: x > 1\n    channels: xyz",
     f'4: rules[0].channels[0]: unknown channel "xyz" (known: {_CHANNELS})'),
    # notifications
    ("notifications:\n  xyz: {url: x}",
     f'2: notifications.xyz: unknown channel "xyz" (known: {_CHANNELS})'),
    ("notifications:\n  ops: {type: slak}",
     '2: notifications.ops: unknown channel "slak" (did you mean "slack"?)'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mistake"), MISTAKES, ids=[mistake for _, mistake in MISTAKES])
def test_a_mistake_is_told_with_file_line_path_and_what_would_be_right(text: str, mistake: str) -> None:
    """Each mistake is one message, and no other comes with it."""
    assert mistakes_of(text) == [f"c.yaml:{mistake}"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["interval", "timeout"])
def test_no_collector_can_be_told_to_run_without_pause(kind: str, key: str) -> None:
    """Every kind bounds its interval and its timeout, whatever else is wrong with an entry."""
    type_, _, probe = kind.partition("/")
    more = f", probe: {probe}" if probe else ""
    told = mistakes_of(f"collectors: [{{type: {type_}{more}, {key}: 0s}}]")
    (mistake,) = [text for text in told if text.startswith(f"c.yaml:1: collectors[0].{key}: ")]
    assert "0s is out of range (100ms to " in mistake or "unknown key" in mistake


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_kinds_leads_to_classes_of_that_kind(kind: str) -> None:
    """What configuration and `check` read is what the daemon runs."""
    assert collector_class(kind).type == kind.partition("/")[0]


def test_all_mistakes_of_all_sections_are_told_at_once() -> None:
    """One run of `check` is enough to correct a file."""
    write({"more.yaml": "collectors:\n  - {type: slef}\nserver: {bind: b}\n"})
    assert mistakes_of(
        "include: more.yaml\n"
        "servr: {}\n"
        "server: {port: x, bind: a}\n"
        "database: {flush: 1, path: '${NONE}'}\n"
        "log: {level: loud, file: '{'}\n"
        "collectors:\n"
        "  - {type: network, probe: ping}\n"
        "  - {type: self, interval: 1}\n"
        "  - {type: self}\n"
        "  - {type: self}\n"
        "rules:\n"
        "  - {name: a, condition: x >, message: '{% %}', channels: [b]}\n"
        "  - {name: a, condition: x > 1}\n"
        "  - {name: b, severity: bad}\n"
        "notifications: {pager: {}}\n"
    ) == [
        "c.yaml:4: database.path: the environment variable NONE is not set (set it, or ${NONE:-default})",
        "more.yaml:3: server.bind: is set in c.yaml:3 already",
        'c.yaml:2: servr: unknown key (did you mean "server"?)',
        "c.yaml:3: server.port: 'x' is not a whole number",
        "c.yaml:4: database.flush: '1' is not a duration (1s)",
        "c.yaml:5: log.level: is 'loud' (one of: debug, info, warning, error)",
        "c.yaml:5: log.file: '{' is not a file name (a path such as oculus.log)",
        "c.yaml:7: collectors[0].target: is missing (host name or address)",
        "c.yaml:8: collectors[1].interval: '1' is not a duration (1s)",
        (
            'c.yaml:10: collectors[3].name: the name "oculus" is taken by collectors[2]'
            " (give one of them another name)"
        ),
        'more.yaml:2: collectors[4].type: unknown type "slef" (did you mean "self"?)',
        'c.yaml:15: notifications.pager: unknown channel "pager" (did you mean "pagerduty"?)',
        "c.yaml:12: rules[0].condition: the condition ends too early\n    x >\n       ^",
        "c.yaml:12: rules[0].message: tag name expected (in line 1 of the template)",
        f'c.yaml:12: rules[0].channels[0]: unknown channel "b" (known: {_CHANNELS})',
        'c.yaml:13: rules[1].name: the name "a" is taken by rules[0]',
        "c.yaml:14: rules[2].severity: is 'bad' (one of: info, warn, error, critical)",
    ]


def test_the_lines_of_toml_mistakes_are_right() -> None:
    """A mistake in TOML is told with its line like one in YAML."""
    assert mistakes_of(
        "[server]\nport = 99999\n\n[[collectors]]\ntype = 'self'\n[[collectors]]\ntype = 'self'\n"
        "[[rules]]\nname = 'a'\ncondition = '''\nx >'''\n[xyz.abc]\n",
        "c.toml",
    ) == [
        f"c.toml:12: xyz: unknown key (known: {_SECTIONS})",
        "c.toml:2: server.port: 99999 is out of range (0 to 65535)",
        (
            'c.toml:6: collectors[1].name: the name "oculus" is taken by collectors[0]'
            " (give one of them another name)"
        ),
        "c.toml:10: rules[0].condition: the condition ends too early\n    x >\n       ^",
    ]


def test_the_error_holds_the_mistakes_as_lines() -> None:
    """Whoever only prints the exception tells all of them."""
    with pytest.raises(ConfigError) as caught:
        settings_of("a: 1\nb: 2\n")
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    assert len(caught.value.mistakes) == 2


# -- nothing else is ever raised ------------------------------------------------------------------------

_WORDS = [
    "server", "port", "token", "database", "path", "retention", "memory_limit", "log", "level", "file",
    "keep",
    "collectors", "type", "probe", "self", "network", "ping", "tcp", "http", "target", "http://a/", "a:1",
    "interval", "timeout", "tags", "name", "expect", "status", "tls", "200-299", "crypto", "rules",
    "condition",
    "message", "a.b > 1", "(" * 60, "{{ x }}", "{%", "for", "cooldown", "severity", "channels", "slack",
    "notifications", "include", "hosts", "30s", "5", "-1", "1e999", "9" * 400 + "s", "9" * 5000,
    "1" * 400 + "MB",
    "${A}", "${A:-}", "$${", "~", "null", "true", "no", "<<", "\u2028", "\x85", "é", "\U0001f600", "²", "٣",
]  # fmt: skip
_SIGNS = [
    "{", "}", "[", "]", ":", ": ", ", ", "- ", "? ", "\n", "\n  ", "\n    ", "\t", "&a ", "*a", "!!str ",
    "!x ",
    "|\n", ">-\n", "'", '"', "#", "---\n", "...\n", "%YAML 1.1\n", "\\", "\\0", "\x00", "\x07", "\r", "= ",
    "==",
    '"""', "'''", "[[", "]]", ".", "@", "`",
]  # fmt: skip

_soup = st.lists(st.sampled_from(_WORDS + _SIGNS), max_size=40).map("".join)
_scalars = st.sampled_from(_WORDS) | st.text(max_size=8) | st.integers().map(str) | st.none()
_trees = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=6),
    max_leaves=30,
)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A right configuration with one piece cut out and another put in."""
    text = draw(st.sampled_from([CONTRACT, SEED, STARTER]))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 30)))
    return text[:start] + draw(_soup) + text[end:]


def told(attempt: Callable[[], Settings]) -> list[str]:
    """Return the mistakes that loading ends with, none when it succeeds; any other exception is passed on."""
    try:
        attempt()
    except ConfigError as error:
        return error.mistakes or ["refused without a mistake"]
    return []


def _flow(tree: object) -> str:
    """Return a tree as YAML in flow style, with the words of its scalars as they are."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(_flow, tree)) + "]"
    if tree is None:
        return ""
    text = str(tree)
    return "'" + text.replace("'", "''") + "'" if any(sign in text for sign in "{}[],:#&*!|>%@`\"'") else text


@given(st.text() | _soup | _damaged() | _trees.map(_flow))
def test_no_yaml_makes_loading_raise_anything_else(text: str) -> None:
    """Any text at all is settings or mistakes, each of them one line that begins with its place."""
    for mistake in told(lambda: loads(text, "f", VOCABULARY, {})):
        assert re.match(r"f:[1-9]\d*: ", mistake)
        assert ONE_LINE.fullmatch(mistake)


@given(st.binary() | (_soup | _damaged()).map(lambda text: text.encode()), st.sampled_from(["yaml", "toml"]))
def test_no_file_makes_loading_raise_anything_else(data: bytes, suffix: str) -> None:
    """Bytes of any kind in a file, of either format and with includes, are settings or mistakes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"f.{suffix}"
        path.write_bytes(data)
        mistakes = told(lambda: load(str(path), VOCABULARY, {}))
    assert all(ONE_LINE.fullmatch(mistake) for mistake in mistakes)
