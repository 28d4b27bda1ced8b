"""Discord: a webhook of a channel or thread, with an embed in the colour of the severity."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import gevent
from loguru import logger

from oculus.clock import iso
from oculus.config.decode import Doubt, setting
from oculus.config.settings import ChannelSettings
from oculus.notify import chat
from oculus.notify.base import Channel, Undelivered
from oculus.notify.chat import ChatSettings, Line
from oculus.notify.http import Answer, form, refused
from oculus.notify.notice import Notice

# Characters; Discord counts what is trimmed, we count UTF-16 units, which is no less.
TITLE, DESCRIPTION, FIELD_NAME, FIELD_VALUE, FOOTER = 256, 4096, 256, 1024, 2048
ALL = 6000  # of all texts of a message's embeds together
CONTENT = 2000  # of a message without an embed

_PICTURE = "chart.png"  # what the file of a message is called

# A pause that the last answer asked for is waited for up to this; a longer one is for whoever sends.
_SHORT = 5.0  # seconds

_WEBHOOK = re.compile(r"/api(?:/v\d+)?/webhooks/\d+/[\w.-]+/?", re.ASCII)
_MENTION = re.compile(r"@everyone|@here|<@&(?P<role>\d+)>|<@!?(?P<user>\d+)>")

# What has a meaning in Discord's Markdown. Addresses are left alone: escaped, they would lead elsewhere.
_SPECIAL = re.compile(r"(https?://[^\s<>]+)|([\\*_~`|<\[]|(?<!\S)[#+>-](?=\s|#))")

INVALID_FORM = 50035
BLOCKED = 40333
# What Discord says by number → what to do about it.
_ADVICE = {
    10015: "the webhook was deleted: make a new one (see webhook_url)",
    50027: "the webhook's token is wrong (see webhook_url)",
    10003: "the thread is not there (see thread_id)",
    220001: "the channel is a forum: name one of its threads as thread_id",
    220003: "the channel has no threads: leave thread_id out",
    BLOCKED: "Discord's gateway refuses this address or client",
}


def _check_webhook(url: str) -> None:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        told = "is not a URL, so that nothing can be sent (https://discord.com/api/webhooks/<id>/<token>)"
        raise Doubt(told)
    if not _WEBHOOK.fullmatch(parts.path):
        known = "https://discord.com/api/webhooks/<id>/<token>, without /slack"
        raise Doubt(f"does not look like the URL of a webhook ({known})")


def _check_mention(mention: Sequence[str]) -> None:
    for each in mention:
        if not _MENTION.fullmatch(each):
            known = "@everyone, @here, <@&id of a role> or <@id of a user>"
            raise ValueError(f"{each!r} is no mention (known: {known})")


def _check_thread(thread: str) -> None:
    if thread and not re.fullmatch(r"\d{1,20}", thread):
        raise ValueError(f"{thread!r} is not the id of a thread (digits: copy it from the thread's menu)")


def _check_username(name: str) -> None:
    if len(name) > 80 or any(word in name.lower() for word in ("discord", "clyde")):
        raise ValueError(f"{name[:90]!r} is no name that Discord takes (80 characters, no word of its own)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscordSettings(ChatSettings):
    """What this channel can be told."""

    webhook_url: str = setting(help="URL of the webhook", secret=True, check=_check_webhook)
    thread_id: str = setting("", help="thread of the channel that is written to", check=_check_thread)
    username: str = setting("", help="name instead of the webhook's own", check=_check_username)
    avatar_url: str = setting("", help="picture instead of the webhook's own")
    mention: tuple[str, ...] = setting(
        (), help="whom critical alerts call: @everyone, @here, <@&role>, <@user>", check=_check_mention
    )


class Discord(Channel):
    """Sends to one webhook, and waits for the message to be there: else its loss would not be known."""

    Settings = DiscordSettings

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, DiscordSettings)
        self._told = settings
        parts = urlsplit(settings.webhook_url.strip())
        query = dict(parse_qsl(parts.query)) | {"wait": "true"}
        if settings.thread_id:
            query["thread_id"] = settings.thread_id
        path = parts.path.rstrip("/")
        self._url = f"{parts.scheme}://{parts.netloc}{path}?{urlencode(query)}"
        self._secrets = (settings.webhook_url, path.rpartition("/")[2])
        self._free_at = 0.0  # monotonic: when the webhook takes a message again

    def deliver(self, notice: Notice) -> str:
        """Send a notice; return the message's id."""
        self._wait()
        called = chat.mentions(notice, self._told.mention)
        picture = chat.picture(notice) if self._told.chart else b""
        answer = self._ask(self._message(notice, called, bool(picture)), picture)
        if answer.status == 400 and answer.fields.get("code") == INVALID_FORM:
            # Better a plain message than none: a limit may have changed, or a link is one it does not take.
            said = _complaint(answer)
            logger.warning("Discord: {}; sent as plain text", said)
            answer = self._ask(self._plain(notice, called))
            if answer.ok:
                return f"{self._id(answer)}, as plain text, since Discord said: {said}"
        return self._id(answer)

    def _wait(self) -> None:
        left = self._free_at - time.monotonic()
        if left > _SHORT:
            raise Undelivered("the webhook's limit is used up", retry_after=left)
        if left > 0:
            gevent.sleep(left)

    # -- words --------------------------------------------------------------------------------------------

    def _message(self, notice: Notice, called: Sequence[str], picture: bool) -> dict[str, Any]:
        embed: dict[str, Any] = {
            "title": chat.clipped(chat.title(notice), TITLE, _escaped),
            "color": chat.COLOURS[chat.mood(notice)],
            "timestamp": iso(max(step.ts for step in notice.alerts)),
        }
        if notice.link:
            embed["url"] = notice.link
        if picture:
            embed["image"] = {"url": f"attachment://{_PICTURE}"}
        fields = [
            {
                "name": chat.clipped(name, FIELD_NAME),
                "value": chat.clipped(text, FIELD_VALUE, _escaped),
                "inline": True,
            }
            for name, text in chat.facts(notice, bars=False)
        ]
        series = _link(notice.alerts[0].symbol or "series", notice.series_link)
        if 0 < chat.units(series) <= FIELD_VALUE:
            fields.append({"name": "Series", "value": series, "inline": True})
        if fields:
            embed["fields"] = fields
        if note := chat.late(notice):
            embed["footer"] = {"text": chat.clipped(note, FOOTER)}
        room = min(DESCRIPTION, ALL - sum(map(chat.units, _texts(embed))))
        embed["description"] = "\n".join(chat.paged(chat.body(notice, self._told.markup), room, _markdown))
        content = {"content": " ".join(called)} if called else {}
        return self._around(called) | content | {"embeds": [embed]}

    def _plain(self, notice: Notice, called: Sequence[str]) -> dict[str, Any]:
        lines = [Line(" ".join([*called, ""]) + f"**{_escaped(chat.title(notice))}**", "marked")]
        if note := chat.late(notice):
            lines.append(Line(note, "note"))
        lines += chat.body(notice, self._told.markup)
        end = "".join(f"\n<{link}>" for link in (notice.link, notice.series_link) if link)
        (text,) = chat.paged(lines, CONTENT - chat.units(end), _markdown)
        return self._around(called) | {"content": text + end}

    def _around(self, called: Sequence[str]) -> dict[str, Any]:
        """Return who sends, and whom the message may call: nobody but those, whatever its text says."""
        found = [match for each in called if (match := _MENTION.fullmatch(each))]
        allowed: dict[str, Any] = {"parse": ["everyone"] if set(called) & {"@everyone", "@here"} else []}
        for kind in ("role", "user"):
            if ids := [match[kind] for match in found if match[kind]]:
                allowed[f"{kind}s"] = list(dict.fromkeys(ids))
        own = {"username": self._told.username, "avatar_url": self._told.avatar_url}
        return {name: text for name, text in own.items() if text} | {"allowed_mentions": allowed}

    # -- requests -----------------------------------------------------------------------------------------

    def _ask(self, message: Mapping[str, Any], picture: bytes = b"") -> Answer:
        if picture:
            data, headers = form(
                {"payload_json": json.dumps(message), "files[0]": (_PICTURE, picture, "image/png")}
            )
            answer = self._told.post(self._url, data=data, headers=headers, secrets=self._secrets)
        else:
            answer = self._told.post(self._url, json=message, secrets=self._secrets)
        if answer.ok and answer.headers.get("x-ratelimit-remaining") == "0":
            self._free_at = time.monotonic() + _seconds(answer.headers.get("x-ratelimit-reset-after"))
        return answer

    def _id(self, answer: Answer) -> str:
        """Return the id of the message that an answer describes; raises Undelivered for any other."""
        if answer.status == 204:
            return "sent"  # by a gateway that does not pass `wait` on
        if answer.ok and isinstance(found := answer.fields.get("id"), str):
            return f"message {found}"
        if answer.ok:
            raise Undelivered(f"what answered is not Discord: {answer.snippet}")
        if answer.fields.get("code") == BLOCKED:
            raise Undelivered(f"{answer.status}: {_complaint(answer)}")  # which passes, in time
        after = answer.fields.get("retry_after")
        if answer.status != 429 or isinstance(after, bool) or not isinstance(after, int | float):
            after = None
        raise refused(answer, _complaint(answer), after=after)


