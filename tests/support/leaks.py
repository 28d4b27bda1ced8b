"""Secrets that are easy to find, in each of the forms in which they may be shown; and servers that repeat
whatever they were told, as some services do."""

from __future__ import annotations

import base64
import html
import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import gevent
from gevent import socket

from tests.support.certificates import server_context
from tests.support.servers import HttpServer, TcpServer, free_port

# How a server may fail; a number is a status, whose body, or Location, repeats the whole request.
ANSWERS = ("401", "403", "404", "429", "500", "302", "json")
FAULTS = (*ANSWERS, "hang", "garbage", "reset", "refused", "dns", "tls", "untrusted")


# Headers that hold no secret.
_PUBLIC = ("HTTP_ACCEPT", "HTTP_USER_AGENT", "HTTP_HOST", "HTTP_CONNECTION", "HTTP_IF_")

_turns = count()


class Vault:
    """Makes secrets, and finds them in what was printed. With `words` they are letters alone, which nobody
    can tell from other words."""

    def __init__(self, *, words: bool = False) -> None:
        self._words = words
        self._made: dict[str, str] = {}  # secret → what it is for

    def new(self, purpose: str, form: str = "{}", *, key: bool = False) -> str:
        """Return a secret for a purpose. `form` is what else stands around its recognisable part; one that is
        a `key` has digits in any case."""
        number = f"{len(self._made):04d}"
        if self._words and not key:
            number = "".join("ABCDEFGHIJ"[int(digit)] for digit in number)
        secret = form.format(f"sEcReT{number}xYz")
        self._made[secret] = purpose
        return secret

    def secret(self, purpose: str) -> str:
        """Return the secret that was made for a purpose."""
        return next(secret for secret, what in self._made.items() if what == purpose)

    def __len__(self) -> int:
        return len(self._made)

    def found(self, where: str, text: str) -> Iterator[str]:
        """Yield where a secret stands in a text, with what is around it."""
        for secret, purpose in self._made.items():
            for form in _forms(secret):
                place = text.find(form)
                if place >= 0:
                    around = text[max(0, place - 200) : place + len(form) + 40]
                    yield f"{where}: {purpose} ({form}): …{around}…"
                    break


def _forms(secret: str) -> Iterable[str]:
    """Return the ways in which a text may be written."""
    plain = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], html.escape(secret)}
    quoted = {quote(secret, ""), quote(secret), quote_plus(secret)}
    # The part that tells it from all others: of a URL it is the password.
    core = secret[secret.find("sEcReT") :][:13]
    pairs = (f"user:{secret}", f"\0user\0{secret}", secret, f"user:{core}")
    encoded = {base64.b64encode(pair.encode()).decode().rstrip("=") for pair in pairs}
    return plain | quoted | encoded | {core}


class Echoes:
    """Servers that fail in each way. `base(fault)` is where to find one; HTTP's have it in the path."""

    def __init__(self, certificate: Any) -> None:
        self._http = HttpServer(_answer)
        self._garbage = TcpServer(_garbage)
        self._reset = TcpServer()
        self._untrusted = TcpServer(context=server_context(certificate))
        self._refused = free_port()

    def base(self, fault: str) -> str:
        """Return the URL of a server that fails so."""
        port = self._http.port
        return {
            "garbage": f"http://127.0.0.1:{self._garbage.port}",
            "reset": f"http://127.0.0.1:{self._reset.port}",
            "refused": f"http://127.0.0.1:{self._refused}",
            "dns": "http://no-such-host.invalid",
            "tls": f"https://127.0.0.1:{port}",
            "untrusted": f"https://127.0.0.1:{self._untrusted.port}",
        }.get(fault, f"http://127.0.0.1:{port}/{fault}")

    def address(self, fault: str) -> str:
        """Return host and port of the same."""
        return self.base(fault).partition("://")[2].partition("/")[0]

    def stop(self) -> None:
        """Stop all."""
        for server in (self._http, self._garbage, self._reset, self._untrusted):
            server.stop()


def _answer(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    """Answer as the first part of the path says, with all of the request in the answer."""
    path = environ["PATH_INFO"]
    query = environ.get("QUERY_STRING", "")
    sent = environ["wsgi.input"].read().decode("utf-8", "replace")[:2_000]
    headers = [
        f"{key}: {value}"
        for key, value in environ.items()
        if key.startswith("HTTP_") and not key.startswith(_PUBLIC)
    ]
    fault = path.strip("/").partition("/")[0]
    if fault == "hang":
        gevent.sleep(60)
    # Each time another part comes first: only the beginning is shown.
    parts = [f"{path}?{query}", *headers, *([sent] if sent else [])]
    shift = next(_turns) % len(parts)
    told = " ".join(parts[shift:] + parts[:shift])
    body = {
        "ok": False, "error": told, "message": told, "description": told, "errorDescription": told,
        "errors": [told], "status": told,
    }  # fmt: skip
    status = {"json": "200 OK", "302": "302 Found"}.get(
        fault, f"{fault} Said" if fault.isdigit() else "404 No"
    )
    location = f"https://elsewhere.invalid{quote(path)}?{query}&told={quote(told[:400])}"
    start(status, [("Content-Type", "application/json"), ("Location", location), ("Retry-After", "1")])
    return [json.dumps(body).encode() if next(_turns) % 3 else told.encode()]


def _garbage(sock: socket.socket) -> None:
    """Answer what is no HTTP: the request itself."""
    sock.sendall(sock.recv(65_536) or b"?")


class Mailer(TcpServer):
    """A mail server that refuses each login, and repeats what it was told; with `silent` it says nothing."""

    def __init__(self, *, silent: bool = False, context: ssl.SSLContext | None = None) -> None:
        self._silent = silent
        super().__init__(self._talk, context=context)

    def _talk(self, sock: socket.socket) -> None:
        if self._silent:
            gevent.sleep(60)
        sock.sendall(b"220 echo\r\n")
        with sock.makefile("rb") as lines:
            for line in lines:
                said = line.strip()
                if said.upper().startswith((b"EHLO", b"HELO")):
                    sock.sendall(b"250-echo\r\n250 AUTH PLAIN LOGIN\r\n")
                else:
                    sock.sendall(b"535 wrong: " + said + b"\r\n")


class Source:
    """Puts secrets into settings: as they are, from the environment, or in files of their own, by turns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.environ: dict[str, str] = {}

    def put(self, settings: dict[str, Any], key: str, value: str) -> None:
        """Give a setting."""
        self._count += 1
        if self._count % 3 == 1:
            settings[key] = value
        elif self._count % 3 == 2:
            name = f"SETTING_{self._count}"
            self.environ[name] = value
            settings[key] = f"${{{name}}}"
        else:
            path = self._folder / f"setting-{self._count}"
            path.write_text(f"{value}\n")
            settings[f"{key}_file"] = str(path)
