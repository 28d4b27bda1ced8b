"""The daemon as a real process: probe → queue → DuckDB → rule → alert → dashboard, signals and crashes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests
from gevent import socket

from oculus.clock import SECOND, iso, now, parse_iso
from oculus.model import Micros
from tests.support import exposition
from tests.support.configs import SEED
from tests.support.daemon import ROOT, Daemon
from tests.support.html import Element, parse
from tests.support.servers import HttpServer, TcpServer, free_port, wait_for

Start = Callable[..., Daemon]


def dashboard(daemon: Daemon) -> Element:
    """Return the dashboard, read as a browser does."""
    answer = daemon.get("/", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    return parse(answer.text)


def push(daemon: Daemon, *samples: tuple[str, float]) -> None:
    """Push samples, and fail unless they are accepted."""
    body = [{"symbol": symbol, "value": value} for symbol, value in samples]
    answer = daemon.post("/api/push", json=body)
    assert answer.status_code == 202, answer.text


def in_storage(path: Path, code: str, *arguments: str) -> Any:
    """Run `code` in a process of its own with `store`, the opened database; return what it gave to `tell`."""
    program = (
        "import json, sys\nfrom oculus import Sample, Storage\n"
        "def tell(value): print(json.dumps(value))\n"
        "with Storage(sys.argv[1]) as store:\n" + "".join(f"    {line}\n" for line in code.splitlines())
    )
    command = [sys.executable, "-W", "error", "-c", program, str(path), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else None


def rows_in(path: Path, sql: str) -> Any:
    """Return the rows of a query on a database that no daemon has open."""
    return in_storage(path, "tell(store.query(sys.argv[2], max_rows=1_000_000).rows)", sql)


# -- the main story -------------------------------------------------------------------------------------

STORY = """
database: {flush: 100ms}
collectors:
  - {type: network, probe: http, name: site, target: "$SITE", interval: 1s, timeout: 800ms,
     tags: {room: attic}}
rules:
  - {name: site_down, condition: "net.http.site.up == 0", for: 2s, severity: error,
     message: "{{ symbol }} is {{ value }}"}
