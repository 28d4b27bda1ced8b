"""POST /api/backtest: what rules would have done."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from oculus.clock import DAY, now
from oculus.errors import ConfigError
from oculus.model import Micros
from oculus.web import inputs
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services

SINCE = 7 * DAY  # when nothing is said

_KEYS = ("rule", "rules", "names", "since", "until")


def backtest(services: Services) -> dict[str, Any]:
    """Replay configured rules, or the given ones, over the stored history.

    `rule` names a configured one; `rules` are others as in the configuration (a list, one, or YAML), of which
    `names` are asked for, or all. Without either it is about all configured ones.
    """
    body = inputs.json_body()
    if not isinstance(body, dict) or set(body) - set(_KEYS):
        raise bad_request('the body is not {"rule": "name", "since": "7d"} or {"rules": [{…}], …}')
    since, until = (_time(body, key) for key in ("since", "until"))
    # Nothing that is stored is before 1970, and of what is to come nothing is known.
    end = now() if until is None else min(until, now())
    start = Micros(max(0, end - SINCE if since is None else since))
    if start >= end:
        raise bad_request("since is not before until")
    configured, name, given = services.rule_settings(), body.get("rule"), body.get("rules")
    if given is not None and name is not None:
        raise bad_request("rule and rules cannot be together")
    if given is None:
        names = None if name is None else [str(name)]
        if names is not None and all(rule.name != name for rule in configured):
            raise Problem(404, "not_found", f"there is no rule {name!r}")
        return services.backtest(configured, names, start, end).to_json()
    try:
        rules = services.read_rules(given if isinstance(given, str) else json.dumps(given))
    except ConfigError as error:
        raise bad_request("\n".join(error.mistakes)) from None
    own = {rule.name for rule in rules}
    asked = own if body.get("names") is None else _names(body["names"], own)
    # Those that they depend on may be configured ones.
    others = [rule for rule in configured if rule.name not in own]
    return services.backtest([*rules, *others], asked, start, end).to_json()


def _names(names: Any, known: Collection[str]) -> set[str]:
    """Return the names of those that are asked for; raises Problem when one is not among them."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise bad_request("names is not a list of names")
    for name in names:
        if name not in known:
            raise bad_request(f"names: there is no rule {name!r} among the given ones")
    return set(names)


def _time(body: dict[str, Any], key: str) -> Micros | None:
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise bad_request(f"{key} is not a time")
    return inputs.time_of(key, str(value))
