"""Scrapes: a real node_exporter, what is asked and kept, and targets that misbehave."""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from gevent import subprocess

from oculus.clock import SECOND
from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.prometheus import Prometheus
from oculus.collectors.scheduler import Scheduler
from oculus.config import loads
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Event, Sample, category_of, is_symbol
from oculus.supervise import Supervisor, Watchdog
from oculus.vocabulary import vocabulary
from tests.support.certificates import authority, server_context
from tests.support.daemon import Daemon
from tests.support.probes import answer, forever
from tests.support.programs import program
from tests.support.servers import HttpServer, TcpServer, free_port, wait_for

HttpServers = Callable[..., HttpServer]
TcpServers = Callable[..., TcpServer]

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Target:
    """A target whose exposition a test sets, and which remembers what it was asked."""

    def __init__(self) -> None:
        self.body: bytes = b"up_to_date 1\n"
        self.status = "200 OK"
        self.headers = [("Content-Type", TEXT)]
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.split("/")[2]

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.asked.append(environ)
        start_response(self.status, self.headers)
        return [self.body]


@pytest.fixture
def target(http_server: HttpServers) -> Target:
    """A target on loopback; `url` is its address, without a path."""
    made = Target()
    made.url = http_server(made).url
    return made


@pytest.fixture
def context() -> Iterator[Context]:
    """What the collectors of one daemon share."""
    made = Context()
    yield made
    made.close()


def spec(settings: dict[str, Any], name: str = "node") -> CollectorSpec:
    """Return an entry of the configuration, read as the daemon reads it."""
    entry = {"type": "prometheus"} | ({"name": name} if name else {}) | settings
    (made,) = loads(json.dumps({"collectors": [entry]}), "c.yaml", vocabulary(), {}).collectors
    return made


def collector(context: Context, url: Any, name: str = "node", **settings: Any) -> Prometheus:
    """Return a collector of a target or URL."""
    return Prometheus(spec({"url": getattr(url, "url", url)} | settings, name), context)


def run(made: Collector) -> tuple[dict[str, float], str]:
    """Return what a run measures, and its error."""
    found: dict[str, float] = {}
    with gevent.Timeout(60, TimeoutError("the run hangs")):
        try:
            for sample in made.collect():
                assert sample.symbol not in found
                found[sample.symbol] = sample.value
        except CollectError as error:
            return found, str(error)
    return found, ""


def failure(made: Collector) -> str:
    """Return why a scrape fails: `.up` is 0 and says it too, and nothing else is stored."""
    samples: list[Sample] = []
    with gevent.Timeout(60, TimeoutError("the run hangs")), pytest.raises(CollectError) as caught:
        samples.extend(made.collect())
    (up,) = samples
    assert (up.symbol, up.value) == ("prom.node.up", 0.0)
    error = str(caught.value)
    assert error.endswith(up.tags["error"])
    assert "\n" not in error
    return error


# -- the real thing -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_exporter() -> Iterator[str]:
    """Debian's node_exporter on loopback; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def answers() -> bool:
        try:
            return bool(requests.get(url, timeout=5).status_code == 200)
        except requests.ConnectionError:
            return False

    wait_for(answers, 20)
    yield url
    process.terminate()
    process.wait(timeout=10)


def test_node_exporter_is_scraped(node_exporter: str, context: Context) -> None:
    """All of a host's figures become series, with nothing left out."""
    made = collector(context, node_exporter)
    samples = list(made.collect())
    found = {sample.symbol: sample for sample in samples}
    assert len(found) == len(samples) > 100
    assert all(is_symbol(symbol) and category_of(symbol) == "prom.node" for symbol in found)
    assert found["prom.node.up"].value == 1.0
    assert found["prom.node.node_memory_memtotal_bytes"].value > 1e6
    assert found["prom.node.node_memory_memtotal_bytes"].tags == {"unit": "B"}
    idle = found["prom.node.node_cpu_seconds_total.0.idle"]
    assert idle.tags == {"cpu": "0", "mode": "idle", "unit": "s"}
    assert made.tags == {"source": node_exporter.removeprefix("http://")}


