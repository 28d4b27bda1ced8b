"""Slack: an incoming webhook, or a bot's token and a channel; blocks, with a bar in the severity's colour."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from oculus.config.decode import Doubt, setting
from oculus.config.settings import ChannelSettings
from oculus.notify import chat
from oculus.notify.base import Channel, Undelivered
from oculus.notify.chat import ChatSettings, Line
from oculus.notify.http import Answer, refused
from oculus.notify.notice import Notice

API = "https://slack.com/api/chat.postMessage"

# Characters, counted as they are sent, escaped. Slack takes longer texts, but breaks them where it likes.
TEXT, SECTION, FIELD = 4000, 3000, 2000
# Sections that the alerts may fill: all blocks of a message hold about 13,000 characters.
SECTIONS = 3

_MENTION = re.compile(r"<!(?:channel|here|everyone)>|<!subteam\^S[A-Z0-9]+>|<@[UW][A-Z0-9]+>")
_CODE = re.compile(r"[a-z][a-z0-9_]{1,60}")  # what Slack calls an error

# What Slack says when the form of a message, and not its text, is not taken.
_FORM = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments",
     "attachment_payload_limit_exceeded", "too_many_attachments", "invalid_payload"}
)  # fmt: skip
# What passes by itself, also where the status is one of success.
_TRANSIENT = frozenset(
    {"ratelimited", "rate_limited", "rollup_error", "internal_error", "fatal_error", "service_unavailable",
     "request_timeout", "team_added_to_org"}
)  # fmt: skip

_WRONG_TOKEN = "the bot token is wrong or no longer valid (see bot_token)"  # noqa: S105 (words, no password)
_NEW_WEBHOOK = "the webhook was removed or disabled: make a new one (see webhook_url)"
# What Slack says → what to do about it.
_ADVICE = {
    "invalid_auth": _WRONG_TOKEN,
    "not_authed": _WRONG_TOKEN,
    "token_revoked": _WRONG_TOKEN,
    "token_expired": _WRONG_TOKEN,
    "account_inactive": _WRONG_TOKEN,
    "not_allowed_token_type": "give the token of a bot, xoxb-… (see bot_token)",
    "missing_scope": "give the app the scope chat:write, and install it again",
    "not_in_channel": "invite the bot to the channel",
    "channel_not_found": "is the channel right, and the bot in it where it is a private one? (see channel)",
    "is_archived": "the channel is archived: name another one",
    "channel_is_archived": "the channel is archived: make a webhook for another one",
    "invalid_token": "the webhook's URL is wrong (see webhook_url)",
    "no_service": _NEW_WEBHOOK,
    "no_active_hooks": _NEW_WEBHOOK,
    "no_team": "the webhook's URL is wrong (see webhook_url)",
    "team_disabled": "the workspace is no longer active",
    "action_prohibited": "an administrator has forbidden posting there",
    "restricted_action": "an administrator has forbidden posting there",
    "posting_to_general_channel_denied": "only some may post to #general: make a webhook for another channel",
    "user_not_found": "the webhook is for a person who is not there: make a new one (see webhook_url)",
}


def _check_webhook(url: str) -> None:
    parts = urlsplit(url.strip())
    if url and (parts.scheme not in ("http", "https") or not parts.netloc or not parts.path.strip("/")):
        raise Doubt(
            "does not look like the URL of a webhook (such as https://hooks.slack.com/services/T…/B…/…)"
        )
    if "/triggers/" in parts.path or "/workflows/" in parts.path:
        raise Doubt("is that of a workflow, which takes other messages (make an incoming webhook)")


def _check_token(token: str) -> None:
    if token and not re.fullmatch(r"xox[a-z]?[.-][A-Za-z0-9.-]+", token.strip()):
        raise Doubt("does not look like the token of a bot (it begins with xoxb-)")


def _check_channel(channel: str) -> None:
    if channel and not re.fullmatch(r"#?[^\s<>#@]{1,80}", channel):
        raise ValueError(f"{channel!r} is not a channel (its id, such as C0123456789, or #name)")


def _check_mention(mention: Sequence[str]) -> None:
    for each in mention:
        if not _MENTION.fullmatch(each):
            known = "<!channel>, <!here>, <@id of a user> or <!subteam^id of a group>"
            raise ValueError(f"{each!r} is no mention (known: {known})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackSettings(ChatSettings):
    """What this channel can be told."""

    webhook_url: str = setting("", help="URL of an incoming webhook", secret=True, check=_check_webhook)
    bot_token: str = setting("", help="token of a bot, instead of a webhook", secret=True, check=_check_token)
    channel: str = setting("", help="where the bot writes: the id, or #name", check=_check_channel)
    mention: tuple[str, ...] = setting(
        (), help="whom critical alerts call: <!channel>, <!here>, <@user>, <!subteam^group>",
        check=_check_mention,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if bool(self.webhook_url) == bool(self.bot_token):
            raise ValueError("needs either webhook_url, or bot_token and channel (give one of them)")
        if bool(self.bot_token) != bool(self.channel):
            raise ValueError("bot_token and channel go together (a webhook has its own channel)")


class Slack(Channel):
    """Sends to one channel."""

    Settings = SlackSettings

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        assert isinstance(settings, SlackSettings)
        self._told = settings
        self._token = settings.bot_token.strip()
        self._hook = settings.webhook_url.strip()
        path = urlsplit(self._hook).path.rstrip("/")
        self._secrets = tuple(
            each for each in (self._token, self._hook, path, path.rpartition("/")[2]) if each
        )

    def deliver(self, notice: Notice) -> str:
        """Send a notice; return `ok`, or the time that is a message's id."""
        called = chat.mentions(notice, self._told.mention)
        message = self._message(notice, called)
        answer = self._ask(message)
        if (code := self._error(answer)) in _FORM:
            # Better a plain message than none: a limit may have changed.
            logger.warning("Slack: {}; sent as plain text", code)
            answer = self._ask({"text": self._text(notice, called)})
            if not self._error(answer):
                return f"{self._sent(answer)}, as plain text, since Slack said: {code}"
        return self._sent(answer)

    # -- words --------------------------------------------------------------------------------------------

    def _message(self, notice: Notice, called: Sequence[str]) -> dict[str, Any]:
        blocks: list[dict[str, Any]] = [
            _section(text)
            for text in chat.paged(chat.body(notice, self._told.markup), SECTION, _mrkdwn, pages=SECTIONS)
        ]
        if facts := chat.facts(notice, self._told.chart):
            fields = [
                f"*{_escaped(name)}*\n{chat.clipped(text, FIELD - 50, _escaped)}" for name, text in facts
            ]
            blocks.append({"type": "section", "fields": [_text(each) for each in fields]})
        if beside := [text for text in (_escaped(chat.late(notice)), _series(notice)) if text]:
            blocks.append({"type": "context", "elements": [_text(each) for each in beside]})
        # A bar of colour only comes with an attachment; the title stands above it.
        bar = {"color": f"#{chat.COLOURS[chat.mood(notice)]:06X}", "blocks": blocks}
        return {
            "text": self._text(notice, called),
            "blocks": [_section(" ".join([*called, _title(notice)]))],
            "attachments": [bar] if blocks else [],
            "unfurl_links": False,
            "unfurl_media": False,
        }

    def _text(self, notice: Notice, called: Sequence[str]) -> str:
        """Return all of it as one text: for notifications, and where blocks are not shown or not taken."""
        lines = [Line(" ".join([*called, _title(notice)]), "marked")]
        if note := chat.late(notice):
            lines.append(Line(note, "note"))
        end = f"\n{series}" if (series := _series(notice)) else ""
        lines += chat.body(notice, self._told.markup)
        (text,) = chat.paged(lines, TEXT - chat.units(end), _mrkdwn)
        return text + end

    # -- requests -----------------------------------------------------------------------------------------

    def _ask(self, message: Mapping[str, Any]) -> Answer:
        if self._hook:
            return self._told.post(self._hook, json=message, secrets=self._secrets)
        message = {"channel": self._told.channel, **message}
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._told.post(API, json=message, headers=headers, secrets=self._secrets)

    def _error(self, answer: Answer) -> str:
        """Return what Slack calls the error that an answer tells; empty when it is none, or not Slack's."""
        if answer.fields:
            found = answer.fields.get("error", "") if answer.fields.get("ok") is not True else ""
        else:
            found = answer.text.strip()
        return found if isinstance(found, str) and found != "ok" and _CODE.fullmatch(found) else ""

    def _sent(self, answer: Answer) -> str:
        """Return what an answer says of the message that was taken; raises Undelivered for any other."""
        fields, code = answer.fields, self._error(answer)
        if answer.ok and fields.get("ok") is True:
            return f"ts {answer.words(fields.get('ts'))}"
        if answer.ok and self._hook and answer.text.strip() == "ok":
            return "ok"
        told = f"{code} ({_ADVICE[code]})" if code in _ADVICE else code
        if answer.ok and not code:
            raise Undelivered(f"what answered is not Slack: {answer.snippet}")
        if answer.ok:
            raise Undelivered(f"Slack: {told}", permanent=code not in _TRANSIENT)
        raise refused(answer, told)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text)}


def _text(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _title(notice: Notice) -> str:
    """Return the title, in bold and leading to the alert's page."""
    text = chat.clipped(chat.title(notice), 300, _escaped)
    return f"*<{_escaped(notice.link)}|{text}>*" if notice.link else f"*{text}*"


def _series(notice: Notice) -> str:
    """Return a link to the page of the first alert's series, empty where there is none."""
    name = chat.clipped(notice.alerts[0].symbol or "series", 300, _escaped)
    return f"<{_escaped(notice.series_link)}|{name}>" if notice.series_link else ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _mrkdwn(each: Line) -> str:
    if each.kind == "marked":
        return each.text
    text = _escaped(each.text)
    mark = {"title": "*", "heading": "*", "note": "_"}.get(each.kind, "")
    return f"{mark}{text}{mark}" if text.strip() else text
