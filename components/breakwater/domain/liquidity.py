"""How easily a position can be left: 24 h volume and spread, and the leverage they allow."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.money import HUNDRED, ZERO

UNKNOWN_LIQUIDITY_LEVERAGE = 10

VOLUME_GOOD_FOR = timedelta(minutes=30)
SPREAD_GOOD_FOR = timedelta(minutes=5)
"""Market time for which a figure counts."""

_BY_VOLUME = ((Decimal(10_000_000), 3), (Decimal(50_000_000), 5), (Decimal(250_000_000), 10))
_BY_SPREAD_PCT = ((Decimal("0.10"), 3), (Decimal("0.05"), 5), (Decimal("0.02"), 10))


class LeverageCap(msgspec.Struct, frozen=True):
    """The highest leverage something allows, and its name among the steps of a size."""

    leverage: int
    name: str


class Liquidity(msgspec.Struct, frozen=True):
    """What is known of a symbol's liquidity. None: nothing is."""

    volume_24h_usd: Decimal | None = None
    spread_pct: Decimal | None = None
    """(best ask - best bid) / mid, in percent."""
    stale: bool = False
    """A figure is too old: it still lowers leverage, but no longer allows more than an unknown one does."""

    def leverage_cap(self) -> LeverageCap | None:
        """Highest leverage the liquidity allows; None when it sets no bound. What is unknown allows the default of 10."""
        caps: list[LeverageCap] = []
        if self.volume_24h_usd is not None:
            caps += [LeverageCap(cap, "liquidity") for below, cap in _BY_VOLUME if self.volume_24h_usd < below]
        if self.spread_pct is not None:
            caps += [LeverageCap(cap, "liquidity") for above, cap in _BY_SPREAD_PCT if self.spread_pct > above]
        if self.stale or self.volume_24h_usd is None or self.spread_pct is None:
            caps.append(LeverageCap(UNKNOWN_LIQUIDITY_LEVERAGE, "liquidityUnknown"))
        return min(caps, key=lambda cap: cap.leverage, default=None)


class LiquidityReading(msgspec.Struct, frozen=True):
    """A symbol's figures, each with the market time it is from. None: not read yet."""

    symbol: Symbol
    volume_24h_usd: Decimal | None = None
    volume_at: datetime | None = None
    spread_pct: Decimal | None = None
    """Median of the last samples, in percent of the mid price."""
    spread_at: datetime | None = None

    def at(self, now: datetime) -> Liquidity:
        """What it still says at market time ``now``. A time in the future is as little worth as one long past."""
        stale = any(
            time is not None and abs(now - time) > good_for
            for time, good_for in ((self.volume_at, VOLUME_GOOD_FOR), (self.spread_at, SPREAD_GOOD_FOR))
        )
        return Liquidity(self.volume_24h_usd, self.spread_pct, stale)


def spread_pct(bid: Decimal, ask: Decimal) -> Decimal:
    """(ask - bid) / mid in percent. Raises ValueError for a book that is empty or crossed."""
    if bid <= ZERO or ask <= bid:
        raise ValueError(f"best bid {bid} and best ask {ask} are no market")
    return (ask - bid) * 2 * HUNDRED / (ask + bid)
