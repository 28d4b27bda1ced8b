"""Files to positioned nodes: YAML, TOML, variables and includes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from oculus.config.document import Mistakes, Node, parse
from tests.support.configs import document, lines, plain, write

# -- YAML ---------------------------------------------------------------------------------------------


def test_yaml_nodes_know_their_lines() -> None:
    """Every mapping, item and scalar carries the line that it begins in, in block and in flow style."""
    node, mistakes = document(
        "# a comment\n"
        "server:\n"
        "  bind: 127.0.0.1\n"
        "\n"
        "  port: 80\n"
        "collectors:\n"
        "  - {type: self,\n"
        "     interval: 5s}\n"
        "  - type: network\n"
        "    tags:\n"
        "      room: attic\n"
        "text: |\n"
        "  two\n"
        "  lines\n"
    )
    assert mistakes == []
    assert lines(node) == {
        "server": 3, "server.bind": 3, "server.port": 5,
        "collectors": 7, "collectors[0]": 7, "collectors[0].type": 7, "collectors[0].interval": 8,
        "collectors[1]": 9, "collectors[1].type": 9, "collectors[1].tags": 11, "collectors[1].tags.room": 11,
        "text": 12,
    }  # fmt: skip
    assert node.key_lines == {"server": 2, "collectors": 6, "text": 12}
    assert {found.file for found in _all(node)} == {"c.yaml"}


def _all(node: Node) -> list[Node]:
    children = (
        node.value.values()
        if isinstance(node.value, dict)
        else node.value
        if isinstance(node.value, list)
        else ()
    )
    return [node, *(found for child in children for found in _all(child))]


@pytest.mark.parametrize(
    "text",
    ["no", "on", "1:30", "0o17", "0x1f", "1e3", "1_000", "2026-01-02", ".inf", "<<x", "=", "30s", "+5", "07"],
)
def test_scalars_keep_the_text_that_was_written(text: str) -> None:
    """None of YAML's guesses about plain words reaches a setting."""
    node, _ = document(f"a: {text}")
    assert plain(node) == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:", None), ("a: ~", None), ("a: null", None), ("a: Null", None), ("a: NULL", None),
        ("a: ''", ""), ('a: ""', ""), ("a: 'null'", "null"), ('a: "~"', "~"), ("a: nUll", "nUll"),
        ("a: |\n", ""), ('a: "x\\ny"', "x\ny"), ("a: 'it''s'", "it's"), ("a: >\n  x\n  y\n", "x y\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("library", ["C parser", "Python parser"])
def test_nothing_is_told_from_an_empty_text(
    text: str, value: str | None, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an empty or null word without quotes is nothing, whichever parser PyYAML was built with."""
    if library == "Python parser":
        monkeypatch.delattr(yaml, "CSafeLoader")
    node, mistakes = document(text)
    assert mistakes == []
    assert plain(node) == {"a": value}


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "null\n", "\ufeff"])
def test_a_file_without_content_is_an_empty_mapping(text: str) -> None:
    """An empty file sets nothing and is no mistake."""
    node, mistakes = document(text)
    assert plain(node) == {}
    assert mistakes == []


@pytest.mark.parametrize("library", ["C parser", "Python parser"])
def test_merge_keys_fill_in_what_is_not_written(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`<<` takes keys over, what stands in the mapping itself goes before, then the first of a list."""
    if library == "Python parser":
        monkeypatch.delattr(yaml, "CSafeLoader")
    node, mistakes = document(
        "one: &one {a: 1, b: 1, c: 1}\n"
        "two: &two\n"
        "  <<: *one\n"
        "  b: 2\n"
        "three:\n"
        "  c: 3\n"
        "  <<: [*two, {b: 9, d: 9}]\n"
    )
    assert mistakes == []
    assert plain(node) == {
        "one": {"a": "1", "b": "1", "c": "1"},
        "two": {"b": "2", "a": "1", "c": "1"},
        "three": {"c": "3", "b": "2", "a": "1", "d": "9"},
    }
    assert lines(node)["three.b"] == 4
    assert isinstance(node.value, dict)
    assert node.value["three"].key_lines == {"c": 6, "b": 4, "a": 1, "d": 7}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("server:\n  <<: base\n", "c.yaml:2: server.<<: is 'base' (an alias of a mapping)"),
        ("a: [{<<: [{b: 1}, [2]]}]\n", "c.yaml:1: a[0].<<: is a list (an alias of a mapping)"),
    ],
)
def test_merging_what_is_no_mapping_is_a_mistake(text: str, mistake: str) -> None:
    """A forgotten `*` does not silently drop what should be merged."""
    assert document(text)[1] == [mistake]


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    """Quotes take the meaning from `<<`."""
    assert plain(document('a: {"<<": x}')[0]) == {"a": {"<<": "x"}}