def test_only_the_load_of_node_exporter(node_exporter: str, context: Context) -> None:
    """The example of the manual."""
    found, error = run(collector(context, node_exporter, include=["node_load*"]))
    assert not error
    assert found.keys() == {
        "prom.node.up", "prom.node.node_load1", "prom.node.node_load5", "prom.node.node_load15"
    }  # fmt: skip


def test_a_daemon_scrapes(node_exporter: str, daemon: Callable[..., Daemon]) -> None:
    """From the configuration to the API: a real Oculus, with the parser imported beside its hub."""
    config = f"collectors: [{{type: prometheus, name: node, url: '{node_exporter}', interval: 1s}}]\n"
    running = daemon(config)
    load = wait_for(lambda: running.latest("prom.node.node_load1"), 20)
    assert load["category"] == "prom.node"
    assert load["tags"] == {"source": node_exporter.removeprefix("http://")}
    figures = running.json("/api/metrics?symbol=prom.node.*")["metrics"]
    assert len(figures) > 100
    assert not any(figure["stale"] for figure in figures)
    assert running.stop() == 0
    assert "Traceback" not in running.log()


# -- what is asked and kept ---------------------------------------------------------------------------


def test_the_request(target: Target, context: Context) -> None:
    """The usual path where there is none, the text format first, and keys as they are given."""
    assert run(collector(context, target))[0] == {"prom.node.up": 1.0, "prom.node.up_to_date": 1.0}
    run(collector(context, target.url + "/x?a=b", bearer="token", headers={"Accept": "text/plain"}))
    first, second = target.asked
    assert first["PATH_INFO"] == "/metrics"
    assert first["HTTP_ACCEPT"].startswith("text/plain;version=0.0.4, application/openmetrics-text")
    assert (second["PATH_INFO"], second["QUERY_STRING"]) == ("/x", "a=b")
    assert (second["HTTP_AUTHORIZATION"], second["HTTP_ACCEPT"]) == ("Bearer token", "text/plain")


def test_the_name_is_made_from_the_host() -> None:
    """Where none is given."""
    assert spec({"url": "http://pi.local:9100/metrics"}, "").name == "pi_local_9100"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "node:9100"}, ".url: 'node:9100' is not a URL"),
        ({"include": [""]}, ".include: has an empty pattern (such as node_load*)"),
        ({"max_series": 0}, ".max_series: 0 is out of range (1 to 9999)"),
        ({"bearer": "a", "auth": {"user": "b"}}, ": has more than one of auth, bearer"),
        ({"tls": {"key_file": __file__}}, ".tls: has key_file without cert_file"),
        ({"json_path": "$"}, ".json_path: unknown key"),
    ],
)
def test_mistakes_are_told(settings: dict[str, Any], told: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ConfigError) as caught:
        spec({"url": "http://node:9100"} | settings)
    assert told in caught.value.mistakes[0]


def test_labels_do_not_take_the_place_of_the_users_tags(target: Target, context: Context) -> None:
    """They are renamed as Prometheus renames them."""
    target.body = b'x{env="dev",source="s"} 1\n'
    made = collector(context, target, tags={"env": "prod"})
    _, sample = made.collect()
    assert (sample.symbol, sample.tags) == (
        "prom.node.x.dev.s",
        {"exported_env": "dev", "exported_source": "s"},
    )


