"""The TLS probe against real servers, with certificates made here."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket

from oculus.collectors.network.certificate import CertificateExpect, CertificateSettings
from oculus.collectors.network.expect import Comparison
from oculus.collectors.network.http_expect import ExpectSettings
from oculus.collectors.network.tls import TlsSettings, sent_chain
from oculus.config import loads
from oculus.model import Sample
from oculus.vocabulary import vocabulary
from tests.support import probes
from tests.support.certificates import authority, der, in_days, server_context
from tests.support.probes import failure
from tests.support.servers import TcpServer, free_port, full_port

TcpServers = Callable[..., TcpServer]

UNVERIFIED = TlsSettings(verify=False)
PHASES = {"dns", "connect", "tls"}


def check(target: str, **settings: Any) -> dict[str, Sample]:
    """Probe once."""
    return probes.run(probes.probe("tls", target, **settings))


@pytest.fixture
def shown(tcp_server: TcpServers) -> Callable[..., str]:
    """Return the target of a server that shows a certificate."""

    def start(certificate: trustme.LeafCert, version: ssl.TLSVersion | None = None) -> str:
        context = server_context(certificate)
        if version is not None:
            context.maximum_version = version
        return f"127.0.0.1:{tcp_server(lambda sock: sock.recv(1), context=context).port}"

    return start


Shown = Callable[..., str]


def test_a_certificate_that_is_right(tmp_path: Path, shown: Shown) -> None:
    """Days left, the whole time, and the phases that add up to it."""
    ca, path = authority(tmp_path)
    target = shown(ca.issue_cert("127.0.0.1", not_after=in_days(30)))
    samples = check(target, tls=TlsSettings(ca_file=path))
    assert set(samples) == {"cert_days", "rtt", "up"} | PHASES
    assert samples["cert_days"].value == pytest.approx(30, abs=0.01)
    assert samples["up"].value == 1.0
    assert samples["rtt"].value == pytest.approx(sum(samples[name].value for name in PHASES), abs=5.0)
    assert samples["rtt"].value < 1000.0
    assert {sample.symbol.rpartition(".")[0] for sample in samples.values()} == {"net.tls.t"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("name", "dates", "reason", "days"),
    [
        ("127.0.0.1", {"not_after": in_days(-3)}, "certificate has expired", -3),
        ("127.0.0.1", {"not_before": in_days(2), "not_after": in_days(9)},
         "certificate is not yet valid", 9),
        ("other.test", {"not_after": in_days(9)},
         "IP address mismatch, certificate is not valid for '127.0.0.1'.", 9),
    ],
)  # fmt: skip
def test_a_certificate_that_is_refused(
    tmp_path: Path, shown: Shown, name: str, dates: dict[str, Any], reason: str, days: float,
    version: ssl.TLSVersion,
) -> None:  # fmt: skip
    """Expired, not yet valid, of another name: the reason, and the days nevertheless; up if not verified."""
    ca, path = authority(tmp_path)
    target = shown(ca.issue_cert(name, **dates), version)
    samples = check(target, tls=TlsSettings(ca_file=path))
    assert failure(samples) == ("tls", f"certificate not trusted: {reason}")
    assert set(samples) == {"dns", "connect", "cert_days", "up"}
    assert samples["cert_days"].value == pytest.approx(days, abs=0.01)
    samples = check(target, tls=UNVERIFIED)
    assert samples["up"].value == 1.0
    assert samples["cert_days"].value == pytest.approx(days, abs=0.01)


def test_a_certificate_of_nobody_we_know(tmp_path: Path, shown: Shown) -> None:
    """Of an unknown authority, and one that signed itself, each in its own words."""
    ca, _ = authority(tmp_path)
    target = shown(ca.issue_cert("127.0.0.1", not_after=in_days(5)))
    samples = check(target)
    assert failure(samples) == ("tls", "certificate not trusted: unable to get local issuer certificate")
    assert samples["cert_days"].value == pytest.approx(5, abs=0.01)


def test_a_certificate_that_signed_itself(tcp_server: TcpServers, tmp_path: Path) -> None:
    """An authority's own certificate, shown as the server's."""
    ca, _ = authority(tmp_path)
    ca.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    server = tcp_server(lambda sock: sock.recv(1), context=context)
    samples = check(f"127.0.0.1:{server.port}")
    assert failure(samples) == ("tls", "certificate not trusted: self-signed certificate")
    assert samples["cert_days"].value > 300_000


def chain_with(tmp_path: Path, days: float) -> tuple[trustme.LeafCert, str]:
    """Return a certificate for 30 days below an authority that ends in `days`, and what to trust."""
    root, path = authority(tmp_path)
    between = root.create_child_ca()
    leaf = between.issue_cert("127.0.0.1", not_after=in_days(30))
    # trustme's authorities end in the year 3000: this one is signed again with another end.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    old = x509.load_pem_x509_certificate(between.cert_pem.bytes())
    key = load_pem_private_key(root.private_key_pem.bytes(), None)
    builder = x509.CertificateBuilder(
        old.issuer, old.subject, old.public_key(), old.serial_number, in_days(-9), in_days(days),
        list(old.extensions),
    )  # fmt: skip
    signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    leaf.cert_chain_pems[1] = trustme.Blob(signed.public_bytes(Encoding.PEM))
    leaf.private_key_and_cert_chain_pem = trustme.Blob(
        leaf.private_key_pem.bytes() + b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    )
    return leaf, path


def test_the_first_end_in_the_chain_counts(tmp_path: Path, shown: Shown) -> None:
    """An authority in between ends before the server's own certificate: that is when the site breaks."""
    leaf, path = chain_with(tmp_path, 12)
    target = shown(leaf)
    for tls in (TlsSettings(ca_file=path), UNVERIFIED):
        samples = check(target, tls=tls)
        assert samples["up"].value == 1.0
        assert samples["cert_days"].value == pytest.approx(12, abs=0.01)
    wanted = CertificateExpect(cert_days=Comparison.parse("> 14"))
    samples = check(target, tls=UNVERIFIED, expect=wanted)
    phase, error = failure(samples)
    assert phase == "expect"
    assert re.fullmatch(r"cert_days is 1[12]\.\d+, expected > 14 \(certificate 2 of 2 in the chain\)", error)
    assert set(samples) == PHASES | {"cert_days", "up"}


