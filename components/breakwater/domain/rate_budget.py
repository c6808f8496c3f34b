"""How much may be asked of the venue now: a token bucket, request weight and order counts, looked at through lanes.

Pure: whoever uses it hands in the time. Three resources, each with its own rule:

- COMMANDS, everything that changes something: at most 1200 in any 60 s. A bucket of 50 that refills at (1200 - 50) / 60 a second
  paces entries (at 20 a second a full bucket would let 1250 through in the first minute). Exits and protection never wait for the
  bucket, they put it in debt and entries make up for it; only the 1200 themselves hold them.
- WEIGHT of requests, 2400 in each minute of UTC per address.
- ORDERS, 300 in each 10 s and 1200 in each minute of UTC per account.

Of each, something is left that only exits may use.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

import msgspec


class Lane(enum.IntEnum):
    """What a request is for; the lower number goes first."""

    EXITS = 0
    """Orders that close a position, and cancels."""
    PROTECTION = 1
    """Stops and targets, and questions that getting out or protecting waits for."""
    ENTRIES = 2
    QUERIES = 3


class Resource(enum.Flag):
    NONE = 0
    COMMANDS = enum.auto()
    WEIGHT = enum.auto()
    ORDERS = enum.auto()


class Cost(msgspec.Struct, frozen=True):
    """What one request takes. ``orders`` are those that the account's order counts grow by."""

    weight: int = 0
    command: bool = False
    orders: int = 0

    @property
    def needs(self) -> Resource:
        """The resources it takes anything of."""
        needs = Resource.COMMANDS if self.command else Resource.NONE
        if self.weight:
            needs |= Resource.WEIGHT
        if self.orders:
            needs |= Resource.ORDERS
        return needs


class Lack(msgspec.Struct, frozen=True):
    """Why a request has to wait, and at least how long (seconds)."""

    resource: Resource
    wait_s: float


class VenueLimits(msgspec.Struct, frozen=True):
    """What the venue grants one address (orders: one account), and how we divide it."""

    commands: int = 1200
    """In any ``window_s`` seconds."""
    window_s: float = 60.0
    burst: int = 50
    reserve: int = 15
    """Tokens, commands of a window, and orders that only exits may use."""
    weight_per_minute: int = 2400
    orders_per_10s: int = 300
    orders_per_minute: int = 1200

    @property
    def refill_per_s(self) -> float:
        return (self.commands - self.burst) / self.window_s


WEIGHT_SHARE: Final = {Lane.EXITS: 1.0, Lane.PROTECTION: 0.9, Lane.ENTRIES: 0.8, Lane.QUERIES: 0.8}
"""Of the weight of a minute, up to where each lane may go."""


class Draw(msgspec.Struct, frozen=True):
    """What a lane may take of commands and weight at a given share of the limits; the same for one process and for all."""

    capacity: float
    refill_per_s: float
    tokens: float
    """The bucket must hold as many before one is taken; minus infinity: whatever it holds."""
    commands: int
    """At most so many commands in a window, this one included."""
    weight: int
    """At most so much weight in a minute, this request included."""


def draw(limits: VenueLimits, lane: Lane, share: float = 1.0) -> Draw:
    """``share`` is this process' part of the limits, 1 for all of them. Exits are not held to it."""
    capacity = max(limits.burst * share, 1.0)
    # A lane that waits for the bucket leaves the reserve in it, as far as so small a bucket has one.
    paced = min(limits.reserve * share + 1, capacity)
    return Draw(
        capacity=capacity,
        refill_per_s=limits.refill_per_s * share,
        tokens=paced if lane in (Lane.ENTRIES, Lane.QUERIES) else float("-inf"),
        commands=limits.commands if lane is Lane.EXITS else max(1, int((limits.commands - limits.reserve) * share)),
        weight=int(limits.weight_per_minute * WEIGHT_SHARE[lane] * (1.0 if lane is Lane.EXITS else share)),
    )


