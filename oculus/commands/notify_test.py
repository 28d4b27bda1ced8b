"""notify-test: a made-up alert through a configured channel, and what the service says of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from uuid import uuid4

import gevent

from oculus.clock import SECOND, now
from oculus.commands import output
from oculus.config import load
from oculus.errors import ConfigError, OculusError, reason
from oculus.masking import mask
from oculus.model import Micros, Operand, Tags, Transition
from oculus.notify import log, made
from oculus.notify.notice import Notice
from oculus.vocabulary import vocabulary

if TYPE_CHECKING:
    from oculus.cli import Arguments
    from oculus.config.settings import ChannelSpec
    from oculus.model import Severity

# A curve for those channels that draw one.
_HISTORY = tuple(20.0 + 4.0 * math.sin(number / 4.0) for number in range(39))

_VALUE, _LIMIT = 42.0, 30.0


def carry_out(arguments: Arguments) -> None:
    """Do what the command line says; raises OculusError, with what the channel could not do."""
    settings = load(arguments.config or "config.yaml", vocabulary())
    name = arguments.channel
    step = sample(name, arguments.severity, now())
    if name == "log":
        log.send(step)
        return
    spec = settings.channels.get(name)
    if spec is None:
        known = ", ".join(sorted({*settings.channels, "log"}))
        raise ConfigError(
            [f"there is no channel {name!r} in {arguments.config or 'config.yaml'} (known: {known})"]
        )
    said = _deliver(spec, step, settings.server.public_url.rstrip("/"))
    print(output.clean(f"{name}: sent{f', {said}' if said else ''}"))


def sample(channel: str, severity: Severity, present: Micros) -> Transition:
    """Return a step of an alert that says that it is a test."""
    condition = f"custom.test > {_LIMIT:g}"
    return Transition(
        ts=present, rule="notify_test", state="firing", previous="pending", severity=severity,
        message=f"This is a test of the channel {channel}: custom.test is {_VALUE:g}",
        started_at=Micros(present - 300 * SECOND), symbol="custom.test", value=_VALUE,
        labels=Tags({"symbol": "custom.test"}), channels=(channel,),
        explanation=condition.replace("test", f"test ({_VALUE:g})"),
        operands=(Operand("custom.test", _VALUE, 1.0),), timers={"held": 300.0, "for": 300.0},
    )  # fmt: skip


def _deliver(spec: ChannelSpec, step: Transition, base: str) -> str:
    """Send it, within the channel's own time; return what the service said."""
    channel = made(spec)
    notice = Notice(
        id=uuid4().hex[:20], reason="test", firing=(step,), resolved=(), at=step.ts, sent_at=step.ts,
        group={"rule": step.rule}, link=f"{base}/rules" if base else "", history=(*_HISTORY, _VALUE),
    )  # fmt: skip
    with gevent.Timeout(channel.settings.timeout) as limit:
        try:
            return str(channel.deliver(notice) or "")
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
            raise OculusError(f"not done after {channel.settings.timeout:g} s") from None
        except OculusError:
            raise
        except Exception as error:  # a plugin's may fail in any way
            raise OculusError(mask(reason(error))) from None
        finally:
            channel.close()
