"""Keeps silences over a restart: a change is stored before it is answered, and leaves an event."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from oculus.clock import iso, now
from oculus.model import Event, Micros
from oculus.rules.silences import Silence, Silences

STORED = "silence/"  # what the keys of stored silences begin with


class SilenceKeeper:
    """Changes `silences`, and has each change stored.

    `load(prefix)` gives what is stored under such keys; `save` stores texts durably, and forgets keys whose
    text is None. Both may raise OculusError: a change that cannot be stored is not made. `report` takes
    events.
    """

    def __init__(
        self,
        silences: Silences,
        load: Callable[[str], Mapping[str, str]],
        save: Callable[[Mapping[str, str | None]], None],
        report: Callable[[Event], None] = lambda event: None,
        wall: Callable[[], Micros] = now,
    ) -> None:
        self.silences = silences
        self._save = save
        self._report = report
        self._wall = wall
        self._lock = threading.Lock()  # storing takes a while, in which another change may come
        silences.restore(self._read(load(STORED)))

    def add(
        self, matchers: Iterable[str], starts_at: Micros, ends_at: Micros, comment: str, by: str
    ) -> Silence:
        """Begin a silence, which is in force once this returns if it is to begin by now.

        `by` says who wants it. Raises SilenceError, or StorageError.
        """
        with self._changing():
            present = self._wall()
            made = self.silences.add(matchers, starts_at, ends_at, comment, present)
        span = f"from {iso(made.starts_at)} " if made.state(present) == "planned" else ""
        self._tell(made, f"{span}until {iso(made.ends_at)}", by, present)
        return made

    def end(self, id: str, by: str) -> Silence | None:
        """End a silence now, and return it; None when there is none of this id. Raises StorageError."""
        with self._changing():
            present = self._wall()
            before = self.silences.get(id)
            ended = self.silences.expire(id, present)
        if ended is not None and before is not None and ended != before:
            self._tell(ended, f"ended before its time, which was {iso(before.ends_at)}", by, present)
        return ended

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Store what the block changes, or leave everything as it was."""
        with self._lock:
            before = self.silences.snapshot()
            try:
                yield
                after = self.silences.snapshot()
                changed: dict[str, str | None] = {STORED + id: None for id in before.keys() - after.keys()}
                for id, silence in after.items():
                    if before.get(id) != silence:
                        changed[STORED + id] = silence.to_json()
                if changed:
                    self._save(changed)
            except BaseException:
                self.silences.restore(before)
                raise

    def _read(self, stored: Mapping[str, str]) -> dict[str, Silence]:
        found = {}
        for key, text in stored.items():
            try:
                silence = Silence.of_json(text)
            except (ValueError, TypeError, KeyError) as error:
                told = f"the stored silence {key.removeprefix(STORED)} cannot be read, it holds nothing back"
                self._report(Event(self._wall(), key, "error", "error", f"{told}: {error}"))
            else:
                found[silence.id] = silence
        return found

    def _tell(self, silence: Silence, what: str, by: str, at: Micros) -> None:
        comment = f" ({silence.comment})" if silence.comment else ""
        payload = {
            "silence": silence.id,
            "matchers": list(map(str, silence.matchers)),
            "starts_at": iso(silence.starts_at),
            "ends_at": iso(silence.ends_at),
            "comment": silence.comment,
            "by": by,
        }
        told = f"silence {silence.id} of {silence.what()} {what}{comment}"
        self._report(Event(at, STORED + silence.id, "audit", "info", told, payload))
