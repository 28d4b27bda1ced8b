"""`oculus silence` as a real command beside a real daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import oculus
from tests.support.daemon import Daemon

CONFIG = """
server: {token: a long secret}
database: {flush: 50ms}
rules:
  - {name: site_slow, condition: custom.x > 1}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run where the daemon's database is."""
    monkeypatch.chdir(tmp_path)


def test_a_silence_is_begun_shown_and_ended(daemon: Callable[..., Daemon]) -> None:
    """No token is asked for; the daemon notes each change."""
    running = daemon(CONFIG)
    made = oculus("silence", "add", "rule=site_*", "severity=warn", "--for", "2h", "--comment", "a deploy")
    assert (made.status, made.err) == (0, "")
    id, _, rest = made.out.partition(": ")
    assert rest.startswith("rule=site_* severity=warn until 20")
    odd = oculus("silence", "add", "rule=side_*", "--for", "1h", "--config", "config.yaml")
    assert (odd.status, odd.err) == (0, "oculus: no rule has a name like 'side_*' now\n")
    ended = oculus("silence", "end", odd.out.partition(":")[0], "--db", "oculus.db")
    assert (ended.status, ended.err) == (0, "")
    table = oculus("silence", "list").out
    assert [word in table for word in (id, "active", "rule=site_* severity=warn", "a deploy")] == [True] * 4
    assert "(1 row)" in table
    (one,) = oculus("silence", "list", "--format", "json").json()
    assert (one["id"], one["matchers"]) == (id, ["rule=site_*", "severity=warn"])
    assert len(oculus("silence", "list", "--all", "--format", "json").json()) == 2
    running.wait_log(f"silence {id} of rule=site_* severity=warn until ")
    rows = running.get("/api/silences", headers={"Authorization": "Bearer a long secret"}).json()
    assert len(rows["silences"]) == 2


def test_what_goes_wrong_is_one_line(daemon: Callable[..., Daemon]) -> None:
    """2 for what was typed wrong, 1 for what the daemon refuses or when there is none."""
    for arguments, status, told in (
        (("add", "site", "--for", "2h"), 2, "'site' is no matcher (NAME=GLOB"),
        (("add", "rule=x", "--for", "soon"), 2, "'soon' is not a duration"),
        (("add", "rule=x"), 2, "--for"),
        ((), 2, "ACTION"),
        (("list",), 1, "no daemon runs with the database oculus.db"),
    ):
        done = oculus("silence", *arguments)
        assert (done.status, done.out) == (status, "")
        assert told in done.err
    daemon(CONFIG)
    for arguments, told in (
        (("end", "nothing"), "there is no silence"),
        (("add", "rule=x", "--for", "900d"), "a silence lasts 366 days at most"),
    ):
        done = oculus("silence", *arguments)
        assert (done.status, done.err.count("\n")) == (1, 1)
        assert told in done.err
