"""The daemon as a real process: started with a configuration, asked over HTTP, ended by signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from gevent import subprocess

from tests.support.client import ask
from tests.support.servers import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (sys.executable, "-W", "error", str(ROOT / "oculus.py"))


class Daemon:
    """A running Oculus. Its database and configuration are in `folder`; `program` starts it."""

    def __init__(
        self, folder: Path, config: str | None, arguments: Sequence[str] = (), options: Mapping[str, Any] = {}
    ) -> None:
        self.folder = folder
        self.port = int(options.get("port") or free_port())
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "oculus.db"
        self.log_path = folder / "daemon.log"
        command = [*options.get("program", CHECKOUT)]
        if config is not None:
            path = folder / options.get("config_name", "config.yaml")
            path.write_text(config.replace("$PORT", str(self.port)))
            command += ["--config", str(path)]
        command += ["--port", str(self.port), *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)} | dict(options.get("environ", {}))
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Wait until /readyz says so."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            try:
                return bool(self.get("/readyz").status_code == 200)
            except requests.ConnectionError:
                return False

        wait_for(ready, seconds)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path."""
        return ask("GET", self.url + path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """POST to a path."""
        return ask("POST", self.url + path, **options)

    def json(self, path: str) -> Any:
        """GET a path and return its JSON; fails unless the status is 200."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sql(self, statement: str, **params: Any) -> list[list[Any]]:
        """Return the rows of a query through the API."""
        answer = self.post("/api/query", json={"sql": statement, "params": params or None})
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    def latest(self, symbol: str) -> dict[str, Any] | None:
        """Return the latest sample of one series, if there is any."""
        found = self.json(f"/api/metrics?symbol={symbol}")["metrics"]
        return found[0] if found else None

    def log(self) -> str:
        """Return what it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text: str, seconds: float = 20.0) -> str:
        """Wait until a line of the log holds `text`, and return that line."""

        def line() -> str:
            return next((line for line in self.log().splitlines() if text in line), "")

        found: str = wait_for(line, seconds)
        return found

    def configure(self, config: str) -> None:
        """Write another configuration where the first one was, and ask the daemon to reload."""
        (self.folder / "config.yaml").write_text(config.replace("$PORT", str(self.port)))
        self.signal(signal.SIGHUP)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def stop(self, seconds: float = 10.0) -> int:
        """End it with SIGTERM and return its exit status."""
        self.signal(signal.SIGTERM)
        return int(self.process.wait(timeout=seconds))

    def kill(self) -> None:
        """End it at once if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
