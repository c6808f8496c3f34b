"""From a mark to a lease: portfolio and emergency stop together, across restarts and disk and bus trouble."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain.ids import ClientOrderId, ProposalId, Symbol
from breakwater.domain.orders import OrderRole, OrderStatus, Side
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.emergency_stop.audit import FILE as AUDIT
from breakwater.emergency_stop.audit import verify_audit
from breakwater.emergency_stop.latch import COPY, FILE
from breakwater.emergency_stop.service import EmergencyStopService
from breakwater.portfolio.records import JOURNAL
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.events import (
    BaselineReset,
    OrderFailed,
    PortfolioUpdated,
    StopCoolingDown,
    StopRearmed,
    StopRequestAnswered,
    StopTripped,
)
from breakwater.runtime.ports import DiskError


async def crash(world: Any) -> None:
    """Long 0.1 BTC, then 5.7 % of equity gone in a second and a half."""
    await world.fill(Side.BUY, "0.1", "100000", "5")
    await world.report("13995", "0.1", through=str(world.trades))
    for price in ("92000", "92000", "92000"):
        await world.mark(price)
        await asyncio.sleep(0.6)


def state_of(world: Any) -> StopState:
    state: StopState = world.state
    return state


async def sold(world: Any) -> None:
    await world.fill(Side.SELL, "0.1", "92000", "4.6")
    await world.report("13190.4", through=str(world.trades))
    await world.flat()


def test_a_crash_closes_trips_cools_and_rearms_once(in_world: Any) -> None:
    async def story(world: Any) -> None:
        assert (world.state, world.leases[-1].reduce_only) == (StopState.ARMED, False)
        await crash(world)
        assert state_of(world) is StopState.TRIPPED
        trip = world.leases[-1].trip
        assert (trip.trigger, trip.limit, trip.binding) == (Trigger.DAILY_DRAWDOWN, Decimal(5), "emergencyStop")
        assert trip.measured == Decimal("805") / Decimal(14000) * 100
        await sold(world)
        assert state_of(world) is StopState.COOLING_DOWN
        early = await world.ask("RESET", "r1", new_baseline=True)
        assert early.code == "RESET_COOLING_DOWN"
        assert early.remaining_seconds is not None
        assert 890 < early.remaining_seconds <= 900
        await asyncio.sleep(901)
        await world.report("13190.4", through=str(world.trades))
        await world.mark("92000")
        assert (await world.ask("RESET", "r2")).code == "RESET_CAUSE_NOT_GONE"
        assert (await world.ask("RESET", "r1", new_baseline=True)) == early
        assert state_of(world) is StopState.COOLING_DOWN
        assert (await world.ask("RESET", "r3", new_baseline=True)).accepted
        assert state_of(world) is StopState.ARMED
        await world.mark("92000")
        assert world.portfolio.snapshot.baseline == Decimal("13190.4")
        assert world.portfolio.snapshot.daily_drawdown_pct == 0
        await asyncio.sleep(1)
        assert world.leases[-1].reduce_only is False
        assert world.leases[-1].day_baseline_used

    world = in_world(story)
    epochs = [view.epoch for view in world.leases]
    assert epochs == sorted(epochs)
    for kind in (StopTripped, StopCoolingDown, StopRearmed, BaselineReset):
        assert len(world.published("emergency_stop", kind)) == 1, kind
    assert len(world.published("emergency_stop", StopRequestAnswered)) == 3
    data = world.disks["emergency_stop"].read(AUDIT)
    assert data is not None
    report = verify_audit(data)
    assert (report.ok, report.records) == (True, 8)  # armed, tripped, cooling, 3 answers, baseline, re-armed


def test_the_first_breaching_mark_closes_the_lease_at_once(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through=str(world.trades))
        at = world.clocks.market.now()
        await world.mark("92000")
        assert world.state is StopState.ARMED
        assert world.leases[-1].reduce_only
        assert (world.heard_at[-1] - at).total_seconds() < 0.01

    in_world(story)


def test_a_silent_market_closes_after_ten_seconds(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.mark("100000")
        at = world.clocks.market.now()
        await asyncio.sleep(9.8)
        assert not world.leases[-1].reduce_only
        await asyncio.sleep(0.3)
        assert "old" in world.leases[-1].reduce_only_reason
        closed = next(
            when for view, when in zip(world.leases, world.heard_at, strict=True) if view.reduce_only and when > at
        )
        assert 9.9 < (closed - at).total_seconds() < 10.01
        await world.mark("100000")
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_silence_trips_when_the_spec_says_so_and_a_new_policy_is_obeyed(in_world: Any) -> None:
    from breakwater.domain.emergency_stop_spec import OnMissingData

    async def story(world: Any) -> None:
        spec = replace(world.policies.value.stop, on_missing_data=OnMissingData.TRIP)
        world.policies.value = replace(world.policies.value, stop=spec, version=2)
        await world.mark("100000")
        await asyncio.sleep(59)
        assert world.state is StopState.ARMED
        await asyncio.sleep(1.5)
        assert world.leases[-1].trip.trigger is Trigger.MISSING_DATA

    in_world(story)


@pytest.mark.parametrize("lost", [(), (FILE,), (COPY,), (FILE, COPY), (FILE, COPY, AUDIT)])
def test_a_trip_survives_kill_and_lost_files(in_world: Any, lost: tuple[str, ...]) -> None:
    async def story(world: Any) -> None:
        await crash(world)
        before = world.leases[-1]
        await world.kill(world.stop)
        for name in lost:
            world.disks["emergency_stop"]._files.pop(name)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        after = world.leases[-1]
        assert after.state is StopState.TRIPPED
        assert after.epoch >= before.epoch
        assert after.trip == before.trip  # the broadcast copy still knows it when the volume does not
        await sold(world)
        assert world.state is StopState.COOLING_DOWN

    in_world(story)


def test_no_readable_copy_anywhere_is_a_closed_stop(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.kill(world.stop)
        disk = world.disks["emergency_stop"]
        disk._files[FILE] = bytearray(b"rubbish")
        disk._files.pop(COPY)
        world.broker._states.clear()
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        view = world.stop.view()
        assert view.state is StopState.TRIPPED
        assert "latch" in view.trip.reason
        assert not view.trip.close_positions
        assert not world.stop.readiness()["latch"].ok

    in_world(story)


def test_a_restart_while_armed_is_closed_until_a_snapshot(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.kill(world.stop)
        heard = len(world.leases)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert world.leases[heard:]
        assert all(view.reduce_only for view in world.leases[heard:])
        await world.mark("100000")
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_full_disk_does_not_hold_up_a_trip_but_a_rearm(in_world: Any) -> None:
    async def story(world: Any) -> None:
        disk = world.disks["emergency_stop"]
        real = disk.replace

        async def full(name: str, data: bytes) -> None:
            raise DiskError("no space left on device")

        disk.replace = full
        await crash(world)
        assert world.state is StopState.TRIPPED
        assert not world.stop.readiness()["latch"].ok
        disk.replace = real
        await asyncio.sleep(1)
        assert world.stop.readiness()["latch"].ok
        await sold(world)
        await asyncio.sleep(901)
        await world.report("13190.4", through=str(world.trades))
        await world.mark("92000")
        disk.replace = full
        with pytest.raises(DiskError):
            await world.ask("RESET", "r1", new_baseline=True)
        assert world.stop.view().state is StopState.COOLING_DOWN
        disk.replace = real
        assert (await world.ask("RESET", "r1", new_baseline=True)).accepted

    world = in_world(story)
    assert verify_audit(world.disks["emergency_stop"].read(AUDIT)).ok
    assert len(world.published("emergency_stop", StopTripped)) == 1


def test_events_wait_while_the_bus_is_away(in_world: Any) -> None:
    async def story(world: Any) -> None:
        world.broker.up = False
        request = asyncio.ensure_future(world.ask("TRIP", "p1"))
        assert (await request).accepted
        heard = len(world.leases)
        await asyncio.sleep(3)
        assert len(world.leases) == heard
        world.broker.up = True
        await asyncio.sleep(1)
        assert world.state is StopState.TRIPPED

    world = in_world(story)
    assert len(world.published("emergency_stop", StopTripped)) == 1


def test_what_a_crash_kept_from_the_bus_is_published_by_the_next_process(in_world: Any) -> None:
    async def story(world: Any) -> None:
        world.broker.up = False
        await world.ask("TRIP", "p1")
        await world.kill(world.stop)
        world.broker.up = True
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)
        assert world.state is StopState.TRIPPED
        await world.kill(world.stop)
        world.stop = await world.begin(EmergencyStopService)
        await asyncio.sleep(1)

    world = in_world(story)
    assert len(world.published("emergency_stop", StopTripped)) == 1
    assert len(world.published("emergency_stop", StopRequestAnswered)) == 1


def test_a_redelivered_or_old_new_baseline_does_nothing(in_world: Any) -> None:
    async def story(world: Any) -> None:
        bus, now = world._buses["emergency_stop"], world.clocks.market.now()
        for epoch, equity in ((5, "13000"), (5, "12000"), (4, "11000"), (6, "NaN"), (7, "-1")):
            await bus.publish(BaselineReset(now, epoch, Decimal(equity), "ada"), time=now)
            await asyncio.sleep(0.01)
        assert world.portfolio.snapshot.baseline == Decimal(13000)
        await world.kill(world.portfolio)
        world.portfolio = await world.begin(PortfolioService)
        await world.mark("100000")
        assert world.portfolio.snapshot.baseline == Decimal(13000)

    in_world(story)


def test_a_failed_evaluation_stops_the_lease(in_world: Any) -> None:
    async def story(world: Any) -> None:
        world.stop.fail(RuntimeError("evaluation"))
        await asyncio.sleep(0.5)
        heard = len(world.leases)
        await asyncio.sleep(2)
        assert len(world.leases) == heard

    in_world(story)


def test_errors_in_a_row_trip_across_a_restart(in_world: Any) -> None:
    async def story(world: Any) -> None:
        failed = OrderFailed(
            ClientOrderId("c"),
            ProposalId("p"),
            Symbol("BTCUSDT"),
            OrderRole.ENTRY,
            OrderStatus.REJECTED,
            "X",
            "no",
            True,
        )
        for number in range(5):
            await world.say(failed)
            await world.say(replace(failed, counts_as_error=False))
            if number == 2:
                await world.kill(world.stop)
                world.stop = await world.begin(EmergencyStopService)
                await asyncio.sleep(1)
            assert world.state is (StopState.TRIPPED if number == 4 else StopState.ARMED)
        assert world.leases[-1].trip.trigger is Trigger.EXECUTION_ERRORS

    in_world(story)


def test_the_portfolio_comes_back_with_its_books_and_higher_sequences(in_world: Any) -> None:
    async def story(world: Any) -> None:
        first = await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.mark("101000")
        before = world.portfolio.snapshot
        assert before.equity == Decimal("14095")
        await world.kill(world.portfolio)
        world.disks["portfolio"]._files[JOURNAL].extend(b'{"crc":"torn')
        world.portfolio = await world.begin(PortfolioService)
        await world.mark("101000")
        assert world.portfolio.snapshot.equity == before.equity
        await world.say(first)
        after = world.portfolio.snapshot
        assert after.sequence > before.sequence
        assert (after.equity, after.baseline, after.positions) == (before.equity, before.baseline, before.positions)
        assert not after.reconciled
        await world.report("13995", "0.1", through="1")
        assert world.portfolio.snapshot.reconciled

    in_world(story)


def test_the_next_day_starts_from_the_last_reconciled_equity(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through="1")
        await asyncio.sleep(3 * 3600 + 59 * 60)
        await world.mark("99000")
        await asyncio.sleep(120)
        await world.mark("98000")
        snapshot = world.portfolio.snapshot
        assert str(snapshot.baseline_day) == "2025-10-11"
        assert snapshot.baseline == Decimal("13895")
        assert (snapshot.realised_today, snapshot.fees_today) == (0, 0)
        assert snapshot.daily_drawdown_pct == Decimal(100) / Decimal(13895) * 100

    in_world(story)


def test_drift_is_an_alarm_after_two_reports_and_closes(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.report("14000.009")
        assert world.portfolio.snapshot.reconciled
        await world.report("13000")
        assert world.portfolio.snapshot.reconciled
        await world.report("13000")
        assert "13000" in world.portfolio.drift
        assert "venue" in world.leases[-1].reduce_only_reason
        await world.report("14000")
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_report_that_knows_a_fill_before_us_settles_when_it_comes(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.report("13995", "0.1")
        await world.fill(Side.BUY, "0.1", "100000", "5")
        assert world.portfolio._mismatches == 0
        assert world.portfolio.snapshot.reconciled

    in_world(story)


@pytest.mark.parametrize(
    ("quantity", "price"), [("NaN", "100000"), ("0.1", "-1"), ("0", "100000"), ("0.1", "Infinity")]
)
def test_a_fill_that_cannot_be_is_an_alarm_and_stops_nothing(in_world: Any, quantity: str, price: str) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, quantity, price)
        assert world.portfolio.drift
        await world.fill(Side.BUY, "0.1", "100000", "5")
        assert world.portfolio.snapshot.wallet == Decimal(13995)
        assert world.leases[-1].reduce_only

    in_world(story)


def test_one_trade_with_two_faces_is_an_alarm(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", trade="7")
        await world.fill(Side.BUY, "0.2", "100000", trade="7")
        assert "twice" in world.portfolio.drift
        assert world.portfolio.snapshot.positions[0].quantity == Decimal("0.1")

    in_world(story)


def test_bad_marks_change_nothing(in_world: Any) -> None:
    async def story(world: Any) -> None:
        count = len(world.published("portfolio", PortfolioUpdated))
        for price in ("NaN", "0", "-3", "Infinity"):
            await world.mark(price)
        assert len(world.published("portfolio", PortfolioUpdated)) == count
        assert world.portfolio.counters["bad_marks"] == 4

    in_world(story)