def test_aliases_are_copies_with_the_lines_of_their_anchor() -> None:
    """Each alias is replaced on its own: a variable in it is not expanded a second time."""
    node, mistakes = document("a: &x {t: '$${HOME} ${V}'}\nb: *x\nc: [*x]\n", environ={"V": "${W}"})
    assert mistakes == []
    same = {"t": "${HOME} ${W}"}
    assert plain(node) == {"a": same, "b": same, "c": [same]}
    assert lines(node)["c[0].t"] == 1


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: &a [1, *a]", "c.yaml:1: a[1]: an alias repeats what contains it"),
        ("a: &a\n  b: [{c: *a}]\n", "c.yaml:1: a.b[0].c: an alias repeats what contains it"),
    ],
)
def test_an_alias_of_what_contains_it_is_a_mistake(text: str, mistake: str) -> None:
    """A structure that contains itself ends in one message, at its first line, not in a loop."""
    assert document(text)[1] == [mistake]


def test_an_alias_bomb_ends_in_one_message() -> None:
    """A few lines that ask for billions of nodes are refused at once."""
    bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        bomb += f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]\n"
    assert document(bomb)[1] == ["c.yaml:1: the aliases repeat too much"]


@pytest.mark.parametrize(
    ("name", "begin", "end"), [("c.yaml", "[", "]"), ("c.yaml", "{b: ", "}"), ("c.toml", "[", "]")]
)
@pytest.mark.parametrize("levels", [2_000, 30_000])
def test_nesting_without_end_ends_in_one_message(name: str, begin: str, end: str, levels: int) -> None:
    """No depth of nesting exhausts a stack, that of Python or of the C parser."""
    sign = ":" if name == "c.yaml" else " ="
    _, mistakes = document(f"a{sign} {begin * levels}{end * levels}", name)
    assert mistakes == [f"{name}:1: is nested too deeply (at most 100 levels)"]


def test_nesting_that_is_allowed_is_read() -> None:
    """A hundred levels, the file's own mapping among them, are read; one more is not."""
    node, mistakes = document("a: " + "[" * 99 + "x" + "]" * 99)
    assert mistakes == []
    assert str(plain(node)).count("[") == 99
    assert document("a: " + "[" * 100 + "x" + "]" * 100)[1] == [
        "c.yaml:1: is nested too deeply (at most 100 levels)"
    ]


def test_block_nesting_names_the_line_where_it_goes_too_deep() -> None:
    """The message points at the level that is one too many."""
    text = "".join(" " * level + "a:\n" for level in range(150))
    assert document(text)[1] == ["c.yaml:101: is nested too deeply (at most 100 levels)"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "server:\n\tport: 1\n",
            (
                "c.yaml:2: is not valid YAML: found character that cannot start any token,"
                " while scanning for the next token"
            ),
        ),
        (
            "a: 1\n b: 2\n",
            "c.yaml:2: is not valid YAML: mapping values are not allowed in this context",
        ),
        (
            "a: [1, 2\nb: 3\n",
            "c.yaml:2: is not valid YAML: did not find expected ',' or ']', while parsing a flow sequence",
        ),
        (
            'a: 1\nb: "x\n',
            "c.yaml:3: is not valid YAML: found unexpected end of stream, while scanning a quoted scalar",
        ),
        ("a: 1\nb: *x\n", "c.yaml:2: is not valid YAML: found undefined alias"),
        (
            "a: 1\n---\nb: 2\n",
            (
                "c.yaml:2: is not valid YAML: but found another document,"
                " expected a single document in the stream"
            ),
        ),
        (
            "a: 1\nb: \x07\n",
            "c.yaml:2: is not valid YAML: unacceptable character #x0007: control characters are not allowed",
        ),
        (
            "a: 1\n\nb: é\x00\n",
            "c.yaml:3: is not valid YAML: unacceptable character #x0000: control characters are not allowed",
        ),
        ("a\n", "c.yaml:1: the file holds 'a' (a mapping such as `collectors: [...]`)"),
        ("\n- a\n", "c.yaml:2: the file holds a list (a mapping such as `collectors: [...]`)"),
        ("a: 1\n? [b]\n: 2\n", "c.yaml:2: a key must be a plain word"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "c.yaml:4: a.b: is set twice (first in line 2)"),
        ("- x: 1\n", "c.yaml:1: the file holds a list (a mapping such as `collectors: [...]`)"),
    ],
)
def test_malformed_yaml_is_one_mistake_with_its_line(text: str, mistake: str) -> None:
    """What cannot be read is told once, with the line where reading stopped."""
    assert document(text)[1] == [mistake]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a: 1\nb: \xe9t\xe9\n", 2),
        ("a: 1".encode("utf-16"), 1),
        (b"\xef\xbb\xbfa: 1\nb: 2\n\xff", 3),
        (b"\x80", 1),
    ],
)
@pytest.mark.parametrize("name", ["c.yaml", "c.toml"])
def test_a_file_that_is_no_utf_8_is_told_with_its_line(data: bytes, line: int, name: str) -> None:
    """Latin-1, UTF-16 and plain bytes are refused where the first wrong byte is."""
    assert document(data, name)[1] == [f"{name}:{line}: is not UTF-8 text"]


