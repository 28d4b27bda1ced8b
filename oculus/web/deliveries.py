"""What became of the messages about a step of an alert: in words for the page, and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oculus.clock import SECOND, iso
from oculus.storage.outbox import Delivery
from oculus.storage.queries import StoredEvent
from oculus.web import figures

if TYPE_CHECKING:
    from oculus.notify.courier import Progress

LOG = "log"

# How far what waits has come, by the id of its event and the channel; None: it does not wait.
Ask = Callable[[int, str], "Progress | None"]


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery as the page shows it. `due` is when the next try is, `said` the words of the service, or why
    it failed; `notice` is the message's id."""

    channel: str
    state: str
    words: str
    due: str
    at: str
    said: str
    notice: str


def told(event: StoredEvent, found: tuple[Delivery, ...], ask: Ask) -> Iterator[Told]:
    """Yield what became of the deliveries of a step; the log comes first, which has no row."""
    rows = {one.channel for one in found}
    payload = event.payload
    if payload.get("state") in ("firing", "resolved") and not payload.get("suppressed"):
        for name in dict.fromkeys(map(str, payload.get("channels", ()))):
            if name not in rows:
                words = "at once" if name == LOG else "to the log: there was no such channel then"
                yield Told(name, "sent", words, "", iso(event.ts), "", "")
    for one in found:
        if one.state == "waiting":
            yield _waiting(one, ask(event.id, one.channel))
        else:
            yield _ended(one, event)


def untold(event: StoredEvent) -> str:
    """Return why nobody is told of a step."""
    payload = event.payload
    if payload.get("suppressed"):
        return f"Held back: {payload['suppressed']}"
    if payload.get("state") not in ("firing", "resolved"):
        return "No channel is told of such a step: only that an alert fires, and that it is over"
    return "The rule names no channel"


def _waiting(one: Delivery, progress: Progress | None) -> Told:
    words, due, said = "", "", ""
    if progress is not None:
        due = "" if progress.due is None else iso(progress.due)
        if progress.tries:
            said = progress.error
            words = (
                f"{_after(progress.tries)}, the next one in" if due else f"try {progress.tries} is under way"
            )
        elif progress.quiet:
            words = "for the end of the quiet hours"
        else:
            words = "for the next message of its group" + (", in" if due else "")
    return Told(one.channel, one.state, words, due, "", said, one.notice)


def _ended(one: Delivery, event: StoredEvent) -> Told:
    at, late, said = "", "", one.told
    if one.at is not None:
        at = iso(one.at)
        late = _late((one.at - event.ts) / SECOND)
    if one.state == "sent":
        words = {0: "at once", 1: "at the first try"}.get(one.tries, _after(one.tries)) + late
    elif one.state == "passed":
        # What a service said, if anything, was about other alerts of the group.
        words, said = ("there was nothing left to tell" if one.notice or not said else said), ""
    elif one.tries:
        words = f"given up {_after(one.tries)}{late}"
    else:
        words, said = f"given up{': ' if said else ''}{said}", ""
    return Told(one.channel, one.state, words, "", at, said, one.notice)


def _after(tries: int) -> str:
    return f"after {tries} {'try' if tries == 1 else 'tries'}"


def _late(seconds: float) -> str:
    """Return how long after the step that was, where it is worth a word."""
    if seconds < 0.1:
        return ""
    return f", {figures.span_text(round(seconds, 1 if seconds < 10 else 0))} after the step"


def shown(event: int, one: Delivery, ask: Ask) -> dict[str, Any]:
    """Return a delivery as the API shows it. What waits has what is known of its tries so far."""
    progress = ask(event, one.channel) if one.state == "waiting" else None
    due = None if progress is None else progress.due
    return {
        "channel": one.channel,
        "state": one.state,
        "ended": None if one.at is None else iso(one.at),
        "due": None if due is None else iso(due),
        "tries": one.tries if progress is None else progress.tries,
        "notice": one.notice,
        "told": one.told if progress is None or not progress.tries else progress.error,
    }
