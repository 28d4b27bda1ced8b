"""Secrets in files of their own, which `<key>_file` names, and out of the messages about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

from oculus.config.document import Mistakes, Node

# Longest secret in a file, a private key with its chain included; more is likelier the wrong file.
MAX_SECRET = 64_000  # bytes

# A shorter text is in many a message for other reasons.
_HIDDEN = 4  # characters


def with_secrets(
    node: Node, files: Mapping[str, str], path: str, mistakes: Mistakes
) -> tuple[dict[str, Node], bool]:
    """Return the settings of a mapping with what their files hold in place of `<key>_file`, and whether
    anything is wrong with those."""
    assert isinstance(node.value, dict)
    if not any(name in node.value for name in files):
        return node.value, False
    given, wrong = {name: child for name, child in node.value.items() if name not in files}, False
    for name, key in files.items():
        child = node.value.get(name)
        if child is None or child.value is None:
            continue
        here, beside = f"{path}.{name}" if path else name, given.get(key)
        secret = _secret(child, here, mistakes)
        if secret is None:
            wrong = True
        elif beside is None or beside.value is None:
            given[key] = secret
        elif isinstance(beside.value, dict) and isinstance(secret.value, dict):
            # A mapping, such as that of headers, may have some entries here and others in files.
            for twice in sorted(beside.value.keys() & secret.value.keys()):
                mistakes.add(
                    secret.value[twice], f"{here}.{twice}", f"is in {key} already (keep one of them)"
                )
                wrong = True
            given[key] = dataclasses.replace(beside, value={**beside.value, **secret.value})
        else:
            mistakes.add(child, here, f"stands beside {key} (keep one of them)")
            wrong = True
    return given, wrong


def _secret(node: Node, path: str, mistakes: Mistakes) -> Node | None:
    """Return a node with the contents of the file that it names, or of those that its items name."""
    if node.broken:
        return None
    if isinstance(node.value, dict):
        inner = {key: _secret(child, f"{path}.{key}", mistakes) for key, child in node.value.items()}
        whole = {key: child for key, child in inner.items() if child is not None}
        return dataclasses.replace(node, value=whole) if len(whole) == len(inner) else None
    if not isinstance(node.value, str):
        mistakes.add(node, path, f"is {node.kind} (the path of a file)")
        return None
    try:
        file = Path(node.value)
        if not file.is_file():  # a pipe could keep us waiting, a device be without end
            raise ValueError("is no file" if file.exists() else "there is no such file")
        with file.open("rb") as opened:
            data = opened.read(MAX_SECRET + 1)
        if len(data) > MAX_SECRET:
            raise ValueError(f"has more than {MAX_SECRET // 1000} kB, which is no secret")
        text = data.decode("utf-8-sig").strip()
        if not text:
            raise ValueError("is empty")
    except UnicodeDecodeError:
        mistakes.add(node, path, f"{node.value}: is not UTF-8 text")
    except (OSError, ValueError) as error:
        mistakes.add(node, path, f"{node.value}: {getattr(error, 'strerror', None) or error}")
    else:
        return dataclasses.replace(node, value=text, plain=False)
    return None


def hide(node: Node, mistakes: Mistakes, since: int) -> None:
    """Take the texts of a secret setting out of the mistakes from number `since` on."""
    for text in texts(node):
        if len(text) >= _HIDDEN:
            for form in (repr(text), repr(text)[1:-1], text):
                mistakes.errors[since:] = [error.replace(form, "***") for error in mistakes.errors[since:]]


def texts(node: Node) -> Iterator[str]:
    """Yield the texts that a setting holds."""
    if isinstance(node.value, str):
        yield node.value
    elif node.value is not None:
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from texts(child)
