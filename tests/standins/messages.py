"""What a client asks and what a service answers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """What a client asked. Names of headers are in lower case; `at` is monotonic, in seconds."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str  # path and query as they were sent

    def values(self, name: str) -> list[str]:
        """Return all values of a parameter that may be given several times."""
        return [value for key, value in parse_qsl(self.target.partition("?")[2]) if key == name]

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a service answers; a body that is neither text nor bytes becomes JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    type: str = "application/json"

    def data(self) -> bytes:
        """Return the body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        text = self.body if isinstance(self.body, str) else json.dumps(self.body, separators=(",", ":"))
        return text.encode()


def request_of(environ: dict[str, Any], body: bytes) -> Request:
    """Return the request that a handler's environment describes."""
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
    return Request(
        time.monotonic(),
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace"),
        dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)),
        headers,
        body,
        environ["standin.target"],
    )


def reason(status: int) -> str:
    """Return the words of a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
