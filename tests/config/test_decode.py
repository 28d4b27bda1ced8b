"""Nodes to typed settings: scalars, compounds, and every mistake at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.config.decode import (
    Seconds,
    Size,
    between,
    decode,
    did_you_mean,
    keys_of,
    parse_duration,
    parse_size,
    setting,
)
from oculus.config.document import Mistakes, parse
from oculus.config.secret_files import MAX_SECRET


class Point:
    """A type that reads itself."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    @classmethod
    def parse(cls, text: str) -> Point:
        """Read `x/y`."""
        x, _, y = text.partition("/")
        if not x.isdecimal() or not y.isdecimal():
            raise ValueError(f"{text!r} is no point (such as 1/2)")
        return cls(int(x), int(y))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A section within a section."""

    low: int = setting(0, help="least")
    high: int = setting(10, help="most")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """One field of each kind."""

    text: str = setting("t", help="text")
    whole: int = setting(1, help="whole", check=between(0, 100))
    number: float = setting(1.5, help="number")
    flag: bool = setting(False, help="flag")
    time: Seconds = setting(Seconds(1.0), help="time")
    size: Size = setting(Size(1), help="size")
    level: Literal["low", "high"] = setting("low", help="level")
    maybe: int | None = setting(None, help="maybe")
    names: tuple[str, ...] = setting((), help="names")
    counts: tuple[int, ...] = setting((), help="counts")
    tags: Mapping[str, str] = setting(factory=dict, help="tags")
    point: Point | None = setting(None, help="point")
    inner: Inner = setting(Inner(), help="inner")
    inners: tuple[Inner, ...] = setting((), help="inners")
    for_: Seconds = setting(Seconds(0.0), key="for", help="how long")
    token: str = setting("", help="token", secret=True)
    keys: Mapping[str, str] = setting(factory=dict, help="keys", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A section with a setting that must be given."""

    name: str = setting(help="what it is called")
    size: Size = setting(Size(1), help="size")


def decoded(text: str) -> tuple[Everything | None, list[str]]:
    """Return what a YAML text decodes to, and the mistakes."""
    mistakes = Mistakes()
    found = decode(parse(text, "f", mistakes, {}), Everything, "", mistakes)
    return found, mistakes.errors