def test_a_byte_order_mark_is_passed_over() -> None:
    """Editors that begin UTF-8 files with a mark are no trouble."""
    assert plain(document(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")[0]) == {"a": "1", "b": "2"}


def test_line_breaks_in_keys_stay_inside_the_message() -> None:
    """A key cannot break a mistake into two lines."""
    assert document('"a\\nb": {c: 1, c: 2}')[1] == ["c.yaml:1: a\\nb.c: is set twice (first in line 1)"]


def test_a_text_that_is_no_file_is_named_as_told() -> None:
    """The built-in configuration has a name in messages, too."""
    mistakes = Mistakes()
    node = parse("a: ${X}", "built-in", mistakes, {"X": "1"})
    assert plain(node) == {"a": "1"}
    parse("[1]", "built-in", mistakes, {})
    assert mistakes.errors == [
        "built-in:1: the file holds a list (a mapping such as `collectors: [...]`)"
    ]  # fmt: skip


# -- TOML ---------------------------------------------------------------------------------------------

_TOML = """\
# [not.a.table]
title = "a # b"   # it's "no" string '''

server.port = 80
[database]
path = 'a]b'
memory_limit = "64MB"

[[collectors]]
type = "self"
tags = {room = "attic", "a.b" = "]"}

[[collectors]]   # the second
type = "network"
list = [
  "a = 1",
  ["[x]"],   # ]
  [[1]],
  [],
]
after = true
text = \"\"\"
[fake]
key = 1 \\\"""
\"\"\"\"
raw = '''
[[collectors]]
'''
 [collectors.expect]
 status = 200
[[collectors.steps]]
n = 1
[[collectors.steps]]
"quoted key" = 2.5
'k=v' = 1979-05-27
[log."a.b"]
level = 1e3
"""


def test_toml_nodes_know_their_lines() -> None:
    """Tables, arrays of tables, dotted and quoted keys carry their lines; long values that of their key."""
    node, mistakes = document(_TOML, "c.toml")
    assert mistakes == []
    assert lines(node) == {
        "title": 2,
        "server": 4, "server.port": 4,
        "database": 5, "database.path": 6, "database.memory_limit": 7,
        "collectors": 9,
        "collectors[0]": 9, "collectors[0].type": 10, "collectors[0].tags": 11,
        "collectors[0].tags.room": 11, "collectors[0].tags.a.b": 11,
        "collectors[1]": 13, "collectors[1].type": 14, "collectors[1].list": 15,
        "collectors[1].list[0]": 15, "collectors[1].list[1]": 15, "collectors[1].list[1][0]": 15,
        "collectors[1].list[2]": 15, "collectors[1].list[2][0]": 15, "collectors[1].list[2][0][0]": 15,
        "collectors[1].list[3]": 15,
        "collectors[1].after": 21, "collectors[1].text": 22, "collectors[1].raw": 26,
        "collectors[1].expect": 29, "collectors[1].expect.status": 30,
        "collectors[1].steps": 31, "collectors[1].steps[0]": 31, "collectors[1].steps[0].n": 32,
        "collectors[1].steps[1]": 33, "collectors[1].steps[1].quoted key": 34,
        "collectors[1].steps[1].k=v": 35,
        "log": 36, "log.a.b": 36, "log.a.b.level": 37,
    }  # fmt: skip


def test_toml_values_become_the_text_of_settings() -> None:
    """Numbers, booleans and dates are texts like those of YAML, so that one decoder serves both."""
    node, mistakes = document(
        'a = 1\nb = true\nc = false\nd = 2.5\ne = 0x10\nf = 2026-01-02\ng = "30s"\nh = [1, "x"]\n', "c.toml"
    )
    assert mistakes == []
    assert plain(node) == {
        "a": "1", "b": "true", "c": "false", "d": "2.5", "e": "16", "f": "2026-01-02", "g": "30s",
        "h": ["1", "x"],
    }  # fmt: skip


def test_a_toml_line_separator_in_a_text_is_no_line() -> None:
    """Only line feeds count, whatever else Unicode has that parts lines."""
    node, _ = document('a = "x\u2028y\x85z"\nb = 1\r\nc = 2\r\n', "c.toml")
    assert lines(node) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = 1\n[server\n", "c.toml:2: is not valid TOML: Expected ']' at the end of a table declaration"),
        ("a = 1\nb = \n", "c.toml:2: is not valid TOML: Invalid value"),
        ("a = 1\nb = 2\na = 3\n", "c.toml:3: is not valid TOML: Cannot overwrite a value"),
        ("server: {port: 80}\n", "c.toml:1: is not valid TOML: Expected '=' after a key in a key/value pair"),
    ],
)
def test_malformed_toml_is_one_mistake_with_its_line(text: str, mistake: str) -> None:
    """What cannot be read is told once, with the line where reading stopped."""
    assert document(text, "c.toml")[1] == [mistake]


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_toml_number_of_thousands_of_digits_is_a_mistake(number: str) -> None:
    """Python refuses to convert such numbers; that is told like any other mistake."""
    (mistake,) = document(f"a = {number}", "c.toml")[1]
    assert mistake.startswith("c.toml:1: is not valid TOML: Exceeds the limit")


# -- ${VAR} -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("<${A}${A}>", "<oneone>"),
        ("${A:-x}", "one"),
        ("${NONE:-x}", "x"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${NONE:-a b:-c}", "a b:-c"),
        ("$${A}", "${A}"),
        ("$${A} ${A}", "${A} one"),
        ("$$${A}", "$${A}"),
        ("${NESTED}", "${A}"),
        ("$A", "$A"),
        ("${{ value }}", "${{ value }}"),
        ("5$", "5$"),
        ("${_x1}", "under"),
    ],
)
@pytest.mark.parametrize("name", ["c.yaml", "c.toml"])
def test_variables_are_replaced_in_texts(text: str, value: str, name: str) -> None:
    """`${VAR}` reads the environment, `:-` gives a default for unset and empty, `$${` is a literal `${`."""
    environ = {"A": "one", "EMPTY": "", "NESTED": "${A}", "_x1": "under"}
    content = f"a: ['{text}']" if name == "c.yaml" else f"a = ['{text}']"
    node, mistakes = document(content, name, environ)
    assert mistakes == []
    assert plain(node) == {"a": [value]}


