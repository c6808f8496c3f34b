"""A ledger that cannot be right: silent symbols, wrong clocks, lost fills, money nobody booked, a full disk at midnight."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import Side
from breakwater.domain.policy import TradingDay
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.events import AccountReported, MarkPrice, VenuePosition
from breakwater.runtime.ports import DiskError

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


async def report(world: Any, wallet: str, held: dict[Symbol, str], through: dict[str, str]) -> None:
    now = world.clocks.market.now()
    positions = tuple(VenuePosition(symbol, Decimal(size), Decimal(100000), 10) for symbol, size in held.items())
    await world.say(AccountReported(now, Decimal(wallet), Decimal(0), positions, 0, 0, through))


async def long_btc(world: Any) -> None:
    await world.fill(Side.BUY, "0.1", "100000", "5")
    await report(world, "13995", {BTC: "0.1"}, {"BTCUSDT": "1"})
    await world.mark("100000")


def test_one_silent_symbol_among_several_closes_the_stop(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        for _ in range(9):
            await asyncio.sleep(1)
            await world.mark("4000", ETH)
        assert not world.leases[-1].reduce_only
        for _ in range(3):
            await asyncio.sleep(1)
            await world.mark("4000", ETH)
        assert world.portfolio.snapshot.marks_missing == (BTC,)
        assert world.portfolio.snapshot.positions[0].mark_price == 100000
        assert "BTCUSDT" in world.leases[-1].reduce_only_reason
        await world.mark("99000")
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_silent_symbol_without_a_position_is_nobodys_concern(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await world.mark("4000", ETH)
        await long_btc(world)
        for _ in range(15):
            await asyncio.sleep(1)
            await world.mark("100000")
        assert not world.leases[-1].reduce_only

    in_world(story)


def test_a_mark_from_the_future_does_not_shut_out_the_next_ones(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        now = world.clocks.market.now()
        await world.market.publish(MarkPrice(BTC, Decimal(100000), now + timedelta(hours=1)), time=now)
        await asyncio.sleep(0.5)
        await world.mark("92000")
        assert world.portfolio.snapshot.equity == Decimal(13195)
        await asyncio.sleep(11)
        await report(world, "13995", {BTC: "0.1"}, {"BTCUSDT": "1"})
        assert world.leases[-1].reduce_only  # silent since, whatever that mark said

    in_world(story)


def test_fills_on_one_symbol_do_not_explain_a_difference_on_another(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        for _ in range(2):  # read before our last fill on BTC, but the ETH position is none of ours
            await world.fill(Side.BUY, "0.01", "100000")
            through = {"BTCUSDT": str(world.trades - 1)}
            quantity = Decimal("0.1") + Decimal("0.01") * (world.trades - 2)
            await report(world, "13995", {BTC: str(quantity), ETH: "3"}, through)
        assert "ETHUSDT: the ledger holds 0, the venue 3" in world.portfolio.drift
        assert world.leases[-1].reduce_only

    in_world(story)


def test_reports_that_are_always_overtaken_do_not_hide_drift_for_ever(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        for _ in range(8):
            await world.fill(Side.BUY, "0.01", "100000")
            await report(world, "12000", {BTC: "0.1"}, {"BTCUSDT": str(world.trades - 1)})
        assert "12000" in world.portfolio.drift
        assert not world.portfolio.snapshot.reconciled

    in_world(story)


def test_money_without_a_trade_is_called_funding_or_transfer(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        for _ in range(2):
            await report(world, "13992.5", {BTC: "0.1"}, {"BTCUSDT": "1"})
        assert "-2.5 USDT came from a funding payment or a transfer" in world.portfolio.drift
        assert world.leases[-1].reduce_only

    in_world(story)


def test_a_fill_that_cannot_be_booked_is_drift_and_ends_the_service(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        book = world.portfolio._book

        def broken(fill: Any) -> None:
            raise ArithmeticError("planted")

        world.portfolio._book = broken
        await world.fill(Side.BUY, "0.1", "100000", "5")
        assert "BTCUSDT 2 cannot be booked" in world.portfolio.drift
        assert world.portfolio.failed.done()
        await world.mark("100000")
        assert not world.portfolio.snapshot.reconciled
        assert world.leases[-1].reduce_only
        world.portfolio._book = book

    in_world(story)


def test_a_policy_that_moves_the_days_start_does_not_end_the_day(in_world: Any) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)  # 20:00, and the day began at 00:00
        await world.kill(world.stop)  # its leases are no part of this, and there are many in a day
        policy = world.policies.value
        for version, start in ((2, "21:00"), (3, "00:00"), (4, "19:30")):
            world.policies.value = replace(
                policy, policy=replace(policy.policy, day=TradingDay(start)), version=version
            )
            await world.mark("97000")
            snapshot = world.portfolio.snapshot
            assert (str(snapshot.baseline_day), snapshot.baseline) == ("2025-10-10", Decimal(14000))
        await world.kill(world.portfolio)
        world.portfolio = await world.begin(PortfolioService)
        await report(world, "13995", {BTC: "0.1"}, {"BTCUSDT": "1"})
        await world.mark("97000")
        assert world.portfolio.snapshot.baseline == Decimal(14000)
        await asyncio.sleep(4 * 3600)
        await world.mark("97000")  # midnight has passed, 19:30 of the next day has not
        assert world.portfolio.snapshot.baseline == Decimal(14000)
        await asyncio.sleep(19.5 * 3600)
        await world.mark("97000")
        snapshot = world.portfolio.snapshot
        assert (str(snapshot.baseline_day), snapshot.baseline) == ("2025-10-11", Decimal(13695))

    in_world(story)


def test_an_early_end_of_the_day_by_policy_forgives_nothing(in_world: Any) -> None:
    async def story(world: Any) -> None:
        policy = world.policies.value
        world.policies.value = replace(policy, policy=replace(policy.policy, day=TradingDay("21:00")), version=2)
        await world.kill(world.portfolio)
        world.disks["portfolio"]._files.clear()
        world.portfolio = await world.begin(PortfolioService)  # its first day is the one that ends at 21:00
        await world.report("14000")
        await world.mark("100000")
        assert str(world.portfolio.snapshot.baseline_day) == "2025-10-09"
        await long_btc(world)
        await world.mark("92000")
        world.policies.value = replace(policy, version=3)
        await world.mark("92000")
        assert world.portfolio.snapshot.daily_drawdown_pct > 5

    in_world(story)


@pytest.mark.parametrize("healed", [True, False])
def test_a_full_disk_at_midnight_neither_blinds_the_stop_nor_forgives_a_loss(in_world: Any, healed: bool) -> None:
    async def story(world: Any) -> None:
        await long_btc(world)
        await world.kill(world.stop)  # its leases are no part of this, and there are many in four hours
        await asyncio.sleep(4 * 3600 - 30)
        await world.mark("100000")
        await report(world, "13995", {BTC: "0.1"}, {"BTCUSDT": "1"})
        disk = world.disks["portfolio"]
        append = disk.append

        async def full(name: str, data: bytes) -> None:
            raise DiskError("no space left on device")

        disk.append = full
        await asyncio.sleep(60)
        await world.mark("99000")
        assert str(world.portfolio.snapshot.baseline_day) == "2025-10-11"
        assert world.portfolio.snapshot.baseline == Decimal(13995)
        await asyncio.sleep(120)
        await world.mark("97000")  # the equity file takes this one
        if healed:
            disk.append = append
            await world.mark("97000")
        await world.kill(world.portfolio)
        disk.append = append
        world.portfolio = await world.begin(PortfolioService)
        await report(world, "13995", {BTC: "0.1"}, {"BTCUSDT": "1"})
        await world.mark("97000")
        snapshot = world.portfolio.snapshot
        assert (str(snapshot.baseline_day), snapshot.equity) == ("2025-10-11", Decimal(13695))
        assert snapshot.baseline >= Decimal(13995)

    in_world(story)
