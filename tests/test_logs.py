"""What the log looks like: text and JSON, levels, the file and its days, records that cannot be forged."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from oculus import logs
from oculus.config.decode import Seconds
from oculus.config.settings import LogSettings
from oculus.errors import StartError
from tests.support.log import logged

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_a_text_line_has_time_level_message_and_fields() -> None:
    """People read one line for each record, with fields as name=value behind it."""
    with logged() as log:
        logger.bind(rule="slow", value=1.5, name="a b", empty="", n=3).warning("it is {}", "slow")
        logger.info("plain {braces} <red>and</red> markup")
    first, second = log.lines
    assert re.fullmatch(STAMP + r' WARNING  it is slow rule=slow value=1\.5 name="a b" empty="" n=3', first)
    assert re.fullmatch(STAMP + r" INFO     plain \{braces\} <red>and</red> markup", second)
    assert abs(datetime.fromisoformat(first[:24]).timestamp() - time.time()) < 60


def test_a_json_line_is_an_object() -> None:
    """Programs read one object for each record, with the fields beside time, level and message."""
    with logged(format="json") as log:
        logger.bind(rule="slow", value=1.5, where=Path("x")).warning("it is {}", "é\n{")
    (record,) = log.records
    assert re.fullmatch(STAMP, record.pop("time"))
    assert record == {"level": "warning", "message": "it is é\n{", "rule": "slow", "value": 1.5, "where": "x"}


def test_the_last_records_are_kept() -> None:
    """Each with its time, level, fields and traceback; a long one is cut."""
    with logged(level="warning"):
        before = logs.tail.count
        logger.info("less than is logged")
        for number in range(5):
            logger.bind(n=number).warning("x" * 10_000 if number == 3 else "line\n{}", number)
        try:
            raise ValueError("boom")
        except ValueError:
            logger.exception("it broke")
    assert logs.tail.count == before + 6
    broke, last, cut = logs.tail.lines[:3]
    assert (broke.level, broke.severity, broke.text) == ("error", 40, "it broke")
    assert broke.trace.startswith("Traceback")
    assert broke.trace.endswith("ValueError: boom")
    assert (last.level, last.text, last.trace) == ("warning", "line\\n4 n=4", "")
    assert cut.text == "x" * logs.LONGEST
    assert abs(last.ts / 1e6 - time.time()) < 60


def test_a_tail_forgets_the_oldest() -> None:
    """There is a bound on what it keeps, and a count of all."""
    tail = logs.Tail(most=3)
    handler = logger.add(tail, format=lambda record: "{exception}", level="DEBUG")
    try:
        for number in range(5):
            logger.debug("line {}", number)
    finally:
        logger.remove(handler)
    assert [line.text for line in tail.lines] == ["line 4", "line 3", "line 2"]
    assert tail.count == 5


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_times_are_utc_wherever_the_host_is(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log from anywhere can be laid beside another."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        with logged() as log:
            logger.info("x")
        told = datetime.fromisoformat(log.lines[0][:24])
        assert abs((told - datetime.now(UTC)).total_seconds()) < 60
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
    ],
)
def test_only_the_wanted_levels_are_shown(level: str, shown: list[str]) -> None:
    """The level is the least that is shown."""
    with logged(level=level, format="json") as log:
        for name in ("debug", "info", "warning", "error", "critical"):
            logger.log(name.upper(), "x")
    assert [record["level"] for record in log.records] == shown


FORGED = "2026-01-02T03:04:05.006Z ERROR    forged"


@pytest.mark.parametrize(
    ("sign", "shown"),
    [
        ("\n", "\\n"), ("\r", "\\r"), ("\r\n", "\\r\\n"), ("\x0b", "\\x0b"), ("\x0c", "\\x0c"),
        ("\x1c", "\\x1c"),
        ("\x1d", "\\x1d"), ("\x1e", "\\x1e"), ("\x85", "\\x85"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"),
        ("\x1b[2K\x1b[1G", "\\x1b[2K\\x1b[1G"), ("\x08", "\\x08"), ("\x00", "\\x00"), ("\x9b", "\\x9b"),
    ],
)  # fmt: skip
def test_line_breaks_and_control_signs_cannot_forge_a_record(sign: str, shown: str) -> None:
    """What comes from outside stays within its line, in the message and in the fields."""
    with logged() as log:
        logger.info("{}", f"a{sign}{FORGED}")
        logger.bind(field=f"a{sign}{FORGED}").info("b")
    first, second = log.lines
    assert first.endswith(f" INFO     a{shown}{FORGED}")
    assert " INFO     b field=" in second
    assert sign not in log.text.replace("\n", "", 2)


@given(st.text(), st.text())
def test_every_record_is_one_line(message: str, field: str) -> None:
    """No text makes two records of one, or none, in either format; JSON gives it back unchanged."""
    with logged() as log:
        logger.bind(field=field).info("{}", message)
    assert len(log.lines) == 1
    with logged(format="json") as log:
        logger.bind(field=field).info("{}", message)
    (record,) = log.records
    assert (record["message"], record["field"]) == (message, field)


def test_a_field_cannot_be_taken_for_two() -> None:
    """Values with spaces, quotes or equal signs stand in quotes."""
    with logged() as log:
        logger.bind(a="x b=1", c='"', d="y=z").info("m")
    assert log.lines[0].endswith(r'm a="x b=1" c="\"" d="y=z"')


def test_an_exception_in_json_stays_in_its_line_and_shows_no_variables() -> None:
    """A failed request's record tells what failed; the values of variables may be secret."""
    for format in ("json", "text"):
        with logged(format=format) as log:
            hidden = "hunter" + str(2)
            try:
                raise ValueError("bad\nvalue") if hidden else KeyError
            except ValueError as error:
                logger.opt(exception=error).error("it failed")
        assert "hunter2" not in log.text
        if format == "json":
            (record,) = log.records
            assert record["error"] == "ValueError: bad\nvalue"
        else:
            assert "Traceback" in log.text


