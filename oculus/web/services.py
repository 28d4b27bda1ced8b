"""What the pages and the API are served from: handed over by the application, nothing imported sideways."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oculus.config.settings import DerivedSettings, RuleSettings, ServerSettings, StatusSettings
from oculus.logs import Tail
from oculus.model import Micros, RuleState, Sample
from oculus.storage.latest import Latest, Series
from oculus.storage.readers import Readers
from oculus.storage.upkeep import StorageReport
from oculus.web.exposition import Metric
from oculus.web.system import System

if TYPE_CHECKING:
    from oculus.collectors.heartbeats import Heartbeats
    from oculus.hindsight.backtest import Backtest
    from oculus.notify.courier import Progress
    from oculus.rules.silence_keeper import SilenceKeeper
    from oculus.rules.uses import Use
    from oculus.storage.copier import Copier


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
    alerts back, `copier` makes downloads, and `uses` tells which alerts read a series. `derived` are the
    configured derived values, `every` gives the seconds between two samples of a series (0: not configured),
    and `room` the share of the queue that is free. `progress` tells how far
    a step has come that waits for a channel, by the id of its event (None: it does not wait). `last_event` is
    the newest event's id (-1: not told), `stored` how many samples were stored since the start. `status` are
    the settings of the status page. `system` tells how the daemon fares, `log` has its last records.
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
    copier: Copier
    derived: Callable[[], Sequence[DerivedSettings]] = tuple
    every: Callable[[str], float] = lambda symbol: 0.0
    room: Callable[[], float] = lambda: 1.0
    uses: Callable[[str], Sequence[Use]] = lambda symbol: ()
    last_event: Callable[[], int] = lambda: -1
    stored: Callable[[], int] = lambda: 0
    status: Callable[[], StatusSettings] = StatusSettings
    progress: Callable[[int, str], Progress | None] = lambda event, channel: None
    system: Callable[[], System] = System
    log: Tail = field(default_factory=Tail)
