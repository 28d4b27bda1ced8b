"""Errors of the API: one exception, one JSON shape."""

from __future__ import annotations

from oculus.errors import Busy, OculusError, QueryError, QueryTimeout, StorageError, TooLarge

# Which status and code an error of the program becomes, most special first.
_BY_ERROR: tuple[tuple[type[OculusError], int, str], ...] = (
    (QueryTimeout, 408, "timeout"),
    (QueryError, 400, "bad_query"),
    (Busy, 503, "busy"),
    (TooLarge, 413, "too_large"),
    (StorageError, 503, "storage"),
)


class Problem(Exception):
    """An answer that is an error: HTTP status, a code for programs, a message for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after

    def body(self) -> dict[str, object]:
        """Return the JSON of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def problem_of(error: OculusError) -> Problem:
    """Return an error of the program as an answer."""
    for kind, status, code in _BY_ERROR:
        if isinstance(error, kind):
            return Problem(status, code, str(error), retry_after=1 if status == 503 else None)
    return Problem(500, "internal", str(error))


def bad_request(message: str) -> Problem:
    """Return the answer to a request that is malformed."""
    return Problem(400, "bad_request", message)
