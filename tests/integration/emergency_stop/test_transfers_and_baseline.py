"""What losses are measured from: across transfers, restarts, midnight, a trip and a new baseline."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.ids import Symbol, TranId
from breakwater.domain.movements import Movement, MovementKind
from breakwater.domain.orders import Side
from breakwater.domain.stop_state import StopState
from breakwater.portfolio import journal
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.events import AccountMoved, BaselineReset

D = Decimal
BTC = Symbol("BTCUSDT")


async def move(world: Any, number: int, amount: str, kind: MovementKind = MovementKind.TRANSFER) -> None:
    now = world.clocks.market.now()
    await world.say(AccountMoved(Movement(TranId(str(number)), kind.value, kind, D(amount), now, BTC)))


async def again(world: Any) -> None:
    """The portfolio's process dies and another begins."""
    await world.kill(world.portfolio)
    world.portfolio = await world.begin(PortfolioService)


def test_a_withdrawal_trips_nothing_and_a_deposit_hides_no_loss(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through="1")
        await world.mark("96000")
        before = world.portfolio.snapshot.daily_drawdown_pct
        for number, (amount, wallet) in enumerate((("-9000", "4995"), ("20000", "24995")), start=1):
            await move(world, number, amount)
            await world.report(wallet, "0.1", through="1")
            await asyncio.sleep(2)
            await world.mark("96000")
            assert abs(world.portfolio.snapshot.daily_drawdown_pct - before) < D("1e-15")
            assert world.portfolio.snapshot.reconciled
            assert world.state is StopState.ARMED
            await again(world)
            await world.report(wallet, "0.1", through="1")
        await world.mark("96000")
        assert abs(world.portfolio.snapshot.daily_drawdown_pct - before) < D("1e-15")

    in_world(story)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("before_midnight", [True, False])
def test_a_transfer_around_midnight_is_no_loss_of_either_day(
    in_world: Any, before_midnight: bool, restart: bool
) -> None:
    async def story(world: Any) -> None:
        await world.kill(world.stop)  # its leases are no part of this, and there are many in four hours
        await asyncio.sleep(4 * 3600 - 70)
        await world.mark("100000")
        await world.report("14000")
        await asyncio.sleep(60 if before_midnight else 75)
        if before_midnight:
            await move(world, 1, "-5000")
            if restart:
                await again(world)
            await asyncio.sleep(15)
            await world.mark("100000")
        else:
            await world.mark("100000")
            await move(world, 1, "-5000")
            if restart:
                await again(world)
        await world.report("9000")
        await world.mark("100000")
        snapshot = world.portfolio.snapshot
        assert (str(snapshot.baseline_day), snapshot.baseline) == ("2025-10-11", D(9000))
        assert (snapshot.daily_drawdown_pct, snapshot.reconciled) == (0, True)

    in_world(story)


def test_a_tripped_desk_keeps_its_baseline_over_transfer_restart_and_the_new_day(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through="1")
        for _ in range(3):
            await world.mark("92000")
            await asyncio.sleep(0.6)
        assert world.state is StopState.TRIPPED
        await world.fill(Side.SELL, "0.1", "92000", "4.6")
        await world.report("13190.4", through="2")
        await world.flat()
        await move(world, 1, "13190.4")
        await world.report("26380.8", through="2")
        await world.mark("92000")
        lost = world.portfolio.snapshot.daily_drawdown_pct
        assert abs(lost - D("809.6") / 140) < D("1e-15")  # the deposit hides nothing
        await again(world)
        await world.report("26380.8", through="2")
        await world.mark("92000")
        assert world.portfolio.snapshot.daily_drawdown_pct == lost
        await world.kill(world.stop)
        await asyncio.sleep(4 * 3600)
        await world.mark("92000")
        snapshot = world.portfolio.snapshot
        assert (str(snapshot.baseline_day), snapshot.baseline, snapshot.daily_drawdown_pct) == (
            "2025-10-11", D("26380.8"), 0,
        )  # fmt: skip

    in_world(story)


