"""A ceiling for the memory of this process while users' SQL runs. Linux only; elsewhere it does nothing.

DuckDB's own limit covers its pages, not the values that functions make: `repeat('x', 1000000)` over a
thousand rows is a gigabyte. Two bounds above what is in use when the query begins: past the lower one the
query is interrupted (`Ceiling.reached`), past the upper one the kernel refuses memory, which DuckDB turns
into an error of the query. What lies between them is the reserve of everything else in the process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import threading
from contextlib import suppress

# What functions may take besides the pages of `database.memory_limit`.
GROWTH = 48 * 10**6  # bytes

# Between the two bounds. A query can take what is left of it only in one step that does not listen to the
# interrupt, and that step ends at once when it asks for too much.
RESERVE = 48 * 10**6  # bytes

# A query that leaves more than this behind has the allocator give it back: a few milliseconds, in its thread.
_LITTER = 16 * 10**6  # bytes

# What the hub's own thread keeps, untouched and so not resident, for when queries stay just below the upper
# bound: many seconds, where one follows the other. Four senders of large pushes use up 8 MB; requests then
# end without an answer, and a switch of greenlets that gets no memory ends the process.
_KEPT = 64 * 10**6  # bytes
_TOP_PAD, _MMAP_MAX = -2, -4  # `M_TOP_PAD` and `M_MMAP_MAX` of mallopt(3)
_MMAPS = 65_536  # the usual `M_MMAP_MAX`

# What stays behind in pieces after the worst queries, once for all.
_PIECES = 64 * 10**6  # bytes

# `MALLCTL_ARENAS_ALL` of jemalloc's manual.
_ALL_ARENAS = b"arena.4096.purge"

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Ceiling:
    """The ceiling above one query; the first of several at once decides for all, the last takes it away."""

    _lock = threading.Lock()
    _holders = 0
    _resident = 0  # bytes when the first began, less what queries before it left behind
    _left = 0  # bytes: pages in DuckDB's memory, and what the allocator keeps
    _before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    def __init__(self, growth: int) -> None:
        """`growth` is what the process may take beyond the present, in bytes, before the query must end.

        To be made in the thread of the hub, for which memory is set aside.
        """
        _set_aside()
        self._growth = growth
        self._held = False
        self._start = 0  # resident bytes

    def raise_up(self) -> None:
        """Begin to bound this process."""
        cls = type(self)
        with cls._lock:
            cls._holders += 1
            resident, data = _memory()
            self._start = resident
            if cls._holders > 1:
                self._held = True
                return
            # What is there already can be used again; counted anew each time it would add up.
            cls._resident = resident - cls._left
            self._held = True
            cls._before = resource.getrlimit(resource.RLIMIT_DATA)
            if data:
                _bound(
                    min([data - cls._left + self._growth + RESERVE, *_finite(cls._before)]), cls._before[1]
                )

    def reached(self) -> bool:
        """Return whether the process has taken what it may: the query must be ended."""
        # A small query beside one that cannot be ended need not suffer for it.
        bound = max(type(self)._resident + self._growth, self._start + _LITTER)
        return self._held and _memory()[0] > bound

    def take_down(self) -> None:
        """End the bound; safe to call twice."""
        cls = type(self)
        with cls._lock:
            if not self._held:
                return
            self._held = False
            cls._holders -= 1
            if cls._holders:
                return
            _bound(*cls._before)
            grown = _memory()[0] - cls._resident
            if grown > _LITTER:
                _give_back()
                grown = _memory()[0] - cls._resident
            # A little is left in pieces and does not add up; and GROWTH is the next query's in any case.
            cls._left = max(0, min(grown - _PIECES, self._growth - GROWTH))


def _bound(soft: int, hard: int) -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _set_aside() -> None:
    """Have GNU's allocator hold free memory for the calling thread; 0.04 ms."""
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TOP_PAD, _KEPT)
        library.malloc.restype = ctypes.c_void_p
        # In one piece at the top of the heap, instead of a mapping of its own: one page of it is touched.
        library.mallopt(_MMAP_MAX, 0)
        piece = library.malloc(ctypes.c_size_t(_KEPT))
        library.mallopt(_MMAP_MAX, _MMAPS)
        library.free(ctypes.c_void_p(piece))


def _give_back() -> None:
    """Return free memory to the system. DuckDB's library brings its own allocator, which else waits for 10 s
    of work; where it or GNU's is another, that one decides."""
    with suppress(OSError, AttributeError, KeyError):
        control = ctypes.CDLL(sys.modules["_duckdb"].__file__).duckdb_je_mallctl
        for command in (b"thread.tcache.flush", _ALL_ARENAS):
            control(command, None, None, None, ctypes.c_size_t(0))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(_KEPT))


def _finite(limits: tuple[int, int]) -> list[int]:
    return [limit for limit in limits if limit != resource.RLIM_INFINITY]


def _memory() -> tuple[int, int]:
    """Return resident bytes and the bytes that RLIMIT_DATA counts; (0, 0) where nobody tells."""
    if sys.platform != "linux":
        return 0, 0
    try:
        # Not with Path: it is read every few milliseconds.
        descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0, 0
    try:
        fields = os.read(descriptor, 200).split()
    finally:
        os.close(descriptor)
    return int(fields[1]) * _PAGE, int(fields[5]) * _PAGE
