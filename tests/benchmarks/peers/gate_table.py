"""The gate's correctness table on an account that nautilus_trader's RiskEngine guards.

Its verdict is asked for on a margin account, with ACTIVE, REDUCING or HALTED for the desk's state; what it lets through
goes to our paper venue with ccxt, from the same starting account, and that account is judged as ours is.
"""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
from tests.benchmarks.peers.process import Peer
from tests.contract.gate_table.desk import eth_entry, proposal
from tests.contract.gate_table.row import PEER_KNOWS, Before, Row, State
from tests.integration.execution.conftest import BTC, CREDENTIALS, ETH, SEED, START

from breakwater.domain.money import plain
from breakwater.domain.orders import OrderType, Proposal, TimeInForce
from breakwater.exchange.client import UsdmClient, make_client
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import KNOWN_SYMBOLS, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Tick
from breakwater.simulation.run import Simulation, run_virtual
from breakwater.simulation.transport import MEMORY_ENDPOINT, MemorySession

MAX_NOTIONAL = "60000"
NAMES = {BTC: "BTC/USDT:USDT", ETH: "ETH/USDT:USDT"}
TRADING_STATE = {
    State.STOP_REDUCE_ONLY: "REDUCING",
    State.TRIPPED: "HALTED",
    State.COOLING_DOWN: "REDUCING",
    State.HALTED: "HALTED",
}
"""What a person would set it to; what it cannot be told of leaves it ACTIVE."""


def play_with_nautilus(row: Row, peer: Peer) -> str:
    """What is wrong with the account afterwards; empty when it is as the row says."""

    async def main(simulation: Simulation) -> str:
        account = Account(simulation)
        try:
            await account.prepare(row)
            await account.ask_all(row, peer)
            return row.judge(account.held(), account.open_entries())
        finally:
            await account.close()

    return run_virtual(main, seed=SEED, start=START)


class Account:
    """An account at the paper venue and a bare client of it."""

    def __init__(self, simulation: Simulation) -> None:
        self.clocks = simulation.clocks
        self.venue = PaperVenue(VenueConfig())
        now = venue_now(self.clocks)
        for symbol, price in ((BTC, 100_000), (ETH, 4_000)):
            self.venue.on_tick(Tick(symbol, now.market_ms, Decimal(price)), now)
        self.session = MemorySession(self.venue, self.clocks)
        self.client: UsdmClient = make_client(MEMORY_ENDPOINT, CREDENTIALS, self.clocks.infra, session=self.session)

    async def close(self) -> None:
        await self.client.close()
        await self.session.close()

    def held(self) -> Decimal:
        position = self.venue.ledger.state.accounts["paper"].positions.get(BTC)
        return position.qty if position else Decimal(0)

    def open_entries(self) -> int:
        orders = [order for symbol in NAMES for order in self.venue.ledger.open_orders("paper", symbol)]
        return sum(1 for order in orders if not order.reduce_only)

    async def prepare(self, row: Row) -> None:
        for symbol in NAMES:
            await self.client.fapiPrivatePostMarginType({"symbol": symbol, "marginType": "ISOLATED"})
            await self.client.fapiPrivatePostLeverage({"symbol": symbol, "leverage": "10"})
        btc = NAMES[BTC]
        if row.held:
            long, size = row.held > 0, float(abs(row.held))
            side, out = ("buy", "sell") if long else ("sell", "buy")
            await self.client.create_order(btc, "market", side, size)
            stop, target = (98_000, 104_000) if long else (102_000, 96_000)
            await self.client.create_order(btc, "market", out, size, None, {"stopLossPrice": stop, "reduceOnly": True})
            await self.client.create_order(btc, "limit", out, size, target, {"reduceOnly": True})
        if row.before in {Before.ETH_RESTING, Before.ETH_POSITION}:
            await self._send(eth_entry(self.clocks.market.now(), rests=row.before is Before.ETH_RESTING))
        if row.before is Before.BTC_RESTING:
            await self.client.create_order(btc, "limit", "buy", 0.12, 99_900, {"postOnly": True})

    async def ask_all(self, row: Row, peer: Peer) -> None:
        known_held = self.held()
        in_flight: list[dict[str, Any]] = []
        for number, ask in enumerate(row.asks, start=1):
            order = proposal(ask, number, self.clocks.market.now())
            # What it has heard of by then: fills arrive between orders that follow each other, unless the reply is lost.
            if row.gap_s and row.before is not Before.REPLY_LOST:
                known_held = self.held()
            asked = _as_asked(order)
            sent, _ = peer.ask(
                "verdict",
                state=TRADING_STATE.get(row.state, "ACTIVE"),
                account="none" if row.state is State.EQUITY_MISSING else "margin",
                equity=plain(max(row.equity, Decimal(0))),
                rules=_rules(),
                price=None if row.state is State.MARK_MISSING else "100000",
                held=plain(known_held),
                max_notional=MAX_NOTIONAL,
                orders_before=in_flight,
                order=asked,
            )
            if sent:
                in_flight.append(asked)
                await self._send(order)

    async def _send(self, order: Proposal) -> None:
        """As an adapter would; what the venue refuses changes nothing, whoever sent it."""
        params: dict[str, Any] = {"reduceOnly": True} if order.reduce_only else {}
        if order.time_in_force is TimeInForce.GTX:
            params["postOnly"] = True
        elif order.time_in_force is not None:
            params["timeInForce"] = order.time_in_force.value
        kind = "market" if order.order_type is OrderType.MARKET else "limit"
        price = None if order.price is None else plain(order.price)
        with contextlib.suppress(ccxt.BaseError):
            await self.client.create_order(
                NAMES[order.symbol], kind, order.side.value.lower(), plain(order.quantity), price, params
            )


def _as_asked(order: Proposal) -> dict[str, Any]:
    return {
        "id": str(order.proposal_id),
        "side": order.side.value,
        "type": order.order_type.value,
        "quantity": str(order.quantity),
        "price": None if order.price is None else str(order.price),
        "force": None if order.time_in_force is None else order.time_in_force.value,
        "reduce_only": order.reduce_only,
    }


def _rules() -> dict[str, str]:
    spec = KNOWN_SYMBOLS[BTC]
    return {
        "symbol": spec.symbol,
        "tick": plain(spec.tick_size),
        "step": plain(spec.step_size),
        "most": plain(spec.max_qty),
        "min_notional": plain(spec.min_notional),
    }


def has_a_notion_of(row: Row) -> bool:
    return row.peer_knows and row.state in PEER_KNOWS
