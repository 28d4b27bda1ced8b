"""The static files, held in memory with their compressed form: few, small, and the same for every visitor."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from bottle import HTTPResponse

from oculus.web import inputs, packed
from oculus.web.problems import Problem

# Pages name a file with the program's version, so a browser may keep it until the next one.
_CACHE = "public, max-age=86400"

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    packed: bytes | None
    type: str
    etag: str


class StaticFiles:
    """Serves the files below one folder; only what is there when it is made can be asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        self._files: dict[str, _File] = {}

    def serve(self, name: str) -> HTTPResponse:
        """GET /static/<name>"""
        if name not in self._names:
            raise Problem(404, "not_found", f"there is no file {name!r}")
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _load(self._folder / name)
        headers = {"Content-Type": file.type, "Cache-Control": _CACHE, "ETag": file.etag}
        headers["Vary"] = "Accept-Encoding"
        if inputs.header("If-None-Match") == file.etag:
            return HTTPResponse(status=304, headers=headers)
        if file.packed is not None and packed.accepted(inputs.header("Accept-Encoding")):
            return HTTPResponse(file.packed, headers=headers | {"Content-Encoding": "gzip"})
        return HTTPResponse(file.data, headers=headers)


def _load(path: Path) -> _File:
    data = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = gzip.compress(data, mtime=0) if kind.startswith(("text/", "image/svg")) else None
    etag = '"' + hashlib.sha256(data).hexdigest()[:16] + '"'
    return _File(data, packed if packed and len(packed) < len(data) else None, kind, etag)
