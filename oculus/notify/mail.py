"""The `email` channel: each notice as one mail, in text and HTML with a chart, by SMTP.

Mails about one group belong to one thread, and a mail that is sent twice has the same Message-ID both times.
"""

from __future__ import annotations

import base64
import json
import re
import smtplib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from hashlib import blake2s
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from loguru import logger

from oculus import templates
from oculus.clock import SECOND
from oculus.collectors.network.probe import explain
from oculus.collectors.network.starttls import check_server_name
from oculus.collectors.network.tls import TlsContexts, TlsSettings
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, ChannelSettings
from oculus.errors import reason
from oculus.notify import mail_page, payload
from oculus.notify.base import Channel, Undelivered
from oculus.notify.chart import png
from oculus.notify.notice import Notice
from oculus.threads import NativeThreads

if TYPE_CHECKING:
    import ssl

Tls = Literal["starttls", "implicit", "none"]
_PORTS: Mapping[Tls, int] = {"starttls": 587, "implicit": 465, "none": 25}

_BATCH = Seconds(60.0)  # what happens within it is one mail
_THREADS = 10  # that one mail can belong to; of a network that is down there are more rules

_CHART = 1084, 192  # pixels: twice the size that it is shown in, for sharp screens

_LONGEST_SUBJECT = 200  # characters; programs show far less
_LONGEST_NAME = 80  # characters before an address
_TOLD = 200  # characters of a server's words that are passed on

# `Name <user@host>`, or the address alone.
_ADDRESS = re.compile(
    r"(?:(?P<name>[^<>]*)<)?(?P<user>[^\s<>@,;:\"()\[\]\\]+)@(?P<host>[^\s<>@,;]+?)(?(name)>)"
)
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.(?!-)[A-Za-z0-9-]{1,63})*")

# What can stand in an id as it is.
_ID = re.compile(r"[A-Za-z0-9._-]{1,40}")

# What a server's code means beyond its words.
_ADVICE = {
    530: "it wants a login or TLS first (see smtp_user, smtp_pass, tls)",
    534: "it wants another way to log in, such as an app password (see smtp_pass)",
    535: "the user or password is wrong (see smtp_user, smtp_pass)",
    538: "it wants TLS before a login (see tls)",
}


class Address(NamedTuple):
    """A mailbox: the name before it, and the address in the form that servers are told."""

    name: str
    mailbox: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Return what a text names; raises ValueError for none, and for more than one."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or not text.isprintable():
            several = text.count("@") > 1 and re.search("[,;]", text)
            told = (
                "(give a list of them)"
                if several
                else "(such as ops@example.com or Oculus <ops@example.com>)"
            )
            raise ValueError(f"{text!r} is not one address {told}")
        name = (match["name"] or "").strip().strip('"').strip()
        user, host = match["user"], match["host"]
        if not user.isascii():
            raise ValueError(
                f"{text!r} has letters before the @ that few mail servers take (a-z, 0-9, . and -)"
            )
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
        if not _HOST.fullmatch(host) or len(user) > 64 or len(name) > _LONGEST_NAME:
            raise ValueError(f"{text!r} is not an address (such as ops@example.com)")
        return cls(name, f"{user}@{host}")

    @property
    def host(self) -> str:
        """What follows the @."""
        return self.mailbox.rpartition("@")[2]

    @property
    def header(self) -> str:
        """The address as it stands in a header."""
        if self.name.isascii():
            return formataddr((self.name, self.mailbox))
        return f"{_encoded(self.name)} <{self.mailbox}>"


def _check_host(host: str) -> None:
    if not host.strip("."):
        raise ValueError("is empty (such as smtp.example.com)")
    if ":" not in host:  # but for IPv6
        check_server_name(host)
    elif not re.fullmatch(r"[0-9A-Fa-f:.]+", host):
        raise ValueError(f"{host!r} is not a host name (such as smtp.example.com; the port is smtp_port)")


def _check_address(text: str) -> None:
    Address.of(text)


