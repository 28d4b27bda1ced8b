"""A mail server in a process of its own: aiosmtpd, with or without TLS and login, which keeps what it gets.

Its first line of output is its port; each mail is then one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class Keeper:
    """Prints mails; an address tells how it is to be treated: `451@…` is refused with that code."""

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        code = address.partition("@")[0]
        if code.isdecimal():
            return f"{code} no"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the library's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep a mail."""
        content = envelope.content
        assert isinstance(content, bytes)
        assert server.transport is not None
        kept = {
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "content": content.decode("latin-1"),
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": bool(session.authenticated),
        }  # fmt: skip
        print(json.dumps(kept), flush=True)
        return "250 kept"


def log_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Let in who knows the password."""
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"sEcReT-pass")
    return AuthResult(success=right, handled=False)


async def serve(how: str, certificate: str) -> None:
    """Serve for ever."""
    context = None
    if how != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    options: dict[str, Any] = {"authenticator": log_in, "auth_require_tls": how == "starttls"}
    if how == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Keeper(), **options),
        "127.0.0.1",
        0,
        ssl=context if how == "implicit" else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:3]))