def test_compressed_answers_and_open_metrics_are_read(target: Target, context: Context) -> None:
    """Whatever the target prefers."""
    target.body = gzip.compress(b"# TYPE x gauge\nx 1 1700000000.5\n# EOF\n")
    target.headers = [
        ("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("Content-Encoding", "gzip"),
    ]
    _, sample = collector(context, target).collect()
    assert (sample.value, sample.ts) == (1.0, 1_700_000_000_500_000)


def test_times_of_the_target(target: Target, context: Context) -> None:
    """A sample with a time seen before is not stored again; `honor_timestamps: false` stores it each run."""
    target.body = b"own 1 1700000000000\nours 2\n"
    stored: dict[str, list[Sample]] = {"a": [], "b": []}
    supervisor = Supervisor(lambda name, error: None)
    for name, kept in stored.items():
        scheduler = Scheduler(supervisor, kept.extend, lambda event: None)
        made = collector(context, target, name, interval="100ms", honor_timestamps=name == "a")
        scheduler.start(made)
    wait_for(lambda: min(len(kept) for kept in stored.values()) > 8)
    supervisor.stop(*[worker.name for worker in supervisor.workers])
    own = {name: [s for s in kept if s.symbol.endswith("own")] for name, kept in stored.items()}
    assert [sample.ts for sample in own["a"]] == [1_700_000_000 * SECOND]
    assert len({sample.ts for sample in own["b"]}) == len(own["b"]) > 1
    assert all(len([s for s in kept if s.symbol.endswith("ours")]) > 1 for kept in stored.values())


def test_a_series_that_vanishes_gets_no_sample(target: Target, context: Context) -> None:
    """Nor is its absence an error: it simply gets old."""
    target.body = b"x 1\ny 1\n"
    made = collector(context, target)
    assert len(run(made)[0]) == 3
    target.body = b"y 2\n"
    assert run(made) == ({"prom.node.up": 1.0, "prom.node.y": 2.0}, "")


# -- what goes wrong ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "settings", "told"),
    [
        ("500 Oops", b"<h1>down</h1>", {}, "status 500: down"),
        ("401 Unauthorized", b"", {}, "status 401: (empty)"),
        ("200 OK", b"<html>\n", {}, "line 1 is no sample: '<html>'"),
        ("200 OK", b"x 1\ny 12", {}, "its last line has no end, so it is not whole"),
        ("200 OK", b"x 1\ny 2\n", {"max_series": 1}, "it has 2 series, and at most 1 are taken"),
        ("200 OK", b"x 1\n" * 1_000, {"max_body": "2KB"}, "a body of more than 0.002 MB"),
    ],
)
def test_a_failed_scrape_stores_nothing(
    status: str, body: bytes, settings: dict[str, Any], told: str, target: Target, context: Context
) -> None:
    """But `.up`, which is 0 and tells why."""
    target.status, target.body = status, body
    assert failure(collector(context, target, **settings)) == f"{target.host}: {told}"


def test_faults_of_some_series_leave_the_others(target: Target, context: Context) -> None:
    """The target is up; the first fault is told."""
    target.body = b"a 1\nA 2\nb 3\nup 5\n"
    found, error = run(collector(context, target))
    assert found == {"prom.node.up": 1.0, "prom.node.b": 3.0}
    assert error == "line 1: prom.node.a would be more than one series (and 2 more)"


def test_an_include_that_fits_nothing_is_told(target: Target, context: Context) -> None:
    """A typing mistake would be silent otherwise."""
    found, error = run(collector(context, target, include=["nodeload*"]))
    assert found == {"prom.node.up": 1.0}
    assert error == "no series of the answer is wanted (see include and exclude)"


def test_secrets_are_not_told(target: Target, context: Context) -> None:
    """Not even where the target repeats them."""
    target.body = b"s3cr3t 1 2 3\n"
    error = failure(collector(context, target, bearer="s3cr3t"))
    assert error == f"{target.host}: line 1 is no sample: '*** 1 2 3'"


