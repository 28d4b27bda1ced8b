"""The pages: what the dashboard, the alerts and the rules show, over a real socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oculus.clock import SECOND, now
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.model import Micros, Sample, Tags
from tests.support.html import Element, parse
from tests.support.site import Site


def page(site: Site, path: str = "/") -> Element:
    """Return a page, read as a browser does."""
    answer = site.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].lower() == "text/html; charset=utf-8"
    return parse(answer.text)


def row(site: Site, symbol: str) -> Element:
    """Return the dashboard's row of a symbol."""
    return page(site).one(class_="row", data_symbol=symbol)


def probe(name: str, up: float, error: str = "", at: Micros | None = None, **parts: float) -> list[Sample]:
    """Return what a run of an HTTP probe writes."""
    ts = now() if at is None else at
    tags = Tags({"target": f"http://{name}/"})
    why = Tags(tags | {"error": error, "phase": "connect"}) if error else tags
    samples = [Sample(f"net.http.{name}.{part}", value, ts, tags) for part, value in parts.items()]
    return [*samples, Sample(f"net.http.{name}.up", up, ts, why)]


# -- the dashboard --------------------------------------------------------------------------------------


def test_the_first_screen_says_what_to_do(site: Site) -> None:
    """Without any sample the dashboard shows how to add a target."""
    assert "Waiting for the first sample" in page(site).one("main").text


def test_the_dashboard_asks_for_its_own_live_part(site: Site) -> None:
    """The page asks for the fragment that it shows, so both are the same, whenever no events come."""
    site.write(("custom.x", 1.5))
    live = page(site).one(id="live")
    assert live.attributes["hx-get"] == "/partials/metrics"
    assert live.attributes["hx-trigger"] == "ask"
    fragment = page(site, "/partials/metrics")
    assert not fragment.find("html")
    assert live.text == fragment.text
    assert [element.tag for element in live.walk()][1:] == [element.tag for element in fragment.walk()][1:]


def test_series_stand_in_panels_by_category(site: Site) -> None:
    """Each category is a panel; the network comes first, others follow."""
    site.write(
        ("zoo.animals.count", 1.0),
        ("custom.a", 1.0),
        ("crypto.price.btc_usd", 1.0),
        *probe("b", 1.0, rtt=5.0),
        *probe("a", 1.0, rtt=5.0),
        ("net.ping.x.up", 1.0),
    )
    found = page(site)
    categories = [panel.attributes["data-category"] for panel in found.one(id="live").find(class_="panel")]
    assert categories == ["net.http", "net.ping", "crypto.price", "custom", "zoo.animals"]
    symbols = [
        r.attributes["data-symbol"] for r in found.one("section", data_category="net.http").find(class_="row")
    ]
    assert symbols == ["net.http.a.rtt", "net.http.b.rtt"]


def test_a_target_is_one_row_with_its_figures(site: Site) -> None:
    """Latency is large, status and phases stand beside it, and the state is the row's class."""
    site.write(
        *probe(
            "site", 1.0, rtt=12.345, status=200.0, dns=0.5, connect=1.25, tls=0.0, ttfb=8.0, cert_days=41.7
        )
    )
    found = row(site, "net.http.site.rtt")
    assert "up" in found.classes
    assert found.one(class_="name").text == "site"
    assert found.one(class_="value").one("b").text == "12.35"
    assert "ms" in found.one(class_="value").text
    facts = found.one(class_="facts").text
    for told in ("200", "42 d", "0.5 ms", "1.25 ms", "8 ms"):
        assert told in facts
    assert "tls" not in facts  # plain HTTP has no handshake


def test_a_failing_target_comes_first_with_its_reason(site: Site) -> None:
    """What is down stands above what is up, is called down, and says why."""
    site.write(
        *probe("a", 1.0, rtt=5.0), *probe("m", 0.0, "connection refused", dns=0.1), *probe("z", 1.0, rtt=5.0)
    )
    panel = page(site).one("section", data_category="net.http")
    rows = panel.find(class_="row")
    assert [("down" in r.classes, r.one(class_="name").text) for r in rows] == [
        (True, "m"),
        (False, "a"),
        (False, "z"),
    ]
    assert rows[0].one(class_="reason").text == "connection refused"
    assert rows[0].one(class_="value").one("b").text == "down"
    assert "1 down" in panel.one("h2").text


