"""The whole account as the venue sees it: one reading, all parts or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from breakwater.domain.ids import Symbol
from breakwater.domain.money import ZERO
from breakwater.exchange.errors import Attempt
from breakwater.exchange.messages import AccountReport, AlgoOrderReport, OrderReport, PositionReport
from breakwater.execution.venue_calls import VenueCalls


@dataclass(frozen=True)
class AccountReading:
    """What the venue reported; ``positions`` without flat ones."""

    account: AccountReport
    positions: dict[Symbol, PositionReport]
    orders: tuple[OrderReport, ...]
    algo_orders: tuple[AlgoOrderReport, ...]
    hedge_mode: bool
    """A position or order carries a position side: the account is not in one-way mode."""

    def quantity(self, symbol: Symbol) -> Decimal:
        position = self.positions.get(symbol)
        return position.quantity if position else ZERO


async def read_account(calls: VenueCalls, symbols: Iterable[Symbol] | None) -> AccountReading | str:
    """Read everything; a sentence when a part could not be had. ``symbols`` None asks for orders of all symbols (dearer)."""
    wanted: list[Symbol | None] = [None] if symbols is None else list(symbols)
    account, positions, orders, algo_orders = await asyncio.gather(
        calls.account(),
        calls.positions(),
        asyncio.gather(*(calls.open_orders(symbol) for symbol in wanted)),
        asyncio.gather(*(calls.open_algo_orders(symbol) for symbol in wanted)),
    )
    parts: list[tuple[str, Attempt[Any]]] = [("account", account), ("positions", positions)]
    parts += [("open orders", part) for part in orders]
    parts += [("open conditional orders", part) for part in algo_orders]
    for name, part in parts:
        if part.value is None:
            return f"{name} could not be read: {part.outcome} {part.message}".rstrip()
    assert account.value is not None
    assert positions.value is not None
    plain = [order for page in orders for order in page.value or ()]
    algos = [order for page in algo_orders for order in page.value or ()]
    if not any(p.quantity for p in positions.value) and account.value.maintenance_margin > ZERO:
        return "positions could not be read: none are listed, but the account holds maintenance margin for some"
    held = [p for p in positions.value if p.quantity != ZERO]
    sides = {p.position_side for p in held} | {o.position_side for o in plain} | {a.position_side for a in algos}
    return AccountReading(
        account.value, {p.symbol: p for p in held}, tuple(plain), tuple(algos), hedge_mode=bool(sides - {"BOTH"})
    )