def _complaint(answer: Answer) -> str:
    """Return what Discord says is wrong, where, and what to do; empty when it says nothing."""
    fields = answer.fields
    said = answer.words(fields.get("message"))
    if wrong := _first_error(fields.get("errors"), ""):
        said = f"{said}: {answer.words(wrong)}"
    advice = _ADVICE.get(fields.get("code"), "")  # type: ignore[arg-type]
    return f"{said} ({advice})" if said and advice else said


def _first_error(found: Any, path: str) -> str:
    """Return the first of the errors by field, such as `embeds.0.url: Not a well formed URL.`"""
    if not isinstance(found, dict):
        return ""
    errors = found.get("_errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return f"{path}: {errors[0].get('message', '')}"
    for name, inner in found.items():
        if told := _first_error(inner, f"{path}.{name}" if path else str(name)):
            return told
    return ""


def _seconds(text: str | None) -> float:
    return float(text) if text and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) else 0.0


def _texts(embed: Mapping[str, Any]) -> list[str]:
    """Return the texts that count against the limit of a message."""
    fields = [field[key] for field in embed.get("fields", ()) for key in ("name", "value")]
    return [embed["title"], *fields, embed.get("footer", {}).get("text", "")]


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: match[1] or f"\\{match[2]}", text)


def _link(text: str, url: str) -> str:
    """Return a text that leads to a URL, nothing without one; a bracket in either would end it too soon."""
    label = chat.clipped(text, FIELD_NAME, lambda part: _escaped(part).replace("]", "\\]"))
    return f"[{label}]({url.replace('(', '%28').replace(')', '%29')})" if url else ""


def _markdown(each: Line) -> str:
    if each.kind == "marked":
        return each.text
    text = _escaped(each.text)
    mark = {"title": "**", "heading": "**", "note": "*"}.get(each.kind, "")
    return f"{mark}{text}{mark}" if text else ""
