"""The TCP probe that talks: dialogues, TLS and STARTTLS, against real servers on loopback."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from aiosmtpd.controller import Controller
from gevent import socket

from oculus.collectors.network.dialogue import MAX_BYTES, Conversation, Step, check_steps, shown
from oculus.collectors.network.expect import Pattern
from oculus.collectors.network.probe import ProbeError
from oculus.collectors.network.starttls import StartTls
from oculus.collectors.network.tcp import TcpSettings
from oculus.collectors.network.tls import TlsSettings
from oculus.config import loads
from oculus.errors import ConfigError
from oculus.model import Sample
from oculus.supervise import Watchdog
from oculus.vocabulary import vocabulary
from tests.support import probes
from tests.support.certificates import authority, server_context
from tests.support.probes import failure
from tests.support.servers import TcpServer, free_port, full_port

TcpServers = Callable[..., TcpServer]

UNVERIFIED = TlsSettings(verify=False)
DEEP = {"dns", "connect", "rtt", "up"}


def check(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe once."""
    return probes.run(probes.probe("tcp", target, **settings))


def step(expect: str = "", send: str = "", starttls: bool = False) -> Step:
    """Return a step of a dialogue."""
    return Step(expect=Pattern.parse(expect) if expect else None, send=send, starttls=starttls)


def says(*lines: bytes, then: Callable[[socket.socket], object] = lambda sock: None) -> probes.Serve:
    """Serve by sending each line in turn, and reading one of the client's behind each but the last."""

    def serve(sock: socket.socket) -> None:
        for index, line in enumerate(lines):
            if index:
                sock.recv(4096)
            sock.sendall(line)
        then(sock)

    return serve


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[ssl.SSLContext, TlsSettings]:
    """A server's context for 127.0.0.1, and the settings that trust it."""
    ca, path = authority(tmp_path)
    return server_context(ca.issue_cert("127.0.0.1")), TlsSettings(ca_file=path)


# -- dialogues -----------------------------------------------------------------------------------------


def test_a_dialogue_goes_back_and_forth(tcp_server: TcpServers) -> None:
    """Lines are awaited and sent in turn; groups of what was found stand in what is sent next."""
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"noise\r\n220 mail.test ESMTP ready\r\n")
        heard.append(sock.recv(100))
        sock.sendall(b"250 hello 5$\r\n")
        heard.append(sock.recv(100))

    steps = (
        step("^220 (?P<host>[^ ]+) (.+)"),
        step(send="HELO ${2} from $host, all of it: $0 for 5$$ or 6 $\r"),
        step("^250", send="QUIT\r\n"),
    )
    server = tcp_server(serve)
    samples = check(f"127.0.0.1:{server.port}", steps=steps)
    assert set(samples) == DEEP | {"response"}
    assert samples["rtt"].value == samples["connect"].value
    assert 0.0 < samples["response"].value < 5000.0
    gevent.sleep(0.02)
    assert heard == [
        b"HELO ESMTP ready from mail.test, all of it: 220 mail.test ESMTP ready for 5$ or 6 $\r\n",
        b"QUIT\r\n",
    ]


def test_a_group_that_found_nothing_is_empty(tcp_server: TcpServers) -> None:
    """As in blackbox_exporter, a group without a match is replaced by nothing."""
    heard: list[bytes] = []
    server = tcp_server(says(b"abc\n", then=lambda sock: heard.append(sock.recv(100))))
    check(f"127.0.0.1:{server.port}", steps=(step("a(x)?b(c)", send="<$1|$2>"),))
    gevent.sleep(0.02)
    assert heard == [b"<|c>\n"]


def test_a_last_line_needs_no_end(tcp_server: TcpServers) -> None:
    """What came before the server closed the connection is a line, too."""
    server = tcp_server(says(b"+PO", then=lambda sock: sock.sendall(b"NG")))
    assert check(f"127.0.0.1:{server.port}", steps=(step(r"^\+PONG$"),))["up"].value == 1.0


