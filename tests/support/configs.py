"""Configurations for tests: files in the working directory, read with this version's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from oculus.config import Settings, load
from oculus.config.document import Mistakes, Node, read
from oculus.errors import ConfigError
from oculus.vocabulary import vocabulary

VOCABULARY = vocabulary()

# The example of the project's original document; it must run unchanged.
SEED = """\
# Example: config.yaml
collectors:
  - type: network
    probe: ping
    target: 8.8.8.8
    interval: 30s

  - type: crypto
    asset: btc_usd
    source: coingecko
    interval: 60s

rules:
  - name: btc_price_alert
    condition: "crypto.price.btc_usd > 100000"
    severity: info
    channels: [telegram, log]
"""


def write(files: Mapping[str, str | bytes]) -> None:
    """Write files below the working directory, with their folders."""
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def settings_of(text: str | bytes, name: str = "c.yaml", environ: Mapping[str, str] = {}) -> Settings:
    """Return the settings of a configuration that must be right."""
    write({name: text})
    return load(name, VOCABULARY, environ)


def mistakes_of(text: str | bytes, name: str = "c.yaml", environ: Mapping[str, str] = {}) -> list[str]:
    """Return the mistakes of a configuration, none when it is right."""
    try:
        settings_of(text, name, environ)
    except ConfigError as error:
        return error.mistakes
    return []


def document(
    text: str | bytes, name: str = "c.yaml", environ: Mapping[str, str] = {}
) -> tuple[Node, list[str]]:
    """Return the nodes of a file and the mistakes that reading it found."""
    write({name: text})
    mistakes = Mistakes()
    return read(name, mistakes, environ), mistakes.errors


def plain(node: Node) -> object:
    """Return a node's content as dicts, lists and texts."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def lines(node: Node, path: str = "") -> dict[str, int]:
    """Return the line of every node below `node` by its path."""
    found: dict[str, int] = {}
    if isinstance(node.value, dict):
        children = [(f"{path}.{key}" if path else key, child) for key, child in node.value.items()]
    elif isinstance(node.value, list):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(node.value)]
    else:
        children = []
    for here, child in children:
        found[here] = child.line
        found |= lines(child, here)
    return found
