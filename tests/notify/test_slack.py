"""The Slack channel against a stand-in of its webhooks and its API: blocks, limits, refusals, no secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from oculus.model import SEVERITIES
from oculus.notify.base import Undelivered
from oculus.notify.slack import Slack
from tests.notify.made import LINK, SERIES, after, firing, mistakes_in, notice, read, refusal, resolved
from tests.standins import faults
from tests.standins import slack as service
from tests.standins.slack import CHANNEL, HOOK, SECRET, TOKEN
from tests.support.log import logged

SECRETS = (SECRET, TOKEN)
Make = Callable[..., Slack]


@pytest.fixture
def api() -> Iterator[service.Slack]:
    """Slack, with a webhook and a bot."""
    running = service.Slack()
    yield running
    running.stop()


def by_webhook(api: service.Slack, text: str = "", hook: str = HOOK) -> Slack:
    """Return a channel that writes through a webhook."""
    return made(f'webhook_url: "https://hooks.slack.com{hook}"\nbase_url: "{api.url}"\n{text}')


def by_bot(api: service.Slack, text: str = "", channel: str = CHANNEL, token: str = TOKEN) -> Slack:
    """Return a channel that writes as a bot."""
    return made(f'bot_token: "{token}"\nchannel: "{channel}"\nbase_url: "{api.url}"\n{text}')


def made(text: str) -> Slack:
    """Return the channel that a configuration describes."""
    found = read(Slack, text)
    assert isinstance(found, Slack)
    return found


BOTH = pytest.mark.parametrize("make", [by_webhook, by_bot])


def shown(message: dict[str, Any]) -> list[str]:
    """Return the texts of a message's blocks in the order in which they are shown."""
    (bar,) = message["attachments"]
    texts = []
    for block in [*message["blocks"], *bar["blocks"]]:
        texts += [block["text"]["text"]] if "text" in block else []
        texts += [each["text"] for each in block.get("fields", block.get("elements", []))]
    return texts


TO_SERIES = f"<{SERIES}|crypto.price.btc_usd>"
TITLE = f"*<{LINK}|🔴 [critical] btc_price (crypto.price.btc_usd)>*"


@BOTH
def test_an_alert_arrives_as_blocks(api: service.Slack, make: Make) -> None:
    """Title with the link, what happened and why, the facts, and the series; and all as one text, too."""
    told = make(api).deliver(notice(history=(1.0, 2.0)))
    assert told == ("ok" if make is by_webhook else "ts 1787227200.000100")
    (message,) = api.posted
    assert shown(message) == [
        TITLE,
        "BTC crossed $100k (for 2 min)\n_crypto.price.btc_usd (100012.5) &gt; 100000_",
        "*Severity*\ncritical", "*Value*\n100012.5", "*Began*\n12:00 UTC", "*Lately*\n▁█", TO_SERIES,
    ]  # fmt: skip
    assert message["attachments"][0]["color"] == "#E74C3C"
    assert message["text"].splitlines()[:2] == [TITLE, "BTC crossed $100k (for 2 min)"]
    assert message["text"].splitlines()[-1] == TO_SERIES
    assert message.get("channel") == (None if make is by_webhook else CHANNEL)


def test_each_severity_has_its_colour_and_an_end_has_its_own(api: service.Slack) -> None:
    """One sees from afar what it is about."""
    channel = by_webhook(api)
    for step in (*[firing(severity=severity) for severity in SEVERITIES], resolved()):
        channel.deliver(notice(step))
    assert len({message["attachments"][0]["color"] for message in api.posted}) == 5
    assert "BTC crossed $100k (lasted 14 min)" in shown(api.posted[-1])


def test_a_late_message_says_so(api: service.Slack) -> None:
    """By how much, and when what it tells began; in the text, too."""
    by_webhook(api).deliver(notice(sent_at=after(16)))
    assert "14 min late" in shown(api.posted[0])[-2]
    assert "14 min late" in api.posted[0]["text"]


@pytest.mark.parametrize("text", ["a < b & c > d", "<!channel>", "<@U123>", "&lt;", "<http://x.test|y>"])
def test_what_a_text_says_calls_nobody_and_means_nothing(api: service.Slack, text: str) -> None:
    """Each sign that would is escaped."""
    by_webhook(api).deliver(notice(firing(message=text, explanation=text * 2, symbol=None, value=None)))
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown(api.posted[0])[1] == f"{escaped} (for 2 min)\n_{escaped * 2}_"