def test_what_came_instead_is_told(tcp_server: TcpServers) -> None:
    """A server that says something else and waits, or closes: the reason has its last line."""
    server = tcp_server(says(b"554 no\x1b[2J\r\n", then=lambda sock: sock.recv(1)))
    samples = check(f"127.0.0.1:{server.port}", steps=(step("^220"),), timeout=0.7)
    told = "timed out before a line that matches '^220'; the last was '554 no·[2J'"
    assert failure(samples) == ("response", told)
    assert set(samples) == {"dns", "connect", "up"}
    server = tcp_server(says(b"554 no\r\n"))
    told = "connection closed before a line that matches '^220'; the last was '554 no'"
    assert failure(check(f"127.0.0.1:{server.port}", steps=(step("^220"),))) == ("response", told)
    server = tcp_server()
    told = "connection closed before a line that matches '^220'"
    assert failure(check(f"127.0.0.1:{server.port}", steps=(step("^220"),))) == ("response", told)


def test_a_server_that_never_speaks_times_out(tcp_server: TcpServers) -> None:
    """Half-open: connected, and then silence."""
    server = tcp_server(lambda sock: sock.recv(1))
    samples = check(f"127.0.0.1:{server.port}", steps=(step("."),), timeout=0.7)
    assert failure(samples) == ("response", "timed out before a line that matches '.'")


def test_a_server_that_stalls_where_nothing_is_expected(tcp_server: TcpServers) -> None:
    """It takes no more of what is sent, or does not go on with TLS: the attempt's own limit ends that."""
    server = tcp_server(lambda sock: gevent.sleep(30))
    for steps, phase in (
        ((step(send="x" * 9_000_000),), "response"),
        ((step(send="x"), step(starttls=True)), "tls"),
    ):
        samples = check(f"127.0.0.1:{server.port}", steps=steps, timeout=0.7)
        assert failure(samples) == (phase, "timed out after 0.7 s")


def test_a_reset_is_told(tcp_server: TcpServers) -> None:
    """The system's reason, and the phase where it happened."""
    server = tcp_server(probes.reset)
    samples = check(f"127.0.0.1:{server.port}", steps=(step(send="x\r\n\r\n"), step(".")))
    assert failure(samples) == ("response", "connection reset by peer")


def test_dropped_packets_and_closed_ports_are_failures_to_connect() -> None:
    """A probe that would talk fails where a plain one does."""
    with full_port() as port:
        samples = check(f"127.0.0.1:{port}", steps=(step("x"),), timeout=0.2)
        assert failure(samples) == ("connect", "timed out after 0.2 s")
    assert failure(check(f"127.0.0.1:{free_port()}", tls=True)) == ("connect", "connection refused")


@pytest.mark.parametrize("repeated", [b"x" * 8192, b"\n" * 8192, b"ab\r\n" * 2000], ids=["x", "empty", "ab"])
def test_a_server_without_end_is_cut_off(tcp_server: TcpServers, repeated: bytes) -> None:
    """Bytes are bounded, with and without line ends, and other greenlets run meanwhile."""

    def serve(sock: socket.socket) -> None:
        while True:
            sock.sendall(repeated)
            gevent.sleep(0)

    server = tcp_server(serve)
    phase, error = failure(check(f"127.0.0.1:{server.port}", steps=(step("never"),)))
    assert phase == "response"
    assert error == f"more than {MAX_BYTES // 1024} KiB and still not what was expected"


def test_a_long_line_is_matched_by_its_beginning(tcp_server: TcpServers) -> None:
    """The rest of the line is passed over, and the next one is a line again."""
    server = tcp_server(says(b"a" * 5000 + b"z\nz\n"))
    assert check(f"127.0.0.1:{server.port}", steps=(step("^a{1000}"), step("^z$")))["up"].value == 1.0


@pytest.mark.alone
def test_an_expression_that_never_ends_does_not_hold_the_program(tcp_server: TcpServers) -> None:
    """A search that would take years ends with the attempt, and the hub is not held up."""
    server = tcp_server(says(b"a" * 60 + b"!\n" * 3, then=lambda sock: sock.recv(1)))
    watchdog = Watchdog()
    with gevent.Timeout(10):
        watching, started = gevent.spawn(watchdog.run), time.monotonic()
        phase, _ = failure(check(f"127.0.0.1:{server.port}", steps=(step("^(a+)+$"),), timeout=0.7))
        watching.kill()
    assert phase == "response"
    assert watchdog.total < 0.5 * (time.monotonic() - started)  # a hub that is held is late all the time


