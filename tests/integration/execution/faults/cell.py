"""Plays one cell: a row's fault while execution is about one action."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from tests.integration.execution.conftest import START, Rig
from tests.integration.execution.faults.judge import Judge
from tests.integration.execution.faults.rows import Action, Row

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import Protection, TimeInForce
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.faults.plan import FaultPlan
from breakwater.runtime.events import FlatConfirmed
from breakwater.simulation.run import Simulation, run_virtual

D = Decimal
BTC = Symbol("BTCUSDT")
MARKET = "100000"
"""The price the market has: a gap is made by the venue on top of it."""
LEAST_S, MOST_S = 12.0, 70.0
"""Simulated seconds a cell is watched for: until all is well, and at least this long."""


@dataclass(frozen=True)
class Played:
    """How a cell ended."""

    ending: str
    wrongs: tuple[str, ...]
    happened: int
    """How often a fault of the plan struck."""


def seed_of(row: Row, action: Action) -> int:
    """One seed per cell, the same in every run."""
    return zlib.crc32(f"{row.name}/{action}".encode())


def play_cell(row: Row, action: Action) -> Played:
    """Raises what the simulation cannot take."""
    seed = seed_of(row, action)

    async def main(simulation: Simulation) -> Played:
        rig = Rig(simulation)
        await rig.ready()
        played = await _play(rig, row, action, FaultPlan(seed, row.rules(action)))
        await rig.close()
        return played

    return run_virtual(main, seed=seed, start=START)


async def _play(rig: Rig, row: Row, action: Action, plan: FaultPlan) -> Played:
    judge = Judge(rig)

    def strike() -> None:
        rig.faults.load(plan, venue_now(rig.clocks))

    await _act(rig, action, strike)
    if row.countdown:
        await rig.sleep(0.5)
        assert rig._client is not None
        await rig._client.fapiPrivatePostCountdownCancelAll({"symbol": "BTCUSDT", "countdownTime": 1})
        await rig.sleep(0.1)
        rig.tick(BTC, MARKET)
    waited = 0.0
    while waited < LEAST_S or (waited < MOST_S and (judge.wrongs() or not _over(rig, action))):
        await rig.sleep(1.0)
        await rig.snapshot()
        rig.tick(BTC, MARKET)
        await rig.mark(BTC)
        waited += 1.0
    wrongs = judge.wrongs()
    if not _over(rig, action):
        wrongs.append("the action is not over")
    happened = sum(times for _, _, times in rig.faults.report())
    return Played(judge.ending(), tuple(wrongs), happened)


async def _act(rig: Rig, action: Action, strike: Any) -> None:
    """Bring it about, and strike at the right moment."""
    protection = Protection(D("98000"), D("104000") if action in (Action.TARGET, Action.FLATTEN) else None)
    match action:
        case Action.ENTRY:
            strike()
            await rig.propose(rig.entry(protection=protection))
        case Action.STOP | Action.TARGET:
            _when_held(rig, strike)
            await rig.propose(rig.entry(protection=protection))
        case Action.CANCEL:
            expires = rig.clocks.market.now() + timedelta(seconds=5)
            entry = rig.entry(
                price=D("99000"), time_in_force=TimeInForce.GTX, expires_at=expires, protection=protection
            )
            await rig.propose(entry, wait=1)
            assert rig.resting()
            await rig.sleep(3.9)
            strike()
        case Action.FLATTEN:
            await rig.propose(rig.entry(protection=protection), wait=1)
            assert rig.stops()
            assert rig.resting()
            strike()
            await rig.trip()


def _when_held(rig: Rig, strike: Any) -> None:
    """Strike when the entry has filled, before anything else can happen."""
    judged, done = rig.core.on_change, False
    assert judged is not None

    def changed() -> None:
        nonlocal done
        judged()
        if not done and rig.held():
            done = True
            strike()

    rig.core.on_change = changed


def _over(rig: Rig, action: Action) -> bool:
    if action is Action.CANCEL:
        return not any(order.client_order_id.endswith("-e") for order in rig.resting())
    if action is Action.FLATTEN:
        return bool(rig.said(FlatConfirmed)) and rig.held() == 0
    return True
