"""Passes the venue's trading rules from the process that loaded them to those that do not talk to the venue."""

from __future__ import annotations

import asyncio

from breakwater.runtime.bus import Bus, BusUnavailable
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import Event, InstrumentsLoaded
from breakwater.runtime.instrument_book import InstrumentBook

RETRY_SECONDS = 1.0


async def announce_instruments(book: InstrumentBook, bus: Bus, clocks: Clocks) -> None:
    """Broadcast ``book`` now and after each update, for ever. Give it to ``service.spawn``."""
    changed = asyncio.Event()
    changed.set()
    book.on_update(changed.set)
    while True:
        await changed.wait()
        changed.clear()
        if len(book) == 0:
            continue
        try:
            await bus.set_state(InstrumentsLoaded(book.all()), time=clocks.market.now())
        except BusUnavailable:
            changed.set()
            await clocks.infra.sleep(RETRY_SECONDS)


def follow_instruments(book: InstrumentBook, bus: Bus) -> None:
    """Fill ``book`` from what others broadcast. Before the bus starts."""

    async def take(event: Event) -> None:
        if isinstance(event.payload, InstrumentsLoaded):
            book.update(event.payload.instruments)

    bus.watch_state(take, types=(InstrumentsLoaded,))
