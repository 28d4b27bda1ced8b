"""One request for all collectors that want the same at the same interval: its answer, its back-off, and one
of them that tells its failure.
"""

from __future__ import annotations

from typing import cast

import gevent
from gevent.event import AsyncResult

from oculus.collectors.base import CollectError
from oculus.collectors.extract import Body
from oculus.collectors.fetch import Fetcher, Request, SourceError, some
from oculus.collectors.manners import Backoff

# Who asks within this time after an answer gets the same: collectors of a group run within milliseconds.
_SHARED = 1.0  # seconds, and half an interval at most

# Pauses after failures: from the first, doubling, to ten intervals within these bounds.
_FIRST, _LAST_LEAST, _LAST_MOST = 5.0, 30.0, 300.0  # seconds
_LAST_INTERVALS = 10


class SharedRequest:
    """One request for all collectors that want the same; `get` blocks the greenlet that calls."""

    def __init__(self, fetcher: Fetcher, request: Request, as_json: bool, interval: float) -> None:
        self._fetcher = fetcher
        self.request = request
        self._as_json = as_json
        self._shared = min(_SHARED, interval / 2)
        longest = min(_LAST_MOST, max(_LAST_LEAST, _LAST_INTERVALS * interval))
        self._backoff = Backoff(_FIRST, longest)
        self._round: AsyncResult[Body] | None = None
        self._teller = ""  # who tells the failure that goes on
        self.users: dict[str, str] = {}  # collector → its symbol

    def get(self, user: str, symbol: str) -> Body:
        """Return the answer; raises CollectError, which is told already for all users but one."""
        self.users[user] = symbol
        if self._round is None:
            # Not in the greenlet of who asks first: it may be ended while others wait.
            self._round = AsyncResult()
            gevent.spawn(self._serve, self._round)
        try:
            return cast("Body", self._round.get())
        except CollectError as error:
            if not error.told:
                self._teller = self._teller or user
            told = error.told or user != self._teller
            raise CollectError(str(error), retry_in=error.retry_in, told=told) from None

    def leave(self, user: str) -> None:
        """Forget a collector; another one tells its failure, if that goes on."""
        self.users.pop(user, None)
        if self._teller == user:
            self._teller = ""

    def _serve(self, outcome: AsyncResult[Body]) -> None:
        try:
            answer = self._fetcher.fetch(self.request)
            answer.expect_success()
            document = answer.json() if self._as_json else None
        except SourceError as error:
            wait = self._backoff.fail() if error.retry_in is None else error.retry_in
            outcome.set_exception(CollectError(self._told(error), retry_in=wait, told=error.told))
        except Exception as error:  # a bug: those who wait must hear of it
            outcome.set_exception(error)
        else:
            self._backoff.succeed()
            self._teller = ""
            outcome.set(Body(answer.body, document, answer.snippet, self._fetcher.aside))
        gevent.sleep(self._shared)
        self._round = None

    def _told(self, error: SourceError) -> str:
        return f"{self.request.host}, for {some(list(self.users.values()))}: {error}"
