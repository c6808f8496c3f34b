"""Money that moves without an order: funding, transfers, deleveraging, liquidation; the real portfolio keeps the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.ids import TradeId
from breakwater.domain.movements import MovementKind
from breakwater.domain.signals import DataKind
from breakwater.exchange.messages import TradeReport
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import AccountMoved, OrderFilled
from breakwater.simulation.bus import MemoryBus
from breakwater.simulation.stores import MemoryDisk

D = Decimal
Play = Callable[..., Any]
INCOME = "/fapi/v1/income"


class Account:
    """The rig's desk with a portfolio of its own that outlives execution."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self.disk = MemoryDisk()
        self.service: Any = None
        self._bus: Any = None

    async def begin(self) -> None:
        played = self.rig._buses.pop("portfolio", None)  # until now the test spoke for it
        if played is not None:
            await played.stop()
        desk, clocks = self.rig.service._context.desk, self.rig.clocks
        self._bus = MemoryBus(self.rig.broker, desk, "portfolio", clocks.infra)
        context = ComponentContext(desk, clocks, self._bus, self.disk, self.rig.policy, DataKind.SYNTHETIC)
        self.service = PortfolioService(context)
        await self.service.start()
        await self._bus.start()
        self.rig._buses["portfolio"] = self._bus
        await self.rig.sleep(6)
        await self.look()

    async def look(self) -> Any:
        """A mark for every symbol, and the snapshot at it."""
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await self.rig.mark(symbol)
        await self.rig.sleep(0.05)
        return self.service.snapshot

    async def agrees(self) -> Any:
        """Compared with the venue since, equal to the last digit, and reconciled. The snapshot."""
        await self.rig.sleep(6)
        snapshot = await self.look()
        account = self.rig.core.ledger.account("paper")
        assert snapshot.reconciled, self.service.drift
        assert snapshot.wallet == account.wallet
        held = {symbol: position.qty for symbol, position in account.positions.items() if position.qty}
        assert {position.symbol: position.quantity for position in snapshot.positions} == held
        return snapshot

    @property
    def ledger(self) -> Any:
        return self.service._books.ledger


def moved(rig: Any) -> list[tuple[str, Decimal]]:
    return [(event.movement.kind.value, event.movement.amount) for event in rig.said(AccountMoved)]


def transfer(rig: Any, amount: str) -> None:
    rig.core.transfer("paper", D(amount), rig._session.now())


def funding(rig: Any, rate: str = "0.0001") -> None:
    rig.core.pay_funding(D(rate), rig._session.now())


