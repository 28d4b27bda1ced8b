"""Stand-in of IANA's list of RDAP servers and of a few registries, all on one port (RFC 9083, RFC 9224).

`base_url` of a `probe: domain` sends every request here, with the registry's own path.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tests.standins.base import StandIn
from tests.standins.messages import Answer, Request

# Path of each registry → the top-level domains that it serves.
REGISTRIES = {
    "/gamma/v1": ["test", "Example"],
    "/delta": ["nested.invalid"],
    "/epsilon": ["invalid"],
}


def domain(name: str, *events: tuple[str, str], **members: Any) -> dict[str, Any]:
    """Return a registry's answer about a domain, with its events as pairs of action and date."""
    return {
        "rdapConformance": ["rdap_level_0"],
        "objectClassName": "domain",
        "ldhName": name.upper(),
        "handle": "42_DOMAIN-TEST",
        "status": ["active"],
        "events": [{"eventAction": action, "eventDate": date} for action, date in events],
        **members,
    }


class Rdap(StandIn):
    """`domains` is what the registries know: (path, name) → body."""

    ROUTES: ClassVar[dict[str, str]] = {
        "GET /rdap/dns.json": "bootstrap",
        **{f"GET {path}/domain/{{name}}": "domain_of" for path in REGISTRIES},
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.domains: dict[tuple[str, str], Any] = {}
        self.unknown = 404  # status for a domain that a registry does not know
        self.bootstrap_body: Any = {
            "version": "1.0",
            "publication": "2026-01-01T00:00:00Z",
            "description": "a list for tests",
            "services": [
                [served, [f"http://plain.registry.test{path}/", f"https://registry.test{path}/"]]
                for path, served in REGISTRIES.items()
            ],
        }

    def bootstrap(self, request: Request) -> Answer:
        """Answer with the list of registries."""
        return Answer(self.bootstrap_body)

    def domain_of(self, request: Request, name: str) -> Answer:
        """Answer what the registry knows of a domain."""
        body = self.domains.get((request.path.partition("/domain/")[0], name))
        if body is None:
            error = {"errorCode": self.unknown, "title": "Not known", "rdapConformance": ["rdap_level_0"]}
            return Answer(error, self.unknown, type="application/rdap+json")
        return Answer(body, type="application/rdap+json")
