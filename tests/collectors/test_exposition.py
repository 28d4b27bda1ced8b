"""Texts for Prometheus become samples: names, labels, numbers, times, and every way to get them wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as open_metrics

from oculus.clock import DAY, SECOND, now
from oculus.collectors.exposition import (
    ExpositionError,
    ExpositionReader,
    Reading,
    TooManySeries,
    told,
)
from oculus.model import NO_TAGS, is_symbol, unit_of

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def read(text: str | bytes, kind: str = "", **options: object) -> Reading:
    """Return what a text gives, as series of `p`."""
    data = text.encode() if isinstance(text, str) else text
    return ExpositionReader("p", **options).read(data, kind)  # type: ignore[arg-type]


def values(text: str | bytes, kind: str = "", **options: object) -> dict[str, float]:
    """Return the samples of a text that has no fault."""
    reading = read(text, kind, **options)
    assert not reading.faults
    return {sample.symbol.removeprefix("p."): sample.value for sample in reading.samples}


def failure(text: str | bytes, kind: str = "", **options: object) -> str:
    """Return why a text cannot be read."""
    with pytest.raises(ExpositionError) as caught:
        read(text, kind, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- format 0.0.4 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("\n\n# a comment\n#\n# TYPE\n", {}),
        ("x 1\n", {"x": 1.0}),
        ("  x\t 1 \r\n", {"x": 1.0}),
        ('x{b="2",a="1"} 5\n', {"x.1.2": 5.0}),
        ('x { a = "1" , } 5\n', {"x.1": 5.0}),
        ('x{a="1"}5\n', {"x.1": 5.0}),
        ("x{} 5\n", {"x": 5.0}),
        ('x{a=""} 5\n', {"x._": 5.0}),
        ("node:load:5m 1\n", {"node_load_5m": 1.0}),
        ("nodeLoad 1\n", {"nodeload": 1.0}),
        ('{"my.metric",a="1"} 5\n', {"my_metric.1": 5.0}),
        ('x{a="}"} 1\n', {"x._": 1.0}),
        ('x{a="{b=\\"c\\"} 2 # "} 1\n', {"x.b_c_2": 1.0}),
        ('x{a="C:\\\\dir\\nnext"} 1\n', {"x.c_dir_next": 1.0}),
        ('x{a="Küche"} 1\n', {"x.k_che": 1.0}),
        ("x -1.5e-3\nz +.5\ny 5.\n", {"x": -0.0015, "z": 0.5, "y": 5.0}),
        ("# TYPE x counter\nx 1\n", {"x": 1.0}),
        ("# TYPE x counter\nx_total 1\n", {"x_total": 1.0}),
        ("x 1\n# HELP x again\nx_more 1\n# TYPE x gauge\n", {"x": 1.0, "x_more": 1.0}),
    ],
)
def test_samples_become_series(text: str, expected: dict[str, float]) -> None:
    """The metric, and a part for each label in the order of their names; what is no sample is skipped."""
    assert values(text) == expected


def test_histograms_and_summaries() -> None:
    """Bounds and quantiles are parts like all labels, and no two of them become one."""
    bounds = ["-5", "-0.5", "5", "1e-06", "1e+06", "+Inf"]
    buckets = "".join(f'h_bucket{{le="{bound}"}} {n}\n' for n, bound in enumerate(bounds))
    assert values(f'{buckets}h_sum 5\nh_count 6\ns{{quantile="0.99"}} 7\n') == {
        "h_bucket.m5": 0.0, "h_bucket.m0_5": 1.0, "h_bucket.5": 2.0, "h_bucket.1em06": 3.0,
        "h_bucket.1e06": 4.0, "h_bucket.inf": 5.0, "h_sum": 5.0, "h_count": 6.0, "s.0_99": 7.0,
    }  # fmt: skip


def test_labels_are_tags() -> None:
    """As they came, with escapes undone; a series without any has no tags of its own."""
    reading = read('x{path="C:\\\\dir\\n\\"q\\"",room="Küche",empty=""} 1\ny 1\n')
    first, second = reading.samples
    assert first.tags == {"path": 'C:\\dir\n"q"', "room": "Küche", "empty": ""}
    assert second.tags is NO_TAGS


def test_units_come_from_the_name() -> None:
    """The base unit that the name ends in, before what a counter or a sum adds; counts have none."""
    names = ["a_seconds", "b_bytes_total", "c_seconds_sum", "d_seconds_count", "e_seconds_bucket", "f_total"]
    reading = read("".join(f"{name} 1\n" for name in names))
    assert [sample.tags.get("unit", "") for sample in reading.samples] == ["s", "B", "s", "", "", ""]


def test_a_label_at_the_end_tells_no_unit() -> None:
    """A symbol that ends in `up` or `status` is no state of a probe."""
    reading = read('info{operstate="up"} 1\nstatus 5\nx{a="b"} 1\n')
    assert [unit_of(sample.symbol, sample.tags) for sample in reading.samples] == ["", "", ""]
    assert [sample.tags.get("unit") for sample in reading.samples] == ["", "", None]


def test_labels_that_have_a_meaning_here_are_renamed() -> None:
    """As Prometheus does with labels of the target; `unit` always has one."""
    reading = read('x_bytes{source="a",unit="b",env="c",exported_env="d"} 1\n', reserved=["source", "env"])
    (sample,) = reading.samples
    assert sample.symbol == "p.x_bytes.c.d.a.b"
    assert sample.tags == {
        "exported_source": "a", "exported_unit": "b", "unit": "B", "exported_exported_env": "c",
        "exported_env": "d",
    }  # fmt: skip


def test_what_is_no_number_is_no_sample() -> None:
    """NaN and infinities leave a gap, which is no fault."""
    assert values("a NaN\nb +Inf\nc -Inf\nd nan\ne 1\nf 1e999\n") == {"e": 1.0}


def test_times_are_kept_or_not() -> None:
    """Milliseconds since 1970; without `timestamps` the run's own time counts, whatever they say."""
    text = "a 1 1700000000123\nb 2\nc 3 99999999999999\n"
    reading = read(text)
    assert [sample.ts for sample in reading.samples] == [1_700_000_000_123_000, None]
    assert reading.faults == ["line 3: p.c has a time before 1970 or more than a day ahead"]
    reading = read(text, timestamps=False)
    assert [sample.ts for sample in reading.samples] == [None, None, None]