def test_a_failed_run_does_not_show_the_last_ones_figures(site: Site) -> None:
    """Latency and status of an older run are not passed off as the present ones."""
    earlier = Micros(now() - 30 * SECOND)
    site.write(*probe("site", 1.0, at=earlier, rtt=12.0, status=200.0, ttfb=5.0))
    site.write(*probe("site", 0.0, "timed out after 5 s", dns=1.0))
    found = row(site, "net.http.site.rtt")
    assert found.one(class_="value").one("b").text == "down"
    facts = found.one(class_="facts").text
    assert "200" not in facts
    assert "5 ms" not in facts
    assert "1 ms" in facts


def test_a_value_that_is_old_is_marked(new_site: Callable[..., Site]) -> None:
    """A series that went silent is stale; a fresh one is not."""
    site = new_site(stale_after=lambda symbol: 60.0)
    site.write(
        ("custom.old", 1.0, Micros(now() - 61 * SECOND)), ("custom.new", 1.0, Micros(now() - 50 * SECOND))
    )
    assert "stale" in row(site, "custom.old").classes
    assert "stale" not in row(site, "custom.new").classes


@pytest.mark.parametrize(
    ("values", "direction"),
    [([1.0, 1.0, 2.0], "up"), ([2.0, 2.0, 1.0], "down"), ([1.0, 1.0, 1.0], "flat"), ([1.0], "flat")],
)
def test_a_row_has_a_trend_and_a_sparkline(site: Site, values: list[float], direction: str) -> None:
    """The arrow's class tells the direction; the line appears with the second value and has them all."""
    start = now() - 10 * SECOND
    site.write(*[("custom.x", value, Micros(start + n * SECOND)) for n, value in enumerate(values)])
    found = row(site, "custom.x")
    assert found.one(class_="trend").classes == ["trend", direction]
    lines = found.one("svg", class_="spark").find("polyline")
    assert len(lines) == (len(values) > 1)
    for line in lines:
        points = line.attributes["points"].split()
        assert len(points) >= len(values)
        assert all(len([float(number) for number in point.split(",")]) == 2 for point in points)


def test_the_strip_counts_what_is_up_down_firing_and_pending(new_site: Callable[..., Site]) -> None:
    """The first line of the dashboard sums everything up."""
    site = new_site(
        rules=[
            RuleSettings(name="fires", condition="custom.x > 1"),
            RuleSettings(name="waits", condition="custom.x > 2", for_=Seconds(600.0)),
            RuleSettings(name="rests", condition="custom.x > 100"),
        ]
    )
    site.write(
        ("custom.x", 5.0), *probe("a", 1.0, rtt=1.0), *probe("b", 1.0, rtt=1.0), *probe("c", 0.0, "refused")
    )
    site.evaluate()
    found = page(site)
    tiles = {tile.text for tile in found.find(class_="tile")}
    assert {"2 up", "1 down", "1 firing", "1 pending"} <= tiles
    alerts = found.one("section", class_="alerts").find(class_="alert")
    assert [("firing" in alert.classes, "pending" in alert.classes) for alert in alerts] == [
        (True, False),
        (False, True),
    ]
    assert "fires" in alerts[0].text
    assert "custom.x (5) > 1" in alerts[0].text
    assert "rests" not in found.one("section", class_="alerts").text
    recent = found.one("section", class_="recent").find(data_id="1")
    assert recent


def test_a_daemon_that_is_not_ready_says_so_on_the_dashboard(new_site: Callable[..., Site]) -> None:
    """The reason stands on top of the page."""
    site = new_site(not_ready=lambda: "the disk is full")
    assert "the disk is full" in page(site).one(id="live").one(class_="banner").text


# -- alerts and rules -----------------------------------------------------------------------------------


def alerting(new_site: Callable[..., Site]) -> Site:
    """Return a site on which one rule fired and resolved and another fires."""
    site: Site = new_site(
        rules=[
            RuleSettings(
                name="slow & steady", condition="custom.x > 1", severity="warn", message="{{ value }} is much"
            ),
            RuleSettings(name="broken", condition="custom.y > 1", severity="critical"),
        ]
    )
    site.write(("custom.x", 5.0), ("custom.y", 5.0))
    site.evaluate()
    site.write(("custom.x", 0.0))
    site.evaluate()
    return site


def test_the_alerts_page_lists_steps_newest_first(new_site: Callable[..., Site]) -> None:
    """Each step tells state, rule, severity, message and time."""
    found = page(alerting(new_site), "/alerts").find(class_="alert")
    assert [alert.attributes["data-id"] for alert in found] == ["3", "2", "1"]
    assert [alert.one(class_="badge").text for alert in found] == ["resolved", "firing", "firing"]
    assert "slow & steady" in found[2].text
    assert "5.0 is much" in found[2].one(class_="message").text
    assert {"firing", "warn"} <= set(found[2].classes)
    assert found[2].one("summary").one("time").attributes["datetime"].endswith("Z")


@pytest.mark.parametrize(
    ("parameters", "ids"),
    [
        ("?rule=broken", ["2"]),
        ("?rule=slow%20%26%20steady", ["3", "1"]),
        ("?state=resolved", ["3"]),
        ("?severity=critical", ["2"]),
        ("?severity=info", []),
    ],
)
def test_the_alerts_page_is_filtered_and_stays_so(
    new_site: Callable[..., Site], parameters: str, ids: list[str]
) -> None:
    """The page's own refresh asks for the same filters."""
    site = alerting(new_site)
    found = page(site, f"/alerts{parameters}")
    assert [alert.attributes["data-id"] for alert in found.find(class_="alert")] == ids
    again = page(site, found.one(id="live").attributes["hx-get"])
    assert [alert.attributes["data-id"] for alert in again.find(class_="alert")] == ids
    assert found.one(id="live").text == again.text


@pytest.mark.parametrize("path", ["/", "/rules", "/alerts"])
def test_a_rules_name_links_to_its_page_and_that_to_its_alerts(
    new_site: Callable[..., Site], path: str
) -> None:
    """The links survive a name with signs that mean something in a URL."""
    site = alerting(new_site)
    links = page(site, path).one("main").find("a", href="/rules/slow%20%26%20steady")
    assert {link.text for link in links} == {"slow & steady"}
    own = page(site, links[0].attributes["href"])
    assert own.one("h1").text == "slow & steady"
    found = page(site, own.one(id="own-alerts").attributes["href"])
    assert [alert.attributes["data-id"] for alert in found.find(class_="alert")] == ["3", "1"]
    assert found.one(id="filter-rule").attributes["href"] == "/rules/slow%20%26%20steady"


def test_an_alert_of_a_rule_that_is_gone_links_to_its_like(new_site: Callable[..., Site]) -> None:
    """There is no page of the rule any more."""
    site = alerting(new_site)
    site.engine.load([])
    links = page(site, "/alerts").one(class_="alertlist").find("a")
    assert {link.attributes["href"] for link in links if "?" in link.attributes["href"]} == {
        "/alerts?rule=slow%20%26%20steady",
        "/alerts?rule=broken",
    }


def test_the_rules_page_shows_state_condition_and_values(new_site: Callable[..., Site]) -> None:
    """Each rule tells how it stands and why; one without data says what is missing."""
    site = new_site(
        rules=[
            RuleSettings(name="hot", condition="custom.t > 30", for_=Seconds(120.0), cooldown=Seconds(300.0)),
            RuleSettings(name="blind", condition="custom.nothing > 1"),
        ]
    )
    site.write(("custom.t", 31.5))
    site.evaluate()
    found = page(site, "/rules")
    hot, blind = found.one(data_rule="hot"), found.one(data_rule="blind")
    assert "pending" in hot.classes
    assert "custom.t (31.5) > 30" in hot.text
    assert "for 2m" in hot.text
    assert "cooldown 5m" in hot.text
    assert len(hot.one(class_="since").find("time")) == 1
    assert "inactive" in blind.classes
    assert "no fresh value of custom.nothing" in blind.text


