"""The mask: which texts it takes for keys, and in which forms it finds them."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest

from oculus.masking import Mask

KEY = "Zx7-tok/en+ü%42"


@pytest.mark.parametrize(
    "written",
    [KEY, quote(KEY, ""), quote(KEY), json.dumps(KEY)[1:-1], base64.b64encode(KEY.encode()).decode()],
)
def test_a_key_is_found_in_each_form(written: str) -> None:
    """As it is, in a URL, in JSON, and encoded."""
    mask = Mask()
    mask.learn(KEY)
    assert mask(f"it says {written}, twice: {written}") == "it says ***, twice: ***"


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("https://hooks.example.com/oculus/T00/abcdefghijklmnop1", "abcdefghijklmnop1"),
        ("https://x.example/hook?key=a1b2c3d4e5", "a1b2c3d4e5"),
        ("http://user:a1b2c3d4@proxy.example", "a1b2c3d4"),
        ("Bearer a1b2c3d4e5", "a1b2c3d4e5"),
        ("  a1b2c3d4e5\n", "a1b2c3d4e5"),
    ],
)
def test_the_key_within_a_secret_is_known(secret: str, shown: str) -> None:
    """Of a URL, of a header, and without the white space around it."""
    mask = Mask()
    mask.learn(secret)
    assert mask(f"<{shown}>") == "<***>"
    assert mask("hooks.example.com, oculus, Bearer, user") == "hooks.example.com, oculus, Bearer, user"


@pytest.mark.parametrize("secret", ["", "password", "oculus", "12345678", "a1b2c3", "x" * 501, "http://[x"])
def test_what_looks_like_no_key_hides_nothing(secret: str) -> None:
    """Or a word would be missing from every other line."""
    mask = Mask()
    mask.learn(secret)
    assert mask(f"the text {secret}") == f"the text {secret}"


def test_values_of_a_json_are_masked() -> None:
    """Their texts, wherever they are; keys and numbers stay."""
    mask = Mask()
    mask.learn("a1b2c3d4e5")
    found = {"a1b2c3d4e5": ["a1b2c3d4e5", 1, None, {"x": "is a1b2c3d4e5"}], "y": ("a1b2c3d4e5",)}
    assert mask.values(found) == {"a1b2c3d4e5": ["***", 1, None, {"x": "is ***"}], "y": ["***"]}


def test_many_secrets_cost_little() -> None:
    """A line of the log is looked through in no time."""
    mask = Mask()
    for number in range(300):
        mask.learn(f"token-{number:08d}")
    mask("the first line takes longer")
    began = time.process_time()
    for _ in range(100):
        mask("collector network/http/site failed: connection refused, and some more words about it" * 3)
    assert time.process_time() - began < 2  # it takes 0.05
