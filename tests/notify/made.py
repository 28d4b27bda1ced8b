"""Notices for the tests of channels."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from oculus.clock import SECOND
from oculus.config.decode import decode
from oculus.config.document import Mistakes, parse
from oculus.model import Micros, Operand, Transition
from oculus.notify.base import Channel, Undelivered
from oculus.notify.notice import Notice

NOON = Micros(1_787_227_200_000_000)  # 2026-08-20 12:00:00 UTC
MINUTE = 60 * SECOND
LINK = "https://oculus.example/alerts/ab12"
SERIES = "https://oculus.example/series/crypto.price.btc_usd"


def after(minutes: float) -> Micros:
    """Return a time so many minutes after noon."""
    return Micros(NOON + int(minutes * MINUTE))


def firing(rule: str = "btc_price", **fields: Any) -> Transition:
    """Return the step in which an alert fires, two minutes after its condition began to hold."""
    given: dict[str, Any] = {
        "ts": after(2), "state": "firing", "previous": "pending", "severity": "critical",
        "message": "BTC crossed $100k", "started_at": NOON, "symbol": "crypto.price.btc_usd",
        "value": 100_012.5, "explanation": "crypto.price.btc_usd (100012.5) > 100000",
        "operands": (Operand("crypto.price.btc_usd", 100_012.5, 3.0),),
    }  # fmt: skip
    return Transition(rule=rule, **given | fields)


def resolved(rule: str = "btc_price", **fields: Any) -> Transition:
    """Return the step in which it ends, 14 minutes after it began."""
    return firing(rule, **{"ts": after(14), "state": "resolved", "previous": "firing"} | fields)


def notice(*steps: Transition, **fields: Any) -> Notice:
    """Return a notice of some steps, of one that fires by default."""
    steps = steps or (firing(),)
    found: dict[str, Any] = {
        "id": "0f1e2d3c4b5a69788796", "reason": "first" if steps[0].state == "firing" else "over",
        "firing": tuple(step for step in steps if step.state == "firing"),
        "resolved": tuple(step for step in steps if step.state != "firing"),
        "at": steps[0].ts, "sent_at": steps[0].ts, "group": {"rule": steps[0].rule}, "link": LINK,
        "series_link": SERIES,
    }  # fmt: skip
    return Notice(**found | fields)


def read(kind: type[Channel], text: str) -> Channel:
    """Return the channel that a configuration describes."""
    mistakes = Mistakes()
    settings = decode(parse(text, "c.yaml", mistakes), kind.Settings, "notifications.ops", mistakes)
    assert settings is not None, mistakes.errors
    return kind(settings)


def mistakes_in(kind: type[Channel], text: str) -> list[str]:
    """Return what is wrong with a channel's configuration, or doubtful."""
    mistakes = Mistakes()
    found = decode(parse(text, "c.yaml", mistakes), kind.Settings, "notifications.ops", mistakes)
    assert (found is None) == bool(mistakes.errors)
    return mistakes.errors + mistakes.warnings


def refusal(channel: Channel, told: Notice, *secrets: str) -> Undelivered:
    """Return the error of a notice that must fail, in which, whatever one looks at, no secret is."""
    with pytest.raises(Undelivered) as caught:
        channel.deliver(told)
    error: BaseException | None = caught.value
    shown = "".join(traceback.format_exception(caught.value)) + repr(channel.settings)
    while error is not None:
        shown += repr(error.args)
        error = error.__cause__ or error.__context__
    for secret in secrets:
        assert secret not in shown
    assert len(str(caught.value).splitlines()) == 1
    return caught.value