def test_a_symbol_leads_to_its_series_and_nowhere_else(api: service.Slack) -> None:
    """A query may call a symbol what it likes."""
    by_webhook(api).deliver(notice(firing(symbol="a|b>&<!channel>")))
    assert shown(api.posted[0])[-1] == f"<{SERIES}|a|b&gt;&amp;&lt;!channel&gt;>"


def test_a_template_is_text_unless_it_is_markup(api: service.Slack) -> None:
    """The same text under both settings."""
    told = notice(text="*hot* &amp; <https://a.test|cold>\nsecond", link="", series_link="")
    by_webhook(api).deliver(told)
    by_webhook(api, "markup: true").deliver(told)
    assert [shown(message)[1:] for message in api.posted] == [
        ["*hot* &amp;amp; &lt;https://a.test|cold&gt;\nsecond"],
        ["*hot* &amp; <https://a.test|cold>\nsecond"],
    ]


@pytest.mark.parametrize("sign", ["x", "&", "😀", "x " * 3])
def test_no_limit_is_ever_passed(api: service.Slack, sign: str) -> None:
    """The longest of everything is taken at the first try, and what is left out is counted."""
    long = sign * 7000
    steps = [
        firing(f"rule_{long}"[:300], message=f"{index} {long}"[:500], explanation=long) for index in range(90)
    ]
    by_webhook(api).deliver(notice(*steps, more=3, link="https://oculus.example/" + "a" * 1000))
    by_webhook(api).deliver(notice(firing(long, message=long, explanation=long), sent_at=after(60)))
    by_webhook(api).deliver(notice(text=long * 2))
    assert len(api.requests) == 3
    lines = "\n".join(shown(api.posted[0])).splitlines()
    count = sum(line.startswith("•") for line in lines)
    assert 0 < count < 90
    assert f"… +{93 - count} more" in lines
    assert all("… +" in message["text"] for message in api.posted)


@pytest.mark.parametrize("mention", ["<!channel>", "<!here>", "<@U0123ABC>", "<!subteam^S0123>"])
@BOTH
def test_a_critical_alert_calls(api: service.Slack, make: Make, mention: str) -> None:
    """Whom the settings name; nothing else calls anybody."""
    channel = make(api, f'mention: "{mention}"')
    for step in (firing(), firing(severity="error"), resolved()):
        channel.deliver(notice(step))
    assert shown(api.posted[0])[0] == f"{mention} {TITLE}"
    assert [mention in str(message) for message in api.posted] == [True, False, False]


@BOTH
def test_blocks_that_are_not_taken_arrive_as_plain_text(api: service.Slack, make: Make) -> None:
    """All of it; the record says why."""
    api.most_blocks = 0
    steps = [firing(message=f"alert {index} " + "x" * 100) for index in range(20)]
    with logged() as log:
        told = make(api, "mention: <!here>").deliver(notice(*steps))
    assert told.endswith(", as plain text, since Slack said: invalid_blocks")
    assert "invalid_blocks" in log.text
    text = api.posted[0]["text"]
    assert text.startswith("<!here> *<")
    assert all(f"alert {index} " in text for index in range(20))
    assert "blocks" not in api.posted[0]


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (400, "user_not_found", "user_not_found (the webhook is for a person who is not there"),
        (403, "action_prohibited", "action_prohibited (an administrator has forbidden posting there)"),
        (403, "invalid_token", "invalid_token (the webhook's URL is wrong (see webhook_url))"),
        (404, "channel_not_found", "channel_not_found (is the channel right"),
        (404, "no_service", "no_service (the webhook was removed or disabled: make a new one"),
        (410, "channel_is_archived", "channel_is_archived (the channel is archived"),
        (400, "some_new_error", "some_new_error"),
    ],
)
def test_what_a_webhook_refuses_is_told_with_what_to_do(
    api: service.Slack, status: int, code: str, told: str
) -> None:
    """And is not tried again, also where the status is one of success."""
    api.refusal = (status, code)
    error = refusal(by_webhook(api), notice(), *SECRETS)
    assert str(error).startswith(f"{status}: {told}")
    assert error.permanent
    api.refusal = (200, code)
    error = refusal(by_webhook(api), notice(), *SECRETS)
    assert str(error).startswith(f"Slack: {told}")
    assert error.permanent


