"""The Redis drill: a paper desk that trades loses its server for some seconds. Nothing may be lost, nothing may come twice.

While the server is away execution's own gate has to close, no order that adds risk may reach the venue, and an exit that a person
asks for has to go out. The desk is a real one (embedded server, HTTP, wall time) in a directory of its own. Rules and report:
docs/reference/drills.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from breakwater.desk.desk import Desk
from breakwater.desk.observer import Observer
from breakwater.desk.ports import PAPER_CREDENTIALS, DeskPorts
from breakwater.desk.sources import DeskInputError, desk_manifests, restricted_to, signal_source
from breakwater.desk.wall import RealPorts
from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId
from breakwater.domain.money import to_cents
from breakwater.domain.refusals import Refusal
from breakwater.domain.signals import DataKind
from breakwater.drills.counting import CountedBus, Deliveries, Load
from breakwater.drills.report import ExitReport, LedgerReport, OrdersReport, RedisOutageReport
from breakwater.drills.stages import own_directory
from breakwater.exchange.client import Endpoint
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import AccountConfig, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.http import serve_http
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.markets.until import Until
from breakwater.runtime.clocks import Clocks, wall_clocks
from breakwater.runtime.valkey_server import EmbeddedServer, find_server

DESK = DeskId("drill")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
STARTING_EQUITY = Decimal(14_000)
START = datetime(2025, 10, 10, 20, tzinfo=UTC)
LEAD_SECONDS = 5.0
"""Wall seconds between the desk's start and the market's first tick."""
SHORTEST, LONGEST = 4.0, 120.0
"""Seconds an outage may take: the gate has to close and an exit to be tried within it."""
GATE_SECONDS = 2.0
"""The stop's lease ends 1 s after its last sign; a gate that is open later than this did not notice."""
TRADING_SECONDS, RECOVERY_SECONDS = 90.0, 60.0
"""How long the desk may take to hold positions, and to be whole again after the outage."""
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class RedisOutageOptions:
    """``seconds`` of outage; ``kill``: the server is killed and started again, else stopped and continued.

    ``speed``: market seconds per second, at most 60. ``per_second``: events beside the desk's own, from a producer of the drill's;
    0 for none. ``state_dir``: None for one of its own that is removed afterwards.
    """

    seconds: float = 10.0
    kill: bool = False
    speed: float = 20.0
    seed: int = 1
    per_second: int = 200
    state_dir: Path | None = None


def run_redis_outage(options: RedisOutageOptions) -> RedisOutageReport:
    """Run the drill to its end; the verdict is in the report. Raises DeskInputError, ServerError."""
    if not SHORTEST <= options.seconds <= LONGEST:
        raise DeskInputError(f"an outage of {options.seconds:g} s: give {SHORTEST:g} to {LONGEST:g} seconds")
    if options.state_dir is not None and options.state_dir.exists() and any(options.state_dir.iterdir()):
        raise DeskInputError(f"{options.state_dir} is not empty: the drill needs a directory of its own")
    return asyncio.run(_run(options))


async def _run(options: RedisOutageOptions) -> RedisOutageReport:
    async with _stage(options) as stage:
        return await _Drill(options, stage).run()


@dataclass
class _Stage:
    ports: DeskPorts
    venue: PaperVenue
    server: EmbeddedServer
    market: SyntheticMarket
    deliveries: Deliveries
    bus: Callable[[str], CountedBus]


@contextlib.asynccontextmanager
async def _stage(options: RedisOutageOptions) -> AsyncIterator[_Stage]:
    market = SyntheticMarket(options.seed, SYMBOLS, START, crashes=())
    config = VenueConfig(
        symbols=tuple(spec_for(symbol) for symbol in SYMBOLS),
        accounts=(
            AccountConfig(DESK, PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=STARTING_EQUITY),
        ),
    )
    clocks = wall_clocks(speed=options.speed, market_anchor=START - timedelta(seconds=LEAD_SECONDS * options.speed))
    venue = PaperVenue(config)
    backfill(venue, market, market.start_ms)
    async with contextlib.AsyncExitStack() as closing:
        root = closing.enter_context(own_directory(options.state_dir))
        http = await serve_http(venue, "127.0.0.1", 0, clocks)
        closing.push_async_callback(http.stop)
        server = EmbeddedServer(root / "valkey", binary=find_server())
        closing.push_async_callback(server.stop)
        await server.start()
        endpoint = Endpoint(http.url, http.url.replace("http", "ws", 1))
        real = RealPorts(root, clocks, desk=DESK, data=DataKind.SYNTHETIC, venue=endpoint, redis_url=server.url)
        closing.push_async_callback(real.stop)
        ports = await real.start()
        deliveries = Deliveries()

        def bus(component: str) -> CountedBus:
            made = CountedBus(server.url, DESK, component, clocks.infra, disk=ports.disk(f"bus-{component}"))
            made.deliveries = deliveries
            return made

        yield _Stage(replace(ports, bus=bus), venue, server, market, deliveries, bus)


