"""Margin arithmetic of one account: what is locked, what is free, what a new order would need.

Equity = wallet + unrealised. The wallet includes the margin set aside for isolated positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from breakwater.paper_venue.config import Bracket, SymbolSpec
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Order, Position
from breakwater.paper_venue.money import ZERO, floor_to


def bracket_for(spec: SymbolSpec, notional: Decimal) -> tuple[Bracket, Decimal]:
    """The tier of an absolute notional and its cumulative amount ("cum"), so that margin is continuous."""
    cumulative = ZERO
    floor = ZERO
    previous = ZERO
    for bracket in spec.brackets:
        cumulative += floor * (bracket.ratio - previous)
        if notional <= bracket.cap or bracket is spec.brackets[-1]:
            return bracket, cumulative
        floor, previous = bracket.cap, bracket.ratio
    raise AssertionError("a symbol has at least one bracket")


def max_notional(spec: SymbolSpec, leverage: int) -> Decimal:
    """Largest absolute position notional allowed at a leverage."""
    allowed = [bracket.cap for bracket in spec.brackets if bracket.leverage >= leverage]
    return allowed[-1] if allowed else ZERO


def maintenance_margin(spec: SymbolSpec, notional: Decimal) -> Decimal:
    bracket, cumulative = bracket_for(spec, abs(notional))
    return abs(notional) * bracket.ratio - cumulative


@dataclass(frozen=True, slots=True)
class PositionMargin:
    notional: Decimal
    unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    bid_notional: Decimal
    ask_notional: Decimal


@dataclass(frozen=True, slots=True)
class AccountMargin:
    wallet: Decimal
    unrealized: Decimal
    cross_wallet: Decimal
    cross_unrealized: Decimal
    position_initial: Decimal
    order_initial: Decimal
    maintenance: Decimal
    cross_maintenance: Decimal
    available: Decimal
    positions: dict[str, PositionMargin]

    @property
    def equity(self) -> Decimal:
        return self.wallet + self.unrealized


def order_notional(order: Order, mark: Decimal) -> Decimal:
    return order.remaining * (order.price or mark)


def exposure(position: Position, mark: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    """The larger absolute notional that could come of a position and its working orders."""
    held = position.qty * mark
    return max(abs(held), abs(held + bids), abs(held - asks))


def _working(orders: list[Order], mark: Decimal) -> tuple[Decimal, Decimal]:
    bids = asks = ZERO
    for order in orders:
        if order.reduce_only:
            continue
        if order.side == "BUY":
            bids += order_notional(order, mark)
        else:
            asks += order_notional(order, mark)
    return bids, asks


def position_margin(ledger: Ledger, account: Account, position: Position) -> PositionMargin:
    spec = ledger.specs[position.symbol]
    last = ledger.state.prices.get(position.symbol)
    mark = last.price if last else ZERO
    notional = position.qty * mark
    bids, asks = _working(ledger.open_orders(account.name, position.symbol), mark)
    initial = abs(notional) / position.leverage
    return PositionMargin(
        notional=notional,
        unrealized=position.unrealized(mark) if position.qty else ZERO,
        position_initial=initial,
        order_initial=exposure(position, mark, bids, asks) / position.leverage - initial,
        maintenance=maintenance_margin(spec, notional) if position.qty else ZERO,
        bid_notional=bids,
        ask_notional=asks,
    )


def account_margin(ledger: Ledger, account: Account) -> AccountMargin:
    """Everything the account and balance endpoints show, from the exact records."""
    unrealized = cross_unrealized = position_initial = order_initial = ZERO
    maintenance = cross_maintenance = isolated_wallets = locked = ZERO
    margins: dict[str, PositionMargin] = {}
    for position in account.positions.values():
        if position.symbol not in ledger.specs:
            continue
        margin = margins[position.symbol] = position_margin(ledger, account, position)
        unrealized += margin.unrealized
        position_initial += margin.position_initial
        order_initial += margin.order_initial
        maintenance += margin.maintenance
        locked += margin.order_initial
        if position.isolated:
            isolated_wallets += position.isolated_wallet
        else:
            cross_unrealized += margin.unrealized
            cross_maintenance += margin.maintenance
            locked += margin.position_initial
    cross_wallet = account.wallet - isolated_wallets
    return AccountMargin(
        wallet=account.wallet,
        unrealized=unrealized,
        cross_wallet=cross_wallet,
        cross_unrealized=cross_unrealized,
        position_initial=position_initial,
        order_initial=order_initial,
        maintenance=maintenance,
        cross_maintenance=cross_maintenance,
        available=max(ZERO, cross_wallet + cross_unrealized - locked),
        positions=margins,
    )


def margin_needed(
    ledger: Ledger, account: Account, position: Position, side: str, qty: Decimal, price: Decimal
) -> tuple[Decimal, Decimal]:
    """Extra initial margin of a new order, and the absolute notional it could lead to, at its price."""
    mark = ledger.last_price(position.symbol)
    bids, asks = _working(ledger.open_orders(account.name, position.symbol), mark)
    before = exposure(position, mark, bids, asks)
    if side == "BUY":
        bids += qty * price
    else:
        asks += qty * price
    after = exposure(position, mark, bids, asks)
    return (after - before) / position.leverage, after


def liquidation_price(ledger: Ledger, account: Account, position: Position) -> Decimal:
    """Mark at which the position would be liquidated, 0 when there is none. Other positions held still."""
    if not position.qty:
        return ZERO
    spec = ledger.specs[position.symbol]
    mark = ledger.last_price(position.symbol)
    bracket, cumulative = bracket_for(spec, abs(position.qty * mark))
    if position.isolated:
        collateral = position.isolated_wallet
    else:
        total = account_margin(ledger, account)
        own = total.positions[position.symbol]
        collateral = total.cross_wallet + (total.cross_unrealized - own.unrealized)
        collateral -= total.cross_maintenance - own.maintenance
    # collateral + qty * p - cost = |qty| * p * ratio - cum
    slope = position.qty - abs(position.qty) * bracket.ratio
    price = (position.cost - collateral - cumulative) / slope
    return max(ZERO, floor_to(price, spec.tick_size)) if price > 0 else ZERO
