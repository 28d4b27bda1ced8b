"""Another Oculus, read through its API: its `net.ping.gw.rtt` becomes `remote.<name>.net.ping.gw.rtt`.

Times, units and tags are those of the other one. What it holds for old is not taken, so that a series which
ends there grows old here too; what it sees again counts as seen here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Any
from urllib.parse import urlsplit

from oculus.clock import DAY, now, parse_iso
from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.endpoint import EndpointSettings, Reach, check_endpoint
from oculus.collectors.exposition import told
from oculus.collectors.fetch import Answer, Fetcher, SourceError, redact
from oculus.collectors.network.http_request import check_bearer
from oculus.collectors.prometheus import check_globs
from oculus.collectors.scheduler import MAX_SERIES as MOST_SERIES
from oculus.config.decode import between, setting
from oculus.config.settings import CollectorSpec
from oculus.cooperate import slices
from oculus.model import NO_TAGS, Micros, Sample, Tags, is_symbol, slug, unit_of

# Series of one Oculus unless told otherwise: a thousand probes have about so many.
MAX_SERIES = 5_000

_LARGEST = sys.float_info.max

_TAGS_TEXT = 4_000  # characters of the tags of one series

# What the other one has from third ones. Two that read each other would tell each other theirs without end.
_PASSED_ON = "remote."


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSettings(EndpointSettings):
    """Settings of `type: oculus`."""

    BEARER = "token"

    url: str = setting(help="where the other one's pages are", check=check_endpoint)
    bearer: str = setting("", key="token", help="its server.token", check=check_bearer, secret=True)
    include: tuple[str, ...] = setting(
        (), help="globs of the symbols to take; all but remote.* when left out", check=check_globs
    )
    exclude: tuple[str, ...] = setting((), help="globs of the symbols to leave", check=check_globs)
    max_series: int = setting(
        MAX_SERIES, help="most series; an answer with more is an error", check=between(1, MOST_SERIES - 1)
    )

    def default_name(self) -> str:
        """The name is made from host and port."""
        return slug(self.host)


class Fault(ValueError):
    """What the other one told of a series cannot be taken."""


class Remote(Collector):
    """Takes the last samples of another Oculus."""

    type = "oculus"
    Settings = RemoteSettings
    quotes = True

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, RemoteSettings)
        settings = self._settings = spec.settings
        # One glob is applied by the other side already.
        only = (("symbol", settings.include[0]),) if len(settings.include) == 1 else ()
        base = urlsplit(settings.url)._replace(query="", fragment="").geturl().rstrip("/")
        self._request = settings.request(url=f"{base}/api/metrics", params=only)
        self._fetcher = Fetcher.of(context)
        self._stem = f"remote.{spec.name}."
        self._reach = Reach(f"remote.{spec.name}", settings.url, context)
        self._include = re.compile("|".join(map(translate, settings.include or ("*",))))
        self._exclude = re.compile("|".join(map(translate, settings.exclude)) or "(?!)")
        self._passed_on = any(glob.startswith(_PASSED_ON) for glob in settings.include)
        self._tags: dict[str, tuple[Any, Any, Tags]] = {}  # symbol → unit and tags as told, and made of them

    def describe(self) -> Mapping[str, str]:
        """Every sample tells the host that it came from, where its own tags tell no source."""
        assert isinstance(self.spec.settings, RemoteSettings)
        return {"source": self.spec.settings.host}

    def collect(self) -> Iterator[Sample]:
        """Ask, and yield `.up` and the last sample of each series."""
        try:
            found = self._wanted(_series(self._fetcher.fetch(self._request)))
        except SourceError as error:
            why = redact(str(error), self._request.secrets)
            yield from self._reach.missed(why)
            raise CollectError(f"{self._request.host}: {why}", retry_in=error.retry_in) from None
        yield from self._reach.found()
        faults, known, latest = [], self._tags, Micros(now() + DAY)
        self._tags = {}
        for symbol, entry in slices(found.items()):
            try:
                sample = self._sample(symbol, entry, known, latest)
            except Fault as fault:
                faults.append(f"{symbol[:80]}: {fault}")
            else:
                if not entry.get("stale"):
                    yield sample
        if not found:
            faults.append(f"{self._request.host} has no series that is wanted (see include and exclude)")
        if faults:
            raise CollectError(redact(told(faults), self._request.secrets))

    def _wanted(self, entries: list[Any]) -> dict[str, dict[str, Any]]:
        """Return the entries to take, by symbol; raises SourceError for too many, and for what are none."""
        found = {}
        for entry in slices(entries):
            symbol = entry.get("symbol") if isinstance(entry, dict) else None
            if not isinstance(symbol, str) or not is_symbol(symbol):
                raise SourceError(f"the answer is not that of an Oculus: it names {str(symbol)[:80]!r}")
            if symbol.startswith(_PASSED_ON) and not self._passed_on:
                continue
            if self._include.match(symbol) and not self._exclude.match(symbol):
                found[symbol] = entry
        if len(found) > self._settings.max_series:
            raise SourceError(
                f"it has {len(found)} series, and at most {self._settings.max_series} are taken"
            )
        return found

    def _sample(
        self, symbol: str, entry: dict[str, Any], known: dict[str, tuple[Any, Any, Tags]], latest: Micros
    ) -> Sample:
        """Return an entry as a sample; raises Fault."""
        own = self._stem + symbol
        if own in (self._reach.up, self._reach.unknown):
            raise Fault("its name is taken here")
        if not is_symbol(own):
            raise Fault("its name is too long here")
        value, ts, unit, tags = (entry.get(key) for key in ("value", "ts", "unit", "tags"))
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise Fault(f"its value is {str(value)[:40]!r}, which is no number")
        try:
            stamp = parse_iso(ts) if isinstance(ts, str) else Micros(-1)
        except (ValueError, OverflowError):
            stamp = Micros(-1)
        if not 0 <= stamp <= latest:
            raise Fault(f"its time is {str(ts)[:40]!r}, which is none or more than a day ahead")
        before = known.get(symbol)
        if before is None or before[:2] != (unit, tags):
            before = unit, tags, self._made(own, unit, tags)
        # One instance as long as nothing changes, so that its JSON is made once.
        self._tags[symbol] = before
        return Sample(own, float(value), stamp, before[2])

    def _made(self, symbol: str, unit: Any, tags: Any) -> Tags:
        """Return the tags of a series: the user's own stay as they are configured. Raises Fault."""
        if not isinstance(tags, dict) or not all(isinstance(text, str) for text in tags.values()):
            raise Fault("its tags are not texts")
        if sum(len(key) + len(text) for key, text in tags.items()) > _TAGS_TEXT:
            raise Fault(f"its tags have more than {_TAGS_TEXT} characters")
        try:
            "".join((*tags, *tags.values())).encode()
        except UnicodeEncodeError:  # an escape of JSON may be half a character
            raise Fault("its tags are not texts") from None
        found = {key: text for key, text in tags.items() if key not in self.spec.settings.tags}
        if isinstance(unit, str) and unit != unit_of(symbol, found):
            found["unit"] = unit[:40]
        return Tags(found) if found else NO_TAGS


def _series(answer: Answer) -> list[Any]:
    """Return the entries of an answer; raises SourceError with the reason that the other one tells."""
    document = answer.any_json() if answer.status != 404 else None
    if isinstance(document, dict):
        error = document.get("error")
        if isinstance(error, dict) and isinstance(error.get("message"), str):
            raise SourceError(f"status {answer.status}: {error['message'][:200]}")
        if answer.status == 200 and isinstance(document.get("metrics"), list):
            found: list[Any] = document["metrics"]
            return found
    answer.expect_success()
    raise SourceError(f"the answer is not that of an Oculus: {answer.snippet}")
