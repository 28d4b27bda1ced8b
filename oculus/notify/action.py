"""What an action of a rule is: made from its settings, it is carried out for a step of an alert at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from oculus.config.settings import ActionSettings
from oculus.notify.notice import Notice

MAX_OUTPUT = 1_000  # characters of what a service or program said that are kept


@dataclass(frozen=True, slots=True)
class Ran:
    """How a try went; no text holds a secret.

    `told` follows the action's title ("answered 200"), `status` is the service's or the program's, `output`
    what it said. A `permanent` failure is not tried again; another one is, after `retry_after` seconds where
    the service says so.
    """

    ok: bool
    told: str
    status: int | None = None
    output: str = ""
    permanent: bool = False
    retry_after: float | None = None


class Action:
    """Base of actions."""

    Settings: ClassVar[type[ActionSettings]] = ActionSettings

    def __init__(self, settings: ActionSettings) -> None:
        self.settings = settings

    def run(self, notice: Notice) -> Ran:
        """Carry it out once, within about its timeout, for the one step of the notice."""
        raise NotImplementedError

    @property
    def longest(self) -> float:
        """The seconds after which a try is ended whatever it does."""
        return self.settings.timeout + 1.0

    def turn(self) -> AbstractContextManager[object]:
        """Wait until a try may begin, where others must end first; the block is the try."""
        return nullcontext()

    def close(self) -> None:
        """Let go of what is open."""
