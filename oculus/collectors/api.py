"""Numbers from any HTTP endpoint: `custom.<name>`, or the symbol given.

Settings say what is sent and where the numbers are in the answer; collectors that want the same share it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.endpoint import EndpointSettings
from oculus.collectors.extract import (
    CsvReader,
    JsonReader,
    NumberReader,
    Numerals,
    Reader,
    RegexReader,
    check_part,
)
from oculus.collectors.fetch import Fetcher, Request, redact
from oculus.collectors.manners import Rate
from oculus.collectors.network.http_request import body_type
from oculus.collectors.shared_request import SharedRequest
from oculus.config.decode import Size, between, setting
from oculus.config.settings import CollectorSpec, check_symbol
from oculus.model import Sample, is_symbol, slug

Format = Literal["", "json", "csv", "number", "text"]

# Which settings go with which format.
_KEYS: dict[str, frozenset[str]] = {
    "json": frozenset({"json_path", "values", "list", "label", "time", "decimal"}),
    "csv": frozenset({"column", "values", "label", "row", "header", "delimiter", "time", "decimal"}),
    "text": frozenset({"regex", "time", "decimal"}),
    "number": frozenset({"decimal"}),
}
# Those that tell the format where it is left out, the first that is given.
_TELLING = (("json_path", "json"), ("list", "json"), ("column", "csv"), ("regex", "text"), ("values", "json"))

MAX_VALUES = 100  # of one collector, for each element of a list


def _check_values(values: Mapping[str, str]) -> None:
    if len(values) > MAX_VALUES:
        raise ValueError(f"are more than {MAX_VALUES}")
    for name in values:
        check_part(name)


def _check_scale(scale: float) -> None:
    if not scale:
        raise ValueError("0 would make every number 0 (such as 0.01)")


def _check_delimiter(delimiter: str) -> None:
    if delimiter != "tab" and (len(delimiter) != 1 or delimiter in '\r\n" '):
        raise ValueError(f"{delimiter!r} is not one character (such as ; or tab)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(EndpointSettings):
    """Settings of `type: api`."""

    method: Literal["", "GET", "POST", "PUT", "PATCH"] = setting(
        "", help="GET, or POST where there is a body"
    )
    body: str = setting("", help="text to send", secret=True)
    format: Format = setting("", help="json, csv, text or number; told by the settings below when left out")
    json_path: str = setting("", help="where in a JSON answer the number is")
    values: Mapping[str, str] = setting(
        factory=dict, help="several series: name → JSONPath, or column", check=_check_values
    )
    list_: str = setting("", key="list", help="JSONPath of a list whose elements are series")
    label: str = setting("", help="what names an element (a path in it), or a row (a column)")
    column: str = setting("", help="name or number of the column in a CSV answer")
    row: Literal["", "first", "last"] = setting("", help="which row of it; the last when left out")
    header: bool = setting(True, help="whether its first row holds names")
    delimiter: str = setting(",", help="what stands between its columns", check=_check_delimiter)
    regex: str = setting("", help="regular expression with one group around the number")
    time: str = setting("", help="where the number's own time is: path, column or group")
    decimal: Literal["", ".", ","] = setting("", help="decimal sign of numbers that come as text")
    unit: str = setting("", help="unit to show")
    scale: float = setting(1.0, help="what every number is multiplied by", check=_check_scale)
    symbol: str = setting("", help="name of the series, instead of custom.<name>", check=check_symbol)
    max_body: Size = setting(Size(10**6), help="longest body that is read", check=between(1e3, 50e6, "B"))
    rate: Rate | None = setting(None, help="most requests to this host")

    def __post_init__(self) -> None:
        EndpointSettings.__post_init__(self)
        if self.body and self.method == "GET":
            raise ValueError("a GET has no body (leave method out, or use POST)")
        self._check_keys()
        self.reader()

    @property
    def _given(self) -> dict[str, bool]:
        return {
            "json_path": bool(self.json_path), "values": bool(self.values), "list": bool(self.list_),
            "label": bool(self.label), "column": bool(self.column), "row": bool(self.row),
            "header": not self.header, "delimiter": self.delimiter != ",", "regex": bool(self.regex),
            "time": bool(self.time), "decimal": bool(self.decimal),
        }  # fmt: skip

    @property
    def told_format(self) -> str:
        """The format, given or told by what else is."""
        given = self._given
        return self.format or next((form for key, form in _TELLING if given[key]), "number")

    def _check_keys(self) -> None:
        """Raise ValueError for settings that make no sense together."""
        given, form = self._given, self.told_format
        for key, is_given in given.items():
            if is_given and key not in _KEYS[form]:
                told = next(
                    (f"{key} beside {other}" for other, of in _TELLING if given[other] and of == form), ""
                )
                raise ValueError(f"{told or f'{key} with format {form}'} makes no sense (keep one of them)")
        one = "json_path" if form == "json" else "column"
        if given[one] and given["values"]:
            raise ValueError(f"has {one} and values (keep one of them)")
        if form in ("json", "csv") and not (given[one] or given["values"] or given["list"]):
            raise ValueError(f"format {form} needs {one} or values")
        if form == "text" and not self.regex:
            raise ValueError("format text needs a regex (or format: number)")
        if form == "json" and self.label and not self.list_:
            raise ValueError("label needs a list")
        if self.label and self.row:
            raise ValueError("has label, which takes every row, and row (keep one of them)")

    def reader(self) -> Reader:
        """Return what reads the answers; raises ValueError for a wrong path, column or expression."""
        form, numerals = self.told_format, Numerals(self.decimal)
        if form == "json":
            values = self.values or {"": self.json_path or "$"}
            return JsonReader(values, self.list_, self.label, self.time, numerals)
        if form == "csv":
            values = self.values or {"": self.column}
            delimiter = "\t" if self.delimiter == "tab" else self.delimiter
            return CsvReader(values, self.row, self.label, self.time, self.header, delimiter, numerals)
        if form == "text":
            return RegexReader(self.regex, self.time, numerals)
        return NumberReader(numerals)

    def default_name(self) -> str:
        """The name is made from the symbol, if one is given."""
        return slug(self.symbol) if self.symbol else ""

    def sent(self) -> Request:
        """Return what is sent."""
        return self.request(
            method=self.method or ("POST" if self.body else "GET"),
            headers={"Content-Type": body_type(self.body)} if self.body else {},
            body=self.body.encode() if self.body else None,
            rates=(self.rate,) if self.rate else (),
        )


class Api(Collector):
    """Fetches a URL once a run, or shares what another collector fetched."""

    type = "api"
    Settings = ApiSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, ApiSettings)
        settings = self._settings = spec.settings
        self.quotes = bool(settings.time)
        self._stem = settings.symbol or f"custom.{spec.name}"
        self._reader = settings.reader()
        request = settings.sent()
        # All of it but the secrets, which are in the rest.
        key: tuple[Any, ...] = (
            request.url, request.method, tuple(sorted(request.headers.items())), request.body,
            request.timeout, request.max_body, request.rates, request.proxy, request.verify,
            request.certificate, self._reader.wants_json, settings.interval,
        )  # fmt: skip
        self._group = f"api/{request.host}/{zlib.crc32(repr(key).encode()):08x}"
        fetcher = Fetcher.of(context)
        self._shared = context.shared(
            (SharedRequest, key),
            lambda: SharedRequest(fetcher, request, self._reader.wants_json, settings.interval),
        )
        self._shared.users[spec.id] = self._stem

    def describe(self) -> Mapping[str, str]:
        """Every sample tells the host that it came from."""
        assert isinstance(self.spec.settings, ApiSettings)
        told = {"source": self.spec.settings.host}
        if self.spec.settings.unit:
            told["unit"] = self.spec.settings.unit
        return told

    @property
    def group(self) -> str:
        """Collectors with one request and interval run together."""
        return self._group

    def collect(self) -> Iterator[Sample]:
        """Fetch, and yield the numbers of the answer."""
        found = self._reader.read(self._shared.get(self.spec.id, self._stem))
        for figure in found.figures:
            symbol = self._symbol(figure.part)
            value = figure.value
            if self._settings.scale != 1.0:
                # Without the noise of binary fractions, which would take three times the space.
                value = float(f"{value * self._settings.scale:.15g}")
            if is_symbol(symbol) and abs(value) < float("inf"):
                yield Sample(symbol, value, figure.ts)
            else:
                found.faults.append((figure.part[:40], "the symbol or the number is too long"))
        if found.faults:
            part, text = found.faults[0]
            more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
            told = f"{self._symbol(part)}: {text}{more}"
            raise CollectError(redact(told, self._shared.request.secrets))

    def _symbol(self, part: str) -> str:
        return f"{self._stem}.{part}" if part else self._stem

    def close(self) -> None:
        """Leave those that share the request."""
        self._shared.leave(self.spec.id)
