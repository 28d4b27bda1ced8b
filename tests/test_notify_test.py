"""oculus notify-test: a made-up alert through a configured channel, with real processes and stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.standins.webhook import Webhook
from tests.support.command import Ended, oculus


def configured(text: str) -> None:
    """Write the configuration of the working directory."""
    Path("config.yaml").write_text(f"notifications:\n  {text}\n")


def test_what_the_service_says_is_told() -> None:
    """And the alert says that it is a test."""
    receiver = Webhook()
    try:
        configured(f'ops: {{type: webhook, url: "{receiver.url}/x", secret: sEcReT}}')
        ended = oculus("notify-test", "ops", "--severity", "critical")
    finally:
        receiver.stop()
    assert ended == Ended(0, ended.out, "")
    assert ended.out.startswith("ops: sent")
    assert "sEcReT" not in ended.out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('ops: {type: webhook, url: "http://127.0.0.1:9/sEcReT"}', "oculus: connection refused\n"),
        ('ops: {type: telegram, bot_token: "1:sEcReT", chat_id: "4", base_url: "http://127.0.0.1:9"}',
         "oculus: connection refused\n"),
        ("mail: {type: ntfy, topic: x}",
         "there is no channel 'ops' in config.yaml (known: log, mail)\n"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_line(text: str, told: str) -> None:
    """Without a secret, and with a status that says so."""
    configured(text)
    ended = oculus("notify-test", "ops")
    assert (ended.status > 0, ended.out, ended.err) == (True, "", told)


def test_the_log_is_a_channel_too() -> None:
    """It needs nothing."""
    configured("log: {}")
    ended = oculus("notify-test", "log")
    assert ended.status == 0
    assert "This is a test of the channel log" in ended.out + ended.err
