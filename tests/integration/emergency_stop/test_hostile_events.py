"""What must not be on the bus and is: the stop neither falls over it nor opens because of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain.ids import TripId
from breakwater.domain.stop_state import StopState
from breakwater.runtime.events import AccountReported, FlatConfirmed, PortfolioUpdated, StopLease


async def snapshot(world: Any, **changes: Any) -> None:
    now, last = world.clocks.market.now(), world.stop._memory.snapshot
    good = replace(world.portfolio.snapshot, sequence=last.sequence + 1, time=now)
    await world._buses["portfolio"].publish(PortfolioUpdated(replace(good, **changes)), time=now)
    await asyncio.sleep(0.01)


def naive(now: datetime) -> datetime:
    return now.replace(tzinfo=None)


BAD: dict[str, Callable[[datetime], dict[str, Any]]] = {
    "time without a zone": lambda now: {"time": naive(now)},
    "time of tomorrow": lambda now: {"time": now + timedelta(days=1)},
    "time of yesterday": lambda now: {"time": now - timedelta(days=1)},
    "equity not a number": lambda now: {"equity": Decimal("NaN")},
    "equity infinite": lambda now: {"equity": Decimal("Infinity")},
    "wallet signalling not a number": lambda now: {"wallet": Decimal("sNaN")},
    "drawdown not a number": lambda now: {"daily_drawdown_pct": Decimal("NaN")},
    "open loss not a number": lambda now: {"open_loss_pct": Decimal("NaN")},
    "baseline zero": lambda now: {"baseline": Decimal(0)},
    "baseline negative": lambda now: {"baseline": Decimal(-1)},
    "marks missing": lambda now: {"marks_missing": ("BTCUSDT",)},
    "not reconciled": lambda now: {"reconciled": False},
}


@pytest.mark.parametrize("how", BAD)
def test_snapshot_that_cannot_be_right_closes_and_a_good_one_opens_again(in_world: Any, how: str) -> None:
    async def story(world: Any) -> None:
        await snapshot(world)
        assert not world.leases[-1].reduce_only
        await snapshot(world, **BAD[how](world.clocks.market.now()))
        assert not world.stop.failed.done()
        assert world.leases[-1].reduce_only, how
        assert world.state is StopState.ARMED
        assert (await world.ask("TRIP", "p1")).accepted  # pulling it never depends on snapshots

    in_world(story)


@pytest.mark.parametrize("equity", ["-5", "0", "13300"])
def test_equity_at_or_below_the_limit_or_below_zero_trips(in_world: Any, equity: str) -> None:
    async def story(world: Any) -> None:
        worth = Decimal(equity)
        down = (Decimal(14000) - worth) / Decimal(14000) * 100
        for sequence in (100, 101):
            await snapshot(world, sequence=sequence, equity=worth, daily_drawdown_pct=down)
            await asyncio.sleep(1)
        assert world.state is StopState.TRIPPED

    in_world(story)


@pytest.mark.parametrize("when", [naive, lambda now: now + timedelta(days=1), lambda now: now - timedelta(days=1)])
def test_confirmation_or_report_with_a_wrong_time_neither_fails_nor_shortens_the_cooldown(
    in_world: Any, when: Callable[[datetime], datetime]
) -> None:
    async def story(world: Any) -> None:
        await world.ask("TRIP", "p1")
        view, now = world.leases[-1], world.clocks.market.now()
        await world.say(AccountReported(when(now), Decimal(14000), Decimal(0), (), 0, 0, {}))
        await world.say(FlatConfirmed(view.trip.trip_id, view.epoch, when(now), 0, 0, 0))
        assert not world.stop.failed.done()
        assert world.state is StopState.COOLING_DOWN
        cooldown = world.leases[-1].cooling_down_until - view.trip.time
        assert timedelta(minutes=15) <= cooldown < timedelta(minutes=15, seconds=1)
        for _ in range(2):  # a position at the venue is still noticed
            await asyncio.sleep(1)
            await world.report("14000", "0.1")
        assert world.stop.view().state is StopState.TRIPPED

    in_world(story)


def test_confirmation_of_another_trip_or_epoch_cools_nothing_down(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.ask("TRIP", "p1")
        view, now = world.leases[-1], world.clocks.market.now()
        await world.say(FlatConfirmed(TripId("t1-other"), view.epoch, now, 0, 0, 0))
        await world.say(FlatConfirmed(view.trip.trip_id, view.epoch + 1, now, 0, 0, 0))
        await world.say(FlatConfirmed(view.trip.trip_id, view.epoch, now, 1, 0, 0))
        assert world.state is StopState.TRIPPED

    in_world(story)


def test_state_broadcast_by_somebody_else_is_not_taken_over(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.ask("TRIP", "p1")
        view = world.leases[-1]
        armed = replace(view, state=StopState.ARMED, epoch=view.epoch + 50, reduce_only=False, trip=None)
        await world.execution.set_state(StopLease(armed), time=world.clocks.market.now())
        await asyncio.sleep(1)
        assert world.stop.view().state is StopState.TRIPPED
        assert world.stop.view().epoch == view.epoch
        # Even under our own name a copy that is ahead brings its epoch, never a laxer state.
        await world._buses["emergency_stop"].set_state(StopLease(armed), time=world.clocks.market.now())
        await asyncio.sleep(1)
        assert world.state is StopState.TRIPPED
        assert world.leases[-1].reduce_only

    in_world(story)


def test_same_sequence_told_again_confirms_no_breach_and_clears_none(in_world: Any) -> None:
    async def story(world: Any) -> None:
        over = {"equity": Decimal(13000), "daily_drawdown_pct": Decimal("7.14")}
        await snapshot(world, sequence=100, **over)
        await asyncio.sleep(2)
        await snapshot(world, sequence=100, **over)
        assert world.state is StopState.ARMED
        await snapshot(world, sequence=100)
        assert "drawdown" in world.leases[-1].reduce_only_reason
        await snapshot(world, sequence=101, **over)
        assert world.stop.view().state is StopState.TRIPPED

    in_world(story)
