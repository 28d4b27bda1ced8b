"""TLS of the probes: what can be set, one context for each distinct setting, and reading certificates."""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oculus.collectors.base import Context
from oculus.collectors.network import ProbeError
from oculus.config.decode import setting

if TYPE_CHECKING:
    import ssl


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


def client_context(tls: TlsSettings, shared: Context) -> ssl.SSLContext:
    """Return the context for these settings, which is shared: it costs 20 ms. Raises ProbeError."""
    return shared.shared(tls, lambda: _make_context(tls))


def _make_context(tls: TlsSettings) -> ssl.SSLContext:
    from gevent import ssl

    try:
        context: ssl.SSLContext = ssl.create_default_context(cafile=tls.ca_file or None)
    except OSError as error:
        raise ProbeError(f"tls.ca_file {tls.ca_file}: {error.strerror or error}") from None
    if tls.cert_file:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
        except OSError as error:
            raise ProbeError(f"tls.cert_file {tls.cert_file}: {error.strerror or error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def not_after(der: bytes) -> float:
    """Return when a certificate ends, in seconds since 1970; raises ProbeError for what is none.

    Walks X.509 (RFC 5280 §4.1) as far as the validity: Certificate → tbsCertificate → [version], serial,
    signature, issuer, validity { notBefore, notAfter }. Python tells the dates of verified certificates
    only, and these are wanted with `verify: false` too.
    """
    try:
        _, start, _ = _der(der, 0)
        _, at, _ = _der(der, start)
        tag, _, end = _der(der, at)
        fields = 3 if tag == 0xA0 else 2  # an explicit version stands before the serial number
        for _ in range(fields):
            at = end
            _, _, end = _der(der, at)
        _, at, _ = _der(der, end)
        _, _, at = _der(der, at)
        tag, start, end = _der(der, at)
        text = der[start:end].decode("ascii")
        if tag == 0x17:  # UTCTime: two digits of the year, 1950 to 2049
            text = ("20" if int(text[:2]) < 50 else "19") + text
        moment = time.strptime(text, "%Y%m%d%H%M%SZ")
    except (IndexError, ValueError) as error:
        raise ProbeError(f"the server's certificate cannot be read: {error}") from None
    return float(calendar.timegm(moment))


def _der(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, start and end of the contents of the DER element at `at`."""
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
    return tag, start, start + length