class _Counter:
    """Counts in windows that begin at multiples of their length in UTC, as the venue's do."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self.ends = 0.0
        """On the clock that ``now`` is read from."""
        self.used = 0

    def roll(self, now: float, utc_s: float) -> None:
        if now >= self.ends:
            self.used = 0
            self.ends = now + self._length_s - utc_s % self._length_s

    def heard(self, used: int | None) -> None:
        """The venue's own count; it goes before ours where it is higher. Requests on their way it does not know yet."""
        if used is not None:
            self.used = max(self.used, used)


class RateBudget:
    """``now`` is monotonic seconds, ``utc_s`` Unix time. Times handed in never go back."""

    def __init__(self, limits: VenueLimits, now: float) -> None:
        self.limits = limits
        self._tokens = float(limits.burst)
        self._updated = now
        self._log: deque[float] = deque()
        """When each command of the last window went."""
        self._weight = _Counter(60)
        self._orders = ((_Counter(10), limits.orders_per_10s), (_Counter(60), limits.orders_per_minute))
        self._draws = {lane: draw(limits, lane) for lane in Lane}

    def take(self, lane: Lane, cost: Cost, now: float, utc_s: float) -> Lack | None:
        """Take what a request costs, now. None: it may go; otherwise nothing was taken."""
        lack = self.lack(lane, cost, now, utc_s)
        if lack is None:
            self.charge(cost, now, utc_s)
        return lack

    def lack(self, lane: Lane, cost: Cost, now: float, utc_s: float) -> Lack | None:
        """What a request would have to wait for; None: nothing."""
        self._roll(now, utc_s)
        allowed = self._draws[lane]
        if cost.command:
            over = len(self._log) + 1 - allowed.commands
            if over > 0:
                return Lack(Resource.COMMANDS, self._log[over - 1] + self.limits.window_s - now)
            if self._tokens < allowed.tokens:
                return Lack(Resource.COMMANDS, (allowed.tokens - self._tokens) / allowed.refill_per_s)
        # A request that weighs more than a small share of the limit goes when it is the first of its minute.
        if cost.weight and self._weight.used and self._weight.used + cost.weight > allowed.weight:
            return Lack(Resource.WEIGHT, self._weight.ends - now)
        if cost.orders:
            kept = 0 if lane is Lane.EXITS else self.limits.reserve
            full = [counter.ends for counter, limit in self._orders if counter.used + cost.orders > limit - kept]
            if full:
                return Lack(Resource.ORDERS, max(full) - now)
        return None

    def charge(self, cost: Cost, now: float, utc_s: float) -> None:
        """Count a request that goes, whether or not there was room for it."""
        self._roll(now, utc_s)
        if cost.command:
            self._tokens -= 1
            self._log.append(now)
        self._weight.used += cost.weight
        for counter, _ in self._orders:
            counter.used += cost.orders

    def heard(
        self, weight: int | None, orders_10s: int | None, orders_1m: int | None, now: float, utc_s: float
    ) -> None:
        """The venue's own counts, from the headers of a reply; None: it did not say."""
        self._roll(now, utc_s)
        self._weight.heard(weight)
        for (counter, _), used in zip(self._orders, (orders_10s, orders_1m), strict=True):
            counter.heard(used)

    def used_weight(self, now: float, utc_s: float) -> int:
        """Weight of this minute."""
        self._roll(now, utc_s)
        return self._weight.used

    def shrink(self, share: float, now: float) -> None:
        """From now on others take the rest of the limits, unseen: begin with an empty bucket, so that all together keep to them."""
        self._set_share(share)
        self._tokens = min(self._tokens, 0.0)
        self._updated = now

    def whole(self) -> None:
        """From now on this budget sees everything that is taken, or somebody else who does is asked besides."""
        self._set_share(1.0)

    def _set_share(self, share: float) -> None:
        self._draws = {lane: draw(self.limits, lane, share) for lane in Lane}

    def _roll(self, now: float, utc_s: float) -> None:
        paced = self._draws[Lane.ENTRIES]
        self._tokens = min(paced.capacity, self._tokens + (now - self._updated) * paced.refill_per_s)
        self._updated = now
        while self._log and self._log[0] <= now - self.limits.window_s:
            self._log.popleft()
        self._weight.roll(now, utc_s)
        for counter, _ in self._orders:
            counter.roll(now, utc_s)
