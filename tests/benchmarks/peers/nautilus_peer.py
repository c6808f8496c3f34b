"""nautilus_trader's RiskEngine behind JSON lines: timed blocks of orders, verdicts on single orders, fills of a position.

Runs on the peer's own Python (see venvs.py). Wired as nautilus wires it in a node: message bus, cache, portfolio, engine;
the execution engine's two endpoints only note what reaches them.
"""

from __future__ import annotations

import gc
import time
from decimal import Decimal
from typing import Any

import nautilus_trader
from answering import answer  # type: ignore[import-not-found]
from nautilus_trader.accounting.factory import AccountFactory
from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import MessageBus, TestClock
from nautilus_trader.common.factories import OrderFactory
from nautilus_trader.core.uuid import UUID4
from nautilus_trader.execution.messages import SubmitOrder
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, LiquiditySide, OmsType, OrderSide, TimeInForce, TradingState
from nautilus_trader.model.events import AccountState, OrderAccepted, OrderFilled, OrderSubmitted
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientOrderId,
    InstrumentId,
    PositionId,
    StrategyId,
    Symbol,
    TradeId,
    TraderId,
    VenueOrderId,
)
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import AccountBalance, Money, Price, Quantity
from nautilus_trader.model.position import Position
from nautilus_trader.portfolio.portfolio import Portfolio
from nautilus_trader.risk.config import RiskEngineConfig
from nautilus_trader.risk.engine import RiskEngine

TRADER = TraderId("BENCH-001")
STRATEGY = StrategyId("S-001")
ACCOUNT = AccountId("BINANCE-001")
WITHOUT_LIMIT = "1000000000/00:00:01"
"""Its order rate limit would deny in a benchmark; orders come at the rate they are asked for."""


def instrument(symbol: str, tick: str, step: str, most: str, min_notional: str) -> CryptoPerpetual:
    places = [max(0, -int(Decimal(x).normalize().as_tuple().exponent)) for x in (tick, step)]
    return CryptoPerpetual(
        instrument_id=InstrumentId.from_str(f"{symbol}-PERP.BINANCE"),
        raw_symbol=Symbol(symbol),
        base_currency=BTC,
        quote_currency=USDT,
        settlement_currency=USDT,
        is_inverse=False,
        price_precision=places[0],
        price_increment=Price(float(tick), places[0]),
        size_precision=places[1],
        size_increment=Quantity(float(step), places[1]),
        max_quantity=Quantity(float(most), places[1]),
        min_quantity=Quantity(float(step), places[1]),
        max_notional=None,
        min_notional=Money(float(min_notional), USDT),
        max_price=None,
        min_price=None,
        margin_init=Decimal("0.1"),
        margin_maint=Decimal("0.004"),
        maker_fee=Decimal("0.0002"),
        taker_fee=Decimal("0.0005"),
        ts_event=0,
        ts_init=0,
    )


class Desk:
    """One account with its engine. ``account`` is cash, margin or none; ``equity`` in USDT."""

    def __init__(self, account: str, equity: str, rules: dict[str, str], max_notional: str | None) -> None:
        self.sent: list[Any] = []
        self.denied: list[str] = []
        self.clock = TestClock()
        self.bus = MessageBus(TRADER, self.clock)
        self.cache = Cache()
        self.portfolio = Portfolio(self.bus, self.cache, self.clock)
        self.instrument = instrument(**rules)
        name = self.instrument.id.value
        config = RiskEngineConfig(
            max_order_submit_rate=WITHOUT_LIMIT,
            max_notional_per_order={name: max_notional} if max_notional else {},
        )
        self.engine = RiskEngine(self.portfolio, self.bus, self.cache, self.clock, config)
        self.bus.register("ExecEngine.execute", self.sent.append)
        self.bus.register("ExecEngine.process", lambda event: self.denied.append(event.reason))
        self.orders = OrderFactory(TRADER, STRATEGY, self.clock)
        self.cache.add_instrument(self.instrument)
        if account != "none":
            self.cache.add_account(AccountFactory.create(self._account_state(account, equity)))
        self.engine.start()

    def _account_state(self, account: str, equity: str) -> AccountState:
        money = Money(Decimal(equity), USDT)
        return AccountState(
            account_id=ACCOUNT,
            account_type=AccountType.CASH if account == "cash" else AccountType.MARGIN,
            base_currency=USDT,
            reported=True,
            balances=[AccountBalance(money, Money(0, USDT), money)],
            margins=[],
            info={},
            event_id=UUID4(),
            ts_event=0,
            ts_init=0,
        )

    def quote(self, price: str) -> None:
        at, size = self.instrument.make_price(Decimal(price)), self.instrument.make_qty(10)
        self.cache.add_quote_tick(QuoteTick(self.instrument.id, at, at, size, size, 0, 0))

    def order(self, ask: dict[str, Any]) -> Any:
        """The order as a strategy would make it. Numbers that its types do not take raise ValueError."""
        side = OrderSide.BUY if ask["side"] == "BUY" else OrderSide.SELL
        quantity = Quantity.from_str(ask["quantity"])
        named = {"client_order_id": ClientOrderId(ask["id"])} if ask.get("id") else {}
        if ask["type"] == "MARKET":
            return self.orders.market(self.instrument.id, side, quantity, reduce_only=ask["reduce_only"], **named)
        return self.orders.limit(
            self.instrument.id,
            side,
            quantity,
            Price.from_str(ask["price"]),
            time_in_force=TimeInForce.IOC if ask["force"] == "IOC" else TimeInForce.GTC,
            post_only=ask["force"] == "GTX",
            reduce_only=ask["reduce_only"],
            **named,
        )

    def command(self, order: Any, position: PositionId | None = None) -> SubmitOrder:
        return SubmitOrder(TRADER, STRATEGY, order, UUID4(), 0, position_id=position)

    def hold(self, signed: str, price: str) -> PositionId | None:
        """Fill a position into the cache and the portfolio. Returns its id."""
        quantity = Decimal(signed)
        if not quantity:
            return None
        side = OrderSide.BUY if quantity > 0 else OrderSide.SELL
        order = self.orders.market(self.instrument.id, side, self.instrument.make_qty(abs(quantity)))
        position_id = PositionId("P-1")
        self.cache.add_order(order, position_id)
        fill = filled(order, self.instrument, price, str(abs(quantity)), position_id)
        self.rest(order)
        order.apply(fill)
        self.cache.update_order(order)
        position = Position(self.instrument, fill)
        self.cache.add_position(position, OmsType.NETTING)
        self.portfolio.initialize_positions()
        held = self.portfolio.net_position(self.instrument.id)
        if held != quantity:
            raise RuntimeError(f"the portfolio shows {held}, {quantity} was filled")
        return position_id

    def rest(self, order: Any) -> None:
        """Take an order to ACCEPTED."""
        if not self.cache.order_exists(order.client_order_id):
            self.cache.add_order(order)
        ids = (order.trader_id, order.strategy_id, order.instrument_id, order.client_order_id)
        order.apply(OrderSubmitted(*ids, ACCOUNT, UUID4(), 0, 0))
        order.apply(OrderAccepted(*ids, VenueOrderId(order.client_order_id.value), ACCOUNT, UUID4(), 0, 0))
        self.cache.update_order(order)


