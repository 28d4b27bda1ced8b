"""The Telegram channel against a stand-in of the Bot API: HTML, parts, moved groups, refusals, no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from oculus.notify.base import Undelivered
from oculus.notify.telegram import PARTS, Telegram
from tests.notify.made import LINK, SERIES, after, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins import telegram as service
from tests.standins.telegram import CHAT, LONGEST, TOKEN, units
from tests.support.log import logged


@pytest.fixture
def api() -> Iterator[service.Telegram]:
    """The API of a bot."""
    running = service.Telegram()
    yield running
    running.stop()


def channel(api: service.Telegram, text: str = "", token: str = TOKEN, chat: object = CHAT) -> Telegram:
    """Return a channel that writes to a chat, with further settings."""
    made = read(Telegram, f'bot_token: "{token}"\nchat_id: "{chat}"\nbase_url: "{api.url}"\n{text}')
    assert isinstance(made, Telegram)
    return made


def bold(message: service.Message) -> list[str]:
    """Return what is bold in a message without characters beyond the first plane before it."""
    raw = message.text.encode("utf-16-le")
    return [
        raw[2 * each["offset"] : 2 * (each["offset"] + each["length"])].decode("utf-16-le")
        for each in message.entities
        if each["type"] == "bold"
    ]


def test_an_alert_arrives(api: service.Telegram) -> None:
    """Title, line, condition, facts and links; the answer is the message's id."""
    assert channel(api).deliver(notice()) == "message 5012"
    (message,) = api.posted
    assert message.text.splitlines() == [
        "🔴 [critical] btc_price (crypto.price.btc_usd)",
        "BTC crossed $100k (for 2 min)",
        "crypto.price.btc_usd (100012.5) > 100000",
        "Value: 100012.5 · Began: 12:00 UTC",
        LINK,
        SERIES,
    ]
    assert bold(message) == ["🔴 [critical] btc_price (crypto.price.btc_usd)"]
    assert (message.chat, message.topic, message.silent, message.preview) == (CHAT, 0, False, False)


def test_an_end_and_a_late_message_say_so(api: service.Telegram) -> None:
    """The downtime, and what time the message is about."""
    channel(api).deliver(notice(resolved(), sent_at=after(28)))
    title, late, line, *_ = api.posted[0].text.splitlines()
    assert title == "🟢 Resolved: btc_price (crypto.price.btc_usd)"
    assert "14 min late" in late
    assert line == "BTC crossed $100k (lasted 14 min)"


@pytest.mark.parametrize(
    "text", ["a < b & c > d", "<b>", "</b>", "&lt;", "&amp;amp;", '<a href="x">', "1 <", "😀 & <i>", "&#60;"]
)
def test_every_text_arrives_as_it_is(api: service.Telegram, text: str) -> None:
    """Markup in a message means nothing; the first try is right."""
    channel(api).deliver(notice(firing(message=text, explanation=text * 2)))
    assert len(api.requests) == 1
    assert f"\n{text} (for 2 min)\n{text * 2}\n" in api.posted[0].text


def test_a_single_alert_comes_with_a_picture_of_its_series(api: service.Telegram) -> None:
    """The text is its caption, so that it is one message still; topic and silence are as for any."""
    made = channel(api, "topic: 7\nsilent: [critical]")
    assert made.deliver(notice(firing(message="a < b"), history=(1.0, 2.0))) == "message 5012"
    (message,) = api.posted
    assert message.text.splitlines()[1] == "a < b (for 2 min)"
    assert (message.picture, message.topic, message.silent) == (True, 7, True)
    assert channel(api, chat="@oculus_news").deliver(notice(history=(1.0, 2.0))) == "message 5013"


@pytest.mark.parametrize("why", ["not allowed", "too long", "not wanted"])
def test_what_cannot_have_a_picture_comes_as_a_text(api: service.Telegram, why: str) -> None:
    """A text too long for a caption, or a group that takes no pictures: the text arrives."""
    api.pictures = why != "not allowed"
    long = "x" * (1100 if why == "too long" else 1)
    told = notice(firing(message=long), history=(1.0, 2.0))
    channel(api, f"chart: {str(why != 'not wanted').lower()}").deliver(told)
    (message,) = api.posted
    assert not message.picture
    assert message.text.splitlines()[1] == f"{long} (for 2 min)"


def test_too_many_pictures_wait_as_texts_do(api: service.Telegram) -> None:
    """They are not tried again as texts at once."""
    api.fault = faults.rate_limited(8)
    assert refusal(channel(api), notice(history=(1.0, 2.0)), TOKEN).retry_after == 8
    assert len(api.requests) == 1


