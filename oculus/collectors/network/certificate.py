"""TLS probe: `net.tls.<name>.cert_days`, `.rtt` (ms, the whole), `.up` and the phases.

`.cert_days` is until the first certificate of the chain ends, as the server sent it: an authority in between
that ends before the server's own breaks the site as well. It is told for a certificate that is refused, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from oculus.collectors.base import Context
from oculus.collectors.network.dialogue import Conversation
from oculus.collectors.network.expect import Comparison
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeSettings,
    Trace,
    connect,
    explain,
    milliseconds,
    resolve,
    split_host_port,
)
from oculus.collectors.network.starttls import StartTls, check_server_name, secure
from oculus.collectors.network.tls import TlsSettings, client_context, days_left
from oculus.config.decode import setting
from oculus.config.settings import CollectorSpec

_HTTPS = 443  # the port of a target without one


def _split(target: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[v6]:port`; raises ValueError."""
    if target.startswith("[") and target.endswith("]"):
        return split_host_port(f"{target}:{_HTTPS}")
    return split_host_port(target if ":" in target else f"{target}:{_HTTPS}")


def _check_target(target: str) -> None:
    _split(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateExpect:
    """`expect:`: what the certificates must be for the target to count as up."""

    cert_days: Comparison | None = setting(None, help="days that the certificates must have left")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings(ProbeSettings):
    """Settings of `probe: tls`."""

    target: str = setting(help="host, or host:port", check=_check_target)
    server_name: str = setting(
        "", help="name that the certificate must fit instead of the target's", check=check_server_name
    )
    starttls: StartTls | None = setting(None, help="protocol by which TLS is asked for")
    expect: CertificateExpect = setting(CertificateExpect(), help="what the certificates must be")
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def __post_init__(self) -> None:
        if self.starttls is not None and _split(self.target) == (self.target.strip("[]"), _HTTPS):
            raise ValueError(f"target: with starttls it needs a port (such as {self.target}:587)")


class CertificateProbe(Probe):
    """Shakes hands and reads the certificates."""

    prefix = "net.tls"
    Settings = CertificateSettings
    phases = ("dns", "connect", "tls")

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, CertificateSettings)
        self._settings = spec.settings
        self._host, self._port = _split(spec.settings.target)

    def attempt(self, trace: Trace) -> Outcome:
        """Connect, shake hands and judge once."""
        settings = self._settings
        context = client_context(settings.tls, self.context)
        trace.enter("dns")
        addresses = resolve(self._host, self._port, settings.family, settings.resolver)
        trace.enter("connect")
        talk = Conversation(connect(addresses))
        try:
            secure(talk, trace, context, settings.server_name or self._host, settings.starttls)
            trace.enter("certificate")
            days = _days_left(talk)
            trace.end()
        except OSError as refused:
            if not (days := _days_left(talk)):
                raise
            values = self._completed(trace) | {"cert_days": min(days)}
            return Outcome(False, values, explain(refused), trace.current)
        finally:
            talk.close()
        least = min(days)
        values = self._completed(trace) | {"cert_days": least}
        wanted = settings.expect.cert_days
        if wanted is not None and (fault := wanted.fault(least)):
            which = f" (certificate {days.index(least) + 1} of {len(days)} in the chain)"
            return Outcome(False, values, f"cert_days {fault}{which}", "expect")
        return Outcome(True, values | {"rtt": round(sum(trace.phases.values()) * 1000.0, 3)})

    def _completed(self, trace: Trace) -> dict[str, float]:
        return milliseconds({name: trace.phases[name] for name in self.phases if name in trace.phases})


def _days_left(talk: Conversation) -> list[float]:
    return [] if talk.tls is None else days_left(talk.tls)
