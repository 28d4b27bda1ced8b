"""What the store knows of one step of an alert: the step, those around it, and the deliveries."""

from __future__ import annotations

import json
from dataclasses import dataclass

from oculus.model import Micros, Transition
from oculus.storage.outbox import Delivery, of_event
from oculus.storage.queries import COLUMNS, HAS_LABEL, Cursor, StoredEvent, stored_event

# The steps of one alert, by the key under which the engine remembers it; one that has none by its labels.
_SAME = """type = 'alert' and source = $source and (payload->>'alert') is not distinct from $alert
    and ($alert is not null or (payload->'labels') = $labels)"""


@dataclass(frozen=True, slots=True)
class Story:
    """A step, the steps of the same alert before it (newest first) and after it (oldest first), whether there
    are `older` and `newer` ones than these, and the deliveries of the step."""

    event: StoredEvent
    before: tuple[StoredEvent, ...]
    after: tuple[StoredEvent, ...]
    older: bool
    newer: bool
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class Brief:
    """A step, as far as a timeline needs it."""

    id: int
    ts: Micros
    rule: str
    severity: str
    state: str
    previous: str
    labels: dict[str, str]


def story(cursor: Cursor, id: int, most: int) -> Story | None:
    """Return the story of a step by its event's id, with at most so many steps on either side; None when
    there is no such event, or it is no step of an alert."""
    cursor.execute("begin transaction read only")
    try:
        row = cursor.execute(
            f"select {COLUMNS} from events where id = $1 and type = 'alert'", [id]
        ).fetchone()
        if row is None:
            return None
        event = stored_event(row)
        before = _around(cursor, event, "id < $id", "desc", most + 1)
        after = _around(cursor, event, "id > $id", "asc", most + 1)
        deliveries = tuple(of_event(cursor, id))
    finally:
        cursor.execute("rollback")
    return Story(
        event, tuple(before[:most]), tuple(after[:most]), len(before) > most, len(after) > most, deliveries
    )


def id_of(cursor: Cursor, step: Transition) -> int | None:
    """Return the id of the event that records a step, or None when it is not stored."""
    known = _named(step.rule, None if step.memory is None else step.alert, dict(step.labels))
    row = cursor.execute(
        f"select max(id) from events where ts = make_timestamptz($ts) and {_SAME}", known | {"ts": step.ts}
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _around(cursor: Cursor, event: StoredEvent, where: str, order: str, limit: int) -> list[StoredEvent]:
    known = _named(event.source, event.payload.get("alert"), event.payload.get("labels", {}))
    rows = cursor.execute(
        f"select {COLUMNS} from events where {where} and {_SAME} order by id {order} limit $limit",
        known | {"id": event.id, "limit": limit},
    ).fetchall()
    return [stored_event(row) for row in rows]


def _named(source: str, alert: str | None, labels: dict[str, str]) -> dict[str, object]:
    """Return the parameters of _SAME; labels are written as DuckDB writes a part of a JSON."""
    text = json.dumps(labels, ensure_ascii=False, separators=(",", ":"))
    return {"source": source, "alert": alert, "labels": text}


def lately(
    cursor: Cursor,
    since: Micros,
    limit: int,
    *,
    rule: str | None = None,
    severity: str | None = None,
    text: str | None = None,
) -> list[Brief]:
    """Return the steps since a time, oldest first, no more than the newest so many; a `text` may stand in the
    rule's name or in a label."""
    rows = cursor.execute(
        f"""select id, epoch_us(ts), source, severity,
            payload->>'state', payload->>'previous', payload->>'labels'
        from events
        where type = 'alert' and ts >= make_timestamptz($since)
            and ($rule is null or source = $rule)
            and ($severity is null or severity = $severity)
            and ($text is null or contains(lower(source), $text) or {HAS_LABEL})
        order by id desc limit $limit""",
        {"since": since, "rule": rule, "severity": severity, "text": text.lower() if text else None,
         "limit": limit},
    ).fetchall()  # fmt: skip
    return [
        Brief(id, Micros(ts), source, level, state or "", previous or "", json.loads(labels or "{}"))
        for id, ts, source, level, state, previous, labels in reversed(rows)
    ]
