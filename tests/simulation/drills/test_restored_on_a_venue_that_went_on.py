"""A desk comes back from an old backup while its venue went on: the case in which the files alone would be wrong.

The first desk trades on after its backup; it stops, and a second one starts from the backup on the same account, with a bus of
its own or the one that the first left behind. It must add no risk before it agrees with the venue, send no id again, and end up with the venue's figures or closed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from breakwater.desk.desk import Desk
from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.desk.sources import desk_manifests, restricted_to, signal_source
from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import AccountConfig, VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.driver import backfill, drive
from breakwater.paper_venue.markets.synthetic import Crash, SyntheticMarket
from breakwater.paper_venue.markets.until import Until
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.stores import MemoryDisk
from breakwater.simulation.world import SimulatedWorld

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
LEAD = timedelta(seconds=30)


@dataclass
class Found:
    """What the second desk did."""

    orders_between: int = 0
    """Accepted between the backup and the second desk's start."""
    opened_at: datetime | None = None
    entries: list[int] = field(default_factory=list)
    """Market times (ms) of the second desk's orders that could add risk."""
    repeated: list[str] = field(default_factory=list)
    agrees: bool = False
    gate: GateState = GateState.REDUCE_ONLY
    unprotected: list[str] = field(default_factory=list)


async def written(content: dict[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    for name, data in content.items():
        await disk.replace(name, data)
    return disk


async def restored(simulation: Simulation, seed: int, gap: timedelta, *, same_bus: bool = False) -> Found:
    market = SyntheticMarket(seed, SYMBOLS, START, crashes=(Crash(START + timedelta(minutes=5), 0.6),))
    account = AccountConfig("a", PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=Decimal(14_000))
    venue = PaperVenue(VenueConfig(symbols=tuple(map(spec_for, SYMBOLS)), accounts=(account,)))
    backfill(venue, market, market.start_ms)
    clock = simulation.clocks.market
    playing = asyncio.ensure_future(drive(venue, Until(market, to_ms(START + timedelta(days=1))), simulation.clocks))
    manifests = restricted_to(desk_manifests(profile=None, policy=None, stop=None), SYMBOLS, extend=True)
    found = Found()

    async def live(world: SimulatedWorld, until: datetime, *, watch: bool = False) -> Desk:
        sources = [signal_source(name, simulation.clocks.infra) for name in ("long", "momentum")]
        desk = Desk(world.ports, sources)
        await desk.start(manifests, who="test")
        running = asyncio.ensure_future(desk.run())
        while clock.now() < until:
            if watch and found.opened_at is None and desk.execution.gate()[0] is GateState.OPEN:
                found.opened_at = clock.now()
            await simulation.clocks.infra.sleep(0.25)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return desk

    first = SimulatedWorld(simulation, venue, desk=DeskId("d"), data=DataKind.SYNTHETIC)
    taken: dict[str, dict[str, bytes]] = {}
    backup_at = START + timedelta(minutes=12, seconds=seed)

    async def backup() -> None:
        await clock.sleep_until(backup_at)
        for volume, disk in first.disks.items():  # at one instant: nothing is awaited
            taken[volume] = {name: disk.read(name) or b"" for name in disk.names()}

    taking = asyncio.ensure_future(backup())
    desk = await live(first, backup_at + gap)
    await taking
    await desk.stop()
    await first.close()
    found.orders_between = len(venue.audit.accepted_orders(to_ms(backup_at)))

    second = SimulatedWorld(simulation, venue, desk=DeskId("d"), data=DataKind.SYNTHETIC)
    if same_bus:
        second.broker, second.store = first.broker, first.store
    second.disks.update({volume: await written(content) for volume, content in taken.items()})
    began = len(venue.audit)
    desk = await live(second, clock.now() + timedelta(minutes=10), watch=True)
    found.gate = desk.execution.gate()[0]
    found.entries = [order.market_ms for order in list(venue.audit)[began:] if order.risk_increasing]
    report = venue.account_report(PAPER_CREDENTIALS.api_key)
    snapshot = desk.portfolio.snapshot
    held = {position.symbol: position.quantity for position in snapshot.positions} if snapshot else {}
    found.agrees = (
        snapshot is not None
        and snapshot.reconciled
        and held == {position.symbol: position.qty for position in report.positions}
    )
    found.unprotected = [
        position.symbol for position in report.positions if position.symbol not in desk.protective_stops
    ]
    uses = Counter(order.client_order_id for order in venue.audit if order.kind in ("order", "algo"))
    found.repeated = [name for name, count in uses.items() if count > 1]
    await desk.stop()
    await second.close()
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    return found


def assert_safe(found: Found) -> None:
    assert found.repeated == []
    assert found.unprotected == []
    if found.entries:
        assert found.opened_at is not None
        assert min(found.entries) >= to_ms(found.opened_at) - 250, "risk was added before the gate was seen open"
    assert found.agrees or found.gate is GateState.REDUCE_ONLY


def test_desk_from_an_old_backup_adds_no_risk_before_it_agrees_and_sends_no_id_again() -> None:
    async def scenario(simulation: Simulation) -> Found:
        return await restored(simulation, 3, timedelta(minutes=6))

    found = run_virtual(scenario, seed=1, start=START - LEAD)
    assert found.orders_between, "nothing happened after the backup: this shows nothing"
    assert_safe(found)


@pytest.mark.slow
@pytest.mark.parametrize("same_bus", [False, True])
@pytest.mark.parametrize("seed", range(10, 30))
def test_twenty_old_backups_are_safe_on_a_venue_that_went_on(seed: int, same_bus: bool) -> None:
    async def scenario(simulation: Simulation) -> Found:
        return await restored(simulation, seed, timedelta(minutes=2 + seed % 7 * 3), same_bus=same_bus)

    assert_safe(run_virtual(scenario, seed=seed, start=START - LEAD))