def test_a_channel_by_name_and_a_person(api: service.Telegram) -> None:
    """An id goes out as a number, a name as it is."""
    channel(api, chat="@oculus_news").deliver(notice())
    channel(api, chat=42).deliver(notice())
    assert [message.chat for message in api.posted] == ["@oculus_news", 42]


def test_a_topic_of_a_group(api: service.Telegram) -> None:
    """It is named in the request; one that is not there is a mistake of the settings."""
    channel(api, "topic: 7").deliver(notice())
    assert api.posted[0].topic == 7
    error = refusal(channel(api, "topic: 8"), notice(), TOKEN)
    assert (str(error), error.permanent) == (
        "400: Bad Request: message thread not found (is topic right?)",
        True,
    )


def test_what_may_come_without_a_sound(api: service.Telegram) -> None:
    """By severity, and what ended."""
    made = channel(api, "silent: [info, resolved]")
    for step in (firing(severity="info"), firing(), resolved()):
        made.deliver(notice(step))
    assert [message.silent for message in api.posted] == [True, False, True]


def test_a_long_notice_comes_in_parts_that_end_at_lines(api: service.Telegram) -> None:
    """Each within 4,096 UTF-16 units without the markup; each alert is there once, the links at the end."""
    steps = [
        firing(message=f"😀 alert {index} is <&> " + "x" * 100, symbol=f"a.b{index}") for index in range(100)
    ]
    told = channel(api).deliver(notice(*steps))
    assert told.startswith("messages 5012, 5013, ")
    lines = [line for message in api.posted for line in message.text.splitlines()]
    assert [line for line in lines if line.startswith("•")] == [
        f"• 😀 alert {index} is <&> {'x' * 100} (for 2 min), a.b{index} = 100012.5" for index in range(100)
    ]
    assert lines[-2:] == [LINK, SERIES]
    assert all(LONGEST - 400 < units(message.text) <= LONGEST for message in api.posted[:-1])


def test_a_notice_has_no_more_than_so_many_parts(api: service.Telegram) -> None:
    """The rest is counted: a group may be sent 20 messages a minute."""
    steps = [firing(message="x" * 1000, symbol=f"a.b{index}") for index in range(100)]
    channel(api).deliver(notice(*steps, more=7))
    assert len(api.posted) == PARTS
    shown = sum(message.text.count("•") for message in api.posted)
    assert api.posted[-1].text.splitlines()[-3:] == [f"… +{100 - shown + 7} more", LINK, SERIES]


def test_a_second_try_goes_on_where_the_first_broke_off(api: service.Telegram) -> None:
    """What has arrived is not sent again, and nothing is lost between, however late it is by then."""
    made = channel(api)
    steps = [firing(message=f"alert {index} " + "x" * 500, symbol=f"a.b{index}") for index in range(20)]
    api.fails_after = 1
    error = refusal(made, notice(*steps), TOKEN)
    assert (error.permanent, error.retry_after) == (False, 8)
    api.fails_after = None
    assert made.deliver(notice(*steps, sent_at=after(30))) == "messages 5012, 5013, 5014"
    text = "\n".join(message.text for message in api.posted)
    assert [text.count(f"alert {index} ") for index in range(20)] == [1] * 20
    assert "late" not in text
    assert made.deliver(notice(firing())) == "message 5015"  # and what comes next is new


def test_a_template_is_text_unless_it_is_markup(api: service.Telegram) -> None:
    """The same text under both settings."""
    told = notice(text="<b>hot</b> & <i>cold</i>\nsecond")
    channel(api).deliver(told)
    channel(api, "markup: true").deliver(told)
    assert [message.text.splitlines()[1:3] for message in api.posted] == [
        ["<b>hot</b> & <i>cold</i>", "second"], ["hot & cold", "second"],
    ]  # fmt: skip
    assert bold(api.posted[1])[1:] == ["hot"]


def test_markup_that_is_wrong_arrives_as_plain_text(api: service.Telegram) -> None:
    """An alert is worth more than its looks; the log says what is wrong."""
    with logged() as log:
        told = channel(api, "markup: true").deliver(notice(text="<b>hot</i> &amp; <blink>cold</blink> 1 < 2"))
    assert told == "message 5012"
    assert api.posted[0].text.splitlines()[1] == "hot & cold 1 < 2"
    assert api.posted[0].entities == []
    assert "can't parse entities" in log.text
    assert len(api.requests) == 2


def test_a_group_that_moved_is_followed_and_the_move_told(api: service.Telegram) -> None:
    """At once, and from then on; the record and the log say what to set."""
    api.moved[CHAT] = -1009876543210
    api.chats.add(-1009876543210)
    made = channel(api)
    with logged() as log:
        told = made.deliver(notice())
    assert told == "message 5012; the group is now -1009876543210: set chat_id to that"
    assert "-1009876543210: set chat_id to that" in log.text
    made.deliver(notice())
    assert [message.chat for message in api.posted] == [-1009876543210] * 2
    assert len(api.requests) == 3


