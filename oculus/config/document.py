"""Files to positioned nodes: YAML and TOML, `include:`, and `${VAR}`.

A node knows its file and line, so that every later mistake can be told to the user with its place.
Scalars keep the text that was written: what it means is decided by the setting that it is for, so
`chat_id: 42` is text, `port: "8080"` is a number, and none of YAML's guesses (`no`, `1:30`) matter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml import nodes as yaml_nodes

# `$${`, `${NAME}` or `${NAME:-default}`, and what looks like one but is none; `${{` is Jinja2 behind a `$`.
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{)[^}])*))?\}|\$\{(?!\{)")

# Files that an included folder contributes.
_SUFFIXES = (".yaml", ".yml", ".toml")

# Aliases may repeat a node, but not without end: a few lines of YAML can ask for billions of nodes.
_MAX_NODES = 200_000

# Levels of nesting; a configuration needs a handful, and Python's stack holds a few hundred.
_MAX_DEPTH = 100

# The YAML library recurses on the C stack, which ends the process at some 20,000 levels; a text with fewer
# signs than this that may begin a level is safe without a look at its depth.
_SAFE_SIGNS = 5_000

_DEEP = f"is nested too deeply (at most {_MAX_DEPTH} levels)"

# What a path that is none raises, besides OSError: NUL in it, a wrong glob, a loop of links.
_NO_FILE = (OSError, ValueError, RuntimeError)


@dataclass(slots=True)
class Node:
    """A mapping, a list or a scalar of a configuration file.

    `value` is `dict[str, Node]`, `list[Node]`, or the scalar's text; `None` is an empty scalar.
    `plain` tells a scalar written without quotes. `key_lines` gives the line of each key of a mapping.
    """

    file: str
    line: int
    value: dict[str, Node] | list[Node] | str | None
    plain: bool = True
    key_lines: dict[str, int] = field(default_factory=dict)
    broken: bool = False  # holds a variable that could not be replaced, which was told already

    @property
    def kind(self) -> str:
        """What it is, in words for a message."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        return "nothing" if self.value is None else f"{self.value!r}"


