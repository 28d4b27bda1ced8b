"""What the status page is told: its section, and names that would tell too much."""

from __future__ import annotations

from oculus.config.settings import StatusGroup, StatusSettings
from tests.support.configs import mistakes_of, settings_of

PUBLIC = """
server: {token: a long secret, public_status: true}
collectors:
  - {type: network, probe: http, target: "https://internal.example.com/admin"}
  - {type: network, probe: tcp, name: db, target: "db.local:5432"}
  - {type: network, probe: ping, target: 10.1.2.3}
"""


def test_the_section_is_read() -> None:
    """Groups with one symbol or several, names and texts."""
    found = settings_of(
        """
        status:
          title: Acme
          groups:
            - {name: Web, symbols: "net.http.*"}
            - {name: Data, symbols: [net.tcp.db, "net.ping.*"]}
          names: {net.tcp.db: Database}
        """
    ).status
    assert (found.title, found.names) == ("Acme", {"net.tcp.db": "Database"})
    assert [group.symbols for group in found.groups] == [("net.http.*",), ("net.tcp.db", "net.ping.*")]
    assert settings_of("server: {port: 0}").status == StatusSettings()


def test_mistakes_are_told_with_their_place() -> None:
    """What is misspelt, empty, or no pattern of symbols."""
    found = mistakes_of(
        """\
status:
  tittle: Acme
  groups:
    - {name: Web}
    - {name: Empty, symbols: []}
    - {name: Odd, symbols: ["https://example.com"], order: 1}
  names: {Net: x, net.tcp.db: " "}
  badges: [crypto price]
"""
    )
    told = "\n".join(found)
    for line in (
        'c.yaml:2: status.tittle: unknown key (did you mean "title"?)',
        "c.yaml:4: status.groups[0].symbols: is missing",
        "c.yaml:5: status.groups[1].symbols: is empty (targets such as",
        "c.yaml:6: status.groups[2].symbols: 'https://example.com' is not a symbol or a pattern of them",
        "c.yaml:6: status.groups[2].order: unknown key",
        "c.yaml:7: status.names: 'Net' is not a symbol",
        "c.yaml:8: status.badges: 'crypto price' is not a symbol or a pattern",
    ):
        assert line in told, told
    assert len(found) == 7
    assert mistakes_of("status: {names: {net.tcp.db: ' '}}") == [
        "c.yaml:1: status.names: net.tcp.db has an empty name"
    ]


def test_a_group_finds_its_targets_in_the_order_of_its_symbols() -> None:
    """By name, by pattern, and by the series that tells whether a target is up."""
    group = StatusGroup(name="Web", symbols=("net.http.shop", "net.tcp.db.up", "net.http.*"))
    assert [group.places(name) for name in ("net.http.shop", "net.tcp.db", "net.http.a", "net.tcp.x")] == [
        0, 1, 2, None,
    ]  # fmt: skip
    assert StatusSettings().shows("anything")
    assert not StatusSettings(groups=(group,)).shows("net.ping.x")


def test_a_public_page_that_tells_addresses_is_warned_of() -> None:
    """Probes without a name of their own are called by their target; those that have one are not."""
    (told,) = settings_of(PUBLIC).warnings
    assert "c.yaml:2: server.public_status: " in told
    assert "https_internal_example_com_admin, 10_1_2_3 " in told
    named = (
        PUBLIC
        + """
status:
  groups: [{name: Web, symbols: [net.http.*, net.tcp.*]}]
  names: {net.http.https_internal_example_com_admin: Admin}
"""
    )
    assert settings_of(named).warnings == ()
    assert settings_of(PUBLIC.replace("true", "false")).warnings == ()
