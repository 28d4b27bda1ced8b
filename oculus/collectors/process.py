"""Programs run as strangers: bounded in time and output, ended with everything that they started.

A program gets a session and a process group of its own, a standard input that ends, no file of ours, and none
of our limits. Whatever of its group is left when it has ended, in time or not, is ended too; only what left
the group on purpose (a daemon) stays, and nobody waits for it. When we are killed, the program is as well.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import gevent
from gevent import subprocess
from gevent.os import nb_read

from oculus.collectors.base import CollectError

# What is kept of a program's output; the rest is read and thrown away, so that it can end.
MOST_OUTPUT = 64 * 1024  # bytes
MOST_ERRORS = 8 * 1024  # bytes

# How long output may come after the program has ended: from what it started, which may stay for ever.
_LATE_OUTPUT = 0.3  # seconds

# A program that takes too long is asked to end, and after this is made to.
_TO_END = 1.0  # seconds
_TO_END_AT_STOP = 0.2  # seconds, where the daemon itself waits for it
# What the kernel needs for that; one that waits for a dead disk cannot be ended at all.
_TO_DIE = 1.0  # seconds

# The pipe is looked at this often while there is more in it: a flood costs 1 % of a core, and no more.
_PAUSE = 0.005  # seconds
_PIECE = 64 * 1024  # bytes: what a pipe holds

_USUAL_FILES = 1_024  # that a program may have open unless it asks for more

_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
_libc = ctypes.CDLL(None)

# Beyond its time limit a run takes this long at most.
OVERTIME = _LATE_OUTPUT + _TO_END + _TO_DIE + 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: `status` is its exit status, or the negative number of the signal that ended it.

    `cut` tells that there was more output than is kept, `overdue` that it had to be ended.
    """

    status: int
    output: bytes
    errors: bytes
    cut: bool
    overdue: bool


class Program:
    """A command that is run again and again, one run at a time."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], directory: str | None) -> None:
        """`env` is the whole environment. Without a `directory` it runs in the daemon's."""
        self._command, self._env, self._directory = list(command), dict(env), directory
        self._starting: gevent.Greenlet[..., subprocess.Popen[bytes] | OSError] | None = None
        self._running: subprocess.Popen[bytes] | None = None

    def run(self, timeout: float, given: bytes = b"") -> Ended:
        """Run it, with `given` as its standard input, and wait for its end; raises OSError when it cannot be
        started.

        Raises CollectError when it can neither start nor end, or the one of the run before could not: what is
        on a file system that hangs.
        """
        if (self._starting is not None and not self._starting.ready()) or (
            self._running is not None and self._running.poll() is None
        ):
            raise CollectError("the program of an earlier run hangs and cannot be ended")
        until = time.monotonic() + timeout
        output, errors = _Pipe(MOST_OUTPUT), _Pipe(MOST_ERRORS)
        try:
            process = self._start(given, output, errors, timeout)
            return self._finish(process, output, errors, max(0.0, until - time.monotonic()))
        finally:
            output.close()
            errors.close()

    def _start(self, given: bytes, output: _Pipe, errors: _Pipe, timeout: float) -> subprocess.Popen[bytes]:
        """Return the process. In a greenlet of its own, since what starts on a dead disk never comes back."""
        self._starting = gevent.spawn(self._spawn, given, output.hand_over(), errors.hand_over())
        try:
            self._starting.join(timeout)
        finally:
            if not self._starting.ready():  # too late, or this run is ended
                self._starting.rawlink(_discard)
        if not self._starting.ready():
            raise CollectError(f"the program could not be started within {timeout:g} s")
        started = self._starting.get()
        if isinstance(started, OSError):
            raise started
        return started

    def _spawn(self, given: bytes, output: int, errors: int) -> subprocess.Popen[bytes] | OSError:
        source = subprocess.DEVNULL
        try:
            if given:
                source = _file_of(given)
            return subprocess.Popen(
                self._command,
                stdin=source,
                stdout=output,
                stderr=errors,
                env=self._env,
                cwd=self._directory,
                close_fds=True,
                start_new_session=True,
                preexec_fn=_shake_off,
            )
        except OSError as error:
            return error
        finally:
            for descriptor in (source, output, errors):
                if descriptor >= 0:
                    os.close(descriptor)

    def _finish(
        self, process: subprocess.Popen[bytes], output: _Pipe, errors: _Pipe, timeout: float
    ) -> Ended:
        self._running = process
        readers = [gevent.spawn(output.drain), gevent.spawn(errors.drain)]
        overdue, patience = False, _TO_END_AT_STOP
        try:
            try:
                process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                overdue, patience = True, _TO_END
            else:
                gevent.joinall(readers, timeout=_LATE_OUTPUT)
        finally:
            end(process, patience)
            gevent.killall(readers)
        if process.poll() is None:
            raise CollectError("the program hangs and cannot be ended")
        return Ended(process.returncode, bytes(output.kept), bytes(errors.kept), output.cut, overdue)


class _Pipe:
    """What a program writes into. Keeps the first `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ours, self._theirs = os.pipe()  # no other program inherits them
        os.set_blocking(self._ours, False)
        self.kept = bytearray()
        self.cut = False

    def hand_over(self) -> int:
        """Return the program's end, which is the caller's to close: ours ends when nobody has it open."""
        theirs, self._theirs = self._theirs, -1
        return theirs

    def drain(self) -> None:
        """Read until nobody writes any more."""
        while piece := nb_read(self._ours, _PIECE):
            room = self._most - len(self.kept)
            self.kept += piece[:room]
            self.cut = self.cut or len(piece) > room
            gevent.sleep(_PAUSE)

    def close(self) -> None:
        """Close what is ours; nobody may be reading."""
        for descriptor in (self._ours, self._theirs):
            if descriptor >= 0:
                os.close(descriptor)


def _file_of(data: bytes) -> int:
    """Return a file in memory with these bytes, open at its beginning: unlike a pipe it is never full, and
    need not be read."""
    descriptor = os.memfd_create("given")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a process and its group: ask it to, and after `patience` seconds make it."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        _wait(process, patience)
    _signal(process, signal.SIGKILL)
    _wait(process, _TO_DIE)


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    # There may be nobody left, or nobody whom we may end (a program of root's).
    with suppress(OSError):
        os.killpg(process.pid, number)  # the group of a session's first process has its number


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)


def _discard(starting: gevent.Greenlet[..., subprocess.Popen[bytes] | OSError]) -> None:
    """End a process that came when nobody waited for it any more; called in the hub."""
    process = starting.value
    if isinstance(process, subprocess.Popen):
        _signal(process, signal.SIGKILL)


def _shake_off() -> None:
    """Take off what the daemon set for itself; runs in the new process.

    Our own bound on memory (while users' SQL runs) is a soft one below the same hard one. Of open files we
    take more than is usual, and some programs go through as many as they may have.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft > _USUAL_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_USUAL_FILES, hard))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Nobody would be left to end it in time. Of what it starts itself the kernel knows nothing.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
