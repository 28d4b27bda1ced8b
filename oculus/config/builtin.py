"""The configuration that runs when none is named, and the one that `oculus init` writes."""

from __future__ import annotations

# Needs no internet: the first screen shows this host and Oculus itself, whose address is `${HOST}` and
# `${PORT}`.
DEMO = """\
collectors:
  - {type: self, interval: 2s}
  - {type: network, probe: ping, name: localhost, target: 127.0.0.1, count: 1, interval: 2s}
  - {type: network, probe: tcp, name: oculus, target: "${HOST}:${PORT}", interval: 2s}
  - {type: network, probe: http, name: oculus, target: "http://${HOST}:${PORT}/healthz", interval: 2s}
rules:
  - {name: oculus_slow, condition: "net.http.oculus.rtt > 250", for: 10s, severity: warn}
"""

STARTER = """\
# Oculus: what to watch, and when to raise an alert. `oculus check` tells mistakes in this file.
server: {bind: 127.0.0.1, port: 8080}        # beyond loopback it needs a token
database: {path: oculus.db, retention: 7d}

collectors:
  - {type: network, probe: ping, name: localhost, target: 127.0.0.1, interval: 30s}
  - {type: network, probe: http, name: oculus, target: "http://127.0.0.1:8080/healthz", interval: 30s}
  # - {type: network, probe: http, name: site, target: "https://example.com", interval: 30s, retries: 1}
  # - {type: network, probe: tcp, name: database, target: "db.local:5432", interval: 30s}
  # - {type: crypto, asset: btc_usd, interval: 60s}
  # - {type: crypto, asset: eth_usd, source: kraken, stream: true, interval: 5s}
  # - {type: stock, ticker: TSLA}
  # - {type: prediction, slug: will-bitcoin-reach-100k-in-2026}
  # - {type: api, name: index, url: "https://api.example.com/v1", json_path: $.data.value}
  - {type: self}

rules:
  - {name: oculus_slow, condition: "net.http.oculus.rtt > 1000", for: 1m, severity: warn}
  # - {name: site_down, condition: "net.http.site.up == 0", for: 1m, severity: error}
  # - {name: bitcoin, condition: "crypto.price.btc_usd > 100000", severity: info}
  # - {name: certificate, condition: "net.http.site.cert_days < 14", severity: warn}
"""
