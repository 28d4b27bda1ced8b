"""Actions of rules: requests over real sockets, real programs, what a configuration may say; the daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.collectors.process import MOST_OUTPUT
from oculus.config import read_rules, rule_yaml
from oculus.errors import ConfigError
from oculus.notify import action_class
from oculus.notify.action import MAX_OUTPUT, Action, Ran
from oculus.notify.exec import MAX_ARGUMENT
from tests.notify.made import LINK, firing, notice, resolved
from tests.standins import faults
from tests.standins.webhook import Webhook as Receiver
from tests.support.client import ask
from tests.support.command import oculus
from tests.support.configs import VOCABULARY, mistakes_of, settings_of
from tests.support.daemon import Daemon
from tests.support.html import parse
from tests.support.servers import free_port, wait_for

Start = Callable[..., Daemon]

PATH, KEY, HEADER, WORD = "4f1c-path", "k3y-in-query", "t0ken-in-header", "pa55word-in-env"
SECRETS = (PATH, KEY, HEADER, WORD)

# What somebody may push to do harm: signs of shells, of options, of templates, and the ends of lines.
HOSTILE = "; touch pwned; $(touch pwned) `touch pwned` 'a\" {{ 7 * 7 }} -rf *\n\\ ü"

# Prints what a program of ours was given.
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), sys.stdin.read()]))"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations are written into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that takes everything."""
    running = Receiver()
    yield running
    running.stop()


def rules_with(*actions: dict[str, Any]) -> str:
    """Return a configuration whose one rule has these actions; JSON is YAML."""
    return f'rules:\n- name: r\n  condition: "custom.t > 1"\n  actions: {json.dumps(list(actions))}\n'


def action(**settings: Any) -> Action:
    """Return an action in use, as a configuration describes it."""
    (rule,) = settings_of(rules_with(settings)).rules
    (made,) = rule.actions
    return action_class(made.type)(made)


def post(url: str, **settings: Any) -> Action:
    """Return a request to a URL with secrets in it."""
    url = f"{url}/{PATH}?key={KEY}"
    return action(type="http_post", url=url, headers={"X-Token": HEADER}, timeout="5s", **settings)


def program(*command: str, **settings: Any) -> Action:
    """Return a program to run."""
    return action(type="exec", command=list(command), **settings)


def shell(script: str, **settings: Any) -> Ran:
    """Run a script of the shell once."""
    return program("sh", "-c", script, **settings).run(notice())


def without_secrets(*shown: object) -> None:
    """Fail when one of the secrets is in any of these."""
    for secret in SECRETS:
        assert secret not in repr(shown)


# -- requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [firing, resolved])
def test_a_request_is_that_of_a_webhook(receiver: Receiver, step: Any) -> None:
    """One alert in Oculus' own JSON, with the id by which a receiver tells a repetition."""
    told = notice(step())
    ran = post(receiver.url).run(told)
    assert (ran.ok, ran.told, ran.status) == (True, "answered 204", 204)
    (request,) = receiver.requests
    assert (request.method, request.target) == ("POST", f"/{PATH}?key={KEY}")
    assert request.headers["idempotency-key"] == told.id
    assert (request.headers["x-token"], request.headers["content-type"]) == (HEADER, "application/json")
    (alert,) = request.json()["alerts"]
    assert (alert["state"], alert["message"]) == (step().state, "BTC crossed $100k")
    assert request.json()["link"] == LINK


def test_a_body_is_a_template(receiver: Receiver) -> None:
    """Over the names of messages; `tojson` makes any text safe."""
    made = post(receiver.url, body='{"text": {{ message | tojson }}, "on": "{{ state }}"}', method="PUT")
    assert made.run(notice(firing(message=HOSTILE))).ok
    (request,) = receiver.requests
    assert (request.method, request.json()) == ("PUT", {"text": HOSTILE, "on": "firing"})


