"""How protocols that begin in plain text are asked for TLS, each by its standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from oculus.collectors.network.dialogue import Conversation, shown
from oculus.collectors.network.probe import ProbeError, Trace
from oculus.collectors.network.tls import read_element

if TYPE_CHECKING:
    import ssl

StartTls = Literal["smtp", "imap", "pop3", "ftp", "ldap", "postgres", "xmpp"]

# SMTP wants to be told who calls; a client without a name of its own gives an address (RFC 5321 §4.1.3).
_EHLO = b"EHLO [127.0.0.1]\r\n"

# ExtendedRequest (tag 0x77) of message 1, whose name (0x80) is the OID 1.3.6.1.4.1.1466.20037.
_LDAP_REQUEST = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x16" + b"1.3.6.1.4.1.1466.20037"
_LDAP_MOST = 4096  # bytes of its answer

# Length of the message, and the number that stands for SSLRequest instead of a protocol's version.
_POSTGRES_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def secure(
    talk: Conversation, trace: Trace, context: ssl.SSLContext, name: str, protocol: StartTls | None
) -> None:
    """Begin TLS, after the words that a protocol wants first. Raises OSError, and ProbeError for a refusal.

    Enters the phases `starttls`, if there is a protocol, and `tls`.
    """
    if protocol is not None:
        trace.enter("starttls")
        _WAYS[protocol](talk, name)
    trace.enter("tls")
    talk.secure(context, name)


def check_server_name(name: str) -> None:
    """Raise ValueError unless `name` is empty or can be asked for in a handshake."""
    try:
        name.encode("idna")
    except UnicodeError:
        name = "."
    if name.startswith(".") or not name.isprintable() or any(sign in name for sign in " /:'\"<>&"):
        raise ValueError("is not a host name (such as db.example.com)")


def _refused(answer: bytes) -> ProbeError:
    return ProbeError(f"STARTTLS refused: the server said {shown(answer)}")


def _line(talk: Conversation) -> bytes:
    line = talk.line()
    if line is None:
        raise ProbeError("connection closed before TLS began")
    return line


def _reply(talk: Conversation, code: bytes) -> None:
    """Read a reply of SMTP or FTP, whose last line has a space behind the code (RFC 5321 §4.2.1)."""
    line = _line(talk)
    if line[:3] != code:
        raise _refused(line)
    while line[:4] != code + b" " and line != code:
        line = _line(talk)


def _smtp(talk: Conversation, host: str) -> None:
    """RFC 3207."""
    _reply(talk, b"220")
    talk.send(_EHLO)
    _reply(talk, b"250")
    talk.send(b"STARTTLS\r\n")
    _reply(talk, b"220")


def _ftp(talk: Conversation, host: str) -> None:
    """RFC 4217 §4."""
    _reply(talk, b"220")
    talk.send(b"AUTH TLS\r\n")
    _reply(talk, b"234")


def _pop3(talk: Conversation, host: str) -> None:
    """RFC 2595 §4."""
    for command in (b"", b"STLS\r\n"):
        if command:
            talk.send(command)
        if not (line := _line(talk)).startswith(b"+OK"):
            raise _refused(line)


def _imap(talk: Conversation, host: str) -> None:
    """RFC 9051 §6.2.1."""
    if not (line := _line(talk)).upper().startswith(b"* OK"):
        raise _refused(line)
    talk.send(b"a STARTTLS\r\n")
    while (line := _line(talk)).startswith(b"* "):
        pass  # news about mailboxes
    if not line.upper().startswith(b"A OK"):
        raise _refused(line)


def _ldap(talk: Conversation, host: str) -> None:
    """RFC 4511 §4.14: an LDAPMessage { messageID, extendedResp { resultCode … } } in BER."""
    talk.send(_LDAP_REQUEST)
    head = talk.exactly(2)
    if head[0] != 0x30:
        raise ProbeError(f"the answer is not LDAP: {shown(head)}")
    if head[1] & 0x80:
        head += talk.exactly(head[1] & 0x7F)
    try:
        _, start, end = read_element(head, 0)
        if end > _LDAP_MOST:
            raise ValueError("too long")
        message = head + talk.exactly(end - start)
        _, _, after_id = read_element(message, start)
        tag, inner, _ = read_element(message, after_id)
        _, first, last = read_element(message, inner)
    except (IndexError, ValueError) as error:
        raise ProbeError(f"the LDAP answer cannot be read: {error}") from None
    code = int.from_bytes(message[first:last], "big")
    if tag != 0x78 or code:
        raise ProbeError(f"STARTTLS refused: result code {code}")


def _postgres(talk: Conversation, host: str) -> None:
    """PostgreSQL's manual, chapter "Frontend/Backend Protocol", section "SSL Session Encryption"."""
    talk.send(_POSTGRES_REQUEST)
    answer = talk.exactly(1)
    if answer == b"N":
        raise ProbeError("STARTTLS refused: the server has TLS switched off")
    if answer != b"S":
        raise ProbeError(f"the answer is not PostgreSQL's: {shown(answer)}")


def _xmpp(talk: Conversation, host: str) -> None:
    """RFC 6120 §5.4."""
    talk.send(
        f"<?xml version='1.0'?><stream:stream to='{host}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
    )
    offered = False
    while not (piece := talk.through(b">")).endswith((b"</stream:features>", b"<stream:features/>")):
        offered = offered or b"urn:ietf:params:xml:ns:xmpp-tls" in piece
        if piece.endswith((b"</stream:error>", b"</stream:stream>")):
            raise _refused(piece)
    if not offered:
        raise ProbeError("STARTTLS refused: the server does not offer it")
    talk.send(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    answer = talk.through(b">")
    if not answer.lstrip().startswith(b"<proceed"):
        raise _refused(answer)


_WAYS: dict[StartTls, Callable[[Conversation, str], None]] = {
    "smtp": _smtp,
    "imap": _imap,
    "pop3": _pop3,
    "ftp": _ftp,
    "ldap": _ldap,
    "postgres": _postgres,
    "xmpp": _xmpp,
}
