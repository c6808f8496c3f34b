"""The paper venue as a component: venue, market, server and saved state, wired together."""

from __future__ import annotations

from pathlib import Path

import structlog

from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive, resume_point
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import Market
from breakwater.paper_venue.model import Tick, VenueState
from breakwater.paper_venue.state_file import VenueStateFile
from breakwater.runtime.clocks import Clocks

log = structlog.get_logger(__name__)


class PaperVenueService:
    """Serve a market until it ends or `run` is cancelled.

    A state file makes it continue where it was: accounts, orders and prices come back, and ticks that passed
    meanwhile are delivered first, so that stops fire as they would have.
    """

    def __init__(
        self,
        config: VenueConfig,
        market: Market,
        clocks: Clocks,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        state_path: Path | None = None,
        state: VenueState | None = None,
    ) -> None:
        """`state` is what `VenueStateFile(state_path).load()` gave when the caller has read it already."""
        self._market = market
        self._clocks = clocks
        self._state_file = VenueStateFile(state_path) if state_path is not None else None
        if state is None and self._state_file is not None:
            state = self._state_file.load()
        self.venue = PaperVenue(config, state=state)
        self.server = VenueServer(self.venue, host, port, clocks)
        self._resume_ms: int | None = None

    @property
    def url(self) -> str:
        """Base URL once started."""
        return self.server.url

    async def start(self) -> None:
        """Backfill, restore and bind. Raises PortInUseError, StateFileError."""
        now_ms = to_ms(self._clocks.market.now())
        self._resume_ms = resume_point(self.venue, self._market)
        if self._resume_ms is None and now_ms > self._market.start_ms:
            # A new venue joins the market as it is now; what happened before is history.
            self._resume_ms = now_ms - now_ms % self._market.interval_ms - 1
        backfill(self.venue, self._market, (self._resume_ms or self._market.start_ms - 1) + 1)
        if self._resume_ms is not None:
            self._rebuild_open_candles(self._resume_ms)
        self.venue.to_state().market_origin_ms = self._market.start_ms
        if self._state_file is not None:
            self._state_file.open(self.venue)
            self.venue.on_change = self._save
        await self.server.start()
        log.info("paper_venue_started", url=self.url, symbols=list(self._market.symbols))

    def _rebuild_open_candles(self, seen_ms: int) -> None:
        """Ticks of the unfinished candle that were seen before the restart: they shape it, nothing more."""
        opened_ms = seen_ms - seen_ms % self._market.interval_ms
        for tick in self._market.ticks(opened_ms - 1):
            if tick.time_ms > seen_ms:
                break
            self.venue.candles.add(tick)

    async def run(self) -> None:
        """Drive the market; returns when it has no more ticks."""
        await drive(self.venue, self._market, self._clocks, after_ms=self._resume_ms, on_tick=self._after_tick)

    async def stop(self) -> None:
        await self.server.stop()
        if self._state_file is not None:
            self.venue.on_change = None
            self._state_file.close(self.venue)

    def _save(self) -> None:
        assert self._state_file is not None
        self._state_file.save(self.venue)

    def _after_tick(self, tick: Tick) -> None:
        if self._state_file is not None:
            self._state_file.save_prices(self.venue, self._clocks.infra.monotonic())
