"""Feeds a market's ticks to the venue when their market time comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from breakwater.paper_venue.clock import to_datetime, to_ms
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.markets import Market
from breakwater.paper_venue.model import Now, Tick
from breakwater.runtime.clocks import Clocks

BACKFILL_CANDLES = 2016
"""History loaded at the start, in candles of the market's own interval (7 days of 5 minutes)."""
CATCH_UP_BATCH = 500
"""Ticks handled at a stretch while behind the clock, before other work gets its turn."""


def backfill(venue: PaperVenue, market: Market, until_ms: int) -> None:
    """Give the venue the history of all the market's symbols that closed by `until_ms`."""
    for symbol in market.symbols:
        venue.backfill(market.history(symbol, market.interval_ms, until_ms, BACKFILL_CANDLES))


def resume_point(venue: PaperVenue, market: Market) -> int | None:
    """Market time of the latest tick a restored venue has seen, None for a new one."""
    seen = [venue.to_state().prices[s].time for s in market.symbols if s in venue.to_state().prices]
    latest = max(seen, default=None)
    return latest if latest is not None and latest >= market.start_ms else None


async def catch_up(
    venue: PaperVenue,
    market: Market,
    clocks: Clocks,
    *,
    after_ms: int | None,
    on_tick: Callable[[Tick], None] | None = None,
) -> int | None:
    """Deliver every tick that is due already, in order, stamped with its own market time; where `drive` goes on.

    About 70,000 ticks a second; a symbol has 60 in five minutes of market time, more at low speed.
    """
    for count, tick in enumerate(market.ticks(after_ms), start=1):
        if clocks.market.now() < to_datetime(tick.time_ms):
            break
        venue.on_tick(tick, Now(tick.time_ms, to_ms(clocks.infra.utc_now())))
        if on_tick is not None:
            on_tick(tick)
        after_ms = tick.time_ms
        if count % CATCH_UP_BATCH == 0:
            await asyncio.sleep(0)
    return after_ms


async def drive(
    venue: PaperVenue,
    market: Market,
    clocks: Clocks,
    *,
    after_ms: int | None = None,
    before_tick: Callable[[Tick], None] | None = None,
    on_tick: Callable[[Tick], None] | None = None,
) -> None:
    """Deliver every tick at its market time, until the market ends.

    `before_tick` sees a tick just before the venue does, `on_tick` just after.
    Ticks already due (a restart) are delivered at once, in order, stamped with their own market time.
    """
    behind = 0
    for tick in market.ticks(after_ms):
        moment = to_datetime(tick.time_ms)
        if clocks.market.now() < moment:
            behind = 0
            await clocks.market.sleep_until(moment)
        else:
            behind += 1
            if behind % CATCH_UP_BATCH == 0:
                await asyncio.sleep(0)
        if before_tick is not None:
            before_tick(tick)
        venue.on_tick(tick, Now(tick.time_ms, to_ms(clocks.infra.utc_now())))
        if on_tick is not None:
            on_tick(tick)
