"""The arguments of the commands that do not run the daemon. Imports nothing heavy."""

from __future__ import annotations

import argparse
from typing import Any


def add_probing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that look at a target, and at the host."""
    probe = commands.add_parser(
        "probe",
        help="run one collector once and tell what it saw",
        description="Runs one collector once and prints what it saw, phase by phase: oculus probe http"
        " https://example.com, oculus probe ping 192.0.2.1 count=5, oculus probe --config config.yaml NAME.",
        usage="oculus probe [--config FILE] [--format {table,json}] KIND [TARGET] [KEY=VALUE ...]\n"
        "       oculus probe [--config FILE] [--format {table,json}] NAME",
        allow_abbrev=False,
    )
    probe.add_argument(
        "what", metavar="KIND|NAME", nargs="*",
        help="a kind (see oculus check --kinds), its target and settings; or a collector's name",
    )  # fmt: skip
    probe.add_argument("--config", metavar="FILE", help="the configuration that NAME is in, and the plugins")
    probe.add_argument(
        "--format", choices=("table", "json"), default="table", help="how it is printed (table)"
    )
    doctor = commands.add_parser(
        "doctor",
        help="tell what this host permits and lacks",
        description="Looks at everything that Oculus needs of a host: ping, DNS, clock, disk, memory, files,"
        " database … Changes nothing, and works while the daemon runs. Status 1 when something fails.",
        allow_abbrev=False,
    )
    doctor.add_argument("--config", metavar="FILE", help="the configuration that is to run here")
    doctor.add_argument("--db", metavar="PATH", type=_file, help="the database (default: oculus.db)")
    doctor.add_argument(
        "--format", choices=("table", "json"), default="table", help="how it is printed (table)"
    )


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that look at the store, which all can be told where it is."""

    def command(name: str, help: str, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=description, allow_abbrev=False)
        added.add_argument("--config", metavar="FILE", help="the configuration that names the database")
        added.add_argument("--db", metavar="PATH", type=_file, help="the database (default: oculus.db)")
        return added

    query = command(
        "query",
        "print the rows of a SQL query",
        "Prints the rows of one SQL statement that reads, at most 1,000. Asks the running daemon, or opens"
        " the file when none runs.",
    )
    query.add_argument(
        "sql", metavar="SQL", nargs="?", default="-", help="the statement; - reads it from standard input"
    )
    query.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="how rows are printed (table)"
    )
    query.add_argument(
        "--param", metavar="NAME=VALUE", action="append", default=[], type=_param,
        help="what $NAME in the statement stands for; may be given again",
    )  # fmt: skip
    backup = command(
        "backup",
        "copy the whole database, also while the daemon runs",
        "Writes a copy of the whole database as it is at this moment, which Oculus and DuckDB open. The"
        " running daemon makes it and goes on storing.",
    )
    backup.add_argument("destination", metavar="DEST", type=_file, help="the file to be made")
    backup.add_argument("--force", action="store_true", help="replace DEST if it is there")
    export = command(
        "export",
        "write samples, or the rows of a query, to a file",
        "Writes all samples, or all rows of a SQL query, to a Parquet or CSV file. The running daemon makes"
        " it and goes on storing.",
    )
    export.add_argument(
        "--to", metavar="FILE", dest="destination", required=True, type=_table_file,
        help="the file to be made; its name ends in .parquet or .csv",
    )  # fmt: skip
    export.add_argument(
        "--sql", metavar="SQL", help="one statement that reads; - takes it from standard input"
    )
    export.add_argument("--force", action="store_true", help="replace FILE if it is there")
    command(
        "compact",
        "rewrite the database file in order, while no daemon runs",
        "Rewrites the whole file in the order in which it is smallest and read fastest. The daemon does this"
        " for closed days by itself; this does all of it at once, and needs the daemon stopped.",
    )


