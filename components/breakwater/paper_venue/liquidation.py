"""Forced closing when margin falls to the maintenance margin.

An isolated position risks its own margin only; all cross positions share the rest of the wallet, and the one that loses most goes first.
Closing goes in steps: down to the next lower bracket, then the rest, and ends as soon as the margin suffices. Each step takes what the
market gives, an isolated position never worse than its bankruptcy price, and pays the liquidation fee from what margin is left; a loss
beyond the margin is the insurance fund's. What the market cannot take at all is closed by auto-deleveraging at the bankruptcy price:
against accounts on the other side, and against the venue's own house once there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from breakwater.paper_venue.adl import deleverage_against
from breakwater.paper_venue.config import SymbolSpec
from breakwater.paper_venue.fills import add_income
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin, maintenance_margin
from breakwater.paper_venue.matching import FillModel
from breakwater.paper_venue.model import Account, Now, Order, Position
from breakwater.paper_venue.money import ZERO, ceil_to, floor_to, round8_down
from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper


class Liquidator:
    """Checks one account at a time against the last prices."""

    def __init__(self, ledger: Ledger, orders: OrderBookKeeper, fill_model: FillModel) -> None:
        self._ledger = ledger
        self._orders = orders
        self._fills = fill_model
        self.on_forced: Callable[[Order, Now], None] | None = None
        """Told of every liquidation order once it is filled."""

    def on_price(self, symbol: str, now: Now) -> None:
        for account in self._ledger.state.accounts.values():
            position = account.positions.get(symbol)
            if position is None or not position.qty:
                continue
            if not position.isolated:
                self._check_cross(account, now)
            elif self._isolated_fails(position):
                self._orders.cancel_all(account, symbol, now)
                while position.qty and self._isolated_fails(position):
                    self._take_over(account, position, position.isolated_wallet, now)

    def _isolated_fails(self, position: Position) -> bool:
        mark = self._ledger.last_price(position.symbol)
        needed = maintenance_margin(self._ledger.specs[position.symbol], position.qty * mark)
        return position.isolated_wallet + position.unrealized(mark) <= needed

    def _cross_fails(self, account: Account) -> bool:
        total = account_margin(self._ledger, account)
        return total.cross_wallet + total.cross_unrealized <= total.cross_maintenance

    def _check_cross(self, account: Account, now: Now) -> None:
        if not self._cross_fails(account):
            return
        for position in list(account.positions.values()):
            if not position.isolated:
                self._orders.cancel_all(account, position.symbol, now)
        while (held := self._by_loss(account)) and self._cross_fails(account):
            self._take_over(account, held[0], max(ZERO, account.cross_wallet), now)
        shortfall = -account.cross_wallet
        if shortfall > 0 and not held:
            account.wallet += shortfall
            add_income(self._ledger, account, "", "INSURANCE_CLEAR", shortfall, now.market_ms)
            self._ledger.touch_account(account)

    def _by_loss(self, account: Account) -> list[Position]:
        """Open cross positions, the largest loss first."""
        held = [p for p in account.positions.values() if p.qty and not p.isolated]
        return sorted(held, key=lambda p: p.unrealized(self._ledger.last_price(p.symbol)))

    def _take_over(self, account: Account, position: Position, collateral: Decimal, now: Now) -> None:
        """Close one step of a position that `collateral` USDT stand for."""
        spec, present = self._ledger.specs[position.symbol], self._ledger.present(position.symbol)
        side = "SELL" if position.qty > 0 else "BUY"
        bankruptcy = self._bankruptcy(account, position, collateral)
        quantity = _step(spec, position.qty, present.last)
        given = [
            (_no_worse(side, price, bankruptcy) if position.isolated else price, part)
            for price, part in self._fills.take(spec, side, quantity, None, present)
        ]
        left = quantity - sum(part for _, part in given)
        if left:
            # The loser of a cross account pays at most down to its last dollar, and the market when that is worse.
            price = bankruptcy if position.isolated else _worse(side, bankruptcy, present.last)
            deleverage_against(self._ledger, self._orders, position, left, price, now)
            given.append((price, left))
        request = NewOrder(
            symbol=position.symbol,
            side=side,
            type="LIQUIDATION",
            quantity=quantity,
            price=given[-1][0],
            time_in_force="IOC",
            client_order_id=f"autoclose-{now.market_ms}{self._ledger.state.counters.order_id % 1000:03d}",
        )
        order = self._orders.accept_forced(account, request, now, kind="liquidation")
        for price, part in given:
            held = abs(position.qty)
            collateral = position.isolated_wallet if position.isolated else max(ZERO, account.cross_wallet)
            spare = (collateral + position.qty * price - position.cost) * part / held
            fee = max(ZERO, min(part * price * self._ledger.config.liquidation_fee, spare))
            self._orders.fill(
                account, order, part, price, now, maker=False, commission=round8_down(fee), execution="CALCULATED"
            )
        if self.on_forced is not None:
            self.on_forced(order, now)

    def _bankruptcy(self, account: Account, position: Position, collateral: Decimal) -> Decimal:
        """Price at which nothing of the collateral is left, and nothing of the other cross positions' profit."""
        spec = self._ledger.specs[position.symbol]
        if not position.isolated:
            collateral = account.cross_wallet + sum(
                (p.unrealized(self._ledger.last_price(p.symbol)) for p in self._by_loss(account) if p is not position),
                ZERO,
            )
        price = (position.cost - collateral) / position.qty
        if position.qty > 0:
            return max(spec.tick_size, ceil_to(price, spec.tick_size))
        return max(spec.tick_size, floor_to(price, spec.tick_size))


def _step(spec: SymbolSpec, held: Decimal, mark: Decimal) -> Decimal:
    """How much to close first: down to the cap of the next lower bracket, everything in the lowest."""
    quantity = abs(held)
    caps = [bracket.cap for bracket in spec.brackets if bracket.cap < quantity * mark]
    return quantity - floor_to(caps[-1] / mark, spec.step_size) if caps else quantity


def _no_worse(side: str, price: Decimal, than: Decimal) -> Decimal:
    return max(price, than) if side == "SELL" else min(price, than)


def _worse(side: str, one: Decimal, other: Decimal) -> Decimal:
    return min(one, other) if side == "SELL" else max(one, other)