def test_after_a_new_baseline_a_withdrawal_is_no_loss_for_the_stop(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        await world.report("13995", "0.1", through="1")
        for _ in range(3):
            await world.mark("92000")
            await asyncio.sleep(0.6)
        await world.fill(Side.SELL, "0.1", "92000", "4.6")
        await world.report("13190.4", through="2")
        await world.flat()
        await asyncio.sleep(901)
        await world.report("13190.4", through="2")
        await world.mark("92000")
        assert (await world.ask("RESET", "r1", new_baseline=True)).accepted
        await move(world, 1, "-6000")
        await world.report("7190.4", through="2")
        for _ in range(4):
            await world.mark("92000")
            await asyncio.sleep(0.6)
        assert world.state is StopState.ARMED
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_an_emptied_account_is_no_loss_and_nothing_is_traded_on_it(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await move(world, 1, "-14000")
        await world.report("0")
        await world.mark("100000")
        assert world.portfolio.snapshot.daily_drawdown_pct == 0
        await asyncio.sleep(2)
        await world.mark("100000")
        assert world.state is StopState.ARMED
        assert world.leases[-1].reduce_only
        await move(world, 2, "6000")
        await world.report("6000")
        await asyncio.sleep(1.1)
        await world.mark("100000")
        assert world.portfolio.snapshot.baseline == 6000
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_funding_is_result_of_the_day_and_counts_towards_its_drawdown(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await move(world, 1, "-70", MovementKind.FUNDING)
        await world.report("13930")
        await world.mark("100000")
        snapshot = world.portfolio.snapshot
        assert (snapshot.funding_today, snapshot.baseline, snapshot.daily_drawdown_pct) == (D(-70), D(14000), D("0.5"))
        await again(world)
        await world.report("13930")
        await world.mark("100000")
        assert world.portfolio.snapshot.funding_today == -70

    in_world(story)


@pytest.mark.parametrize("amount", ["NaN", "-Infinity"])
def test_a_movement_that_cannot_be_is_an_alarm_and_changes_nothing(in_world: Any, amount: str) -> None:
    async def story(world: Any) -> None:
        await move(world, 1, amount)
        assert "amount" in world.portfolio.drift
        assert world.leases[-1].reduce_only
        await world.report("14000")
        assert world.portfolio.snapshot.wallet == 14000
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_long_lived_portfolio_keeps_journal_and_memory_small(in_world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "COMPACT_AFTER", 20)

    async def story(world: Any) -> None:
        sizes, held = [], D(0)
        for number in range(1, 121):
            side = Side.BUY if number % 7 else Side.SELL
            await world.fill(side, "0.001", str(100000 + number))
            held += D("0.001") * side.sign
            wallet = str(world.portfolio.snapshot.wallet)
            await world.report(wallet, str(held), through=str(number))
            if number % 20 == 0:
                await move(world, number, "-0.5", MovementKind.FUNDING)
                await world.report(str(world.portfolio.snapshot.wallet), str(held), through=str(number))
                sizes.append(len(world.disks["portfolio"].read("portfolio.journal") or b""))
        assert max(sizes[2:]) < 2 * sizes[1]
        assert len(world.portfolio._books.ledger.state().seen) <= 21
        wallet, positions = world.portfolio.snapshot.wallet, world.portfolio.snapshot.positions
        await again(world)
        await world.report(str(wallet), str(held), through="120")
        await world.mark("100000")
        await world.mark("100000")
        assert (world.portfolio.snapshot.wallet, world.portfolio.snapshot.reconciled) == (wallet, True)
        assert world.portfolio.snapshot.positions[0].entry_price == positions[0].entry_price
        await world.fill(Side.BUY, "0.001", "100119", trade="119")  # forgotten by its number, known by the watermark
        assert world.portfolio.snapshot.wallet == wallet

    in_world(story)


def test_a_difference_nobody_can_explain_ends_with_a_new_journal(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.fill(Side.BUY, "0.1", "100000", "5")
        for _ in range(3):
            await world.report("13990", "0.1", through="1")
        await world.mark("100000")
        assert "13990" in world.portfolio.drift
        assert world.leases[-1].reduce_only
        await world.kill(world.portfolio)
        del world.disks["portfolio"]._files["portfolio.journal"]  # by a person
        world.portfolio = await world.begin(PortfolioService)
        await world.report("13990", "0.1", through="1")
        await world.fill(Side.BUY, "0.1", "100000", "5", trade="1")  # it is in what was adopted
        for _ in range(3):
            await world.mark("100000")
            await asyncio.sleep(0.6)
        snapshot = world.portfolio.snapshot
        assert (snapshot.wallet, snapshot.baseline, snapshot.reconciled) == (D(13990), D(13990), True)
        assert not world.leases[-1].reduce_only

    in_world(story)


@pytest.mark.parametrize("restart", [False, True])
def test_a_new_baseline_granted_before_a_transfer_was_seen_moves_with_it(in_world: Any, restart: bool) -> None:
    async def story(world: Any) -> None:
        bus, now = world._buses["emergency_stop"], world.clocks.market.now()
        judged = world.portfolio.snapshot
        await move(world, 1, "14000")  # booked after the snapshot that the reset was granted on
        if restart:
            await again(world)
        await bus.publish(BaselineReset(now, 5, judged.equity, "ada", judged.transfers), time=now)
        await world.report("28000")
        await world.mark("100000")
        assert world.portfolio.snapshot.baseline == 28000
        judged = world.portfolio.snapshot
        await bus.publish(BaselineReset(now, 6, judged.equity, "ada", judged.transfers), time=now)
        await world.mark("100000")
        assert world.portfolio.snapshot.baseline == 28000  # that snapshot had the transfer in it

    in_world(story)
