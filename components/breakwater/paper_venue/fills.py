"""Books one fill: position, wallet, fee, realised profit, isolated margin. Exact.

Realised profit and commission are rounded to 8 decimals (as published), and the wallet moves by exactly the
published numbers. What rounding takes from a partial close stays in the position's cost, so nothing is ever
lost: wallet = start + sum(realizedPnl) - sum(commission) + sum(funding, transfers) holds to the last digit.
"""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Income, Order, Position, Trade
from breakwater.paper_venue.money import ZERO, round8, round8_down


def split_fill(position_qty: Decimal, signed: Decimal) -> tuple[Decimal, Decimal]:
    """Split a signed fill into the part that closes and the part that opens (both signed)."""
    if position_qty == 0 or (position_qty > 0) == (signed > 0):
        return ZERO, signed
    if abs(signed) <= abs(position_qty):
        return signed, ZERO
    return -position_qty, signed + position_qty


def book_position(position: Position, signed: Decimal, price: Decimal) -> Decimal:
    """Apply a signed fill to a position. Returns the realised profit, rounded to 8 decimals."""
    closing, opening = split_fill(position.qty, signed)
    realized = ZERO
    if closing:
        before = position.qty
        proceeds = -closing * price
        if closing == -before:
            realized = round8(proceeds - position.cost)
            position.cost = ZERO
            position.isolated_wallet = ZERO
        else:
            realized = round8(proceeds - position.cost * -closing / before)
            position.cost -= proceeds - realized
            position.isolated_wallet = round8_down(position.isolated_wallet * (before + closing) / before)
        position.qty = before + closing
        position.realized_total += realized
    if opening:
        if not position.qty:
            position.realized_total = ZERO
        position.qty += opening
        position.cost += opening * price
        if position.isolated:
            position.isolated_wallet += round8(abs(opening) * price / position.leverage)
    return realized


def book_fill(
    ledger: Ledger,
    account: Account,
    order: Order,
    qty: Decimal,
    price: Decimal,
    commission: Decimal,
    maker: bool,
    market_ms: int,
) -> Trade:
    """Book a fill of an order and return the trade. The order's own status is the caller's business."""
    counters = ledger.state.counters
    position = ledger.position(account, order.symbol)
    realized = book_position(position, qty if order.side == "BUY" else -qty, price)
    position.update_time = market_ms
    order.executed_qty += qty
    order.cum_quote += qty * price
    order.update_time = market_ms
    account.wallet += realized - commission
    account.update_time = market_ms
    counters.trade_id += 1
    trade = Trade(
        trade_id=counters.trade_id,
        order_id=order.order_id,
        account=account.name,
        symbol=order.symbol,
        side=order.side,
        price=price,
        qty=qty,
        quote_qty=qty * price,
        realized_pnl=realized,
        commission=commission,
        time=market_ms,
        maker=maker,
    )
    ledger.add_trade(trade)
    for kind, amount in (("REALIZED_PNL", realized), ("COMMISSION", -commission)):
        if amount:
            add_income(ledger, account, order.symbol, kind, amount, market_ms, trade.trade_id)
    ledger.touch_account(account)
    return trade


def add_income(
    ledger: Ledger, account: Account, symbol: str, kind: str, amount: Decimal, market_ms: int, trade_id: int = 0
) -> None:
    counters = ledger.state.counters
    counters.tran_id += 1
    ledger.add_income(
        Income(
            tran_id=counters.tran_id,
            account=account.name,
            symbol=symbol,
            income_type=kind,
            income=amount,
            time=market_ms,
            trade_id=trade_id,
        )
    )