def test_a_webhook_that_is_gone(api: service.Slack) -> None:
    """Its URL is not shown."""
    error = refusal(by_webhook(api, hook="/services/T0/B0/sEcReT"), notice(), "sEcReT")
    assert str(error).startswith("404: no_service (the webhook was removed")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"token": "xoxb-1-other"},
            "Slack: invalid_auth (the bot token is wrong or no longer valid (see bot_token))",
        ),
        ({"channel": "#nowhere"}, "Slack: channel_not_found (is the channel right"),
        ({"channel": "C0000000001"}, "Slack: not_in_channel (invite the bot to the channel)"),
    ],
)
def test_what_the_api_refuses_is_told_with_what_to_do(
    api: service.Slack, settings: dict[str, Any], told: str
) -> None:
    """It answers 200 to everything."""
    error = refusal(by_bot(api, **settings), notice(), *SECRETS, "xoxb-1-other")
    assert str(error).startswith(told)
    assert error.permanent


@pytest.mark.parametrize("code", ["internal_error", "ratelimited", "service_unavailable"])
def test_what_the_api_calls_its_own_fault_is_tried_again(api: service.Slack, code: str) -> None:
    """It says so with a status of success."""
    api.refusal = (200, code)
    assert not refusal(by_bot(api), notice(), *SECRETS).permanent


@BOTH
def test_too_many_messages_wait_as_long_as_slack_says(api: service.Slack, make: Make) -> None:
    """With or without a body."""
    api.fault = faults.rate_limited(30)
    error = refusal(make(api), notice(), *SECRETS)
    assert (error.permanent, error.retry_after) == (False, 30)
    assert str(error) in ("429: rate_limited", "429: ratelimited")
    api.silent_refusal = True
    error = refusal(by_webhook(api), notice(), *SECRETS)
    assert (str(error), error.retry_after) == ("429: Too Many Requests", 30)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.error(500), "500: "),
        (faults.html(), "what answered is not Slack: One moment please"),
        (faults.reset(), "connection reset by peer"),
        (faults.down(), "connection refused"),
    ],
)
@BOTH
def test_what_passes_is_tried_again(api: service.Slack, make: Make, fault: faults.Fault, told: str) -> None:
    """Whatever stands between here and there."""
    channel = make(api)
    api.fault = fault
    error = refusal(channel, notice(), *SECRETS)
    assert str(error).startswith(told)
    assert not error.permanent
    api.fault = None
    assert channel.deliver(notice())


@BOTH
def test_no_log_and_no_error_names_a_secret(api: service.Slack, make: Make) -> None:
    """Neither the webhook's URL nor the bot's token."""
    with logged(level="debug") as log:
        for fault in [*faults.ALL.values(), None]:
            api.fault = fault
            channel = make(api)
            shown = repr(channel.settings)
            try:
                with gevent.Timeout(0.3):
                    channel.deliver(notice())
            except (Undelivered, gevent.Timeout) as error:
                shown += f"{error} {error!r} {error.__context__!r} {error.__cause__!r}"
            assert not [secret for secret in SECRETS if secret in shown]
    assert not [secret for secret in SECRETS if secret in log.text]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "needs either webhook_url, or bot_token and channel (give one of them)"),
        (
            "webhook_url: https://a.test/x\nbot_token: xoxb-sEcReT\nchannel: C1",
            "needs either webhook_url, or",
        ),
        ("bot_token: xoxb-sEcReT", "bot_token and channel go together"),
        (
            "bot_token: sEcReT\nchannel: C1",
            "bot_token: does not look like the token of a bot (it begins with xoxb-)",
        ),
        ("bot_token: xoxb-1\nchannel: a b", "channel: 'a b' is not a channel"),
        ("webhook_url: sEcReT", "webhook_url: does not look like the URL of a webhook"),
        ("webhook_url: https://hooks.slack.com/triggers/T/sEcReT", "webhook_url: is that of a workflow"),
        ("webhook_url: https://a.test/x\nmention: '@channel'", "mention: '@channel' is no mention (known:"),
    ],
)
def test_mistakes_are_told_when_the_file_is_read(text: str, told: str) -> None:
    """In the words of the settings, and without a secret."""
    (mistake,) = mistakes_in(Slack, text)
    assert told in mistake
    assert "sEcReT" not in mistake
