"""`oculus probe` as a person's first step in finding out: real targets, and mistakes that read alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.standins.coinbase import Coinbase
from tests.support.command import oculus
from tests.support.configs import mistakes_of
from tests.support.servers import HttpServer, free_port


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_was_seen_is_told_phase_by_phase(http_server: Callable[..., HttpServer]) -> None:
    """A line for each value, decimal signs below each other, with units; then how it went."""
    url = http_server().url
    ended = oculus("probe", "http", url, "name=site")
    assert (ended.status, ended.err) == (0, "")
    head, *lines, last = ended.out.splitlines()
    assert head == f"network/http/site  target={url}"
    parts = {line.split()[0]: line.split()[1:] for line in lines}
    for part in ("dns", "connect", "tls", "ttfb", "rtt"):
        assert parts[f"net.http.site.{part}"][1] == "ms"
    assert parts["net.http.site.status"] == ["200"]
    assert parts["net.http.site.up"] == ["yes"]
    assert len({line.index(".", line.index("  ", 2)) for line in lines if line.endswith(" ms")
                and "." in line.split()[1]}) == 1  # fmt: skip
    assert re.fullmatch(r"good \(after 0\.\d+ s\)", last)


def test_a_failure_is_told_with_phase_and_reason() -> None:
    """The reason in one line, the status 1; what was measured before it is shown."""
    ended = oculus("probe", "http", f"http://127.0.0.1:{free_port()}/", "name=x")
    assert (ended.status, ended.err) == (1, "")
    *_, up, last = ended.out.splitlines()
    assert up.split() == ["net.http.x.up", "no"]
    assert last.startswith("failed in the phase connect: connection refused (after 0.")


def test_json_tells_the_same(http_server: Callable[..., HttpServer]) -> None:
    """For programs, whether it went well or not."""
    url = http_server().url
    good = oculus("probe", "http", url, "name=site", "tags.room=7", "--format", "json").json()
    assert (good["collector"], good["ok"], good["error"]) == ("network/http/site", True, None)
    assert good["tags"] == {"room": "7", "target": url}
    samples = {sample["symbol"]: sample for sample in good["samples"]}
    assert samples["net.http.site.status"]["value"] == 200.0
    assert samples["net.http.site.rtt"]["unit"] == "ms"
    assert samples["net.http.site.rtt"]["ts"].endswith("Z")
    bad = oculus("probe", "tcp", f"127.0.0.1:{free_port()}", "--format", "json")
    assert bad.status == 1
    assert (bad.json()["ok"], bad.json()["phase"]) == (False, "connect")


def test_settings_are_given_as_key_and_value(http_server: Callable[..., HttpServer]) -> None:
    """Dotted for sections, lists and mappings as YAML writes them; and one run tells what it sees."""
    url = http_server().url
    for settings in (["expect.status=404"], ["expect={status: 404}"], ["expect.status=404", "failures=3"]):
        ended = oculus("probe", "http", url, *settings)
        assert ended.status == 1
        assert "failed in the phase expect: status 200, expected 404" in ended.out
    assert oculus("probe", "network/http", f"target={url}/?a=b", "expect.body=[ok]").status == 0
    assert oculus("probe", "http", f"{url}/?a=b&c=d").status == 0


@pytest.mark.parametrize(
    ("arguments", "inside", "key"),
    [
        (["ping", "x", "count=many"], "{type: network, probe: ping, target: x, count: many}", "count"),
        (["ping", "x", "cuont=5"], "{type: network, probe: ping, target: x, cuont: 5}", "cuont"),
        (["ping", "x y"], "{type: network, probe: ping, target: 'x y'}", "target"),
        (["ping", "x", "timeout=5"], "{type: network, probe: ping, target: x, timeout: 5}", "timeout"),
        (["tcp", "db"], "{type: network, probe: tcp, target: db}", "target"),
        (["crypto", "bitcoin"], "{type: crypto, asset: bitcoin}", "asset"),
        (["http"], "{type: network, probe: http}", "target"),
        (["http", "http://x", "expect.status=700"],
         "{type: network, probe: http, target: 'http://x', expect: {status: 700}}", "expect.status"),
        (["http", "http://x", "expect={status: 700}"],
         "{type: network, probe: http, target: 'http://x', expect: {status: 700}}", "expect.status"),
    ],
)  # fmt: skip
def test_a_mistake_reads_as_in_a_configuration(arguments: list[str], inside: str, key: str) -> None:
    """The same line, without a place that there is not."""
    (mistake,) = mistakes_of(f"collectors: [{inside}]\n")
    ended = oculus("probe", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == mistake.removeprefix("c.yaml:1: collectors[0].") + "\n"
    assert ended.err.startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "what is to be probed? (a kind and a target: oculus probe http https://…)"),
        (["htp", "x"], 'unknown kind "htp" (did you mean "http"?)'),
        (["tcp", "a:1", "b:1"], "'b:1' is neither key=value nor the only target"),
        (["tcp", "a:1", "target=b:1"], "target: is given twice"),
        (["--config", "gone.yaml", "x"], "gone.yaml: there is no such file"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str) -> None:
    """Status 2 and one line."""
    ended = oculus("probe", *arguments)
    assert (ended.status, ended.out, ended.err) == (2, "", f"{told}\n")


def test_a_collector_of_the_configuration_is_run(http_server: Callable[..., HttpServer]) -> None:
    """By its name, with the settings of the file; one that two carry has to be named with its kind."""
    url = http_server().url
    port = url.rpartition(":")[2]
    Path("c.yaml").write_text(
        f"collectors:\n  - {{type: network, probe: http, name: site, target: '{url}', tags: {{room: '7'}}}}\n"
        f"  - {{type: network, probe: tcp, name: both, target: 'localhost:{port}'}}\n"
        f"  - {{type: network, probe: http, name: both, target: '{url}', expect: {{status: 404}}}}\n"
    )
    assert "room=7" in oculus("probe", "--config", "c.yaml", "site").out
    several = oculus("probe", "--config", "c.yaml", "both")
    assert several.status == 2
    assert (
        several.err == 'several collectors are named "both" (one of: network/tcp/both, network/http/both)\n'
    )
    assert oculus("probe", "--config", "c.yaml", "network/http/both").status == 1
    assert 'did you mean "site"?' in oculus("probe", "--config", "c.yaml", "sit").err


def test_a_plugin_is_run_like_any_other() -> None:
    """Its kind is known through the configuration; what it raises is told with its line."""
    Path("moon.py").write_text(
        "from oculus import Collector, Sample\n"
        "class Moon(Collector):\n"
        "    type = 'moon'\n"
        "    def collect(self):\n"
        "        yield Sample('custom.moon', 0.42)\n"
        "        raise ValueError('no more')\n"
    )
    Path("c.yaml").write_text("plugins: [moon.py]\n")
    ended = oculus("probe", "--config", "c.yaml", "moon", "name=lune")
    assert ended.status == 1
    assert "custom.moon  0.42" in ended.out
    assert "failed: ValueError: no more (in moon.py:6) (after " in ended.out


def test_a_strangers_text_moves_no_cursor(http_server: Callable[..., HttpServer]) -> None:
    """Control characters are written out."""
    ended = oculus("probe", "exec", "[sh, -c, 'printf \"\\\\033[2Jx\\\\n\" >&2; exit 2']")
    assert "\x1b" not in ended.out


def test_a_stream_is_waited_for() -> None:
    """A price over the WebSocket comes within seconds, whatever the interval of the collector."""
    service = Coinbase()
    service.rate = 20.0
    try:
        where = [f"base_url={service.url}", f"ws_url={service.ws_url}"]
        good = oculus("probe", "crypto", "btc_usd", "source=coinbase", "stream=true", *where)
        assert (good.status, good.err) == (0, "")
        assert re.search(r"crypto\.price\.btc_usd +[\d.]+ +USD +open=[\d.]+ high=[\d.]+ low=[\d.]+", good.out)
        service.silent = True
        bad = oculus("probe", "crypto", "btc_usd", "source=coinbase", "stream=true", *where)
        assert bad.status == 1
        assert "failed: no price came over the stream within 5 s (after " in bad.out
    finally:
        service.stop()


def test_what_is_told_by_two_looks_is_looked_at_twice() -> None:
    """The processor's load is there, though one look tells none."""
    ended = oculus("probe", "host", "parts=[cpu]")
    assert ended.status == 0
    assert "host.cpu.percent" in ended.out


def test_a_program_that_is_not_content_has_failed() -> None:
    """Its status and what it says of it are told as the reason."""
    ended = oculus("probe", "exec", "command=[sh, -c, 'echo DISK CRITICAL; exit 2']")
    assert ended.status == 1
    assert "failed: exit status 2: DISK CRITICAL (after " in ended.out


def test_what_tells_of_a_daemon_says_so() -> None:
    """Alone it has nothing to tell."""
    ended = oculus("probe", "self")
    assert ended.status == 1
    assert "it tells of a daemon that runs" in ended.out