# -- the file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_file_gets_what_standard_error_gets(tmp_path: Path, format: str) -> None:
    """The log is in both, and a new start continues the file; its folder is made if need be."""
    path = tmp_path / "folder" / "oculus.log"
    shown = ""
    for message in ("one", "two é"):
        with logged(file=str(path), format=format) as log:
            logger.info(message)
        shown += log.text
    assert path.read_text() == shown
    assert shown.count("\n") == 2
    assert "\x1b" not in shown


def test_a_new_day_begins_a_new_file_and_old_days_are_deleted(tmp_path: Path) -> None:
    """Yesterday's lines move to a file of their own, and what is older than `keep` goes."""
    path = tmp_path / "oculus.log"
    recent = tmp_path / "oculus.2026-01-02_00-00-00_000000.log"
    ancient = tmp_path / "oculus.2025-12-01_00-00-00_000000.log"
    other = tmp_path / "notes.log"
    day = 86_400.0
    for file, text, age in (
        (path, "yesterday\n", 1.5 * day), (recent, "recent\n", 2 * day), (ancient, "ancient\n", 40 * day),
        (other, "mine\n", 400 * day),
    ):  # fmt: skip
        file.write_text(text)
        os.utime(file, (time.time() - age, time.time() - age))
    with logged(file=str(path), keep=Seconds(7 * day)):
        logger.info("today")
        logger.info("and more")
    assert [line.split("INFO     ")[1] for line in path.read_text().splitlines()] == ["today", "and more"]
    kept = {file.read_text() for file in tmp_path.iterdir() if file != path}
    assert kept == {"yesterday\n", "recent\n", "mine\n"}


def test_a_file_of_today_is_not_parted(tmp_path: Path) -> None:
    """A restart within a day goes on in the same file."""
    path = tmp_path / "oculus.log"
    path.write_text("before\n")
    with logged(file=str(path)):
        logger.info("after")
    if datetime.now().astimezone().strftime("%H:%M") != "00:00":  # else midnight may have been in between
        assert path.read_text().startswith("before\n")
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [(".", "Is a directory"), ("file/x.log", "File exists"), ("x" * 300, "File name too long")],
)
def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, name: str, why: str) -> None:
    """The start is refused with the path and the reason."""
    (tmp_path / "file").write_text("")
    path = str(tmp_path / name)
    with pytest.raises(StartError) as caught:
        logs.setup(LogSettings(file=path))
    logger.remove()
    assert str(caught.value) == f"the log file {path} cannot be written: {why}"


def test_json_lines_stay_parseable_with_any_field() -> None:
    """Objects that JSON does not know become text."""
    with logged(format="json") as log:
        logger.bind(a=object(), b={1, 2}, c=b"x", d=None, e=[1, {"f": 2}]).info("m")
    (record,) = log.records
    assert record["d"] is None
    assert record["e"] == [1, {"f": 2}]
    assert json.dumps(record)