class Mistakes:
    """Collects mistakes and warnings, each as `FILE:LINE: path: text`."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def add(self, node: Node, path: str, text: str, *, line: int | None = None, below: str = "") -> None:
        """Note a mistake at `node`, or at `line` of its file, with lines to show below it."""
        self.errors.append(_place(node, path, text, line) + (f"\n{below}" if below else ""))

    def warn(self, node: Node, path: str, text: str) -> None:
        """Note something that is accepted but likely not what was meant."""
        self.warnings.append(_place(node, path, text, None))


def _place(node: Node, path: str, text: str, line: int | None) -> str:
    where = f"{node.file}:{line or node.line}: "
    told = f"{where}{path}: {text}" if path else f"{where}{text}"
    return told.replace("\r", "\\r").replace("\n", "\\n")  # a key or value may hold line breaks


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _too_deep(text: str, loader: Any) -> int:
    """Return the line where a YAML text goes deeper than allowed, or 0; raises yaml.YAMLError."""
    if sum(map(text.count, "[{:-?")) < _SAFE_SIGNS:
        return 0
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            return int(event.start_mark.line) + 1  # type: ignore[union-attr]
    return 0


def read(path: str, mistakes: Mistakes, environ: Mapping[str, str] = os.environ) -> Node:
    """Read a configuration file with all that it includes, and return the merged mapping.

    Whatever is wrong is added to `mistakes`; the node then holds what could be read.
    """
    reader = _Reader(mistakes, environ)
    return reader.file(path, path, None)


def parse(text: str, name: str, mistakes: Mistakes, environ: Mapping[str, str] = os.environ) -> Node:
    """Parse YAML text that is no file, such as the built-in configuration."""
    reader = _Reader(mistakes, environ)
    return reader.mapping(reader.expand(reader.yaml(text, name), ""), name)


def fragment(text: str, name: str, mistakes: Mistakes) -> Node:
    """Parse YAML text that came from outside: no environment variable is filled in, no file included."""
    return _Reader(mistakes, {}).yaml(text, name)


def written(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML, texts of several lines as such."""

    class Dumper(yaml.SafeDumper):
        """As people write it."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml_nodes.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, "|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Reader:
    """Reads one tree of files; remembers which are open so that a file cannot include itself."""

    def __init__(self, mistakes: Mistakes, environ: Mapping[str, str]) -> None:
        self._mistakes = mistakes
        self._environ = environ
        self._open: list[Path] = []
        self._count = 0

    def file(self, path: str, shown: str, asked_by: Node | None) -> Node:
        """Read one file and its includes. `shown` is how messages name it."""
        empty = Node(shown, 1, {})
        at = asked_by or empty
        try:
            real = Path(path).resolve()
            if real in self._open:
                self._mistakes.add(at, "include", f"{shown} includes itself")
                return empty
            data = Path(path).read_bytes()
        except FileNotFoundError:
            self._unreadable(asked_by, shown, "there is no such file")
            return empty
        except _NO_FILE as error:
            self._unreadable(asked_by, shown, f"cannot be read: {_reason(error)}")
            return empty
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            self._mistakes.add(empty, "", "is not UTF-8 text", line=line)
            return empty
        raw = self.toml(text, shown) if path.endswith(".toml") else self.yaml(text, shown)
        root = self.mapping(self.expand(raw, ""), shown)
        self._open.append(real)
        try:
            return self._include(root, Path(path).parent)
        finally:
            self._open.pop()

    def _unreadable(self, asked_by: Node | None, shown: str, why: str) -> None:
        if asked_by is None:
            self._mistakes.errors.append(f"{shown}: {why}")
        else:
            self._mistakes.add(asked_by, "include", f"{shown}: {why}")

    def mapping(self, node: Node, shown: str) -> Node:
        """Return `node` if it is a mapping, an empty one if it is nothing; else note the mistake."""
        if isinstance(node.value, dict):
            return node
        if node.value is not None:
            self._mistakes.add(
                node, "", f"the file holds {node.kind} (a mapping such as `collectors: [...]`)"
            )
        return Node(shown, 1, {})

    def _include(self, root: Node, folder: Path) -> Node:
        assert isinstance(root.value, dict)
        include = root.value.pop("include", None)
        if include is None or include.value is None:
            return root
        wanted = include.value if isinstance(include.value, list) else [include]
        for item in wanted:
            if not isinstance(item.value, str):
                self._mistakes.add(item, "include", f"is {item.kind} (a file, a folder or a glob)")
                continue
            try:
                matches = list(self._matches(item, folder))
            except _NO_FILE as error:
                self._mistakes.add(item, "include", f"{item.value} cannot be read: {_reason(error)}")
                continue
            for found in matches:
                self._merge(root, self.file(str(found), str(found), item), "")
        return root

    def _matches(self, item: Node, folder: Path) -> Iterator[Path]:
        assert isinstance(item.value, str)
        pattern = item.value
        if any(sign in pattern for sign in "*?["):
            base = Path(pattern).anchor or folder
            relative = Path(pattern).relative_to(Path(pattern).anchor) if Path(pattern).anchor else pattern
            yield from sorted(path for path in Path(base).glob(str(relative)) if path.is_file())
            return
        path = folder / pattern
        if path.is_dir():
            yield from sorted(child for child in path.iterdir() if child.suffix in _SUFFIXES)
        else:
            yield path

    def _merge(self, into: Node, other: Node, path: str) -> None:
        """Merge mappings key by key, append lists; two scalars for one key are a mistake."""
        assert isinstance(into.value, dict)
        assert isinstance(other.value, dict)
        for key, theirs in other.value.items():
            here = f"{path}.{key}" if path else key
            ours = into.value.get(key)
            if ours is None:
                into.value[key] = theirs
                into.key_lines[key] = other.key_lines.get(key, theirs.line)
            elif isinstance(ours.value, dict) and isinstance(theirs.value, dict):
                self._merge(ours, theirs, here)
            elif isinstance(ours.value, list) and isinstance(theirs.value, list):
                ours.value.extend(theirs.value)
            else:
                self._mistakes.add(theirs, here, f"is set in {ours.file}:{ours.line} already")

    # -- YAML ---------------------------------------------------------------------------------------

    def yaml(self, text: str, shown: str) -> Node:
        """Return the nodes of a YAML text."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            if line := _too_deep(text, loader):
                self._mistakes.add(Node(shown, line, None), "", _DEEP)
                return Node(shown, line, None)
            tree = yaml.compose(text, Loader=loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            # A character that YAML forbids has no mark, but a position.
            before = text.encode()[: getattr(error, "position", 0)]
            line = mark.line + 1 if mark else before.count(b"\n") + 1
            problem = getattr(error, "problem", None) or str(error).split("\n")[0]
            context = getattr(error, "context", None)
            told = f"{problem}, {context}" if context else problem
            self._mistakes.add(Node(shown, line, None), "", f"is not valid YAML: {told}")
            return Node(shown, line, None)
        if tree is None:
            return Node(shown, 1, None)
        self._count = 0
        return self._from_yaml(tree, shown, "", ())

    def _from_yaml(self, tree: yaml_nodes.Node, shown: str, path: str, above: tuple[int, ...]) -> Node:
        line = tree.start_mark.line + 1
        self._count += 1
        if id(tree) in above:
            self._mistakes.add(Node(shown, line, None), path, "an alias repeats what contains it")
            return Node(shown, line, None)
        if self._count > _MAX_NODES:
            if self._count == _MAX_NODES + 1:
                self._mistakes.add(Node(shown, line, None), "", "the aliases repeat too much")
            return Node(shown, line, None)
        if len(above) == _MAX_DEPTH and not isinstance(tree, yaml_nodes.ScalarNode):
            self._mistakes.add(Node(shown, line, None), "", _DEEP)
            return Node(shown, line, None)
        inside = (*above, id(tree))
        if isinstance(tree, yaml_nodes.MappingNode):
            node = Node(shown, line, {})
            self._pairs(node, tree, path, inside)
            return node
        if isinstance(tree, yaml_nodes.SequenceNode):
            children = enumerate(tree.value)
            items = [self._from_yaml(item, shown, f"{path}[{index}]", inside) for index, item in children]
            return Node(shown, line, items)
        assert isinstance(tree, yaml_nodes.ScalarNode)
        plain = not tree.style  # None, or an empty text from the C parser
        empty = plain and tree.value in ("", "~", "null", "Null", "NULL")
        return Node(shown, line, None if empty else tree.value, plain)

    def _pairs(self, node: Node, tree: yaml_nodes.MappingNode, path: str, inside: tuple[int, ...]) -> None:
        assert isinstance(node.value, dict)
        merged: list[Node] = []
        for key, item in tree.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml_nodes.ScalarNode):
                self._mistakes.add(node, path, "a key must be a plain word", line=line)
                continue
            here = f"{path}.{key.value}" if path else key.value
            value = self._from_yaml(item, node.file, here, inside)
            if key.value == "<<" and not key.style:
                merged += value.value if isinstance(value.value, list) else [value]
            elif key.value in node.value:
                first = node.key_lines[key.value]
                self._mistakes.add(node, here, f"is set twice (first in line {first})", line=line)
            else:
                node.value[key.value] = value
                node.key_lines[key.value] = line
        for other in merged:  # YAML's merge key: what is written here goes before
            if isinstance(other.value, dict):
                for name, value in other.value.items():
                    if node.value.setdefault(name, value) is value:
                        node.key_lines[name] = other.key_lines[name]
            elif other.value is not None:
                here = f"{path}.<<" if path else "<<"
                self._mistakes.add(other, here, f"is {other.kind} (an alias of a mapping)")

    # -- TOML ---------------------------------------------------------------------------------------

    def toml(self, text: str, shown: str) -> Node:
        """Return the nodes of a TOML text."""
        import tomllib

        try:
            return _from_toml(tomllib.loads(text), shown, (), _toml_lines(text), 1)
        except RecursionError:
            self._mistakes.add(Node(shown, 1, None), "", _DEEP)
            return Node(shown, 1, None)
        except ValueError as error:  # tomllib's own, or a number of thousands of digits
            found = re.search(r"\(at line (\d+)", str(error))
            line = int(found[1]) if found else text.count("\n") + 1
            told = re.sub(r" \(at .*\)$", "", str(error))
            self._mistakes.add(Node(shown, line, None), "", f"is not valid TOML: {told}")
            return Node(shown, line, None)

    # -- ${VAR} -------------------------------------------------------------------------------------

    def expand(self, node: Node, path: str) -> Node:
        """Replace the variables in every scalar below `node`, in place."""
        if isinstance(node.value, dict):
            for key, child in node.value.items():
                self.expand(child, f"{path}.{key}" if path else key)
        elif isinstance(node.value, list):
            for index, child in enumerate(node.value):
                self.expand(child, f"{path}[{index}]")
        elif node.value is not None and "${" in node.value:
            node.value = _VARIABLE.sub(lambda match: self._variable(match, node, path), node.value)
        return node

    def _variable(self, match: re.Match[str], node: Node, path: str) -> str:
        if match[1]:  # `$${` is a literal `${`
            return match[1]
        if match[2] is None:
            self._mistakes.add(node, path, "has a malformed variable (${NAME}, or $${ for a literal ${)")
            node.broken = True
            return match[0]
        value = self._environ.get(match[2])
        if match[3] is not None:
            return value or match[3]
        if value is None:
            name = match[2]
            node.broken = True
            self._mistakes.add(
                node, path, f"the environment variable {name} is not set (set it, or ${{{name}:-default}})"
            )
            return ""
        return value


