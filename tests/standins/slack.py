"""Stand-in of Slack: an incoming webhook and `chat.postMessage`, which check messages as Slack does."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.standins.base import StandIn
from tests.standins.messages import Answer, Request
from tests.standins.text import payload

SECRET = "XXXXsecretXXXXwebhookXXXX"
HOOK = f"/services/T0123/B0123/{SECRET}"
TOKEN = "xoxb-7000000001-abcDEFsecret"
CHANNEL = "C0123456789"

# What is markup: a mention or a link; any other < or > should have been escaped.
_MARK = re.compile(r"<(?:!(?:channel|here|everyone)|!subteam\^S\w+|@[UW]\w+|https?://[^<>|]+(?:\|[^<>]+)?)>")
_ENTITY = re.compile(r"&(?:amp|lt|gt);")


class Invalid(Exception):
    """What Slack calls a message that it does not take."""


class Slack(StandIn):
    """`posted` is what has been posted. `refusal` is an error to be answered by name, with its status."""

    ROUTES: ClassVar[dict[str, str]] = {
        f"POST {HOOK}": "webhook",
        "POST /services/{team}/{hook}/{secret}": "no_webhook",
        "POST /api/chat.postMessage": "post_message",
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.posted: list[dict[str, Any]] = []
        self.refusal: tuple[int, str] | None = None
        self.members = {CHANNEL, "#ops"}
        self.channels = {"C0000000001"} | self.members
        self.most_blocks = 50
        self.silent_refusal = False  # whether a 429 has no body

    def webhook(self, request: Request) -> Answer:
        """Answer in plain words."""
        if self.refusal:
            return Answer(self.refusal[1], self.refusal[0], type="text/html")
        try:
            self.posted.append(self._checked(request))
        except Invalid as error:
            return Answer(str(error), 400, type="text/html")
        return Answer(payload("slack-success.txt"), type="text/html")

    def no_webhook(self, request: Request, team: str, hook: str, secret: str) -> Answer:
        """Answer for a webhook that was removed."""
        return Answer(payload("slack-error-404-no_service.txt"), 404, type="text/html")

    def post_message(self, request: Request) -> Answer:
        """Answer 200 whatever comes, as all methods do."""
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._error("invalid_auth")
        if self.refusal:
            return self._error(self.refusal[1])
        try:
            message = self._checked(request)
        except Invalid as error:
            return self._error(str(error))
        if message.get("channel") not in self.channels:
            return self._error("channel_not_found")
        if message["channel"] not in self.members:
            return self._error("not_in_channel")
        self.posted.append(message)
        return Answer(payload("slack-api-postmessage-success.json"))

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        """Answer as the way that was asked does."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if request.path.startswith("/api/"):
            return Answer(payload("slack-api-ratelimited.json"), 429, headers)
        body = "" if self.silent_refusal else payload("slack-error-429.txt")
        return Answer(body, 429, headers, type="text/html")

    def _error(self, name: str) -> Answer:
        return Answer(payload("slack-api-error.json") | {"error": name})

    def _checked(self, request: Request) -> dict[str, Any]:
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Invalid("invalid_payload")
        message: dict[str, Any] = request.json()
        attachments = message.get("attachments", [])
        if len(attachments) > 100:
            raise Invalid("too_many_attachments")
        text = message.get("text", "")
        if not text and not message.get("blocks") and not attachments:
            raise Invalid("no_text")
        if len(text) > 40_000:
            raise Invalid("msg_too_long")
        _check_mrkdwn(text)
        blocks = [*message.get("blocks", [])]
        for attachment in attachments:
            if not re.fullmatch(r"#[0-9A-Fa-f]{6}|good|warning|danger", attachment.get("color", "good")):
                raise Invalid("invalid_attachments")
            if not attachment.get("blocks") and not attachment.get("text"):
                raise Invalid("no_text")
            blocks += attachment.get("blocks", [])
        if len(blocks) > self.most_blocks:
            raise Invalid("invalid_blocks")
        if sum(_check_block(block) for block in blocks) > 13_000:
            raise Invalid("msg_blocks_too_long")
        return message


def _check_block(block: dict[str, Any]) -> int:
    """Return how many characters a block holds."""
    if block["type"] == "section":
        fields = block.get("fields", [])
        if ("text" not in block and not fields) or len(fields) > 10:
            raise Invalid("invalid_blocks")
        texts = [(block["text"], 3000)] if "text" in block else []
        texts += [(field, 2000) for field in fields]
    elif block["type"] == "context":
        if not 1 <= len(block["elements"]) <= 10:
            raise Invalid("invalid_blocks")
        texts = [(element, 3000) for element in block["elements"]]
    elif block["type"] == "header":
        if block["text"]["type"] != "plain_text":
            raise Invalid("invalid_blocks")
        texts = [(block["text"], 150)]
    else:
        raise Invalid("invalid_blocks")
    for text, most in texts:
        if not 1 <= len(text["text"]) <= most:
            raise Invalid("invalid_blocks")
        if text["type"] == "mrkdwn":
            _check_mrkdwn(text["text"])
    return sum(len(text["text"]) for text, _ in texts)


def _check_mrkdwn(text: str) -> None:
    """Slack itself is forgiving here; a text that would be shown wrongly, or call somebody, is an error."""
    bare = _ENTITY.sub("", _MARK.sub("", text))
    if re.search(r"[<>&]", bare):
        raise Invalid("invalid_payload")
