"""Downloads of a series: the finest rows of a range as CSV or Parquet.

They are made like any export, in the folder beside the database, and go from there to the browser.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import BinaryIO, Literal

from bottle import HTTPResponse, request
from loguru import logger

from oculus.clock import iso
from oculus.errors import OculusError, QueryTimeout
from oculus.model import Micros
from oculus.storage import series as stored
from oculus.storage.copier import Copier
from oculus.storage.copies import Copy, Wanted
from oculus.web import points
from oculus.web.services import Services

TICK = 0.1  # seconds between two looks at the room on the disk
LONGEST = 60.0  # seconds that making one may take
PIECE = 262_144  # bytes read at once

_TYPES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
_NOT_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def csv(services: Services, symbol: str) -> HTTPResponse:
    """GET /series/{symbol}/export.csv"""
    return _download(services, symbol, "csv")


def parquet(services: Services, symbol: str) -> HTTPResponse:
    """GET /series/{symbol}/export.parquet"""
    return _download(services, symbol, "parquet")


class _File:
    """A finished copy as the body of an answer: read piece by piece, and removed when the answer is over."""

    def __init__(self, copier: Copier, copy: Copy) -> None:
        self._copier = copier
        self._copy = copy
        self._file: BinaryIO = copy.path.open("rb")
        self.size = os.fstat(self._file.fileno()).st_size

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._copier.read(self._file, PIECE):
            yield piece

    def close(self) -> None:
        """Remove it; the server calls this whatever came of the answer."""
        self._file.close()
        self._copier.discard(self._copy)


def _download(services: Services, symbol: str, kind: Literal["csv", "parquet"]) -> HTTPResponse:
    if services.latest.get(symbol) is None:
        points.gone(services, symbol)
    start, end = points.span()
    parts = services.readers.run(stored.resolution, start, end)
    headers = {"Content-Type": _TYPES[kind]}
    headers["Content-Disposition"] = f'attachment; filename="{_name(symbol, start, end)}.{kind}"'
    if request.method == "HEAD":
        return HTTPResponse("", headers=headers)
    file = _made(services.copier, Wanted(kind, stored.export_query(symbol, parts)))
    return HTTPResponse(file, headers=headers | {"Content-Length": str(file.size)})


def _made(copier: Copier, wanted: Wanted) -> _File:
    """Make a copy and return it; raises OculusError."""
    copier.take_turn()
    started = time.monotonic()
    try:
        copy, call = copier.start(wanted)
        try:
            while not call.wait(TICK):
                copy.watch()
                if time.monotonic() - started > LONGEST:
                    raise QueryTimeout(f"it took longer than {LONGEST:g} s; take a shorter range")
            call.result()
            return _File(copier, copy)
        except OculusError as error:
            logger.debug("a download was not made: {}", error)
            raise
        finally:
            copier.end(copy, call)
    finally:
        copier.pass_on()


def _name(symbol: str, start: Micros, end: Micros) -> str:
    """Return the name of a download without its ending: the symbol, and the range in whole minutes of UTC."""
    first, last = (iso(ts)[:16].replace(":", "") for ts in (start, end))
    return f"{_NOT_NAME.sub('_', symbol)}_{first}Z_{last}Z"
