"""The log as a daemon sets it up, read back by tests."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from loguru import logger

from oculus import logs
from oculus.config.settings import LogSettings


class Log:
    """What was logged so far."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        """All of it."""
        return self._stream.getvalue()

    @property
    def lines(self) -> list[str]:
        """Each record that a reader of lines would see, whatever parts lines for it."""
        return self.text.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Each line of a JSON log as an object."""
        return [json.loads(line) for line in self.text.split("\n")[:-1]]


@contextmanager
def logged(**settings: Any) -> Iterator[Log]:
    """Set the log up with these settings, with a text for standard error, and take it down afterwards."""
    stream = io.StringIO()
    before, sys.stderr = sys.stderr, stream
    try:
        logs.setup(LogSettings(**settings))
        yield Log(stream)
    finally:
        logger.remove()
        sys.stderr = before
