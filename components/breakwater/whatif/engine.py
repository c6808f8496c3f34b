"""Runs one policy over the scenario in virtual time: a whole desk, its paper venue, the market and the signals."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.ai_engine.source import SignalSource
from breakwater.desk.desk import Desk
from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.desk.recording import Given
from breakwater.desk.sources import signal_source
from breakwater.domain.ids import DeskId, RequestId
from breakwater.domain.limits import effective_limits
from breakwater.domain.money import ZERO, to_cents
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import AccountConfig, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.markets.until import Until
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.world import SimulatedWorld
from breakwater.whatif.report import LimitsReport, OrdersReport, RunReport, TripReport
from breakwater.whatif.scenario import Scenario, Side
from breakwater.whatif.watch import Tripped, Watch

DESK = DeskId("whatif")
LEAD = timedelta(seconds=10)
"""Market time before the first tick, in which the desk starts; shorter than the silence after which streams connect again."""
SETTLE_SECONDS = 30.0
"""Time that the desk gets to agree with the venue once the market has ended."""
SEED = 1
"""The same for every run: what differs between two runs is the policy."""


def run_side(scenario: Scenario, side: Side) -> RunReport:
    """One run from start to end. The same scenario and side give the same report."""

    async def run(simulation: Simulation) -> RunReport:
        return await _Run(simulation, scenario, side).run()

    return run_virtual(run, seed=SEED, start=scenario.start - LEAD)


class _Run:
    def __init__(self, simulation: Simulation, scenario: Scenario, side: Side) -> None:
        self._scenario, self._side = scenario, side
        self._clocks = simulation.clocks
        account = AccountConfig(
            "whatif", PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=scenario.starting_equity
        )
        self._market = scenario.market()
        self._venue = PaperVenue(VenueConfig(symbols=scenario.specs, accounts=(account,)))
        backfill(self._venue, self._market, self._market.start_ms)
        self._world = SimulatedWorld(simulation, self._venue, desk=DESK, data=scenario.data)
        self._desk = Desk(self._world.ports, self._sources())
        self._watch = Watch(self._world.ports.bus("whatif"), start=scenario.start, end=scenario.end)

    def _sources(self) -> list[SignalSource]:
        """The built-in source that was named; recorded signals have their own names and come through `_play`."""
        if self._scenario.recorded is not None:
            return []
        source = signal_source(self._scenario.signals_name, self._clocks.infra)
        if self._scenario.auto_reset:
            source.ends_at_first_trip = False
        return [source]

    async def run(self) -> RunReport:
        await self._watch.start()
        await self._desk.start(self._side.manifests, who="whatif")
        helpers = [asyncio.ensure_future(self._play(self._scenario.recorded or ()))]
        if self._scenario.auto_reset:
            helpers.append(asyncio.ensure_future(self._person()))
        running = asyncio.ensure_future(self._desk.run())
        until = Until(self._market, to_ms(self._scenario.end))
        market = asyncio.ensure_future(drive(self._venue, until, self._clocks))
        try:
            await asyncio.wait([market, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            market.result()
            await self._settle()
            return self._report()
        finally:
            tasks = (*helpers, running, market)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await self._desk.stop()
            await self._watch.stop()
            await self._world.close()
            for outcome in ended[: len(helpers)]:
                if isinstance(outcome, Exception):
                    raise outcome

    async def _play(self, recorded: tuple[Given, ...]) -> None:
        """Each recorded signal at its time, with the source, models and id that it had."""
        for given in recorded:
            signal = given.signal
            await self._clocks.market.sleep_until(given.time)
            await self._desk.ai_engine.replay(signal)

    # ------------------------------------------------------------------------------------------ the person

    async def _person(self) -> None:
        """With --auto-reset: asks as soon as the cooldown is over, with a new baseline if need be, else the next day again."""
        watch, asked = self._watch, 0
        while True:
            await watch.wait_for(lambda: watch.state is StopState.COOLING_DOWN)
            assert watch.lease is not None
            until = watch.lease.view.cooling_down_until or self._clocks.market.now()
            await self._clocks.market.sleep_until(until + timedelta(seconds=1))
            for new_baseline in (False, True):
                asked += 1
                answer = await self._ask(f"whatif-{asked}", new_baseline=new_baseline)
                if answer.accepted:
                    await watch.wait_for(lambda: watch.state is not StopState.COOLING_DOWN)
                    break
            else:
                await self._clocks.market.sleep_until(_next_try(self._clocks.market.now()))

    async def _ask(self, request: str, *, new_baseline: bool) -> RequestOutcome:
        return await self._desk.emergency_stop.submit(
            StopRequest(
                kind=StopRequestKind.RESET,
                request_id=RequestId(request),
                reason="what-if with --auto-reset",
                who="whatif",
                trip_id=self._watch.trips[-1].trip.trip_id,
                new_baseline=new_baseline,
            )
        )

    # ------------------------------------------------------------------------------------------ the end

    async def _settle(self) -> None:
        """Wait until the desk has compared its books with the venue's once more after the last tick, or its time is up."""
        watch, target = self._watch, self._watch.account_events + 2

        def agreed() -> bool:
            return watch.account_events >= target and watch.snapshot is not None and watch.snapshot.reconciled

        agreeing = asyncio.ensure_future(watch.wait_for(agreed))
        limit = asyncio.ensure_future(self._clocks.infra.sleep(SETTLE_SECONDS))
        await asyncio.wait([agreeing, limit], return_when=asyncio.FIRST_COMPLETED)
        for task in (agreeing, limit):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _report(self) -> RunReport:
        watch, side = self._watch, self._side
        account = self._venue.account_report(PAPER_CREDENTIALS.api_key)
        in_force = self._desk.policy.current()
        assert in_force is not None
        ours = watch.snapshot.equity if watch.snapshot else self._scenario.starting_equity
        watch.curve.add(self._scenario.end, account.equity)
        spec, stop = side.manifests.policy.spec, side.manifests.stop.spec
        limits = effective_limits(spec, stop)
        return RunReport(
            name=side.name,
            profile=spec.profile.value,
            sha256=in_force.digest,
            symbols=spec.symbols,
            limits=LimitsReport(
                max_risk_per_trade_pct=limits.max_risk_per_trade_pct.value,
                max_daily_drawdown_pct=limits.max_daily_drawdown_pct.value,
                max_open_loss_pct=limits.max_open_loss_pct.value,
                max_leverage=limits.max_leverage.value,
                max_exposure_pct=limits.max_exposure_pct.value,
                max_concurrent_positions=limits.max_concurrent_positions.value,
            ),
            trips=tuple(map(_trip, watch.trips)),
            resets=watch.resets,
            state_at_end=watch.state.value if watch.state else "UNKNOWN",
            worst_daily_drawdown_pct=_percent(watch.drawdown[0]),
            worst_daily_drawdown_at=watch.drawdown[1],
            worst_open_loss_pct=_percent(watch.open_loss[0]),
            worst_open_loss_at=watch.open_loss[1],
            peak_exposure_pct=_percent(watch.exposure),
            signals=watch.signals,
            orders=OrdersReport(
                submitted=len(watch.submitted),
                filled=len(watch.filled),
                failed=len(watch.failures),
                refused=watch.refused.total(),
                refused_by_code=dict(sorted(watch.refused.items())),
                refused_by=dict(sorted(watch.refused_by.items())),
            ),
            fills=len(watch.fills),
            fees=to_cents(watch.fees),
            funding=to_cents(
                _funding(self._scenario, account.wallet, account.realized_total, account.commission_total)
            ),
            liquidations=watch.liquidations,
            starting_equity=to_cents(self._scenario.starting_equity),
            final_equity=to_cents(account.equity),
            lowest_equity=to_cents(ours if watch.lowest_equity is None else watch.lowest_equity),
            ledger_difference=to_cents(ours - account.equity),
            positions_at_end=len(account.positions),
            equity_curve=tuple((moment, to_cents(equity)) for moment, equity in watch.curve.points()),
        )


def _funding(scenario: Scenario, wallet: Decimal, realised: Decimal, commission: Decimal) -> Decimal:
    """What moved the venue's wallet besides trades: received is positive."""
    return wallet - scenario.starting_equity - realised + commission


def _next_try(now: datetime) -> datetime:
    """A second into the next trading day."""
    return now.replace(hour=0, minute=0, second=1, microsecond=0) + timedelta(days=1)


def _trip(tripped: Tripped) -> TripReport:
    trip = tripped.trip
    return TripReport(
        time=trip.time,
        trigger=trip.trigger.value,
        measured=None if trip.measured is None else _percent(trip.measured),
        limit=None if trip.limit is None else _percent(trip.limit),
        binding=trip.binding,
        flat_at=tripped.flat_at,
        reset_at=tripped.reset_at,
    )


def _percent(value: Decimal) -> Decimal:
    return ZERO.quantize(_FOUR) if not value else value.quantize(_FOUR)


_FOUR = Decimal("0.0001")
