"""DNS probe: `net.dns.<name>.rtt` (ms), `.answers` (count), `.ttl` (s) and `.up`.

One question for each attempt, to one server, without search lists and without any cache of this host: a
lost packet is a failed attempt, which `retries` may repeat. `rtt` is from the question to its answer, with
the connection and the handshake where there are any, and with both ways where the answer did not fit a
datagram.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oculus.collectors.base import Context
from oculus.collectors.network.dns_exchange import (
    Answers,
    NameServer,
    Record,
    Transport,
    ascii_name,
    ask,
    ask_https,
    ask_stream,
    expected_text,
    question,
    read_answers,
    reverse_name,
    system_server,
)
from oculus.collectors.network.expect import Comparison
from oculus.collectors.network.probe import (
    Outcome,
    Probe,
    ProbeSettings,
    Trace,
    connect,
    resolve,
    unreachable,
)
from oculus.collectors.network.tls import TlsSettings, client_context, wrap
from oculus.config.decode import setting
from oculus.config.settings import CollectorSpec

if TYPE_CHECKING:
    from dns.message import QueryMessage

Rcode = Literal["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
_MEANINGS = {
    "FORMERR": "the server does not understand the question",
    "SERVFAIL": "the server failed",
    "NXDOMAIN": "there is no such name",
    "NOTIMP": "the server cannot do this",
    "REFUSED": "the server refuses to answer",
}

_SHOWN = 3  # answers that an error shows …
_SHOWN_LENGTH = 60  # … and characters of each


def _check_target(target: str) -> None:
    ascii_name(reverse_name(target))


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsExpectSettings:
    """`expect:`: what the answer must be for the target to count as up."""

    rcode: Rcode = setting("NOERROR", help="response code that is right")
    answers: tuple[str, ...] | None = setting(
        None, help="the records, exactly these in any order; [] for none; at least one when left out"
    )
    contains: tuple[str, ...] = setting((), help="texts that must each stand in one of the records")
    ttl: Comparison | None = setting(None, help="how long the answer may be kept, in seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsSettings(ProbeSettings):
    """Settings of `probe: dns`."""

    target: str = setting(help="name to ask for; with record PTR also an address", check=_check_target)
    record: Record = setting("A", help="type of the records")
    server: str = setting("", help="name server that is asked; the system's first when left out")
    transport: Transport = setting("udp", help="udp (and tcp for long answers), tcp, tls or https")
    expect: DnsExpectSettings = setting(DnsExpectSettings(), help="what the answer must be")
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def __post_init__(self) -> None:
        if self.server:
            NameServer.parse(self.server, self.transport)
        elif self.transport in ("tls", "https"):
            raise ValueError(f"transport {self.transport} needs a server (such as server: 1.1.1.1)")
        for text in self.expect.answers or ():
            expected_text(self.record, text)

    @property
    def name_asked(self) -> str:
        """The name in the question."""
        return ascii_name(reverse_name(self.target) if self.record == "PTR" else self.target)


class DnsProbe(Probe):
    """Asks a name server one question a run."""

    prefix = "net.dns"
    Settings = DnsSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, DnsSettings)
        settings = self._settings = spec.settings
        self._name = settings.name_asked
        self._server = NameServer.parse(settings.server, settings.transport) if settings.server else None
        self._expected = expected_answers(settings)
        question(self._name, settings.record)  # the import takes 40 ms: now, and not within a measurement

    def describe(self) -> Mapping[str, str]:
        """Every sample tells what was asked for, and whom if that is configured."""
        assert isinstance(self.spec.settings, DnsSettings)
        settings = self.spec.settings
        described = {"target": settings.target, "record": settings.record}
        return described | ({"server": settings.server} if settings.server else {})

    def attempt(self, trace: Trace) -> Outcome:
        """Ask once and judge the answer."""
        answers = read_answers(self._ask(trace))
        seconds = trace.end() - trace.phases["dns"]
        values = {"answers": float(len(answers.records))}
        if answers.records:
            values["ttl"] = float(answers.ttl)
        error = self._judge(answers)
        if error:
            return Outcome(False, values, error, "expect")
        return Outcome(True, {"rtt": round(seconds * 1000.0, 3), **values})

    def _ask(self, trace: Trace) -> QueryMessage:
        settings, transport = self._settings, self._settings.transport
        query = question(self._name, settings.record)
        trace.enter("dns")
        server = self._server or system_server()
        addresses = resolve(server.host, server.port, settings.family, settings.resolver)
        if transport == "udp":
            trace.enter("query")
            try:
                return ask(query, addresses[0])
            except OSError as failure:
                raise unreachable(failure, addresses) from None
        tls = client_context(settings.tls, self.context) if transport != "tcp" else None
        trace.enter("connect")
        sock = connect(addresses)
        try:
            if tls is not None:
                trace.enter("tls")
                sock = secure = wrap(sock, tls, server.host)
                secure.do_handshake()
            trace.enter("query")
            return ask_https(query, sock, server) if transport == "https" else ask_stream(query, sock)
        finally:
            sock.close()

    def _judge(self, answers: Answers) -> str:
        """Return what is wrong with an answer; an empty text when nothing is."""
        expect, records = self._settings.expect, answers.records
        if answers.rcode != expect.rcode:
            meaning = _MEANINGS.get(answers.rcode, "")
            told = f"{answers.rcode}: {meaning}" if meaning else answers.rcode
            return told if expect.rcode == "NOERROR" else f"{told}, expected {expect.rcode}"
        if self._expected is not None and records != self._expected:
            return f"answered {_shown(records)}, expected {_shown(self._expected)}"
        if self._expected is None and not records and expect.rcode == "NOERROR":
            return f"no {self._settings.record} record"
        for text in expect.contains:
            if not any(text in record for record in records):
                return f"answered {_shown(records)}, none with {text!r}"
        told = expect.ttl.fault(answers.ttl) if expect.ttl is not None and records else ""
        return f"ttl {told}" if told else ""


def expected_answers(settings: DnsSettings) -> tuple[str, ...] | None:
    """Return the answers that are right, as those of a server are written, or None for any."""
    answers = settings.expect.answers
    if answers is None:
        return None
    return tuple(sorted({expected_text(settings.record, text) for text in answers}))


def _shown(records: Iterable[str]) -> str:
    """Return records in a few words."""
    texts = [
        "".join(sign if sign.isprintable() else "?" for sign in record[: _SHOWN_LENGTH + 1])
        for record in records
    ]
    cut = [text[:_SHOWN_LENGTH] + "…" if len(text) > _SHOWN_LENGTH else text for text in texts]
    more = f" and {len(cut) - _SHOWN} more" if len(cut) > _SHOWN else ""
    return (", ".join(cut[:_SHOWN]) or "nothing") + more