def test_a_variable_that_is_not_set_is_a_mistake_with_its_place() -> None:
    """The message names the variable, where it is asked for, and both ways out."""
    assert document("server:\n  hosts: [a, 'x${NONE}']\n")[1] == [
        "c.yaml:2: server.hosts[1]: the environment variable NONE is not set (set it, or ${NONE:-default})"
    ]


@pytest.mark.parametrize("text", ["${A", "${}", "${A-b}", "${1}", "x ${A:b} y"])
def test_a_malformed_variable_is_a_mistake(text: str) -> None:
    """A misspelt variable must not become the password itself."""
    assert document(f"server:\n  token: '{text}'\n", environ={"A": "one"})[1] == [
        "c.yaml:2: server.token: has a malformed variable (${NAME}, or $${ for a literal ${)"
    ]


def test_keys_are_not_searched_for_variables() -> None:
    """A variable stands in values only."""
    assert plain(document("'${A}': 1", environ={"A": "x"})[0]) == {"${A}": "1"}


# -- include ------------------------------------------------------------------------------------------


def test_an_included_file_is_merged_in() -> None:
    """Mappings merge key by key at every depth, lists are appended, new keys are taken over."""
    write(
        {
            "more.yaml": "server: {port: 80, deep: {b: 2}}\ncollectors: [c]\nlog: {level: debug}\n",
            "last.toml": 'collectors = ["d"]\n[server.deep]\nc = 3\n',
        }
    )
    node, mistakes = document(
        'include: [more.yaml, last.toml]\nserver: {bind: "::1", deep: {a: 1}}\ncollectors: [a, b]\n'
    )
    assert mistakes == []
    assert plain(node) == {
        "server": {"bind": "::1", "port": "80", "deep": {"a": "1", "b": "2", "c": "3"}},
        "collectors": ["a", "b", "c", "d"],
        "log": {"level": "debug"},
    }
    assert isinstance(node.value, dict)
    collectors = node.value["collectors"].value
    assert isinstance(collectors, list)
    assert [(item.file, item.line) for item in collectors] == [
        ("c.yaml", 3), ("c.yaml", 3), ("more.yaml", 2), ("last.toml", 1),
    ]  # fmt: skip
    assert node.key_lines["log"] == 3


