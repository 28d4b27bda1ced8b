"""Pushes in Prometheus's text format over a real socket: official clients, paths, and what is refused."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import requests
from gevent import subprocess
from prometheus_client import CollectorRegistry, Counter, Gauge, push_to_gateway, pushadd_to_gateway

from oculus.clock import now
from oculus.config.settings import ServerSettings
from oculus.supervise import Watchdog
from oculus.web import inputs
from tests.support.daemon import Daemon
from tests.support.site import Site

JOB = "/api/push/metrics/job/backup"


def accepted(answer: requests.Response) -> int:
    """Return how many samples were accepted; fails unless they were."""
    assert answer.status_code == 202, answer.text
    return int(answer.json()["accepted"])


def refused(answer: requests.Response, status: int) -> tuple[str, str]:
    """Return code and message of a refusal, which has the one shape of errors."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"code", "message"}
    assert "\n" not in error["message"]
    return error["code"], error["message"]


def stored(site: Site) -> dict[str, tuple[float, dict[str, str]]]:
    """Return value and tags of all that is stored, by symbol."""
    site.settle()
    return {series.symbol: (series.value, dict(series.tags)) for series in site.latest}


def test_a_shell_pushes(daemon: Callable[..., Daemon]) -> None:
    """`curl --data-binary @-`, with the type that it sends unless told otherwise, to a real Oculus."""
    running = daemon("collectors: []\n")
    text = b'# TYPE backup_bytes gauge\nbackup_bytes 12345\nbackup_files{kind="new"} 7\n'
    done = subprocess.run(
        ["curl", "-sS", "--data-binary", "@-", f"{running.url}{JOB}/instance/db1"],
        input=text, stdout=subprocess.PIPE, timeout=20,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"accepted": 2}
    assert running.stop() == 0
    assert "Traceback" not in running.log()


def test_series_are_stored_like_those_of_a_scrape(site: Site) -> None:
    """The job is the name, the labels of the path are labels, and the time is the present one."""
    before = now()
    text = 'backup_bytes 5\nbackup_files{kind="new",instance="x"} 7 1700000000000\nbroken NaN\n'
    assert accepted(site.post(f"{JOB}/instance/db1", data=text)) == 2
    assert stored(site) == {
        "prom.backup.backup_bytes.db1": (
            5.0, {"source": "push", "job": "backup", "instance": "db1", "unit": "B"}
        ),
        "prom.backup.backup_files.db1.new": (
            7.0, {"source": "push", "job": "backup", "instance": "db1", "kind": "new"}
        ),
    }  # fmt: skip
    assert before <= site.stored("prom.backup.backup_bytes.db1")[0][0] <= now()
    assert site.stored("prom.backup.backup_files.db1.new")[0][0] == 1_700_000_000_000_000


def test_the_official_client_pushes(site: Site) -> None:
    """To it this is a Pushgateway, whichever way it pushes, and whatever its values are."""
    registry = CollectorRegistry()
    Gauge("last_success_seconds", "When.", registry=registry).set(5)
    Counter("rows", "How many.", ["table"], registry=registry).labels("users").inc(3)
    gateway = f"{site.url}/api/push"
    push_to_gateway(gateway, "nightly job", registry, grouping_key={"path": "/srv/data", "empty": ""})
    pushadd_to_gateway(gateway, "a/b", registry)
    found = stored(site)
    assert {symbol: value for symbol, (value, _) in found.items() if "created" not in symbol} == {
        "prom.nightly_job.last_success_seconds._.srv_data": 5.0,
        "prom.nightly_job.rows_total._.srv_data.users": 3.0,
        "prom.a_b.last_success_seconds": 5.0,
        "prom.a_b.rows_total.users": 3.0,
    }
    assert found["prom.nightly_job.rows_total._.srv_data.users"][1] == {
        "source": "push", "job": "nightly job", "path": "/srv/data", "empty": "", "table": "users"
    }  # fmt: skip


def test_open_metrics_is_read(site: Site) -> None:
    """By its type, or by its end."""
    text = "# TYPE x gauge\nx 1 1700000000.25\n# EOF\n"
    kind = {"Content-Type": "application/openmetrics-text; version=1.0.0"}
    assert accepted(site.post(JOB, data=text, headers=kind)) == 1
    assert accepted(site.post(JOB, data=text.replace("x", "y"))) == 1
    stored(site)
    for name in "xy":
        assert site.stored(f"prom.backup.{name}")[0][0] == 1_700_000_000_250_000


@pytest.mark.parametrize("text", ["", "# nothing\n", "x NaN\n"])
def test_nothing_to_store_is_no_mistake(site: Site, text: str) -> None:
    """As with an empty list."""
    assert accepted(site.post(JOB, data=text)) == 0


