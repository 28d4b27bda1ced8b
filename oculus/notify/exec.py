"""`type: exec`: a program that is run at a step of an alert, without a shell, bounded in time and output.

What an alert says may have been pushed by anybody. So it is handed over as whole arguments and as variables
of the environment, which nothing takes apart, and never chooses the program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from gevent.lock import BoundedSemaphore

from oculus import templates
from oculus.clock import iso
from oculus.collectors.base import CollectError
from oculus.collectors.command import (
    check_command,
    check_env,
    cut_short,
    environment,
    first_line,
    not_run,
    redacted,
)
from oculus.collectors.process import OVERTIME, Ended, Program
from oculus.config.decode import Doubt, setting
from oculus.config.settings import ActionSettings
from oculus.errors import reason
from oculus.model import Transition
from oculus.notify import payload
from oculus.notify.action import MAX_OUTPUT, Action, Ran
from oculus.notify.notice import Notice

# Programs of all actions that run at once: when much breaks together, a small board has little memory.
TURNS = 16

# Linux takes arguments of up to 128 kB; a longer one than this is a template's loop that went wrong.
MAX_ARGUMENT = 30_000  # characters

_SHELLS = frozenset({"ash", "bash", "dash", "fish", "ksh", "sh", "zsh"})

_turns = BoundedSemaphore(TURNS)


def _check_command(command: tuple[str, ...]) -> None:
    if command and _is_template(command[0]):
        raise ValueError("the program cannot be a template (an alert must not choose it); its arguments can")
    check_command(command)
    program, *arguments = command
    for number, argument in enumerate(arguments, 1):
        try:
            payload.check_template(argument)
        except ValueError as error:
            raise ValueError(f"argument {number}: {error}") from None
    if Path(program).name not in _SHELLS:
        return
    for before, argument in pairwise(arguments):
        if before.startswith("-") and before.endswith("c") and _is_template(argument):
            raise Doubt(
                "the shell runs whatever an alert says here; hand it over as an argument"
                ' ([sh, -c, \'restart "$1"\', sh, "{{ symbol }}"]), or read $OCULUS_SYMBOL'
            )


def _is_template(word: str) -> bool:
    return "{{" in word or "{%" in word


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings(ActionSettings):
    """Settings of `type: exec`."""

    type: ClassVar[str] = "exec"

    command: tuple[str, ...] = setting(
        help="program and its arguments, a list; arguments may be Jinja2 templates", check=_check_command
    )
    env: Mapping[str, str] = setting(
        factory=dict, help="variables of its environment", check=check_env, secret=True
    )
    directory: str = setting("", help="where it runs; the daemon's own folder when left out")

    @property
    def title(self) -> str:
        """The program; its arguments are another's business."""
        return self.command[0]


class Exec(Action):
    """Runs a program; the exit status 0 means that all is well."""

    Settings: ClassVar[type[ActionSettings]] = ExecSettings
    settings: ExecSettings

    def run(self, notice: Notice) -> Ran:
        settings, (step,) = self.settings, notice.alerts
        own = payload.own(notice)
        try:
            command = [settings.command[0], *self._arguments(payload.values(own))]
        except Exception as error:  # a user's template may fail in any way
            why = str(error) if isinstance(error, ValueError) else reason(error)
            return Ran(False, f"was not run: {why}", permanent=True)
        variables = environment(settings.env) | _variables(notice.id, step)
        given = json.dumps(own).encode()
        try:
            program = Program(command, variables, settings.directory or None)
            ended = program.run(settings.timeout, given)
        except OSError as error:
            return Ran(False, not_run(error, settings.directory), permanent=True)
        except CollectError as error:
            return Ran(False, f"failed: {error}")
        return self._ran(ended)

    def _arguments(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments for an alert; raises whatever a template does, and for what is not there."""
        found = []
        for number, template in enumerate(self.settings.command[1:], 1):
            text = templates.render(template, values, MAX_ARGUMENT + 1, strict=True)
            if len(text) > MAX_ARGUMENT:
                raise ValueError(f"argument {number} has more than {MAX_ARGUMENT} characters")
            found.append(_fit(text))
        return found

    def _ran(self, ended: Ended) -> Ran:
        env = self.settings.env
        why = cut_short(ended, self.settings.timeout)
        told = f"was {why}" if why else f"ended with status {ended.status}"
        ok = not why and not ended.status
        if not ok and (said := first_line(ended.errors, env) or first_line(ended.output, env)):
            told += f": {said}"
        printed = (ended.output + b"\n" + ended.errors).decode("utf-8", "replace").strip()
        output = redacted(printed, env)
        if len(output) > MAX_OUTPUT:
            output = f"{output[:MAX_OUTPUT]}…"
        return Ran(ok, told, None if ended.overdue else ended.status, output)

    @property
    def longest(self) -> float:
        return self.settings.timeout + OVERTIME + 1.0

    def turn(self) -> AbstractContextManager[object]:
        return _turns


def _variables(id: str, step: Transition) -> dict[str, str]:
    """Return what a program finds of a step in its environment; all of it is on its standard input."""
    return {
        "OCULUS_ID": id,
        "OCULUS_RULE": _fit(step.rule),
        "OCULUS_STATE": step.state,
        "OCULUS_SEVERITY": step.severity,
        "OCULUS_SYMBOL": _fit(step.symbol or ""),
        "OCULUS_VALUE": "" if step.value is None else f"{step.value:.12g}",
        "OCULUS_MESSAGE": _fit(step.message),
        "OCULUS_STARTED_AT": iso(step.started_at),
    }


def _fit(text: str) -> str:
    """Return a text as a program can be given it: without zero bytes, and in UTF-8."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