class _Drill:
    def __init__(self, options: RedisOutageOptions, stage: _Stage) -> None:
        self._options, self._stage = options, stage
        self._clocks: Clocks = stage.ports.clocks
        sources = [signal_source(name, self._clocks.infra) for name in ("long", "momentum")]
        self._desk = Desk(stage.ports, sources, on_gate_closed=self._closed)
        self._observer = Observer(stage.ports.bus("drill"))
        self._load = Load(stage.bus, self._clocks, options.per_second)
        self._problems: list[str] = []
        self._began: float | None = None
        self._closed_after: float | None = None
        self._closed_because = ""
        self._orders_when_closed: int | None = None
        self._open_later = False
        self._exit: ExitReport | None = None
        self._recovered: float | None = None
        self._risky = 0
        self._events = stage.deliveries.report(())

    async def run(self) -> RedisOutageReport:
        started = time.perf_counter()
        await self._observer.start()
        await self._load.start()
        chosen = desk_manifests(profile=None, policy=None, stop=None)
        await self._desk.start(restricted_to(chosen, SYMBOLS, extend=True), who="drill")
        tasks = [asyncio.ensure_future(self._desk.run()), asyncio.ensure_future(self._market())]
        if self._options.per_second:
            tasks.append(asyncio.ensure_future(self._load.run()))
        acting = asyncio.ensure_future(self._act())
        try:
            await asyncio.wait([acting, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (acting, *tasks):
                if task.done():
                    task.result()
            if not acting.done():
                self._problems.append("the market ended before the drill")
            return self._report(time.perf_counter() - started)
        finally:
            self._continue()
            for task in (acting, *tasks):
                task.cancel()
            await asyncio.gather(acting, *tasks, return_exceptions=True)
            await self._load.stop()
            await self._desk.stop()
            await self._observer.stop()

    async def _market(self) -> None:
        end = START + timedelta(days=1)
        await drive(self._stage.venue, Until(self._stage.market, to_ms(end)), self._clocks)

    # ------------------------------------------------------------------------------------------ the outage

    async def _act(self) -> None:
        if not await self._until(self._trades, TRADING_SECONDS):
            self._problems.append(f"the desk held no positions with an open gate within {TRADING_SECONDS:g} s")
            return
        self._began = self._clocks.infra.monotonic()
        before = self._accepted()
        server = self._stage.server
        if self._options.kill:
            server.may_start_again.clear()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL if self._options.kill else signal.SIGSTOP)
        try:
            await self._while_away(self._began + self._options.seconds)
        finally:
            self._continue()
        back = self._clocks.infra.monotonic()
        since = before if self._orders_when_closed is None else self._orders_when_closed
        self._risky = sum(1 for order in list(self._stage.venue.audit)[since:] if order.risk_increasing)
        await self._recovery(back)

    async def _while_away(self, until: float) -> None:
        """Look at the gate as execution reports it; then a person asks for an exit."""
        halt_at = self._began_at + self._options.seconds * 0.5
        while (now := self._clocks.infra.monotonic()) < halt_at:
            state, _ = self._desk.execution.gate()
            if state is GateState.OPEN and (self._closed_after is not None or now - self._began_at > GATE_SECONDS):
                self._open_later = True
            await self._clocks.infra.sleep(_LOOK_SECONDS)
        held = len(self._positions())
        await self._desk.execution.halt("drill", "an exit while Redis is away", "redis-outage-drill")
        flat = await self._until(lambda: not self._positions(), until - self._clocks.infra.monotonic())
        took = round(self._clocks.infra.monotonic() - halt_at, 3)
        self._exit = ExitReport(positions_before=held, flat_during_outage=flat, flat_after_s=took if flat else None)
        await self._clocks.infra.sleep(max(0.0, until - self._clocks.infra.monotonic()))

    async def _recovery(self, back: float) -> None:
        """Whole again: buses connected, the stop heard, the ledger agreed, and everything published so far delivered."""
        seen = self._observer
        reports = seen.account_events

        def whole() -> bool:
            return (
                all(bus.connected for bus in self._desk.buses)
                and self._desk.execution.books.stop.remaining_s > 0
                and seen.account_events > reports
                and seen.snapshot is not None
                and seen.snapshot.reconciled
                and not self._stage.deliveries.missing(published)
            )

        published = self._stage.deliveries.wanted()
        if await self._until(whole, RECOVERY_SECONDS):
            self._recovered = round(self._clocks.infra.monotonic() - back, 3)
        else:
            self._problems.append(f"the desk was not whole again {RECOVERY_SECONDS:g} s after the server was back")
        # What was published up to here is judged; it gets as long again to arrive. A repeated one would come by then too.
        published = self._stage.deliveries.wanted()
        await self._clocks.infra.sleep(1.0)
        await self._until(lambda: not self._stage.deliveries.missing(published), RECOVERY_SECONDS)
        self._events = self._stage.deliveries.report(published)

    def _continue(self) -> None:
        """Let the server go on, whatever state it is in: nothing may stay stopped behind this drill."""
        server = self._stage.server
        server.may_start_again.set()
        if server.pid is not None and not self._options.kill:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGCONT)

    # ------------------------------------------------------------------------------------------ looking

    @property
    def _began_at(self) -> float:
        assert self._began is not None
        return self._began

    def _closed(self, tick: datetime | None, why: Refusal) -> None:
        if self._began is not None and self._closed_after is None:
            self._closed_after = round(self._clocks.infra.monotonic() - self._began, 3)
            self._closed_because = why.code.value
            self._orders_when_closed = self._accepted()

    def _trades(self) -> bool:
        return bool(self._positions()) and self._desk.execution.gate()[0] is GateState.OPEN

    def _positions(self) -> tuple[object, ...]:
        return self._stage.venue.account_report(PAPER_CREDENTIALS.api_key).positions

    def _accepted(self) -> int:
        return len(self._stage.venue.audit)

    async def _until(self, fact: Callable[[], bool], seconds: float) -> bool:
        deadline = self._clocks.infra.monotonic() + seconds
        while not fact():
            if self._clocks.infra.monotonic() >= deadline:
                return False
            await self._clocks.infra.sleep(_LOOK_SECONDS)
        return True

    # ------------------------------------------------------------------------------------------ the report

    def _report(self, duration: float) -> RedisOutageReport:
        account = self._stage.venue.account_report(PAPER_CREDENTIALS.api_key)
        seen, deliveries = self._observer, self._stage.deliveries
        gate = GateState.REDUCE_ONLY if self._closed_after is not None and not self._open_later else GateState.OPEN
        ours = seen.snapshot.equity if seen.snapshot else Decimal(0)
        if self._began is not None:
            self._judge(gate)
        return RedisOutageReport(
            verdict="FAILED" if self._problems else "PASSED",
            problems=tuple(self._problems),
            outage="kill" if self._options.kill else "stop",
            outage_s=self._options.seconds,
            events=self._events,
            out_of_order=deliveries.out_of_order,
            publishes_refused=deliveries.refused,
            gate_during_outage=gate.value,
            gate_closed_after_s=self._closed_after,
            gate_closed_because=self._closed_because,
            recovered_in_s=self._recovered,
            risk_increasing_orders_accepted_during_outage=self._risky,
            exit=self._exit,
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
            state_at_end=seen.state.value if seen.state else "UNKNOWN",
            duration_s=round(duration, 2),
        )

    def _judge(self, gate: GateState) -> None:
        events, found = self._events, self._problems
        if events.lost:
            found.append(f"{events.lost} events were published and never delivered")
        if events.duplicates:
            found.append(f"{events.duplicates} events were delivered more than once")
        if self._stage.deliveries.out_of_order:
            found.append(f"{self._stage.deliveries.out_of_order} events came out of order")
        if gate is GateState.OPEN:
            found.append("execution's gate was open while Redis was away")
        if self._risky:
            found.append(f"{self._risky} orders that add risk were accepted by the venue while Redis was away")
        if self._exit is None or not self._exit.flat_during_outage:
            found.append("the exit that a person asked for was not done before Redis was back")
