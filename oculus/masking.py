"""Secrets out of what is written: the last line of defence, behind the parts that know their own.

A traceback, or the error of a plugin, may hold any text. So the log, events and what a channel says of its
failures pass through here. Only what looks like a key is known: a password that is a word would be missing
from every other line.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

HIDDEN = "***"  # what is shown in place of a secret

# A text of this length is a key, and a shorter one if letters and digits are mixed in it.
_LONG, _MIXED = 16, 8  # characters

# What is longer is a template or a body, of which parts are shown at most.
_LONGEST = 500  # characters


class Mask:
    """Knows secrets, and takes them out of texts."""

    def __init__(self) -> None:
        self._known: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secret: str) -> None:
        """Know a secret from now on; of a URL its parts as well."""
        for text in _parts(secret):
            if _is_key(text) and text not in self._known:
                self._known[text] = None
                self._pattern = None

    def __call__(self, text: str) -> str:
        """Return a text with HIDDEN in place of each secret, in whichever form it stands there."""
        if not self._known:
            return text
        if self._pattern is None:
            forms = {form for secret in self._known for form in _forms(secret)}
            self._pattern = re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))))
        return self._pattern.sub(HIDDEN, text)

    def values(self, found: Any) -> Any:
        """Return the values of a JSON with all of their texts masked."""
        if isinstance(found, str):
            return self(found)
        if isinstance(found, Mapping):
            return {key: self.values(value) for key, value in found.items()}
        return [self.values(value) for value in found] if isinstance(found, list | tuple) else found


mask = Mask()


def _parts(secret: str) -> Iterator[str]:
    secret = secret.strip()
    if len(secret) > _LONGEST:
        return
    yield secret
    if "://" in secret:
        try:
            parts = urlsplit(secret)
            found = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query))]
            yield from (*found, parts.password or "")
        except ValueError:
            return
    elif " " in secret:  # such as `Bearer <token>`
        yield secret.rpartition(" ")[2]


def _is_key(text: str) -> bool:
    if len(text) >= _LONG:
        return True
    mixed = any(sign.isdigit() for sign in text) and any(sign.isalpha() for sign in text)
    return len(text) >= _MIXED and mixed


def _forms(secret: str) -> set[str]:
    """Return the ways in which a secret may be written."""
    encoded = base64.b64encode(secret.encode("utf-8", "replace")).decode()
    quoted = {quote(secret, ""), quote(secret), quote_plus(secret)}
    return {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], encoded, encoded.rstrip("=")} | quoted
