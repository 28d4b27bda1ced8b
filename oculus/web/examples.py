"""Queries to start from, on the page `/query`: each runs as it stands, with series that this store has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from oculus.storage.latest import Series


@dataclass(frozen=True, slots=True)
class Example:
    """A query under a heading. `chart` tells that a chart shows its result best."""

    group: str
    title: str
    sql: str
    chart: bool = False


# What the editor holds for who comes without a query.
STARTER = """select symbol, count(*) as samples, round(avg(value), 3) as mean, max(ts) as newest
from metrics
where ts > now() - interval 1 hour
group by symbol
order by symbol"""

# `{rtt}` and `{price}` stand for series of the store: a latency and a price.
_EXAMPLES = (
    Example(
        "Network",
        "Uptime of each target, 24 hours",
        """select symbol, round(100 * avg(value), 3) as uptime,
       count_if(value = 0) as failed, count(*) as checks
from metrics
where symbol like '%.up' and ts > now() - interval 1 day
group by symbol
order by uptime, symbol""",
    ),
    Example(
        "Network",
        "95th percentile of latency by hour",
        """select time_bucket(interval 1 hour, ts) as hour, symbol,
       round(quantile_cont(value, 0.95), 3) as p95
from metrics
where symbol like 'net.%.rtt' and ts > now() - interval 1 day
group by hour, symbol
order by hour, symbol""",
        chart=True,
    ),
    Example(
        "Network",
        "Slowest name resolution",
        """select symbol, round(max(value), 3) as max_ms, arg_max(ts, value) as at,
       round(quantile_cont(value, 0.95), 3) as p95_ms, round(median(value), 3) as median_ms
from metrics
where (symbol like 'net.http.%.dns' or symbol like 'net.dns.%.rtt') and ts > now() - interval 1 day
group by symbol
order by max_ms desc
limit 20""",
    ),
    Example(
        "Network",
        "Where requests spend their time",
        """select regexp_extract(symbol, '^net\\.http\\.(.+)\\.', 1) as target,
       round(avg(value) filter (symbol like '%.dns'), 2) as dns,
       round(avg(value) filter (symbol like '%.connect'), 2) as connect,
       round(avg(value) filter (symbol like '%.tls'), 2) as tls,
       round(avg(value) filter (symbol like '%.ttfb'), 2) as first_byte,
       round(avg(value) filter (symbol like '%.rtt'), 2) as whole
from metrics
where symbol like 'net.http.%' and ts > now() - interval 1 day
group by target
order by whole desc nulls last""",
    ),
    Example(
        "Network",
        "Outages of the last day",
        """with turns as (
    select symbol, ts, value, tags->>'error' as reason
    from metrics
    where symbol like '%.up' and ts > now() - interval 1 day
    qualify value is distinct from lag(value) over (partition by symbol order by ts)
)
select symbol, ts as began,
       coalesce(lead(ts) over (partition by symbol order by ts), now()) - ts as lasted, reason
from turns
qualify value = 0
order by began desc
limit 100""",
    ),
    Example(
        "Network",
        "Why checks failed",
        """select symbol, tags->>'error' as reason, count(*) as times, max(ts) as newest
from metrics
where symbol like '%.up' and value = 0 and ts > now() - interval 7 day
group by symbol, reason
order by times desc
limit 50""",
    ),
    Example(
        "Prices",
        "Change of prices in 7 days",
        """select symbol, arg_min(value, ts) as before, arg_max(value, ts) as price,
       round(100 * (price / nullif(before, 0) - 1), 2) as percent
from metrics
where category in ('crypto.price', 'stock.price', 'stock.etf', 'stock.index') and symbol not like '%.%.%.%'
    and ts > now() - interval 7 day
group by symbol
order by percent desc nulls last""",
    ),
    Example(
        "Prices",
        "Candles of an hour",
        """select time_bucket(interval 1 hour, ts) as hour,
       arg_min(coalesce(open, value), ts) as open, max(coalesce(high, value)) as high,
       min(coalesce(low, value)) as low, arg_max(value, ts) as close, count(*) as samples
from metrics
where symbol = '{price}' and shard in (0, shard_of('{price}'))
    and ts > now() - interval 7 day
