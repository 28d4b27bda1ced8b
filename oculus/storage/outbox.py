"""Deliveries: which channel is told of which step of an alert, and what became of it. Blocking calls.

A row is written in the transaction of the step itself, so that a kill in between loses no message. What
waits is taken up again at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb

from oculus.model import Event, Micros
from oculus.storage.ingest import set_states, transaction

_EVENT = "epoch_us(ts), source, severity, message, payload"

_SETTLE = """update deliveries set state = o.state, ended = make_timestamptz(o.at), tries = o.tries,
        notice = o.notice, told = o.told
    from (select unnest($1::bigint[]) as event, unnest($2::varchar[]) as channel,
        unnest($3::varchar[]) as state, unnest($4::bigint[]) as at, unnest($5::integer[]) as tries,
        unnest($6::varchar[]) as notice, unnest($7::varchar[]) as told) as o
    where deliveries.event = o.event and deliveries.channel = o.channel
        and deliveries.event between $8 and $9"""

# A rule may name both channels: each event is told once by each of them.
_INSERT = """insert into deliveries (event, channel) select o.event, o.channel
    from (select unnest($1::bigint[]) as event, unnest($2::varchar[]) as channel) as o
    where not exists (
        select 1 from deliveries where deliveries.event = o.event and deliveries.channel = o.channel
    )"""


class Outcome(NamedTuple):
    """What became of a delivery: `sent`, `failed`, `expired`, or `passed` (nothing was left to tell)."""

    event: int
    channel: str
    state: str
    at: Micros
    tries: int = 0
    notice: str = ""
    told: str = ""  # what the service said, or why it failed


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row: `state` is `waiting` until it has an outcome."""

    channel: str
    state: str
    at: Micros | None
    tries: int
    notice: str
    told: str


def _event(ts: int, source: str, severity: Any, message: str, payload: str | None) -> Event:
    return Event(Micros(ts), source, "alert", severity, message, json.loads(payload or "{}"))


def backlog(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Return how many deliveries wait for each channel."""
    statement = "select channel, count(*) from deliveries where state = 'waiting' group by channel"
    return dict(connection.execute(statement).fetchall())


def waiting(
    connection: duckdb.DuckDBPyConnection, channel: str, held: Sequence[int] = (), limit: int | None = None
) -> list[tuple[int, Event | None]]:
    """Return the oldest events that wait for a channel by their ids, but for those that are held already;
    None stands for one that is gone."""
    rows = connection.execute(
        f"""with page as (
            select event from deliveries where state = 'waiting' and channel = $1
                and event not in (select unnest($2::bigint[])) order by event limit $3
        ) select event, id, {_EVENT} from page left join events on id = event order by event""",
        [channel, list(held), limit],
    ).fetchall()
    return [(event, None if id is None else _event(*rest)) for event, id, *rest in rows]


def events(connection: duckdb.DuckDBPyConnection, ids: Sequence[int]) -> dict[int, Event]:
    """Return events by their ids, as far as they are stored."""
    rows = connection.execute(
        f"select id, {_EVENT} from events where id in (select unnest($1::bigint[]))", [list(ids)]
    ).fetchall()
    return {id: _event(*rest) for id, *rest in rows}


def settle(
    connection: duckdb.DuckDBPyConnection,
    outcomes: Sequence[Outcome],
    states: Mapping[str, str | None],
    passed_on: Sequence[tuple[int, str]] = (),
) -> None:
    """Note outcomes, and what channels remember from now on, in one transaction.

    `passed_on` are events that another channel is to tell instead.
    """
    with transaction(connection):
        if outcomes:
            # One statement: each reads the whole column, and an outage leaves ten thousand of them.
            columns = [list(column) for column in zip(*outcomes, strict=True)]
            least, most = min(columns[0]), max(columns[0])
            connection.execute(_SETTLE, [*columns, least, most])
        if passed_on:
            connection.execute(_INSERT, [list(column) for column in zip(*passed_on, strict=True)])
        set_states(connection, states)


def give_up(connection: duckdb.DuckDBPyConnection, channels: Collection[str], at: Micros, told: str) -> None:
    """Note that nothing of what waits for these channels will be sent."""
    with transaction(connection):
        connection.execute(
            """update deliveries set state = 'failed', ended = make_timestamptz($1), told = $2
            where state = 'waiting' and channel in (select unnest($3::varchar[]))""",
            [at, told, list(channels)],
        )


def of_event(connection: duckdb.DuckDBPyConnection, event: int) -> list[Delivery]:
    """Return the deliveries of an event."""
    return of_events(connection, [event]).get(event, [])


def of_events(connection: duckdb.DuckDBPyConnection, events: Sequence[int]) -> dict[int, list[Delivery]]:
    """Return the deliveries of some events, for those that have any."""
    rows = connection.execute(
        """select event, channel, state, epoch_us(ended), tries, coalesce(notice, ''), coalesce(told, '')
        from deliveries where event in (select unnest($1::bigint[])) order by channel""",
        [list(events)],
    ).fetchall()
    found: dict[int, list[Delivery]] = {}
    for event, channel, state, at, tries, notice, told in rows:
        ended = None if at is None else Micros(at)
        found.setdefault(event, []).append(Delivery(channel, state, ended, tries, notice, told))
    return found
