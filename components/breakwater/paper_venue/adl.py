"""Auto-deleveraging: the exchange closes a position, or a part of it, against somebody who was liquidated."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper


def deleverage(
    ledger: Ledger, orders: OrderBookKeeper, name: str, symbol: str, quantity: Decimal | None, now: Now
) -> None:
    """Close `quantity` base units (None: all) of the account's position at the last price, at the taker's fee.

    Raises ValueError when there is no such position.
    """
    account = ledger.account(name)
    held = ledger.position(account, ledger.spec(symbol).symbol).qty
    wanted = abs(held) if quantity is None else quantity
    if not 0 < wanted <= abs(held):
        raise ValueError(f"cannot deleverage {wanted} {symbol} of {name}: it holds {held}")
    price = ledger.last_price(symbol)
    request = NewOrder(
        symbol=symbol,
        side="SELL" if held > 0 else "BUY",
        type="MARKET",
        quantity=wanted,
        client_order_id=f"adl_autoclose-{now.market_ms}{ledger.state.counters.order_id % 1000:03d}",
    )
    order = orders.accept_forced(account, request, now, kind="adl")
    orders.fill(account, order, wanted, price, now, maker=False, execution="CALCULATED")
