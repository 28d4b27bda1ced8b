"""TCP connect probe: `net.tcp.<name>.rtt` (ms, the connect alone) and `.up`."""

from __future__ import annotations

from dataclasses import dataclass

from oculus.collectors.base import Context
from oculus.collectors.network import (
    Outcome,
    Probe,
    ProbeSettings,
    Trace,
    connect,
    milliseconds,
    resolve,
    split_host_port,
)
from oculus.config.decode import setting
from oculus.config.settings import CollectorSpec


def _check_target(target: str) -> None:
    split_host_port(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings(ProbeSettings):
    """Settings of `probe: tcp`."""

    target: str = setting(help="host:port", check=_check_target)


class TcpProbe(Probe):
    """Opens a connection and closes it. The look-up of the name is not part of the time."""

    prefix = "net.tcp"
    Settings = TcpSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        self._host, self._port = split_host_port(self.probe_settings.target)

    def attempt(self, trace: Trace) -> Outcome:
        """Connect once."""
        trace.enter("dns")
        addresses = resolve(self._host, self._port, self.probe_settings.family)
        trace.enter("connect")
        connect(addresses).close()
        trace.end()
        return Outcome(True, {"rtt": milliseconds(trace.phases)["connect"]})