def add_silencing(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that tells the running daemon which alerts to hold back."""
    silence = commands.add_parser(
        "silence",
        help="hold alerts back for a while",
        description="Tells the running daemon to send no alerts of some rules for a while: oculus silence add"
        " 'rule=site_*' --for 2h --comment deploy.",
        allow_abbrev=False,
    )
    actions = silence.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str, description: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=description, allow_abbrev=False)
        added.add_argument("--config", metavar="FILE", help="the configuration that the daemon runs with")
        added.add_argument(
            "--db", metavar="PATH", type=_file, help="the daemon's database (default: oculus.db)"
        )
        return added

    add = action(
        "add",
        "begin a silence",
        "Begins a silence and prints its id. It concerns the alerts that all matchers match.",
    )
    add.add_argument(
        "matchers", metavar="MATCHER", nargs="+", type=_matcher,
        help="rule=GLOB, severity=GLOB or LABEL=GLOB: 'rule=site_*' severity=warn 'symbol=net.http.*'",
    )  # fmt: skip
    add.add_argument(
        "--for",
        dest="duration",
        metavar="DURATION",
        required=True,
        type=_duration,
        help="such as 30m, 2h, 7d",
    )
    add.add_argument("--comment", metavar="TEXT", default="", help="why, for those who see it")
    listing = action(
        "list", "print the silences", "Prints the silences in force, and those that are to come."
    )
    listing.add_argument("--all", action="store_true", help="those that ended in the last 7 days as well")
    listing.add_argument(
        "--format", choices=("table", "json"), default="table", help="how it is printed (table)"
    )
    end = action("end", "end a silence now", "Ends a silence now: what still fires is sent.")
    end.add_argument("id", metavar="ID", help="as oculus silence list shows it")


def add_notifying(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that tries a channel."""
    notify = commands.add_parser(
        "notify-test",
        help="send a made-up alert through a channel",
        description="Sends a made-up alert through a configured channel and prints what the service says of"
        " it. It needs no running daemon.",
        allow_abbrev=False,
    )
    notify.add_argument("channel", metavar="CHANNEL", help="name of the channel in notifications")
    notify.add_argument("--config", metavar="FILE", help="YAML or TOML file (default: config.yaml)")
    notify.add_argument(
        "--severity",
        choices=("info", "warn", "error", "critical"),
        default="warn",
        help="how bad it is (warn)",
    )


def add_hindsight(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that ask the stored history about rules and derived values."""
    backtest = commands.add_parser(
        "backtest",
        help="tell what rules would have done over the stored history",
        description="Replays rules over the stored history and prints when they would have fired, and the"
        " messages that would have been sent. Changes nothing. With --config it is that file's rules.",
        allow_abbrev=False,
    )
    backtest.add_argument("--rule", metavar="NAME", help="only this rule (default: all)")
    _over(backtest, "7d")
    backtest.add_argument(
        "--until", metavar="T", type=_moment, help="the end: a duration ago, or a time (default: now)"
    )
    derive = commands.add_parser(
        "derive",
        help="compute the history of derived values",
        description="Computes derived values for the time before they were configured, and stores what is"
        " not there yet; what is there stays. Running it twice adds nothing.",
        allow_abbrev=False,
    )
    derive.add_argument(
        "names", metavar="NAME", nargs="*",
        help="only these, with the derived values that they are made of (default: all)",
    )  # fmt: skip
    derive.add_argument(
        "--backfill", action="store_true", required=True, help="compute what is missing in the past"
    )
    _over(derive, "30d", form=False)
    rules = commands.add_parser(
        "rules",
        help="look for what is odd about rules, or suggest one",
        description="Holds rules against the stored history: oculus rules lint tells what is odd about them,"
        " oculus rules suggest SYMBOL which threshold would suit.",
        allow_abbrev=False,
    )
    actions = rules.add_subparsers(dest="action", required=True, metavar="ACTION")
    lint = actions.add_parser(
        "lint",
        help="tell what is odd about rules",
        description="Tells of rules that read what was never stored, can never fire, always do, or do not see"
        " what they are about. Status 1 when something needs attention (warn), 0 otherwise.",
        allow_abbrev=False,
    )
    _over(lint, "30d")
    suggest = actions.add_parser(
        "suggest",
        help="suggest a threshold for a series",
        description="Tries thresholds for a series out over the stored history, and prints the rule that"
        " suits best, ready to be pasted.",
        allow_abbrev=False,
    )
    suggest.add_argument("symbol", metavar="SYMBOL", help="the series, such as net.http.site.rtt")
    _over(suggest, "30d")


def _over(parser: argparse.ArgumentParser, since: str, *, form: bool = True) -> None:
    """Add what says where history is, how much of it is meant, and how it is told."""
    parser.add_argument("--config", metavar="FILE", help="the configuration to go by")
    parser.add_argument("--db", metavar="PATH", type=_file, help="the database (default: oculus.db)")
    parser.add_argument(
        "--since", metavar="T", default=since, type=_moment,
        help=f"the beginning: a duration ago, or a time ({since})",
    )  # fmt: skip
    if form:
        parser.add_argument(
            "--format", choices=("table", "json"), default="table", help="how it is printed (table)"
        )


def _moment(text: str) -> str:
    from oculus.clock import parse_iso
    from oculus.config.decode import parse_duration

    for read in (parse_duration, parse_iso):
        try:
            read(text)
        except (ValueError, OverflowError):
            continue
        return text
    told = f"{text!r} is neither a duration (7d) nor a time (2026-01-31T12:00Z)"
    raise argparse.ArgumentTypeError(told)


def _matcher(text: str) -> str:
    from oculus.rules.silences import Matcher, SilenceError

    try:
        Matcher.parse(text)
    except SilenceError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _duration(text: str) -> str:
    from oculus.config.decode import parse_duration

    try:
        parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def _param(text: str) -> tuple[str, Any]:
    from oculus.commands.store import parameter

    try:
        return parameter(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _table_file(text: str) -> str:
    if not text.endswith((".parquet", ".csv")):
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .parquet nor in .csv")
    return text
