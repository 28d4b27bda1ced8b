"""What the log looks like: one line per record, for people or as JSON, on standard error and in a file. Its
last records are kept for the page that shows them."""

from __future__ import annotations

import json
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loguru import logger

from oculus.config.settings import LogSettings
from oculus.errors import StartError
from oculus.masking import mask

if TYPE_CHECKING:
    from loguru import FormatFunction, Message, Record

KEPT = 200  # records
LONGEST = 4_000  # characters of one that is kept: they take a megabyte at most

# What comes from outside must not forge a second record, nor move the cursor of a terminal.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class Line(NamedTuple):
    """A record: when, in microseconds, its level, its text, and the traceback if it has one."""

    ts: int
    level: str
    severity: int  # of the level: more is worse
    text: str
    trace: str


class Tail:
    """Takes records, and keeps the last ones; `count` is of all there were."""

    def __init__(self, most: int = KEPT) -> None:
        self._lines: deque[Line] = deque(maxlen=most)
        self.count = 0

    def __call__(self, message: Message) -> None:
        """Take a record, whose formatted message is its traceback."""
        record = message.record
        ts, level, text = int(record["time"].timestamp() * 1_000_000), record["level"], _said(record)
        self._lines.append(
            Line(ts, level.name.lower(), level.no, text[:LONGEST], str(message).strip()[-LONGEST:])
        )
        self.count += 1

    @property
    def lines(self) -> Sequence[Line]:
        """The last records, newest first."""
        return tuple(reversed(self._lines))


tail = Tail()


def setup(settings: LogSettings) -> None:
    """Send the log where `settings` say; raises StartError when the file cannot be written."""
    line: FormatFunction = _json if settings.format == "json" else _text
    level = settings.level.upper()
    logger.remove()
    # `diagnose` would print the values of variables, secrets among them.
    logger.add(sys.stderr, format=line, level=level, diagnose=False, backtrace=False)
    logger.add(tail, format=_only_trace, level=level, diagnose=False, backtrace=False)
    if settings.file:
        try:
            logger.add(
                settings.file,
                format=line,
                level=level,
                rotation="00:00",
                retention=timedelta(seconds=settings.keep),
                diagnose=False,
                backtrace=False,
            )
        except OSError as error:
            raise StartError(f"the log file {settings.file} cannot be written: {error.strerror}") from None


def _stamp(record: Record) -> str:
    moment = record["time"].astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _fields(record: Record) -> dict[str, Any]:
    return {key: value for key, value in record["extra"].items() if not key.startswith("_")}


def _said(record: Record) -> str:
    fields = "".join(f" {key}={_bare(value)}" for key, value in _fields(record).items())
    return mask(f"{record['message']}{fields}").translate(_CONTROL)


def _text(record: Record) -> str:
    record["extra"]["_line"] = f"{_stamp(record)} {record['level'].name:<8} {_said(record)}"
    return "<level>{extra[_line]}</level>\n" + _only_trace(record)


def _only_trace(record: Record) -> str:
    """Return the format of a record's traceback, if it has one: the library's own would show secrets."""
    found = record["exception"]
    record["extra"]["_trace"] = mask("".join(traceback.format_exception(*found))) if found else ""
    return "{extra[_trace]}"


def _bare(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return text if text and not any(sign in text for sign in ' "=\n') else json.dumps(text)


def _json(record: Record) -> str:
    fields = {"time": _stamp(record), "level": record["level"].name.lower(), "message": record["message"]}
    fields |= _fields(record)
    exception = record["exception"]
    if exception is not None:
        fields["error"] = f"{getattr(exception.type, '__name__', '')}: {exception.value}"
    record["extra"]["_line"] = mask(json.dumps(fields, ensure_ascii=False, default=str))
    return "{extra[_line]}\n"
