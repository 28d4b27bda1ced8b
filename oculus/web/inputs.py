"""Reading requests: times, numbers, JSON bodies and pushed samples, each refused with what would be right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl

from bottle import request

from oculus.clock import DAY, SECOND, now, parse_iso
from oculus.config.decode import parse_duration
from oculus.model import MAX_SYMBOL, Micros, Sample, Tags, is_symbol
from oculus.web.problems import Problem, bad_request

MAX_BODY = 4 * 1024 * 1024  # bytes: 10,000 samples with tags fit
MAX_PUSH = 10_000  # samples in one request
MAX_FIELDS = 100  # of a form
MAX_TAGS = 32  # tags of one pushed sample
MAX_NUMBER = 400  # bytes of a body that is one number: the largest whole one has 309 digits

_NUMBER = re.compile(rb"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")

# Epoch times are taken as seconds, milliseconds or microseconds by their size: as seconds the first bound
# is in the year 5138.
_MILLISECONDS_FROM = 1e11
_MICROSECONDS_FROM = 1e14

# The years 1 to 9999, all that ISO 8601 and Python can write.
_FIRST_TIME = -62_135_596_800 * SECOND
_LAST_TIME = 253_402_300_800 * SECOND

_LONGEST_STEP = 1e10  # seconds; far above every range of times


def header(name: str) -> str:
    """Return a header, or an empty text. Bytes that are no UTF-8 are replaced; bottle would raise."""
    raw = str(request.environ.get(f"HTTP_{name.upper().replace('-', '_')}", ""))
    return raw.encode("latin-1").decode("utf-8", "replace")


def query(name: str) -> str:
    """Return a query parameter, or an empty text."""
    return str(request.query.getunicode(name) or "")


def queries(name: str) -> list[str]:
    """Return every value of a query parameter that may be given more than once."""
    return [value for key, value in parse_qsl(request.query_string) if key == name]


def given(name: str) -> bool:
    """Tell whether a query parameter is there at all, with a value or without."""
    return any(key == name for key, _ in parse_qsl(request.query_string, keep_blank_values=True))


def time_parameter(name: str, default: Micros | None) -> Micros | None:
    """Return a time given as ISO 8601, as epoch seconds, or as a duration ago (`1h`)."""
    text = query(name)
    return time_of(name, text) if text else default


def time_of(name: str, text: str) -> Micros:
    """Return the time that a parameter says; raises Problem."""
    moment = _moment(text)
    if moment is None or not _FIRST_TIME <= moment < _LAST_TIME:
        raise bad_request(f"{name}={text!r} is not a time (2026-01-31T12:00Z, epoch seconds, or 1h)")
    return moment


def _moment(text: str) -> Micros | None:
    try:
        return Micros(now() - int(parse_duration(text) * SECOND))
    except (ValueError, OverflowError):
        pass
    try:
        return epoch(float(text))
    except ValueError:
        pass
    try:
        # In a query a `+` of an offset arrives as a space.
        return parse_iso(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        return None


def step_parameter(name: str, default: float) -> float:
    """Return the seconds of a duration (`5m`), or of a bare number."""
    text = query(name)
    if not text:
        return default
    try:
        seconds = float(text) if text.replace(".", "", 1).isdigit() else parse_duration(text)
    except ValueError as error:
        raise bad_request(f"{name}: {error}") from None
    if not 0 < seconds <= _LONGEST_STEP:
        raise bad_request(f"{name} must be more than 0 and at most {_LONGEST_STEP:.0f} s")
    return seconds


def limit_parameter(default: int, most: int) -> int:
    """Return `limit`, at least 1 and at most `most`."""
    text = query("limit")
    if not text:
        return default
    # Python refuses to read thousands of digits as a number.
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise bad_request(f"limit={text!r} is not a number from 1 to {most}")
    return min(int(text), most)


def id_parameter(name: str) -> int | None:
    """Return the id of an event, or None."""
    text = query(name)
    if text and not (text.isdecimal() and len(text) <= 18):
        raise bad_request(f"{name}={text!r} is not an id")
    return int(text) if text else None


def choice_parameter(name: str, allowed: tuple[str, ...]) -> str | None:
    """Return a parameter that must be one of a few words, or None."""
    text = query(name)
    if text and text not in allowed:
        raise bad_request(f"{name}={text!r} is not one of {', '.join(allowed)}")
    return text or None


def epoch(value: float) -> Micros:
    """Return epoch seconds, milliseconds or microseconds as microseconds; raises ValueError."""
    if not math.isfinite(value):
        raise ValueError("not a time")
    size = abs(value)
    unit = 1 if size >= _MICROSECONDS_FROM else 1_000 if size >= _MILLISECONDS_FROM else SECOND
    return Micros(round(value * unit))


def content_type() -> str:
    """Return what the request says that its body is, or an empty text."""
    return str(request.environ.get("CONTENT_TYPE", ""))


def form() -> dict[str, list[str]]:
    """Return the fields of a posted form; raises Problem."""
    try:
        return parse_qs(body().decode(), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise bad_request(f"the body is not a form: {error}") from None


def body() -> bytes:
    """Return the request's body; raises Problem for one that is too long, or cut short."""
    if (request.content_length or 0) > MAX_BODY:
        raise Problem(413, "too_large", f"the body is longer than {MAX_BODY} bytes")
    try:
        data: bytes = request.environ["wsgi.input"].read(MAX_BODY + 1)
    except OSError as error:
        raise bad_request(f"the body did not arrive whole: {error}") from None
    if len(data) > MAX_BODY:
        raise Problem(413, "too_large", f"the body is longer than {MAX_BODY} bytes")
    return data


