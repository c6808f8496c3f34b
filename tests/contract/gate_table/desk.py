"""Plays a row on a real desk: the Execution component with unmodified ccxt and the paper venue's core, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from tests.contract.gate_table.row import Ask, Before, Row, State
from tests.integration.execution.conftest import (
    BTC,
    CREDENTIALS,
    ETH,
    SEED,
    START,
    FixedPolicy,
    Rig,
    lost_reply,
    never_arrived,
)

from breakwater.domain.ids import ProposalId
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import LimitOverrides, PolicySpec, TradingMode
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.client import make_client
from breakwater.runtime.events import OrderRefused, StopLease
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

LONGER_THAN_ANYTHING_IS_FRESH_S = 12
SETTLING_S = 3


@dataclass(frozen=True)
class After:
    """The venue's account afterwards, and our gate's answer to the last order (None: sent, or nothing was asked)."""

    position: Decimal
    resting: int
    code: RefusalCode | None


class HeldPolicy(FixedPolicy):
    hold = ""

    def current(self) -> PolicyInForce | None:
        in_force = super().current()
        return msgspec.structs.replace(in_force, hold=self.hold) if in_force else None


class TableRig(Rig):
    """The rig of the execution tests with a stop that can allow exits only, and a policy that can be on hold."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.held_policy = self.policy = HeldPolicy()
        self.exits_only = False

    async def lease(self) -> None:
        self._sequence += 1
        now = self.clocks.infra.utc_now()
        view = StopView(
            self._state,
            self._epoch,
            self._sequence,
            now,
            Decimal(1),
            reduce_only=self.exits_only,
            reduce_only_reason="first snapshot over a limit" if self.exits_only else "",
            trip=self._trip,
        )
        await self.say("emergency_stop", StopLease(view), state=True)

    def open_entries(self) -> int:
        return sum(1 for symbol in (BTC, ETH) for order in self.resting(symbol) if not order.reduce_only)


def play(row: Row, *, seed: int = SEED) -> After:
    """The row's outcome on our desk."""

    async def main(simulation: Simulation) -> After:
        rig = TableRig(simulation)
        await rig.ready()
        limits = dict(row.limits)
        mode = TradingMode(limits.pop("trading_mode", TradingMode.PAPER.value))
        rig.policy.spec = PolicySpec(symbols=(BTC, ETH), trading_mode=mode, limits=LimitOverrides(**limits))
        await _prepare(rig, row)
        await rig.snapshot(str(row.equity))
        await _bring_into(rig, row.state)
        code = await _ask_all(rig, row)
        await rig.sleep(SETTLING_S)
        after = After(rig.held(), rig.open_entries(), code)
        await rig.close()
        return after

    return run_virtual(main, seed=seed, start=START)


def proposal(ask: Ask, number: int, now: datetime) -> Proposal:
    """The order as the risk manager proposes it, or as execution makes its own exits."""
    common: dict[str, Any] = {
        "proposal_id": ProposalId(f"p-{number - ask.same_id}"),
        "symbol": BTC,
        "role": ask.role,
        "side": ask.side,
        "quantity": ask.quantity,
        "created_at": now,
    }
    if ask.role is OrderRole.ENTRY:
        common |= {
            "order_type": OrderType.LIMIT,
            "reduce_only": False,
            "price": Decimal("100500"),
            "time_in_force": TimeInForce.IOC,
            "expires_at": now + timedelta(seconds=ask.valid_s),
            "leverage": 10,
            "protection": Protection(Decimal("98000")),
            "provenance": Provenance("heuristic:long", DataKind.MARKET),
        }
    else:
        common |= {"order_type": OrderType.MARKET, "reduce_only": True}
    return Proposal(**(common | ask.changes))


async def _prepare(rig: TableRig, row: Row) -> None:
    """The position and whatever else there is, made by the desk itself while it was open."""
    now = rig.clocks.market.now()
    if row.held:
        side = Side.BUY if row.held > 0 else Side.SELL
        stop, target = ("98000", "104000") if side is Side.BUY else ("102000", "96000")
        price = "100500" if side is Side.BUY else "99500"
        entry = rig.entry(
            "held",
            side=side,
            quantity=abs(row.held),
            price=Decimal(price),
            protection=Protection(Decimal(stop), Decimal(target)),
            provenance=Provenance("heuristic:long", DataKind.MARKET),
        )
        await rig.propose(entry, wait=1)
        assert rig.held() == row.held, rig.said(OrderRefused)
        assert rig.stops(), "a stop rests"
        assert [o for o in rig.resting() if o.reduce_only], "a target rests"
    if row.before in {Before.ETH_RESTING, Before.ETH_POSITION}:
        rests = row.before is Before.ETH_RESTING
        await rig.propose(eth_entry(now, rests=rests), wait=1)
        assert rig.open_entries() == 1 if rests else rig.held(ETH) == Decimal("4.5"), rig.said(OrderRefused)
    if row.before is Before.BTC_RESTING:
        await rig.propose(rig.entry("resting", price=Decimal(99_900), time_in_force=TimeInForce.GTX), wait=1)
        assert rig.open_entries() == 1, rig.said(OrderRefused)
    if row.before is Before.REPLY_LOST:
        rig.venue.fail("POST", "/fapi/v1/order", lost_reply)
        rig.venue.fail("GET", "", never_arrived, times=1000)  # nor can it be asked for, nor does the stream tell
        rig.venue.fail("POST", "listenKey", never_arrived, times=1000)
        assert rig._session is not None
        rig._session.drop_streams()


