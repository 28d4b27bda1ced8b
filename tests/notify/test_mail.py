"""Mails by a real server: TLS and login, what is in them, and what becomes of refusals."""

from __future__ import annotations

import email
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from gevent import subprocess

from oculus.notify import grouping, mail_page
from oculus.notify.courier import plan_of
from oculus.notify.mail import Email
from tests.notify.made import after, firing, mistakes_in, notice, read, refusal, resolved
from tests.support.daemon import ROOT

SECRET = "sEcReT-pass"


class Server:
    """A running mail server."""

    def __init__(self, how: str, folder: Path) -> None:
        authority = trustme.CA()
        self.authority, certificate = str(folder / "ca.pem"), str(folder / "server.pem")
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self.how = how
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.smtp", how, certificate],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.port = int(self._out.readline())

    def channel(self, **more: Any) -> Email:
        """Return a channel that sends by it."""
        given = {
            "smtp_host": "127.0.0.1", "smtp_port": self.port, "tls": self.how,
            "from_address": "Oculus <oculus@example.com>", "to_addresses": ["ops@example.com"],
        } | more  # fmt: skip
        if self.how != "none":
            given.setdefault("ca_file", self.authority)
        found = read(Email, json.dumps(given))
        assert isinstance(found, Email)
        return found

    def mail(self) -> tuple[dict[str, Any], EmailMessage]:
        """Return the next mail as it came, and as it reads."""
        kept = json.loads(self._out.readline())
        found = email.message_from_bytes(kept["content"].encode("latin-1"), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return kept, found

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Start servers by how they do TLS."""
    started: list[Server] = []

    def start(how: str) -> Server:
        started.append(Server(how, tmp_path))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.mark.parametrize("how", ["starttls", "implicit"])
def test_a_mail_arrives_over_tls_with_login(serve: Callable[[str], Server], how: str) -> None:
    """With all its parts, and their contents."""
    server = serve(how)
    told = notice(firing(symbol="net.http.café.rtt", message="<slow> & näh"), history=(1.0, 5.0, 3.0))
    said = server.channel(smtp_user="ops", smtp_pass=SECRET).deliver(told)
    assert said.startswith("250")
    kept, mail = server.mail()
    assert (kept["tls"], kept["authenticated"]) == (True, True)
    assert (kept["from"], kept["to"]) == ("oculus@example.com", ["ops@example.com"])
    assert mail["From"] == "Oculus <oculus@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(r"<[^<>@\s]+@example\.com>", mail["Message-ID"])
    assert told.title.split(" (")[0] in mail["Subject"]
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "<slow> & näh" in text.get_content()
    page = html.get_content()
    assert "&lt;slow&gt; &amp; näh" in page
    assert told.link in page
    assert f'href="{told.series_link}"' in page
    assert text.get_content().splitlines()[-2:] == [told.link, told.series_link]
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert f"cid:{picture['Content-ID'].strip('<>')}" in page
    assert picture.get_content().startswith(b"\x89PNG\r\n")


def test_severities_are_words_where_they_differ() -> None:
    """Not every reader sees their colours; where all are the same the head of the mail tells it."""
    steps = [
        firing(severity="warn", symbol="net.http.a.rtt"),
        firing(severity="error", symbol="net.http.b.rtt"),
    ]
    page = mail_page.html(mail_page.page_of(notice(*steps)))
    assert "warn, net.http.a.rtt" in page
    assert "error, net.http.b.rtt" in page
    same = mail_page.html(mail_page.page_of(notice(steps[0], steps[0])))
    assert "warn, net" not in same
    assert "warn · firing" in same


def test_an_end_is_in_the_thread_of_its_beginning(serve: Callable[[str], Server]) -> None:
    """And a second try has the same id; lines breaks in names begin no headers."""
    channel = (server := serve("none")).channel(to_addresses=["a@example.com", "b@example.com"])
    told = notice(firing(rule="disk\r\nBcc: evil@example.com"))
    channel.deliver(told)
    channel.deliver(told)
    channel.deliver(notice(resolved(rule="disk\r\nBcc: evil@example.com"), id="ffff"))
    mails = [server.mail() for _ in range(3)]
    first, again, end = (mail for _, mail in mails)
    assert first["Message-ID"] == again["Message-ID"] != end["Message-ID"]
    assert first["References"] == end["References"]
    assert all(mail["Bcc"] is None for _, mail in mails)
    assert all(kept["to"] == ["a@example.com", "b@example.com"] for kept, _ in mails)
    assert end["Subject"].startswith("Resolved")


def test_what_happens_within_a_minute_is_one_mail(serve: Callable[[str], Server]) -> None:
    """Whatever rules it is about; it belongs to the threads of all of them."""
    server = serve("none")
    channel = server.channel()
    steps = [
        replace(firing("disk"), ts=after(0)), replace(firing("site"), ts=after(0.9)),
        replace(firing("btc"), ts=after(1.5)), replace(resolved("disk"), ts=after(1.9)),
    ]  # fmt: skip
    found = grouping.messages(steps, after(10), plan_of(channel.settings))
    assert [(at, len(one.firing), len(one.resolved)) for at, _, one in found] == [
        (after(1), 2, 0), (after(2), 2, 1),
    ]  # fmt: skip
    for number, (at, _, one) in enumerate(found):
        channel.deliver(notice(*one.firing, *one.resolved, group={}, sent_at=at, id=f"{number}"))
    channel.deliver(notice(firing("site"), group={}))
    mails = [server.mail()[1] for _ in range(3)]
    both, every, site = (set(mail["References"].split()) for mail in mails)
    assert (len(both), len(every)) == (2, 3)
    assert site < both < every
    assert mails[0]["Subject"] == "[critical] several rules: 2 alerts"


@pytest.mark.parametrize(
    ("how", "given", "permanent", "told"),
    [
        ("starttls", {"smtp_user": "ops", "smtp_pass": "sEcReT-wrong"}, True, "the login was refused: 535"),
        ("starttls", {"tls": "none"}, True, "530"),
        ("none", {"tls": "starttls"}, True, "it offers no STARTTLS, and nothing is sent in the clear"),
        ("none", {"to_addresses": ["451@example.com"]}, False, "451@example.com was refused: 451 no"),
        ("none", {"to_addresses": ["550@example.com"]}, True, "550@example.com was refused: 550 no"),
        ("implicit", {"ca_file": ""}, False, "certificate"),
    ],
)  # fmt: skip
def test_refusals_are_told_by_what_helps(
    serve: Callable[[str], Server], how: str, given: dict[str, Any], permanent: bool, told: str
) -> None:
    """A wrong password stays wrong, a mailbox may be full for a while; no error shows the password."""
    error = refusal(serve(how).channel(**given), notice(), "sEcReT")
    assert told in str(error)
    assert error.permanent is permanent


def test_who_can_be_reached_is_told(serve: Callable[[str], Server]) -> None:
    """One wrong address keeps nobody else from the mail."""
    server = serve("none")
    said = server.channel(to_addresses=["550@example.com", "ops@example.com"]).deliver(notice())
    assert "550@example.com was refused" in said
    kept, _ = server.mail()
    assert kept["to"] == ["ops@example.com"]


def test_a_server_that_is_not_there_may_come_back(serve: Callable[[str], Server]) -> None:
    """It is tried again."""
    server = serve("none")
    server.close()
    error = refusal(server.channel(), notice(), "sEcReT")
    assert not error.permanent
    assert "connection refused" in str(error)


def test_a_late_mail_says_so(serve: Callable[[str], Server]) -> None:
    """With the time at which it was due."""
    server = serve("none")
    server.channel().deliver(notice(firing(), sent_at=after(60)))
    _, mail = server.mail()
    text = mail.get_body(("plain",))
    assert text is not None
    assert "late" in text.get_content()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "smtp_host: a\nfrom_address: a@b\nto_addresses: [c@d]\nsmtp_user: x",
            "has smtp_user without smtp_pass",
        ),
        ("smtp_host: a\nfrom_address: nobody\nto_addresses: [c@d]", "from_address: "),
        ("smtp_host: a\nfrom_address: a@b\nto_addresses: []", "to_addresses: "),
        (
            "smtp_host: a\nfrom_address: a@b\nto_addresses: [c@d]\nsubject: '{{ titel }}'",
            'unknown name "titel"',
        ),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(text: str, mistake: str) -> None:
    """Each with its key."""
    assert mistake in "\n".join(mistakes_in(Email, text))
