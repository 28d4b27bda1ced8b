"""Collectors: one file per kind, and the table that names them.

To add a kind: write its file, add a line here, and a test file. Configuration, `oculus check` and the
manual's tests read this table. Classes are imported when a configuration uses them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from oculus.collectors.base import Collector

# `type` or `type/probe` of the configuration → module:class
KINDS = {
    "api": "oculus.collectors.api:Api",
    "crypto": "oculus.collectors.markets.crypto:Crypto",
    "exec": "oculus.collectors.exec:Exec",
    "heartbeat": "oculus.collectors.heartbeat:Heartbeat",
    "host": "oculus.collectors.host:Host",
    "network/dns": "oculus.collectors.network.dns_probe:DnsProbe",
    "network/domain": "oculus.collectors.network.domain:DomainProbe",
    "network/http": "oculus.collectors.network.http:HttpProbe",
    "network/ping": "oculus.collectors.network.ping:PingProbe",
    "network/tcp": "oculus.collectors.network.tcp:TcpProbe",
    "network/tls": "oculus.collectors.network.certificate:CertificateProbe",
    "network/websocket": "oculus.collectors.network.websocket_probe:WebSocketProbe",
    "oculus": "oculus.collectors.remote:Remote",
    "prediction": "oculus.collectors.markets.prediction:Prediction",
    "prometheus": "oculus.collectors.prometheus:Prometheus",
    "self": "oculus.collectors.self_stats:SelfStats",
    "stock": "oculus.collectors.markets.stock:Stock",
}


def collector_class(kind: str) -> type[Collector]:
    """Return the class of a kind; KeyError when there is no such kind."""
    module, _, name = KINDS[kind].partition(":")
    return cast("type[Collector]", getattr(import_module(module), name))
