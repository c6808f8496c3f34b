"""The whole account as the venue sees it: one reading, all parts or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from breakwater.domain.ids import Symbol
from breakwater.domain.money import ZERO
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
    account, positions, *orders = await asyncio.gather(
        calls.account(),
        calls.positions(),
        *(calls.open_orders(symbol) for symbol in wanted),
        *(calls.open_algo_orders(symbol) for symbol in wanted),
    )
    for name, part in (("account", account), ("positions", positions), *(("open orders", o) for o in orders)):
        if part.value is None:
            return f"{name} could not be read: {part.outcome} {part.message}".rstrip()
    assert account.value is not None
    assert positions.value is not None
    plain: list[OrderReport] = []
    algos: list[AlgoOrderReport] = []
    for part in orders:
        for order in part.value or ():
            if isinstance(order, OrderReport):
                plain.append(order)
            else:
                algos.append(order)
    held = [p for p in positions.value if p.quantity != ZERO]
    sides = {p.position_side for p in held} | {o.position_side for o in plain} | {a.position_side for a in algos}
    return AccountReading(
        account.value, {p.symbol: p for p in held}, tuple(plain), tuple(algos), hedge_mode=bool(sides - {"BOTH"})
    )
