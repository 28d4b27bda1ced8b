"""The status page over a real store: how targets stand and stood, who may see it, and what is kept back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise

import gevent
import pytest

from oculus.clock import DAY, SECOND, now, parse_iso
from oculus.config.settings import ServerSettings, StatusGroup, StatusSettings
from oculus.model import Micros, Sample, Tags
from oculus.storage import uptime
from oculus.storage.tiers import HOUR, MINUTE, floor
from oculus.web import auth, records, targets
from oculus.web.records import days
from tests.support.daemon import Daemon
from tests.support.html import Element, parse
from tests.support.servers import wait_for
from tests.support.site import Site

TOKEN = "a long secret"
HTML = {"Accept": "text/html"}
LOGGED_IN = HTML | {"Authorization": f"Bearer {TOKEN}"}

# What the tags of a failure may tell of a network.
ADDRESS = "10.1.2.3:8443"
SECRET = Tags({"target": f"https://{ADDRESS}/admin", "error": f"connect to {ADDRESS} refused"})


def runs(target: str, start: int, end: int, up: float = 1.0) -> Iterator[Sample]:
    """Yield the results of a probe that runs each minute of [start, end)."""
    for ts in range(start, end, MINUTE):
        yield Sample(f"{target}.up", up, Micros(ts))


def result(symbol: str, value: float, tags: Mapping[str, str]) -> Sample:
    """Return a result of now."""
    return Sample(symbol, value, now(), Tags(tags))


def status(site: Site, path: str = "/status", headers: dict[str, str] = HTML) -> Element:
    """Return the page, read as a browser does."""
    answer = site.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return parse(answer.text)


def entry(page: Element, name: str) -> Element:
    """Return the line of a target."""
    (found,) = [one for one in page.find("li", "entry") if one.one("h3").text == name]
    return found


def figures_of(found: Element) -> dict[str, str]:
    """Return the uptime of each window of a target, with what is unknown."""
    return {one.one("dt").text: one.one("dd").text for one in found.one("dl").find("div")}


@pytest.fixture
def minutely(new_site: Callable[..., Site]) -> Site:
    """A site whose probes run each minute."""
    return new_site(every=lambda symbol: 60.0)


# -- how targets stand ----------------------------------------------------------------------------------


def test_without_settings_all_targets_are_shown_by_category(site: Site) -> None:
    """What has an `.up` stands in the group of its category; other series do not."""
    site.write(
        ("heartbeat.backup.up", 1.0), ("net.tcp.db.up", 1.0), ("net.http.b.up", 1.0), ("net.http.a.up", 1.0),
        ("net.http.a.rtt", 5.0), ("crypto.price.btc_usd", 97_412.0), ("custom.up", 1.0),
    )  # fmt: skip
    page = status(site)
    groups = page.find("section", "group")
    assert [one.one("h2").text for one in groups] == ["HTTP 2", "TCP 1", "Custom 1", "Heartbeats 1"]
    assert [one.one("h3").text for one in page.find("li", "entry")] == ["a", "b", "db", "custom", "backup"]
    assert page.one("h1").text == "Status"
    assert page.one(class_="overall").one("h2").text == "All systems operational"
    assert "good" in page.one(class_="overall").classes


def test_groups_names_and_news_are_as_configured(new_site: Callable[..., Site]) -> None:
    """Groups hold what they name, in that order; a target named in full is there before it has data."""
    site = new_site(
        status=StatusSettings(
            title="Acme", description="All of it.", announcement="Work on <Saturday>.",
            groups=(
                StatusGroup(name="Web", symbols=("net.http.shop", "net.http.new.up", "net.http.*")),
                StatusGroup(name="Empty", symbols=("net.dns.*",)),
                StatusGroup(name="Data", symbols=("net.t?p.[a-d]*",)),
            ),
            names={"net.http.shop": "The shop"},
        )
    )  # fmt: skip
    site.write(
        *((f"net.{name}.up", 1.0) for name in ("http.a", "http.b", "http.shop", "tcp.db", "tcp.x", "ping.d"))
    )
    page = status(site)
    assert [one.one("h2").text for one in page.find("section", "group")] == ["Web 4", "Data 1"]
    names = [one.one("h3").text for one in page.find("li", "entry")]
    assert names == ["The shop", "new", "a", "b", "db"]
    assert entry(page, "new").one(class_="word").text.startswith("Unknown")
    assert (page.one("h1").text, page.one("title").text) == ("Acme", "Acme · Oculus")
    assert page.one("aside").text == "Work on <Saturday>."
    assert "All of it." in page.one("main").text


def test_each_state_has_its_word(new_site: Callable[..., Site]) -> None:
    """Up, down, in maintenance, unknown for another reason, and silent for too long."""
    site = new_site(stale_after=lambda symbol: 60.0)
    site.write(
        ("net.http.fine.up", 1.0),
        result("net.http.gone.up", 0.0, SECRET),
        ("net.http.work.up", 1.0, Micros(now() - 50 * SECOND)),
        result("net.http.work.unknown", 1.0, {"reason": "maintenance: nightly"}),
        result("net.http.off.unknown", 1.0, {"reason": "this host has lost the network"}),
        ("net.http.back.unknown", 0.0),
        ("net.http.back.up", 1.0),
        ("net.http.silent.up", 1.0, Micros(now() - 90 * SECOND)),
    )
    page = status(site)
    told = {name: entry(page, name) for name in ("fine", "gone", "work", "off", "back", "silent")}
    states = {name: one.classes[1] for name, one in told.items()}
    assert states == {
        "fine": "up", "gone": "down", "work": "maintenance", "off": "unknown", "back": "up",
        "silent": "unknown",
    }  # fmt: skip
    assert told["fine"].one(class_="word").text == "Operational"
    assert ADDRESS in told["gone"].one(class_="word").text
    assert page.one(class_="statuspage").attributes["data-failing"] == "1"
    assert page.one(class_="overall").one("h2").text == "gone is down"


@pytest.mark.parametrize(
    ("states", "headline", "level"),
    [
        ({}, "Nothing to show yet", "none"),
        ({"a": 0.0, "b": 0.0, "c": 1.0}, "2 of 3 systems are down", "bad"),
        ({"a": None, "b": 1.0}, "The state of a is unknown", "warn"),
        ({"a": None, "b": None}, "The state of 2 of 2 systems is unknown", "warn"),
        ({"a": "maintenance: x", "b": 1.0}, "a is under maintenance", "info"),
        ({"a": "maintenance: x", "b": None, "c": 0.0}, "c is down", "bad"),
    ],
)
def test_the_headline_tells_the_worst(
    site: Site, states: dict[str, float | str | None], headline: str, level: str
) -> None:
    """What is down goes before what is unknown, and that before maintenance."""
    for name, state in states.items():
        if isinstance(state, float):
            site.write((f"net.tcp.{name}.up", state))
        else:
            site.write(result(f"net.tcp.{name}.unknown", 1.0, {"reason": state or "?"}))
    overall = status(site).one(class_="overall")
    assert overall.one("h2").text == headline
    assert level in overall.classes


def test_more_than_fits_is_counted(site: Site) -> None:
    """A page of a thousand targets tells nobody anything."""
    site.write(*((f"net.tcp.n{number:03}.up", 1.0) for number in range(targets.MOST + 7)))
    page = status(site)
    assert len(page.find("li", "entry")) == targets.MOST
    assert "7 more do not fit here" in page.one("main").text


# -- how they stood -------------------------------------------------------------------------------------


def test_uptime_is_of_the_time_that_is_known(minutely: Site) -> None:
    """Downtime, doubt and a gap of a day: each has its share, and the gap is no uptime."""
    end = now()
    start = floor(Micros(end - DAY), HOUR)
    down, doubt, gap = (start + hours * HOUR for hours in (3, 8, 12))
    minutely.write(
        *runs("net.http.site", start, down),
        *runs("net.http.site", down, down + 36 * MINUTE, 0.0),
        *runs("net.http.site", down + 36 * MINUTE, doubt),
        *(Sample("net.http.site.unknown", 1.0, Micros(ts)) for ts in range(doubt, doubt + HOUR, MINUTE)),
        *runs("net.http.site", doubt + HOUR, gap),
        *runs("net.http.site", gap + 3 * HOUR, end),
    )
    found = figures_of(entry(status(minutely), "site"))
    whole = (end - start) / MINUTE
    known = whole - 4 * 60
    for window in ("24 h", "7 d", "30 d", "90 d"):
        share, unknown = found[window].split(" %")[:2]
        assert float(share) == pytest.approx(100 * (known - 36) / known, abs=0.3)
        assert float(unknown) == pytest.approx(100 * 4 * 60 / whole, abs=0.8)
        assert found[window].endswith(" unknown")


def test_one_failure_is_not_rounded_away(minutely: Site) -> None:
    """100 % is said of no time with a failure in it; without one it is."""
    end = now()
    bad = floor(Micros(end - 5 * HOUR), MINUTE)
    start = floor(Micros(end - 6 * DAY), DAY)
    minutely.write(*runs("net.http.good", start, end))
    minutely.write(*runs("net.http.bad", start, bad), *runs("net.http.bad", bad, bad + MINUTE, 0.0))
    minutely.write(*runs("net.http.bad", bad + MINUTE, end))
    page = status(minutely)
    assert set(figures_of(entry(page, "good")).values()) == {"100 %"}
    assert figures_of(entry(page, "bad"))["90 d"] in ("99.98 %", "99.99 %")  # of six to seven days


def test_each_day_has_a_bar_that_tells_how_it_went(minutely: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety of them; days before the first result have no data, whole days are up, others tell more."""
    monkeypatch.setenv("TZ", "UTC")  # where each day has 24 hours
    today = days(now())[-1]
    bad = today - DAY + 6 * HOUR
    minutely.write(*runs("net.http.site", today - 2 * DAY, bad), *runs("net.http.site", bad, bad + HOUR, 0.0))
    minutely.write(*runs("net.http.site", bad + HOUR, now()))
    bars = entry(status(minutely), "site").one(class_="days")
    told = json.loads(bars.attributes["data-told"])
    assert bars.attributes["aria-valuemax"] == "90"
    assert {place for place, text in told.items() if text == "no data"} == {str(n) for n in range(87)}
    assert told["88"] == "95.83 % up, 1 h down"
    assert set(told) - {str(n) for n in range(87)} == {"88"}
    assert bars.attributes["aria-valuetext"].endswith(": 100 % up")
    assert bars.attributes["aria-valuetext"].startswith(f"{datetime.now(UTC):%Y-%m-%d}")
    assert [one.attributes["class"] for one in bars.find("path")] == ["up", "down", "nothing"]