def test_a_time_may_be_an_hour_ahead() -> None:
    """Clocks differ; a day is too much, and so is a time before 1970."""
    ahead = (now() + DAY // 24) // 1000
    assert len(read(f"a 1 {ahead}\n").samples) == 1
    assert len(read(f"a 1 {ahead * 2}\nb 1 -5\n").faults) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x 1", "its last line has no end, so it is not whole"),
        ("a 1\nx one\n", "line 2 is no sample: 'x one'"),
        ("x\n", "line 1 is no sample: 'x'"),
        ("x 1 2 3\n", "line 1 is no sample: 'x 1 2 3'"),
        ("x 1 1.5\n", "line 1 is no sample: 'x 1 1.5'"),
        ("x 1,5\n", "line 1 is no sample: 'x 1,5'"),
        ("x 1_000\n", "line 1 is no sample: 'x 1_000'"),
        ("x 0x10\n", "line 1 is no sample: 'x 0x10'"),
        ("x٣ 1\n", "line 1 is no sample: 'x٣ 1'"),
        ("5x 1\n", "line 1 is no sample: '5x 1'"),
        ('x{a="1" 5\n', "line 1 is no sample: 'x{a=\"1\" 5'"),
        ('x{a="1} 5\n', "line 1 is no sample: 'x{a=\"1} 5'"),
        ('x{a=1} 5\n', "line 1 is no sample: 'x{a=1}'"),
        ('x{a="1"b="2"} 5\n', "line 1 is no sample: 'x{a=\"1\"b=\"2\"}'"),
        ('x{a="1",a="2"} 5\n', "line 1 is no sample: 'x{a=\"1\",a=\"2\"}'"),
        ('x{5="1"} 5\n', "line 1 is no sample: 'x{5=\"1\"}'"),
        ('x{__name__="1"} 5\n', "line 1 is no sample: 'x{__name__=\"1\"}'"),
        ('x{a="1"} 5 # {b="2"} 1\n', "line 1 is no sample: 'x{a=\"1\"} 5 # {b=\"2\"} 1'"),
        (b'x{a="\xff"} 5\n', "line 1 is no sample: 'x{a=\"\ufffd\"}'"),
        ("<!DOCTYPE html>\n<p>\n", "line 1 is no sample: '<!DOCTYPE html>'"),
        ('{"json": 1}\n', "line 1 is no sample: '{\"json\": 1}'"),
        (b"\x1f\x8b\x08\x00\n", "line 1 is no sample: '\ufffd\\x08\\x00'"),
        ("x" * 100 + "\n", f"line 1 is no sample: '{'x' * 60}…'"),
        ("a 1\n" + "x" * 20_000 + " 1\n", "line 2 has 20003 bytes; at most 16384"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told(text: str | bytes, told: str) -> None:
    """One wrong line makes the whole wrong: who can say what else is."""
    assert failure(text) == told


def test_a_binary_answer_is_told() -> None:
    """The protobuf format is told by its type."""
    assert "binary format" in failure(b"\n", "application/vnd.google.protobuf; proto=io.prometheus.client")


@pytest.mark.parametrize(
    ("text", "kept", "faults"),
    [
        ("a 1\nA 2\nb 3\n", ["p.b"],
         ["line 1: p.a would be more than one series", "line 2: p.a would be more than one series"]),
        ('x{a="-"} NaN\nx{a="/"} 2\n', [],
         ["line 1: p.x._ would be more than one series", "line 2: p.x._ would be more than one series"]),
        ('x{a="1"} 1\nx{a="1"} 1\n', [],
         ["line 1: p.x.1 would be more than one series", "line 2: p.x.1 would be more than one series"]),
        (f"{'x' * 198} 1\n{'x' * 199} 1\n", ["p." + "x" * 198],
         [f"line 2: p.{'x' * 78}… has 201 characters; at most 200"]),
        ("up 1\na 1\n", ["p.a"], ["line 1: p.up is told by Oculus itself"]),
        ("x{" + ",".join(f'l{n}="1"' for n in range(33)) + "} 1\n", [],
         ["line 1: x has 33 labels; at most 32"]),
        (f'x{{a="{"ä" * 4_000}"}} 1\n', [], ["line 1: x has more than 4000 characters of labels"]),
    ],
)  # fmt: skip
def test_what_cannot_be_a_series_is_left_out(text: str, kept: Sequence[str], faults: Sequence[str]) -> None:
    """The others stay: the fault is of a series, not of the text. None of two that would be one is taken."""
    reading = read(text, taken=["p.up"])
    assert ([sample.symbol for sample in reading.samples], reading.faults) == (kept, faults)


def test_faults_are_told_once() -> None:
    """The first, and how many more there are."""
    assert told(["a"]) == "a"
    assert told(["a", "b", "c"]) == "a (and 2 more)"


# -- what is wanted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], ["go_x", "node_a", "node_b"]),
        (["node_*"], [], ["node_a", "node_b"]),
        (["node_a", "go_?"], [], ["go_x", "node_a"]),
        ([], ["go_*"], ["node_a", "node_b"]),
        (["node_*"], ["*_a"], ["node_b"]),
        (["NODE_*"], [], []),
    ],
)
def test_metrics_are_chosen_by_name(include: list[str], exclude: list[str], expected: list[str]) -> None:
    """Globs over names; what is excluded is not included."""
    text = 'go_x 1\nnode_a{go="1"} 1\n# TYPE node_b gauge\nnode_b 1\n'
    reading = read(text, include=include, exclude=exclude)
    assert sorted(sample.symbol.split(".")[1] for sample in reading.samples) == expected
    assert reading.series == len(expected)


