"""What `oculus doctor` looks at of the network: routes, name lookup, ping and certificates."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import gevent
from gevent import socket

from oculus.collectors.network.ping import find_mode
from oculus.collectors.network.probe import ProbeError, resolve
from oculus.commands.findings import Needs, Report, fail, ok, warn
from oculus.config.settings import CollectorSettings

_PATIENCE = 5.0  # seconds that a name may take

# Asked for where no configuration tells a name; it is reserved for examples, and there for good.
_ANY_NAME = "example.com"

# Addresses that stand for "anywhere": a route to them is looked for, and no packet is sent.
_ANYWHERE = {"IPv4": (socket.AF_INET, "192.0.2.1"), "IPv6": (socket.AF_INET6, "2001:db8::1")}

_PING_RANGE = "net.ipv4.ping_group_range"


def host_of(settings: CollectorSettings) -> str:
    """Return the host name that a collector asks for, empty for an address or for none."""
    for key in ("target", "url", "base_url"):
        text = str(getattr(settings, key, "") or "")
        if not text:
            continue
        with suppress(ValueError):
            host = urlsplit(text if "//" in text else f"//{text}").hostname or ""
            if re.search(r"[a-z]", host) and ":" not in host and host != "localhost":
                return host
    return ""


def routes(needs: Needs) -> Report:
    """Yield which versions of IP lead out of this host."""
    found = [name for name, (family, address) in _ANYWHERE.items() if _has_route(family, address)]
    if not found:
        yield warn("no route leads out of this host: only what is on it can be reached", "look at ip route")
    elif found == ["IPv6"]:
        yield warn("IPv6 only: targets with IPv4 addresses cannot be reached", "look at ip route")
    else:
        told = " and ".join(found)
        yield ok(told if len(found) == 2 else f"{told} only: targets are reached by their IPv4 addresses")


def _has_route(family: int, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
    except OSError:
        return False
    return True


def names(needs: Needs) -> Report:
    """Yield whether a name can be looked up, and who is asked."""
    servers = _name_servers()
    asked = f"asking {', '.join(servers)}" if servers else "with no name server set"
    name = needs.hosts[0] if needs.hosts else _ANY_NAME
    advice = "look at /etc/resolv.conf" if servers else "name one in /etc/resolv.conf"
    # Where the configuration names addresses only, nothing depends on it.
    level = fail if needs.hosts else warn
    try:
        with gevent.Timeout(_PATIENCE, TimeoutError()):
            found = resolve(name, 0, "any")
    except TimeoutError:
        yield level(f"{asked}, {name} is not found within {_PATIENCE:.0f} s", advice)
    except (OSError, ProbeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        yield level(f"{asked}, {name} is not found: {why.lower()}", advice)
    else:
        yield ok(f"{asked}, {name} is {found[0][1][0]}")


def _name_servers() -> list[str]:
    with suppress(OSError):
        lines = Path("/etc/resolv.conf").read_text(errors="replace").splitlines()
        return [words[1] for line in lines if (words := line.split())[:1] == ["nameserver"] and words[1:]]
    return []


def ping(needs: Needs) -> Report:
    """Yield how this host lets us ping."""
    try:
        mode = find_mode()
    except ProbeError as error:
        level = fail if needs.pings else warn
        yield level(str(error), f'sysctl -w {_PING_RANGE}="0 2147483647", or install iputils-ping')
        return
    if mode == "ping command":
        told = "by the system's ping command, a process for each run: fine for some dozens of targets"
        yield warn(told, f'sysctl -w {_PING_RANGE}="0 2147483647" permits sockets to everybody')
    elif mode == "raw socket":
        yield ok("by raw sockets, which this user may open (root, or CAP_NET_RAW)")
    else:
        yield ok("by datagram sockets, which need no rights")


def authorities(needs: Needs) -> Report:
    """Yield whether there are authorities by which certificates are judged."""
    from gevent import ssl

    count = ssl.create_default_context().cert_store_stats()["x509_ca"]
    where = ssl.get_default_verify_paths()
    if not count and where.capath and any(Path(where.capath).glob("*.0")):
        yield ok(f"authorities are in {where.capath}")
    elif not count:
        yield fail(
            "no authority is known: every certificate counts as not trusted", "install ca-certificates"
        )
    else:
        yield ok(f"{count} authorities of {where.cafile or where.capath}, {ssl.OPENSSL_VERSION}")