# -- scalars ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("text: no", "no"), ("text: 42", "42"), ("text: ''", ""), ("text: '  x '", "  x "),
        ("whole: 42", 42), ("whole: '42'", 42), ("whole: 007", 7), ("whole: +5", 5),
        ("number: 42", 42.0), ("number: -1.5e-3", -0.0015), ("number: '.5'", 0.5),
        ("flag: true", True), ("flag: 'TRUE'", True), ("flag: yes", True), ("flag: On", True),
        ("flag: false", False), ("flag: no", False), ("flag: off", False),
        ("time: 500ms", 0.5), ("time: 2w", 1_209_600.0), ("size: 2KiB", 2048),
        ("level: high", "high"), ("level: 'low'", "low"),
        ("maybe: 3", 3), ("maybe:", None),
        ("names: [a, 'b c', 3]", ("a", "b c", "3")), ("names: a", ("a",)), ("names: []", ()),
        ("counts: [1, 2]", (1, 2)), ("counts: 3", (3,)),
        ("tags: {a: b, 'C d': 1}", {"a": "b", "C d": "1"}), ("tags: {}", {}),
        ("inner: {low: 3}", Inner(low=3)), ("inner:", Inner()), ("inner: {}", Inner()),
        ("inners: [{low: 1}, {high: 2}]", (Inner(low=1), Inner(high=2))),
        ("inners: {low: 1}", (Inner(low=1),)),
    ],
)  # fmt: skip
def test_a_setting_takes_what_fits_its_type(text: str, value: object) -> None:
    """Each type of setting reads its text; one item of a list may stand without brackets."""
    found, mistakes = decoded(text)
    assert mistakes == []
    got = getattr(found, text.partition(":")[0])
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("text: [a]", "f:1: text: is a list (a single value)"),
        ("text: {a: b}", "f:1: text: is a mapping (a single value)"),
        ("whole: 1.5", "f:1: whole: '1.5' is not a whole number"),
        ("whole: many", "f:1: whole: 'many' is not a whole number"),
        ("whole: ''", "f:1: whole: '' is not a whole number"),
        ("whole: 0x10", "f:1: whole: '0x10' is not a whole number"),
        ("whole: 101", "f:1: whole: 101 is out of range (0 to 100)"),
        ("whole: -1", "f:1: whole: -1 is out of range (0 to 100)"),
        (f"whole: {'9' * 400}", "f:1: whole: is out of range (0 to 100)"),
        (f"whole: {'9' * 5000}", f"f:1: whole: '{'9' * 5000}' is not a whole number"),
        ("number: one", "f:1: number: 'one' is not a number"),
        ("number: nan", "f:1: number: 'nan' is not a finite number"),
        ("number: inf", "f:1: number: 'inf' is not a finite number"),
        ("number: 1e999", "f:1: number: '1e999' is not a finite number"),
        ("flag: 1", "f:1: flag: '1' is neither true nor false"),
        ("flag: ''", "f:1: flag: '' is neither true nor false"),
        ("time: 5", "f:1: time: '5' is not a duration (5s)"),
        ("size: 5", "f:1: size: '5' is not a size (such as 128MB or 2GiB)"),
        (f"size: {'9' * 400}MB", f"f:1: size: '{'9' * 400}MB' is not a finite size"),
        ("level: High", "f:1: level: is 'High' (one of: low, high)"),
        ("level: [low]", "f:1: level: is a list (one of: low, high)"),
        ("maybe: x", "f:1: maybe: 'x' is not a whole number"),
        ("names: {a: b}", "f:1: names: is a mapping (a single value)"),
        ("names:\n- a\n- [b]", "f:3: names[1]: is a list (a single value)"),
        ("names: [a, ~]", "f:1: names[1]: is nothing (a single value)"),
        ("counts: [1, x]", "f:1: counts[1]: 'x' is not a whole number"),
        ("tags: [a]", "f:1: tags: is a list (a mapping)"),
        ("tags: {a: [b]}", "f:1: tags.a: is a list (a single value)"),
        ("tags: {a: }", "f:1: tags.a: is nothing (a single value)"),
        ("point: 1-2", "f:1: point: '1-2' is no point (such as 1/2)"),
        ("inner: x", "f:1: inner: is 'x' (a mapping of settings)"),
        ("inner: {low: 5, high: 3}", "f:1: inner: low (5) is above high (3)"),
        ("inner: {lwo: 1}", 'f:1: inner.lwo: unknown key (did you mean "low"?)'),
        ("inners:\n- low: 1\n- low: a", "f:3: inners[1].low: 'a' is not a whole number"),
        ("for: x", "f:1: for: 'x' is not a duration (such as 500ms, 30s, 5m, 1h or 7d)"),
    ],
)
def test_a_setting_refuses_what_does_not_fit(text: str, mistake: str) -> None:
    """The message names the place, what is wrong, and what would be right."""
    assert decoded(text) == (None, [mistake])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1us", 1e-6), ("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h", 3600), ("7d", 604_800),
        ("2w", 1_209_600),
        ("1.5h", 5400), ("0.25s", 0.25), ("1h30m", 5400), ("1d 2h 3m 4s", 93_784), ("0s", 0),
    ],
)  # fmt: skip
def test_durations_are_numbers_with_units(text: str, seconds: float) -> None:
    """Numbers with units, several in a row, and fractions are durations."""
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("5", "5s"), ("1.5", "1.5s"),
        *((text, "such as 500ms, 30s, 5m, 1h or 7d") for text in (
            "", " ", "s", "-5s", "+5s", "5S", "5M", "5sec", "5 minutes", "1h30", "1.5.5s", "1,5s", ".5s",
            "5.s", "5s!", "s5", "1 h", "1e3s", "inf", "nan", "soon", "5y", "5 5s", "0x5s", "1:30",
        )),
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str, hint: str) -> None:
    """A bare number gets its unit suggested; anything else gets examples."""
    with pytest.raises(ValueError, match=" is not a duration ") as caught:
        parse_duration(text)
    assert str(caught.value) == f"{text!r} is not a duration ({hint})"


