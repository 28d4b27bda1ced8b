"""Telegram: messages of a bot to a chat, as HTML, in as many parts as they need.

The token is part of the path of each request, so no URL may ever be shown.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from html import escape, unescape
from typing import Any

from loguru import logger

from oculus.config.decode import Doubt, setting
from oculus.config.settings import ChannelSettings
from oculus.notify import chat
from oculus.notify.base import Channel, Undelivered
from oculus.notify.chat import ChatSettings, Line, Mood
from oculus.notify.http import Answer, form, refused
from oculus.notify.notice import Notice

API = "https://api.telegram.org"

LONGEST = 4096  # UTF-16 units of a message, markup not counted …
LONGEST_CAPTION = 1024  # … and of what stands below a picture
# Parts that one notice may have; the rest is counted. A group may be sent 20 messages a minute.
PARTS = 5

# Notices whose first parts have arrived and that are tried again: as many groups as may wait at once.
_BEGUN = 50

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_RETRY = re.compile(r"retry after (\d{1,9})")

# What Telegram says → what to do about it.
_ADVICE = (
    ("chat not found", "is chat_id right, is the bot in that group, or has that person written to it first?"),
    ("message thread not found", "is topic right?"),
    ("topic_closed", "the topic is closed: reopen it, or name another one as topic"),
    ("not enough rights", "allow the bot to send messages there"),
    ("chat_write_forbidden", "allow the bot to send messages there"),
    ("bot was blocked", "that person must start the bot again"),
    ("bot was kicked", "add the bot to the group again"),
    ("not a member", "add the bot to the channel as an administrator"),
    ("can't initiate conversation", "that person must write to the bot first"),
)


def _check_token(token: str) -> None:
    if not re.fullmatch(r"\d+:[A-Za-z0-9_-]+", token.strip()):
        raise Doubt("does not look like the token of a bot (digits, a colon, letters: @BotFather tells it)")


def _check_chat(chat_id: str) -> None:
    if not chat_id:
        raise ValueError("is empty (such as 123456789, -1001234567890 or @channel)")
    if not re.fullmatch(r"-?\d{1,18}|@[A-Za-z]\w{3,}", chat_id):
        raise Doubt(f"{chat_id!r} does not look like a chat (such as 123456789, -1001234567890 or @channel)")


def _check_topic(topic: int) -> None:
    if topic < 0:
        raise ValueError(f"{topic} is not a topic (the last number of a link to one of its messages)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelegramSettings(ChatSettings):
    """What this channel can be told."""

    bot_token: str = setting(help="token of the bot", secret=True, check=_check_token)
    chat_id: str = setting(help="chat, group or @channel that is written to", check=_check_chat)
    topic: int = setting(
        0, help="topic of the group (message_thread_id); 0: the general one", check=_check_topic
    )
    silent: tuple[Mood, ...] = setting((), help="severities, or resolved, that come without a sound")


@dataclass(slots=True)
class _Parts:
    """What is left to send of a notice, and the ids of what has arrived."""

    waiting: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class Telegram(Channel):
    """Sends to one chat. A try that breaks off half-way goes on, later, where it broke off."""

    Settings = TelegramSettings

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, TelegramSettings)
        self._told = settings
        self._token = settings.bot_token.strip()
        number = re.fullmatch(r"-?\d+", settings.chat_id)
        self._chat: int | str = int(settings.chat_id) if number else settings.chat_id
        self._begun: OrderedDict[str, _Parts] = OrderedDict()

    def deliver(self, notice: Notice) -> str:
        """Send a notice's parts; return the ids of the messages."""
        parts = self._begun.setdefault(notice.id, _Parts())
        while len(self._begun) > _BEGUN:
            self._begun.popitem(last=False)
        picture = b""
        if not parts.ids:  # else it goes on with the text that has begun to arrive
            picture = chat.picture(notice) if self._told.chart else b""
            parts.waiting = self._texts(notice, bars=self._told.chart and not picture)
            if len(parts.waiting) > 1 or _size(parts.waiting[0]) > LONGEST_CAPTION:
                picture = b""
        try:
            while parts.waiting:
                parts.ids.append(
                    self._send(parts.waiting[0], picture, chat.mood(notice) in self._told.silent)
                )
                parts.waiting.pop(0)
        except Undelivered as error:
            if error.permanent:
                self._begun.pop(notice.id, None)
            raise
        self._begun.pop(notice.id, None)
        told = f"message{'s' if len(parts.ids) > 1 else ''} {', '.join(parts.ids)}"
        moved = str(self._chat) != self._told.chat_id
        return f"{told}; the group is now {self._chat}: set chat_id to that" if moved else told

    # -- words --------------------------------------------------------------------------------------------

    def _texts(self, notice: Notice, bars: bool) -> list[str]:
        lines = [Line(chat.title(notice), "title")]
        if note := chat.late(notice):
            lines.append(Line(note, "note"))
        lines += chat.body(notice, self._told.markup)
        facts = [
            f"{name}: {text}"
            for name, text in chat.facts(notice, bars)
            if name != "Severity" or not notice.fires  # the title tells it
        ]
        end = [Line(" · ".join(facts))] if facts else []
        end += [Line(link) for link in (notice.link, notice.series_link) if link]
        room = LONGEST - sum(_size(_html(each)) + 1 for each in end)
        *before, last = chat.paged(lines, room, _html, pages=PARTS, measure=_size)
        return [*before, "\n".join([last, *map(_html, end)])]

    # -- requests -----------------------------------------------------------------------------------------

    def _send(self, html: str, picture: bytes, silent: bool) -> str:
        """Send one message and return its id."""
        around: dict[str, Any] = {
            **({"message_thread_id": self._told.topic} if self._told.topic else {}),
            **({"disable_notification": True} if silent else {}),
        }
        if picture:
            answer = self._ask("sendPhoto", around | {"caption": html, "parse_mode": "HTML"}, picture)
            if answer.ok or answer.status == 429 or answer.status >= 500:
                return self._id(answer)
            # Whatever is wrong with it, such as a group that allows no pictures: the text is what counts.
        message = around | {"text": html, "link_preview_options": {"is_disabled": True}}
        answer = self._ask("sendMessage", message | {"parse_mode": "HTML"})
        if answer.status == 400 and "can't parse entities" in _description(answer):
            # Only a template's own markup can be wrong; its words arrive all the same.
            logger.warning("Telegram: {}; sent as plain text", _description(answer))
            answer = self._ask("sendMessage", message | {"text": _plain(html)})
        return self._id(answer)

    def _ask(self, method: str, message: dict[str, Any], picture: bytes = b"") -> Answer:
        """Call a method, for where a group has moved when that is what the answer says."""
        answer = self._call(method, message | {"chat_id": self._chat}, picture)
        moved = _parameters(answer).get("migrate_to_chat_id")
        if isinstance(moved, int) and moved != self._chat:
            logger.warning("Telegram: the group {} has become {}: set chat_id to that", self._chat, moved)
            self._chat = moved
            answer = self._call(method, message | {"chat_id": moved}, picture)
        return answer

    def _call(self, method: str, message: dict[str, Any], picture: bytes) -> Answer:
        url = f"{API}/bot{self._token}/{method}"
        if not picture:
            return self._told.post(url, json=message, secrets=(self._token,))
        texts = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in message.items()
        }
        data, headers = form({**texts, "photo": ("chart.png", picture, "image/png")})
        return self._told.post(url, data=data, headers=headers, secrets=(self._token,))

    def _id(self, answer: Answer) -> str:
        """Return the id of the message that an answer describes; raises Undelivered for any other."""
        result = answer.fields.get("result")
        if answer.ok and answer.fields.get("ok") is True:
            return str(result.get("message_id", "?")) if isinstance(result, dict) else "?"
        raise self._failure(answer)

    def _failure(self, answer: Answer) -> Undelivered:
        said = _description(answer)
        if answer.ok:
            return Undelivered(f"what answered is not Telegram: {answer.snippet}")
        if answer.status == 401:
            return refused(answer, f"{said or 'Unauthorized'}: the bot token is wrong (see bot_token)")
        if answer.status == 404:
            told = "the bot token is not one, or base_url leads elsewhere (see bot_token)"
            return refused(answer, f"{said or 'Not Found'}: {told}")
        after = _parameters(answer).get("retry_after")
        if not isinstance(after, int | float) and (found := _RETRY.search(said)):
            after = int(found[1])
        for words, advice in _ADVICE:
            if words in said.lower():
                said = f"{said} ({advice})"
                break
        return refused(answer, said, after=after if isinstance(after, int | float) else None)


def _description(answer: Answer) -> str:
    return answer.words(answer.fields.get("description"))


def _parameters(answer: Answer) -> dict[str, Any]:
    found = answer.fields.get("parameters")
    return found if isinstance(found, dict) else {}


def _html(each: Line) -> str:
    if each.kind == "marked":
        return each.text
    text = escape(each.text, quote=False)
    tag = {"title": "b", "heading": "b", "note": "i"}.get(each.kind)
    return f"<{tag}>{text}</{tag}>" if tag and text else text


def _plain(html: str) -> str:
    """Return a message without its markup, as Telegram shows it."""
    return unescape(_TAG.sub("", html))


def _size(html: str) -> int:
    return chat.units(_plain(html))
