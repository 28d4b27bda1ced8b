"""`type: http_post`: a request to any URL, as the `webhook` channel sends it, about one step of an alert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from oculus.collectors.network.http_request import check_url
from oculus.collectors.network.tls import TlsSettings
from oculus.config.decode import setting
from oculus.config.settings import ActionSettings, retries
from oculus.notify import payload
from oculus.notify.action import MAX_OUTPUT, Action, Ran
from oculus.notify.base import Undelivered
from oculus.notify.http import refused
from oculus.notify.notice import Notice
from oculus.notify.webhook import Webhook, WebhookSettings, check_own_headers


def _check_url(url: str) -> None:
    if urlsplit(url).username is not None:
        raise ValueError("the URL holds a user name or password (give them in headers: {Authorization: …})")
    check_url(url)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpPostSettings(ActionSettings):
    """Settings of `type: http_post`."""

    type: ClassVar[str] = "http_post"

    url: str = setting(help="where it is sent", check=_check_url, secret=True)
    method: Literal["POST", "PUT", "PATCH"] = setting("POST", help="POST, PUT or PATCH")
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=check_own_headers, secret=True
    )
    body: str = setting(
        "", help="the body, a Jinja2 template; Oculus's own JSON without it", check=payload.check_template,
        secret=True,
    )  # fmt: skip
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")
    retry: int = retries(3)

    @property
    def title(self) -> str:
        """The host, and nothing of what follows it: that may be the password."""
        return f"{self.method} to {urlsplit(self.url).netloc}"


class HttpPost(Action):
    """Sends a step as one request; any status of success means that it has been taken."""

    Settings: ClassVar[type[ActionSettings]] = HttpPostSettings

    def __init__(self, settings: HttpPostSettings) -> None:
        super().__init__(settings)
        request = WebhookSettings(
            url=settings.url, method=settings.method, headers=settings.headers, template=settings.body,
            timeout=settings.timeout, tls=settings.tls,
        )  # fmt: skip
        self._webhook = Webhook(request)

    def run(self, notice: Notice) -> Ran:
        try:
            answer = self._webhook.ask(notice)
        except Undelivered as error:
            told, permanent, after = f"failed: {error}", error.permanent, error.retry_after
            return Ran(False, told, permanent=permanent, retry_after=after)
        said = answer.snippet[:MAX_OUTPUT] if answer.body else ""
        if answer.ok:
            return Ran(True, f"answered {answer.status}", answer.status, said)
        why = refused(answer)
        return Ran(False, f"answered {why}", answer.status, said, why.permanent, why.retry_after)