def test_the_http_probe_counts_the_chain_too(tcp_server: TcpServers, tmp_path: Path) -> None:
    """Both probes tell the same of one server, and HTTP can expect it."""
    leaf, path = chain_with(tmp_path, 12)
    server = tcp_server(probes.answer(probes.ok()), context=server_context(leaf))
    expect = ExpectSettings(cert_days=Comparison.parse("> 14"))
    made = probes.probe(
        "http", f"https://127.0.0.1:{server.port}/", tls=TlsSettings(ca_file=path), expect=expect
    )
    samples = probes.run(made)
    assert samples["cert_days"].value == pytest.approx(12, abs=0.01)
    phase, error = failure(samples)
    assert phase == "expect"
    assert error.startswith("cert_days is 1")


def test_an_authority_in_between_has_ended(tmp_path: Path, shown: Shown) -> None:
    """Verified it is refused, and in both cases the days are below zero."""
    leaf, path = chain_with(tmp_path, -1)
    target = shown(leaf)
    samples = check(target, tls=TlsSettings(ca_file=path))
    assert failure(samples) == ("tls", "certificate not trusted: certificate has expired")
    assert samples["cert_days"].value == pytest.approx(-1, abs=0.01)
    assert check(target, tls=UNVERIFIED)["cert_days"].value == pytest.approx(-1, abs=0.01)


def test_days_are_expected(tmp_path: Path, shown: Shown) -> None:
    """Enough days are up, too few are down by what is expected alone."""
    ca, _ = authority(tmp_path)
    target = shown(ca.issue_cert("127.0.0.1", not_after=in_days(10)))
    enough = CertificateExpect(cert_days=Comparison.parse("> 9.5"))
    assert check(target, tls=UNVERIFIED, expect=enough)["up"].value == 1.0
    more = CertificateExpect(cert_days=Comparison.parse(">= 14"))
    assert failure(check(target, tls=UNVERIFIED, expect=more))[0] == "expect"


