"""Errors that decide: whose fault it is, whether trying again can help, and what a person is told.

What a user may see derives from `OculusError`, and its text is one complete line. Anything else that
escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import traceback
from pathlib import Path

# A reason is a line for people; a plugin may raise an error with a whole page as its text.
_LONGEST = 300  # characters
# An expression is shown around its fault, so that line and caret fit a terminal.
_WIDEST = 90  # characters


class OculusError(Exception):
    """An error whose text is fit to be shown to a person as one line."""


class ConfigError(OculusError):
    """The configuration is wrong: nothing was started. Exit status 2."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StartError(OculusError):
    """The program cannot run here and now (port taken, database locked …). Exit status 1."""


class DamageError(StartError):
    """The database file is damaged: `--recover` sets it aside and starts anew. `fault` is what was found."""

    def __init__(self, message: str, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class StorageError(OculusError):
    """The database refused an operation; `retryable` tells whether the same call may succeed later."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class QueryError(OculusError):
    """A query is the caller's mistake: bad SQL, a write, a missing parameter."""


class QueryTimeout(OculusError):
    """A query was interrupted because it ran longer than allowed."""


class Busy(OculusError):
    """Too much is waiting already; try again a little later."""


class TooLarge(OculusError):
    """What was sent is larger than there can ever be room for; smaller parts may fit."""


class ExpressionError(OculusError):
    """A condition or formula does not parse. `position` is the 0-based offset of the fault in it.

    `told` says in one line what is wrong. Where the expression's text is given, the error's text has two more
    lines, which are `pointed`: the text, and a caret under the spot.
    """

    def __init__(self, told: str, position: int, text: str = "") -> None:
        self.told = told
        self.position = position
        self.pointed = _pointed(text, position)
        super().__init__(f"{told}\n{self.pointed}" if self.pointed else told)


def _pointed(text: str, position: int) -> str:
    """Return the line of `text` that `position` lies in, and below it a caret under the spot."""
    position = min(position, len(text.rstrip()))
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].partition("\n")[0].rstrip()
    if not line:
        return ""
    column = position - start
    first = max(0, column - _WIDEST // 2) if len(line) > _WIDEST else 0
    shown = line[first : first + _WIDEST]
    # Tabs and control characters would move the caret away.
    shown = "".join(sign if sign.isprintable() else " " for sign in shown)
    left = "…" if first else ""
    right = "…" if first + _WIDEST < len(line) else ""
    return f"    {left}{shown}{right}\n    {' ' * (len(left) + column - first)}^"


def reason(failure: BaseException, module: str = "") -> str:
    """Return an unexpected error as one line, with the line of `module`, if that is named, that raised it."""
    try:
        told = f"{type(failure).__name__}: {failure}".removesuffix(": ")
    except Exception:
        told = type(failure).__name__  # an error whose text cannot be made
    if isinstance(failure, SystemExit):
        told = f"it called sys.exit({failure.code!r})"
    told = " ".join(told.split())
    if len(told) > _LONGEST:
        told = f"{told[:_LONGEST]}…"
    if module and (place := place_of(failure, module)):
        told = f"{told} (in {Path(place).name})"
    return told


def place_of(failure: BaseException, module: str) -> str:
    """Return FILE:LINE of the last line of a module that a failure came by, or an empty text."""
    found = ""
    for frame, line in traceback.walk_tb(failure.__traceback__):
        if f"{frame.f_globals.get('__name__')}.".startswith(f"{module}."):
            found = f"{frame.f_code.co_filename}:{line}"
    return found