"""


def test_a_target_that_dies_raises_an_alert_that_resolves_when_it_returns(
    daemon: Start, http_server: Callable[..., HttpServer]
) -> None:
    """Down within an interval, pending, firing after `for`, in log, API and dashboard; up again: resolved."""
    server = http_server()
    oculus = daemon(STORY.replace("$SITE", server.url))
    wait_for(lambda: (oculus.latest("net.http.site.up") or {}).get("value") == 1)
    latest = oculus.latest("net.http.site.rtt")
    assert latest is not None
    assert 0 < latest["value"] < 800
    assert latest["tags"] == {"room": "attic", "target": server.url}
    assert oculus.json("/api/rules/site_down")["state"] == "inactive"
    assert oculus.json("/api/alerts")["alerts"] == []

    server.stop()
    stopped = now()
    wait_for(lambda: oculus.json("/api/rules/site_down")["state"] == "pending")
    row = dashboard(oculus).one(class_="row", data_symbol="net.http.site.rtt")
    assert "down" in row.classes
    assert "connection refused" in row.text
    wait_for(lambda: oculus.json("/api/rules/site_down")["state"] == "firing")

    sql = "select min(epoch_us(ts)) from metrics where symbol = 'net.http.site.up' and value = 0"
    ((first_down,),) = oculus.sql(sql)
    assert first_down - stopped < (1 + 1) * SECOND  # the interval, and a second for a loaded machine
    (failed,) = oculus.sql(
        "select count(*) from metrics where symbol like '%.rtt' and epoch_us(ts) > $t", t=stopped
    )
    assert failed == [0]  # a number that was not measured is never invented

    firing, pending = wait_for(
        lambda: found if len(found := oculus.json("/api/alerts")["alerts"]) == 2 else None
    )
    assert (pending["state"], firing["state"]) == ("pending", "firing")
    waited = parse_iso(firing["ts"]) - parse_iso(pending["ts"])
    assert 2 * SECOND <= waited < 8 * SECOND
    assert firing["started_at"] == pending["ts"]
    assert (firing["rule"], firing["severity"]) == ("site_down", "error")
    assert firing["message"] == "net.http.site.up is 0.0"
    line = oculus.wait_log("alert firing")
    assert "ERROR" in line
    for told in ("net.http.site.up is 0.0", "alert=site_down", "state=firing", "severity=error"):
        assert told in line
    page = dashboard(oculus)
    (active,) = page.one("section", class_="alerts").find(class_="alert")
    assert "firing" in active.classes
    assert "site_down" in active.text
    assert page.one("section", class_="recent").find(data_id=str(firing["id"]))

    http_server(port=server.port)
    wait_for(lambda: oculus.json("/api/rules/site_down")["state"] == "inactive")
    resolved = wait_for(lambda: (oculus.json("/api/alerts?state=resolved")["alerts"] or [None])[0])
    assert (resolved["previous"], resolved["started_at"]) == ("firing", firing["started_at"])
    assert "state=resolved" in oculus.wait_log("alert resolved")
    page = dashboard(oculus)
    assert page.find("section", class_="alerts") == []
    assert "up" in page.one(class_="row", data_symbol="net.http.site.rtt").classes
    history = oculus.json("/api/rules/site_down")["history"]
    assert [step["state"] for step in history] == ["resolved", "firing", "pending"]
    assert oculus.stop() == 0
    assert "Traceback" not in oculus.log()


def test_the_original_example_runs_with_a_warning(daemon: Start) -> None:
    """The channel that is not configured is told, no more."""
    oculus = daemon(SEED)
    (warning,) = [line for line in oculus.log().splitlines() if " WARNING " in line]
    assert "telegram" in warning
    assert "not configured" in warning
    (rule,) = oculus.json("/api/rules")["rules"]
    assert (rule["name"], rule["state"]) == ("btc_price_alert", "inactive")
    push(oculus, ("crypto.price.btc_usd", 100_001.0))
    assert "alert=btc_price_alert" in oculus.wait_log("alert firing")
    assert oculus.stop() == 0


def test_without_a_configuration_the_first_screen_is_alive(daemon: Start) -> None:
    """The built-in configuration needs no internet and shows values and lines within seconds."""
    oculus = daemon(None)
    ups = ("net.http.oculus.up", "net.tcp.oculus.up", "net.ping.localhost.up")
    wait_for(lambda: all((oculus.latest(symbol) or {}).get("value") == 1 for symbol in ups), 15)
    wait_for(lambda: (oculus.latest("oculus.memory.rss_mb") or {}).get("value", 0) > 10, 15)
    wait_for(lambda: len(dashboard(oculus).find("polyline")) >= 5, 15)
    page = dashboard(oculus)
    assert {"net.http", "net.tcp", "net.ping"} <= {
        panel.attributes["data-category"] for panel in page.find(class_="panel")
    }
    assert not [row for row in page.find(class_="row") if "down" in row.classes]
    assert oculus.json("/api/rules")["rules"]


def test_what_oculus_tells_prometheus_follows_the_format(daemon: Start) -> None:
    """Every line of `/metrics` parses, names keep the conventions, and counters count."""
    oculus = daemon("database: {flush: 50ms}\ncollectors: [{type: self, interval: 1s}]\n")
    push(oculus, ("custom.a", 1.0), ("custom.b", 2.0))
    wait_for(lambda: oculus.latest("custom.b"))
    answer = oculus.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = exposition.parse(answer.text)
    for family in families.values():
        assert family.name.startswith(("oculus_", "process_"))
        assert family.help.endswith(".")
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
    written = families["oculus_samples_written_total"].samples["oculus_samples_written_total", ()]
    assert written >= 2
    assert families["oculus_series"].samples["oculus_series", ()] >= 2
    wait_for(
        lambda: exposition.parse(oculus.get("/metrics").text)["oculus_runs_total"].samples[
            "oculus_runs_total", ()
        ]
    )


# -- stopping -------------------------------------------------------------------------------------------

# Nothing is committed by time or number before the stop.
PATIENT = "database: {flush: 60s, batch: 100000}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stop_commits_everything_that_was_queued(daemon: Start, number: signal.Signals) -> None:
    """Exit status 0 within five seconds, and every accepted sample is in the file."""
    oculus = daemon(PATIENT)
    for batch in range(5):
        push(oculus, *[(f"custom.s{batch}", float(n)) for n in range(10_000)])
    asked = time.monotonic()
    oculus.signal(number)
    assert oculus.process.wait(timeout=20) == 0
    assert time.monotonic() - asked < 5
    sums = rows_in(
        oculus.database, "select symbol, count(*), sum(value) from metrics group by symbol order by symbol"
    )
    assert sums == [[f"custom.s{batch}", 10_000, sum(range(10_000))] for batch in range(5)]
    messages = [row[0] for row in rows_in(oculus.database, "select message from events order by id")]
    assert "Oculus is stopping" in messages[-1]
    assert not Path(f"{oculus.database}.wal").exists()
    assert "Traceback" not in oculus.log()


def test_nothing_that_hangs_holds_a_stop(daemon: Start, tcp_server: Callable[..., TcpServer]) -> None:
    """A running query, a probe of a silent server, idle clients: the stop takes less than five seconds."""
    silent = tcp_server(lambda sock: gevent.sleep(60))
    oculus = daemon(
        f"{PATIENT}collectors:\n"
        f'  - {{type: network, probe: http, name: silent, target: "http://127.0.0.1:{silent.port}/",'
        " interval: 200ms, timeout: 60s}\n"
    )
    slow = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"

    def ask_slowly() -> None:
        with suppress(requests.ConnectionError):
            oculus.post("/api/query", json={"sql": slow})

    asking = [gevent.spawn(ask_slowly) for _ in range(4)]
    wait_for(lambda: silent.accepted)
    clients = [socket.create_connection(("127.0.0.1", oculus.port)) for _ in range(3)]
    clients[0].sendall(b"POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    gevent.sleep(0.3)
    push(oculus, ("custom.x", 1.0))
    asked = time.monotonic()
    assert oculus.stop(20) == 0
    assert time.monotonic() - asked < 5
    gevent.joinall(asking, timeout=5, raise_error=True)
    for client in clients:
        client.close()
    assert rows_in(oculus.database, "select count(*) from metrics where symbol = 'custom.x'") == [[1]]
    assert "Traceback" not in oculus.log()


# -- reload ---------------------------------------------------------------------------------------------


def probe(name: str, url: str, interval: str = "300ms") -> str:
    """Return the configuration line of an HTTP probe."""
    return f'  - {{type: network, probe: http, name: {name}, target: "{url}", interval: {interval}}}\n'


HEAD = "database: {flush: 50ms}\ncollectors:\n"


def test_a_reload_touches_only_what_changed(daemon: Start, http_server: Callable[..., HttpServer]) -> None:
    """A new collector starts, a changed one follows its new target, a removed one stops, others go on."""
    seen: dict[str, int] = {}

    def count(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        seen[environ["PATH_INFO"]] = seen.get(environ["PATH_INFO"], 0) + 1
        start_response("200 OK", [])
        return [b""]

    url = http_server(count).url
    oculus = daemon(
        HEAD + probe("stays", f"{url}/stays") + probe("moves", f"{url}/old") + probe("goes", f"{url}/goes")
    )
    wait_for(lambda: {"/stays", "/old", "/goes"} <= seen.keys())
    oculus.configure(
        HEAD + probe("stays", f"{url}/stays") + probe("moves", f"{url}/new") + probe("comes", f"{url}/comes")
        + 'rules:\n  - {name: r, condition: "net.http.comes.up == 1"}\n'
    )  # fmt: skip
    assert "2 collectors started, 2 stopped, 1 rules" in oculus.wait_log("reloaded:")
    wait_for(lambda: {"/new", "/comes"} <= seen.keys())
    wait_for(lambda: oculus.json("/api/rules/r")["state"] == "firing", 20)
    gevent.sleep(0.5)  # runs that were under way have ended
    before = dict(seen)
    wait_for(lambda: all(seen[path] >= before[path] + 3 for path in ("/stays", "/new", "/comes")))
    assert (seen["/old"], seen["/goes"]) == (before["/old"], before["/goes"])
    assert oculus.latest("net.http.goes.up") is not None
    assert oculus.stop() == 0


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("  - {type: network, probe: htp, target: x}\n", "config.yaml:3: collectors[0].probe"),
        ("  - {type: network, probe: http, target: x, colour: red}\n", "config.yaml:3:"),
        ("  - [\n", "config.yaml:"),
        ("  - {type: network, probe: tcp, target: '${UNSET_VARIABLE}'}\n", "UNSET_VARIABLE"),
    ],
)
def test_a_reload_with_a_mistake_changes_nothing(
    daemon: Start, http_server: Callable[..., HttpServer], mistake: str, told: str
) -> None:
    """The mistake is logged with its place, and the configuration of before stays in force."""
    url = http_server().url
    oculus = daemon(HEAD + probe("stays", url))
    wait_for(lambda: oculus.latest("net.http.stays.up"))
    oculus.configure(HEAD + mistake)
    oculus.wait_log("reload refused")
    assert told in oculus.log()
    asked = now()
    wait_for(lambda: parse_iso((oculus.latest("net.http.stays.up") or {})["ts"]) > asked)
    assert oculus.get("/readyz").status_code == 200
    oculus.configure(HEAD + probe("stays", url))
    assert "0 collectors started, 0 stopped" in oculus.wait_log("reloaded:")
    assert "Traceback" not in oculus.log()


def test_a_reload_when_the_file_is_gone_changes_nothing(daemon: Start) -> None:
    """A file that cannot be read is a mistake like any other."""
    oculus = daemon("collectors: [{type: self, interval: 1s}]\n")
    (oculus.folder / "config.yaml").unlink()
    oculus.signal(signal.SIGHUP)
    oculus.wait_log("reload refused")
    assert oculus.get("/readyz").status_code == 200


# -- crashes and restarts -------------------------------------------------------------------------------

FLUSH = 0.5  # seconds


def test_a_kill_loses_at_most_one_flush_interval(daemon: Start) -> None:
    """After `kill -9` under load the daemon starts again with all but the very last samples, without gaps."""
    config = f"database: {{flush: {FLUSH}s}}\n"
    oculus = daemon(config)
    accepted: list[float] = []  # when each batch was accepted
    size = 100

    def load() -> None:
        while True:
            first = len(accepted) * size
            body = [{"symbol": "custom.n", "value": n} for n in range(first, first + size)]
            try:
                if oculus.post("/api/push", json=body).status_code != 202:
                    return
            except requests.RequestException:
                return
            accepted.append(time.monotonic())

    loading = gevent.spawn(load)
    gevent.sleep(3)
    oculus.process.kill()
    killed = time.monotonic()
    assert oculus.process.wait(timeout=10) == -signal.SIGKILL
    loading.join(10)
    assert len(accepted) > 20

    again = daemon(config, port=oculus.port)
    ((stored, least, most),) = again.sql(
        "select count(*), min(value), max(value) from metrics where symbol = 'custom.n'"
    )
    assert (least, most) == (0, stored - 1)  # a prefix of what was sent: no gap, nothing twice
    kept = stored // size
    if kept < len(accepted):
        # A second more for a loaded machine's commit.
        assert killed - accepted[kept] < FLUSH + 1
    push(again, ("custom.n", -1.0))
    assert again.stop() == 0
    assert rows_in(again.database, "select count(*) from metrics where symbol = 'custom.n'") == [[stored + 1]]


def test_a_restart_shows_what_was_shown_before(daemon: Start) -> None:
    """Last values, tags and lines come back from the store."""
    config = "database: {flush: 50ms}\n"
    oculus = daemon(config)
    stamp = now() // SECOND - 60
    body = [
        {"symbol": "custom.room", "value": value, "ts": stamp + n, "tags": {"unit": "lx"}}
        for n, value in enumerate([3.0, 1.0, 4.0, 1.0, 5.0])
    ]
    assert oculus.post("/api/push", json=body).status_code == 202
    wait_for(lambda: (oculus.latest("custom.room") or {}).get("value") == 5)
    before, line = oculus.latest("custom.room"), dashboard(oculus).one("polyline").attributes["points"]
    assert oculus.stop() == 0
    again = daemon(config)
    wait_for(lambda: again.latest("custom.room"))
    assert again.latest("custom.room") == before
    assert dashboard(again).one("polyline").attributes["points"] == line


def test_a_start_deletes_what_is_older_than_retention(daemon: Start, tmp_path: Path) -> None:
    """A pass at the start removes old samples from the store and from the list of series."""
    write = (
        "store.write([Sample(symbol, 1.0, int(ts)) for symbol, ts in (a.split('=') for a in sys.argv[2:])])"
    )
    old, young = now() - 3 * 3600 * SECOND, now() - 1800 * SECOND
    in_storage(
        tmp_path / "oculus.db", write, f"custom.old={old}", f"custom.both={old}", f"custom.both={young}"
    )
    oculus = daemon("database: {retention: 1h}\n")
    oculus.wait_log("retention deleted 2 samples")
    assert oculus.sql("select symbol, epoch_us(ts) from metrics") == [["custom.both", young]]
    wait_for(lambda: [m["symbol"] for m in oculus.json("/api/metrics")["metrics"]] == ["custom.both"])


def test_the_default_retention_is_a_week(daemon: Start, tmp_path: Path) -> None:
    """Eight days are too old, six are not."""
    write = "store.write([Sample('custom.x', 1.0, int(ts)) for ts in sys.argv[2:]])"
    eight, six = now() - 8 * 86_400 * SECOND, now() - 6 * 86_400 * SECOND
    in_storage(tmp_path / "oculus.db", write, str(eight), str(six))
    oculus = daemon("{}\n")
    oculus.wait_log("retention deleted 1 samples")
    assert oculus.sql("select epoch_us(ts) from metrics") == [[six]]


# -- log ------------------------------------------------------------------------------------------------


def test_a_json_log_is_one_object_a_line(daemon: Start) -> None:
    """Programs read time, level, message and the alert's fields."""
    config = (
        'database: {flush: 50ms}\nrules:\n  - {name: high, condition: "custom.x > 1", severity: critical}\n'
    )
    oculus = daemon(config, "--log-format", "json")
    push(oculus, ("custom.x", 5.0))
    oculus.wait_log('"state": "firing"')
    assert oculus.stop() == 0
    records = [json.loads(line) for line in oculus.log().splitlines()]
    assert len(records) >= 3
    for record in records:
        assert {"time", "level", "message"} <= record.keys()
        assert abs(parse_iso(record["time"]) - now()) < 300 * SECOND
        assert record["time"].endswith("Z")
    (alert,) = [record for record in records if record.get("alert") == "high"]
    assert alert["level"] == "critical"
    assert (alert["state"], alert["symbol"], alert["value"]) == ("firing", "custom.x", 5.0)
    assert "custom.x (5) > 1" in alert["message"]