def test_the_name_that_is_asked_for(tcp_server: TcpServers, tmp_path: Path) -> None:
    """`server_name` goes to the server, which chooses by it, and is what the certificate must fit."""
    ca, path = authority(tmp_path)
    asked: list[str | None] = []
    context = server_context(ca.issue_cert("one.test"))
    other = server_context(ca.issue_cert("two.test", not_after=in_days(2)))

    def choose(sock: ssl.SSLObject, name: str | None, original: ssl.SSLContext) -> None:
        asked.append(name)
        if name == "two.test":
            sock.context = other

    context.sni_callback = choose
    target = f"127.0.0.1:{tcp_server(lambda sock: sock.recv(1), context=context).port}"
    tls = TlsSettings(ca_file=path)
    assert check(target, tls=tls, server_name="one.test")["cert_days"].value > 1000
    assert check(target, tls=tls, server_name="two.test")["cert_days"].value == pytest.approx(2, abs=0.01)
    assert asked == ["one.test", "two.test"]


def test_the_chain_where_python_hides_it(tmp_path: Path, shown: Shown) -> None:
    """Without the private way to the chain the server's own certificate remains."""
    leaf, _ = chain_with(tmp_path, 12)
    host, _, port = shown(leaf).rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(socket.create_connection((host, int(port)))) as sock:
        assert sent_chain(sock)[0] == der(leaf)
        assert len(sent_chain(sock)) == 2

        class Hidden:
            getpeercert = sock.getpeercert

        assert sent_chain(Hidden()) == [der(leaf)]  # type: ignore[arg-type]


def test_no_certificate_no_days(tcp_server: TcpServers) -> None:
    """A server without TLS, one that hangs up, one that is silent, and none at all: no days are made up."""
    server = tcp_server(lambda sock: sock.sendall(b"220 hi\r\n"))
    samples = check(f"127.0.0.1:{server.port}")
    assert failure(samples) == ("tls", "TLS failed: wrong version number")
    assert set(samples) == {"dns", "connect", "up"}
    server = tcp_server(lambda sock: gevent.sleep(5))
    assert failure(check(f"127.0.0.1:{server.port}", timeout=0.2)) == ("tls", "timed out after 0.2 s")
    server = tcp_server()
    samples = check(f"127.0.0.1:{server.port}")
    assert failure(samples)[0] == "tls"
    assert "cert_days" not in samples
    assert failure(check(f"127.0.0.1:{free_port()}")) == ("connect", "connection refused")
    with full_port() as port:
        assert failure(check(f"127.0.0.1:{port}", timeout=0.2)) == ("connect", "timed out after 0.2 s")


def test_starttls_goes_before(tcp_server: TcpServers, tmp_path: Path) -> None:
    """The protocol's words first, then the handshake; a refusal is told, and no days."""
    ca, path = authority(tmp_path)
    context = server_context(ca.issue_cert("127.0.0.1", not_after=in_days(7)))

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"+OK hi\r\n")
        if sock.recv(100) == b"STLS\r\n":
            sock.sendall(b"+OK go\r\n")
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(1)

    target = f"127.0.0.1:{tcp_server(serve).port}"
    samples = check(target, tls=TlsSettings(ca_file=path), starttls="pop3")
    assert samples["cert_days"].value == pytest.approx(7, abs=0.01)
    assert set(samples) == {"cert_days", "rtt", "up"} | PHASES
    phase, error = failure(check(target, starttls="imap"))
    assert (phase, error) == ("starttls", "STARTTLS refused: the server said '+OK hi'")


def test_a_target_without_a_port_is_a_web_server() -> None:
    """443 is what a host alone means, of IPv6 too; with STARTTLS a port must be there."""
    for target in ("a.test", "[::1]", "a.test:443", "[::1]:8443"):
        probes.probe("tls", target)
    for target in ("::1", "a:b", "", "a.test:0"):
        with pytest.raises(ValueError, match=r"port|host"):
            probes.probe("tls", target)
    with pytest.raises(ValueError, match="needs a port"):
        CertificateSettings(target="a.test", starttls="smtp")
    CertificateSettings(target="a.test:587", starttls="smtp")
    assert CertificateSettings(target="A.test").default_name() == "a_test"


def test_the_settings_are_read() -> None:
    """As the manual writes them."""
    text = """
collectors:
  - {type: network, probe: tls, target: a.test, server_name: b.test, expect: {cert_days: "> 14"}}
"""
    (spec,) = loads(text, "c.yaml", vocabulary()).collectors
    assert isinstance(spec.settings, CertificateSettings)
    wanted = spec.settings.expect.cert_days
    assert wanted is not None
    assert wanted.holds(15.0)
    assert not wanted.holds(14)
    assert math.isclose(spec.settings.interval, 30.0)
