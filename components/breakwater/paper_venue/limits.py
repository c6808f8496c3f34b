"""Request-weight and order-count limits in fixed windows of wall time, and the ban of who ignores them.

Going on after a 429 leads to 418: the client address is banned, for two minutes at first, twice as long each time after, three days
at most. How many requests the exchange lets pass before it bans is not published; here it is `VenueConfig.ban_after_refusals`.
"""

from __future__ import annotations

from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.errors import VenueError

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
FIRST_BAN_MS = 2 * MINUTE_MS
LONGEST_BAN_MS = 3 * 24 * 60 * MINUTE_MS


class _Window:
    """A counter that starts again at every multiple of its length."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._start = -1
        self.used = 0

    def roll(self, wall_ms: int) -> bool:
        """Start again when the window is over. Returns whether it was."""
        start = wall_ms - wall_ms % self._length_ms
        if start == self._start:
            return False
        self._start = start
        self.used = 0
        return True

    def seconds_left(self, wall_ms: int) -> int:
        return _seconds_until(self._start + self._length_ms, wall_ms)


def _seconds_until(end_ms: int, wall_ms: int) -> int:
    return max(1, -(-(end_ms - wall_ms) // 1000))


class _Client:
    """What one address has used, and what it was refused."""

    def __init__(self) -> None:
        self.weight = _Window(MINUTE_MS)
        self.refusals = 0
        """Requests over the limit in this window."""
        self.bans = 0
        self.banned_until_ms = 0

    def ban(self, wall_ms: int) -> None:
        if wall_ms > self.banned_until_ms + LONGEST_BAN_MS:
            self.bans = 0
        self.banned_until_ms = wall_ms + min(LONGEST_BAN_MS, FIRST_BAN_MS * 2 ** min(self.bans, 16))
        self.bans += 1
        self.refusals = 0

    def headers(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self.weight.used)}


class RateLimits:
    """Weight is counted per client address, orders per account, like the exchange does."""

    def __init__(self, config: VenueConfig) -> None:
        self._config = config
        self._clients: dict[str, _Client] = {}
        self._orders: dict[str, tuple[_Window, _Window]] = {}

    def charge_weight(self, client: str, weight: int, wall_ms: int) -> dict[str, str]:
        """Count a request. Returns the reply headers; raises 429 over the limit and 418 while banned, both with Retry-After."""
        known = self._clients.setdefault(client, _Client())
        if wall_ms < known.banned_until_ms:
            raise self._banned(client, known, wall_ms)
        limit = self._config.weight_limit_per_minute
        window = known.weight
        if window.roll(wall_ms):
            known.refusals = 0
        window.used += weight
        if window.used <= limit:
            return known.headers()
        known.refusals += 1
        if known.refusals > self._config.ban_after_refusals:
            known.ban(wall_ms)
            raise self._banned(client, known, wall_ms)
        raise VenueError(
            -1003,
            f"Too many requests; current limit is {limit} request weight per minute. "
            "Please use the websocket for live updates to avoid polling the API.",
            status=429,
            headers=known.headers() | {"Retry-After": str(window.seconds_left(wall_ms))},
        )

    @staticmethod
    def _banned(client: str, known: _Client, wall_ms: int) -> VenueError:
        until = known.banned_until_ms
        return VenueError(
            -1003,
            f"Way too many requests; IP({client}) banned until {until}. "
            "Please use the websocket for live updates to avoid bans.",
            status=418,
            headers=known.headers() | {"Retry-After": str(_seconds_until(until, wall_ms))},
        )

    def charge_orders(self, account: str, per_10s: int, per_minute: int, wall_ms: int) -> dict[str, str]:
        """Count what a request adds to both order windows. Returns the reply headers; raises 429 when over a limit."""
        short, long = self._orders.setdefault(account, (_Window(TEN_SECONDS_MS), _Window(MINUTE_MS)))
        headers: dict[str, str] = {}
        for window, count, limit in (
            (short, per_10s, self._config.order_limit_per_10s),
            (long, per_minute, self._config.order_limit_per_minute),
        ):
            window.roll(wall_ms)
            window.used += count
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
