"""What a program is given, and in which words it is told how it ended: for all that runs one."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from oculus.collectors import nagios
from oculus.collectors.process import Ended

# Of the daemon's environment, where secrets of its configuration may be, programs get this.
_PASSED_ON = ("HOME", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Their words and decimal signs are those that are documented.
_LOCALE = "C.UTF-8"

# What the environment was given is a secret from this length on: a `C` or a `1` is none, and would be missing
# in every other word.
_SECRET = 4  # characters


def check_command(command: tuple[str, ...]) -> None:
    """Raise ValueError unless this can be a program and its arguments."""
    if not command or not command[0]:
        raise ValueError("is empty (a list of program and arguments, such as [check_disk, -w, 10%])")
    if any("\0" in word for word in command):
        raise ValueError("holds a zero byte, which no program can be given")
    if len(command) == 1 and any(sign.isspace() for sign in command[0]) and not Path(command[0]).is_file():
        try:
            words = shlex.split(command[0])
        except ValueError:
            words = command[0].split()
        hint = f"[{', '.join(json.dumps(word, ensure_ascii=False) for word in words)}]"
        raise ValueError(f"is a text, and no shell takes it apart (a list of program and arguments: {hint})")


def check_env(env: Mapping[str, str]) -> None:
    """Raise ValueError unless these can be variables of an environment."""
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            # What is written as a shell has it holds the value.
            shown = f"{name.partition('=')[0]}=…" if "=" in name else name
            raise ValueError(f"{shown!r} cannot be a variable of the environment ({{NAME: value}})")


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: little of the daemon's own, and what was given."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": _PATH} | passed_on | {"LC_ALL": _LOCALE} | dict(given)


def redacted(text: str, env: Mapping[str, str]) -> str:
    """Return a text without what the environment was given: a program may print its password."""
    for value in sorted(env.values(), key=len, reverse=True):
        if len(value) >= _SECRET:
            text = text.replace(value, "***")
    return text


def cut_short(ended: Ended, timeout: float) -> str:
    """Return why a program did not end by itself, or nothing."""
    if ended.overdue:
        return f"not done after {timeout:g} s"
    if ended.status < 0:
        return f"ended by signal {-ended.status} ({_signal_name(-ended.status)})"
    return ""


def not_run(error: OSError, directory: str) -> str:
    """Return why a program cannot be run, in words that follow its name."""
    why = (error.strerror or str(error)).lower()
    if directory and error.filename == directory:
        return f"cannot be run: its directory {directory} cannot be entered: {why}"
    return f"cannot be run: {why}"


def first_line(output: bytes, env: Mapping[str, str]) -> str:
    """Return the first line of some output that says anything, without what the environment was given."""
    text = redacted(output.decode("utf-8", "replace"), env)
    return next(filter(None, map(nagios.plain, text.splitlines())), "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "no name"