def test_funding_is_booked_once_as_the_days_result(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        funding(rig)
        await rig.sleep(1)
        assert moved(rig) == [("FUNDING", D("-1.2"))]
        snapshot = await account.agrees()
        assert (snapshot.funding_today, account.ledger.funding) == (D("-1.2"), D("-1.2"))
        assert snapshot.baseline == 14000
        funding(rig, "-0.0002")
        snapshot = await account.agrees()
        assert (snapshot.funding_today, moved(rig)[1:]) == (D("1.2"), [("FUNDING", D("2.4"))])
        assert rig.said(AccountMoved)[0].movement.symbol == "BTCUSDT"
        await rig.sleep(95)  # the list is read again and again
        assert len(moved(rig)) == 2

    play(scenario)


def test_funding_falls_due_by_itself_and_is_booked(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        rig.core.ledger.config = replace(rig.core.ledger.config, funding_interval_ms=20_000)
        for _ in range(3):
            await rig.sleep(10)
            rig.tick("BTCUSDT", "100000")
        snapshot = await account.agrees()
        assert len(moved(rig)) >= 2
        assert snapshot.funding_today == D("-1.2") * len(moved(rig))

    play(scenario)


@pytest.mark.parametrize("amount", ["7000", "-7000"])
def test_a_transfer_moves_the_baseline_and_not_the_drawdown(play: Play, amount: str) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        await rig.move("BTCUSDT", "99000")
        before = await account.look()
        assert before.daily_drawdown_pct > D("0.9")
        transfer(rig, amount)
        await rig.sleep(1)
        assert moved(rig) == [("TRANSFER", D(amount))]
        after = await account.agrees()
        assert after.equity == before.equity + D(amount)
        assert abs(after.daily_drawdown_pct - before.daily_drawdown_pct) < D("1e-15")
        assert after.funding_today == 0
        await account.service.stop()
        await rig._buses.pop("portfolio").stop()
        await account.begin()  # from its journal
        again = await account.agrees()
        assert (again.baseline, again.wallet) == (after.baseline, after.wallet)

    play(scenario)


def test_what_moved_while_execution_was_away_is_booked_once(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        funding(rig)
        await account.agrees()
        await rig.kill()
        transfer(rig, "250.5")
        funding(rig)
        await rig.sleep(30)
        await rig.start()
        await account.agrees()
        assert moved(rig) == [("FUNDING", D("-1.2")), ("TRANSFER", D("250.5")), ("FUNDING", D("-1.2"))]
        await rig.kill()
        await rig.start()
        await account.agrees()
        assert len(moved(rig)) == 3

    play(scenario)


def test_killed_before_it_was_noted_a_movement_comes_again_and_counts_once(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)

        async def never(record: Any) -> bool:
            await rig.sleep(3600)
            return True

        rig.service.parts.movements._journal.append_or_log = never
        funding(rig)
        await rig.sleep(1)
        await rig.kill()
        await rig.start()
        await account.agrees()
        assert moved(rig) == [("FUNDING", D("-1.2"))] * 2
        assert account.ledger.funding == D("-1.2")
        assert account.service.counters["repeated_movements"] == 1

    play(scenario)


def test_a_silent_stream_is_made_up_for_by_the_wallet(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        rig.service._client.tap = None  # connected, and delivers nothing
        transfer(rig, "-100")
        await account.agrees()
        assert moved(rig) == [("TRANSFER", D(-100))]
        assert account.service.counters["drifts"] == 0

    play(scenario)


def test_a_row_that_comes_late_heals_the_drift(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        late = rig.venue.fail("GET", INCOME, faults.answer(200, "[]"), times=99)
        transfer(rig, "-100")
        await rig.sleep(12)
        snapshot = await account.look()
        assert not snapshot.reconciled
        assert "-100 USDT came from a funding payment or a transfer" in account.service.drift
        late[0] = 0
        await rig.sleep(95)
        await account.agrees()
        assert moved(rig) == [("TRANSFER", D(-100))]
        assert rig.service.books.unexplained == 0

    play(scenario)


def row(**changes: Any) -> dict[str, Any]:
    base = {"symbol": "", "incomeType": "TRANSFER", "income": "-100.00000000", "asset": "USDT", "info": "TRANSFER",
            "time": 1760126409000, "tranId": 700000001, "tradeId": ""}  # fmt: skip
    return base | changes


BAD = {
    "cut short": (200, json.dumps([row()])[:-9]),
    "a page of HTML": (200, "<html>maintenance</html>"),
    "an empty body": (200, ""),
    "an object": (200, "{}"),
    "not a number": (200, json.dumps([row(income="NaN")])),
    "no amount": (200, json.dumps([row(income=None)])),
    "a float": (200, json.dumps([row(), row(tranId=2, income=-100.1)])),
    "no id": (200, json.dumps([row(tranId="")])),
    "no time": (200, json.dumps([row(time="soon")])),
    "a failure": (500, "oops"),
    "a refusal": (400, '{"code":-1100,"msg":"Illegal characters"}'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_list_that_cannot_be_read_stops_nothing_and_loses_nothing(play: Play, faults: Any, name: str) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        bad = rig.venue.fail("GET", INCOME, faults.answer(*BAD[name]), times=99)
        transfer(rig, "-100")
        await rig.sleep(12)
        assert moved(rig) == []
        assert "the venue's income list could not be read" in rig.service.parts.movements.problem
        assert not (await account.look()).reconciled  # reduce-only
        assert rig.service.books.reconciled  # positions are looked after all the same
        bad[0] = 0
        await rig.sleep(30)
        await account.agrees()
        assert moved(rig) == [("TRANSFER", D(-100))]
        assert rig.service.parts.movements.problem == ""

    play(scenario)


def also(*rows: dict[str, Any]) -> Any:
    """The venue's own answer with further rows."""

    def fault(handle: Any) -> Any:
        response = handle()
        return type(response)(200, response.headers, json.dumps([*json.loads(response.body), *rows]).encode())

    return fault


def test_the_same_id_with_other_numbers_is_an_alarm_and_the_first_stays(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        transfer(rig, "-100")
        await account.agrees()
        tran = rig.said(AccountMoved)[0].movement.tran_id
        now = int(rig.clocks.market.now().timestamp() * 1000)
        rig.venue.fail("GET", INCOME, also(row(tranId=int(tran), income="-250", time=now)), times=1)
        rig.service.parts.movements.expect()
        rig.service.parts.reconciler.request()
        await rig.sleep(0.5)
        assert account.service.counters["bad_movements"] == 1
        assert account.service.counters["drifts"] == 1
        assert account.ledger.transfers == -100
        await account.agrees()  # the wallet says that the first was right

    play(scenario)


def test_a_type_nobody_knows_is_booked_strictly(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        paper = rig.core.ledger.account("paper")
        now = int(rig.clocks.market.now().timestamp() * 1000)
        paper.wallet -= D(7)
        strange = row(tranId=5, incomeType="MOON_TAX", income="-7", time=now)
        rig.venue.fail("GET", INCOME, also(strange, row(tranId=6, asset="BNB", time=now)), times=99)
        snapshot = await account.agrees()
        assert account.ledger.other == -7
        assert account.ledger.transfers == 0  # BNB is another wallet
        assert snapshot.daily_drawdown_pct == D(7) / D(14000) * 100
        assert rig.said(AccountMoved)[0].movement.kind is MovementKind.OTHER

    play(scenario)


def test_a_full_page_is_followed_by_the_next(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        rig.core.ledger.account("paper").wallet += D(11)
        start = int(rig.clocks.market.now().timestamp() * 1000)
        rows = [
            row(tranId=10_000 + n, incomeType="COMMISSION_REBATE", income="0.01", time=start + n // 3)
            for n in range(1100)
        ]

        def paged(handle: Any) -> Any:
            response = handle()
            query = rig.venue.log[-1][2]
            begin = int(query.partition("startTime=")[2].partition("&")[0])
            page = [one for one in rows if one["time"] >= begin][:1000]
            return type(response)(200, response.headers, json.dumps(page).encode())

        rig.venue.fail("GET", INCOME, paged, times=99)
        await rig.sleep(2)
        await account.agrees()
        assert len(moved(rig)) == 1100
        assert account.ledger.other == 11

    play(scenario)


# ------------------------------------------------------------------------------------------------ the venue closes positions


@pytest.mark.parametrize("silent", [False, True], ids=["told by the stream", "found by comparison"])
@pytest.mark.parametrize("part", ["0.050", None], ids=["a part", "all of it"])
def test_a_deleveraged_position_leaves_the_ledger_once(play: Play, part: str | None, silent: bool) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        if silent:
            rig.service._client.tap = None
        rig.core.deleverage("paper", "BTCUSDT", rig._session.now(), quantity=D(part) if part else None)
        await account.agrees()
        fills = [fill for fill in rig.said(OrderFilled) if fill.liquidation]
        assert [(fill.forced_by, fill.quantity) for fill in fills] == [("ADL", D(part or "0.120"))]
        left = D("0.120") - fills[0].quantity
        assert rig.held() == left
        assert rig.service.books.reconciled  # what is left is ours still, and protected
        assert rig.stops() == ([(left, D("98000"))] if left else [])

    play(scenario)


@pytest.mark.parametrize("silent", [False, True], ids=["told by the stream", "found by comparison"])
def test_a_liquidated_position_leaves_the_ledger_once(play: Play, silent: bool) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        if silent:
            rig.service._client.tap = None
        for algo in rig.core.ledger.open_algo_orders("paper", "BTCUSDT"):  # no stop is in the way
            algo.status = "CANCELED"
            rig.core.ledger.put_algo(algo)
        await rig.move("BTCUSDT", "90000")
        assert rig.held() == 0
        snapshot = await account.agrees()
        assert [fill.forced_by for fill in rig.said(OrderFilled) if fill.liquidation] == ["LIQUIDATION"]
        assert snapshot.positions == ()

    play(scenario)


def test_fees_in_another_asset_close_the_gate_until_the_venue_stops_charging_them(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await rig.propose(rig.entry(), wait=1)
        fills = rig.service.parts.fills
        before = rig.said(OrderFilled)[-1]
        trade = TradeReport(
            before.symbol, TradeId(str(int(before.trade_id) + 1)), before.venue_order_id, before.client_order_id,
            before.side, before.price, D("0.001"), D(0), D("0.0002"), "BNB", False, before.time,
        )  # fmt: skip
        await fills.take(trade)
        await rig.sleep(0.05)
        assert rig.said(OrderFilled)[-1].commission_asset == "BNB"
        assert account.ledger.commissions == before.commission
        assert "turn off paying fees in BNB" in fills.foreign_fee
        await rig.sleep(6)
        assert any("BNB" in named for named in rig.service.books.foreign)
        assert rig.service.gate()[0].value == "REDUCE_ONLY"
        await rig.sleep(70)  # asked once a minute
        assert fills.foreign_fee == ""

    play(scenario)
