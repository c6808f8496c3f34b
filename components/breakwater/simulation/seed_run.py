"""One seed: a whole desk in virtual time, its mishaps, and the invariants."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import structlog

from breakwater.desk.desk import Desk
from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.desk.sources import desk_manifests, restricted_to, signal_source
from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId
from breakwater.domain.money import floor_to
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_ms, venue_now
from breakwater.paper_venue.config import AccountConfig, Fills, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.markets import Crash, SyntheticMarket
from breakwater.paper_venue.markets.until import Until
from breakwater.paper_venue.model import Now
from breakwater.runtime.events import StopLease
from breakwater.runtime.manifests import DeskManifests
from breakwater.simulation.bus import MemoryBus
from breakwater.simulation.invariants import Invariants, Violation
from breakwater.simulation.plan import LEAD, SECONDS, SeedPlan, plan_for
from breakwater.simulation.process import SimulatedProcess
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.world import SimulatedWorld

log = structlog.get_logger(__name__)

DESK = DeskId("sim")
EQUITY = Decimal(14_000)
LOOK_S = 1.0
SETTLE_S = 40.0
"""Simulated seconds without mishaps at the end, before the books are compared."""
START_AGAIN_S = 1.0
"""Pause before a desk that could not start, or failed, is started again."""
STARTS_AT_MOST = 60


@dataclass(frozen=True)
class SeedReport:
    """What came of one seed. ``digest`` is equal for equal runs."""

    plan: SeedPlan
    violations: tuple[Violation, ...]
    sometimes: Counter[str]
    hours: float
    digest: str
    ledger_difference: Decimal | None
    """The ledger's equity less the venue's at the end, USDT; None: the ledger did not know it."""


def run_seed(
    seed: int, *, seconds: float = SECONDS, liquidity: Decimal | None = None, plan: SeedPlan | None = None
) -> SeedReport:
    """Run one seed to its end, in virtual time. Raises what the simulation itself cannot take (a deadlock, a bug in it).

    ``plan`` in place of the seed's own. With ``liquidity`` (USDT within 0.1 % of the price) the venue fills from a book of that depth, else everything at once.
    """
    chosen = plan or plan_for(seed)

    async def main(simulation: Simulation) -> SeedReport:
        return await _SeedRun(simulation, chosen, seconds, liquidity).run()

    return run_virtual(main, seed=seed, start=chosen.begin - LEAD)


class _SeedRun:
    def __init__(self, simulation: Simulation, plan: SeedPlan, seconds: float, liquidity: Decimal | None) -> None:
        self._sim = simulation
        self._plan = plan
        self._seconds = seconds
        aligned = plan.begin - timedelta(seconds=plan.begin.timestamp() % 300)
        crashes = [Crash(plan.crash_at, plan.crash_depth)] if plan.crash_at else []
        self._market = SyntheticMarket(plan.seed, plan.symbols, aligned, crashes=crashes)
        account = AccountConfig("sim", PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=EQUITY)
        symbols = tuple(map(spec_for, plan.symbols))
        if liquidity is not None:
            symbols = tuple(replace(spec, liquidity=liquidity) for spec in symbols)
        config = VenueConfig(
            symbols=symbols,
            accounts=(account,),
            fills=Fills.FULL if liquidity is None else Fills.BOOK,
            funding_interval_ms=plan.funding_every_s * 1000,
        )
        self.venue = PaperVenue(config)
        backfill(self.venue, self._market, to_ms(plan.begin))
        self._faults = FaultWire(self.venue)
        self._latency = plan.latency()
        self._world = SimulatedWorld(simulation, self.venue, desk=DESK, data=DataKind.SYNTHETIC)
        self.checks = Invariants(self.venue, self._world.broker, DESK, account.name)
        self.venue.on_change = self._venue_changed
        self._manifests = restricted_to(
            desk_manifests(profile=plan.profile, policy=None, stop=None), self._market.symbols, extend=True
        )
        self._process: SimulatedProcess | None = None
        self._desk: Desk | None = None
        self._living: asyncio.Task[None] | None = None
        self._fatal_order = asyncio.Event()
        self._killing = asyncio.Lock()
        self._over = False

    # ------------------------------------------------------------------------------------------------ the run

    async def run(self) -> SeedReport:
        watcher = MemoryBus(self._world.broker, DESK, "checker", self._sim.clocks.infra)
        watcher.watch_state(self._heard, types=(StopLease,))
        await watcher.start()
        self._faults.load(self._plan.faults, venue_now(self._sim.clocks))
        end = self._plan.begin + timedelta(seconds=self._seconds + SETTLE_S)
        works = [
            drive(self.venue, Until(self._market, to_ms(end)), self._sim.clocks, after_ms=to_ms(self._plan.begin)),
            self._look_often(),
            self._mishaps(),
            self._kill_at_order(),
        ]
        tasks = [asyncio.create_task(work, name=f"world-{n}") for n, work in enumerate(works)]
        # Whatever exists now outlives the desk's process.
        self._spared = asyncio.all_tasks()
        self._begin_life(self._manifests)
        try:
            await asyncio.wait(
                tasks,
                return_when=asyncio.FIRST_EXCEPTION,
                timeout=(LEAD.total_seconds() + self._seconds + SETTLE_S - 1.0),
            )
            for task in tasks:
                if task.done():
                    task.result()
            self._at_rest()
            return self._report()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._over = True
            await self._kill()
            await watcher.stop()

    def _at_rest(self) -> None:
        self.checks.now_s = self._sim.loop.time()
        desk = self._desk
        snapshot = desk.portfolio.snapshot if desk else None
        audit_ok = desk is not None and desk.emergency_stop.readiness()["audit"].ok
        self.checks.at_rest(snapshot, audit_ok=audit_ok)
        for failure in self._world.broker.failures:
            self.checks.broken(
                14, f"{failure.consumer} failed on {failure.type}: {failure.error!r}", key=failure.consumer
            )

    def _report(self) -> SeedReport:
        self.checks.sometimes["fault on the wire"] += sum(fired for _, _, fired in self._faults.report())
        self._sim.trace.record("audit", *(order.client_order_id for order in self.venue.audit))
        return SeedReport(
            self._plan,
            tuple(self.checks.violations),
            self.checks.sometimes,
            self._sim.loop.time() / 3600,
            self._sim.trace.digest,
            self.checks.ledger_difference,
        )

    # ------------------------------------------------------------------------------------------------ the desk's lives

    def _begin_life(self, manifests: DeskManifests | None) -> None:
        self._living = asyncio.create_task(self._live(manifests), name="desk-life")

    async def _live(self, manifests: DeskManifests | None) -> None:
        """Assemble and run; a desk that fails is replaced, as Kubernetes would."""
        infra = self._sim.clocks.infra
        for attempt in range(STARTS_AT_MOST):
            process = self._process = SimulatedProcess(
                self._world, latency=self._latency, on_request=self._request_leaves, faults=self._faults
            )
            desk = self._desk = Desk(process.ports, [signal_source(self._plan.source, infra)])
            try:
                await desk.start(manifests, who="simulation", otherwise=self._manifests)
                in_force = desk.policy.current()
                self.checks.limits = in_force.limits if in_force else None
                self.checks.now_s = self._sim.loop.time()
                self.checks.desk_is(running=True)
                await desk.run()
            except Exception as error:
                if not process.alive:
                    raise
                self.checks.sometimes["desk failed"] += 1
                log.warning("desk failed", attempt=attempt, error=repr(error))
                if self._world.broker.up:
                    self.checks.broken(14, f"the desk failed: {error!r}", key=type(error).__name__)
            await self._kill()
            await infra.sleep(START_AGAIN_S)
        self.checks.broken(14, "the desk would not start", key="start")

    async def _kill(self) -> None:
        process, self._process, self._desk = self._process, None, None
        if process is not None:
            self.checks.now_s = self._sim.loop.time()
            self.checks.desk_is(running=False)
            if not self._over and any(p.qty for p in self.venue.ledger.account("sim").positions.values()):
                self.checks.sometimes["killed while holding"] += 1
            spare = {*self._spared, asyncio.current_task(), self._living} - {None}
            if asyncio.current_task() is not self._living:
                spare.discard(self._living)
            await process.kill(spare)  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------ mishaps

    async def _mishaps(self) -> None:
        lead = LEAD.total_seconds()
        plan = self._plan
        agenda = [(at, 0, ("kill", gone)) for at, gone in plan.kills]
        for at, lasts in plan.outages:
            agenda += [(at, 1, ("away", lasts)), (at + lasts, 2, ("back", 0.0))]
        agenda += [(at, 3, ("drop", 0.0)) for at in plan.drops]
        agenda += [(at, 4, ("transfer", amount)) for at, amount in plan.transfers]
        agenda += [(at, 5, ("deleverage", 0.5)) for at in plan.deleveraged]
        outages = 0
        for at, _, (kind, value) in sorted(agenda):
            if at > self._seconds:
                break
            await self._sim.clocks.infra.sleep(at + lead - self._sim.loop.time())
            log.info("mishap", kind=kind, value=value)
            holding = any(p.qty for p in self.venue.ledger.account("sim").positions.values())
            match kind:
                case "kill":
                    await self._kill_and_restart(value)
                case "away":
                    outages += 1
                    self.checks.sometimes["outage while holding" if holding else "outage"] += 1
                case "back":
                    outages -= 1
                case "transfer":
                    self._transfer(Decimal(value))
                case "deleverage":
                    self._deleverage(Decimal(value))
                case _:
                    if self._process is not None and self._process.drop_streams():
                        self.checks.sometimes["streams dropped while holding" if holding else "streams dropped"] += 1
            self._world.broker.up = self._world.store.up = outages == 0
        self._world.broker.up = self._world.store.up = True

    def _transfer(self, amount: Decimal) -> None:
        with contextlib.suppress(ValueError):  # more than is available: not then
            self.venue.transfer("sim", amount, venue_now(self._sim.clocks))
            self.checks.sometimes["transfer"] += 1

    def _deleverage(self, share: Decimal) -> None:
        for position in list(self.venue.ledger.account("sim").positions.values()):
            quantity = floor_to(abs(position.qty) * share, spec_for(position.symbol).step_size)
            if quantity:
                self.venue.deleverage("sim", position.symbol, venue_now(self._sim.clocks), quantity=quantity)
                self.checks.sometimes["deleveraged"] += 1

    # ------------------------------------------------------------------------------------------------ looking

    async def _look_often(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.checks.now_s = self._sim.loop.time()
            in_force = self._desk.policy.current() if self._desk else None
            self.checks.look(LOOK_S, in_force.version if in_force else None)

    async def _heard(self, event: object) -> None:
        self.checks.now_s = self._sim.loop.time()
        await self.checks.heard(event)  # type: ignore[arg-type]

    def _venue_changed(self) -> None:
        self.checks.now_s = self._sim.loop.time()
        self.checks.venue_changed()
        fatal = self._plan.kill_at_order
        if fatal is not None and not self._fatal_order.is_set() and len(self.venue.audit) >= fatal[0]:
            self._fatal_order.set()

    async def _kill_at_order(self) -> None:
        await self._fatal_order.wait()
        if self._process is not None and self._plan.kill_at_order is not None:
            self.checks.sometimes["killed with an order on the wire"] += 1
            await self._kill_and_restart(self._plan.kill_at_order[1])

    async def _kill_and_restart(self, gone_s: float) -> None:
        async with self._killing:
            await self._kill()
            if self._living is not None:  # it may have been between two attempts
                self._living.cancel()
                await asyncio.gather(self._living, return_exceptions=True)
            self.checks.sometimes["restart"] += 1
            await self._sim.clocks.infra.sleep(gone_s)
            self._begin_life(None)

    def _request_leaves(self, method: str, path: str, query: str, body: bytes | str, now: Now) -> None:
        self.checks.now_s = self._sim.loop.time()
        if self._process is None:
            self.checks.broken(12, f"{method} {path} left a desk that was killed")
            return
        desk = self._desk
        gate_open = desk is not None and desk.execution.parts.gate.state is GateState.OPEN
        self.checks.request_leaves(method, path, query, body, gate_open, now)
