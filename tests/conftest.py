"""Fixtures for all tests. gevent patches the standard library first, as it does in the daemon."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, TcpServer

# What a shell starts in the background ignores Ctrl-C, and so would every program under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine may take long for one example; that is no failure.
hypothesis.settings.register_profile("oculus", deadline=None)
hypothesis.settings.load_profile("oculus")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons as real processes: `daemon(config_text, *arguments)`; all are gone at the end."""
    running: list[Daemon] = []

    def start(config: str | None, *arguments: str, ready: bool = True, **options: Any) -> Daemon:
        process = Daemon(tmp_path, config, arguments, options)
        running.append(process)
        if ready:
            process.wait_ready()
        return process

    yield start
    for process in running:
        process.kill()


@pytest.fixture
def http_server() -> Iterator[Callable[..., HttpServer]]:
    """Start HTTP servers on loopback: `http_server(application)`, TLS with `context=`."""
    running: list[HttpServer] = []

    def start(*arguments: object, **options: object) -> HttpServer:
        server = HttpServer(*arguments, **options)  # type: ignore[arg-type]
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def tcp_server() -> Iterator[Callable[..., TcpServer]]:
    """Start TCP servers on loopback that do with each connection what `serve(socket)` does."""
    running: list[TcpServer] = []

    def start(*arguments: object, **options: object) -> TcpServer:
        server = TcpServer(*arguments, **options)  # type: ignore[arg-type]
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
