"""TCP probe: `net.tcp.<name>.rtt` (ms, the connect alone) and `.up`; TLS and a dialogue where they are asked.

A probe that does more than connect has the phases as well: `.dns`, `.connect`, `.tls` (the handshake) and
`.response` (the dialogue). The dialogue is that of blackbox_exporter's `query_response`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from oculus.collectors.base import Context
from oculus.collectors.network.dialogue import Conversation, Step, check_steps, follow
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeSettings,
    Trace,
    connect,
    milliseconds,
    resolve,
    split_host_port,
)
from oculus.collectors.network.starttls import StartTls, check_server_name, secure
from oculus.collectors.network.tls import TlsSettings, client_context
from oculus.config.decode import setting
from oculus.config.settings import CollectorSpec

if TYPE_CHECKING:
    import ssl

# A dialogue ends this long before the attempt's time is up: it can tell what came instead.
_MARGIN = 0.01  # seconds


def check_target(target: str) -> None:
    """Raise ValueError unless `target` is host:port."""
    split_host_port(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSettings(ProbeSettings):
    """Settings of `probe: tcp`."""

    target: str = setting(help="host:port", check=check_target)
    tls: bool | TlsSettings = setting(False, help="whether TLS begins at once, and how it is judged")
    starttls: StartTls | None = setting(None, help="protocol by which TLS is asked for")
    server_name: str = setting(
        "", help="name that the certificate must fit instead of the target's", check=check_server_name
    )
    steps: tuple[Step, ...] = setting((), help="what is sent, and what must come back", check=check_steps)

    def __post_init__(self) -> None:
        if self.server_name and not self.speaks_tls:
            raise ValueError("server_name has no meaning without tls, starttls or a step with starttls")
        if self.switches and self.starttls:
            raise ValueError("TLS begins twice: by starttls, and by a step with starttls (keep one)")
        if sum(step.starttls for step in self.steps) > 1:
            raise ValueError("TLS begins twice: more than one step has starttls (keep one)")

    @property
    def switches(self) -> bool:
        """Whether TLS begins in the middle of the dialogue; `tls` then only tells how."""
        return any(step.starttls for step in self.steps)

    @property
    def speaks_tls(self) -> bool:
        """Whether there is a handshake at some point."""
        return bool(self.tls or self.starttls or self.switches)


class TcpProbe(Probe):
    """Opens a connection, talks if it is told to, and closes it. `.rtt` is without the name's look-up."""

    prefix = "net.tcp"
    Settings = TcpSettings
    phases: ClassVar[tuple[str, ...]] = ("dns", "connect", "tls", "response")

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, TcpSettings)
        self._settings = spec.settings
        self._host, self._port = split_host_port(spec.settings.target)
        given = spec.settings.tls
        self._tls = given if isinstance(given, TlsSettings) else TlsSettings()
        self._speaks_tls = spec.settings.speaks_tls
        self._plain = not (self._speaks_tls or spec.settings.steps)
        if self._plain:  # its time is the connect's, which is `.rtt` already
            self.phases = ()  # type: ignore[misc]

    def attempt(self, trace: Trace) -> Outcome:
        """Connect once, and talk."""
        context = client_context(self._tls, self.context) if self._speaks_tls else None
        trace.enter("dns")
        addresses = resolve(self._host, self._port, self.probe_settings.family, self.probe_settings.resolver)
        trace.enter("connect")
        sock = connect(addresses)
        if self._plain:
            sock.close()
            trace.end()
            return Outcome(True, {"rtt": milliseconds(trace.phases)["connect"]})
        talk = Conversation(sock)
        try:
            self._talk(talk, trace, context)
            trace.end()
        finally:
            talk.close()
        values = milliseconds({name: trace.phases[name] for name in self.phases if name in trace.phases})
        return Outcome(True, values | {"rtt": values["connect"]})

    def _talk(self, talk: Conversation, trace: Trace, context: ssl.SSLContext | None) -> None:
        settings = self._settings
        name = settings.server_name or self._host

        def begin_tls() -> None:
            assert context is not None
            secure(talk, trace, context, name, None)
            trace.enter("response")

        if context is not None and not settings.switches:
            secure(talk, trace, context, name, settings.starttls)
        if settings.steps:
            trace.enter("response")
            left = settings.timeout - _MARGIN - (time.perf_counter() - trace.started)
            follow(settings.steps, talk, left, begin_tls)
