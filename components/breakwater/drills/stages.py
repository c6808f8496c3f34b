"""Where a drill takes place: in memory under virtual time, or on a real Valkey and HTTP."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from breakwater.desk.ports import DeskPorts
from breakwater.desk.wall import RealPorts
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Endpoint
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.http import serve_http
from breakwater.paper_venue.markets import Market
from breakwater.paper_venue.markets.until import Until
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import wall_clocks
from breakwater.simulation.run import Simulation
from breakwater.simulation.world import SimulatedWorld

LEAD = timedelta(seconds=60)
"""Market time before the first tick, in which the desk starts."""
WALL_LEAD_SECONDS = 10.0
"""The same on the wall: a real desk needs seconds to start, whatever the market's speed."""


@dataclass
class Stage:
    """``drive(end)`` lets the market run to ``end``; ``emitted`` is when, by ``time.perf_counter``, each tick left the venue."""

    ports: DeskPorts
    venue: PaperVenue
    drive: Callable[[datetime], Awaitable[None]]
    emitted: dict[int, float] = field(default_factory=dict)


def _stage(ports: DeskPorts, venue: PaperVenue, market: Market) -> Stage:
    emitted: dict[int, float] = {}

    def note(tick: Tick) -> None:
        # Two symbols tick at one instant: the first of them is what latency is measured from.
        emitted.setdefault(tick.time_ms, time.perf_counter())

    async def run(end: datetime) -> None:
        await drive(venue, Until(market, to_ms(end)), ports.clocks, before_tick=note)

    return Stage(ports, venue, run, emitted)


@contextmanager
def own_directory(given: Path | None) -> Iterator[Path]:
    """``given``, made if missing and kept; else a temporary one that is removed afterwards."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="breakwater-drill-") as directory:
        yield Path(directory)


@asynccontextmanager
async def memory_stage(
    simulation: Simulation, market: Market, config: VenueConfig, *, desk: DeskId, data: DataKind
) -> AsyncIterator[Stage]:
    """A stage in virtual time; the simulation starts LEAD before the market."""
    venue = PaperVenue(config)
    backfill(venue, market, market.start_ms)
    world = SimulatedWorld(simulation, venue, desk=desk, data=data)
    try:
        yield _stage(world.ports, venue, market)
    finally:
        await world.close()


@asynccontextmanager
async def wall_stage(
    market: Market, config: VenueConfig, *, desk: DeskId, data: DataKind, start: datetime, speed: float
) -> AsyncIterator[Stage]:
    """A stage on a real Valkey and HTTP, in a directory of its own that is removed afterwards."""
    clocks = wall_clocks(speed=speed, market_anchor=start - timedelta(seconds=WALL_LEAD_SECONDS * speed))
    venue = PaperVenue(config)
    backfill(venue, market, market.start_ms)
    server = await serve_http(venue, "127.0.0.1", 0, clocks)
    try:
        with own_directory(None) as directory:
            endpoint = Endpoint(server.url, server.url.replace("http", "ws", 1))
            real = RealPorts(directory, clocks, desk=desk, data=data, venue=endpoint)
            try:
                yield _stage(await real.start(), venue, market)
            finally:
                await real.stop()
    finally:
        await server.stop()