def eth_entry(now: datetime, *, rests: bool) -> Proposal:
    """18,000 USDT of ETHUSDT."""
    return Proposal(
        proposal_id=ProposalId("eth"),
        symbol=ETH,
        role=OrderRole.ENTRY,
        side=Side.BUY,
        quantity=Decimal("4.5"),
        order_type=OrderType.LIMIT,
        created_at=now,
        reduce_only=False,
        price=Decimal(3995 if rests else 4015),
        time_in_force=TimeInForce.GTX if rests else TimeInForce.IOC,
        expires_at=now + timedelta(seconds=60),
        leverage=10,
        protection=Protection(Decimal(3960)),
        provenance=Provenance("heuristic:long", DataKind.MARKET),
    )


async def _bring_into(rig: TableRig, state: State) -> None:
    match state:
        case State.OPEN | State.EQUITY_NEGATIVE:
            pass
        case State.STOP_REDUCE_ONLY:
            rig.exits_only = True
            await rig.lease()
        case State.TRIPPED:
            await rig.trip(close_positions=False)
        case State.COOLING_DOWN:
            await rig.stop_state(StopState.COOLING_DOWN)
        case State.HALTED:
            await rig.service.halt("anna", "news")
        case State.LEASE_EXPIRED:
            rig.silence_stop()
            await rig.sleep(2)
        case State.DISABLED_LIVE:
            await rig.stop_state(StopState.DISABLED)
            rig.policy.spec = PolicySpec(symbols=(BTC, ETH), trading_mode=TradingMode.LIVE)
        case State.POLICY_MISSING:
            rig.policy.spec = None
        case State.POLICY_STALE:
            rig.policy.stale = True
        case State.POLICY_HOLD:
            rig.held_policy.hold = "a symbol was dropped"
        case State.NOT_RECONCILED:
            await _foreign_position(rig)
        case State.MARK_MISSING:
            await rig.sleep(LONGER_THAN_ANYTHING_IS_FRESH_S)
            await rig.snapshot()
        case State.EQUITY_MISSING:
            await rig.sleep(LONGER_THAN_ANYTHING_IS_FRESH_S)
            for symbol in (BTC, ETH):
                await rig.mark(symbol)
        case State.SYMBOL_REMOVED:
            rig.policy.spec = PolicySpec(symbols=(ETH,))
    await rig.sleep(0.05)


async def _foreign_position(rig: TableRig) -> None:
    """Somebody trades the desk's account by hand."""
    session = MemorySession(rig.core, rig.clocks)
    client = make_client(MEMORY_ENDPOINT, CREDENTIALS, rig.clocks.infra, session=session)
    await client.create_order("ETH/USDT:USDT", "market", "buy", 0.5)
    await client.close()
    await session.close()
    rig.service.parts.reconciler.request()
    await rig.sleep(2)


async def _ask_all(rig: TableRig, row: Row) -> RefusalCode | None:
    """Send every order of the row. The answer to the last one."""
    exits: list[asyncio.Task[RefusalCode | None]] = []
    code: RefusalCode | None = None
    for number, ask in enumerate(row.asks, start=1):
        if number > 1:
            await rig.sleep(row.gap_s)
        order = proposal(ask, number, rig.clocks.market.now())
        if ask.role is OrderRole.ENTRY:
            refused = len(rig.said(OrderRefused))
            await rig.propose(order, wait=0.1)
            said = rig.said(OrderRefused)[refused:]
            code = said[-1].refusal.code if said else None
        else:
            exits.append(asyncio.ensure_future(_exit(rig, order)))
    return (await asyncio.gather(*exits))[-1] if exits else code


async def _exit(rig: TableRig, order: Proposal) -> RefusalCode | None:
    sent = await rig.service.parts.sender.execute(order)
    return sent.refusal.code if sent.refusal else None