# -- listening ------------------------------------------------------------------------------------------


def listening(process: int, port: int) -> set[str]:
    """Return the addresses, in the kernel's writing, on which this port is listened on."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            address, _, number = words[1].partition(":")
            if words[3] == "0A" and int(number, 16) == port:
                found.add(address)
    return found


def test_only_this_host_can_connect_by_default(daemon: Start) -> None:
    """The one listening address is 127.0.0.1."""
    oculus = daemon("{}\n")
    assert listening(oculus.process.pid, oculus.port) == {"0100007F"}


def refusal(daemon: Daemon) -> tuple[int, list[str]]:
    """Return exit status and complaints of a daemon that ended by itself."""
    status = int(daemon.process.wait(timeout=20))
    assert "Traceback" not in daemon.log()
    lines = daemon.log().splitlines()  # another daemon of the test may write there too
    return status, [line for line in lines if line.startswith("oculus: ")] or lines


def test_other_hosts_need_a_token(daemon: Start) -> None:
    """Listening beyond loopback without a token is refused before anything is made; with one it works."""
    status, (line,) = refusal(daemon("server: {bind: 0.0.0.0}\n", ready=False))
    assert status == 2
    assert "server.token" in line
    oculus = daemon("server: {bind: 0.0.0.0, token: secret}\n")
    assert listening(oculus.process.pid, oculus.port) == {"00000000"}
    assert oculus.get("/api/metrics").status_code == 401
    assert oculus.get("/api/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert "secret" not in oculus.log()


def test_an_occupied_port_is_one_clear_line(daemon: Start, tmp_path: Path) -> None:
    """Exit status 1, a hint what to do, and no database made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, (line,) = refusal(daemon("{}\n", ready=False, port=taken.getsockname()[1]))
    assert status == 1
    assert "--port" in line
    assert not (tmp_path / "oculus.db").exists()


def test_a_database_in_use_is_one_clear_line(daemon: Start) -> None:
    """A second daemon on the same file names the first one, and harms nothing."""
    first = daemon("{}\n")
    push(first, ("custom.x", 1.0))
    status, (line,) = refusal(daemon("{}\n", ready=False, port=free_port()))
    assert status == 1
    assert "in use" in line
    assert str(first.process.pid) in line
    assert first.stop() == 0
    assert rows_in(first.database, "select count(*) from metrics") == [[1]]


def test_the_start_is_an_event_in_the_store(daemon: Start) -> None:
    """What the daemon did can be asked for by SQL beside the samples."""
    began = now()
    oculus = daemon("database: {flush: 50ms}\n")
    wait_for(lambda: oculus.sql("select * from events where type = 'system'"))
    ((ts, source, severity, message),) = oculus.sql("select ts, source, severity, message from events")
    assert iso(Micros(began - SECOND)) < ts < iso(now())
    assert (source, severity) == ("oculus", "info")
    assert f":{oculus.port}" in message
