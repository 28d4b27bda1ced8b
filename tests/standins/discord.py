"""Stand-in of Discord's webhooks: it counts what Discord counts, and answers with Discord's errors."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from tests.standins.base import StandIn
from tests.standins.forms import parts_of
from tests.standins.messages import Answer, Request
from tests.standins.text import payload

ID = "887766554433221100"
TOKEN = "kL9x_secret-token.of_the_webhook"
ROLE = "112233445566778899"
# Characters, by field of an embed; 6,000 over all embeds of a message.
LIMITS = {"title": 256, "description": 4096}
ALL = 6000


class Discord(StandIn):
    """`posted` is what stands in the channel, and `called` whom they called."""

    ROUTES: ClassVar[dict[str, str]] = {
        "POST /api/webhooks/{id}/{token}": "execute",
        "POST /api/v10/webhooks/{id}/{token}": "execute",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.posted: list[dict[str, Any]] = []
        self.called: list[str] = []
        self.threads = {"998877665544332200"}
        self.forum = False
        self.left: int | None = None  # messages that the limit still allows, told in each answer
        self.reset_after = 0.3  # seconds
        self.too_many: dict[str, Any] = payload("discord-error-429-user.json")
        self.links_anywhere = True  # else a link must lead to a name with a dot, or an address

    @property
    def webhook(self) -> str:
        """The URL of the webhook, at Discord itself."""
        return f"https://discord.com/api/webhooks/{ID}/{TOKEN}"

    def execute(self, request: Request, id: str, token: str) -> Answer:
        """Take a message, or say why not."""
        if id != ID:
            return Answer(payload("discord-error-404-unknown-webhook.json"), 404)
        if token != TOKEN:
            return Answer(payload("discord-error-401-token.json"), 401)
        thread = request.query.get("thread_id")
        if thread and thread not in self.threads:
            return Answer({"message": "Unknown Channel", "code": 10003}, 404)
        if self.forum and not thread:
            told = "Webhooks posted to forum channels must have a thread_name or thread_id"
            return Answer({"message": told, "code": 220001}, 400)
        files = {}
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            files = parts_of(request)
            message = json.loads(files.pop("payload_json")[1])
        elif request.headers.get("content-type", "").startswith("application/json"):
            message = request.json()
        else:
            return Answer(payload("discord-error-400-form.json") | {"errors": {}}, 400)
        content, embeds = message.get("content", "").strip(), message.get("embeds", [])
        if not content and not embeds:
            return Answer(payload("discord-error-400-empty.json"), 400)
        if errors := self._errors(content, embeds):
            return Answer(payload("discord-error-400-form.json") | {"errors": errors}, 400)
        self.posted.append(message | {"thread": thread, "files": dict(files.values())})
        self.called += _called(content, message.get("allowed_mentions"))
        headers = {}
        if self.left is not None:
            self.left -= 1
            headers = {
                "X-RateLimit-Limit": "5", "X-RateLimit-Remaining": str(self.left),
                "X-RateLimit-Reset-After": str(self.reset_after), "X-RateLimit-Bucket": "abcd1234",
            }  # fmt: skip
        if request.query.get("wait") != "true":
            return Answer("", 204, headers)
        stored = payload("discord-execute-wait-true-success.json")
        return Answer(
            stored | {"id": str(1407998877665544332 + len(self.posted)), "embeds": embeds}, 200, headers
        )

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        """Tell parts of seconds in the body, whole ones in a header."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer(self.too_many, 429, headers)

    def not_found(self, request: Request) -> Answer:
        """Answer what it answers at a path that it does not have."""
        return Answer({"message": "404: Not Found", "code": 0}, 404)

    def _errors(self, content: str, embeds: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the errors by field."""
        if len(content) > 2000:
            return {"content": _too_long(2000)}
        if len(embeds) > 10:
            return {"embeds": _too_long(10)}
        total = 0
        for index, embed in enumerate(embeds):
            texts: dict[str, tuple[str, int]] = {
                name: (embed[name], most) for name, most in LIMITS.items() if name in embed
            }
            if "footer" in embed:
                texts["footer"] = (embed["footer"]["text"], 2048)
            wrong: dict[str, Any] = {}
            fields = embed.get("fields", [])
            if len(fields) > 25:
                wrong["fields"] = _too_long(25)
            for number, field in enumerate(fields):
                for key, most in (("name", 256), ("value", 1024)):
                    texts[f"fields.{number}.{key}"] = (field[key], most)
                    if not field[key].strip():
                        wrong[f"fields.{number}.{key}"] = _error(
                            "BASE_TYPE_REQUIRED", "This field is required"
                        )
            for name, (text, most) in texts.items():
                total += len(text.strip())
                if len(text.strip()) > most:
                    wrong[name] = _too_long(most)
            if not isinstance(embed.get("color", 0), int) or not 0 <= embed.get("color", 0) <= 0xFFFFFF:
                wrong["color"] = _error("NUMBER_TYPE_COERCE", "Value is not int.")
            if not self._is_url(embed.get("url", "https://discord.com")):
                wrong["url"] = _error("URL_TYPE_INVALID_URL", "Not a well formed URL.")
            if "timestamp" in embed and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", embed["timestamp"]):
                wrong["timestamp"] = _error("DATE_TIME_TYPE_PARSE", "Could not parse.")
            if wrong:
                return {"embeds": {str(index): wrong}}
        return (
            {"embeds": _error("MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")}
            if total > ALL
            else {}
        )

    def _is_url(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(
            self.links_anywhere or "." in (parts.hostname or "")
        )


def _called(content: str, allowed: dict[str, Any] | None) -> list[str]:
    """Return whom a message calls: users alone where it does not say whom it may."""
    allowed = {"parse": ["users"]} if allowed is None else allowed
    parse = set(allowed.get("parse", []))
    assert not (parse & {"roles", "users"} & allowed.keys()), "Discord refuses a list beside its own kind"
    found = []
    if "everyone" in parse:
        found += re.findall(r"@everyone|@here", content)
    for kind, mark in (("roles", "@&"), ("users", "@")):
        for id in re.findall(rf"<{mark}(\d+)>", content):
            if kind in parse or id in allowed.get(kind, []):
                found.append(f"<{mark}{id}>")
    return found


def _error(code: str, message: str) -> dict[str, Any]:
    return {"_errors": [{"code": code, "message": message}]}


def _too_long(most: int) -> dict[str, Any]:
    return _error("BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
