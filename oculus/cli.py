"""The command line: arguments, exit statuses, and one clear line for what goes wrong.

Imports nothing heavy at its top, so that `--help` and mistakes are answered at once on a small board.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from oculus import __version__
from oculus.commands.parsers import add_hindsight, add_notifying, add_parsers, add_probing, add_silencing

if TYPE_CHECKING:
    from oculus.config import Settings
    from oculus.config.settings import ServerSettings

DONE, FAILED, USAGE = 0, 1, 2


class Arguments(argparse.Namespace):
    """The parsed command line."""

    command: str
    config: str | None
    recover: bool
    file: str
    db: str | None
    bind: str | None
    port: int | None
    log_level: Literal["debug", "info", "warning", "error"] | None
    log_format: Literal["text", "json"] | None
    sql: str | None
    format: Literal["table", "csv", "json"]
    kinds: str | None
    what: list[str]
    param: list[tuple[str, Any]]
    destination: str
    force: bool
    action: Literal["add", "list", "end", "lint", "suggest"]
    matchers: list[str]
    duration: str
    comment: str
    all: bool
    id: str
    rule: str | None
    since: str
    until: str | None
    names: list[str]
    symbol: str
    channel: str
    severity: Literal["info", "warn", "error", "critical"]

    @property
    def needs_hub(self) -> bool:
        """Whether the command runs greenlets, so that gevent must patch first."""
        return self.command in ("run", "probe", "doctor", "notify-test")


def parse(argv: Sequence[str]) -> Arguments:
    """Return the parsed command line; exits with status 2 when it is wrong. `run` may be left out."""
    argv = list(argv)
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help", "--version")):
        argv.insert(0, "run")
    return _parser().parse_args(argv, namespace=Arguments())


def execute(arguments: Arguments) -> int:
    """Carry the command out and return the exit status."""
    command: Callable[[Arguments], int]
    commands = {"run": _run, "check": _check, "init": _init, "probe": _probe, "doctor": _doctor}
    commands |= {"silence": _silence, "backtest": _backtest, "derive": _derive, "rules": _rules}
    commands["notify-test"] = _notify_test
    command = commands.get(arguments.command, _on_store)
    try:
        return command(arguments)
    except KeyboardInterrupt:
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oculus",
        description="Watches numbers of every kind, stores every sample in DuckDB, and raises alerts.",
        epilog="Without a command it runs: oculus --config FILE [--db PATH] [--bind ADDR] [--port N]"
        " [--log-level L] [--log-format text|json] [--recover]. Without --config it runs a small built-in"
        " configuration.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"oculus {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the daemon (the default)", allow_abbrev=False)
    run.add_argument("--config", metavar="FILE", help="YAML or TOML file")
    run.add_argument("--db", metavar="PATH", type=_path, help="database file, instead of database.path")
    run.add_argument("--bind", metavar="ADDR", help="address to listen on, instead of server.bind")
    run.add_argument("--port", metavar="N", type=_port, help="port to listen on, instead of server.port")
    run.add_argument(
        "--recover", action="store_true", help="if the database is damaged, set it aside and begin a new one"
    )
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="least level shown")
    run.add_argument("--log-format", choices=("text", "json"), help="lines for people or for programs")
    check = commands.add_parser(
        "check", help="check a configuration and tell every mistake", allow_abbrev=False
    )
    check.add_argument("--config", metavar="FILE", help="YAML or TOML file")
    check.add_argument("file", metavar="FILE", nargs="?", default="", help="the same, without --config")
    check.add_argument(
        "--kinds",
        metavar="KIND",
        nargs="?",
        const="",
        help="tell the settings of all kinds of collectors, or of one",
    )
    check.add_argument(
        "--format", choices=("table", "json"), default="table", help="how --kinds prints (table)"
    )
    init = commands.add_parser("init", help="write a configuration to start from", allow_abbrev=False)
    init.add_argument("file", metavar="FILE", nargs="?", default="config.yaml", help="default: config.yaml")
    add_probing(commands)
    add_parsers(commands)
    add_silencing(commands)
    add_hindsight(commands)
    add_notifying(commands)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _path(text: str) -> str:
    if not text:  # DuckDB would keep everything in memory, and lose it
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def _complain(*lines: str) -> None:
    for line in lines:
        print(f"oculus: {line}", file=sys.stderr)


# -- run ----------------------------------------------------------------------------------------------


def _run(arguments: Arguments) -> int:
    from oculus.errors import ConfigError, OculusError

    try:
        settings = _settings(arguments)
    except ConfigError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return USAGE
    try:
        return _serve(settings, lambda: _settings(arguments), arguments.recover)
    except OculusError as error:
        _complain(str(error))
        return FAILED


def _serve(settings: Settings, reread: Callable[[], Settings], recover: bool) -> int:
    import gc
    import signal

    from oculus import logs

    logs.setup(settings.log)
    from gevent import signal_handler

    from oculus.app import Oculus

    daemon = Oculus(settings, reread, recover=recover)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal_handler(number, daemon.stop)
    signal_handler(signal.SIGHUP, daemon.request_reload)
    daemon.start()
    # What the start made stays to the end: no collection need look at it again. The rest is short-lived
    # and mostly free of cycles, so collections are rarer than usual.
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()
    daemon.run()
    _leave(DONE if daemon.close() else FAILED)


def _leave(status: int) -> NoReturn:
    """End the process at once: all is closed, and a native thread that hangs must not hold it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # on a full disk there is nobody to tell
            stream.flush()
    os._exit(status)