def test_a_group_that_moves_in_circles_is_not_followed_for_ever(api: service.Telegram) -> None:
    """Two groups that each name the other."""
    api.moved = {CHAT: -1009876543210, -1009876543210: CHAT}
    assert refusal(channel(api), notice(), TOKEN).permanent
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"token": TOKEN[:-1] + "x"}, "401: Unauthorized: the bot token is wrong (see bot_token)"),
        ({"token": "12:ab"}, "404: Not Found: the bot token is not one, or base_url leads elsewhere (see"),
        ({"chat": 43}, "400: Bad Request: chat not found (is chat_id right, is the bot in that group, or"),
        ({"chat": 44}, "403: Forbidden: bot was blocked by the user (that person must start the bot"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(
    api: service.Telegram, settings: dict[str, Any], told: str
) -> None:
    """And is not tried again."""
    api.blocked = {44}
    error = refusal(channel(api, **settings), notice(), TOKEN, TOKEN[:-1] + "x")
    assert str(error).startswith(told)
    assert error.permanent


@pytest.mark.parametrize(
    ("fault", "told", "after_seconds"),
    [
        (faults.rate_limited(8), "429: Too Many Requests: retry after 8", 8),
        (faults.rate_limited(None), "429: Too Many Requests", None),
        (faults.error(502), "502: 502 Bad Gateway 502 Bad Gateway", None),
        (faults.html(), "what answered is not Telegram: One moment please One moment please", None),
        (faults.malformed(), "what answered is not Telegram", None),
        (faults.reset(), "connection reset by peer", None),
        (faults.down(), "connection refused", None),
    ],
)
def test_what_passes_is_tried_again(
    api: service.Telegram, fault: faults.Fault, told: str, after_seconds: float | None
) -> None:
    """After the time that the service names."""
    made = channel(api)
    api.fault = fault
    error = refusal(made, notice(), TOKEN)
    assert str(error).startswith(told)
    assert (error.permanent, error.retry_after) == (False, after_seconds)
    api.fault = None
    assert made.deliver(notice()).startswith("message ")


def test_the_seconds_may_stand_in_the_words_alone(api: service.Telegram) -> None:
    """An answer without parameters still says when to come back."""
    api.parameters = False
    api.fault = faults.rate_limited(11)
    assert refusal(channel(api), notice(), TOKEN).retry_after == 11


def test_a_service_that_hangs_is_left_by_the_senders_limit(api: service.Telegram) -> None:
    """The limit is the dispatcher's, and comes out as itself; the next try sends all of it."""
    made = channel(api)
    api.fault = faults.hang()
    with gevent.Timeout(0.2) as limit, pytest.raises(gevent.Timeout) as caught:
        made.deliver(notice())
    assert caught.value is limit
    api.fault = None
    assert made.deliver(notice()) == "message 5012"


def test_no_log_and_no_error_names_the_token(api: service.Telegram) -> None:
    """It is part of the path of each request, and in what some servers say."""
    with logged(level="debug") as log:
        for fault in [*faults.ALL.values(), None]:
            api.fault = fault
            made = channel(api)
            shown = repr(made.settings)
            try:
                with gevent.Timeout(0.3):
                    made.deliver(notice())
            except (Undelivered, gevent.Timeout) as error:
                shown += f"{error} {error!r} {error.__context__!r} {error.__cause__!r}"
            assert TOKEN.partition(":")[2] not in shown
    assert TOKEN not in log.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('bot_token: "sEcReT"\nchat_id: "42"', "bot_token: does not look like the token of a bot"),
        ('bot_token: "1:a/sEcReT"\nchat_id: "42"', "bot_token: does not look like the token of a bot"),
        ('chat_id: "42"', "bot_token: is missing (token of the bot)"),
        ('bot_token: "1:a"\nchat_id: "the group"', "chat_id: 'the group' does not look like a chat"),
        ('bot_token: "1:a"\nchat_id: "42"\ntopic: -1', "topic: -1 is not a topic"),
        (
            'bot_token: "1:a"\nchat_id: "42"\nsilent: [warning]',
            "is 'warning' (one of: info, warn,",
        ),
        ('bot_token: "1:a"\nchat_id: "42"\nbase_url: api.test', "base_url: 'api.test' is not a URL"),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(text: str, told: str) -> None:
    """In the words of the settings, and without a secret."""
    (mistake,) = mistakes_in(Telegram, text)
    assert told in mistake
    assert "sEcReT" not in mistake