group by hour
order by hour""",
        chart=True,
    ),
    Example(
        "Prices",
        "A price beside a latency",
        """select time_bucket(interval 5 minute, probe.ts) as start,
       round(avg(probe.value), 3) as latency, arg_max(quote.value, probe.ts) as price
from series('{rtt}') as probe
asof join series('{price}') as quote on probe.ts >= quote.ts
where probe.ts > now() - interval 1 day
group by start
order by start""",
        chart=True,
    ),
    Example(
        "Prices",
        "Do the two move together?",
        """with pairs as (
    select time_bucket(interval 5 minute, probe.ts) as start,
           avg(probe.value) as latency, arg_max(quote.value, probe.ts) as price
    from series('{rtt}') as probe
    asof join series('{price}') as quote on probe.ts >= quote.ts
    where probe.ts > now() - interval 1 day
    group by start
)
select case when stddev_pop(latency) > 0 and stddev_pop(price) > 0
            then round(corr(latency, price), 3) end as correlation,
       count(*) as pairs
from pairs""",
    ),
    Example(
        "Alerts",
        "Alerts of each rule by day",
        """select ts::date as day, payload->>'rule' as rule, count(*) as alerts
from events
where type = 'alert' and payload->>'state' = 'firing' and payload->>'previous' <> 'firing'
    and ts > now() - interval 30 day
group by day, rule
order by day, rule""",
        chart=True,
    ),
    Example(
        "Alerts",
        "Messages that did not arrive",
        """select events.ts, events.message, channel, state, tries, told
from deliveries
join events on events.id = deliveries.event
where state in ('failed', 'expired')
order by events.ts desc
limit 100""",
    ),
    Example(
        "Alerts",
        "Errors and starts of the daemon",
        """select ts, type, severity, source, message
from events
where type <> 'alert'
order by id desc
limit 100""",
    ),
    Example(
        "Store",
        "What moved most in the last hour",
        """select symbol, round(avg(value) filter (ts <= now() - interval 1 hour), 4) as before,
       round(avg(value) filter (ts > now() - interval 1 hour), 4) as last_hour,
       round(100 * (last_hour - before) / nullif(abs(before), 0), 2) as percent
from metrics
where ts > now() - interval 1 day and symbol not like '%.up'
group by symbol
having percent is not null
order by abs(percent) desc
limit 20""",
    ),
    Example(
        "Store",
        "Samples a second",
        """select time_bucket(interval 1 minute, ts) as minute, round(count(*) / 60, 2) as samples_per_second
from metrics
where ts > now() - interval 6 hour
group by minute
order by minute""",
        chart=True,
    ),
    Example(
        "Store",
        "Size of each category",
        """select category, count(*) as samples, count(distinct symbol) as series,
       round(100 * samples / sum(samples) over (), 1) as percent, min(ts) as oldest
from metrics
group by category
order by samples desc""",
    ),
)


def examples(series: Iterable[Series]) -> list[Example]:
    """Return the queries for a store with these series."""
    found = {"rtt": "net.http.site.rtt", "price": "crypto.price.btc_usd"}
    rank = {"rtt": 0, "price": 0}
    for one in series:
        for name, worth in (("rtt", _latency(one.symbol)), ("price", _price(one.symbol))):
            if worth > rank[name]:
                rank[name], found[name] = worth, one.symbol
    return [replace(one, sql=_filled(one.sql, found)) for one in _EXAMPLES]


def _filled(sql: str, found: dict[str, str]) -> str:
    for name, symbol in found.items():
        sql = sql.replace(f"{{{name}}}", symbol)
    return sql


def _latency(symbol: str) -> int:
    """Return how well a series stands for a latency, 0 where it is none."""
    if not symbol.endswith(".rtt"):
        return 0
    return 2 if symbol.startswith("net.http.") else 1


def _price(symbol: str) -> int:
    """Return how well a series stands for a price, 0 where it is none."""
    if symbol == "crypto.price.btc_usd":
        return 3
    if symbol.count(".") != 2:
        return 0
    return 2 if symbol.startswith("crypto.price.") else 1 if symbol.startswith("stock.") else 0