def json_body() -> Any:
    """Return the request's JSON; raises Problem for what is none, or too long."""
    return json_of(body())


def json_of(data: bytes) -> Any:
    """Return a body as JSON; raises Problem for what is none."""
    try:
        text = data.decode()
        found = json.loads(text)
        if "\\u" in text:
            # An escape may be half a character, which the database does not take.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from None
    return found


def number_of(data: bytes) -> float | None:
    """Return the number that a body is, as shells send it (`curl -d 12.5`), or None."""
    return float(data) if len(data) <= MAX_NUMBER and _NUMBER.fullmatch(data) else None


def pushed_sample(item: Any, symbol: str | None, at: str) -> Sample:
    """Return a sample sent from outside; `at` says which one it is in messages. Raises Problem."""
    if not isinstance(item, Mapping):
        raise bad_request(f'{at}is not an object such as {{"value": 1.5}}')
    unknown = set(item) - {"symbol", "value", "ts", "tags"}
    if unknown:
        raise bad_request(f"{at}unknown key {min(unknown)!r} (known: symbol, value, ts, tags)")
    name = item.get("symbol", symbol)
    if symbol is not None and name != symbol:
        raise bad_request(f"{at}symbol {name!r} is not {symbol!r}, which the path names")
    if not isinstance(name, str) or not is_symbol(name):
        raise bad_request(
            f"{at}{name!r} is not a symbol (dotted parts of a-z, 0-9 and _, at most {MAX_SYMBOL} characters)"
        )
    return Sample(name, _value(item.get("value"), at), _time(item.get("ts"), at), _tags(item.get("tags"), at))


def _value(value: Any, at: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"{at}value {value!r} is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise bad_request(f"{at}value is not a finite number")
    return number


def _time(ts: Any, at: str) -> Micros:
    present = now()
    if ts is None:
        return present
    try:
        if isinstance(ts, str):
            moment = parse_iso(ts)
        elif isinstance(ts, int | float) and not isinstance(ts, bool):
            moment = epoch(ts)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise bad_request(f"{at}ts {ts!r} is not a time (ISO 8601, or epoch seconds)") from None
    if not 0 <= moment <= present + DAY:
        raise bad_request(f"{at}ts {ts!r} is before 1970 or more than a day ahead")
    return moment


def _tags(tags: Any, at: str) -> Tags:
    if tags is None:
        return _PUSHED
    if not isinstance(tags, Mapping) or len(tags) > MAX_TAGS:
        raise bad_request(f"{at}tags is not an object of at most {MAX_TAGS} names and texts")
    found = {}
    for key, value in tags.items():
        if isinstance(value, dict | list) or value is None:
            raise bad_request(f"{at}tag {key!r} is not a text")
        found[str(key)] = value if isinstance(value, str) else json.dumps(value)
    return Tags({"source": "push"} | found)


_PUSHED = Tags({"source": "push"})