def test_incidents_are_told_in_words(minutely: Site) -> None:
    """The newest first: what goes on, what is over, and what was not down all of its time."""
    end = now()
    start = floor(Micros(end - 20 * HOUR), HOUR)
    flapping = start + 2 * HOUR
    minutely.write(*runs("net.http.over", start, start + 6 * HOUR))
    minutely.write(*runs("net.http.over", start + 6 * HOUR, start + 6 * HOUR + 90 * MINUTE, 0.0))
    minutely.write(*runs("net.http.over", start + 6 * HOUR + 90 * MINUTE, end))
    minutely.write(
        *(
            one
            for one in runs("net.http.flap", start, end)
            if not flapping <= (one.ts or 0) < flapping + 8 * MINUTE
        )
    )
    minutely.write(
        *(
            Sample("net.http.flap.up", float(number % 2), Micros(flapping + number * MINUTE))
            for number in range(8)
        )
    )
    minutely.write(*runs("net.http.going", start, end - 30 * MINUTE))
    minutely.write(*runs("net.http.going", end - 30 * MINUTE, end, 0.0))
    found = status(minutely).one(class_="incidents").find("li")
    told = [one.find("p")[0].text for one in found]
    assert told[0] in ("going has been down for 30 min", "going has been down for 31 min")
    assert "going" in found[0].classes
    assert "since" in found[0].text
    assert told[1:] == ["over was down for 1 h 30 min", "flap was down for 4 min within 7 min"]
    assert " – " in found[1].one(class_="times").text


