"""What the log looks like: one line per record, for people or as JSON, on standard error and in a file."""

from __future__ import annotations

import json
import sys
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from loguru import logger

from oculus.config.settings import LogSettings
from oculus.errors import StartError

if TYPE_CHECKING:
    from loguru import FormatFunction, Record


# What comes from outside must not forge a second record, nor move the cursor of a terminal.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def setup(settings: LogSettings) -> None:
    """Send the log where `settings` say; raises StartError when the file cannot be written."""
    line: FormatFunction = _json if settings.format == "json" else _text
    level = settings.level.upper()
    logger.remove()
    # `diagnose` would print the values of variables, secrets among them.
    logger.add(sys.stderr, format=line, level=level, diagnose=False, backtrace=False)
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


def _text(record: Record) -> str:
    fields = "".join(f" {key}={_bare(value)}" for key, value in _fields(record).items())
    line = f"{_stamp(record)} {record['level'].name:<8} {record['message']}{fields}"
    record["extra"]["_line"] = line.translate(_CONTROL)
    return "<level>{extra[_line]}</level>\n{exception}"


def _bare(value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return text if text and not any(sign in text for sign in ' "=\n') else json.dumps(text)


def _json(record: Record) -> str:
    fields = {"time": _stamp(record), "level": record["level"].name.lower(), "message": record["message"]}
    fields |= _fields(record)
    exception = record["exception"]
    if exception is not None:
        fields["error"] = f"{getattr(exception.type, '__name__', '')}: {exception.value}"
    record["extra"]["_line"] = json.dumps(fields, ensure_ascii=False, default=str)
    return "{extra[_line]}\n"
