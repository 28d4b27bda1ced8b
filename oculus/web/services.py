"""What the pages and the API are served from: handed over by the application, nothing imported sideways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oculus.config.settings import DerivedSettings, RuleSettings, ServerSettings
from oculus.model import Micros, RuleState, Sample
from oculus.storage.latest import Latest, Series
from oculus.storage.readers import Readers
from oculus.storage.upkeep import StorageReport
from oculus.web.exposition import Metric

if TYPE_CHECKING:
    from oculus.collectors.heartbeats import Heartbeats
    from oculus.hindsight.backtest import Backtest
    from oculus.rules.silence_keeper import SilenceKeeper


@dataclass(frozen=True, slots=True)
class Services:
    """The daemon as the web sees it.

    Users' SQL runs in `sandbox`, so that it can keep no page waiting, whose reads run in `readers`.
    `offer` queues samples from outside and tells whether they fitted. `not_ready` gives the reason why the
    daemon cannot do its work, or an empty text. `stale` tells whether a series' last value is
    too old to be believed, `state` gives a word about a symbol whose value does not move (`closed`).
    `rule_settings` are the configured rules, `read_rules` reads others from YAML or JSON (raises
    ConfigError), and `backtest` replays the named ones of some rules, or all, over a time; it is long, and
    raises OculusError. `storage` tells where the space goes. `heartbeats` takes pings. `silences` holds
    alerts back. `derived` are the configured derived values, `every` gives the seconds between two samples
    of a series (0: not configured), and `room` the share of the queue that is free.
    """

    server: ServerSettings
    latest: Latest
    readers: Readers
    sandbox: Readers
    offer: Callable[[Sequence[Sample]], bool]
    rules: Callable[[], list[RuleState]]
    rule_settings: Callable[[], Sequence[RuleSettings]]
    read_rules: Callable[[str], Sequence[RuleSettings]]
    backtest: Callable[[Sequence[RuleSettings], Collection[str] | None, Micros, Micros], Backtest]
    not_ready: Callable[[], str]
    metrics: Callable[[], list[Metric]]
    stale: Callable[[Series], bool]
    state: Callable[[str], str]
    storage: Callable[[], StorageReport]
    heartbeats: Heartbeats
    silences: SilenceKeeper
    derived: Callable[[], Sequence[DerivedSettings]] = tuple
    every: Callable[[str], float] = lambda symbol: 0.0
    room: Callable[[], float] = lambda: 1.0
