"""Numbers from any HTTP endpoint: `custom.<name>`, or the symbol given.

Settings say what is sent and where the numbers are in the answer; collectors that want the same share it.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.extract import (
    CsvReader,
    JsonReader,
    NumberReader,
    Numerals,
    Reader,
    RegexReader,
    check_part,
)
from oculus.collectors.fetch import Fetcher, Request, check_proxy, redact
from oculus.collectors.http import check_url
from oculus.collectors.manners import Rate
from oculus.collectors.shared_request import SharedRequest
from oculus.collectors.tls import TlsSettings
from oculus.config.decode import Size, between, setting
from oculus.config.settings import CollectorSettings, CollectorSpec, check_symbol
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

# Time for reading the longest body that is allowed, beside the request's own.
_READING = 10.0  # seconds

# Headers that are no secret, and names of parameters that may be one.
_PUBLIC = frozenset(
    {"accept", "accept-language", "cache-control", "content-type", "origin", "referer", "user-agent"}
)
_KEY = re.compile(r"key|token|secret|pass|auth|sig|session|appid|app_id", re.IGNORECASE)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset({"content-length", "transfer-encoding", "connection"})


def _check_url(url: str) -> None:
    if urlsplit(url).username is not None:
        raise ValueError("the URL holds a user name or password (give them as auth: {user: …, password: …})")
    check_url(url)


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header (such as X-Api-Key)")
        if name.lower() in _FRAMING:
            raise ValueError(f"{name} is a header that the request sets itself (leave it out)")
        if not value.isprintable() or value != value.strip() or any(ord(sign) > 255 for sign in value):
            raise ValueError(f"the header {name} holds what a header cannot (a line break, an outer space …)")


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
class AuthSettings:
    """`auth:`: user and password for HTTP basic authentication."""

    user: str = setting(help="user name")
    password: str = setting("", help="password", secret=True)

    def __post_init__(self) -> None:
        if ":" in self.user:
            raise ValueError("the user name holds a colon, which basic authentication cannot send")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(CollectorSettings):
    """Settings of `type: api`."""

    url: str = setting(help="URL to fetch", check=_check_url)
    method: Literal["", "GET", "POST", "PUT", "PATCH"] = setting(
        "", help="GET, or POST where there is a body"
    )
    headers: Mapping[str, str] = setting(
        factory=dict, help="headers to send", check=_check_headers, secret=True
    )
    body: str = setting("", help="text to send", secret=True)
    auth: AuthSettings | None = setting(None, help="user and password")
    bearer: str = setting("", help="token for Authorization: Bearer", secret=True)
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
    proxy: str = setting("", help="HTTP proxy; else that of the environment", check=check_proxy)
    tls: TlsSettings = setting(TlsSettings(), help="how the certificate is judged")

    def __post_init__(self) -> None:
        named = [name.lower() for name in self.headers]
        if (self.auth is not None) + bool(self.bearer) + ("authorization" in named) > 1:
            raise ValueError("has more than one of auth, bearer and an Authorization header (keep one)")
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

    def longest_run(self) -> float:
        """It may wait for its turn, then for the answer, and then read it."""
        return 2 * self.timeout + _READING

    def request(self) -> Request:
        """Return what is sent."""
        headers = dict(self.headers)
        secrets = list(filter(None, (self.bearer, urlsplit(self.proxy).password)))
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if self.auth is not None:
            pair = f"{self.auth.user}:{self.auth.password}"
            encoded = base64.b64encode(pair.encode()).decode()
            headers["Authorization"] = f"Basic {encoded}"
            secrets += [pair, encoded, self.auth.password]
        for name, value in self.headers.items():
            if name.lower() not in _PUBLIC:
                secrets += [value, value.rpartition(" ")[2]]
        for name, value in parse_qsl(urlsplit(self.url).query):
            if _KEY.search(name):
                secrets.append(value)
        if self.body and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = (
                "application/json" if _is_json(self.body) else "text/plain; charset=utf-8"
            )
        return Request(
            url=self.url,
            method=self.method or ("POST" if self.body else "GET"),
            headers=headers,
            body=self.body.encode() if self.body else None,
            timeout=self.timeout,
            max_body=self.max_body,
            rates=(self.rate,) if self.rate else (),
            proxy=self.proxy,
            verify=(self.tls.ca_file or True) if self.tls.verify else False,
            # The longest first: one may be part of another.
            secrets=tuple(sorted(filter(None, secrets), key=len, reverse=True)),
        )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


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
        request = settings.request()
        if request.verify is False:
            _accept_silently()
        # All of it but the secrets, which are in the rest.
        key: tuple[Any, ...] = (
            request.url, request.method, tuple(sorted(request.headers.items())), request.body,
            request.timeout, request.max_body, request.rates, request.proxy, request.verify,
            self._reader.wants_json, settings.interval,
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
        told = {"source": Request(self.spec.settings.url).host}
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


def _accept_silently() -> None:
    """Have no warning printed at each request whose certificate is not judged, as the user wants it."""
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