def test_what_is_not_wanted_is_not_read() -> None:
    """Nonsense after a name that nobody asked for harms nobody."""
    assert values("a 1\nb{{{ nonsense\n", include=["a"]) == {"a": 1.0}


def test_too_many_series_are_none() -> None:
    """All or nothing: which of them came first means nothing. The message tells how many there are."""
    text = "".join(f"x{n} {n}\n" for n in range(1_001))
    assert failure(text) == "it has 1001 series, and at most 1000 are taken"
    assert len(values(text, most=1_001)) == 1_001
    assert len(values(text, include=["x1*"])) == 112
    with pytest.raises(TooManySeries):
        ExpositionReader("p").read(text.encode() + b"# EOF\n", "")


def test_a_hundred_thousand_series_are_counted_quickly() -> None:
    """10 MB of a stranger's labels cost no more than a look at each line."""
    labels = 'handler="/api/v1/query/{}",instance="10.0.0.1:9090",le="0.5"'
    text = "".join(f"x_bucket{{{labels.format(n)}}} {n}\n" for n in range(100_000))
    started = time.process_time()
    assert failure(text) == "it has 100000 series, and at most 1000 are taken"
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    "text",
    [
        b"\n" * 3_000_000,
        b"".join(b'x%d{%s} 1\n' % (n, b",".join(b'l%d="%s"' % (m, b"\\\\" * 40) for m in range(150)))
                 for n in range(900)),
    ],
    ids=["empty lines", "labels"],
)  # fmt: skip
def test_a_reading_ends_in_time(text: bytes) -> None:
    """What is made to take long is given up."""
    started = time.monotonic()
    assert failure(text, seconds=0.05) == "it was not read within 0.05 s"
    assert time.monotonic() - started < 2.0


