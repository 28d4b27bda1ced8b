"""derive: the history of derived values, computed by the running daemon or on the file itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from oculus.clock import now
from oculus.commands import output
from oculus.commands.backtest import moment
from oculus.commands.client import Client
from oculus.commands.store import Store, either, opened, store_of
from oculus.errors import ConfigError
from oculus.model import Micros, Sample

if TYPE_CHECKING:
    from oculus.cli import Arguments
    from oculus.config import Settings
    from oculus.config.settings import DerivedSettings
    from oculus.storage.database import Database

# Samples of one transaction.
_BATCH = 5_000


def carry_out(arguments: Arguments) -> None:
    """Do what the command line says; raises OculusError."""
    since = moment(arguments.since, "--since")
    store = store_of(arguments)
    settings = configured(arguments)
    derived = None if settings is None else settings.derived
    if derived is not None:
        from oculus.hindsight.backfill import chosen

        chosen(derived, arguments.names)  # a name that is none is told before anything is done
    progress = output.Progress("derive")
    started = time.monotonic()

    def asked(client: Client) -> dict[str, Any]:
        request: dict[str, Any] = {"since": since, "names": arguments.names}
        if derived is not None:
            request["derived"] = [_plain(each) for each in derived]
        return client.work("backfill", request, progress.show)

    try:
        result = either(store, asked, lambda: _own(store, derived, arguments.names, since, progress))
    finally:
        progress.clear()
    for name, count in result["written"].items():
        print(f"{name}: {count} {'sample' if count == 1 else 'samples'} written")
    if not result["written"]:
        print("no derived values are configured")
    elif not any(result["written"].values()):
        print(f"nothing was missing ({time.monotonic() - started:.1f} s)")


def configured(arguments: Arguments) -> Settings | None:
    """Return the configuration that the command line names, None when it names none; raises ConfigError."""
    if arguments.config is None:
        return None
    from oculus.config import load
    from oculus.vocabulary import vocabulary

    return load(arguments.config, vocabulary())


def needs_config(what: str) -> ConfigError:
    """Return that nobody knows what is configured."""
    return ConfigError([f"no daemon runs that knows the {what} (name the file with --config)"])


def _plain(settings: DerivedSettings) -> dict[str, Any]:
    return {
        "name": settings.name,
        "formula": settings.formula,
        "interval": settings.interval,
        "unit": settings.unit,
        "tags": dict(settings.tags),
    }


def _own(
    store: Store,
    settings: Sequence[DerivedSettings] | None,
    names: Sequence[str],
    since: Micros,
    progress: output.Progress,
) -> dict[str, Any]:
    """Compute and store it on the file, which no daemon has open."""
    if settings is None:
        raise needs_config("derived values")
    from oculus.hindsight.backfill import backfill, chosen
    from oculus.storage import rollup

    result: dict[str, Any] = {}
    with opened(store) as database:
        waiting: list[Sample] = []
        for step in backfill(database.cursor(), chosen(settings, names), since, now()):
            waiting += step.samples
            if len(waiting) >= _BATCH or (step.result and waiting):
                _write(database, waiting)
                waiting = []
            progress.show(step.part, 0)
            result = step.result
        rollup.catch_up(database.connection)
        database.fold(0)
    return result


def _write(database: Database, samples: Sequence[Sample]) -> None:
    from oculus.model import Batch
    from oculus.storage import ingest

    ingest.write(database.connection, Batch(tuple(samples)), 0)
    database.fold()
