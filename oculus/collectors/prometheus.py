"""Metrics of any program that exposes them for Prometheus: `prom.<name>.<metric>`, and a part for each label.

A scrape is taken whole or not at all, as Prometheus does; `prom.<name>.up` tells which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.endpoint import EndpointSettings, Reach
from oculus.collectors.exposition import MAX_SERIES, ExpositionError, ExpositionReader, told
from oculus.collectors.fetch import Fetcher, SourceError, redact
from oculus.collectors.scheduler import MAX_SERIES as MOST_SERIES
from oculus.config.decode import between, setting
from oculus.config.settings import CollectorSpec
from oculus.cooperate import slices
from oculus.model import Sample, slug

# Format 0.0.4 before OpenMetrics: it is read five times as fast once its series are known, and has all that
# is stored.
_ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, */*;q=0.1"


def check_globs(globs: tuple[str, ...]) -> None:
    """Raise ValueError for a glob that fits nothing."""
    if not all(glob.strip() for glob in globs):
        raise ValueError("has an empty pattern (such as node_load*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings(EndpointSettings):
    """Settings of `type: prometheus`."""

    include: tuple[str, ...] = setting(
        (), help="globs of the metrics to take; all when left out", check=check_globs
    )
    exclude: tuple[str, ...] = setting((), help="globs of the metrics to leave", check=check_globs)
    max_series: int = setting(
        MAX_SERIES, help="most series; a scrape with more is an error", check=between(1, MOST_SERIES - 1)
    )
    honor_timestamps: bool = setting(True, help="whether samples keep the time that they come with")

    def default_name(self) -> str:
        """The name is made from host and port."""
        return slug(self.host)


class Prometheus(Collector):
    """Scrapes one target."""

    type = "prometheus"
    Settings = PrometheusSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, PrometheusSettings)
        settings = spec.settings
        self.quotes = settings.honor_timestamps
        self._request = settings.request(url=_whole(settings.url), headers={"Accept": _ACCEPT})
        self._fetcher = Fetcher.of(context)
        self._reach = Reach(f"prom.{spec.name}", settings.url, context)
        self._reader = ExpositionReader(
            f"prom.{spec.name}",
            include=settings.include,
            exclude=settings.exclude,
            most=settings.max_series,
            timestamps=settings.honor_timestamps,
            reserved=self.tags,
            taken=[self._reach.up, self._reach.unknown],
        )

    def describe(self) -> Mapping[str, str]:
        """Every sample tells the host that it came from."""
        assert isinstance(self.spec.settings, PrometheusSettings)
        return {"source": self.spec.settings.host}

    def collect(self) -> Iterator[Sample]:
        """Scrape, and yield `.up` and the samples."""
        try:
            answer = self._fetcher.fetch(self._request)
            answer.expect_success()
            kind = answer.headers.get("content-type", "")
            reading = self._fetcher.aside(self._reader.read, answer.body, kind)
        except (SourceError, ExpositionError) as error:
            why = redact(str(error), self._request.secrets)
            yield from self._reach.missed(why)
            rest = error.retry_in if isinstance(error, SourceError) else None
            raise CollectError(f"{self._request.host}: {why}", retry_in=rest) from None
        yield from self._reach.found()
        yield from slices(reading.samples)
        if not reading.series:
            reading.faults.append("no series of the answer is wanted (see include and exclude)")
        if reading.faults:
            raise CollectError(redact(told(reading.faults), self._request.secrets))


def _whole(url: str) -> str:
    """Return the URL with the usual path where it has none."""
    parts = urlsplit(url)
    return url if parts.path else urlunsplit(parts._replace(path="/metrics"))