def filled(order: Any, rules: CryptoPerpetual, price: str, quantity: str, position: PositionId | None) -> OrderFilled:
    return OrderFilled(
        trader_id=order.trader_id,
        strategy_id=order.strategy_id,
        instrument_id=order.instrument_id,
        client_order_id=order.client_order_id,
        venue_order_id=VenueOrderId(order.client_order_id.value),
        account_id=ACCOUNT,
        trade_id=TradeId(UUID4().value),
        position_id=position,
        order_side=order.side,
        order_type=order.order_type,
        last_qty=rules.make_qty(Decimal(quantity)),
        last_px=rules.make_price(Decimal(price)),
        currency=USDT,
        commission=Money(0, USDT),
        liquidity_side=LiquiditySide.TAKER,
        event_id=UUID4(),
        ts_event=0,
        ts_init=0,
    )


# ------------------------------------------------------------------------------------------------ what can be asked

timed_desks: dict[str, Desk] = {}


def block(account: str, rules: dict[str, str], order: dict[str, Any], price: str, max_notional: str, n: int) -> Any:
    """Seconds of each of ``n`` calls of ``RiskEngine.execute`` with orders built before; all must be let through."""
    desk = timed_desks.get(account)
    if desk is None:
        desk = timed_desks[account] = Desk(account, "1000000", rules, max_notional)
        desk.quote(price)
    commands = [desk.command(desk.order(order)) for _ in range(n)]
    desk.sent.clear()
    gc.collect()  # what building the orders left behind is not the engine's to pay for
    execute, clock = desk.engine.execute, time.perf_counter
    taken = []
    for command in commands:
        began = clock()
        execute(command)
        taken.append(clock() - began)
    if desk.denied or len(desk.sent) != n:
        raise RuntimeError(f"{len(desk.sent)} of {n} sent, denied: {desk.denied[:1]}")
    return taken


def verdict(
    state: str,
    account: str,
    equity: str,
    rules: dict[str, str],
    price: str | None,
    held: str,
    max_notional: str,
    orders_before: list[dict[str, Any]],
    order: dict[str, Any],
) -> Any:
    """What the engine does with one order on a desk in this state: ``[sent, reason]``."""
    desk = Desk(account, equity, rules, max_notional)
    position = desk.hold(held, price or "100000")
    if price is not None:
        desk.quote(price)
    for earlier in orders_before:
        desk.rest(desk.order(earlier))
    try:
        asked = desk.order(order)
        # As Strategy.submit_order does before it sends the command.
        if desk.cache.order_exists(asked.client_order_id):
            return [False, f"duplicate {asked.client_order_id}"]
        desk.cache.add_order(asked, position)
        command = desk.command(asked, position)
    except (ValueError, TypeError, ArithmeticError) as error:
        return [False, f"cannot be built: {error}"]
    if state != "ACTIVE":
        desk.engine.set_trading_state(TradingState[state])
    desk.engine.execute(command)
    return [bool(desk.sent), desk.denied[0] if desk.denied else ""]


def fills(rules: dict[str, str], trades: list[tuple[str, str, str]], mark: str) -> Any:
    """Seconds a fill through ``Position.apply``, and realised plus unrealised PnL at ``mark``."""
    desk = Desk("margin", "1000000", rules, None)
    events = []
    for side, quantity, price in trades:
        order = desk.order({"side": side, "quantity": quantity, "type": "MARKET", "reduce_only": False})
        events.append(filled(order, desk.instrument, price, quantity, PositionId("P-1")))
    began = time.perf_counter()
    position = Position(desk.instrument, events[0])
    for event in events[1:]:
        position.apply(event)
    spent = time.perf_counter() - began
    pnl = position.total_pnl(desk.instrument.make_price(Decimal(mark)))
    return [spent / len(events), str(pnl.as_decimal())]


if __name__ == "__main__":
    answer({"version": lambda: nautilus_trader.__version__, "block": block, "verdict": verdict, "fills": fills})