# -- from one reading to the next ---------------------------------------------------------------------


def test_known_series_keep_their_tags() -> None:
    """One instance comes with each sample of a series, so that its JSON is made once; the gone are gone."""
    reader = ExpositionReader("p")
    first = reader.read(b'x{a="1"} 1\ny{a="2"} 1\n').samples
    second = reader.read(b'x{a="1"} 2 5000\ny{a="2"} 3\n').samples
    assert [(sample.value, sample.ts) for sample in second] == [(2.0, 5 * SECOND), (3.0, None)]
    assert all(sample.tags is before.tags for sample, before in zip(second, first, strict=True))
    assert len(reader.read(b'y{a="2"} 3\n').samples) == 1
    assert reader.read(b'x{a="1"} 2\n').samples[0].tags is not first[0].tags


def test_known_series_are_read_quickly() -> None:
    """A second reading of what was read before takes a fraction of the first."""
    text = "".join(
        f'x{{handler="/api/v1/query{n}",instance="10.0.0.1:9090"}} {n}\n' for n in range(5_000)
    ).encode()
    reader = ExpositionReader("p", most=5_000)
    times = []
    for _ in range(4):
        started = time.process_time()
        assert len(reader.read(text).samples) == 5_000
        times.append(time.process_time() - started)
    assert min(times[1:]) < times[0] / 2


# -- OpenMetrics --------------------------------------------------------------------------------------


def test_open_metrics_is_told_by_its_type_or_its_end() -> None:
    """Times are seconds there, and exemplars are no part of the value."""
    text = '# TYPE x counter\nx_total{a="1"} 5 1700000000.5 # {trace="abc"} 1 1700000000\n# EOF\n'
    for kind in (OPEN_METRICS, "", "text/plain"):
        (sample,) = read(text, kind).samples
        assert (sample.symbol, sample.value, sample.ts) == ("p.x_total.1", 5.0, 1_700_000_000_500_000)
    assert "line 2 is no sample" in failure(text, "text/plain; version=0.0.4")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# TYPE x gauge\nx 1\n", "at line 2 or before: Missing # EOF at end"),
        ("# TYPE x counter\nx 1\n# TYPE x counter\n# EOF\n", ""),
        ("x 1\n\n# EOF\n", "line 2 is no sample: ''"),
        ("# EOF\nx 1\n", "Received line after # EOF: x 1"),
        ('# TYPE h histogram\nh_bucket{le="1"} 1\n# EOF\n', "+Inf bucket missing: h"),
        ("x " + "9" * 400 + " nan\n# EOF\n", ""),
        ("# TYPE x stateset\nx 1\n# EOF\n", ""),
        ('# TYPE s summary\ns{a="1"} 1\n# EOF\n', ""),
        (b'x{a="\xff"} 1\n# EOF\n', ""),
    ],
)  # fmt: skip
def test_wrong_open_metrics_is_told(text: str | bytes, told: str) -> None:
    """The parser's own reason, with the place."""
    assert told in failure(text, OPEN_METRICS)