def test_without_incidents_that_is_said(minutely: Site) -> None:
    """A calm page says so."""
    minutely.write(*runs("net.http.site", now() - HOUR, now()))
    assert status(minutely).one(class_="incidents").one("p").text == "None in the last 90 days."


def test_answers_have_a_mean_and_a_line(minutely: Site) -> None:
    """The mean of the last day, weighted by how many there were, and the path of the hours."""
    end = now()
    minutely.write(*runs("net.http.site", end - 2 * HOUR, end))
    minutely.write(*(("net.http.site.rtt", 10.0, Micros(end - 2 * HOUR - ago)) for ago in range(3)))
    minutely.write(("net.http.site.rtt", 50.0, Micros(end - MINUTE)))
    took = entry(status(minutely), "site").one(class_="took")
    assert took.one("b").text == "20 ms"
    assert took.one("path").attributes["d"].count("M") == 2
    assert not entry(status(minutely), "site").one(class_="took").find("polyline")


def test_a_reload_of_the_live_part_is_the_same(minutely: Site) -> None:
    """The page polls the fragment that it shows."""
    minutely.write(*runs("net.http.site", now() - HOUR, now()))
    live = status(minutely).one(id="live")
    assert live.attributes["hx-get"] == "/partials/status"
    assert "60s" in live.attributes["hx-trigger"]
    fragment = status(minutely, "/partials/status")
    assert not fragment.find("html")
    assert [element.tag for element in live.walk()][1:] == [element.tag for element in fragment.walk()][1:]