def _from_toml(value: Any, shown: str, path: tuple[str | int, ...], lines: _Lines, above: int) -> Node:
    line = lines.get(path, above)
    if isinstance(value, dict):
        node = Node(shown, line, {})
        assert isinstance(node.value, dict)
        for key, item in value.items():
            node.value[key] = _from_toml(item, shown, (*path, key), lines, line)
            node.key_lines[key] = node.value[key].line
        return node
    if isinstance(value, list):
        items = [_from_toml(item, shown, (*path, index), lines, line) for index, item in enumerate(value)]
        return Node(shown, line, items)
    if isinstance(value, str):
        return Node(shown, line, value, plain=False)
    if isinstance(value, bool):
        return Node(shown, line, str(value).lower())
    return Node(shown, line, str(value))


_Lines = dict[tuple[str | int, ...], int]

# What tells a TOML statement's lines apart: strings and comments, whose brackets do not count, and brackets.
_TOML_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|"(?:\\.|[^"\\])*"' + r"|'''.*?'{3,5}|'[^']*'|\#[^\n]*|[\[{\]}\n]", re.DOTALL
)


def _toml_lines(text: str) -> _Lines:
    """Return the line of each table and key. `tomllib` has read the text already, so it is valid TOML;
    what stands inside a multi-line value gets the line of its key."""
    lines: _Lines = {}
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, stripped in _toml_statements(text):
        if header := re.match(r"(\[\[?)\s*(.*?)\s*\]\]?\s*(?:#.*)?$", stripped):
            table = ()
            for part in _toml_key(header[2]):
                table = (*table, part)
                lines.setdefault(table, number)
                if table in counts:  # inside an array of tables: its newest element
                    table = (*table, counts[table])
            if header[1] == "[[":
                base = table if isinstance(table[-1], str) else table[:-1]
                counts[base] = counts.get(base, -1) + 1
                table = (*base, counts[base])
            lines[table] = number
        elif found := re.match(r"((?:\"[^\"]*\"|'[^']*'|[\w\-]+|\s*\.\s*)+)\s*=", stripped):
            place = table
            for part in _toml_key(found[1]):
                place = (*place, part)
                lines.setdefault(place, number)
    return lines


def _toml_statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of the lines that begin a table or a key: none that lies inside a value."""
    begin = {1}
    line, depth = 1, 0
    for match in _TOML_TOKEN.finditer(text):
        found = match[0]
        depth += (found in "[{") - (found in "]}")
        line += found.count("\n")
        if found == "\n" and not depth:
            begin.add(line)
    for number, whole in enumerate(text.split("\n"), 1):
        if number in begin:
            yield number, whole.strip()


def _toml_key(text: str) -> list[str]:
    parts = re.findall(r"\"([^\"]*)\"|'([^']*)'|([\w\-]+)", text)
    return [first or second or third for first, second, third in parts]