def _settings(arguments: Arguments) -> Settings:
    """Return the configuration with the command line's own wishes; raises ConfigError."""
    from dataclasses import replace

    from oculus.config import load, loads
    from oculus.vocabulary import vocabulary

    words = vocabulary()
    if arguments.config is None:
        from oculus.config.builtin import DEMO

        port = 8080 if arguments.port is None else arguments.port
        bind = arguments.bind or "127.0.0.1"
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104 - looked for, not bound
        own = {"HOST": f"[{host}]" if ":" in host else host, "PORT": str(port or 1)}
        settings = loads(DEMO, "built-in configuration", words, own)
    else:
        settings = load(arguments.config, words)
    server, database, log = settings.server, settings.database, settings.log
    server = replace(
        server,
        bind=server.bind if arguments.bind is None else arguments.bind,
        port=server.port if arguments.port is None else arguments.port,
    )
    database = database if arguments.db is None else replace(database, path=arguments.db)
    if arguments.log_level is not None:
        log = replace(log, level=arguments.log_level)
    if arguments.log_format is not None:
        log = replace(log, format=arguments.log_format)
    _protected(server)
    return replace(settings, server=server, database=database, log=log)


def _protected(server: ServerSettings) -> None:
    """Raise ConfigError when other hosts can connect and no token keeps them out."""
    from oculus.errors import ConfigError

    if not server.loopback and not server.token and not server.insecure:
        told = (
            f"server.bind: {server.bind} lets other hosts connect, and no token is set"
            " (set server.token, or server.insecure: true if that is meant)"
        )
        raise ConfigError([told])


# -- check and init -----------------------------------------------------------------------------------


def _check(arguments: Arguments) -> int:
    from oculus.config import load
    from oculus.errors import ConfigError
    from oculus.vocabulary import vocabulary

    if arguments.kinds is not None:
        from oculus.commands.kinds import carry_out

        return _told(lambda: carry_out(arguments))
    path = arguments.config or arguments.file or "config.yaml"
    try:
        settings = load(path, vocabulary())
        _protected(settings.server)
    except ConfigError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        count = len(error.mistakes)
        print(f"{path}: {count} mistake{'s' if count > 1 else ''}")
        return USAGE
    for warning in settings.warnings:
        print(f"{warning} (warning)", file=sys.stderr)
    print(f"{path}: good, {len(settings.collectors)} collectors and {len(settings.rules)} rules")
    return DONE


def _init(arguments: Arguments) -> int:
    from pathlib import Path

    from oculus.config.builtin import STARTER

    if arguments.file.endswith(".toml"):
        _complain(f"{arguments.file}: what is written is YAML (name a file that ends in .yaml)")
        return USAGE
    try:
        with Path(arguments.file).open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        _complain(f"{arguments.file} is there already, and was left as it is (name another file)")
        return FAILED
    except OSError as error:
        _complain(f"{arguments.file} cannot be written: {error.strerror}")
        return FAILED
    print(f"{arguments.file} is written; start with: oculus --config {arguments.file}")
    return DONE


# -- query, backup, export and compact ----------------------------------------------------------------


def _on_store(arguments: Arguments) -> int:
    from oculus.commands import store

    return _told(lambda: store.carry_out(arguments))


# -- probe, doctor and silence ------------------------------------------------------------------------


def _probe(arguments: Arguments) -> int:
    from oculus.commands.probe import carry_out

    return _told(lambda: carry_out(arguments))


def _doctor(arguments: Arguments) -> int:
    from oculus.commands.doctor import carry_out

    return _told(lambda: carry_out(arguments))


def _silence(arguments: Arguments) -> int:
    from oculus.commands.silence import carry_out

    return _told(lambda: carry_out(arguments))


# -- backtest, derive and rules -----------------------------------------------------------------------


def _backtest(arguments: Arguments) -> int:
    from oculus.commands.backtest import carry_out

    return _told(lambda: carry_out(arguments))


def _derive(arguments: Arguments) -> int:
    from oculus.commands.derive import carry_out

    return _told(lambda: carry_out(arguments))


def _rules(arguments: Arguments) -> int:
    from oculus.commands.rules import carry_out

    return _told(lambda: carry_out(arguments))


def _notify_test(arguments: Arguments) -> int:
    from oculus.commands.notify_test import carry_out

    return _told(lambda: carry_out(arguments))


def _told(work: Callable[[], int | None]) -> int:
    """Do some work and return its exit status; an error is told in a line."""
    from oculus.errors import ConfigError, OculusError

    try:
        return work() or DONE
    except ConfigError as error:
        print(*error.mistakes, sep="\n", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OculusError as error:
        _complain(str(error))
        return FAILED
    return DONE
