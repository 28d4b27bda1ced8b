"""Copies beside the running daemon: one at a time, each made in a native thread."""

from __future__ import annotations

import time
from typing import BinaryIO

from gevent.lock import BoundedSemaphore

from oculus.errors import Busy
from oculus.storage import copies
from oculus.storage.database import Database
from oculus.threads import Call, NativeThreads

PATIENCE = 1.0  # seconds: the client of the last copy may have hung up only just now
STOPPING = 1.0  # seconds that an interrupted copy has to end


class Copier:
    """Who makes a copy takes the turn, starts it, and ends it, whatever came of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # One makes and removes files, and the folder with them, so that these never meet; one reads.
        self._threads, self._readers = NativeThreads(1), NativeThreads(1)
        self._turn = BoundedSemaphore(1)
        self._threads.start(copies.clean, database.path)

    def take_turn(self) -> None:
        """Wait a moment until no other copy is made; raises Busy."""
        if not self._turn.acquire(timeout=PATIENCE):
            raise Busy("another backup or export is under way; try again when it is done")

    def start(self, wanted: copies.Wanted) -> tuple[copies.Copy, Call[None]]:
        """Begin a copy, in a turn."""
        copy = copies.Copy(self._database, wanted)
        return copy, self._threads.start(copy.run)

    def end(self, copy: copies.Copy, call: Call[None]) -> None:
        """End a copy that is still being made, and wait for that, but not for ever."""
        until = time.monotonic() + STOPPING
        while not call.wait(0.02) and time.monotonic() < until:
            copy.cancel()

    def pass_on(self) -> None:
        """Give the turn back."""
        self._turn.release()

    def discard(self, copy: copies.Copy) -> None:
        """Remove a copy's file: a large one takes a while."""
        self._threads.start(copy.discard)

    def read(self, file: BinaryIO, size: int) -> bytes:
        """Return the next bytes of a copy's file; a slow disk keeps nobody else waiting."""
        return self._readers.run(file.read, size)
