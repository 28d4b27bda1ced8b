"""A bound that the HTTP library lacks: how many interim answers a server may send before its answer.

http.client passes over `100 Continue` without end. From a server that sends nothing else there is always
something to read, so that no other greenlet would ever run again, not even the time limit.
"""

from __future__ import annotations

from http.client import HTTPException, HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

MAX_INTERIM = 20  # answers; honest servers send one or two


class _Response(HTTPResponse):
    """Gives up on a server that goes on sending interim answers."""

    _heads = 0

    def _read_status(self) -> Any:
        self._heads += 1
        if self._heads > MAX_INTERIM + 1:
            raise HTTPException(f"more than {MAX_INTERIM} interim answers")
        return super()._read_status()  # type: ignore[misc]


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class BoundedAdapter(HTTPAdapter):
    """Connects directly and through proxies in this way."""

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, *arguments: Any, **settings: Any) -> Any:
        """Return the manager of a proxy's connections."""
        manager = super().proxy_manager_for(*arguments, **settings)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager
