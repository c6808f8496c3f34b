"""Forced closing when margin falls to the maintenance margin.

An isolated position risks its own margin only; all cross positions share the rest of the wallet. The venue
takes a position over at the market, never worse than its bankruptcy price, and charges the liquidation fee
from what margin is left; a loss beyond the margin is the insurance fund's.
"""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.fills import add_income
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin, maintenance_margin
from breakwater.paper_venue.matching import FillModel
from breakwater.paper_venue.model import Account, Now, Position
from breakwater.paper_venue.money import ZERO, ceil_to, floor_to, round8_down
from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper


class Liquidator:
    """Checks one account at a time against the last prices."""

    def __init__(self, ledger: Ledger, orders: OrderBookKeeper, fill_model: FillModel) -> None:
        self._ledger = ledger
        self._orders = orders
        self._fills = fill_model

    def on_price(self, symbol: str, now: Now) -> None:
        for account in self._ledger.state.accounts.values():
            position = account.positions.get(symbol)
            if position is None or not position.qty:
                continue
            if position.isolated:
                mark = self._ledger.last_price(symbol)
                margin = position.isolated_wallet + position.unrealized(mark)
                needed = maintenance_margin(self._ledger.specs[symbol], position.qty * mark)
                if margin <= needed:
                    self._cancel_orders(account, symbol, now)
                    self._take_over(account, position, position.isolated_wallet, now)
            else:
                self._check_cross(account, now)

    def _check_cross(self, account: Account, now: Now) -> None:
        total = account_margin(self._ledger, account)
        if total.cross_wallet + total.cross_unrealized > total.cross_maintenance:
            return
        for position in list(account.positions.values()):
            if position.isolated:
                continue
            self._cancel_orders(account, position.symbol, now)
            if position.qty:
                isolated = sum((p.isolated_wallet for p in account.positions.values()), ZERO)
                self._take_over(account, position, max(ZERO, account.wallet - isolated), now)
        isolated = sum((p.isolated_wallet for p in account.positions.values()), ZERO)
        shortfall = isolated - account.wallet
        if shortfall > 0:
            account.wallet += shortfall
            add_income(self._ledger, account, "", "INSURANCE_CLEAR", shortfall, now.market_ms)
            self._ledger.touch_account(account)

    def _cancel_orders(self, account: Account, symbol: str, now: Now) -> None:
        self._orders.cancel_all(account, symbol, now)

    def _take_over(self, account: Account, position: Position, collateral: Decimal, now: Now) -> None:
        spec = self._ledger.specs[position.symbol]
        qty = abs(position.qty)
        side = "SELL" if position.qty > 0 else "BUY"
        taken = self._fills.take(spec, side, qty, None, self._ledger.present(position.symbol))
        price = taken[-1].price if taken else self._ledger.last_price(position.symbol)
        if position.isolated:
            bankruptcy = (position.cost - collateral) / position.qty
            if side == "SELL":
                price = max(price, ceil_to(bankruptcy, spec.tick_size))
            else:
                price = min(price, floor_to(bankruptcy, spec.tick_size))
        left = collateral + position.qty * price - position.cost
        fee = max(ZERO, min(qty * price * self._ledger.config.liquidation_fee, left))
        request = NewOrder(
            symbol=position.symbol,
            side=side,
            type="LIQUIDATION",
            quantity=qty,
            price=price,
            time_in_force="IOC",
            client_order_id=f"autoclose-{now.market_ms}{self._ledger.state.counters.order_id % 1000:03d}",
        )
        order = self._orders.accept_forced(account, request, now, kind="liquidation")
        self._orders.fill(
            account, order, qty, price, now, maker=False, commission=round8_down(fee), execution="CALCULATED"
        )
