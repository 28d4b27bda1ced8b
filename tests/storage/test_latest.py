"""The last values in memory: order, late and future samples, bounds, restoring and forgetting."""

from __future__ import annotations

import time

import pytest

from oculus.clock import SECOND
from oculus.model import Micros, Sample, Tags
from oculus.storage.latest import HISTORY, Latest, Series

NOW = Micros(1_700_000_000 * SECOND)


def at(seconds: float, value: float, symbol: str = "custom.x", **tags: str) -> Sample:
    """Return a sample so many seconds from NOW."""
    return Sample(symbol, value, Micros(NOW + int(seconds * SECOND)), Tags(tags))


def of(latest: Latest, symbol: str = "custom.x") -> Series:
    """Return a series that must be there."""
    series = latest.get(symbol)
    assert series is not None
    return series


def test_the_last_sample_counts() -> None:
    """Value, time and tags are those of the newest sample; the value before it is known."""
    latest = Latest()
    latest.update([at(0, 1.0, state="old"), at(1, 2.0), at(2, 3.0, state="new")], NOW)
    series = of(latest)
    assert (series.value, series.previous, series.ts) == (3.0, 2.0, NOW + 2 * SECOND)
    assert series.tags == {"state": "new"}
    assert list(series.history) == [1.0, 2.0, 3.0]


def test_a_first_sample_has_nothing_before_it() -> None:
    """There is no trend yet."""
    latest = Latest()
    latest.update([at(0, 1.0, "net.http.site.rtt")], NOW)
    series = of(latest, "net.http.site.rtt")
    assert series.previous is None
    assert (series.category, series.unit) == ("net.http", "ms")
    assert latest.get("custom.other") is None


def test_series_come_by_name() -> None:
    """Pages list them in order, also after new ones came and old ones went."""
    latest = Latest()
    latest.update([at(0, 1.0, name) for name in ("custom.b", "custom.c", "custom.a")], NOW)
    assert [series.symbol for series in latest] == ["custom.a", "custom.b", "custom.c"]
    latest.update([at(5, 1.0, "custom.ab")], NOW)
    assert [series.symbol for series in latest] == ["custom.a", "custom.ab", "custom.b", "custom.c"]
    latest.forget_before(Micros(NOW + SECOND))
    assert [series.symbol for series in latest] == ["custom.ab"]
    assert len(latest) == 1


def test_a_late_sample_changes_nothing() -> None:
    """What arrives after a newer one (a push with an old time) is in the store only."""
    latest = Latest()
    latest.update([at(0, 1.0), at(10, 2.0), at(5, 99.0)], Micros(NOW + 10 * SECOND))
    series = of(latest)
    assert (series.value, series.previous, series.ts) == (2.0, 1.0, NOW + 10 * SECOND)
    assert list(series.history) == [1.0, 2.0]


def test_of_two_samples_of_one_moment_the_later_counts() -> None:
    """A correction replaces what it corrects."""
    latest = Latest()
    latest.update([at(0, 1.0), at(0, 2.0)], NOW)
    assert of(latest).value == 2.0


def test_a_stamp_from_a_wrong_clock_does_not_stay() -> None:
    """A sample from far ahead gives way to the next one of the present, and not only when its time comes."""
    latest = Latest()
    latest.update([at(3600, 1.0)], NOW)
    latest.update([at(0, 2.0)], NOW)
    assert (of(latest).value, of(latest).ts) == (2.0, NOW)
    latest.update([at(-1, 3.0)], NOW)
    assert of(latest).value == 2.0


@pytest.mark.parametrize("back", [2, 50, 3600])
def test_a_clock_that_was_set_back_hides_nothing(back: float) -> None:
    """The next sample counts at once, however small the step: an outage may be in it."""
    latest = Latest()
    latest.update([at(back, 1.0)], Micros(NOW + int(back * SECOND)))
    latest.update([at(0, 0.0)], NOW)
    assert of(latest).value == 0.0


def test_ages_go_by_the_monotonic_clock() -> None:
    """A sample's age is known whatever the wall clock does later; what was restored has none."""
    latest = Latest()
    before = time.monotonic()
    latest.update([at(-30, 1.0)], NOW)
    taken = of(latest).taken
    assert taken is not None
    assert before - 30 <= taken <= time.monotonic() - 30
    latest.restore("custom.old", NOW, {}, [1.0])
    old = latest.get("custom.old")
    assert old is not None
    assert old.taken is None


def test_the_history_is_bounded() -> None:
    """A series keeps as many values as a sparkline shows, the newest."""
    latest = Latest()
    latest.update([at(number, float(number)) for number in range(HISTORY + 7)], NOW)
    assert list(of(latest).history) == [float(number) for number in range(7, HISTORY + 7)]


def test_every_change_is_a_new_version() -> None:
    """Pages are made again only when something changed."""
    latest = Latest()
    versions = [latest.version]
    latest.update([at(0, 1.0)], NOW)
    versions.append(latest.version)
    latest.update([at(1, 1.0)], NOW)
    versions.append(latest.version)
    latest.restore("custom.y", NOW, {}, [1.0])
    versions.append(latest.version)
    latest.forget_before(Micros(NOW + 1))
    versions.append(latest.version)
    assert versions == sorted(set(versions))


def test_the_store_is_taken_in_at_start() -> None:
    """A series is as it was before the restart."""
    latest = Latest()
    latest.restore("net.http.site.rtt", NOW, {"target": "x"}, [1.0, 2.0, 3.0])
    series = of(latest, "net.http.site.rtt")
    assert (series.value, series.previous, series.ts) == (3.0, 2.0, NOW)
    assert (series.category, series.unit, series.tags) == ("net.http", "ms", {"target": "x"})
    assert list(series.history) == [1.0, 2.0, 3.0]
    latest.update([at(1, 4.0, "net.http.site.rtt")], NOW)
    assert list(series.history) == [1.0, 2.0, 3.0, 4.0]


def test_restoring_bounds_the_history_and_passes_over_nothing() -> None:
    """Too much is cut to the newest; a series without values is none; one value has none before it."""
    latest = Latest()
    latest.restore("custom.long", NOW, {}, [float(number) for number in range(100)])
    latest.restore("custom.none", NOW, {}, [])
    latest.restore("custom.one", NOW, {}, [5.0])
    assert list(of(latest, "custom.long").history) == [float(number) for number in range(60, 100)]
    assert latest.get("custom.none") is None
    assert of(latest, "custom.one").previous is None


def test_what_arrived_meanwhile_is_newer_than_the_store() -> None:
    """Restoring runs beside the collectors, and does not undo what they brought."""
    latest = Latest()
    latest.update([at(0, 9.0)], NOW)
    latest.restore("custom.x", Micros(NOW - SECOND), {}, [1.0, 2.0])
    assert list(of(latest).history) == [9.0]


def test_a_series_from_a_wrong_clock_is_replaced_after_a_restart() -> None:
    """A stored time far ahead does not keep the present out."""
    latest = Latest()
    latest.restore("custom.x", Micros(NOW + 3600 * SECOND), {}, [1.0])
    latest.update([at(0, 2.0)], NOW)
    assert of(latest).value == 2.0


def test_old_series_are_forgotten() -> None:
    """What has no sample since the given moment goes; what has one at it stays."""
    latest = Latest()
    latest.update([at(0, 1.0, "custom.old"), at(10, 1.0, "custom.kept")], NOW)
    latest.forget_before(Micros(NOW + 10 * SECOND))
    assert [series.symbol for series in latest] == ["custom.kept"]