def _check_addresses(given: tuple[str, ...]) -> None:
    if not given:
        raise ValueError("is empty (such as ops@example.com)")
    for text in given:
        Address.of(text)


def _check_file(path: str) -> None:
    TlsSettings.__dataclass_fields__["ca_file"].metadata["check"](path)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailSettings(ChannelSettings):
    """Settings of `type: email`."""

    # A mailbox is no pager: all that happens within a minute is one mail, whatever rules it is about.
    group_by: tuple[str, ...] = setting(
        (), help="what the alerts of one mail have in common: labels, rule, severity"
    )
    group_wait: Seconds = setting(
        _BATCH, help="time from the first alert of a group to its mail", check=between(0, LONGEST, "s")
    )
    group_interval: Seconds = setting(
        _BATCH, help="time from one mail of a group to the next", check=between(0.1, LONGEST, "s")
    )
    smtp_host: str = setting(help="host of the mail server", check=_check_host)
    smtp_port: int = setting(
        0, help="its port; 587, or as tls says: 465 for implicit, 25 for none", check=between(0, 65_535)
    )
    tls: Tls | None = setting(
        None, help="starttls, implicit or none; implicit where the port is 465, else starttls"
    )
    smtp_user: str = setting("", help="user to log in as; no login when empty")
    smtp_pass: str = setting("", help="password", secret=True)
    from_address: str = setting(
        help="who it is from: ops@example.com or Oculus <ops@example.com>", check=_check_address
    )
    to_addresses: tuple[str, ...] = setting(help="who it is for", check=_check_addresses)
    subject: str = setting("", help="subject, a Jinja2 template", check=payload.check_template)
    verify: bool = setting(True, help="whether the server's certificate must be valid and fit its name")
    ca_file: str = setting(
        "", help="PEM file of the authorities to trust instead of the system's", check=_check_file
    )

    def __post_init__(self) -> None:
        if bool(self.smtp_user) != bool(self.smtp_pass):
            have, lack = ("smtp_user", "smtp_pass") if self.smtp_user else ("smtp_pass", "smtp_user")
            raise ValueError(f"has {have} without {lack} (give both, or neither)")

    @property
    def security(self) -> Tls:
        """How the connection is secured."""
        return self.tls or ("implicit" if self.smtp_port == 465 else "starttls")

    @property
    def port(self) -> int:
        """The port of the server."""
        return self.smtp_port or _PORTS[self.security]

    @property
    def sender(self) -> Address:
        """Whom it is from."""
        return Address.of(self.from_address)

    @property
    def recipients(self) -> list[Address]:
        """Whom it is for, each mailbox once."""
        found = map(Address.of, self.to_addresses)
        return list({address.mailbox: address for address in found}.values())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may show: the password, also as it is sent. The longest come first."""
        if not self.smtp_pass:
            return ()
        return _plain_login(self.smtp_user, self.smtp_pass), _base64(self.smtp_pass), self.smtp_pass


# To make a context takes long; all channels share those that they can.
_contexts = TlsContexts()


class Email(Channel):
    """Sends each notice as one mail to all recipients."""

    Settings: ClassVar[type[ChannelSettings]] = EmailSettings
    settings: EmailSettings

    def deliver(self, notice: Notice) -> str:
        threads = NativeThreads(1)  # the chart takes the processor for a while
        try:
            message = threads.run(compose, self.settings, notice)
        finally:
            threads.close()
        # Raised below and not here: no error of the library's is to be its context.
        try:
            return self._deliver(message)
        except smtplib.SMTPResponseException as error:
            failure = self._refused("", error.smtp_code, error.smtp_error)
        except smtplib.SMTPServerDisconnected:
            failure = self._failed("the server closed the connection")
        except (OSError, UnicodeError) as error:
            failure = self._failed(self._redacted(explain(error)))
        raise failure

    def _deliver(self, message: bytes) -> str:
        smtp = self._connected()
        # On its way out, `with smtp` would wait for a server that may hang.
        try:
            self._greet(smtp)
            said = self._send(smtp, message)
            smtp.putcmd("quit")  # its answer would tell nothing: the mail has been taken
            return said
        finally:
            smtp.close()

    def _connected(self) -> smtplib.SMTP:
        """Return a connection whose server has greeted."""
        settings = self.settings
        # The library's own name for this host would be looked up, which can take long.
        where = settings.smtp_host, settings.port, "localhost"
        if settings.security != "implicit":
            smtp = smtplib.SMTP(*where)
        else:
            smtp = smtplib.SMTP_SSL(*where, context=self._context())
        smtp.local_hostname = _own_name(smtp)
        return smtp

    def _context(self) -> ssl.SSLContext:
        return _contexts.get(TlsSettings(verify=self.settings.verify, ca_file=self.settings.ca_file))

    def _greet(self, smtp: smtplib.SMTP) -> None:
        """Begin TLS and log in, as the settings have it."""
        settings = self.settings
        smtp.ehlo_or_helo_if_needed()
        if settings.security == "starttls":
            if not smtp.has_extn("starttls"):
                told = "it offers no STARTTLS, and nothing is sent in the clear (tls: none would allow it)"
                raise self._failed(told, permanent=True)
            smtp.starttls(context=self._context())
            smtp.ehlo_or_helo_if_needed()
        if settings.smtp_user:
            self._log_in(smtp)

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        """Log in, by a way that takes passwords in any alphabet."""
        user, password = self.settings.smtp_user, self.settings.smtp_pass
        offered = smtp.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            token = _plain_login(user, password)
            code, said = smtp.docmd("AUTH", f"PLAIN {token}")
            if code == 334:
                code, said = smtp.docmd(token)
        elif "LOGIN" in offered:
            code, said = smtp.docmd("AUTH", "LOGIN")
            for text in (user, password):
                if code == 334:
                    code, said = smtp.docmd(_base64(text))
        else:
            told = (
                f"of the ways to log in it offers {', '.join(offered)}" if offered else "it offers no login"
            )
            raise self._failed(f"{told} (PLAIN or LOGIN is needed; see tls and smtp_user)", permanent=True)
        if code != 235:
            raise self._refused("the login was refused", code, said)

    def _send(self, smtp: smtplib.SMTP, message: bytes) -> str:
        """Send a message and return what the server said; raises Undelivered when nobody gets it."""
        sender, recipients = self.settings.sender.mailbox, self.settings.recipients
        size = [f"size={len(message)}"] if smtp.has_extn("size") else []
        code, said = smtp.mail(sender, size)
        if code != 250:
            raise self._refused(f"the sender {sender} was refused", code, said)
        refused: dict[str, tuple[int, bytes]] = {}
        for _, mailbox in recipients:
            code, said = smtp.rcpt(mailbox)
            if code == 421:
                raise self._refused("", code, said)
            if code not in (250, 251):
                refused[mailbox] = code, said
        told = "; ".join(f"{mailbox} was refused: {self._words(*why)}" for mailbox, why in refused.items())
        if len(refused) == len(recipients):
            # Where one of them may be taken later, all are tried again.
            raise self._failed(told, permanent=all(code >= 500 for code, _ in refused.values()))
        code, said = smtp.data(message)
        if code != 250:
            raise self._refused("the message was refused", code, said)
        answer = self._words(code, said)
        if told:
            logger.warning("mail by {}: {}", self.settings.smtp_host, told)
        return f"{answer}; {told}" if told else answer

    def _refused(self, what: str, code: int, said: bytes | str) -> Undelivered:
        """Return the error that a reply means: 4xx may pass, 5xx will not."""
        advice = f" ({_ADVICE[code]})" if code in _ADVICE else ""
        told = f"{what}{': ' if what else ''}{self._words(code, said)}{advice}"
        return self._failed(told, permanent=500 <= code < 600)

    def _failed(self, told: str, *, permanent: bool = False) -> Undelivered:
        where = f"{self.settings.smtp_host}:{self.settings.port}"
        return Undelivered(f"{where}: {told}", permanent=permanent)

    def _words(self, code: int, said: bytes | str) -> str:
        """Return a server's reply in one line."""
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        text = self._redacted(" ".join(text.split()))
        text = f"{text[:_TOLD]}…" if len(text) > _TOLD else text
        return f"{code} {text}".strip() if code > 0 else "what came is not SMTP"

    def _redacted(self, text: str) -> str:
        for secret in self.settings.secrets:
            text = text.replace(secret, "***")
        return text


