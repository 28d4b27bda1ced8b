"""Stand-in of the Telegram Bot API: one bot, its chats, and HTML that is parsed as the service parses it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from typing import Any, ClassVar

from tests.standins.base import StandIn
from tests.standins.forms import parts_of
from tests.standins.messages import Answer, Request
from tests.standins.text import payload

TOKEN = "7000000001:AAEhBOweik6ad9r_QXMENQjcrGbqCr4K-bc"
CHAT = -1001234567890
LONGEST, LONGEST_CAPTION = 4096, 1024  # UTF-16 units, counted without the markup

_TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "del": "strikethrough", "code": "code", "pre": "pre", "a": "text_link",
    "tg-spoiler": "spoiler", "blockquote": "blockquote",
}  # fmt: skip
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);")


@dataclass(frozen=True)
class Message:
    """A message as it stands in a chat."""

    id: int
    chat: int | str
    text: str
    entities: list[dict[str, Any]]
    topic: int
    silent: bool
    preview: bool
    picture: bool


class CannotParse(Exception):
    """What the service says of markup that is none."""


def units(text: str) -> int:
    """Return the length that the service counts."""
    return len(text.encode("utf-16-le")) // 2


def parse_html(html: str) -> tuple[str, list[dict[str, Any]]]:
    """Return text and entities; raises CannotParse."""
    text = ""
    open_tags: list[tuple[str, int]] = []
    entities: list[dict[str, Any]] = []
    at = 0
    while at < len(html):
        offset = len(html[:at].encode())
        if html[at] == "&" and (found := _ENTITY.match(html, at)):
            text, at = text + unescape(found[0]), found.end()
        elif html[at] != "<":
            text, at = text + html[at], at + 1
        elif end := re.compile(r"</([a-z-]*)\s*>").match(html, at):
            if not open_tags:
                raise CannotParse(f"Unexpected end tag at byte offset {offset}")
            name, begun = open_tags.pop()
            if end[1] not in ("", name):
                raise CannotParse(f'Unmatched end tag at byte offset {offset}, expected "</{name}>"')
            entities.append({"type": _TAGS[name], "offset": begun, "length": units(text) - begun})
            at = end.end()
        else:
            start = re.compile(r"<([^\s<>/]*)((?:\s[^<>]*)?)>").match(html, at)
            name = start[1].lower() if start else html[at + 1 : at + 2]
            if start is None or name not in _TAGS:
                raise CannotParse(f'Unsupported start tag "{name}" at byte offset {offset}')
            open_tags.append((name, units(text)))
            at = start.end()
    if open_tags:
        name = open_tags[-1][0]
        raise CannotParse(f'Can\'t find end tag corresponding to start tag "{name}"')
    return text, [each for each in entities if each["length"]]


class Telegram(StandIn):
    """`posted` is what has arrived. `topics` are those of the chats, `moved` the groups with another id."""

    ROUTES: ClassVar[dict[str, str]] = {
        "POST /bot{token}/sendMessage": "send_message",
        "POST /bot{token}/sendPhoto": "send_photo",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.posted: list[Message] = []
        self.chats: set[int | str] = {CHAT, 42, "@oculus_news"}
        self.topics = {7}
        self.pictures = True  # whether the chats allow them
        self.moved: dict[int | str, int] = {}
        self.blocked: set[int | str] = set()
        self.parameters = True  # whether the seconds to wait stand beside the words
        self.fails_after: int | None = None  # so many messages arrive, and then there are too many

    def send_message(self, request: Request, token: str) -> Answer:
        """Take a message, or say why not."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _bad("Bad Request: message text is empty")
        return self._take(request, token, request.json(), "text")

    def send_photo(self, request: Request, token: str) -> Answer:
        """Take a picture with a caption."""
        parts = parts_of(request)
        name, picture = parts.pop("photo")
        assert name
        if not self.pictures or not picture.startswith(b"\x89PNG\r\n\x1a\n"):
            return _bad("Bad Request: not enough rights to send photos to the chat")
        body: dict[str, Any] = {key: content.decode() for key, (_, content) in parts.items()}
        for key in ("chat_id", "message_thread_id", "disable_notification"):
            if key in body and not body[key].startswith("@"):
                body[key] = json.loads(body[key])
        return self._take(request, token, body, "caption")

    def _take(self, request: Request, token: str, body: dict[str, Any], key: str) -> Answer:
        if token != TOKEN:
            well_formed = re.fullmatch(r"\d+:[\w-]{35}", token)
            return _refusal("telegram-error-401.json" if well_formed else "telegram-error-404.json")
        if self.fails_after is not None and len(self.posted) >= self.fails_after:
            return self.limited(request, 8)
        chat, html = body.get("chat_id", 0), body.get(key, "")
        if chat in self.moved:
            answer = payload("telegram-error-400-migrated.json")
            answer["parameters"]["migrate_to_chat_id"] = self.moved[chat]
            return Answer(answer, 400)
        if chat in self.blocked:
            return _refusal("telegram-error-403.json")
        if chat not in self.chats:
            return _refusal("telegram-error-400-chat.json")
        topic = body.get("message_thread_id", 0)
        if topic and topic not in self.topics:
            return _bad("Bad Request: message thread not found")
        text: str = html
        entities: list[dict[str, Any]] = []
        if "parse_mode" in body:
            assert body["parse_mode"] == "HTML"
            try:
                text, entities = parse_html(html)
            except CannotParse as error:
                return _bad(f"Bad Request: can't parse entities: {error}")
        if not text.strip():
            return _bad("Bad Request: message text is empty")
        if key == "caption" and units(text) > LONGEST_CAPTION:
            return _bad("Bad Request: message caption is too long")
        if units(text) > LONGEST:
            return _refusal("telegram-error-400-too-long.json")
        preview = not body.get("link_preview_options", {"is_disabled": key == "caption"}).get("is_disabled")
        silent = body.get("disable_notification", False)
        message = Message(
            5012 + len(self.posted), chat, text.strip(), entities, topic, silent, preview, key == "caption"
        )
        self.posted.append(message)
        answer = payload("telegram-sendmessage-success.json")
        answer["result"] |= {"message_id": message.id, key: message.text, "entities": entities}
        answer["result"]["chat"]["id"] = chat
        return Answer(answer)

    def not_found(self, request: Request) -> Answer:
        """Answer what it answers for an unknown method."""
        return _refusal("telegram-error-404.json")

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        """Tell the seconds in the body; without them it only says that there are too many."""
        answer = payload("telegram-error-429.json")
        if retry_after is None:
            del answer["parameters"]
            answer["description"] = "Too Many Requests"
        else:
            answer["parameters"]["retry_after"] = retry_after
            answer["description"] = f"Too Many Requests: retry after {retry_after}"
        if not self.parameters:
            answer.pop("parameters", None)
        return Answer(answer, 429)


def _refusal(name: str) -> Answer:
    body = payload(name)
    return Answer(body, body["error_code"])


def _bad(description: str) -> Answer:
    return Answer({"ok": False, "error_code": 400, "description": description}, 400)