@pytest.mark.parametrize(
    ("ours", "theirs", "mistake"),
    [
        ("{port: 1}", "{port: 1}", "more.yaml:1: server.port: is set in c.yaml:2 already"),
        ("{a: [1]}", "{a: 1}", "more.yaml:1: server.a: is set in c.yaml:2 already"),
        ("{a: {b: 1}}", "{a: [1]}", "more.yaml:1: server.a: is set in c.yaml:2 already"),
        ("1", "{a: 1}", "more.yaml:1: server: is set in c.yaml:2 already"),
    ],
)
def test_what_two_files_set_is_a_mistake(ours: str, theirs: str, mistake: str) -> None:
    """Neither of two scalars wins silently, nor does a mapping over a list."""
    write({"more.yaml": f"server: {theirs}"})
    assert document(f"include: more.yaml\nserver: {ours}\n")[1] == [mistake]


def test_a_folder_brings_its_configuration_files_in_order() -> None:
    """YAML and TOML files of a folder are read by name; other files and folders below are left alone."""
    write(
        {
            "conf/20.yaml": "a: [2]", "conf/10.toml": "a = [1]", "conf/30.yml": "a: [3]",
            "conf/readme.txt": ":", "conf/40.yaml~": ":", "conf/below/50.yaml": "a: [5]",
        }
    )  # fmt: skip
    node, mistakes = document("include: conf\na: [0]\n")
    assert mistakes == []
    assert plain(node) == {"a": ["0", "1", "2", "3"]}


def test_a_glob_brings_the_files_that_match_in_order() -> None:
    """Globs may cross folders; one that matches nothing is no mistake."""
    write({"conf/b/x.yaml": "a: [2]", "conf/a/x.yaml": "a: [1]", "conf/a/y.yaml": "a: [9]"})
    node, mistakes = document('include: ["conf/*/x.yaml", "none/*.yaml", "conf/**/z?.yaml"]\na: [0]\n')
    assert mistakes == []
    assert plain(node) == {"a": ["0", "1", "2"]}


def test_an_absolute_path_and_an_absolute_glob_are_found(tmp_path: Path) -> None:
    """What begins at the root does not depend on the including file's folder; variables may stand in it."""
    write({"one/x.yaml": "a: [1]", "two/x.yaml": "a: [2]"})
    node, mistakes = document(
        'include: ["${HERE}/one/x.yaml", "${HERE}/t*/x.yaml"]', environ={"HERE": str(tmp_path)}
    )
    assert mistakes == []
    assert plain(node) == {"a": ["1", "2"]}


def test_includes_nest_and_are_relative_to_the_file_that_asks() -> None:
    """A file in a folder includes its neighbours by their plain names."""
    write({"conf/b.yaml": "include: sub/c.yaml\na: [2]", "conf/sub/c.yaml": "include: d.yaml\na: [3]"})
    write({"conf/sub/d.yaml": "a: [4]"})
    node, mistakes = document("include: conf/b.yaml\na: [1]\n")
    assert mistakes == []
    assert plain(node) == {"a": ["1", "2", "3", "4"]}


def test_two_files_may_include_the_same_third() -> None:
    """Only a circle is a mistake; what is read twice is there twice."""
    write({"a.yaml": "include: x.yaml", "b.yaml": "include: x.yaml", "x.yaml": "a: [1]"})
    node, mistakes = document("include: [a.yaml, b.yaml]")
    assert mistakes == []
    assert plain(node) == {"a": ["1", "1"]}