@given(st.integers(0, 10**6), st.sampled_from(["us", "ms", "s", "m", "h", "d", "w"]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str) -> None:
    """No unit is taken for another, alone or before another part."""
    seconds = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * seconds)
    assert parse_duration(f"{number}{unit}1s") == pytest.approx(number * seconds + 1)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5B", 5), ("1KB", 1000), ("128MB", 128_000_000), ("1.5GB", 1_500_000_000), ("2TB", 2 * 10**12),
        ("1KiB", 1024), ("2 MiB", 2_097_152), ("1gib", 2**30), ("1TiB", 2**40),
    ],
)  # fmt: skip
def test_sizes_are_numbers_with_units(text: str, size: int) -> None:
    """Decimal and binary units, in any case."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "MB", "-5MB", "5 M", "5MBit", "1.MB", "5MB ", "1e3B", "5PB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """A size needs its unit."""
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (0.05, "s", "50ms is out of range (100ms to 366d)"),
        (0.0, "s", "0s is out of range (100ms to 366d)"),
        (0.00025, "s", "0.00025s is out of range (100ms to 366d)"),
        (400 * 86_400.0, "s", "400d is out of range (100ms to 366d)"),
        (366 * 86_400 + 5400.0, "s", "527130m is out of range (100ms to 366d)"),
        (float("inf"), "s", "is out of range (100ms to 366d)"),
    ],
)
def test_a_range_is_told_in_units_that_a_person_would_write(value: float, unit: str, told: str) -> None:
    """The limits in a message can be typed as they stand."""
    with pytest.raises(ValueError, match="out of range") as caught:
        between(0.1, 366 * 86_400.0, unit)(value)
    assert str(caught.value) == told


@pytest.mark.parametrize("value", [0, 0.5, 100])
def test_a_range_includes_its_ends(value: float) -> None:
    """Both limits are allowed."""
    between(0, 100)(value)


# -- compounds ----------------------------------------------------------------------------------------


def test_what_is_left_out_keeps_its_default() -> None:
    """An empty section has every default, and an empty value is as good as none."""
    assert decoded("") == (Everything(), [])
    nothing = "\n".join(f"{key}:" for key in keys_of(Everything))
    assert decoded(nothing) == (Everything(), [])


def test_every_mistake_is_told_at_once() -> None:
    """One wrong setting hides no other, at any depth."""
    found, mistakes = decoded(
        "whole: x\n"
        "colour: red\n"
        "inner:\n"
        "  low: y\n"
        "  hihg: 2\n"
        "tags: {a: [1], b: [2]}\n"
        "counts: [p, q]\n"
        "text: fine\n"
    )
    assert found is None
    assert mistakes == [
        "f:1: whole: 'x' is not a whole number",
        (
            "f:2: colour: unknown key (known: counts, flag, for, inner, inners, keys, keys_file, level,"
            " maybe, names, number, point, size, tags, text, time, token, token_file, whole)"
        ),
        "f:4: inner.low: 'y' is not a whole number",
        'f:5: inner.hihg: unknown key (did you mean "high"?)',
        "f:6: tags.a: is a list (a single value)",
        "f:6: tags.b: is a list (a single value)",
        "f:7: counts[0]: 'p' is not a whole number",
        "f:7: counts[1]: 'q' is not a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("size: 1B", ["f:1: at.name: is missing (what it is called)"]),
        ("name:", ["f:1: at.name: is empty"]),
        ("name: ~\nsize: x", ["f:1: at.name: is empty",
                              "f:2: at.size: 'x' is not a size (such as 128MB or 2GiB)"]),
        ("nmae: x", ['f:1: at.nmae: unknown key (did you mean "name"?)',
                     "f:1: at.name: is missing (what it is called)"]),
        ("name: ''", []),
    ],
)  # fmt: skip
def test_a_setting_without_default_must_be_given(text: str, mistakes: list[str]) -> None:
    """What is missing is told with what it is for; an empty value does not count as given."""
    found = Mistakes()
    decode(parse(text, "f", found, {}), Named, "at", found)
    assert found.errors == mistakes


def test_keys_that_are_decoded_elsewhere_are_ignored() -> None:
    """The caller names keys that are none of this class's business."""
    mistakes = Mistakes()
    node = parse("kind: x\nname: n", "f", mistakes, {})
    assert decode(node, Named, "", mistakes, ignore=frozenset({"kind"})) == Named(name="n")
    assert mistakes.errors == []


