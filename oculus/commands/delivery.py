"""Bringing a finished copy to where the user wants it: whole or not at all, nothing overwritten unasked."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from oculus.errors import OculusError

# What file systems without hard links answer to one (FAT, some network shares).
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Undeliverable(OculusError):
    """The copy cannot be put where it was wanted."""


class Destination:
    """A file that is to be made. It, and what is written of it first, can be read by its owner only."""

    def __init__(self, path: str, database: str, *, force: bool) -> None:
        """Look before the work is done; raises Undeliverable when it would be in vain."""
        self.path = Path(path)
        self._part = Path(f"{path}.part")
        self._force = force
        folder = self.path.parent
        if self.path.is_dir() or path.endswith("/"):
            raise Undeliverable(f"{path} is a folder (name the file to be made)")
        if not folder.is_dir():
            raise Undeliverable(f"there is no folder {folder} (make it, or name another file)")
        real = os.path.realpath(path)
        base = os.path.realpath(database)
        if real == base or real.startswith((f"{base}.wal", f"{base}.sock", f"{base}.copies")):
            raise Undeliverable(f"{path} belongs to the database itself (name another file)")
        if os.path.lexists(path) and not force:
            raise self._taken()
        if not os.access(folder, os.W_OK):
            raise Undeliverable(f"{path} cannot be written: the folder is read-only")

    def take(self, source: Path) -> int:
        """Move the file `source` here, durably; return its bytes. Raises Undeliverable, with nothing left."""
        try:
            with suppress(FileNotFoundError):  # what a killed command left
                self._part.unlink()
            self._fill(source)
            size = self._part.stat().st_size
            self._finish()
            _sync(self.path.parent)
        except FileExistsError:
            raise self._taken() from None
        except OSError as error:
            raise Undeliverable(f"{self.path} cannot be written: {error.strerror}") from None
        finally:
            with suppress(OSError):
                self._part.unlink()
        return size

    def _fill(self, source: Path) -> None:
        """Make the part: the file itself on its own file system, a copy of its bytes on another."""
        try:
            source.rename(self._part)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with (
                source.open("rb") as read,
                open(self._part, "wb", opener=lambda name, _: os.open(name, flags, 0o600)) as written,
            ):
                shutil.copyfileobj(read, written, 1 << 20)
        self._part.chmod(0o600)
        _sync(self._part)

    def _finish(self) -> None:
        if self._force:
            self._part.replace(self.path)
            return
        try:
            os.link(self._part, self.path)  # unlike a rename it fails when something is there
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(self.path):
                raise self._taken() from None
            self._part.rename(self.path)

    def _taken(self) -> Undeliverable:
        return Undeliverable(f"{self.path} is there already, and was left as it is (--force replaces it)")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
