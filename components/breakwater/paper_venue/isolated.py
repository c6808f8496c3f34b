"""Margin moved by hand into an isolated position, or out of it."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue import events
from breakwater.paper_venue.errors import VenueError, invalid_value
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin
from breakwater.paper_venue.model import Account, Now, Position
from breakwater.paper_venue.money import round8_down
from breakwater.paper_venue.orders import Emit

ADD, REDUCE = 1, 2


def move_margin(
    ledger: Ledger, emit: Emit, account: Account, position: Position, amount: Decimal, kind: int, now: Now
) -> None:
    """Move `amount` USDT (ADD or REDUCE). What backs the position's initial margin cannot be taken out."""
    if kind not in (ADD, REDUCE):
        raise invalid_value("type", "it is 1 (add) or 2 (reduce)")
    amount = round8_down(amount)
    if amount <= 0:
        raise VenueError(-4055, "Amount must be positive.")
    if not position.isolated:
        raise invalid_value("symbol", "margin can be moved for isolated positions only")
    if not position.qty:
        raise VenueError(-4054, "Cannot add position margin: position is 0.")
    total = account_margin(ledger, account)
    own = total.positions[position.symbol]
    if kind == ADD:
        if amount > total.available:
            raise VenueError(-4050, "Cross balance insufficient.")
        position.isolated_wallet += amount
    else:
        spare = position.isolated_wallet + min(own.unrealized, Decimal(0)) - own.position_initial
        if amount > spare:
            raise VenueError(-4051, "Isolated balance insufficient.")
        position.isolated_wallet -= amount
    position.update_time = account.update_time = now.market_ms
    ledger.touch_account(account)
    mark = ledger.last_price(position.symbol)
    emit(
        account.name,
        events.account_update(account, position, account.cross_wallet, mark, "MARGIN_TRANSFER", now.market_ms),
    )