def compose(settings: EmailSettings, notice: Notice) -> bytes:
    """Return the mail that tells a notice, as it is sent."""
    page = mail_page.page_of(notice)
    sender, recipients = settings.sender, settings.recipients
    message = EmailMessage(policy=SMTP)
    message.set_content(mail_page.plain(page), cte="quoted-printable")
    if page.chart:
        name = f"chart.{_id(notice.id)}@{sender.host}"
        message.add_alternative(mail_page.html(page, f"cid:{name}"), subtype="html", cte="base64")
        parts: Any = message.get_payload()
        page_part = parts[1]
        picture = png(notice.history, *_CHART, page.colour)
        page_part.add_related(
            picture, "image", "png", cid=f"<{name}>", disposition="inline", filename="chart.png"
        )
    else:
        message.add_alternative(mail_page.html(page), subtype="html", cte="base64")
    threads = [f"<{thread}@{sender.host}>" for thread in _threads(settings, notice)]
    headers = {
        "Date": format_datetime(datetime.fromtimestamp(notice.sent_at / SECOND, UTC)),
        "From": sender.header,
        "To": ",\r\n ".join(address.header for address in recipients),
        "Subject": _encoded(_subject(settings, notice)),
        "Message-ID": f"<{_id(notice.id)}@{sender.host}>",
        # No mail has these ids; all that name one are a thread nevertheless.
        "In-Reply-To": threads[0],
        "References": "\r\n ".join(threads),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",  # Exchange does not look at the line above
    }
    if notice.fires and notice.severity == "critical":
        headers |= {"Importance": "high", "X-Priority": "1"}
    # The library's own folding of headers encodes what must stay as it is: ids, and commas between addresses.
    own = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return own.encode("ascii") + message.as_bytes()