def test_steps_are_checked() -> None:
    """A reference to no group, a step without anything, and TLS twice are mistakes of the configuration."""
    with pytest.raises(ValueError, match=re.escape("send: $2 is no group of an expect before it")):
        check_steps((step("a(b)"), step(send="$2")))
    with pytest.raises(ValueError, match=re.escape("$word is no group")):
        check_steps((step(send="pass$word"),))
    check_steps(
        (
            step("(?P<word>a)"),
            step(send="pass$$word ${word} $1 $0 5 $"),
        )
    )
    with pytest.raises(ValueError, match="does nothing"):
        step()
    for twice in (
        {"starttls": "smtp", "steps": (step(starttls=True),)},
        {"steps": (step(starttls=True),) * 2},
    ):
        with pytest.raises(ValueError, match="TLS begins twice"):
            TcpSettings(target="x:1", **twice)
    with pytest.raises(ValueError, match="server_name has no meaning"):
        TcpSettings(target="x:1", server_name="y")


def test_the_settings_are_read() -> None:
    """`tls` is true or a mapping; steps are a list; a send never shows."""
    read = loads(
        """
collectors:
  - {type: network, probe: tcp, target: "a:1", tls: true}
  - {type: network, probe: tcp, target: "a:2", tls: {verify: false}, server_name: b.test}
  - {type: network, probe: tcp, target: "a:3", starttls: smtp}
  - type: network
    probe: tcp
    target: a:4
    steps: [{expect: "^220 (.*)"}, {send: "PASS $1 $${1}"}, {starttls: true}]
""",
        "c.yaml",
        vocabulary(),
    )
    first, second, third, fourth = (spec.settings for spec in read.collectors)
    assert isinstance(first, TcpSettings)
    assert isinstance(second, TcpSettings)
    assert isinstance(third, TcpSettings)
    assert isinstance(fourth, TcpSettings)
    assert first.tls is True
    assert second.tls == UNVERIFIED
    assert third.starttls == "smtp"
    assert [one.send for one in fourth.steps] == ["", "PASS $1 ${1}", ""]
    assert "PASS" not in repr(fourth)
    assert [one.speaks_tls for one in (first, second, third, fourth)] == [True] * 4
    for wrong, told in (("maybe", "'maybe' is neither true nor false"), ("{verfy: no}", "unknown key")):
        text = f"collectors: [{{type: network, probe: tcp, target: 'a:1', tls: {wrong}}}]"
        with pytest.raises(ConfigError, match=told):
            loads(text, "c.yaml", vocabulary())


def test_what_a_server_said_is_shown_briefly() -> None:
    """Not longer than a hundred letters, and without what a terminal would obey."""
    assert shown(b"a" * 3000) == repr("a" * 99 + "…")
    assert shown(b" \xff\x00\r\n") == repr("\ufffd·")


# -- TLS -----------------------------------------------------------------------------------------------


def test_tls_at_once(tcp_server: TcpServers, trusted: tuple[ssl.SSLContext, TlsSettings]) -> None:
    """The handshake is a phase, `.rtt` stays the connect, and the dialogue goes on inside."""
    context, tls = trusted
    server = tcp_server(says(b"hello\n", then=lambda sock: sock.recv(1)), context=context)
    samples = check(f"127.0.0.1:{server.port}", tls=tls)
    assert set(samples) == DEEP | {"tls"}
    assert samples["rtt"].value == samples["connect"].value
    samples = check(f"127.0.0.1:{server.port}", tls=tls, steps=(step("^hello$"),))
    assert set(samples) == DEEP | {"tls", "response"}


def test_the_certificate_is_judged(
    tcp_server: TcpServers, trusted: tuple[ssl.SSLContext, TlsSettings]
) -> None:
    """By the system's authorities with `tls: true`, by a file's, by another name, or not at all."""
    context, tls = trusted
    server = tcp_server(lambda sock: sock.recv(1), context=context)
    target = f"127.0.0.1:{server.port}"
    phase, error = failure(check(target, tls=True))
    assert (phase, error) == ("tls", "certificate not trusted: unable to get local issuer certificate")
    phase, error = failure(check(target, tls=tls, server_name="other.test"))
    assert phase == "tls"
    assert error.startswith("certificate not trusted: Hostname mismatch")
    assert check(target, tls=UNVERIFIED, server_name="other.test")["up"].value == 1.0


