"""What each series was a day ago, looked up now and then while somebody watches."""

from __future__ import annotations

import time

import gevent
from loguru import logger

from oculus.clock import DAY, now
from oculus.errors import OculusError
from oculus.model import Micros
from oculus.storage import queries
from oculus.web.services import Services

EVERY = 300.0  # seconds between two looks: a change over a day moves slowly


class Yesterday:
    """Values of a day ago. `version` grows when they are other ones."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._values: dict[str, float] = {}
        self._looked: float | None = None  # monotonic
        self._looking: gevent.Greenlet[[], None] | None = None
        self.version = 0

    def value(self, symbol: str) -> float | None:
        """Return what a series was a day ago; None when it was not there yet, or nobody has looked."""
        return self._values.get(symbol)

    def refresh(self) -> None:
        """Look again if it is time to, without waiting for that."""
        at = time.monotonic()
        if self._looking is not None or (self._looked is not None and at - self._looked < EVERY):
            return
        self._looked = at
        self._looking = gevent.spawn(self._look)

    def _look(self) -> None:
        try:
            found = self._services.readers.run(queries.values_before, Micros(now() - DAY))
            if found != self._values:
                self._values = found
                self.version += 1
        except OculusError as error:
            logger.debug("the values of a day ago could not be read: {}", error)
        finally:
            self._looking = None