@pytest.mark.parametrize(
    ("path", "told"), [("/alerts", "No alert yet"), ("/alerts?rule=x", "Show all"), ("/rules", "No rule yet")]
)
def test_an_empty_page_says_what_will_come(site: Site, path: str, told: str) -> None:
    """Nothing to show is explained."""
    assert told in page(site, path).one("main").text


@pytest.mark.parametrize("path", ["/", "/alerts", "/rules", "/system"])
def test_every_page_links_to_the_others(site: Site, path: str) -> None:
    """The navigation names all pages and marks the present one."""
    navigation = page(site, path).one("nav", aria_label="Pages")
    links = {link.attributes["href"]: link for link in navigation.find("a")}
    assert {"/", "/alerts", "/rules"} <= links.keys()
    assert [href for href, link in links.items() if link.attributes.get("aria-current") == "page"] == [path]


@pytest.mark.parametrize("path", ["/", "/alerts", "/rules", "/system", "/login", "/nothing"])
def test_a_page_names_only_files_of_its_own_that_exist(site: Site, path: str) -> None:
    """Every script, style and image is on this host and is served."""
    answer = site.get(path, headers={"Accept": "text/html"})
    root = parse(answer.text)
    files = [element.attributes["src"] for element in root.walk() if "src" in element.attributes]
    files += [link.attributes["href"] for link in root.find("link")]
    assert files
    for file in files:
        assert file.startswith("/static/")
        assert site.get(file).status_code == 200, file


# -- hostile input --------------------------------------------------------------------------------------

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_what_strangers_send_is_shown_as_text(new_site: Callable[..., Site]) -> None:
    """Units and reasons that came in by a push, and a rule's own texts, never become markup."""
    site = new_site(
        rules=[RuleSettings(name=f"r{HOSTILE}".replace("/", ""), condition="custom.x > 1", message=HOSTILE)]
    )
    body: list[dict[str, Any]] = [
        {"symbol": "custom.x", "value": 5, "tags": {"unit": HOSTILE}},
        {"symbol": "net.http.x.up", "value": 0, "tags": {"error": HOSTILE}},
    ]
    assert site.post("/api/push", json=body).status_code == 202
    site.settle()
    site.evaluate()
    for path in ("/", "/alerts", "/rules", "/partials/metrics", f"/alerts?rule={HOSTILE}"):
        root = page(site, path)
        assert not root.find("img", src="x")
        assert all(element.attributes["src"].startswith("/static/") for element in root.find("script"))
        assert "alert(1)" in root.text
    answer = site.get(f"/{HOSTILE}", headers={"Accept": "text/html"})
    assert not parse(answer.text).find("img", src="x")


def test_an_enormous_value_does_not_break_the_page(site: Site) -> None:
    """The largest floats are shown, and their line is drawn with numbers."""
    for value in (1.7e308, -1.7e308, 5e-324):
        assert site.post("/api/push/custom.x", json={"value": value}).status_code == 202
        site.settle()
    found = row(site, "custom.x")
    assert "nan" not in found.one("polyline").attributes["points"]
    assert "inf" not in found.one("polyline").attributes["points"]


def test_a_result_that_is_unknown_is_neither_up_nor_down(new_site: Callable[..., Site]) -> None:
    """A failure in a maintenance window does not stand first, nor is it counted; its reason is told."""
    site = new_site()
    excuse = {"reason": "maintenance: nightly", "error": "refused", "phase": "connect"}
    site.write(
        ("net.tcp.db.up", 0.0), ("net.tcp.db.rtt", 1.5), Sample("net.tcp.db.unknown", 1.0, now(), excuse)
    )
    found = row(site, "net.tcp.db.rtt")
    assert not {"up", "down", "stale"} & set(found.classes)
    assert "unknown" in found.one(class_="value").text
    assert "maintenance: nightly" in found.text
    site.write(("net.tcp.db.up", 1.0), ("net.tcp.db.unknown", 0.0))
    assert "up" in row(site, "net.tcp.db.rtt").classes