@pytest.mark.parametrize(
    ("fault", "told", "permanent", "after"),
    [
        (faults.error(404), "answered 404: ", True, None),
        (faults.error(503), "answered 503: ", False, None),
        (faults.rate_limited(7), "answered 429: ", False, 7.0),
        (faults.reset(), "failed: ", False, None),
        (faults.down(), "failed: connection refused", False, None),
        (faults.redirect("/elsewhere/" + PATH), "answered 302: redirected to ", True, None),
    ],
)  # fmt: skip
def test_what_a_receiver_refuses(
    receiver: Receiver, fault: Any, told: str, permanent: bool, after: float | None
) -> None:
    """Some of it may be tried again; none of it is told with a secret."""
    made = post(receiver.url)
    receiver.fault = fault
    ran = made.run(notice())
    assert not ran.ok
    assert ran.told.lower().startswith(told)
    assert (ran.permanent, ran.retry_after) == (permanent, after)
    assert len(ran.told.splitlines()) == 1
    without_secrets(ran, made.settings, made.settings.title)


def test_a_receiver_that_echoes_secrets_tells_nobody(http_server: Callable[..., Any]) -> None:
    """What it says is kept, and cut, without them."""

    def echo(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        words = (environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_TOKEN"])
        return [" ".join(["it said", *words, "z" * 5_000]).encode()]

    ran = post(http_server(echo).url).run(notice())
    assert ran.ok
    assert ran.output.startswith("it said ")
    assert len(ran.output) <= MAX_OUTPUT
    without_secrets(ran)


def test_a_slow_receiver_is_given_up(http_server: Callable[..., Any]) -> None:
    """Within the time of one try."""

    def hang(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        gevent.sleep(60)
        return []

    made = action(type="http_post", url=http_server(hang).url, timeout="200ms")
    ran = made.run(notice())
    assert (ran.ok, ran.permanent, ran.told) == (False, False, "failed: no whole answer within 0.2 s")


# -- programs ----------------------------------------------------------------------------------------------


def test_a_program_is_given_the_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its arguments, its environment and its standard input; of the daemon's environment little."""
    monkeypatch.setenv("DAEMON_SECRET", "x")
    env = {"LANGUAGE_OF_MINE": "de", "OCULUS_RULE": "not this"}
    made = program(sys.executable, "-c", SHOW, "{{ symbol }}", "plain", "{{ labels.host }}", env=env)
    told = notice(firing(labels={"host": "ada"}, value=100_012.5))
    ran = made.run(told)
    # The output is cut at what is kept for the record, so the program's own file tells all.
    assert (ran.ok, ran.told, ran.status) == (True, "ended with status 0", 0)
    whole = program(
        "sh", "-c", 'cat > given; env > env; printf "%s\\n" "$@" > args', "sh", "{{ rule }}", env=env
    )
    assert whole.run(told).ok
    body = json.loads(Path("given").read_text())
    assert body["alerts"][0]["labels"] == {"host": "ada"}
    assert body["id"] == told.id
    variables = dict(line.partition("=")[::2] for line in Path("env").read_text().splitlines())
    own = {name: value for name, value in variables.items() if name.startswith("OCULUS_")}
    assert own == {
        "OCULUS_ID": told.id, "OCULUS_RULE": "btc_price", "OCULUS_STATE": "firing",
        "OCULUS_SEVERITY": "critical", "OCULUS_SYMBOL": "crypto.price.btc_usd", "OCULUS_VALUE": "100012.5",
        "OCULUS_MESSAGE": "BTC crossed $100k", "OCULUS_STARTED_AT": "2026-08-20T12:00:00.000Z",
    }  # fmt: skip
    assert variables["LANGUAGE_OF_MINE"] == "de"
    assert "DAEMON_SECRET" not in variables
    assert Path("args").read_text() == "btc_price\n"


def test_an_argument_stays_one_argument_whatever_is_in_it() -> None:
    """What is pushed from outside is never taken apart, run, or filled in again."""
    script = "import json, sys; json.dump(sys.argv[1:], open('args', 'w'))"
    made = program(sys.executable, "-c", script, "{{ message }}", "a b; {{ labels.host }}", "$HOME")
    ran = made.run(notice(firing(message=HOSTILE, labels={"host": HOSTILE + "\0\ud800"})))
    assert ran.ok, ran
    assert json.loads(Path("args").read_text()) == [HOSTILE, f"a b; {HOSTILE}\ufffd?", "$HOME"]
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("script", "told", "status"),
    [
        ("echo first >&2; echo second >&2; exit 3", "ended with status 3: first", 3),
        ("echo 'only said'; exit 1", "ended with status 1: only said", 1),
        ("exit 2", "ended with status 2", 2),
        ("kill -KILL $$", "was ended by signal 9 (SIGKILL)", -9),
    ],
)
def test_a_program_that_fails(script: str, told: str, status: int) -> None:
    """It tells its status, and the first line of what it said."""
    ran = shell(script)
    assert (ran.ok, ran.told, ran.status, ran.permanent) == (False, told, status, False)


def test_what_a_program_prints_is_kept_without_secrets_and_cut() -> None:
    """A password that it was given is not in the record, wherever it was printed."""
    ran = shell('echo "out $PW"; echo "err $PW" >&2; exit 1', env={"PW": WORD})
    assert (ran.told, ran.output) == ("ended with status 1: err ***", "out ***\n\nerr ***")
    ran = shell(f"head -c {5 * MOST_OUTPUT} /dev/zero | tr '\\0' x")
    assert (ran.ok, ran.output) == (True, "x" * MAX_OUTPUT + "…")
    filler = "y" * 190
    without_secrets(shell(f'echo "{filler} $PW" >&2; exit 1', env={"PW": WORD}))


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    """None of it is left."""
    ran = shell("echo begun; sleep 300 & echo $! > child; echo $$ > own; wait", timeout="500ms")
    assert (ran.ok, ran.told, ran.status) == (False, "was not done after 0.5 s: begun", None)
    pids = [int(Path(name).read_text()) for name in ("child", "own")]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 5)


@pytest.mark.parametrize(
    ("command", "settings", "told"),
    [
        (["no-such-program"], {}, "cannot be run: no such file or directory"),
        (["/etc/passwd"], {}, "cannot be run: permission denied"),
        (["true"], {"directory": "/nowhere"}, "cannot be run: its directory /nowhere cannot be entered: "),
        (["true", "{{ labels.hots }}"], {}, "was not run: UndefinedError: "),
        (["true", "{{ 1 / 0 }}"], {}, "was not run: ZeroDivisionError: "),
        (["true", f"{{{{ 'x' * {MAX_ARGUMENT + 1} }}}}"], {}, "was not run: argument 1 has more than 30000 "),
        (["true", "{{ message.__class__.__mro__ }}"], {}, "was not run: SecurityError: "),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_not_tried_again(
    command: list[str], settings: dict[str, Any], told: str
) -> None:
    """A mistake of the configuration; no program is run with half an argument."""
    ran = program(*command, **settings).run(notice())
    assert not ran.ok
    assert ran.permanent
    assert ran.told.startswith(told)


# -- the configuration -------------------------------------------------------------------------------------


def test_one_action_may_stand_alone() -> None:
    """`action` takes one, `actions` several; each has its defaults."""
    text = 'rules: [{name: r, condition: "a > 1", action: {type: exec, command: [x]}}]'
    (rule,) = settings_of(text).rules
    assert {name: made.title for name, made in rule.named_actions.items()} == {"action:r": "x"}
    (made,) = rule.actions
    assert (made.on, made.timeout, made.retry, made.expire) == (("firing", "resolved"), 10.0, 0, 3_600.0)
    hook = {"type": "http_post", "url": "https://hooks.example.com:8443/x", "on": "firing"}
    (rule,) = settings_of(rules_with(hook, {"type": "exec", "command": ["/bin/y", "z"]})).rules
    titles = {name: made.title for name, made in rule.named_actions.items()}
    assert titles == {"action:r": "POST to hooks.example.com:8443", "action:r/2": "/bin/y"}
    assert (rule.actions[0].retry, rule.actions[0].on) == (3, ("firing",))


HOOK = {"type": "http_post", "url": "http://h/"}
RUN = {"type": "exec", "command": ["a"]}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"type": "exce"}, '.type: unknown type "exce" (did you mean "exec"?)'),
        ({"command": ["a"]}, ".type: is missing (one of: exec, http_post)"),
        ({"type": "exec"}, ".command: is missing (program and its arguments"),
        ({"type": "http_post"}, ".url: is missing (where it is sent)"),
        (HOOK | {"url": f"h/{PATH}"}, ".url: *** is not a URL"),
        (HOOK | {"url": f"http://ada:{WORD}@h/"}, ".url: the URL holds a user name or password (give "),
        (HOOK | {"boddy": "x"}, '.boddy: unknown key (did you mean "body"?)'),
        (HOOK | {"body": "{{ mesage }}"}, '.body: unknown name "mesage" in line 1'),
        (HOOK | {"headers": {"Idempotency-Key": HEADER}}, ".headers: Idempotency-Key is a header that"),
        (HOOK | {"on": ["fireing"]}, ".on[0]: is 'fireing' (one of: firing, resolved)"),
        (HOOK | {"on": []}, ".on: is empty (firing, resolved, or both)"),
        (HOOK | {"retry": -1}, ".retry: -1 is out of range"),
        (HOOK | {"timeout": "1h"}, ".timeout: 1h is out of range"),
        (RUN | {"command": "restart it"}, '.command: is a text, and no shell takes it apart '),
        (RUN | {"command": []}, ".command: is empty"),
        (RUN | {"command": ["{{ symbol }}"]}, ".command: the program cannot be a template"),
        (RUN | {"command": ["a", "b", "{{ symbl }}"]}, '.command: argument 2: unknown name "symbl"'),
        (RUN | {"command": ["a", "{{ symbol"]}, ".command: argument 1: unexpected end of template"),
        (RUN | {"env": {"A=B": WORD}}, ".env: 'A=…' cannot be a variable"),
        ("curl", ": is 'curl' (a mapping such as {type: exec, command: […]})"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_place(wrong: Any, told: str) -> None:
    """And without secrets; `check` tells them, as it tells all others."""
    text = rules_with(RUN, wrong)
    (mistake,) = mistakes_of(text)
    assert mistake.startswith(f"c.yaml:4: rules[0].actions[1]{told}")
    without_secrets(mistake)
    done = oculus("check", "c.yaml")
    assert done.status == 2
    assert mistake in done.out + done.err


def test_other_mistakes_of_actions() -> None:
    """Both keys, another word for one, and a channel with the name of an action."""
    rule = 'rules: [{name: r, condition: "a > 1", %s}]'
    for said, told in (
        (
            "action: {type: exec, command: [a]}, actions: [{type: exec, command: [a]}]",
            "has action and actions",
        ),
        ("acton: {type: exec, command: [a]}", 'unknown key (did you mean "actions"?)'),
        ("channels: ['action:r'], action: {type: exec, command: [a]}", 'unknown channel "action:r"'),
    ):
        (mistake,) = mistakes_of(rule % said)
        assert told in mistake
    (mistake,) = mistakes_of('notifications: {"action:r": {type: webhook, url: "http://h/"}}')
    assert 'begins with "action:"' in mistake


@pytest.mark.parametrize(
    ("command", "doubts"),
    [
        (["sh", "-c", "restart {{ symbol }}"], 1),
        (["/bin/bash", "-xc", "restart {{ symbol }}"], 1),
        (["sh", "-c", 'restart "$1"', "sh", "{{ symbol }}"], 0),
        (["restart", "-c", "{{ symbol }}"], 0),
    ],
)
def test_a_shells_script_made_of_an_alert_is_a_doubt(command: list[str], doubts: int) -> None:
    """Whoever pushes a label could run anything."""
    warnings = settings_of(rules_with({"type": "exec", "command": command})).warnings
    assert len(warnings) == doubts
    assert all("the shell runs whatever an alert says" in warning for warning in warnings)


def test_secrets_may_stand_in_files() -> None:
    """As everywhere."""
    Path("url").write_text(f"http://h/{PATH}\n")
    (rule,) = settings_of(rules_with({"type": "http_post", "url_file": "url"})).rules
    assert getattr(rule.actions[0], "url") == f"http://h/{PATH}"  # noqa: B009 - of the kind's own class


def test_a_rule_is_shown_without_the_secrets_of_its_actions() -> None:
    """As YAML, which a backtest takes as it is: it acts upon nothing."""
    hook = {
        "type": "http_post",
        "url": f"http://h/{PATH}?{KEY}",
        "headers": {"X-Token": HEADER},
        "body": WORD,
    }
    (rule,) = settings_of(rules_with(hook, RUN | {"env": {"PW": WORD}, "timeout": "1m"})).rules
    shown = rule_yaml(rule)
    without_secrets(shown, rule)
    assert "url: '***'" in shown
    assert "X-Token: '***'" in shown
    assert "timeout: 1m" in shown
    (again,) = read_rules(shown, VOCABULARY)
    assert (again.name, again.condition, again.actions) == (rule.name, rule.condition, ())


def test_rules_from_outside_read_no_file_for_their_actions() -> None:
    """A backtest's text is another's: what it says of actions is not looked at."""
    Path("secret").write_text("text")
    text = 'name: r\ncondition: "a > 1"\naction: {type: http_post, url_file: secret, nonsense: 1}\n'
    (rule,) = read_rules(text, VOCABULARY)
    assert rule.actions == ()
    with pytest.raises(ConfigError):
        read_rules(text.replace("a > 1", "a >"), VOCABULARY)


# -- the daemon --------------------------------------------------------------------------------------------

CONFIG = """
server: {public_url: "https://oculus.example"}
database: {flush: 50ms}
rules:
  - name: hot
    condition: "custom.*.temp > 30"
    severity: critical
    actions:
      - type: http_post
        url: "http://127.0.0.1:%d/%s?key=%s"
        headers: {X-Token: %s}
        retry: 100
        timeout: 2s
      - type: exec
        command: [sh, -c, 'echo "$OCULUS_STATE $1 $OCULUS_VALUE" >> runs; echo "$PW"', sh, "{{ symbol }}"]
        env: {PW: %s}
"""


def config(port: int) -> str:
    """Return the daemon's configuration."""
    return CONFIG % (port, PATH, KEY, HEADER, WORD)


def push(daemon: Daemon, value: float, name: str = "a") -> None:
    """Push a temperature."""
    assert daemon.post(f"/api/push/custom.{name}.temp", json={"value": value}).status_code == 202


def audits(daemon: Daemon) -> list[list[Any]]:
    """Return what the audit events of the rule tell."""
    return daemon.sql(
        """select payload->>'action', payload->>'state', payload->>'outcome', (payload->>'tries')::int,
            message
        from events where type = 'audit' and source = 'hot' order by id"""
    )


def states(receiver: Receiver, symbol: str = "custom.a.temp") -> list[str]:
    """Return the states of an alert in the order in which they were taken, each once."""
    alerts = [alert for request in receiver.taken.values() for alert in request.json()["alerts"]]
    return [alert["state"] for alert in alerts if alert["symbol"] == symbol]


def test_a_pushed_value_is_acted_upon_once_in_each_way(daemon: Start, receiver: Receiver) -> None:
    """When it fires and when it resolves, with an audit event each; no secret is anywhere to be seen."""
    running = daemon(config(receiver.port))
    push(running, 35.5)
    wait_for(lambda: len(audits(running)) == 2)
    push(running, 20)
    wait_for(lambda: len(audits(running)) == 4)
    assert (running.folder / "runs").read_text() == "firing custom.a.temp 35.5\nresolved custom.a.temp 20\n"
    assert states(receiver) == ["firing", "resolved"]
    assert len(receiver.requests) == 2
    assert receiver.requests[0].json()["link"].startswith("https://oculus.example/")
    address = f"127.0.0.1:{receiver.port}"
    assert sorted(audits(running)) == [
        ["action:hot", "firing", "sent", 1, f"rule hot: POST to {address} answered 204"],
        ["action:hot", "resolved", "sent", 1, f"rule hot: POST to {address} answered 204"],
        ["action:hot/2", "firing", "sent", 1, "rule hot: sh ended with status 0"],
        ["action:hot/2", "resolved", "sent", 1, "rule hot: sh ended with status 0"],
    ]
    rows = running.sql("select channel, state, tries from deliveries order by event, channel")
    assert rows == [[name, "sent", 1] for name in ("action:hot", "action:hot/2")] * 2
    answer = running.post("/api/backtest", json={"rule": "hot", "since": "1h"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["rules"][0]["firings"] == 1
    page = running.get("/rules/hot", headers={"Accept": "text/html"}).text
    assert f"POST to {address} (firing, resolved), sh (firing, resolved)" in page
    text = "".join(map(str, parse(page).one("textarea").parts))
    assert "type: http_post" in text
    posted = {"rule": text, "days": "1"}
    tried = running.post("/partials/rules/hot/backtest", data=posted, headers={"HX-Request": "true"})
    assert tried.status_code == 200
    assert "As configured" in tried.text
    assert "As edited" not in tried.text
    shown = [
        page,
        running.log(),
        running.get("/api/rules").text,
        running.get("/api/rules/hot").text,
        answer.text,
    ]
    tables = ("events", "deliveries", "oculus_state")
    without_secrets(*shown, *(running.sql(f"select * from {table}") for table in tables))
    assert running.stop() == 0
    assert len(receiver.requests) == 2
    assert (running.folder / "runs").read_text().count("\n") == 2


def test_two_kills_while_the_receiver_is_down_lose_nothing(daemon: Start, receiver: Receiver) -> None:
    """Every step arrives, in order for each alert, and under the id that each try of it had."""
    receiver.fault = faults.error(503)
    running = daemon(config(receiver.port))
    names = [f"n{number}" for number in range(10)]
    for name in names:
        push(running, 35, name)
    wait_for(
        lambda: {alert["symbol"] for alert in running.json("/api/alerts")["alerts"]} >= {"custom.n9.temp"}
    )
    wait_for(lambda: len(receiver.requests) >= 4)
    running.kill()
    running = daemon(config(receiver.port))
    for name in names:
        push(running, 20, name)
    wait_for(lambda: len(running.json("/api/alerts?state=resolved")["alerts"]) == 10)
    tried = len(receiver.requests)
    wait_for(lambda: len(receiver.requests) > tried, 30)
    running.kill()
    receiver.fault = None
    running = daemon(config(receiver.port))
    wait_for(lambda: not running.sql("select 1 from deliveries where state = 'waiting'"), 60)
    for name in names:
        assert states(receiver, f"custom.{name}.temp") == ["firing", "resolved"]
    ids: dict[tuple[str, str], set[str]] = {}
    for request in receiver.requests:
        (alert,) = request.json()["alerts"]
        ids.setdefault((alert["symbol"], alert["state"]), set()).add(request.headers["idempotency-key"])
    assert len(ids) == 20
    assert all(len(found) == 1 for found in ids.values())
    runs = (running.folder / "runs").read_text().splitlines()
    assert {" ".join(run.split()[:2]) for run in runs} == {
        f"{state} custom.{name}.temp" for state in ("firing", "resolved") for name in names
    }
    assert running.sql("select distinct state from deliveries") == [["sent"]]


def test_a_reload_changes_actions_with_the_rules(daemon: Start, receiver: Receiver) -> None:
    """What waits goes on with the changed one; what waits for one that is gone is given up, and told."""
    nobody = free_port()
    running = daemon(config(nobody))
    push(running, 35)
    running.wait_log("it is tried again")
    running.configure(config(receiver.port))
    wait_for(lambda: states(receiver) == ["firing"])
    running.configure(config(nobody))
    running.wait_log("reloaded")
    push(running, 20)
    wait_for(lambda: running.log().count("it is tried again") == 2)
    running.configure("database: {flush: 50ms}\n")
    wait_for(lambda: audits(running)[-1][1:3] == ["resolved", "failed"])
    assert "was given up: it is not configured any more" in audits(running)[-1][4]
    assert running.sql("select count(*) from deliveries where state = 'waiting'") == [[0]]
    assert running.stop() == 0


def test_a_silenced_alert_is_not_acted_upon(daemon: Start, receiver: Receiver) -> None:
    """Until the silence ends while it still fires."""
    running = daemon(config(receiver.port))
    silence = {"matchers": ["rule=hot"], "duration": "1h", "comment": "test"}
    made = running.post("/api/silences", json=silence)
    assert made.status_code == 201, made.text
    push(running, 35)
    wait_for(lambda: running.json("/api/alerts?state=firing")["alerts"])
    push(running, 36, "b")
    wait_for(lambda: len(running.json("/api/alerts?state=firing")["alerts"]) == 2)
    assert running.sql("select count(*) from deliveries") == [[0]]
    assert not receiver.requests
    push(running, 20, "b")
    wait_for(lambda: running.json("/api/alerts?state=resolved")["alerts"])
    assert ask("DELETE", f"{running.url}/api/silences/{made.json()['id']}").status_code == 200
    wait_for(lambda: states(receiver) == ["firing"], 20)
    assert states(receiver, "custom.b.temp") == []
    assert running.stop() == 0