@pytest.mark.parametrize(
    ("files", "mistakes"),
    [
        ({"c.yaml": "a: 1\ninclude: c.yaml"}, ["c.yaml:2: include: c.yaml includes itself"]),
        ({"c.yaml": "include: '*.yaml'"}, ["c.yaml:1: include: c.yaml includes itself"]),
        (
            {"c.yaml": "include: b.yaml", "b.yaml": "\ninclude: [./c.yaml]"},
            ["b.yaml:2: include: c.yaml includes itself"],
        ),
        (
            {"c.yaml": "include: conf/b.yaml", "conf/b.yaml": "include: ../c.yaml"},
            ["conf/b.yaml:1: include: conf/../c.yaml includes itself"],
        ),
        (
            {"c.yaml": "include: b.yaml", "b.yaml": "include: b.yaml"},
            ["b.yaml:1: include: b.yaml includes itself"],
        ),
    ],
)
def test_a_circle_of_includes_is_a_mistake(files: dict[str, str], mistakes: list[str]) -> None:
    """Files that include each other are told once, at the line that closes the circle."""
    write(files)
    assert document(files["c.yaml"])[1] == mistakes


def test_a_circle_through_a_link_is_a_mistake() -> None:
    """Another name of an open file does not hide the circle."""
    Path("link.yaml").symlink_to("c.yaml")
    assert document("include: link.yaml")[1] == ["c.yaml:1: include: link.yaml includes itself"]


@pytest.mark.parametrize(
    ("include", "mistake"),
    [
        ("none.yaml", "c.yaml:2: include: none.yaml: there is no such file"),
        ("[{a: 1}]", "c.yaml:2: include: is a mapping (a file, a folder or a glob)"),
        ("[[a]]", "c.yaml:2: include: is a list (a file, a folder or a glob)"),
        ("{a: b}", "c.yaml:2: include: is a mapping (a file, a folder or a glob)"),
        ("[~]", "c.yaml:2: include: is nothing (a file, a folder or a glob)"),
        ("c.yaml/x.yaml", "c.yaml:2: include: c.yaml/x.yaml: cannot be read: Not a directory"),
        ("folders", "c.yaml:2: include: folders/x.yaml: cannot be read: Is a directory"),
        ("x" * 300, f"c.yaml:2: include: {'x' * 300} cannot be read: File name too long"),
        ('"a\\nb.yaml"', "c.yaml:2: include: a\\nb.yaml: there is no such file"),
    ],
)
def test_an_include_that_cannot_be_read_is_a_mistake(include: str, mistake: str) -> None:
    """The message stands at the line that asks for the file."""
    Path("folders/x.yaml").mkdir(parents=True)
    assert document(f"a: 1\ninclude: {include}\n")[1] == [mistake]


@pytest.mark.parametrize("include", ['"\\0"', '"*\\0"', "loop.yaml", "loop.yaml/*.yaml", "'['", "a**b/*"])
def test_an_include_that_is_no_path_raises_nothing(include: str) -> None:
    """NUL, loops of links and malformed globs are at most mistakes with their line."""
    Path("loop.yaml").symlink_to("loop.yaml")
    _, mistakes = document(f"\ninclude: {include}\n")
    assert all(mistake.startswith("c.yaml:2: include: ") for mistake in mistakes)
    assert len(mistakes) <= 1


@pytest.mark.parametrize("include", ["", "~", "[]"])
def test_an_empty_include_includes_nothing(include: str) -> None:
    """A key without a value is as good as none."""
    node, mistakes = document(f"include: {include}\na: 1\n")
    assert mistakes == []
    assert plain(node) == {"a": "1"}


def test_mistakes_in_included_files_name_those_files() -> None:
    """Each mistake stands with the file that it is in."""
    write({"conf/bad.yaml": "a: 1\na: 2\n", "conf/worse.yaml": "x\n", "conf/var.toml": 'b = "${NO}"\n'})
    assert document("include: conf")[1] == [
        "conf/bad.yaml:2: a: is set twice (first in line 1)",
        "conf/var.toml:1: b: the environment variable NO is not set (set it, or ${NO:-default})",
        "conf/worse.yaml:1: the file holds 'x' (a mapping such as `collectors: [...]`)",
    ]


def test_a_missing_main_file_is_told_without_a_line() -> None:
    """There is no line to name in a file that is not there."""
    from oculus.config.document import read

    mistakes = Mistakes()
    assert plain(read("none.yaml", mistakes, {})) == {}
    assert plain(read(".", mistakes, {})) == {}
    assert mistakes.errors == ["none.yaml: there is no such file", ".: cannot be read: Is a directory"]
