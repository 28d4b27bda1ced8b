"""Deliveries: which channel is told of which step of an alert, and what became of it. Blocking calls.

A row is written in the transaction of the step itself, so that a kill in between loses no message. What
waits is taken up again at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from oculus.model import Event, Micros
from oculus.storage.ingest import set_state, transaction


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


def waiting(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, Event]]:
    """Return what waits, oldest first: the event's id, the channel, and the event."""
    rows = connection.execute(
        """select event, channel, epoch_us(ts), source, severity, message, payload
        from deliveries join events on events.id = deliveries.event
        where state = 'waiting' order by event"""
    ).fetchall()
    return [
        (event, channel, Event(Micros(ts), source, "alert", severity, message, json.loads(payload or "{}")))
        for event, channel, ts, source, severity, message, payload in rows
    ]


def settle(
    connection: duckdb.DuckDBPyConnection,
    outcomes: Iterable[Outcome],
    states: Mapping[str, str | None],
    passed_on: Iterable[tuple[int, str]] = (),
) -> None:
    """Note outcomes, and what channels remember from now on, in one transaction.

    `passed_on` are events that another channel is to tell instead.
    """
    with transaction(connection):
        for one in outcomes:
            connection.execute(
                """update deliveries set state = $1, ended = make_timestamptz($2), tries = $3, notice = $4,
                    told = $5 where event = $6 and channel = $7""",
                [one.state, one.at, one.tries, one.notice, one.told, one.event, one.channel],
            )
        for event, channel in passed_on:
            connection.execute("insert into deliveries (event, channel) values ($1, $2)", [event, channel])
        for key, text in states.items():
            set_state(connection, key, text)


def of_event(connection: duckdb.DuckDBPyConnection, event: int) -> list[Delivery]:
    """Return the deliveries of an event."""
    rows = connection.execute(
        """select channel, state, epoch_us(ended), tries, coalesce(notice, ''), coalesce(told, '')
        from deliveries where event = $1 order by channel""",
        [event],
    ).fetchall()
    return [
        Delivery(channel, state, None if at is None else Micros(at), tries, notice, told)
        for channel, state, at, tries, notice, told in rows
    ]
