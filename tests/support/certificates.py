"""Certificates made on the fly, and TLS servers' contexts from them."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def authority(folder: Path) -> tuple[trustme.CA, str]:
    """Return a certificate authority and the path of a PEM file to trust it by."""
    made = trustme.CA()
    path = folder / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    return made, str(path)


def in_days(days: float) -> datetime.datetime:
    """Return the time that many days from now, whole seconds."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return moment.replace(microsecond=0)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return the context of a server that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def der(certificate: trustme.LeafCert) -> bytes:
    """Return a certificate's bytes as TLS carries them."""
    parsed = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    return parsed.public_bytes(Encoding.DER)
