"""JSONPath (RFC 9535) over documents that strangers send: compiled with clear mistakes, bounded in cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonpath import JSONPath, JSONPathEnvironment

# Longest path: those of people are far shorter, and the library recurses over them.
MAX_PATH = 500  # characters


class Fault(Exception):
    """There is no number where one was expected; the text says where and why."""


@cache
def _environment() -> JSONPathEnvironment:
    # Imported when a path is used: 40 ms and 3 MB.
    from jsonpath import JSONPathEnvironment

    environment = JSONPathEnvironment(strict=True)
    # A regular expression over what a stranger sent may never end, and nothing could end it.
    for name in ("match", "search"):
        del environment.function_extensions[name]
    return environment


class Path:
    """A JSONPath (RFC 9535, without `match` and `search`); an `@` at its beginning is a `$`."""

    def __init__(self, text: str) -> None:
        """Raise ValueError for what is none, with the spot."""
        from jsonpath.exceptions import JSONPathError

        self.text = text
        if len(text) > MAX_PATH:
            raise ValueError(f"a JSONPath of more than {MAX_PATH} characters")
        try:
            compiled = _environment().compile(re.sub(r"^@", "$", text))
            _check_cost(text, compiled)  # type: ignore[arg-type]
        except RecursionError:
            raise ValueError(f"{text[:20]!r}… is not a JSONPath: it is nested too deeply") from None
        except JSONPathError as error:
            raise ValueError(_path_mistake(text, error)) from None
        self._path: JSONPath = compiled  # type: ignore[assignment]
        # Whether it can match one thing at most.
        self.singular = self._path.singular_query()

    def find(self, document: Any, most: int) -> list[tuple[str | int, Any]]:
        """Return at most so many matches, each with its name or index in what contains it."""
        if isinstance(document, str):  # the library would take a text for JSON, and parse it
            return [] if self._path.segments else [("", document)]
        from jsonpath.exceptions import JSONPathError

        try:
            matches = list(islice(self._path.finditer(document), most))
        except (JSONPathError, RecursionError):
            raise Fault(f"{self.text} cannot be followed: the JSON is nested too deeply") from None
        return [(match.parts[-1] if match.parts else "", match.obj) for match in matches]

    def one(self, document: Any) -> Any:
        """Return the one match; raises Fault when there is none, or another."""
        found = self.find(document, 2)
        if not found:
            raise Fault(f"nothing at {self.text}")
        if len(found) > 1:
            raise Fault(f"{self.text} matches more than one value")
        return found[0][1]


def _path_mistake(text: str, error: Any) -> str:
    token = error.token
    at = len(text) if token is None or token.index < 0 else token.index
    if not re.match(r"[$@]", text):
        return f"{text!r} is not a JSONPath (it begins with $, such as $.data.value)"
    spot = f"at {text[at : at + 20]!r}" if at < len(text) else "at its end"
    told = re.sub(r"TOKEN_(\w+)", lambda found: found[1].lower().replace("_", " "), str(error.message))
    return f"{text!r} is not a JSONPath: {told}, {spot}"


def _check_cost(text: str, path: JSONPath) -> None:
    """Raise ValueError for a path whose cost grows with the square of a document's size."""
    from jsonpath.filter import FilterQuery, RootFilterQuery
    from jsonpath.segments import JSONPathRecursiveDescentSegment as Descent
    from jsonpath.selectors import Filter

    def queries(expression: Any) -> Iterator[tuple[bool, JSONPath]]:
        if isinstance(expression, FilterQuery):
            yield isinstance(expression, RootFilterQuery), expression.path
        else:
            for child in expression.children():
                yield from queries(child)

    def filters(path: JSONPath) -> Iterator[Any]:
        for segment in path.segments:
            yield from (found.expression for found in segment.selectors if isinstance(found, Filter))

    def check(path: JSONPath, descents: int) -> None:
        if sum(isinstance(segment, Descent) for segment in path.segments) > descents:
            where = "more than twice" if descents else "inside a filter"
            raise ValueError(f"{text!r} has .. {where}, which may take for ever (name the way instead)")
        for expression in filters(path):
            for absolute, query in queries(expression):
                if absolute and not query.singular_query():
                    told = f"{text!r} goes through the whole document for each element of a filter"
                    raise ValueError(f"{told} (let {query} name one value)")
                check(query, 0)

    check(path, 2)
