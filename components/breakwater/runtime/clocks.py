"""Two clocks. Market time drives candles, cooldowns and the trading day; infrastructure time drives leases, timeouts and back-off."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class MarketClock(Protocol):
    """Time as the market lives it (UTC). May run faster than the wall."""

    def now(self) -> datetime: ...

    async def sleep_until(self, moment: datetime) -> None:
        """Return once ``now() >= moment``; at once if it already is."""
        ...


class InfraClock(Protocol):
    """Time as the machine lives it. Never scaled."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    def utc_now(self) -> datetime:
        """Wall time, for signing requests and stamping records that other machines read."""
        ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Clocks:
    market: MarketClock
    infra: InfraClock

    @property
    def speed(self) -> float:
        """How many times as fast as the machine's time market time runs; 1 in the virtual-time kernel."""
        return float(getattr(self.market, "speed", 1.0))


class WallInfraClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def utc_now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


class ScaledMarketClock:
    """Market time that runs ``speed`` times as fast as the wall, from an anchor shared by every process of a desk.

    ``speed`` 1 with an anchor equal to the wall is plain UTC. At most 60: beyond that timeouts on the
    infrastructure clock would span hours of market time; use the virtual-time kernel instead.
    """

    def __init__(
        self,
        infra: InfraClock,
        *,
        speed: float = 1.0,
        market_anchor: datetime | None = None,
        wall_anchor: datetime | None = None,
    ) -> None:
        if not 0 < speed <= 60:
            raise ValueError(
                f"speed {speed} is out of range: choose more than 0 and at most 60, or 'max' where it is offered"
            )
        self._infra = infra
        self.speed = speed
        self.wall_anchor = wall_anchor or infra.utc_now()
        self.market_anchor = market_anchor or self.wall_anchor
        # The monotonic clock carries time from here on, so a step of the wall clock never moves the market.
        elapsed = (infra.utc_now() - self.wall_anchor).total_seconds()
        self._start = self.market_anchor + timedelta(seconds=elapsed * speed)
        self._mono = infra.monotonic()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=(self._infra.monotonic() - self._mono) * self.speed)

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            await self._infra.sleep(left / self.speed)


def wall_clocks(
    *, speed: float = 1.0, market_anchor: datetime | None = None, wall_anchor: datetime | None = None
) -> Clocks:
    """The clocks of a process that runs for real."""
    infra = WallInfraClock()
    return Clocks(ScaledMarketClock(infra, speed=speed, market_anchor=market_anchor, wall_anchor=wall_anchor), infra)
