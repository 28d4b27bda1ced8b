"""The Discord channel against a stand-in of its webhooks: embeds, limits, mentions, refusals, no secrets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from oculus.model import SEVERITIES
from oculus.notify.base import Undelivered
from oculus.notify.chat import COLOURS
from oculus.notify.discord import Discord
from tests.notify.made import LINK, SERIES, after, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import discord as service
from tests.standins import faults
from tests.standins.discord import ROLE, TOKEN
from tests.standins.text import payload
from tests.support.log import logged


@pytest.fixture
def api() -> Iterator[service.Discord]:
    """Discord, with a webhook."""
    running = service.Discord()
    yield running
    running.stop()


def channel(api: service.Discord, text: str = "", webhook: str = "") -> Discord:
    """Return a channel with further settings."""
    made = read(Discord, f'webhook_url: "{webhook or api.webhook}"\nbase_url: "{api.url}"\n{text}')
    assert isinstance(made, Discord)
    return made


def embed(api: service.Discord) -> dict[str, Any]:
    """Return the embed of the last message."""
    (found,) = api.posted[-1]["embeds"]
    assert isinstance(found, dict)
    return found


def test_an_alert_arrives_as_an_embed(api: service.Discord) -> None:
    """Title with the link, what happened and why, facts and series; the answer is the message's id."""
    told = channel(api).deliver(notice())
    assert told == "message 1407998877665544333"
    assert api.requests[0].query == {"wait": "true"}
    assert embed(api) == {
        "title": r"🔴 \[critical] btc\_price (crypto.price.btc\_usd)",
        "url": LINK,
        "color": 0xE74C3C,
        "timestamp": "2026-08-20T12:02:00.000Z",
        "description": "BTC crossed $100k (for 2 min)\n*crypto.price.btc\\_usd (100012.5) \\> 100000*",
        "fields": [
            {"name": "Severity", "value": "critical", "inline": True},
            {"name": "Value", "value": "100012.5", "inline": True},
            {"name": "Began", "value": "12:00 UTC", "inline": True},
            {"name": "Series", "value": f"[crypto.price.btc\\_usd]({SERIES})", "inline": True},
        ],
    }
    assert api.posted[0]["allowed_mentions"] == {"parse": []}
    assert "content" not in api.posted[0]


def test_a_single_alert_comes_with_a_picture_of_its_series(api: service.Discord) -> None:
    """It stands in the embed."""
    channel(api, "mention: '@here'").deliver(notice(history=(1.0, 2.0)))
    assert embed(api)["image"] == {"url": "attachment://chart.png"}
    (picture,) = api.posted[0]["files"].items()
    assert picture[0] == "chart.png"
    assert picture[1].startswith(b"\x89PNG")
    assert api.called == ["@here"]
    channel(api, "chart: false").deliver(notice(history=(1.0, 2.0)))
    assert "image" not in embed(api)


def test_each_severity_has_its_colour_and_an_end_has_its_own(api: service.Discord) -> None:
    """One sees from afar what it is about."""
    made = channel(api)
    steps = [firing(severity=severity) for severity in SEVERITIES]
    for step in (*steps, resolved()):
        made.deliver(notice(step))
    colours = [message["embeds"][0]["color"] for message in api.posted]
    assert colours == [COLOURS[name] for name in ("info", "warn", "error", "critical", "resolved")]
    assert len(set(colours)) == 5
    assert embed(api)["description"] == "BTC crossed $100k (lasted 14 min)"


def test_a_late_message_says_so(api: service.Discord) -> None:
    """Below it, and its time is that of the alert."""
    channel(api).deliver(notice(sent_at=after(16)))
    assert "14 min late" in embed(api)["footer"]["text"]
    assert embed(api)["timestamp"] == "2026-08-20T12:02:00.000Z"


def test_markdown_in_a_message_means_nothing(api: service.Discord) -> None:
    """Addresses stay as they are, so that they lead where they should."""
    text = "# *a* __b__ ~~c~~ `d` ||e|| [f](http://g.test/h_i_j) <@1> > k - l \\"
    channel(api).deliver(notice(firing(message=text, explanation="")))
    shown = embed(api)["description"].removesuffix(" (for 2 min)")
    escaped = r"\# \*a\* \_\_b\_\_ \~\~c\~\~ \`d\` \|\|e\|\| \[f](http://g.test/h_i_j) \<@1> \> k \- l "
    assert shown == escaped + r"\\"