def test_a_secret_is_not_printed() -> None:
    """The settings of a daemon can be logged without giving its token away."""
    found, _ = decoded("token: hunter2")
    assert found is not None
    assert found.token == "hunter2"
    assert "hunter2" not in repr(found)


def test_a_type_that_cannot_be_read_is_a_bug_told_at_once() -> None:
    """A settings class with a field of an unknown type fails when it is first used."""

    @dataclass(frozen=True)
    class Wrong:
        field: complex = setting(0j, help="no way")

    with pytest.raises(TypeError, match="no way to decode"):
        decode(parse("field: 1", "f", Mistakes(), {}), Wrong, "", Mistakes())


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("intervall", ["interval", "internal"], ' (did you mean "interval"?)'),
        ("xyz", ["b", "a"], " (known: a, b)"),
        ("xyz", [], ""),
    ],
)
def test_did_you_mean_offers_the_closest_word_or_all(word: str, known: list[str], hint: str) -> None:
    """A misspelt word gets its neighbour, a strange one gets the list."""
    assert did_you_mean(word, known) == hint


# -- secrets in files ---------------------------------------------------------------------------------


def _check_length(text: str) -> None:
    between(3, 9)(len(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """A section that needs a secret, and has a setting whose name only looks like that of a file."""

    password: str = setting(help="password", secret=True, check=_check_length)
    pin: int = setting(0, help="pin", secret=True)
    pin_file: str = setting("", help="not where the pin is")


def locked(text: str) -> tuple[Locked | None, list[str]]:
    """Return what a YAML text decodes to, and the mistakes."""
    mistakes = Mistakes()
    return decode(parse(text, "f", mistakes, {}), Locked, "at", mistakes), mistakes.errors


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with files of secrets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("  hunter2\n\n")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbfhunter3")
    (tmp_path / "lines").write_text("one\ntwo\n")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "long").write_text("x" * MAX_SECRET)
    (tmp_path / "longer").write_text("x" * (MAX_SECRET + 1))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("token_file: token", "token", "hunter2"),
        ("token_file: ./marked", "token", "hunter3"),
        ("token_file: lines", "token", "one\ntwo"),
        ("token_file: long", "token", "x" * MAX_SECRET),
        ("token_file: token\ntoken:", "token", "hunter2"),
        ("token_file:", "token", ""),
        ("keys_file: {a: token}", "keys", {"a": "hunter2"}),
        ("keys: {b: plain}\nkeys_file: {a: token}", "keys", {"a": "hunter2", "b": "plain"}),
    ],
)
def test_a_secret_may_stand_in_a_file(folder: Path, text: str, key: str, value: object) -> None:
    """`<key>_file` names it; white space around it is no part of it; entries may have one each."""
    found, mistakes = decoded(text)
    assert mistakes == []
    assert getattr(found, key) == value