def encoded(text: str) -> str:
    """Return a text as base64 for URLs, without its padding."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("path", "symbol", "tags"),
    [
        ("job/a", "prom.a.x", {"job": "a"}),
        ("job/a/", "prom.a.x", {"job": "a"}),
        ("job/K%C3%BCche", "prom.k_che.x", {"job": "Küche"}),
        ("job/a/b/c/a/d", "prom.a.x.d.c", {"job": "a", "b": "c", "a": "d"}),
        ("job/a/unit/u/source/s", "prom.a.x.s.u", {"job": "a", "exported_unit": "u", "exported_source": "s"}),
        (f"job@base64/{encoded('a/b')}", "prom.a_b.x", {"job": "a/b"}),
        (f"job/a/p@base64/{encoded('ü?')}", "prom.a.x._", {"job": "a", "p": "ü?"}),
        ("job/a/p@base64/=", "prom.a.x._", {"job": "a", "p": ""}),
    ],
)
def test_paths(site: Site, path: str, symbol: str, tags: dict[str, str]) -> None:
    """Job and labels as clients write them; what has a slash, or is empty, comes as base64."""
    assert accepted(site.ask("PUT", f"/api/push/metrics/{path}", data="x 1\n")) == 1
    assert stored(site) == {symbol: (1.0, {"source": "push"} | tags)}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("instance/a", "the path is not /api/push/metrics/job/<job>"),
        ("job", "the path is not /api/push/metrics/job/<job>"),
        ("job/a/b", "the path is not /api/push/metrics/job/<job>"),
        ("job//b/c", "the job '' has no letter or digit"),
        ("job/-", "the job '-' has no letter or digit"),
        ("job/a/5b/c", "'5b' in the path is not the name of a label"),
        ("job/a/__name__/c", "'__name__' in the path is not the name of a label"),
        ("job/a/b/c/b/d", "the label b comes twice in the path"),
        ("job/a/job/b", "the label job comes twice in the path"),
        ("job/a/b@base64/a+b", "'a+b' in the path is not base64 for URLs of a text"),
        ("job/a/b@base64/a", "'a' in the path is not base64 for URLs of a text"),
        ("job/a/b@base64/_w", "'_w' in the path is not base64 for URLs of a text"),
    ],
)
def test_a_wrong_path_is_told(site: Site, path: str, told: str) -> None:
    """Each with what would be right, or what is wrong."""
    code, message = refused(site.post(f"/api/push/metrics/{path}", data="x 1\n"), 400)
    assert (code, told in message) == ("bad_request", True), message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"x 1\ny one\n", "the body cannot be read: line 2 is no sample: 'y one'"),
        (b"x 1", "the body cannot be read: its last line has no end, so it is not whole"),
        (b'{"value": 1}\n', "the body cannot be read: line 1 is no sample: '{\"value\": 1}'"),
        (b"\xff\n", "the body cannot be read: line 1 is no sample: '\ufffd'"),
        (b"x 1\na 1\nA 2\n", "line 2: prom.backup.a would be more than one series (and 1 more)"),
        (b"x 1\ny 1 99999999999999\n", "line 2: prom.backup.y has a time before 1970 or more than a day"),
        (b"y" * 190 + b" 1\n", "line 1: prom.backup.yyy"),
    ],
)  # fmt: skip
def test_a_wrong_line_refuses_the_whole_body(site: Site, text: bytes, told: str) -> None:
    """400 with its number, and nothing is stored."""
    code, message = refused(site.post(JOB, data=text), 400)
    assert code == "bad_request"
    assert message.startswith(told)
    assert site.pipe.accepted == 0


def test_an_exposition_at_another_path_is_told_the_right_one(site: Site) -> None:
    """Without a job it would have no name."""
    kind = {"Content-Type": "text/plain; version=0.0.4"}
    for path in ("/api/push", "/api/push/custom.x"):
        message = refused(site.post(path, data="x 1\n", headers=kind), 400)[1]
        assert message == "Prometheus's text format goes to /api/push/metrics/job/<job>"


def test_what_is_too_large_is_refused(site: Site) -> None:
    """More than 10,000 series or 4 MiB get 413; ten thousand go in."""
    text = "".join(f"x{n} {n}\n" for n in range(10_001))
    assert refused(site.post(JOB, data=text), 413) == (
        "too_large", "the body cannot be taken: it has 10001 series, and at most 10000 are taken"
    )  # fmt: skip
    assert refused(site.post(JOB, data="#" * inputs.MAX_BODY + "\n"), 413)[0] == "too_large"
    assert site.pipe.accepted == 0
    assert accepted(site.post(JOB, data=text.partition("\n")[2])) == inputs.MAX_PUSH


def test_a_full_queue_answers_503(new_site: Callable[..., Site]) -> None:
    """As for other pushes, with the time to wait."""
    site = new_site(queue=1_000, drain=False)
    text = "".join(f"x{n} {n}\n" for n in range(600))
    assert accepted(site.post(JOB, data=text)) == 600
    answer = site.post(JOB, data=text)
    assert refused(answer, 503)[0] == "queue_full"
    assert answer.headers["Retry-After"] == "1"
    assert len(site.pipe) == 600


def test_pushes_need_the_token(new_site: Callable[..., Site]) -> None:
    """Like everything else."""
    site = new_site(server=ServerSettings(token="s3cr3t"))
    assert refused(site.post(JOB, data="x 1\n"), 401)[0] == "unauthorized"
    assert accepted(site.post(JOB, data="x 1\n", headers={"Authorization": "Bearer s3cr3t"})) == 1


def test_there_is_nothing_to_delete(site: Site) -> None:
    """What was pushed is history, not a state that is held."""
    answer = site.ask("DELETE", JOB)
    assert refused(answer, 405)[0] == "method_not_allowed"
    assert set(answer.headers["Allow"].split(",")) == {"POST", "PUT"}


def test_many_long_pushes_do_not_hold_the_hub(site: Site) -> None:
    """They are read in a native thread, one after the other; too many at once are told to come back."""
    labels = "".join(f'l{n}="{"v" * 10}",' for n in range(15))
    text = "".join(f"x{n}{{{labels}}} 1\n" for n in range(9_000))
    watchdog, started = Watchdog(), time.monotonic()
    watching = gevent.spawn(watchdog.run)
    answers: list[Any] = []
    pushing = [gevent.spawn(lambda: answers.append(site.post(JOB, data=text, timeout=60))) for _ in range(6)]
    gevent.joinall(pushing, timeout=60)
    watching.kill()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 202
    assert statuses[-1] in (202, 503)
    assert all(refused(answer, 503)[0] == "busy" for answer in answers if answer.status_code == 503)
    assert watchdog.total < 0.5 * (time.monotonic() - started)  # a hub that is held is late all the time