def test_a_symbol_leads_to_its_series_and_nowhere_else(api: service.Discord) -> None:
    """A query may call a symbol what it likes; an address too long for a field is left out."""
    channel(api).deliver(
        notice(firing(symbol="a](http://g.test/) @everyone"), series_link="https://o.test/s/a)b")
    )
    assert embed(api)["fields"][-1]["value"] == r"[a\](http://g.test/) @everyone](https://o.test/s/a%29b)"
    assert api.called == []
    channel(api).deliver(notice(series_link="https://oculus.example/" + "a" * 1024))
    assert [field["name"] for field in embed(api)["fields"]] == ["Severity", "Value", "Began"]


def test_a_template_is_text_unless_it_is_markup(api: service.Discord) -> None:
    """The same text under both settings."""
    told = notice(text="**hot** & cold\nsecond")
    channel(api).deliver(told)
    channel(api, "markup: true").deliver(told)
    assert [message["embeds"][0]["description"] for message in api.posted] == [
        "\\*\\*hot\\*\\* & cold\nsecond",
        "**hot** & cold\nsecond",
    ]


@pytest.mark.parametrize("sign", ["x", "_", "😀", "x " * 3])
def test_no_limit_is_ever_passed(api: service.Discord, sign: str) -> None:
    """The longest of everything is taken at the first try, and what is left out is counted."""
    long = sign * 7000
    steps = [
        firing(f"rule_{long}"[:300], message=f"{index} {long}"[:500], explanation=long) for index in range(50)
    ]
    channel(api).deliver(notice(*steps, more=3, link="https://oculus.example/" + "a" * 1000))
    channel(api).deliver(notice(firing(long, message=long, explanation=long), sent_at=after(60)))
    channel(api).deliver(notice(text=long))
    assert len(api.requests) == 3
    first, *others = (message["embeds"][0]["description"].splitlines() for message in api.posted)
    shown = sum(line.startswith("•") for line in first)
    assert 0 < shown < 50
    assert first[-1] == f"… +{53 - shown} more"
    assert [lines[-1].startswith("… +") for lines in others] == [True, True]


@pytest.mark.parametrize(
    ("mention", "allowed"),
    [
        ("@everyone", {"parse": ["everyone"]}),
        ("@here", {"parse": ["everyone"]}),
        (f"<@&{ROLE}>", {"parse": [], "roles": [ROLE]}),
        ("<@123>", {"parse": [], "users": ["123"]}),
    ],
)
def test_a_critical_alert_calls(api: service.Discord, mention: str, allowed: dict[str, Any]) -> None:
    """Whom the settings name, and nobody else, whatever the texts say; nothing else calls anybody."""
    made = channel(api, f'mention: "{mention}"')
    made.deliver(notice(firing(message="@everyone <@&5> <@6>")))
    assert api.called == [mention]
    assert api.posted[0]["allowed_mentions"] == allowed
    made.deliver(notice(firing(severity="error", message="@everyone <@&5> <@6>")))
    made.deliver(notice(resolved()))
    assert api.called == [mention]
    assert api.posted[1]["allowed_mentions"] == {"parse": []}


def test_several_may_be_called(api: service.Discord) -> None:
    """A role, a person, and all."""
    channel(api, f'mention: ["<@&{ROLE}>", "<@123>", "@here"]').deliver(notice())
    assert sorted(api.called) == sorted([f"<@&{ROLE}>", "<@123>", "@here"])


def test_a_thread_a_name_and_a_picture(api: service.Discord) -> None:
    """A thread may also stand in the webhook's URL; one that is not there is a mistake of the settings."""
    own = "username: Watch\navatar_url: https://oculus.example/a.png"
    channel(api, f"thread_id: '998877665544332200'\n{own}").deliver(notice())
    channel(api, webhook=f"{api.webhook}?thread_id=998877665544332200").deliver(notice())
    assert [message["thread"] for message in api.posted] == ["998877665544332200"] * 2
    assert (api.posted[0]["username"], api.posted[0]["avatar_url"][-5:]) == ("Watch", "a.png")
    error = refusal(channel(api, "thread_id: '1'"), notice(), TOKEN)
    assert (str(error), error.permanent) == (
        "404: Unknown Channel (the thread is not there (see thread_id))",
        True,
    )
    api.forum = True
    assert "name one of its threads as thread_id" in str(refusal(channel(api), notice(), TOKEN))


