"""Request-weight and order-count limits in fixed windows of wall time."""

from __future__ import annotations

from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.errors import VenueError

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000


class _Window:
    """A counter that starts again at every multiple of its length."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._start = -1
        self.used = 0

    def roll(self, wall_ms: int) -> None:
        start = wall_ms - wall_ms % self._length_ms
        if start != self._start:
            self._start = start
            self.used = 0

    def seconds_left(self, wall_ms: int) -> int:
        return max(1, -(-(self._start + self._length_ms - wall_ms) // 1000))


class RateLimits:
    """Weight is counted per client address, orders per account, like the exchange does."""

    def __init__(self, config: VenueConfig) -> None:
        self._config = config
        self._weight: dict[str, _Window] = {}
        self._orders: dict[str, tuple[_Window, _Window]] = {}

    def charge_weight(self, client: str, weight: int, wall_ms: int) -> dict[str, str]:
        """Count a request. Returns the reply headers; raises 429 with Retry-After when over the limit."""
        window = self._weight.setdefault(client, _Window(MINUTE_MS))
        window.roll(wall_ms)
        window.used += weight
        headers = {"X-MBX-USED-WEIGHT-1M": str(window.used)}
        limit = self._config.weight_limit_per_minute
        if window.used > limit:
            headers["Retry-After"] = str(window.seconds_left(wall_ms))
            raise VenueError(
                -1003,
                f"Too many requests; current limit is {limit} request weight per minute. "
                "Please use the websocket for live updates to avoid polling the API.",
                status=429,
                headers=headers,
            )
        return headers

    def charge_order(self, account: str, wall_ms: int) -> dict[str, str]:
        """Count a new order. Returns the reply headers; raises 429 when over a limit."""
        short, long = self._orders.setdefault(account, (_Window(TEN_SECONDS_MS), _Window(MINUTE_MS)))
        headers: dict[str, str] = {}
        for window, limit in (
            (short, self._config.order_limit_per_10s),
            (long, self._config.order_limit_per_minute),
        ):
            window.roll(wall_ms)
            window.used += 1
            if window.used > limit and "Retry-After" not in headers:
                headers["Retry-After"] = str(window.seconds_left(wall_ms))
        refused = "Retry-After" in headers
        headers |= {"X-MBX-ORDER-COUNT-10S": str(short.used), "X-MBX-ORDER-COUNT-1M": str(long.used)}
        if refused:
            raise VenueError(
                -1015,
                f"Too many new orders; current limit is {self._config.order_limit_per_10s} orders per 10 seconds "
                f"and {self._config.order_limit_per_minute} per minute.",
                status=429,
                headers=headers,
            )
        return headers