@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (answer(b"", hold=True), "no whole answer within 0.5 s"),
        (answer(b"HTTP/1.1 200 OK\r\n\r\nx 1\n", hold=True), "no whole answer within 0.5 s"),
        (forever(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"), "got more than 100 headers"),
        (forever(b"HTTP/1.1 200 OK\r\n\r\n", b"x 1\n" * 1_000), "a body of more than 0.1 MB"),
        (answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx 1\n"), "IncompleteRead"),
        (answer(b"SSH-2.0-OpenSSH\r\n"), "what came is not HTTP"),
    ],
)
def test_a_target_that_misbehaves_is_bounded(
    serve: Any, told: str, tcp_server: TcpServers, context: Context
) -> None:
    """By time and by size."""
    url = f"http://127.0.0.1:{tcp_server(serve).port}"
    started = time.monotonic()
    assert told in failure(collector(context, url, timeout="500ms", max_body="100KB"))
    assert time.monotonic() - started < 10


def test_a_gzip_bomb_is_not_unpacked(target: Target, context: Context) -> None:
    """What comes out counts."""
    target.body = gzip.compress(bytes(200_000_000), 1)
    target.headers.append(("Content-Encoding", "gzip"))
    assert "a body of more than 16 MB" in failure(collector(context, target))


def test_nobody_is_there(context: Context) -> None:
    """The operating system's reason."""
    port = free_port()
    assert failure(collector(context, f"http://127.0.0.1:{port}")) == f"127.0.0.1:{port}: connection refused"


def test_a_target_that_wants_silence_gets_it(target: Target, context: Context) -> None:
    """429 with Retry-After decides when the next scrape comes."""
    target.status, target.headers = "429 Slow", [("Retry-After", "30")]
    made = collector(context, target)
    with pytest.raises(CollectError) as caught:
        list(made.collect())
    assert caught.value.retry_in == 30.0
    run(made)
    assert len(target.asked) == 1


def test_a_client_certificate_is_shown(http_server: HttpServers, context: Context, tmp_path: Path) -> None:
    """A target that wants one answers to it alone; a key with a password is refused, not asked for."""
    ca, ca_file = authority(tmp_path)
    server = server_context(ca.issue_cert("127.0.0.1"))
    server.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server)
    target = Target()
    url = http_server(target, context=server).url
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf = ca.issue_cert("client")
    leaf.cert_chain_pems[0].write_to_path(str(cert))
    leaf.private_key_pem.write_to_path(str(key))
    tls = {"ca_file": ca_file, "cert_file": str(cert), "key_file": str(key)}
    assert run(collector(context, url, tls=tls)) == (
        {"prom.node.up": 1.0, "prom.node.up_to_date": 1.0}, ""
    )  # fmt: skip
    assert "certificate required" in failure(collector(context, url, tls={"ca_file": ca_file}))
    assert "certificate not trusted" in failure(collector(context, url))
    private = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = tmp_path / "locked.pem"
    lock = serialization.BestAvailableEncryption(b"password")
    form = serialization.PrivateFormat.PKCS8
    locked.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, lock))
    assert "tls.cert_file" in failure(collector(context, url, tls=tls | {"key_file": str(locked)}))


# -- much at once -------------------------------------------------------------------------------------


def test_a_hundred_thousand_series_harm_nobody(
    target: Target, http_server: HttpServers, context: Context
) -> None:
    """They are counted beside the hub and refused; a target beside goes on, and the hub is never held."""
    labels = 'handler="/api/v1/query/{}",instance="10.0.0.1:9090",le="0.5"'
    target.body = "".join(f"x_bucket{{{labels.format(n)}}} {n}\n" for n in range(100_000)).encode()
    good = Target()
    good.url = http_server(good).url
    stored: list[Sample] = []
    events: list[Event] = []
    supervisor, watchdog = Supervisor(lambda name, error: None), Watchdog()
    scheduler = Scheduler(supervisor, stored.extend, events.append)
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)  # as the daemon has it
    try:
        supervisor.spawn("watchdog", watchdog.run)
        scheduler.start(collector(context, target, "big", interval="500ms"))
        scheduler.start(collector(context, good, "good", interval="100ms"))
        gevent.sleep(3)
    finally:
        sys.setswitchinterval(before)
        scheduler.stop()
        supervisor.stop("watchdog")
    ups = [sample.value for sample in stored if sample.symbol == "prom.good.up"]
    assert len(ups) > 15
    assert set(ups) == {1.0}
    assert {sample.symbol for sample in stored if "big" in sample.symbol} == {"prom.big.up"}
    (event,) = events
    assert event.message.endswith("it has 100000 series, and at most 1000 are taken")
    assert watchdog.total < 0.5 * 3  # a hub that is held is late all the time


def test_many_series_do_not_hold_the_hub(target: Target, context: Context) -> None:
    """Where they are wanted, they are read in a native thread and passed on in slices."""
    target.body = "".join(f'x{{handler="/api/{n}"}} {n}\n' for n in range(9_000)).encode()
    made = collector(context, target, max_series=9_000)
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    before, started = sys.getswitchinterval(), time.monotonic()
    sys.setswitchinterval(0.001)
    try:
        for _ in range(3):
            assert len(run(made)[0]) == 9_001
    finally:
        sys.setswitchinterval(before)
        watching.kill()
    assert watchdog.total < 0.5 * (time.monotonic() - started)  # a hub that is held is late all the time
