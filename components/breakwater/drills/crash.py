"""The crash drill: an isolated paper desk is led through a market that hurts, and has to come out whole.

Rules (docs/reference/drills.md): equity 14,000; leverage 10; a signal source that keeps asking to be long; 60 ticks a candle;
fee and slippage 0.05 % each way; the person in the drill asks for a reset too early, then without and then with a new baseline.
``speed="max"`` runs in virtual time and in memory, a number runs on a real Valkey and HTTP that many times faster than the wall.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

from breakwater.desk.desk import Desk
from breakwater.desk.observer import Observer
from breakwater.desk.ports import PAPER_CREDENTIALS, DeskPorts
from breakwater.desk.sources import DeskInputError, desk_manifests, restricted_to, signal_source
from breakwater.domain.ids import DeskId, RequestId
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import to_cents
from breakwater.domain.refusals import Refusal
from breakwater.domain.signals import DataKind
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind
from breakwater.drills.report import CrashReport, LedgerReport, OrdersReport, ResetReport, trip_report
from breakwater.drills.stages import LEAD, Stage, memory_stage, wall_stage
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import AccountConfig, VenueConfig, spec_for
from breakwater.paper_venue.markets import Market, ReplayMarket, SyntheticMarket
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.manifests import DeskManifests
from breakwater.simulation.run import Simulation, run_virtual

DESK = DeskId("drill")
STARTING_EQUITY = Decimal(14_000)
SYNTHETIC_SYMBOLS = ("BTCUSDT", "ETHUSDT")
SETTLE_SECONDS = 30.0
"""Infrastructure seconds that the desk gets to agree with the venue once the market has ended."""


@dataclass(frozen=True)
class CrashOptions:
    """``market``: candle files, or ``synthetic:SEED`` (its crash lies a third of the way from start to end)."""

    market: tuple[str | Path, ...]
    start: datetime
    end: datetime
    signals: str = "long"
    speed: float | Literal["max"] = "max"
    policy: Path | None = None
    stop: Path | None = None


def run_crash(options: CrashOptions) -> CrashReport:
    """Run the drill to its end. Raises DeskInputError, ManifestError, MarketFileError for what cannot be used."""
    market = _market(options)
    manifests = _manifests(options, market)
    config = VenueConfig(
        symbols=tuple(spec_for(symbol) for symbol in market.symbols),
        accounts=(
            AccountConfig(
                "drill", PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=STARTING_EQUITY
            ),
        ),
    )
    data = DataKind.SYNTHETIC if isinstance(market, SyntheticMarket) else DataKind.REPLAY
    if options.speed == "max":

        async def in_memory(simulation: Simulation) -> CrashReport:
            async with memory_stage(simulation, market, config, desk=DESK, data=data) as stage:
                return await _Drill(options, manifests, stage).run()

        return run_virtual(in_memory, seed=1, start=options.start - LEAD)

    speed = float(options.speed)

    async def on_the_wall() -> CrashReport:
        async with wall_stage(market, config, desk=DESK, data=data, start=options.start, speed=speed) as stage:
            return await _Drill(options, manifests, stage).run()

    return asyncio.run(on_the_wall())


def _market(options: CrashOptions) -> Market:
    names = [str(item) for item in options.market]
    if not names:
        raise DeskInputError("the drill needs a market: candle files, or synthetic:SEED")
    if len(names) == 1 and names[0].split(":")[0] == "synthetic":
        seed = names[0].partition(":")[2] or "1"
        if not seed.isdecimal():
            raise DeskInputError(f"market {names[0]!r}: the seed must be a whole number, for example synthetic:7")
        crash_at = options.start + (options.end - options.start) / 3
        return SyntheticMarket(int(seed), SYNTHETIC_SYMBOLS, options.start, crash_at=crash_at)
    return ReplayMarket([Path(name) for name in names], options.start, options.end)


def _manifests(options: CrashOptions, market: Market) -> DeskManifests:
    chosen = desk_manifests(profile=None, policy=options.policy, stop=options.stop)
    return restricted_to(chosen, market.symbols, extend=options.policy is None)


class _GateWatch:
    """When the gate closed, on the wall, and which snapshot was the first over a limit."""

    def __init__(self) -> None:
        self._closed: list[float] = []
        self._breach: datetime | None = None

    def gate_closed(self, tick: datetime | None, why: Refusal) -> None:
        self._closed.append(time.perf_counter())

    def snapshot(self, snapshot: Snapshot, limits: EffectiveLimits) -> None:
        over = (
            snapshot.daily_drawdown_pct >= limits.max_daily_drawdown_pct.value
            or snapshot.open_loss_pct >= limits.max_open_loss_pct.value
        )
        if over and self._breach is None:
            self._breach = snapshot.time

    def milliseconds(self, emitted: dict[int, float]) -> float | None:
        """From the breaching tick to the gate closing; 0 when it was closed already; None when there was no breach."""
        tick = emitted.get(to_ms(self._breach)) if self._breach else None
        if tick is None:
            return None
        closed = next((moment for moment in self._closed if moment >= tick), None)
        return 0.0 if closed is None else (closed - tick) * 1000


class _Drill:
    def __init__(self, options: CrashOptions, manifests: DeskManifests, stage: Stage) -> None:
        self._options = options
        self._manifests = manifests
        self._stage = stage
        ports: DeskPorts = stage.ports
        self._clocks: Clocks = ports.clocks
        self._desk = Desk(ports, [signal_source(options.signals, ports.clocks.infra)], end_signals_at_first_trip=True)
        self._watch = _GateWatch()
        self._desk.execution.on_gate_closed = self._watch.gate_closed
        self._observer = Observer(ports.bus("drill"), on_snapshot=self._snapshot)
        self._reset = ResetReport()

    async def run(self) -> CrashReport:
        began = time.perf_counter()
        await self._observer.start()
        await self._desk.start(self._manifests, who="drill")
        person = asyncio.ensure_future(self._person())
        running = asyncio.ensure_future(self._desk.run())
        market = asyncio.ensure_future(self._stage.drive(self._options.end))
        try:
            await asyncio.wait([market, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            market.result()
            await self._settle()
            return self._report(time.perf_counter() - began)
        finally:
            for task in (person, running, market):
                task.cancel()
            failed = await asyncio.gather(person, running, market, return_exceptions=True)
            await self._desk.stop()
            await self._observer.stop()
            if isinstance(failed[0], Exception):
                raise failed[0]

    def _snapshot(self, snapshot: Snapshot) -> None:
        policy = self._desk.policy.current()
        if policy is not None:
            self._watch.snapshot(snapshot, policy.limits)

    # ------------------------------------------------------------------------------------------ the person

    async def _person(self) -> None:
        """Asks for a reset too early, then with the cause still standing, then properly."""
        seen = self._observer
        await seen.wait_for(lambda: seen.cooling is not None and seen.lease is not None)
        early = await self._ask("drill-early")
        self._reset.early_refused, self._reset.early_code = not early.accepted, early.code
        assert seen.lease is not None
        until = seen.lease.view.cooling_down_until or self._clocks.market.now()
        await self._clocks.market.sleep_until(until + timedelta(seconds=1))
        again = await self._ask("drill-again")
        self._reset.refused_again_without_new_baseline = not again.accepted
        if not again.accepted:
            again = await self._ask("drill-new-baseline", new_baseline=True)
        self._reset.rearmed = again.accepted
        self._reset.rearmed_at = again.time if again.accepted else None

    async def _ask(self, request: str, *, new_baseline: bool = False) -> RequestOutcome:
        trip = self._observer.trip
        assert trip is not None
        assert trip.trip is not None
        return await self._desk.emergency_stop.submit(
            StopRequest(
                kind=StopRequestKind.RESET,
                request_id=RequestId(request),
                reason="crash drill",
                who="drill",
                trip_id=trip.trip.trip_id,
                new_baseline=new_baseline,
            )
        )

    # ------------------------------------------------------------------------------------------ the end

    async def _settle(self) -> None:
        """Wait until the desk has reconciled once more after the last tick, or its time is up."""
        seen = self._observer
        target = seen.account_events + 2

        async def agreed() -> None:
            await seen.wait_for(
                lambda: seen.account_events >= target and seen.snapshot is not None and seen.snapshot.reconciled
            )

        agreeing = asyncio.ensure_future(agreed())
        limit = asyncio.ensure_future(self._clocks.infra.sleep(SETTLE_SECONDS))
        await asyncio.wait([agreeing, limit], return_when=asyncio.FIRST_COMPLETED)
        for task in (agreeing, limit):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _report(self, duration: float) -> CrashReport:
        seen, venue = self._observer, self._stage.venue
        account = venue.account_report(PAPER_CREDENTIALS.api_key)
        tripped = seen.trip.trip if seen.trip else None
        after_trip = 0
        if tripped is not None:
            rearmed_ms = to_ms(self._reset.rearmed_at) if self._reset.rearmed_at else None
            after_trip = sum(
                1
                for order in venue.audit.risk_increasing_since(to_ms(tripped.time))
                if rearmed_ms is None or order.market_ms <= rearmed_ms
            )
        ours = seen.snapshot.equity if seen.snapshot else Decimal(0)
        return CrashReport(
            tripped=tripped is not None,
            trip=trip_report(tripped) if tripped else None,
            gate_closed_ms=_milliseconds(self._watch.milliseconds(self._stage.emitted)),
            flat_at=seen.flat.time if seen.flat else None,
            risk_increasing_orders_accepted_after_trip=after_trip,
            positions_at_end=len(account.positions),
            open_orders_at_end=len(account.open_orders) + len(account.open_algo_orders),
            orders=OrdersReport(
                submitted=len(seen.submitted),
                filled=len({fill.client_order_id for fill in seen.fills}),
                refused_by_code=dict(sorted(seen.refused.items())),
            ),
            ledger=LedgerReport(
                breakwater_equity=to_cents(ours),
                venue_equity=to_cents(account.equity),
                difference=to_cents(ours - account.equity),
            ),
            reset=self._reset,
            state_at_end=seen.state.value if seen.state else "UNKNOWN",
            duration_s=round(duration, 2),
        )


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
