"""Changing price and quantity of a resting order, which keeps its ids and loses its place in the queue."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue import filters
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin, max_notional, position_margin
from breakwater.paper_venue.matching import reducible
from breakwater.paper_venue.model import Account, Now, Order
from breakwater.paper_venue.money import plain
from breakwater.paper_venue.orders import OrderBookKeeper

MOST_EDITS = 10_000


def amend(
    ledger: Ledger,
    keeper: OrderBookKeeper,
    account: Account,
    order: Order,
    quantity: Decimal,
    price: Decimal,
    *,
    reduce_only: bool,
    modify_id: int | None,
    now: Now,
) -> None:
    """Give an open order a new quantity (base units) and price, then match it like a new one.

    `modify_id` is told in the event. `reduce_only` is only checked against the order's own. An order that has filled the new quantity already, or a post-only one
    that would trade at the new price, is cancelled. Raises VenueError and leaves the order as it was for everything else.
    """
    spec = ledger.spec(order.symbol)
    last = ledger.last_price(order.symbol)
    if reduce_only and not order.reduce_only:
        raise VenueError(-5047, "The original order is not a reduce-only order.")
    if quantity == order.orig_qty and price == order.price:
        raise VenueError(-5027, "No need to modify the order.")
    if order.edits >= MOST_EDITS:
        raise VenueError(-5026, "Exceed maximum modify order limit.")
    filters.check_quantity(spec, quantity, market=False)
    filters.check_price(spec, price)
    filters.check_percent_price(spec, order.side, price, last)
    filters.check_notional(spec, quantity, price, reduce_only=reduce_only)
    if order.reduce_only:
        held = ledger.position(account, order.symbol).qty
        quantity = min(quantity, order.executed_qty + reducible(held, order.side))
    too_late = quantity <= order.executed_qty
    if too_late or (order.time_in_force == "GTX" and keeper.crosses(order.symbol, order.side, price)):
        keeper.close(order, "CANCELED", now)
        return
    _change(ledger, account, order, quantity, price)
    order.edits += 1
    order.update_time = now.market_ms
    ledger.requeue(order)
    keeper.amended(account, order, now, modify_id)


def _change(ledger: Ledger, account: Account, order: Order, quantity: Decimal, price: Decimal) -> None:
    """Set quantity and price if the account can carry them. Raises -2019 or -2027 and changes nothing otherwise."""
    position = ledger.position(account, order.symbol)
    before = order.orig_qty, order.price
    locked = position_margin(ledger, account, position).order_initial
    available = account_margin(ledger, account).available
    order.orig_qty, order.price = quantity, price
    after = position_margin(ledger, account, position)
    if after.order_initial <= locked:
        return
    largest = max_notional(ledger.specs[order.symbol], position.leverage)
    exposure = (after.position_initial + after.order_initial) * position.leverage
    if after.order_initial - locked > available:
        refusal = VenueError(-2019, "Margin is insufficient.")
    elif exposure > largest:
        refusal = VenueError(
            -2027,
            f"Exceeded the maximum allowable position at current leverage: {plain(largest)} USDT at {position.leverage}x.",
        )
    else:
        return
    order.orig_qty, order.price = before
    raise refusal
