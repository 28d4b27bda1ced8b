"""The `ntfy` channel: notifications on phones and desktops, by ntfy.sh or a server of one's own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from oculus.collectors.endpoint import check_endpoint
from oculus.collectors.network.http_request import AuthSettings, check_bearer
from oculus.config.decode import setting
from oculus.config.settings import ChannelSettings
from oculus.model import Severity
from oculus.notify.base import Channel, Undelivered
from oculus.notify.http import Answer, HttpSettings, refused
from oculus.notify.notice import Notice
from oculus.notify.plain import one_line, text_of
from oculus.notify.push import check_priorities, level

# Bytes of a message as JSON: beyond 4,096 the server makes a file of it, and it reads twice that in all.
MAX_MESSAGE = 4_096
MAX_TITLE = 250  # characters; apps show far less

_TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")

# From 1 to 5; 3 is the usual. Good news makes no noise.
PRIORITIES: Mapping[str, int] = {"info": 2, "warn": 3, "error": 4, "critical": 5, "resolved": 2}

# Names of emojis, which the apps show before the title.
_TAGS: Mapping[Severity | str, str] = {
    "info": "information_source", "warn": "warning", "error": "red_circle", "critical": "rotating_light",
    "resolved": "white_check_mark",
}  # fmt: skip


def _check_server(url: str) -> None:
    check_endpoint(url)
    if urlsplit(url).path.strip("/"):
        raise ValueError(
            "names more than a server (such as https://ntfy.sh; the topic is a setting of its own)"
        )


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic):
        raise ValueError("cannot be a topic (letters, digits, _ and -, at most 64)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NtfySettings(HttpSettings):
    """Settings of `type: ntfy`. The topic is a secret: who knows it reads it."""

    url: str = setting("https://ntfy.sh", help="address of the server", check=_check_server)
    topic: str = setting(help="topic to publish to", check=_check_topic, secret=True)
    token: str = setting("", help="access token", check=check_bearer, secret=True)
    auth: AuthSettings | None = setting(None, help="user and password, instead of a token")
    priority: Mapping[str, int] = setting(
        factory=dict, help="priorities (1 to 5) by severity or resolved",
        check=lambda given: check_priorities(given, PRIORITIES, 1, 5),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.token and self.auth is not None:
            raise ValueError("has token and auth (keep one of them)")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may show, the longest first."""
        found = [self.topic, self.token]
        if self.auth is not None:
            found += [self.auth.password, self.auth.header.rpartition(" ")[2]]
        return tuple(sorted(filter(None, found), key=len, reverse=True))


class Ntfy(Channel):
    """Publishes each notice as one message."""

    Settings: ClassVar[type[ChannelSettings]] = NtfySettings
    settings: NtfySettings

    def deliver(self, notice: Notice) -> str:
        settings = self.settings
        kind = level(notice)
        body = {
            "topic": settings.topic,
            "title": one_line(notice.title, MAX_TITLE),
            "message": text_of(notice, MAX_MESSAGE, _bytes),
            "priority": {**PRIORITIES, **settings.priority}[kind],
            "tags": [_TAGS[kind]],
            # Servers from 2.16 on replace a message by a later one with the same: a second try is no second
            # notification. Older ones do not know it.
            "sequence_id": notice.id,
        }
        if notice.link:
            body["click"] = notice.link
        headers = {}
        if settings.token:
            headers["Authorization"] = f"Bearer {settings.token}"
        elif settings.auth is not None:
            headers["Authorization"] = settings.auth.header
        # JSON goes to the server's root: the topic stands in no path, and so in no log on the way.
        url = f"{settings.url.rstrip('/')}/"
        answer = settings.post(url, json=body, headers=headers, secrets=settings.secrets)
        if not answer.ok:
            raise refused(answer, _told(answer))
        if not (said := answer.fields.get("id")):
            raise Undelivered(f"{answer.status}, but what came is not ntfy's answer: {answer.snippet}")
        return f"message {answer.words(said)}"


def _told(answer: Answer) -> str:
    said = answer.words(answer.fields.get("error"))
    if answer.status in (401, 403):
        return f"{said or 'not allowed'} (check token or auth, and that it may write to the topic)"
    if answer.status in (404, 405):
        return f"{said or 'there is no ntfy server'} (check url)"
    return said


def _bytes(text: str) -> int:
    """Return the length of a text as it is sent."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")) - 2