def _subject(settings: EmailSettings, notice: Notice) -> str:
    """Return the subject. A template that fails hides no alert."""
    subject = notice.title
    if settings.subject:
        try:
            found = payload.values(payload.own(notice))
            subject = templates.render(settings.subject, found, 10 * _LONGEST_SUBJECT)
        except Exception as error:
            logger.warning("the template of a mail's subject failed: {}", reason(error))
    # Line breaks of any alphabet would begin a header of their own.
    subject = " ".join(mail_page.one_text(subject).split()) or notice.id
    return subject if len(subject) <= _LONGEST_SUBJECT else f"{subject[: _LONGEST_SUBJECT - 1]}…"


def _encoded(text: str) -> str:
    """Return a text of one line as it stands in a header, folded where it is long."""
    return Header(text, "ascii" if text.isascii() else "utf-8", 76, "Subject").encode(linesep="\r\n")


def _id(text: str) -> str:
    return text if _ID.fullmatch(text) else _digest(text)


def _threads(settings: EmailSettings, notice: Notice) -> list[str]:
    """Return what all mails of a group have in common, or else what those of each rule have that this one is
    about; trials are threads of their own."""
    rules = dict.fromkeys(step.rule for step in notice.alerts)
    common = sorted(notice.group.items())
    every = [common] if common else [[("rule", rule)] for rule in rules]
    trial = notice.reason == "test"
    return [_digest(json.dumps([settings.from_address, about, trial])) for about in every[:_THREADS]]


def _digest(text: str) -> str:
    return blake2s(text.encode("utf-8", "replace"), digest_size=10).hexdigest()


def _plain_login(user: str, password: str) -> str:
    return _base64(f"\0{user}\0{password}")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _own_name(smtp: smtplib.SMTP) -> str:
    """Return how this host calls itself: by its full name if it knows that, else by its address."""
    name = socket.gethostname()
    if "." in name and _HOST.fullmatch(name):
        return name
    assert smtp.sock is not None
    address = smtp.sock.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
