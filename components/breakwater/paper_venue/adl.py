"""Auto-deleveraging: the exchange closes a position, or a part of it, against somebody who was liquidated."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Now, Position
from breakwater.paper_venue.money import ZERO
from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper


def deleverage(
    ledger: Ledger,
    orders: OrderBookKeeper,
    name: str,
    symbol: str,
    quantity: Decimal | None,
    now: Now,
    *,
    price: Decimal | None = None,
) -> None:
    """Close `quantity` base units (None: all) of the account's position at `price` (None: the last), at the taker's fee.

    Raises ValueError when there is no such position.
    """
    account = ledger.account(name)
    held = ledger.position(account, ledger.spec(symbol).symbol).qty
    wanted = abs(held) if quantity is None else quantity
    if not 0 < wanted <= abs(held):
        raise ValueError(f"cannot deleverage {wanted} {symbol} of {name}: it holds {held}")
    request = NewOrder(
        symbol=symbol,
        side="SELL" if held > 0 else "BUY",
        type="MARKET",
        quantity=wanted,
        client_order_id=f"adl_autoclose-{now.market_ms}{ledger.state.counters.order_id % 1000:03d}",
    )
    order = orders.accept_forced(account, request, now, kind="adl")
    at = ledger.last_price(symbol) if price is None else price
    orders.fill(account, order, wanted, at, now, maker=False, execution="CALCULATED")


def deleverage_against(
    ledger: Ledger, orders: OrderBookKeeper, liquidated: Position, quantity: Decimal, price: Decimal, now: Now
) -> Decimal:
    """Close positions opposite to a liquidated one at `price`, those who gain most first. Returns what nobody holds.

    Called while the liquidated position still stands.
    """
    symbol, left = liquidated.symbol, quantity
    for account, position in _ranked(ledger, liquidated):
        part = min(left, abs(position.qty))
        if part > 0:
            deleverage(ledger, orders, account.name, symbol, part, now, price=price)
            left -= part
    return left


def _ranked(ledger: Ledger, liquidated: Position) -> list[tuple[Account, Position]]:
    """Who stands on the other side, by profit ratio times leverage as on the exchange (losses: divided by it)."""
    mark = ledger.last_price(liquidated.symbol)
    opposite = [
        (account, position)
        for account in ledger.state.accounts.values()
        if (position := account.positions.get(liquidated.symbol)) is not None and position.qty * liquidated.qty < 0
    ]

    def rank(entry: tuple[Account, Position]) -> Decimal:
        position = entry[1]
        ratio = position.unrealized(mark) / abs(position.cost) if position.cost else ZERO
        return ratio * position.leverage if ratio > 0 else ratio / position.leverage

    return sorted(opposite, key=rank, reverse=True)
