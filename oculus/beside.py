"""What lies beside the database file while a daemon has it open: a Unix socket, and the folder of copies.

Through the socket the command line talks to the daemon. Its permissions are the authentication: only the
daemon's own user (and root) can connect.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The kernel takes no longer path for a socket (`sun_path`, less its closing zero).
_LONGEST = 107  # bytes

_BACKLOG = 16  # connections; one person's commands


def socket_of(database: str) -> Path:
    """Return the path of the socket of a database file, the same for every name of that file."""
    return Path(f"{os.path.realpath(database)}.sock")


def copies_of(database: str) -> Path:
    """Return the folder in which copies of a database file are made, the same for every name of that file."""
    return Path(f"{os.path.realpath(database)}.copies")


def listen(path: Path) -> socket.socket:
    """Return a listening socket at `path` that only this user can reach; raises OSError.

    Call it only while holding the database: a socket that is there is then what a killed daemon left.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove(path)
        # On Linux the file gets the permissions of the socket: it is never open to others, not for a moment.
        os.fchmod(listener.fileno(), 0o600)
        with _reachable(path) as short:
            listener.bind(short)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket | None:
    """Return a connection to the daemon at `path`, None when no daemon listens there; raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reachable(path) as short:
            connection.connect(short)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def remove(path: Path) -> None:
    """Remove the socket at `path`, if there is one; raises OSError. A file of another kind is left alone."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    except FileNotFoundError:
        pass


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Give a name of `path` that is short enough for the kernel: by its folder's descriptor if need be."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
