"""A look at a database file that nobody has open: what `oculus doctor` tells of it. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from oculus.errors import StartError
from oculus.storage import recovery, schema
from oculus.storage.database import DEFAULT_MEMORY, LOGS, refusal

# Up to this size every row is read, which takes some seconds on a slow card.
READ_WHOLE = 500 * 10**6  # bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """What a database file holds. `damage` is what DuckDB said of the first damaged part, if there is one."""

    size: int  # bytes, the log included
    version: int  # of its tables; 0 where there are none yet
    known: int  # the version that this program makes
    samples: int
    whole: bool  # whether every row was read
    damage: str = ""


def examine(path: str) -> Examined:
    """Open a file for reading only; raises StartError when another process has it, or it is no database."""
    size = sum(_bytes(path + suffix) for suffix in ("", *LOGS))
    whole = size <= READ_WHOLE
    damage = recovery.damage(path, DEFAULT_MEMORY, 1) if whole else ""
    config: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": False}
    try:
        connection = duckdb.connect(path, read_only=True, config=config)
    except duckdb.Error as error:
        raise refusal(path, error) from None
    try:
        tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
        version = samples = 0
        if {"oculus_schema", "metrics"} <= tables:
            found = connection.execute("select max(version) from oculus_schema").fetchone()
            version = int(found[0] or 0) if found else 0
            found = connection.execute("select count(*) from metrics").fetchone()
            samples = int(found[0]) if found else 0
        elif tables:
            raise StartError(f"{path} has tables of another program (name another file)")
    except duckdb.Error as error:
        damage = damage or str(error).partition("\n")[0]
        version = samples = 0
    finally:
        connection.close()
    return Examined(size, version, schema.VERSION, samples, whole, damage)


def _bytes(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