def test_a_server_that_speaks_no_tls(tcp_server: TcpServers) -> None:
    """Plain text, silence or a reset in the handshake have their reasons, and `.connect` is left."""
    server = tcp_server(says(b"220 mail.test\r\n", then=lambda sock: sock.recv(1)))
    samples = check(f"127.0.0.1:{server.port}", tls=UNVERIFIED)
    assert failure(samples) == ("tls", "TLS failed: wrong version number")
    assert set(samples) == {"dns", "connect", "up"}
    server = tcp_server(lambda sock: gevent.sleep(5))
    assert failure(check(f"127.0.0.1:{server.port}", tls=UNVERIFIED, timeout=0.7)) == (
        "tls", "timed out after 0.7 s",
    )  # fmt: skip
    server = tcp_server()
    phase, _ = failure(check(f"127.0.0.1:{server.port}", tls=UNVERIFIED))
    assert phase == "tls"


# -- STARTTLS ------------------------------------------------------------------------------------------


class Hello:
    """What the SMTP server does with mail: nothing."""


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """A real SMTP server that demands STARTTLS; its port, and the file of its authority."""
    ca, path = authority(tmp_path)
    port = free_port()
    context = server_context(ca.issue_cert("mail.test"))
    controller = Controller(
        Hello(), hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True
    )
    controller.start()
    yield port, path
    controller.stop()


def test_a_real_smtp_server(smtp: tuple[int, str]) -> None:
    """STARTTLS by name, and as a dialogue of one's own that goes on inside TLS."""
    port, ca_file = smtp
    tls = TlsSettings(ca_file=ca_file)
    samples = check(f"127.0.0.1:{port}", starttls="smtp", tls=tls, server_name="mail.test")
    assert set(samples) == DEEP | {"tls"}
    steps = (
        step("^220 ", send="EHLO me.test\r"),
        step("^250[- ]STARTTLS"),
        step("^250 ", send="STARTTLS\r"),
        step("^220 ", starttls=True),
        step(send="EHLO me.test\r"),
        step("^250 ", send="QUIT\r"),
        step("^221 "),
    )
    samples = check(f"127.0.0.1:{port}", steps=steps, tls=tls, server_name="mail.test")
    assert set(samples) == DEEP | {"tls", "response"}
    samples = check(f"127.0.0.1:{port}", starttls="smtp", tls=tls)
    phase, error = failure(samples)
    assert phase == "tls"
    assert "IP address mismatch" in error


LDAP_ANSWER = bytes.fromhex("300c02010178070a01000400") + b"\x04\x00"
# Active Directory writes each length in five bytes.
LDAP_LONG = bytes.fromhex("308400000010020101788400000007") + bytes.fromhex("0a010004000400")
FEATURES = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' id='1' version='1.0'>"
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
)

XMPP_HELLO = (
    b"<?xml version='1.0'?><stream:stream to='127.0.0.1' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'>"
)

