"""What an order takes the moment it comes: of the book's levels, and of accounts' resting orders between them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from breakwater.paper_venue.crossing import hit_by, percent_price_limit, together
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.matching import FillModel, reducible
from breakwater.paper_venue.model import Account, Level, Now, Order
from breakwater.paper_venue.money import ZERO

if TYPE_CHECKING:
    from breakwater.paper_venue.orders import NewOrder, OrderBookKeeper


class Matcher:
    """Finds who an order trades with; the keeper books the fills."""

    def __init__(self, ledger: Ledger, fill_model: FillModel, keeper: OrderBookKeeper) -> None:
        self._ledger = ledger
        self._fills = fill_model
        self._keeper = keeper

    def crosses(self, symbol: str, side: str, price: Decimal) -> bool:
        """Whether a limit order at this price would trade at once."""
        present = self._ledger.present(symbol)
        if self._fills.accounts_meet and hit_by(self._ledger.open_orders(symbol=symbol), side, price):
            return True
        return self._fills.crosses(self._ledger.specs[symbol], side, price, present)

    def _makers(self, symbol: str, side: str, limit: Decimal | None) -> list[Order]:
        """Accounts' resting orders that a taker may trade with, best first."""
        if not self._fills.accounts_meet:
            return []
        if limit is None:
            limit = percent_price_limit(self._ledger.specs[symbol], side, self._ledger.present(symbol))
        return hit_by(self._ledger.open_orders(symbol=symbol), side, limit)

    def offered(self, account: Account, request: NewOrder, quantity: Decimal) -> list[Level]:
        """What a new order would get at once."""
        limit = None if request.type == "MARKET" else request.price
        spec, present = self._ledger.specs[request.symbol], self._ledger.present(request.symbol)
        levels = self._fills.offered(spec, request.side, quantity, limit, present)
        makers = [m for m in self._makers(request.symbol, request.side, limit) if m.account != account.name]
        return together(request.side, levels, makers, quantity) if makers else levels

    def trade(self, account: Account, order: Order, now: Now) -> None:
        """Take what the order reaches: of the book, and of accounts' orders between its levels."""
        spec, present = self._ledger.specs[order.symbol], self._ledger.present(order.symbol)
        limit = None if order.type == "MARKET" else order.price
        for maker in self._makers(order.symbol, order.side, limit):
            step = -spec.tick_size if order.side == "BUY" else spec.tick_size
            self._take(account, order, order.remaining, maker.price + step, now)
            before = self._take(account, order, min(order.remaining, self._fills.ahead(maker)), maker.price, now)
            self._fills.served(maker, before)
            if order.is_open and maker.is_open:
                self._meet(account, order, maker, now)
            if not order.is_open:
                return
        for level in self._fills.take(spec, order.side, order.remaining, limit, present):
            self._keeper.fill(account, order, level.quantity, level.price, now, maker=False)

    def _take(self, account: Account, order: Order, quantity: Decimal, limit: Decimal, now: Now) -> Decimal:
        spec, present = self._ledger.specs[order.symbol], self._ledger.present(order.symbol)
        levels = self._fills.take(spec, order.side, quantity, limit, present) if quantity > 0 else []
        for level in levels:
            self._keeper.fill(account, order, level.quantity, level.price, now, maker=False)
        return sum((level.quantity for level in levels), ZERO)

    def _meet(self, account: Account, order: Order, maker: Order, now: Now) -> None:
        """Trade with a resting order, at its price; with one of the same account as its self-trade prevention says."""
        mode = order.self_trade_prevention if maker.account == order.account else "NONE"
        if mode in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
            self._keeper.close(maker, "EXPIRED_IN_MATCH", now)
        if mode in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
            self._keeper.close(order, "EXPIRED_IN_MATCH", now)
        if mode != "NONE":
            return
        other = self._ledger.account(maker.account)
        part = min(order.remaining, maker.remaining)
        if maker.reduce_only:
            part = min(part, reducible(self._ledger.position(other, maker.symbol).qty, maker.side))
        if part > 0:
            self._keeper.fill(other, maker, part, maker.price, now, maker=True)
            self._keeper.fill(account, order, part, maker.price, now, maker=False)