def test_an_embed_that_is_not_taken_arrives_as_plain_text(api: service.Discord) -> None:
    """Such as one whose link Discord does not like; the record says why."""
    api.links_anywhere = False
    made = channel(api, f'mention: "<@&{ROLE}>"')
    with logged() as log:
        told = made.deliver(notice(link="http://watch:8080/alerts/1", sent_at=after(16)))
    why = "Invalid Form Body: embeds.0.url: Not a well formed URL."
    assert told == f"message 1407998877665544333, as plain text, since Discord said: {why}"
    assert why in log.text
    title, late, line, *_, link, series = api.posted[0]["content"].splitlines()
    assert title == rf"<@&{ROLE}> **🔴 \[critical] btc\_price (crypto.price.btc\_usd)**"
    assert "late" in late
    assert (line, link) == ("BTC crossed $100k (for 16 min)", "<http://watch:8080/alerts/1>")
    assert series == f"<{SERIES}>"
    assert api.called == [f"<@&{ROLE}>"]
    made.deliver(notice(*[firing(message="_" * 500)] * 40, link="http://watch:8080/alerts/1"))
    assert "more\n<http" in api.posted[1]["content"]


def test_what_is_left_of_the_limit_is_kept_to(api: service.Discord) -> None:
    """After the last message of a window one waits a moment, instead of being refused."""
    api.left = 2
    made = channel(api)
    made.deliver(notice())
    made.deliver(notice())
    begun = time.monotonic()
    made.deliver(notice())
    assert time.monotonic() - begun >= api.reset_after - 0.05
    api.left, api.reset_after = 1, 60.0
    made.deliver(notice())
    error = refusal(made, notice(), TOKEN)
    assert (error.permanent, len(api.requests)) == (False, 4)
    assert error.retry_after is not None
    assert 50 < error.retry_after <= 60


@pytest.mark.parametrize(
    ("body", "seconds", "told"),
    [
        (payload("discord-error-429-user.json"), 0.748, "429: You are being rate limited."),
        (payload("discord-error-429-shared.json"), 31.2, "429: The resource is being rate limited."),
        (payload("discord-error-429-global.json"), 64.57, "429: You are being rate limited."),
        (payload("discord-error-429-cloudflare.txt"), 1, "429: Access denied error code: 1015"),
    ],
)
def test_too_many_messages_wait_as_long_as_discord_says(
    api: service.Discord, body: Any, seconds: float, told: str
) -> None:
    """In parts of seconds where the body tells them, else in the header's whole ones."""
    api.too_many = body
    api.fault = faults.rate_limited(1)
    error = refusal(channel(api), notice(), TOKEN)
    assert (str(error), error.permanent, error.retry_after) == (told, False, seconds)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("1/sEcReT", "404: Unknown Webhook (the webhook was deleted: make a new one (see webhook_url))"),
        (
            f"{service.ID}/sEcReT",
            "401: Invalid Webhook Token (the webhook's token is wrong (see webhook_url))",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(api: service.Discord, path: str, told: str) -> None:
    """And is not tried again: Discord blocks who goes on asking for a webhook that is gone."""
    made = channel(api, webhook=f"https://discord.com/api/webhooks/{path}")
    error = refusal(made, notice(), "sEcReT")
    assert (str(error), error.permanent) == (told, True)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.error(503), "503: "),
        (faults.html(), "what answered is not Discord: One moment please"),
        (faults.reset(), "connection reset by peer"),
        (faults.down(), "connection refused"),
    ],
)
def test_what_passes_is_tried_again(api: service.Discord, fault: faults.Fault, told: str) -> None:
    """Whatever stands between here and there."""
    made = channel(api)
    api.fault = fault
    error = refusal(made, notice(), TOKEN)
    assert str(error).startswith(told)
    assert not error.permanent
    api.fault = None
    assert made.deliver(notice()).startswith("message ")


def test_no_log_and_no_error_names_the_token(api: service.Discord) -> None:
    """It is part of the URL of each request."""
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
            assert TOKEN not in shown
    assert TOKEN not in log.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "webhook_url: sEcReT",
            "webhook_url: is not a URL, so that nothing can be sent (https://discord.com/api/webhooks/",
        ),
        (
            "webhook_url: https://discord.com/api/webhooks/1/sEcReT/slack",
            "does not look like the URL of a webhook",
        ),
        ("username: x", "webhook_url: is missing (URL of the webhook)"),
        (
            "webhook_url: https://d.test/api/webhooks/1/a\nmention: '@all'",
            "mention: '@all' is no mention (known:",
        ),
        (
            "webhook_url: https://d.test/api/webhooks/1/a\nthread_id: general",
            "'general' is not the id of a thread",
        ),
        (
            "webhook_url: https://d.test/api/webhooks/1/a\nusername: Discordia",
            "is no name that Discord takes",
        ),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(text: str, told: str) -> None:
    """In the words of the settings, and without a secret."""
    (mistake,) = mistakes_in(Discord, text)
    assert told in mistake
    assert "sEcReT" not in mistake