# -- days -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("UTC", "2026-03-29T12:00Z", {24}),
        ("Europe/Berlin", "2026-03-30T12:00Z", {24, 23}),
        ("Europe/Berlin", "2026-11-10T23:30Z", {24, 25}),
        ("Asia/Kolkata", "2026-11-10T23:30Z", {24}),
        ("America/Santiago", "2026-09-07T12:00Z", {24, 23}),  # where midnight itself is left out
    ],
)
def test_days_are_those_of_this_hosts_clocks(
    monkeypatch: pytest.MonkeyPatch, zone: str, at: str, hours: set[int]
) -> None:
    """Midnights of the local zone, over both changes of its clocks; the moment lies in the last day."""
    monkeypatch.setenv("TZ", zone)
    moment = parse_iso(at)
    found = days(moment)
    assert len(found) == 90
    assert found[-1] <= moment < found[-1] + DAY
    lengths = {(after - before) / HOUR for before, after in pairwise(found)}
    assert lengths == hours


# -- reading once ---------------------------------------------------------------------------------------


@pytest.fixture
def read(minutely: Site, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Notes each reading of the store for the page, with how many targets it was of."""
    noted: list[int] = []
    run = minutely.readers.run

    def counting(work: Callable[..., object], *arguments: object, **options: object) -> object:
        if work is uptime.record:
            noted.append(len(arguments[0]))  # type: ignore[arg-type]
        return run(work, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(minutely.readers, "run", counting)
    minutely.write(("net.http.a.up", 1.0), ("net.http.b.up", 1.0))
    return noted


def test_the_store_is_read_once_for_all_who_look(
    minutely: Site, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reading serves the page and its badges for a minute; then there is another, for all targets."""
    gevent.joinall([gevent.spawn(status, minutely) for _ in range(6)], raise_error=True)
    assert minutely.get("/badge/net.http.a/uptime.svg").status_code == 200
    assert read == [2]
    monkeypatch.setattr(records, "FRESH", 0.0)
    monkeypatch.setattr(records, "RESTING", 0)
    status(minutely)
    assert read == [2, 2]


def test_a_long_reading_rests_longer(
    minutely: Site, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short a minute is, readings take a fiftieth of the time at most."""
    monkeypatch.setattr(records, "FRESH", 0.0)
    monkeypatch.setattr(records, "RESTING", 1_000_000)
    for _ in range(3):
        status(minutely)
    assert read == [2]


def test_states_are_told_while_the_history_cannot_be_read(
    minutely: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer in time costs the bars, and neither the page nor the states."""
    monkeypatch.setattr(records, "TIMEOUT", 0.0)
    minutely.write(result("net.http.a.up", 0.0, SECRET))
    page = status(minutely)
    assert page.one(class_="overall").one("h2").text == "a is down"
    assert not page.find(class_="days")
    again = page.one(class_="overall").one("p")
    assert again.text == "The history is being read…"
    assert again.attributes["hx-trigger"].startswith("load")
    monkeypatch.setattr(records, "TIMEOUT", 60.0)
    assert status(minutely).find(class_="days")


# -- who may see it -------------------------------------------------------------------------------------

GUARDED = [
    "/", "/alerts", "/rules", "/query", "/system", "/partials/metrics", "/partials/alerts", "/live",
    "/api/metrics", "/api/alerts", "/metrics", "/status/", "/statusx", "/partials/status/x", "/badge",
    "/badge/a", "/badge/a/b/c", "/badge/../api/metrics", "/badge/net.http.a/status.svg/../../../api/metrics",
]  # fmt: skip


@pytest.fixture
def public(new_site: Callable[..., Site]) -> Site:
    """A site with a token and a public status page, and a target of which nobody shall know where it is."""
    site = new_site(
        server=ServerSettings(token=TOKEN, public_status=True),
        status=StatusSettings(
            groups=(StatusGroup(name="Web", symbols=("net.http.*",)),),
            names={"net.http.https_10_1_2_3_8443_admin": "Admin"},
        ),
    )
    site.write(
        result("net.http.https_10_1_2_3_8443_admin.up", 0.0, SECRET),
        result("net.http.b.unknown", 1.0, ({"reason": f"lost {ADDRESS}"})),
        result("net.tcp.backstage.up", 0.0, SECRET),
    )
    return site


def test_everything_else_needs_the_token(public: Site) -> None:
    """A public status page opens no other door, however its path is spelled."""
    for path in GUARDED:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert public.raw(request.encode()).startswith(b"HTTP/1.1 401 "), path


def test_only_reading_is_public(public: Site) -> None:
    """Nothing can be sent to the page."""
    for method in ("POST", "PUT", "DELETE"):
        assert public.ask(method, "/status").status_code in (401, 405)


def test_without_the_setting_the_page_needs_the_token(new_site: Callable[..., Site]) -> None:
    """By default visitors are led to the log-in, and programs are told."""
    site = new_site(server=ServerSettings(token=TOKEN))
    site.write(("net.http.a.up", 1.0))
    answer = site.get("/status", headers=HTML, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    for path in ("/status", "/partials/status", "/badge/net.http.a/status.svg"):
        assert site.get(path).status_code == 401
        assert site.get(path, headers=LOGGED_IN).status_code == 200


def test_visitors_are_told_states_and_nothing_else(public: Site) -> None:
    """No address, reason, symbol or other target, and no way further in; the page is whole nevertheless."""
    for path in ("/status", "/partials/status"):
        text = public.get(path, headers=HTML).text
        for internal in (
            ADDRESS,
            "10_1_2_3",
            "10.1.2.3",
            "refused",
            "net.http",
            "backstage",
            "/series/",
        ):
            assert internal not in text, internal
        assert "Admin is down" in text
    page = status(public)
    assert "page-public_status" in page.one("body").classes
    assert not page.find("nav")
    assert not page.find("form")
    links = {link.attributes["href"] for link in page.find("a")}
    assert links == {"#main", "/status"}
    assert entry(page, "Admin").one(class_="word").text == "Down"


@pytest.mark.parametrize("how", ["token", "cookie"])
def test_who_is_logged_in_sees_more(public: Site, how: str) -> None:
    """Reasons, links to the series, and the way to the other pages."""
    cookie = {"Cookie": f"{auth.COOKIE}={auth.cookie_value(TOKEN)}"}
    page = status(public, headers=LOGGED_IN if how == "token" else HTML | cookie)
    assert ADDRESS in entry(page, "Admin").one(class_="word").text
    assert page.one("nav").find("a", href="/alerts")
    assert entry(page, "b").one("a").attributes["href"] == "/series/net.http.b.up"


def test_a_wrong_token_is_a_visitor(public: Site) -> None:
    """Who has no right token sees what everybody sees."""
    page = status(public, headers=HTML | {"Authorization": "Bearer wrong"})
    assert ADDRESS not in page.text
    assert "page-public_status" in page.one("body").classes


def test_the_icon_and_the_manifest_are_linked(site: Site) -> None:
    """A browser that installs the page finds what it needs."""
    head = status(site).one("head")
    manifest = head.one("link", rel="manifest").attributes["href"]
    answer = site.get(manifest)
    assert answer.headers["Content-Type"] == "application/manifest+json"
    found = answer.json()
    assert (found["start_url"], found["display"]) == ("/", "standalone")
    for icon in found["icons"]:
        data = site.get(icon["src"]).content
        if icon["type"] == "image/png":
            size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
            assert icon["sizes"] == "{}x{}".format(*size)
    assert {icon.get("purpose", "any") for icon in found["icons"]} == {"any", "maskable"}
    assert site.get(head.one("link", rel="apple-touch-icon").attributes["href"]).status_code == 200


def test_a_reload_rearranges_the_page(daemon: Callable[..., Daemon]) -> None:
    """Groups, names and news of a changed configuration are shown without a new start."""
    config = """
server: {token: a long secret, public_status: true}
collectors:
  - {type: network, probe: http, name: own, target: "http://127.0.0.1:$PORT/healthz", interval: 200ms}
"""
    oculus = daemon(config)

    def shown() -> str:
        return parse(oculus.get("/status").text).one("main").text

    wait_for(lambda: "own Operational" in shown())
    oculus.configure(f"{config}status: {{title: Acme, names: {{net.http.own: Ourselves}}}}\n")
    wait_for(lambda: "Ourselves Operational" in shown())
    assert "Acme" in shown()
    assert oculus.get("/api/metrics").status_code == 401