def test_open_metrics_of_what_is_wanted() -> None:
    """Families of which nothing is wanted are not shown to the parser, whatever is wrong with them."""
    text = (
        '# TYPE h histogram\nh_bucket{le="1.0"} 1\nh_bucket{le="+Inf"} 2\nh_count 2\nh_sum 3\n'
        '# TYPE bad histogram\nbad_bucket{le="1.0"} 1\n# TYPE g gauge\ng NaN\nbig 1\nn 1 1e300\n# EOF\n'
    )
    assert values(text, OPEN_METRICS, include=["*_count", "big"]) == {"h_count": 2.0, "big": 1.0}
    reading = read(text, OPEN_METRICS, include=["n"])
    assert reading.faults == ["n: p.n has a time before 1970 or more than a day ahead"]


def test_a_native_histogram_has_no_number() -> None:
    """Its value is none that could be stored."""
    text = (
        "# TYPE h histogram\nh {count:1,sum:1,schema:3,zero_threshold:1e-3,zero_count:0,"
        "positive_spans:[0:1],positive_deltas:[1]}\n# TYPE g gauge\ng 1\n# EOF\n"
    )
    assert values(text, OPEN_METRICS) == {"g": 1.0}


def test_both_formats_say_the_same() -> None:
    """What the official client exposes becomes the same series in either, but for times of creation."""
    registry = CollectorRegistry()
    Counter("jobs", "Jobs.", ["queue"], registry=registry).labels('a "b"\n\\').inc(3)
    Gauge("room_celsius", "Warmth.", registry=registry).set(-2.5)
    Histogram("wait_seconds", "Waiting.", buckets=(0.5, 5), registry=registry).observe(0.7)
    Summary("size_bytes", "Sizes.", registry=registry).observe(10)
    Info("build", "What runs.", registry=registry).info({"version": "1.2"})
    Enum("mode", "What it does.", states=["idle", "busy"], registry=registry).state("busy")
    old = values(classic.generate_latest(registry), classic.CONTENT_TYPE_PLAIN_0_0_4)
    written = open_metrics.generate_latest(registry)  # type: ignore[no-untyped-call]
    new = values(written, open_metrics.CONTENT_TYPE_LATEST)

    def lasting(found: dict[str, float]) -> dict[str, float]:
        return {symbol: value for symbol, value in found.items() if "_created" not in symbol}

    assert lasting(old) == lasting(new)
    assert lasting(old) == {
        "jobs_total.a_b": 3.0, "room_celsius": -2.5,
        "wait_seconds_bucket.0_5": 0.0, "wait_seconds_bucket.5_0": 1.0, "wait_seconds_bucket.inf": 1.0,
        "wait_seconds_count": 1.0, "wait_seconds_sum": 0.7, "size_bytes_count": 1.0,
        "size_bytes_sum": 10.0, "build_info.1_2": 1.0, "mode.idle": 0.0, "mode.busy": 1.0,
    }  # fmt: skip


# -- anything -----------------------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["x", "a_total", " ", "\t", "\n", "{", "}", '"', "=", ",", "\\", "a", "#", "# TYPE x counter\n", "1", "-",
     "NaN", "1e5", "# EOF\n", "le", "ä", "\r", "\0", '{a="b"}', " 1\n", ":"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=30).map("".join), st.sampled_from(["", OPEN_METRICS, "text/plain"]))
def test_any_text_is_read_or_refused(text: str, kind: str) -> None:
    """Nothing but the one error ever comes out, and nothing but samples."""
    try:
        reading = read(text + "\n", kind)
    except ExpositionError:
        return
    assert all(is_symbol(sample.symbol) and math.isfinite(sample.value) for sample in reading.samples)


_LABELS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), st.text(max_size=20), max_size=5
)


@given(_LABELS, st.floats(allow_nan=False, allow_infinity=False))
def test_what_the_client_writes_is_read(labels: dict[str, str], value: float) -> None:
    """Labels and numbers of the official client come back as they were."""
    labels = {label: text.encode("utf-8", "replace").decode() for label, text in labels.items()}
    registry = CollectorRegistry()
    gauge = Gauge("x", "Any.", list(labels), registry=registry)
    (gauge.labels(**labels) if labels else gauge).set(value)
    reading = read(classic.generate_latest(registry), classic.CONTENT_TYPE_PLAIN_0_0_4)
    (sample,) = reading.samples
    assert sample.value == value
    found = dict(sample.tags)
    if "unit" in labels:
        found["unit"] = found.pop("exported_unit")
    assert found == labels