def test_a_secret_may_stand_anywhere_in_the_file_system(folder: Path) -> None:
    """The path may be absolute, as those of mounted secrets are, and variables in it are replaced."""
    mistakes = Mistakes()
    node = parse("token_file: ${DIR}/token", "f", mistakes, {"DIR": str(folder)})
    found = decode(node, Everything, "", mistakes)
    assert found is not None
    assert found.token == "hunter2"


def test_a_path_with_an_unknown_variable_is_told_once(folder: Path) -> None:
    """The variable is the mistake, and no file is looked for."""
    mistakes = Mistakes()
    assert decode(parse("token_file: ${DIR}/token", "f", mistakes, {}), Everything, "", mistakes) is None
    assert len(mistakes.errors) == 1


def test_what_a_file_holds_is_checked_as_if_it_were_given(folder: Path) -> None:
    """A setting that must be given may be given in a file; its check looks at what is in there."""
    assert locked("password_file: token") == (Locked(password="hunter2"), [])
    assert locked("password_file: long")[1] == ["f:1: at.password: 64000 is out of range (3 to 9)"]
    assert locked("pin: 1")[1] == ["f:1: at.password: is missing (password)"]


def test_a_setting_of_that_name_goes_before(folder: Path) -> None:
    """Where a section has a setting `<key>_file` of its own, it keeps its meaning."""
    assert locked("password: abcd\npin_file: token") == (Locked(password="abcd", pin_file="token"), [])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("whole: 1\ntoken_file: nowhere", "f:2: token_file: nowhere: there is no such file"),
        ("token_file: folder", "f:1: token_file: folder: is no file"),
        ("token_file: pipe", "f:1: token_file: pipe: is no file"),
        ("token_file: /dev/zero", "f:1: token_file: /dev/zero: is no file"),
        ("token_file: empty", "f:1: token_file: empty: is empty"),
        ("token_file: binary", "f:1: token_file: binary: is not UTF-8 text"),
        ("token_file: longer", "f:1: token_file: longer: has more than 64 kB, which is no secret"),
        ("token_file: [token]", "f:1: token_file: is a list (the path of a file)"),
        ("token: x\ntoken_file: token", "f:2: token_file: stands beside token (keep one of them)"),
        ("token: ''\ntoken_file: token", "f:2: token_file: stands beside token (keep one of them)"),
        ("keys_file: token", "f:1: keys: is *** (a mapping)"),
        ("keys_file: {a: nowhere}", "f:1: keys_file.a: nowhere: there is no such file"),
        ("keys: {a: b}\nkeys_file: {a: token}", "f:2: keys_file.a: is in keys already (keep one of them)"),
        ("text_file: token", "f:1: text_file: unknown key"),
        ("tokn_file: token", 'f:1: tokn_file: unknown key (did you mean "token_file"?)'),
    ],
)
def test_a_file_that_holds_no_secret_is_a_mistake(folder: Path, text: str, mistake: str) -> None:
    """The message names the place in the configuration and the file; only secrets may stand in files."""
    found, mistakes = decoded(text)
    assert found is None
    assert len(mistakes) == 1
    assert mistakes[0].startswith(mistake)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_mistake(folder: Path) -> None:
    """The operating system's reason is told."""
    (folder / "token").chmod(0)
    assert decoded("token_file: token")[1] == ["f:1: token_file: token: Permission denied"]


@pytest.mark.parametrize("text", ["token_file: token\nwhole: x", "keys_file: token", "keys: hunter2"])
def test_no_message_shows_a_secret(folder: Path, text: str) -> None:
    """What is wrong with a section, or with the secret itself, does not bring it to light."""
    _, mistakes = decoded(text)
    assert mistakes
    assert "hunter2" not in str(mistakes)
    assert locked("password: abcd\npin: hunter2")[1] == ["f:2: at.pin: *** is not a whole number"]
