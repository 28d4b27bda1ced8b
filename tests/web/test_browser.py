"""The pages in a real browser: live updates, failures, alerts, phones, keyboards, and no stranger asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.axe import faults
from tests.support.browser import Page
from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, wait_for

pytestmark = pytest.mark.browser

CONFIG = """
database: {flush: 50ms}
rules:
  - {name: too_hot, condition: "custom.temperature > 30", severity: critical}
"""


def push(daemon: Daemon, **values: float) -> None:
    """Push values of `custom.<name>`."""
    body = [{"symbol": f"custom.{name}", "value": value} for name, value in values.items()]
    assert daemon.post("/api/push", json=body).status_code == 202


def shown(symbol: str) -> str:
    """Return the JavaScript of the text that the dashboard shows for a symbol."""
    return f"(document.querySelector('#live [data-symbol=\"{symbol}\"]')?.innerText ?? '')"


def mark(page: Page) -> None:
    """Leave a mark on the page that a reload would wipe."""
    page.evaluate("window.mark = 1")


def test_the_dashboard_follows_the_values_without_a_reload(page: Page, daemon: Callable[..., Daemon]) -> None:
    """A pushed value appears, and the next one takes its place, on a page that is never loaded anew."""
    oculus = daemon(CONFIG)
    page.goto(oculus.url)
    mark(page)
    push(oculus, first=41.5)
    page.wait(f"{shown('custom.first')}.includes('41.50')")
    push(oculus, first=87.25, second=3.0)
    page.wait(f"{shown('custom.first')}.includes('87.25')")
    page.wait(f"{shown('custom.second')}.includes('3')")
    page.wait("document.querySelectorAll('#live polyline').length >= 1")
    assert page.evaluate("window.mark") == 1
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []
    assert not any("/partials/metrics" in url for url in page.requests)  # it was told, and need not ask


def test_a_failing_target_stands_first_with_its_reason(
    page: Page, daemon: Callable[..., Daemon], http_server: Callable[..., HttpServer]
) -> None:
    """What is down is the first row of its panel, visible, and says why."""
    servers = {name: http_server() for name in ("alpha", "omega")}
    probes = "".join(
        f'  - {{type: network, probe: http, name: {name}, target: "{server.url}", interval: 300ms}}\n'
        for name, server in servers.items()
    )
    oculus = daemon(f"{CONFIG}collectors:\n{probes}")
    page.goto(oculus.url)
    rows = "[...document.querySelectorAll('#live [data-category=\"net.http\"] [data-symbol]')]"
    page.wait(f"{rows}.length === 2 && {rows}.every((row) => row.classList.contains('up'))")
    assert page.evaluate(f"{rows}[0].dataset.symbol") == "net.http.alpha.rtt"
    servers["omega"].stop()
    page.wait(f"{rows}[0]?.dataset.symbol === 'net.http.omega.rtt' && {rows}[0].classList.contains('down')")
    # What is new on the page has no visible text before the next frame.
    page.wait(f"{rows}[0].innerText.includes('connection refused')")
    box: Any = page.evaluate(f"{rows}[0].getBoundingClientRect().toJSON()")
    assert box["width"] > 0
    assert box["height"] > 0
    http_server(port=servers["omega"].port)
    page.wait(f"{rows}.length === 2 && {rows}.every((row) => row.classList.contains('up'))")
    assert page.errors == []


def test_an_alert_appears_and_goes_while_one_watches(page: Page, daemon: Callable[..., Daemon]) -> None:
    """A firing rule shows on the dashboard, on the alerts' page and on the rules' page, live."""
    oculus = daemon(CONFIG)
    push(oculus, temperature=20.0)
    page.goto(oculus.url)
    mark(page)
    active = "document.querySelector('#live .alerts .alert.firing')"
    assert page.evaluate(f"{active} === null")
    push(oculus, temperature=35.5)
    page.wait(f"{active}?.innerText.includes('too_hot')")
    assert "35.5" in page.evaluate(f"{active}.innerText")
    push(oculus, temperature=21.0)
    page.wait(f"{active} === null && document.querySelector('#live .recent [data-id]') !== null")
    assert page.evaluate("window.mark") == 1

    page.goto(f"{oculus.url}/rules")
    rule = "document.querySelector('#live [data-rule=too_hot]')"
    page.wait(f"{rule}?.classList.contains('inactive')")
    push(oculus, temperature=36.5)
    page.wait(f"{rule}?.classList.contains('firing')")
    page.goto(f"{oculus.url}/alerts")
    page.wait("document.querySelectorAll('#live [data-id]').length === 3")
    push(oculus, temperature=22.0)
    page.wait("document.querySelectorAll('#live [data-id]').length === 4")
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def pressed(selector: str) -> str:
    """Return the JavaScript that presses a button once HTMX has its form, and tells whether it did.

    Before that the form is sent as without scripts, and the page comes anew.
    """
    found = f"document.querySelector('{selector}')"
    return f"((found) => !!found?.form['htmx-internal-data'] && (found.click(), true))({found})"


def test_a_rule_is_silenced_and_told_again_without_a_reload(
    page: Page, daemon: Callable[..., Daemon]
) -> None:
    """One press silences what fires, one ends it; a mistake in the form is told, and what was typed stays."""
    oculus = daemon(CONFIG)
    push(oculus, temperature=35.5)
    page.goto(f"{oculus.url}/rules")
    mark(page)
    page.wait(pressed("#silence-too_hot"))
    # What is said besides is lost when the list was replaced while the request was under way.
    page.wait("document.querySelector('#live .quieted')?.innerText.includes('1h 59m')")
    assert page.evaluate("document.getElementById('silence-too_hot') === null && window.mark === 1")
    page.goto(f"{oculus.url}/alerts")
    mark(page)
    assert "rule=too_hot" in page.text("#live .silences")
    page.wait(pressed("#live .silences button"))
    page.wait("document.querySelector('#live .silences') === null")
    page.evaluate("document.querySelector('.new').open = true")
    assert page.errors == []
    matchers = "document.querySelector('[name=matchers]')"
    page.evaluate(f"{matchers}.focus()")
    page.write("too_*")
    page.press("Enter")
    page.wait("document.querySelector('#told .wrong')?.innerText.includes('is no matcher')")
    assert page.evaluate(f"{matchers}.value") == "too_*"
    page.evaluate(f"{matchers}.value = ''")
    page.write("rule=too_*")
    page.press("Enter")
    page.wait("document.querySelector('#live .silences')?.innerText.includes('rule=too_*')")
    assert page.evaluate(f"{matchers}.value") == ""
    assert page.evaluate("window.mark") == 1
    assert len(oculus.json("/api/silences?state=active")["silences"]) == 1
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def boiler(daemon: Callable[..., Daemon]) -> Daemon:
    """Return a daemon on which a boiler was at 35 degrees an hour ago for 5 minutes, and is now."""
    oculus = daemon(CONFIG)
    start = time.time() - 7200
    values = [35.0 if 60 <= minute < 65 else 20.0 for minute in range(120)]
    samples = [
        {"symbol": "custom.temperature", "value": value, "ts": start + 60 * minute}
        for minute, value in enumerate(values)
    ]
    assert oculus.post("/api/push", json=samples).status_code == 202
    push(oculus, temperature=34.5)
    wait_for(lambda: oculus.json("/api/rules/too_hot")["state"] == "firing")
    return oculus


def test_a_rule_is_changed_and_tried_on_its_page(page: Page, daemon: Callable[..., Daemon]) -> None:
    """By the keyboard alone; what is typed and unfolded stays while the page follows the alert."""
    oculus = boiler(daemon)
    page.goto(f"{oculus.url}/rules/too_hot")
    mark(page)
    page.evaluate("document.getElementById('rule-text').focus()")
    page.evaluate("document.getElementById('rule-text').setSelectionRange(0, 1e6)")
    page.write("name: too_hot\ncondition: custom.temperature > 34.8\nseverity: critical\n")
    for _ in range(5):
        page.press("Tab")
        if page.evaluate("document.activeElement.type") == "submit":
            break
    page.wait("!!document.querySelector('#backtest form')['htmx-internal-data']")
    page.press("Enter")
    page.wait("document.querySelector('#tried .compare') !== null")
    rows = "[...document.querySelectorAll('#tried tbody tr')]"
    counts = f"{rows}.map((row) => row.cells[0].innerText + ' ' + row.cells[1].innerText)"
    assert page.evaluate(counts) == ["As edited 1", "As configured 2"]
    bars = "document.querySelectorAll('#tried .outcome:first-of-type .lane rect.firing')"
    assert page.evaluate(f"{bars}.length") == 1
    assert page.evaluate(f"{bars}[0].getBoundingClientRect().width") > 1
    assert page.evaluate("document.getElementById('rule-text').value.includes('34.8')")

    step = "document.querySelector('.past details')"
    page.wait(f"{step} !== null")
    page.evaluate(f"{step}.querySelector('summary').focus()")
    page.press("Enter")
    first = page.evaluate(f"{step}.id")
    assert "custom.temperature (34.5) > 30" in page.text(f"#{first}")
    push(oculus, temperature=21.0)
    page.wait(f"{step}.id !== '{first}'")  # the end of the alert is there
    assert page.evaluate(f"document.getElementById('{first}').open")
    assert page.evaluate("document.activeElement.closest('details')?.id") == first
    assert page.evaluate("document.getElementById('rule-text').value.includes('34.8')")
    assert page.evaluate("document.querySelector('#tried .compare') !== null && window.mark === 1")
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []

    page.evaluate("document.getElementById('rule-text').value = 'name: too_hot\\ncondition: custom.x >'")
    page.wait(pressed("#backtest [type=submit]"))
    page.wait("document.querySelector('#tried .mistakes')?.innerText.includes('^')")
    page.evaluate("document.querySelector('#backtest [type=reset]').click()")
    assert page.evaluate("document.getElementById('rule-text').value.includes('custom.temperature > 30')")


def test_a_lost_connection_is_told_and_its_return_too(page: Page, daemon: Callable[..., Daemon]) -> None:
    """A banner appears when the daemon dies, and goes when it is back with new values, without a reload."""
    oculus = daemon(CONFIG)
    push(oculus, temperature=20.0)
    page.goto(oculus.url)
    page.wait(f"{shown('custom.temperature')}.includes('20')")
    mark(page)
    visible = "document.getElementById('lost').checkVisibility()"
    assert page.evaluate(visible) is False
    oculus.kill()
    page.wait(visible)
    assert "20" in page.evaluate(shown("custom.temperature"))  # what was known stays
    again = daemon(CONFIG, port=oculus.port)
    page.wait(f"!{visible}")
    push(again, temperature=25.5)
    page.wait(f"{shown('custom.temperature')}.includes('25.5')")
    assert page.evaluate("window.mark") == 1


PHONE = 390  # CSS pixels


@pytest.mark.parametrize("path", ["/", "/alerts", "/rules", "/rules/$RULE", "/login", "/nothing"])
def test_a_phone_needs_no_sideways_scroll(
    page: Page, daemon: Callable[..., Daemon], http_server: Callable[..., HttpServer], path: str
) -> None:
    """With long names, many digits and reasons, nothing is wider than a phone."""
    long = "a_very_long_name_that_somebody_gave_to_a_series_" * 3
    down = http_server()
    down.stop()
    oculus = daemon(
        "rules:\n"
        f'  - {{name: {long[:96]}, condition: "custom.{long} > 1 and custom.{long} < 1e300",'
        f' message: "{long * 3}"}}\n'
        "collectors:\n"
        f'  - {{type: network, probe: http, name: {long[:60]}, target: "{down.url}", interval: 1s}}\n'
    )
    push(oculus, **{long: 123456.789, "short": 1.0, "huge": 1.7e308})
    page.resize(PHONE, 844, mobile=True)
    page.goto(oculus.url + path.replace("$RULE", long[:96]))
    if "RULE" in path:
        page.wait("document.querySelector('.past details') !== null")
        page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
        page.wait(pressed("#backtest [type=submit]"))
        page.wait("document.querySelector('#tried .outcome, #tried .wrong') !== null")
    if path == "/":
        page.wait("document.querySelectorAll('#live [data-symbol]').length >= 4")
        page.wait("['down', 'firing'].every((state) => document.querySelector(`#live .${state}`) !== null)")
    assert page.evaluate("innerWidth") == PHONE
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    page.evaluate("scrollTo(1000, 0)")
    assert page.evaluate("scrollX") == 0


def test_the_keyboard_reaches_the_navigation(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Tab goes to the links of the navigation, shows where it is, and Enter follows them."""
    oculus = daemon(CONFIG)
    page.goto(oculus.url)
    focused = "document.activeElement?.getAttribute('href')"
    for _ in range(10):
        page.press("Tab")
        if page.evaluate(focused) == "/rules":
            break
    assert page.evaluate(focused) == "/rules"
    assert page.evaluate("document.activeElement.closest('nav') !== null")
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert page.evaluate(
        "(() => { const s = getComputedStyle(document.activeElement);"
        " return s.outlineStyle !== 'none' || s.boxShadow !== 'none'; })()"
    )
    page.press("Enter")
    page.wait("location.pathname === '/rules' && document.readyState === 'complete'")
    assert "too_hot" in page.text("#live")


