"""The venue's records with their indexes, and the list of what changed since it was last asked."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from breakwater.paper_venue import errors
from breakwater.paper_venue.config import SymbolSpec, VenueConfig
from breakwater.paper_venue.model import (
    AcceptedOrder,
    Account,
    AlgoOrder,
    Income,
    LastPrice,
    Order,
    Position,
    Present,
    Trade,
    VenueDelta,
    VenueState,
)


class Ledger:
    """Owns VenueState. Everything that changes a record says so through a `put_`/`add_`/`touch_` method."""

    def __init__(self, config: VenueConfig, state: VenueState) -> None:
        self.config = config
        self.state = state
        self.specs: dict[str, SymbolSpec] = {spec.symbol: spec for spec in config.symbols}
        self._open: dict[int, Order] = {o.order_id: o for o in state.orders.values() if o.is_open}
        self._open_algo: dict[int, AlgoOrder] = {a.algo_id: a for a in state.algo_orders.values() if a.is_open}
        for account in config.accounts:
            if account.name not in state.accounts:
                state.accounts[account.name] = Account(name=account.name, wallet=account.starting_balance)
        self._dirty_accounts: set[str] = set(state.accounts)
        self._dirty_orders: set[int] = set()
        self._dirty_algos: set[int] = set()
        self._dirty_audit: dict[int, AcceptedOrder] = {}
        self._trades_sent = len(state.trades)
        self._incomes_sent = len(state.incomes)

    # -- look-ups ------------------------------------------------------------------------------------------

    def spec(self, symbol: str | None) -> SymbolSpec:
        """Trading rules of a listed symbol. Raises -1102 when none was sent, -1121 when it is not listed."""
        if symbol is None:
            raise errors.missing("symbol")
        spec = self.specs.get(symbol)
        if spec is None:
            raise errors.invalid_symbol()
        return spec

    def last_price(self, symbol: str) -> Decimal:
        """Last traded price, which is also the mark. Raises when the market has not spoken yet."""
        last = self.state.prices.get(symbol)
        if last is None:
            raise errors.no_price(symbol)
        return last.price

    def present(self, symbol: str) -> Present:
        """Where a symbol's market stands at the venue's own time. Raises when the market has not spoken yet."""
        return Present(self.last_price(symbol), self.state.market_ms)

    def account(self, name: str) -> Account:
        return self.state.accounts[name]

    def position(self, account: Account, symbol: str) -> Position:
        position = account.positions.get(symbol)
        if position is None:
            position = Position(symbol=symbol, leverage=self.config.default_leverage)
            account.positions[symbol] = position
        return position

    def open_orders(self, account: str | None = None, symbol: str | None = None) -> list[Order]:
        """Resting orders, oldest first."""
        return [
            order
            for order in self._open.values()
            if (account is None or order.account == account) and (symbol is None or order.symbol == symbol)
        ]

    def open_algo_orders(self, account: str | None = None, symbol: str | None = None) -> list[AlgoOrder]:
        """Algo orders that have not triggered, oldest first."""
        return [
            algo
            for algo in self._open_algo.values()
            if (account is None or algo.account == account) and (symbol is None or algo.symbol == symbol)
        ]

    def find_order(self, account: str, symbol: str, order_id: int | None, client_id: str | None) -> Order | None:
        """By id, else by client id: the open one first, then the latest that carried the id."""
        if order_id is not None:
            order = self.state.orders.get(order_id)
            return order if order and order.account == account and order.symbol == symbol else None
        for order in self._open.values():
            if order.client_order_id == client_id and order.account == account and order.symbol == symbol:
                return order
        for order in reversed(self.state.orders.values()):
            if order.client_order_id == client_id and order.account == account and order.symbol == symbol:
                return order
        return None

    def find_algo(self, account: str, algo_id: int | None, client_id: str | None) -> AlgoOrder | None:
        if algo_id is not None:
            algo = self.state.algo_orders.get(algo_id)
            return algo if algo and algo.account == account else None
        for algo in reversed(self.state.algo_orders.values()):
            if algo.client_algo_id == client_id and algo.account == account:
                return algo
        return None

    def trades_of(self, account: str) -> Iterator[Trade]:
        return (trade for trade in self.state.trades if trade.account == account)

    # -- changes -------------------------------------------------------------------------------------------

    def put_order(self, order: Order) -> None:
        """Record an order, new or changed."""
        self.state.orders[order.order_id] = order
        if order.is_open:
            self._open[order.order_id] = order
        else:
            self._open.pop(order.order_id, None)
        self._dirty_orders.add(order.order_id)

    def requeue(self, order: Order) -> None:
        """Record a changed open order and put it behind all others."""
        self._open.pop(order.order_id, None)
        self.put_order(order)

    def put_algo(self, algo: AlgoOrder) -> None:
        self.state.algo_orders[algo.algo_id] = algo
        if algo.is_open:
            self._open_algo[algo.algo_id] = algo
        else:
            self._open_algo.pop(algo.algo_id, None)
        self._dirty_algos.add(algo.algo_id)

    def touch_account(self, account: Account) -> None:
        self._dirty_accounts.add(account.name)

    def add_trade(self, trade: Trade) -> None:
        self.state.trades.append(trade)

    def add_income(self, income: Income) -> None:
        self.state.incomes.append(income)

    def add_audit(self, record: AcceptedOrder) -> None:
        self.state.audit.append(record)
        self._dirty_audit[record.seq] = record

    def touch_audit(self, record: AcceptedOrder) -> None:
        self._dirty_audit[record.seq] = record

    def set_price(self, symbol: str, price: Decimal, time_ms: int) -> None:
        last = self.state.prices.get(symbol)
        if last is None:
            self.state.prices[symbol] = LastPrice(price, time_ms)
        else:
            last.price = price
            last.time = time_ms

    @property
    def has_changes(self) -> bool:
        """Whether anything but prices changed since the last delta."""
        return bool(
            self._dirty_accounts
            or self._dirty_orders
            or self._dirty_algos
            or self._dirty_audit
            or self._trades_sent < len(self.state.trades)
            or self._incomes_sent < len(self.state.incomes)
        )

    def take_delta(self) -> VenueDelta:
        """What changed since the last call, and the market as it is now."""
        state = self.state
        delta = VenueDelta(
            market_ms=state.market_ms,
            market_origin_ms=state.market_origin_ms,
            counters=state.counters,
            prices=state.prices,
            accounts=[state.accounts[name] for name in sorted(self._dirty_accounts)],
            orders=[state.orders[i] for i in sorted(self._dirty_orders)],
            algo_orders=[state.algo_orders[i] for i in sorted(self._dirty_algos)],
            trades=state.trades[self._trades_sent :],
            incomes=state.incomes[self._incomes_sent :],
            audit=[self._dirty_audit[i] for i in sorted(self._dirty_audit)],
        )
        self._dirty_accounts.clear()
        self._dirty_orders.clear()
        self._dirty_algos.clear()
        self._dirty_audit.clear()
        self._trades_sent = len(state.trades)
        self._incomes_sent = len(state.incomes)
        return delta


def apply_delta(state: VenueState, delta: VenueDelta) -> None:
    """Bring a state forward by one delta; applying the same delta twice changes nothing."""
    state.market_ms = delta.market_ms
    state.market_origin_ms = delta.market_origin_ms
    state.counters = delta.counters
    state.prices = delta.prices
    for account in delta.accounts:
        state.accounts[account.name] = account
    for order in delta.orders:
        state.orders[order.order_id] = order
    for algo in delta.algo_orders:
        state.algo_orders[algo.algo_id] = algo
    last_trade = state.trades[-1].trade_id if state.trades else 0
    state.trades.extend(trade for trade in delta.trades if trade.trade_id > last_trade)
    last_income = state.incomes[-1].tran_id if state.incomes else 0
    state.incomes.extend(income for income in delta.incomes if income.tran_id > last_income)
    for record in delta.audit:
        # Sequence numbers start at 1 and have no gaps, so a record's place is known.
        if record.seq <= len(state.audit):
            state.audit[record.seq - 1] = record
        else:
            state.audit.append(record)
