"""What the venue remembers: plain, msgspec-encodable records, mutated in place by the matching code.

Amounts are Decimal (USDT unless said otherwise), quantities are in base units, times are ms since 1970 UTC
on the market clock unless the name says `wall`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec

from breakwater.paper_venue.money import ZERO


class Now(NamedTuple):
    """Both clocks at one instant, in ms. The market may run faster than the wall."""

    market_ms: int
    """Stamps trades, orders, candles and the E/T of events."""
    wall_ms: int
    """Authentication, /time, listenKey life, rate-limit windows and the dead-man switch."""


class Tick(NamedTuple):
    """One trade price of a symbol. `volume` is what traded since the previous tick, in base units."""

    symbol: str
    time_ms: int
    price: Decimal
    volume: Decimal = ZERO


class Present(NamedTuple):
    """Where one symbol's market stands: last price in USDT, market time in ms."""

    last: Decimal
    time_ms: int


class Level(NamedTuple):
    """One price of a book, or of what was taken from it. Quantity in base units."""

    price: Decimal
    quantity: Decimal


class Order(msgspec.Struct, kw_only=True):
    order_id: int
    account: str
    symbol: str
    client_order_id: str
    side: str
    type: str
    orig_type: str
    time_in_force: str
    price: Decimal
    orig_qty: Decimal
    reduce_only: bool
    time: int
    update_time: int
    status: str = "NEW"
    executed_qty: Decimal = ZERO
    cum_quote: Decimal = ZERO
    stop_price: Decimal = ZERO
    close_position: bool = False
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    price_match: str = "NONE"
    self_trade_prevention: str = "EXPIRE_MAKER"
    good_till_date: int = 0
    algo_id: int = 0
    edits: int = 0
    """How often price or quantity were changed."""

    @property
    def remaining(self) -> Decimal:
        return self.orig_qty - self.executed_qty

    @property
    def average_price(self) -> Decimal:
        return self.cum_quote / self.executed_qty if self.executed_qty else ZERO

    @property
    def is_open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")


class AlgoOrder(msgspec.Struct, kw_only=True):
    algo_id: int
    account: str
    symbol: str
    client_algo_id: str
    side: str
    order_type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    trigger_price: Decimal
    reduce_only: bool
    close_position: bool
    create_time: int
    update_time: int
    status: str = "NEW"
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    price_match: str = "NONE"
    self_trade_prevention: str = "NONE"
    good_till_date: int = 0
    trigger_time: int = 0
    actual_order_id: int = 0
    actual_price: Decimal = ZERO
    actual_qty: Decimal = ZERO
    actual_type: str = ""
    reject_reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.status == "NEW"


class Trade(msgspec.Struct, kw_only=True):
    trade_id: int
    order_id: int
    account: str
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    quote_qty: Decimal
    realized_pnl: Decimal
    commission: Decimal
    time: int
    maker: bool


class Income(msgspec.Struct, kw_only=True):
    tran_id: int
    account: str
    symbol: str
    income_type: str
    income: Decimal
    time: int
    trade_id: int = 0
    info: str = ""


class Position(msgspec.Struct, kw_only=True):
    """A one-way position. `qty` is signed; `cost` is the exact signed price paid for what is held."""

    symbol: str
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    leverage: int = 20
    isolated: bool = False
    isolated_wallet: Decimal = ZERO
    realized_total: Decimal = ZERO
    update_time: int = 0

    @property
    def entry_price(self) -> Decimal:
        return self.cost / self.qty if self.qty else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """Profit at `mark`, exact."""
        return self.qty * mark - self.cost


class Account(msgspec.Struct, kw_only=True):
    name: str
    wallet: Decimal
    positions: dict[str, Position] = {}
    listen_key: str = ""
    listen_key_expires_wall: int = 0
    countdown_wall: dict[str, int] = {}
    update_time: int = 0
    dual_side: bool = False
    """Hedge mode. Positions are one-way only, so an account in it trades nothing here."""

    @property
    def cross_wallet(self) -> Decimal:
        """The wallet without the margin set aside for isolated positions."""
        return self.wallet - sum((p.isolated_wallet for p in self.positions.values()), ZERO)


class LastPrice(msgspec.Struct):
    price: Decimal
    time: int


class AcceptedOrder(msgspec.Struct, kw_only=True):
    """One order the venue accepted, as evidence for drills. `kind` is order, algo, algo_child, liquidation or adl."""

    seq: int
    kind: str
    account: str
    market_ms: int
    wall_ms: int
    symbol: str
    side: str
    type: str
    qty: Decimal
    reduce_only: bool
    risk_increasing: bool
    position_before: Decimal
    client_order_id: str
    order_id: int
    filled_qty: Decimal = ZERO
    filled_quote: Decimal = ZERO


class Counters(msgspec.Struct):
    order_id: int = 8_000_000_000
    algo_id: int = 1_000_000_000_000
    trade_id: int = 500_000_000
    tran_id: int = 700_000_000
    audit_seq: int = 0
    listen_key: int = 0
    update_id: int = 0


class VenueState(msgspec.Struct, kw_only=True):
    """Everything that must survive a restart."""

    version: int = 1
    market_ms: int = 0
    market_origin_ms: int = 0
    """Start of the synthetic market, so that it continues on the same path after a restart; 0 if unused."""
    counters: Counters = msgspec.field(default_factory=Counters)
    accounts: dict[str, Account] = {}
    orders: dict[int, Order] = {}
    algo_orders: dict[int, AlgoOrder] = {}
    trades: list[Trade] = []
    incomes: list[Income] = []
    audit: list[AcceptedOrder] = []
    prices: dict[str, LastPrice] = {}


class VenueDelta(msgspec.Struct, kw_only=True):
    """What changed since the last delta: whole records, to be upserted by id."""

    market_ms: int
    market_origin_ms: int
    counters: Counters
    prices: dict[str, LastPrice]
    accounts: list[Account] = []
    orders: list[Order] = []
    algo_orders: list[AlgoOrder] = []
    trades: list[Trade] = []
    incomes: list[Income] = []
    audit: list[AcceptedOrder] = []
