"""The `webhook` channel: a request to any URL, whose body has Oculus's form, Alertmanager's or the user's."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from oculus import templates
from oculus.collectors.endpoint import check_endpoint
from oculus.collectors.network.http_request import (
    FRAMING,
    AuthSettings,
    body_type,
    check_bearer,
    check_headers,
)
from oculus.config.decode import between, setting
from oculus.config.settings import ChannelSettings
from oculus.errors import reason
from oculus.notify import payload
from oculus.notify.base import Channel, Undelivered
from oculus.notify.http import Answer, HttpSettings, refused, url_parts
from oculus.notify.notice import Notice

# A body beyond this is a template's loop that went wrong; receivers take less.
MAX_BODY = 1_000_000  # characters

SIGNATURE, KEY = "X-Signature", "Idempotency-Key"

# Headers of which many a message shows the value for other reasons.
_PUBLIC = frozenset({"accept", "accept-language", "content-type", "user-agent"})


def check_own_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError unless these can be headers that a user gives."""
    check_headers(headers, {*FRAMING, SIGNATURE.lower(), KEY.lower()})


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings(HttpSettings):
    """Settings of `type: webhook`. The URL is a secret: that of many a receiver is its password."""

    url: str = setting(help="where it is sent", check=check_endpoint, secret=True)
    method: Literal["POST", "PUT", "PATCH"] = setting("POST", help="POST, PUT or PATCH")
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=check_own_headers, secret=True
    )
    auth: AuthSettings | None = setting(None, help="user and password")
    bearer: str = setting("", help="token for Authorization: Bearer", check=check_bearer, secret=True)
    format: Literal["oculus", "alertmanager"] = setting("oculus", help="form of the JSON that is sent")
    template: str = setting(
        "", help="the body, a Jinja2 template, instead of format", check=payload.check_template, secret=True
    )
    # Programs count for themselves.
    most: int = setting(
        1_000, help="most alerts in a message; further ones are counted", check=between(1, 1_000)
    )
    receiver: str = setting("oculus", help="name of the receiver in format alertmanager")
    secret: str = setting("", help="key of the signature in X-Signature; none when empty", secret=True)

    def __post_init__(self) -> None:
        named = [name.lower() for name in self.headers]
        if (self.auth is not None) + bool(self.bearer) + ("authorization" in named) > 1:
            raise ValueError("has more than one of auth, bearer and an Authorization header (keep one)")
        if self.template and self.format != "oculus":
            raise ValueError("has template and format (keep one of them)")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may show, the longest first: one may be part of another."""
        found = url_parts(self.url)
        for name, value in self.headers.items():
            if name.lower() not in _PUBLIC:
                found += [value, value.rpartition(" ")[2]]
        if self.auth is not None:
            found += [self.auth.password, self.auth.header.rpartition(" ")[2]]
        found += [self.bearer, self.secret]
        return tuple(sorted(filter(None, found), key=len, reverse=True))


class Webhook(Channel):
    """Sends each notice as one request; any status of success means that it has been taken."""

    Settings: ClassVar[type[ChannelSettings]] = WebhookSettings
    fills_template = True
    settings: WebhookSettings

    def deliver(self, notice: Notice) -> str:
        answer = self.ask(notice)
        if not answer.ok:
            raise refused(answer)
        return str(answer.status)

    def ask(self, notice: Notice) -> Answer:
        """Send a notice and return what was answered, whatever it is; raises Undelivered."""
        settings = self.settings
        text = self._body(notice)
        body = text.encode("utf-8", "replace")  # half a surrogate pair has no bytes
        # Made once and signed as it is sent: what a receiver checks is the raw body.
        sent = {"Content-Type": body_type(text), KEY: notice.id}
        if settings.secret:
            sent[SIGNATURE] = f"sha256={hmac.new(settings.secret.encode(), body, 'sha256').hexdigest()}"
        if settings.bearer:
            sent["Authorization"] = f"Bearer {settings.bearer}"
        elif settings.auth is not None:
            sent["Authorization"] = settings.auth.header
        own = {name.lower() for name in settings.headers}
        headers = {name: value for name, value in sent.items() if name.lower() not in own}
        return settings.post(
            settings.url, data=body, headers=headers | dict(settings.headers), method=settings.method,
            secrets=(*((text,) if settings.template else ()), *settings.secrets),
        )  # fmt: skip

    def _body(self, notice: Notice) -> str:
        """Return the body; raises Undelivered, for good, when the user's template fails."""
        if self.settings.format == "alertmanager":
            return _json(payload.alertmanager(notice, self.settings.receiver))
        own = payload.own(notice)
        if not self.settings.template:
            return _json(own)
        try:
            return templates.render(self.settings.template, payload.values(own), MAX_BODY)
        except Exception as error:
            told = f"the template failed: {reason(error)} (see template)"
        raise Undelivered(told, permanent=True)


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