TALKS: list[tuple[StartTls, list[bytes], list[bytes]]] = [
    (
        "smtp",
        [b"220-mail.test\r\n220 ready\r\n", b"250-mail.test\r\n250 STARTTLS\r\n", b"220 go\r\n"],
        [b"EHLO [127.0.0.1]\r\n", b"STARTTLS\r\n"],
    ),
    (
        "imap",
        [b"* OK [CAPABILITY IMAP4rev1] hi\r\n", b"* BYE-ish news\r\na OK begin\r\n"],
        [b"a STARTTLS\r\n"],
    ),
    ("pop3", [b"+OK hi\r\n", b"+OK begin\r\n"], [b"STLS\r\n"]),
    ("ftp", [b"220-welcome\r\nto all\r\n220 hi\r\n", b"234 go\r\n"], [b"AUTH TLS\r\n"]),
    ("ldap", [b"", LDAP_ANSWER], [b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"]),
    ("ldap", [b"", LDAP_LONG], [b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"]),
    ("postgres", [b"", b"S"], [b"\x00\x00\x00\x08\x04\xd2\x16/"]),
    (
        "xmpp",
        [b"", FEATURES + b"</stream:features>", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"],
        [
            XMPP_HELLO,
            b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        ],
    ),
]


@pytest.mark.parametrize(("protocol", "server_says", "client_says"), TALKS)
def test_each_protocol_is_asked_in_its_own_words(
    tcp_server: TcpServers,
    trusted: tuple[ssl.SSLContext, TlsSettings],
    protocol: StartTls,
    server_says: list[bytes],
    client_says: list[bytes],
) -> None:
    """The words up to TLS, the handshake behind them, and what is then said inside."""
    context, tls = trusted
    heard: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        for index, line in enumerate(server_says):
            if index:
                heard.append(sock.recv(4096))
            for sign in (line[:3], line[3:]):  # a reply may come in pieces
                if sign:
                    sock.sendall(sign)
                    gevent.sleep(0.005)
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(b"inside\n")
            secure.recv(1)

    server = tcp_server(serve)
    steps = (step("^inside$"),)
    samples = check(f"127.0.0.1:{server.port}", starttls=protocol, tls=tls, steps=steps)
    assert set(samples) == DEEP | {"tls", "response"}
    assert heard == client_says


REFUSALS: list[tuple[StartTls, list[bytes], str]] = [
    ("smtp", [b"554 go away\r\n"], "STARTTLS refused: the server said '554 go away'"),
    ("smtp", [b"220 hi\r\n", b"250 x\r\n", b"454 no\r\n"], "STARTTLS refused: the server said '454 no'"),
    ("smtp", [b"220 hi\r\n"], "connection closed before TLS began"),
    ("imap", [b"* PREAUTH hi\r\n"], "STARTTLS refused: the server said '* PREAUTH hi'"),
    ("imap", [b"* OK hi\r\n", b"a BAD no\r\n"], "STARTTLS refused: the server said 'a BAD no'"),
    ("pop3", [b"+OK hi\r\n", b"-ERR no\r\n"], "STARTTLS refused: the server said '-ERR no'"),
    ("ftp", [b"220 hi\r\n", b"534 no\r\n"], "STARTTLS refused: the server said '534 no'"),
    ("ldap", [b"", LDAP_ANSWER.replace(b"\x0a\x01\x00", b"\x0a\x01\x02")], "STARTTLS refused: result code 2"),
    ("ldap", [b"", b"HTTP/1.1 400"], "the answer is not LDAP: 'HT'"),
    ("ldap", [b"", b"\x30\x84\xff\xff\xff\xff"], "the LDAP answer cannot be read: too long"),
    ("ldap", [b"", b"\x30\x02\x02\x05"], "the LDAP answer cannot be read: index out of range"),
    ("postgres", [b"", b"N"], "STARTTLS refused: the server has TLS switched off"),
    ("postgres", [b"", b"E"], "the answer is not PostgreSQL's: 'E'"),
    ("postgres", [b"", b""], "connection closed before the answer"),
    ("postgres", [b"", b"SE"], "the server went on in plain text where TLS was to begin"),
    ("pop3", [b"+OK\r\n", b"+OK\r\n+OK more\r\n"], "the server went on in plain text where TLS was to begin"),
    ("xmpp", [b"", b"<stream:stream><stream:features/>"], "STARTTLS refused: the server does not offer it"),
    (
        "xmpp",
        [b"", FEATURES + b"</stream:features>", b"<failure/>"],
        "STARTTLS refused: the server said '<failure/>'",
    ),
    (
        "xmpp",
        [b"", b"<stream:stream><stream:error><x/></stream:error>"],
        "STARTTLS refused: the server said '</stream:error>'",
    ),
]


@pytest.mark.parametrize(("protocol", "server_says", "reason"), REFUSALS)
def test_a_refusal_is_told(
    tcp_server: TcpServers, protocol: StartTls, server_says: list[bytes], reason: str
) -> None:
    """In the server's words where it has some; plain text before the handshake is not believed."""
    server = tcp_server(says(*server_says))
    samples = check(f"127.0.0.1:{server.port}", starttls=protocol, tls=UNVERIFIED)
    assert failure(samples) == ("starttls", reason) or failure(samples) == ("tls", reason)
    assert set(samples) == {"dns", "connect", "up"}


def test_a_protocol_that_never_ends_is_cut_off(tcp_server: TcpServers) -> None:
    """A greeting without end is bounded, too."""

    def serve(sock: socket.socket) -> None:
        while True:
            sock.sendall(b"220-x\r\n" * 1000)
            gevent.sleep(0)

    server = tcp_server(serve)
    phase, error = failure(check(f"127.0.0.1:{server.port}", starttls="smtp"))
    assert (phase, error) == ("starttls", "more than 64 KiB and still not what was expected")


def test_a_conversation_is_cut_short(tcp_server: TcpServers) -> None:
    """Fewer bytes than were wanted, and none at all, have a word of their own."""
    for sent, reason in ((b"ab", "answer cut short"), (b"", "connection closed before the answer")):
        server = tcp_server(lambda sock, sent=sent: sock.sendall(sent))
        talk = Conversation(socket.create_connection(("127.0.0.1", server.port)))
        with pytest.raises(ProbeError, match=reason):
            talk.exactly(3)
        talk.close()
