"""TLS of whatever connects: what can be set, one context for each setting, and reading certificates.

Whom to trust is told by the system, as an administrator sets it for all programs, a company's own authority
included; where the system has no authorities, as in a slim container, by certifi.
"""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gevent.lock import BoundedSemaphore

from oculus.collectors.base import Context
from oculus.collectors.network.probe import ProbeError, explain
from oculus.config.decode import setting
from oculus.threads import NativeThreads

if TYPE_CHECKING:
    import ssl

    from gevent import socket

# How OpenSSL finds an authority in a folder: by a hash of its name.
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")

_DAY = 86_400.0  # seconds

_DER = 2  # how OpenSSL's binding calls this encoding


def _check_file(path: str) -> None:
    if path and not Path(path).is_file():
        raise ValueError(f"there is no file {path!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """`tls:`: how the server's certificate is judged."""

    verify: bool = setting(True, help="whether the certificate must be valid and fit the host name")
    ca_file: str = setting(
        "", help="PEM file of the authorities to trust instead of the system's", check=_check_file
    )
    cert_file: str = setting("", help="PEM file of the certificate to show the server", check=_check_file)
    key_file: str = setting("", help="PEM file of its key, if not in the same file", check=_check_file)

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise ValueError("has key_file without cert_file (give both, or cert_file with the key in it)")


def client_context(tls: TlsSettings, shared: Context) -> ssl.SSLContext:
    """Return the one context for these settings; raises ProbeError for files that are of no use."""
    try:
        return shared.shared(TlsContexts, TlsContexts).get(tls)
    except OSError as error:
        raise ProbeError(str(error)) from None


class TlsContexts:
    """Contexts by their settings. To make one takes up to 40 ms, so that is done once, and beside the hub."""

    def __init__(self) -> None:
        self._made: dict[TlsSettings, ssl.SSLContext] = {}
        self._making = BoundedSemaphore(1)

    def get(self, tls: TlsSettings) -> ssl.SSLContext:
        """Return the context for these settings; raises OSError whose text says what is wrong with them."""
        made = self._made.get(tls)
        if made is not None:
            return made
        with self._making:
            if tls not in self._made:
                threads = NativeThreads(1)
                try:
                    self._made[tls] = threads.run(_make_context, tls)
                finally:
                    threads.close()
        return self._made[tls]


def _make_context(tls: TlsSettings) -> ssl.SSLContext:
    from gevent import ssl

    try:
        context: ssl.SSLContext = ssl.create_default_context(cafile=tls.ca_file or None)
    except OSError as error:
        raise OSError(f"tls.ca_file {tls.ca_file}: {error.strerror or error}") from None
    if not tls.ca_file and not _system_has_authorities():
        import certifi

        context.load_verify_locations(certifi.where())
    if tls.cert_file:
        context.post_handshake_auth = True  # some servers ask for the certificate once they know the path
        try:
            # With an empty password OpenSSL gives up on a locked key, where it would ask on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file or None, password="")
        except OSError as error:
            raise OSError(f"tls.cert_file {tls.cert_file}: {error.strerror or error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _system_has_authorities() -> bool:
    """Tell whether there are authorities where OpenSSL, or SSL_CERT_FILE and SSL_CERT_DIR, look for them."""
    from gevent import ssl

    paths = ssl.get_default_verify_paths()
    try:
        if paths.cafile and Path(paths.cafile).stat().st_size:
            return True
        names = (path.name for path in Path(paths.capath).iterdir()) if paths.capath else iter(())
        return any(map(_HASHED.fullmatch, names))
    except OSError:
        return False


def wrap(sock: socket.socket, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    """Return a connected socket with TLS around it, for a server of this name; raises ProbeError for no name.

    The hands are shaken apart, so that a time limit in between finds the socket to close. The dot that keeps
    a look-up off search lists is no part of the name in a certificate.
    """
    try:
        known = name.removesuffix(".").encode("idna").decode("ascii")
    except UnicodeError:  # what leads to a proxy was never looked up
        raise ProbeError(f"{name!r} is not a host name") from None
    return context.wrap_socket(sock, server_hostname=known, do_handshake_on_connect=False)


def sent_chain(sock: ssl.SSLSocket) -> list[bytes]:
    """Return the certificates that the server sent as DER, its own first; also after a failed handshake.

    Only Python 3.13 has a public way to them, and gevent's sockets do not have that: so this looks below.
    Where there is nothing to be seen it is the server's own alone, and none if that was not believed.
    """
    read = getattr(getattr(sock, "_sslobj", None), "get_unverified_chain", None)
    if read is not None and (chain := read()):
        return [certificate.public_bytes(_DER) for certificate in chain]
    try:
        own = sock.getpeercert(binary_form=True)
    except ValueError:  # no handshake has succeeded
        own = None
    return [own] if own else []


def days_left(sock: ssl.SSLSocket) -> list[float]:
    """Return the days that each certificate which the server sent has left, negative where it has ended."""
    present = time.time()
    return [round((not_after(der) - present) / _DAY, 3) for der in sent_chain(sock)]


def shake_hands(sock: ssl.SSLSocket) -> list[float]:
    """Shake hands and return `days_left`; a ProbeError for a certificate that is refused tells them, too."""
    try:
        sock.do_handshake()
    except OSError as refused:
        if days := days_left(sock):
            raise ProbeError(explain(refused), {"cert_days": min(days)}) from None
        raise
    return days_left(sock)


def not_after(der: bytes) -> float:
    """Return when a certificate ends, in seconds since 1970; raises ProbeError for what is none.

    Walks X.509 (RFC 5280 §4.1) as far as the validity: Certificate → tbsCertificate → [version], serial,
    signature, issuer, validity { notBefore, notAfter }. Python tells the dates of verified certificates
    only, and these are wanted with `verify: false` too.
    """
    try:
        _, start, _ = read_element(der, 0)
        _, at, _ = read_element(der, start)
        tag, _, end = read_element(der, at)
        fields = 3 if tag == 0xA0 else 2  # an explicit version stands before the serial number
        for _ in range(fields):
            at = end
            _, _, end = read_element(der, at)
        _, at, _ = read_element(der, end)
        _, _, at = read_element(der, at)
        tag, start, end = read_element(der, at)
        text = der[start:end].decode("ascii")
        if tag == 0x17:  # UTCTime: two digits of the year, 1950 to 2049
            text = ("20" if int(text[:2]) < 50 else "19") + text
        moment = time.strptime(text, "%Y%m%d%H%M%SZ")
    except (IndexError, ValueError) as error:
        raise ProbeError(f"the server's certificate cannot be read: {error}") from None
    return float(calendar.timegm(moment))


def read_element(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, start and end of the contents of the DER element at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    return tag, start, start + length
