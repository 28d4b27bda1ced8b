"""The pages of alerts, rules and the system in a real browser: acknowledged by a click, found by typing,
unfolded and kept so, on a phone and by the keyboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.axe import faults
from tests.support.browser import Page
from tests.support.daemon import Daemon
from tests.support.servers import free_port, wait_for

pytestmark = pytest.mark.browser

CONFIG = """
database: {flush: 50ms}
rules:
  - {name: too_hot, condition: "custom.*.t > 30", severity: critical}
  - {name: too_cold, condition: "custom.outside < -10", severity: info}
"""
PHONE = 390  # CSS pixels


def push(daemon: Daemon, **values: float) -> None:
    """Push values of `custom.<name>`, where an underscore stands for a dot."""
    body = [{"symbol": f"custom.{name.replace('_', '.')}", "value": value} for name, value in values.items()]
    assert daemon.post("/api/push", json=body).status_code == 202


def firing(daemon: Daemon) -> list[dict[str, Any]]:
    """Return the alerts that fire."""
    return [
        one
        for rule in daemon.json("/api/rules")["rules"]
        for one in rule["instances"]
        if one["state"] == "firing"
    ]


def pressed(selector: str) -> str:
    """Return the JavaScript that presses a button once HTMX has its form, and tells whether it did."""
    found = f"document.querySelector({json.dumps(selector)})"
    return f"((found) => !!found?.form['htmx-internal-data'] && (found.click(), true))({found})"


def tab_to(page: Page, expression: str, most: int = 40) -> None:
    """Press Tab until an expression about the focused element `it` is true."""
    for _ in range(most):
        page.press("Tab")
        if page.evaluate(f"((it) => {expression})(document.activeElement)"):
            return
    raise AssertionError(f"no Tab leads to {expression}")


def seen(page: Page, oculus: Daemon) -> None:
    """Check that nothing went wrong on the page so far, and that nobody else was asked."""
    assert page.errors == []
    assert page.strangers(f"127.0.0.1:{oculus.port}") == []


def test_an_alert_is_acknowledged_taken_back_and_silenced(page: Page, daemon: Callable[..., Daemon]) -> None:
    """One click each, on a page that is never loaded anew; the other alert of the rule is left alone."""
    oculus = daemon(CONFIG)
    push(oculus, a_t=35.5, b_t=36.5, outside=-20.0)
    wait_for(lambda: len(firing(oculus)) == 3)
    page.goto(f"{oculus.url}/alerts")
    page.evaluate("window.mark = 1")
    row = (
        "[...document.querySelectorAll('#live .going li')].find((li) => li.innerText.includes('custom.a.t'))"
    )
    page.wait(f"{row} !== undefined")
    key = page.evaluate(f"{row}.dataset.alert")
    assert page.evaluate("document.title").startswith("(3) ")
    page.wait("document.querySelectorAll('#live .when rect.firing').length === 2")
    assert faults(page) == []
    page.wait(pressed(f"#ack-{key}"))
    page.wait(f"{row}?.querySelector('.quieted')?.innerText.includes('acknowledged')")
    (silence,) = oculus.json("/api/silences?state=active")["silences"]
    assert "symbol=custom.a.t" in silence["matchers"]
    assert page.evaluate("document.querySelectorAll('#live [id^=ack-]').length") == 2
    page.wait(pressed(f"#undo-{key}"))
    page.wait(f"document.getElementById('ack-{key}') !== null")
    assert oculus.json("/api/silences?state=active")["silences"] == []

    # By the keyboard: the menu unfolds, and its second button is four hours.
    page.evaluate(f"document.getElementById('hush-{key}').focus()")
    page.press("Enter")
    page.wait(f"document.getElementById('menu-{key}').open")
    assert faults(page) == []
    tab_to(page, "it.value === '4h'", 5)
    page.wait("!!document.activeElement.form['htmx-internal-data']")
    page.press("Enter")
    page.wait(f"{row}?.querySelector('.quieted')?.innerText.includes('3h 59m')")
    (silence,) = oculus.json("/api/silences?state=active")["silences"]
    assert silence["matchers"] == ["rule=too_hot", "source=push", "symbol=custom.a.t"]
    assert page.evaluate("window.mark") == 1
    seen(page, oculus)


def test_steps_are_found_by_typing_and_stay_unfolded(page: Page, daemon: Callable[..., Daemon]) -> None:
    """The address has what was typed; a new step moves neither the keyboard's place nor what is unfolded."""
    oculus = daemon(CONFIG)
    push(oculus, a_t=35.5, outside=-20.0)
    wait_for(lambda: len(firing(oculus)) == 2)
    page.goto(f"{oculus.url}/alerts?severity=critical&range=7d")
    page.evaluate("window.mark = 1")
    steps = "[...document.querySelectorAll('#live .unfolding > li')]"
    page.wait(f"{steps}.length === 1 && {steps}[0].innerText.includes('too_hot')")
    page.press("/")
    page.write("nothing like it")
    page.wait(f"{steps}.length === 0 && document.querySelector('#live .not-found') !== null")
    assert page.evaluate("location.search") == "?q=nothing+like+it&severity=critical&range=7d"
    page.press("Escape")
    page.wait(f"{steps}.length === 1")
    page.write("custom.a")
    page.wait("location.search.includes('q=custom.a')")
    page.wait(f"{steps}.length === 1")
    tab_to(page, "it.matches('#live .unfolding summary')")
    page.press("Enter")
    first = page.evaluate("document.activeElement.closest('details').id")
    page.wait(f"document.getElementById('{first}').open")
    assert "custom.a.t = 35.5" in page.text(f"#{first} dl").replace("\n", " ")
    assert "log sent" in page.text(f"#{first} dl")
    push(oculus, a_t=20.0)
    page.wait(f"{steps}.length === 2")  # its end
    assert page.evaluate(f"document.getElementById('{first}').open")
    assert page.evaluate("document.activeElement.closest('details')?.id") == first
    assert page.evaluate("window.mark") == 1
    page.send("Page.reload")
    page.wait(f"window.mark === undefined && {steps}.length === 2")
    assert page.evaluate("document.querySelector('#search [type=search]').value") == "custom.a"
    bar = "document.querySelector('#live .timeline svg a')"
    page.evaluate(f"{bar}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    page.wait("location.pathname.startsWith('/alerts/')")
    seen(page, oculus)


def test_rules_and_the_system_are_searched_and_follow(page: Page, daemon: Callable[..., Daemon]) -> None:
    """What is typed is in the address and stays over the refresh; new records of the log come alone."""
    collectors = "".join(
        f'  - {{type: api, name: price_{n:02}, url: "http://127.0.0.1:{free_port()}/", json_path: $.x}}\n'
        for n in range(12)
    )
    oculus = daemon(f"{CONFIG}collectors:\n{collectors}  - {{type: self, interval: 1s}}\n")
    push(oculus, outside=1.0)
    page.goto(f"{oculus.url}/rules")
    page.evaluate("window.mark = 1")
    rules = "[...document.querySelectorAll('#live .rule')].map((li) => li.dataset.rule).join()"
    page.wait(f"{rules} === 'too_hot,too_cold'")
    page.evaluate("document.querySelector('#search [type=search]').focus()")
    page.write("outside")
    page.wait(f"{rules} === 'too_cold'")
    assert page.evaluate("location.search") == "?q=outside"
    push(oculus, outside=-20.0)
    page.wait("document.querySelector('#live .rule.firing') !== null")
    assert page.evaluate(rules) == "too_cold"
    assert page.evaluate("window.mark") == 1
    assert faults(page) == []

    page.goto(f"{oculus.url}/system?level=info")
    page.evaluate("window.mark = 1")
    rows = "[...document.querySelectorAll('#live [data-collector]')]"
    page.wait(f"{rows}.length === 13")
    lines = "document.querySelectorAll('#log li').length"
    before = page.evaluate(lines)
    page.evaluate("document.querySelector('#search [type=search]').focus()")
    page.write("price_07")
    page.wait(f"{rows}.length === 1 && {rows}[0].dataset.collector === 'api/price_07'")
    assert page.evaluate("location.search") == "?q=price_07&level=info"
    push(oculus, a_t=40.0)
    page.wait(f"{lines} > {before} && document.querySelector('#log li.critical') !== null")
    page.wait("document.querySelector('[data-stat=memory] polyline') !== null")
    page.wait(f"{rows}.length === 1")
    assert page.evaluate("window.mark") == 1
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        assert faults(page) == []
    seen(page, oculus)


def test_a_phone_needs_no_sideways_scroll(page: Page, daemon: Callable[..., Daemon]) -> None:
    """With long names, labels, reasons and lines, all that unfolds unfolded."""
    long = "a_very_long_name_that_somebody_gave_to_a_series_" * 3
    oculus = daemon(
        "database: {flush: 50ms}\nlog: {level: debug}\n"
        "rules:\n"
        f'  - {{name: {long[:96]}, condition: "custom.*.t > 1", message: "{long * 3}"}}\n'
        f'  - {{name: query, sql: "select * from {long}", every: 1s}}\n'
        "collectors:\n"
        f'  - {{type: api, name: {long[:60]}, url: "http://127.0.0.1:{free_port()}/{long}", json_path: $.x,'
        " interval: 1s}\n"
    )
    body = [
        {"symbol": f"custom.{long[:90]}{end}.t", "value": 5, "tags": {long[:30]: long * 2}} for end in "ab"
    ]
    assert oculus.post("/api/push", json=body).status_code == 202
    wait_for(lambda: len(firing(oculus)) == 2)
    page.resize(PHONE, 844, mobile=True)
    for path in ("/alerts", f"/alerts?rule={long[:96]}", "/rules", "/system"):
        page.goto(oculus.url + path)
        page.evaluate("document.querySelectorAll('details').forEach((found) => { found.open = true; })")
        assert page.evaluate("innerWidth") == PHONE
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, path
        page.evaluate("scrollTo(1000, 0)")
        assert page.evaluate("scrollX") == 0
        assert faults(page) == []
    seen(page, oculus)
