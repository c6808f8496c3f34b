"""The paper venue as a component: venue, market, server and saved state, wired together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from breakwater.paper_venue.clock import to_datetime, to_ms, venue_now
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, catch_up, drive, resume_point
from breakwater.paper_venue.faults.plan import FaultPlan
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.markets import LiveFeed, Market
from breakwater.paper_venue.model import Tick, VenueState
from breakwater.paper_venue.probes import clock_route, metrics_route, probe_routes
from breakwater.paper_venue.state_file import VenueStateFile
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.lifecycle import Check
from breakwater.runtime.metrics import ProcessMetrics

log = structlog.get_logger(__name__)


class PaperVenueService:
    """Serve a market until it ends or `run` is cancelled.

    A state file makes it continue where it was: accounts, orders and prices come back, and ticks that passed
    meanwhile are delivered first, so that stops fire as they would have. Until that is done nobody is let in: who
    connects again finds the present, what happened as trades and orders, and the candles of the gap as history.
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
        clock_answer: Mapping[str, object] | None = None,
        metrics: ProcessMetrics | None = None,
        faults: FaultPlan | None = None,
        faults_at_run_time: bool = False,
    ) -> None:
        """`state` is what `VenueStateFile(state_path).load()` gave when the caller has read it already.

        `clock_answer` is what `GET /v1/clock` answers (the path is unknown without it), `metrics` what `GET /metrics` does.
        `faults` go wrong from the moment the venue is up; `faults_at_run_time` lets them be changed over HTTP.
        """
        self._market = market
        self._clocks = clocks
        self._state_file = VenueStateFile(state_path) if state_path is not None else None
        if state is None and self._state_file is not None:
            state = self._state_file.load()
        self.venue = PaperVenue(config, state=state)
        own = probe_routes(self.liveness, self.readiness)
        own |= clock_route(clock_answer) if clock_answer is not None else {}
        if metrics is not None:
            metrics.before_reading(lambda: metrics.heartbeat.set(self._seen_at))
            own |= metrics_route(metrics)
        self._faults = FaultWire(self.venue)
        self._plan = faults or FaultPlan()
        self.server = VenueServer(
            self.venue,
            host,
            port,
            clocks,
            own=own,
            closed=self._closed_because,
            faults=self._faults,
            faults_at_run_time=faults_at_run_time,
        )
        self._resume_ms: int | None = None
        self._caught_up = False
        self._ended = False
        self._failed = ""
        self._seen_at = 0.0
        """Unix time of the last tick's delivery."""

    @property
    def url(self) -> str:
        """Base URL once started."""
        return self.server.url

    async def start(self) -> None:
        """Backfill, restore, bind, and catch up with the market. Raises PortInUseError, StateFileError."""
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
        self._resume_ms = await catch_up(
            self.venue, self._market, self._clocks, after_ms=self._resume_ms, on_tick=self._after_tick
        )
        self._caught_up = True
        self._faults.load(self._plan, venue_now(self._clocks))
        log.info("paper_venue_started", url=self.url, symbols=list(self._market.symbols))

    def liveness(self) -> dict[str, Check]:
        return {"paper_venue.market": Check(not self._failed, self._failed or "running")}

    def readiness(self) -> dict[str, Check]:
        """Ready once the market is where its clock is; a market that has ended stands still there."""
        where = "ended: prices stand still" if self._ended else "running"
        return {**self.liveness(), "paper_venue.present": Check(self._caught_up, self._closed_because() or where)}

    def _closed_because(self) -> str:
        if self._caught_up:
            return ""
        now = venue_now(self._clocks).market_ms
        at = to_datetime(self.venue.to_state().market_ms or now)
        return f"The market is catching up with its clock: at {at:%Y-%m-%d %H:%M:%S} of {to_datetime(now):%Y-%m-%d %H:%M:%S}."

    def _rebuild_open_candles(self, seen_ms: int) -> None:
        """Ticks of the unfinished candle that were seen before the restart: they shape it, nothing more."""
        opened_ms = seen_ms - seen_ms % self._market.interval_ms
        for tick in self._market.ticks(opened_ms - 1):
            if tick.time_ms > seen_ms:
                break
            self.venue.candles.add(tick)

    async def run(self) -> None:
        """Drive the market; returns when it has no more ticks."""
        try:
            if isinstance(self._market, LiveFeed):
                await self._market.feed(self._take)
            await drive(
                self.venue,
                self._market,
                self._clocks,
                after_ms=self._resume_ms,
                before_tick=lambda _: self._faults.pass_time(venue_now(self._clocks)),
                on_tick=self._after_tick,
            )
        except Exception as error:
            self._failed = repr(error)
            raise
        self._ended = True

    def _take(self, tick: Tick) -> None:
        """A tick of the present."""
        now = venue_now(self._clocks)
        self._faults.pass_time(now)
        self.venue.on_tick(tick, now)
        self._after_tick(tick)

    async def stop(self) -> None:
        await self.server.stop()
        if self._state_file is not None:
            self.venue.on_change = None
            self._state_file.close(self.venue)

    def _save(self) -> None:
        assert self._state_file is not None
        self._state_file.save(self.venue)

    def _after_tick(self, tick: Tick) -> None:
        self._seen_at = self._clocks.infra.utc_now().timestamp()
        if self._state_file is not None:
            self._state_file.save_prices(self.venue, self._clocks.infra.monotonic())