def test_light_and_dark_follow_the_system(page: Page, daemon: Callable[..., Daemon]) -> None:
    """The painted background is light for those who prefer it, dark for the others."""
    oculus = daemon(CONFIG)
    page.resize(800, 600)
    painted = {}
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.goto(oculus.url)
        painted[scheme] = sum(page.pixel(2, 500))
    assert painted["light"] > 3 * 170
    assert painted["dark"] < 3 * 85


def test_texts_can_be_read_in_both_schemes(page: Page, daemon: Callable[..., Daemon]) -> None:
    """The body's text contrasts with its background by at least 4.5 to 1."""
    oculus = daemon(CONFIG)
    page.resize(800, 600)
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.goto(oculus.url)
        color: str = page.evaluate("getComputedStyle(document.body).color")
        text = tuple(int(float(part)) for part in color[color.index("(") + 1 : -1].split(",")[:3])
        light, dark = sorted((luminance(text), luminance(page.pixel(2, 500))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, color)


def luminance(color: tuple[int, ...]) -> float:
    """Return the relative luminance of a colour (WCAG 2)."""
    parts = [part / 255 for part in color]
    red, green, blue = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_token_is_asked_for_once(page: Page, daemon: Callable[..., Daemon]) -> None:
    """The dashboard leads to the log-in; a wrong token is told, the right one opens it; log-out ends it."""
    oculus = daemon(f"server: {{token: open sesame}}\n{CONFIG}")
    header = {"Authorization": "Bearer open sesame"}
    body = {"value": 20.5}
    assert oculus.post("/api/push/custom.temperature", json=body, headers=header).status_code == 202
    page.goto(oculus.url)
    assert page.evaluate("location.pathname") == "/login"
    assert page.evaluate("document.activeElement.name") == "token"
    page.write("close sesame")
    page.press("Enter")
    page.wait("document.body.innerText.includes('not the token')")
    assert page.evaluate("document.querySelector('#live') === null")
    page.evaluate("document.querySelector('[name=token]').focus()")
    page.write("open sesame")
    page.press("Enter")
    page.wait(f"location.pathname === '/' && {shown('custom.temperature')}.includes('20.5')")
    mark(page)
    body = {"value": 26.5}
    assert oculus.post("/api/push/custom.temperature", json=body, headers=header).status_code == 202
    page.wait(f"{shown('custom.temperature')}.includes('26.5')")  # the live part has the cookie too
    assert page.evaluate("window.mark") == 1
    assert "open sesame" not in page.evaluate("document.documentElement.outerHTML + document.cookie")
    page.evaluate("document.querySelector('form[action=\"/logout\"] button').click()")
    page.wait("location.pathname === '/login' && document.readyState === 'complete'")
    page.goto(oculus.url)
    assert page.evaluate("location.pathname") == "/login"
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def test_a_session_that_ended_leads_back_to_the_log_in(page: Page, daemon: Callable[..., Daemon]) -> None:
    """When the token was changed, an open dashboard goes to the log-in by itself."""
    oculus = daemon(f"server: {{token: first}}\n{CONFIG}")
    page.goto(oculus.url)
    page.write("first")
    page.press("Enter")
    page.wait("location.pathname === '/' && document.getElementById('live') !== null")
    oculus.kill()
    daemon(f"server: {{token: second}}\n{CONFIG}", port=oculus.port)
    page.wait("location.pathname === '/login'")


def test_hostile_texts_do_nothing_in_a_browser(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Scripts in units, reasons and rules are shown and never run; the console stays silent."""
    hostile = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
    oculus = daemon(f'{CONFIG}  - {{name: "bad <b>name", condition: custom.x > 1, message: "{hostile}"}}\n')
    body = [
        {"symbol": "custom.x", "value": 5, "tags": {"unit": hostile}},
        {"symbol": "net.http.x.up", "value": 0, "tags": {"error": hostile}},
    ]
    assert oculus.post("/api/push", json=body).status_code == 202
    for path in ("/", "/alerts", "/rules"):
        page.goto(oculus.url + path)
        page.wait("document.body.innerText.includes('bad <b>name')")
    page.goto(oculus.url)
    page.wait(f"{shown('net.http.x.up')}.includes('<script>')")
    assert page.evaluate("window.hacked === undefined")
    assert page.evaluate("document.querySelectorAll('#live img[src=x], #live script').length") == 0
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def test_the_built_in_configuration_is_a_living_first_screen(
    page: Page, daemon: Callable[..., Daemon]
) -> None:
    """With no configuration at all the dashboard fills with lines within seconds, at phone and desk size."""
    oculus = daemon(None)
    page.goto(oculus.url)
    page.wait("document.querySelectorAll('#live polyline').length >= 5", 20)
    for width, height in ((1440, 900), (PHONE, 844)):
        page.resize(width, height)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def test_filter_order_and_colours_are_kept(page: Page, daemon: Callable[..., Daemon]) -> None:
    """What is shown stands in the address and outlasts a reload; so does the choice of dark or light."""
    oculus = daemon(CONFIG)
    push(oculus, apple=1.0, pear=3.0, plum=2.0)
    assert oculus.post("/api/push/crypto.price.btc_usd", json={"value": 97_412.0}).status_code == 202
    rows = "[...document.querySelectorAll('#live .row')].map((row) => row.dataset.symbol).join()"
    page.prefer("light")
    page.goto(oculus.url)
    page.wait(f"{rows} === 'crypto.price.btc_usd,custom.apple,custom.pear,custom.plum'")
    page.evaluate("document.getElementById('find').focus()")
    page.write("p")
    page.wait(f"location.search === '?q=p' && {rows}.split(',').length === 4")
    page.evaluate("document.querySelector('.picks [value=custom]').click()")
    page.wait("location.search === '?q=p&category=custom'")
    page.evaluate(
        "(() => { const select = document.querySelector('[name=sort]'); select.value = 'value';"
        " select.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    page.wait(f"{rows} === 'custom.pear,custom.plum,custom.apple'")
    push(oculus, apple=9.0)  # told by the server, in the order that was asked for
    page.wait(f"{rows} === 'custom.apple,custom.pear,custom.plum'")
    page.evaluate("document.getElementById('scheme').click()")  # the system's, then light, then dark
    page.evaluate("document.getElementById('scheme').click()")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(page.evaluate("location.href"))
    assert page.evaluate(rows) == "custom.apple,custom.pear,custom.plum"
    assert page.evaluate("document.getElementById('find').value") == "p"
    assert page.evaluate("getComputedStyle(document.body).colorScheme") in ("dark", "light dark")
    red, green, blue = page.pixel(4, 400)
    assert red + green + blue < 150
    page.goto(f"{oculus.url}/?kiosk")
    page.wait(f"{rows}.includes('custom.pear')")
    assert page.evaluate("document.querySelector('.top').offsetHeight") == 0
    assert page.errors == []


def test_a_page_that_is_told_nothing_asks(page: Page, daemon: Callable[..., Daemon]) -> None:
    """Where no events come through, the dashboard polls, and goes on showing what changes."""
    oculus = daemon(CONFIG)
    page.send("Network.setBlockedURLs", urls=["*/live?*"])
    push(oculus, first=41.5)
    page.goto(oculus.url)
    page.wait(f"{shown('custom.first')}.includes('41.50')")
    push(oculus, first=87.25)
    page.wait(f"{shown('custom.first')}.includes('87.25')")
    assert any("/partials/metrics" in url for url in page.requests)


def test_no_page_has_a_serious_fault_of_access(page: Page, daemon: Callable[..., Daemon]) -> None:
    """What axe-core calls serious is on no page, neither in the dark nor in the light."""
    oculus = daemon(CONFIG + "collectors: [{type: network, probe: tcp, name: shut, target: '127.0.0.1:9'}]\n")
    push(oculus, temperature=35.5, first=1.0)
    (alert,) = wait_for(lambda: oculus.json("/api/alerts?limit=1")["alerts"])
    paths = ("/", "/?dense=1", "/alerts", f"/alerts/{alert['id']}", "/rules", "/rules/too_hot", "/query",
             "/status", "/system", "/series/custom.temperature")  # fmt: skip
    found = {}
    for scheme in ("dark", "light"):
        page.prefer(scheme)
        for path in paths:
            page.goto(oculus.url + path)
            page.wait("document.querySelector('main').innerText.length > 20")
            found[scheme, path] = faults(page)
    assert {place: told for place, told in found.items() if told} == {}
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []
