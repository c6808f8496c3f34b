"""Which of several base addresses of one venue is in use, judged by how requests and connections end. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from breakwater.exchange.endpoints import Endpoint
from breakwater.runtime.clocks import InfraClock

UNKNOWN_IN_A_ROW = 3
"""Replies in a row that never came, or were a gateway's error, after which another address is tried."""
SHORTEST_STAY_S = 5.0
"""Infrastructure seconds an address is given before it is left again: several dead ones must not be raced through."""
HOME_AFTER_S = 600.0
"""Infrastructure seconds without a switch after which the first address is tried again."""


class Failover:
    """Starts at the first of ``endpoints``. What is said of another one than the present counts for nothing."""

    def __init__(self, endpoints: Sequence[Endpoint], clock: InfraClock) -> None:
        if not endpoints:
            raise ValueError("a client needs at least one endpoint")
        self.endpoints = tuple(endpoints)
        self._clock = clock
        self._present = 0
        self._unknown = 0
        self._since = -SHORTEST_STAY_S
        self.switches = 0

    @property
    def present(self) -> Endpoint:
        return self.endpoints[self._present]

    def answered(self, url: str) -> None:
        """A reply came from ``url``, whatever it said."""
        if self._is_present(url):
            self._unknown = 0

    def lost(self, url: str, *, connected: bool) -> bool:
        """No usable reply from ``url``; not ``connected``: it could not even be reached. True: now another one is in use."""
        if len(self.endpoints) == 1 or not self._is_present(url):
            return False
        self._unknown += 1
        if connected and self._unknown < UNKNOWN_IN_A_ROW:
            return False
        if self._clock.monotonic() - self._since < SHORTEST_STAY_S:
            return False
        self._take((self._present + 1) % len(self.endpoints))
        return True

    def home_due(self) -> Endpoint | None:
        """The first endpoint, when another one has been in use for long enough."""
        if self._present == 0 or self._clock.monotonic() - self._since < HOME_AFTER_S:
            return None
        return self.endpoints[0]

    def go_home(self) -> None:
        """Use the first endpoint again."""
        self._take(0)

    def _take(self, position: int) -> None:
        self._present = position
        self._unknown = 0
        self._since = self._clock.monotonic()
        self.switches += 1

    def _is_present(self, url: str) -> bool:
        return url.startswith((self.present.http_base + "/", self.present.ws_base + "/"))
