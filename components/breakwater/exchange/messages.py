"""What the venue reports, typed. Quantities in base units, prices in quote units, amounts in USDT, times in UTC."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import ClientOrderId, Symbol, TradeId, VenueOrderId
from breakwater.domain.orders import OrderStatus, Side


class AlgoStatus(enum.StrEnum):
    """Life of a conditional order. TRIGGERED and FINISHED say nothing about fills: follow ``actual_order_id``."""

    NEW = "NEW"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"

    @property
    def resting(self) -> bool:
        """Whether it still waits for its trigger."""
        return self is AlgoStatus.NEW


class OrderReport(msgspec.Struct, frozen=True):
    """A plain order as the venue has it."""

    symbol: Symbol
    order_id: VenueOrderId
    client_order_id: ClientOrderId
    side: Side
    order_type: str
    """The venue's word; orders that are not ours may have types we never send."""
    status: OrderStatus
    quantity: Decimal
    executed_quantity: Decimal
    average_price: Decimal | None
    """None until something filled."""
    price: Decimal | None
    """None for orders without a limit."""
    reduce_only: bool
    position_side: str
    """``BOTH`` in one-way mode; anything else means the account is in hedge mode."""
    update_time: datetime


class AlgoOrderReport(msgspec.Struct, frozen=True):
    """A conditional order as the algo order service has it: a separate world with its own ids."""

    symbol: Symbol
    algo_id: str
    client_algo_id: ClientOrderId
    side: Side
    order_type: str
    status: AlgoStatus
    quantity: Decimal | None
    """None when it closes the whole position."""
    trigger_price: Decimal | None
    reduce_only: bool
    close_position: bool
    position_side: str
    actual_order_id: VenueOrderId | None
    """The plain order it turned into when triggered."""
    reason: str
    """Why it was rejected or expired, in the venue's words."""
    update_time: datetime | None


class AlgoCancelReport(msgspec.Struct, frozen=True):
    """Answer to the cancellation of a conditional order."""

    algo_id: str
    client_algo_id: ClientOrderId | None


class PositionReport(msgspec.Struct, frozen=True):
    """A position; ``quantity`` is negative when short, 0 when flat."""

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal
    leverage: int | None
    """None where the endpoint does not tell (positionRisk v3)."""
    liquidation_price: Decimal | None
    isolated: bool | None
    position_side: str
    update_time: datetime


class AccountReport(msgspec.Struct, frozen=True):
    """Balances of the futures account in single-asset mode."""

    wallet_balance: Decimal
    unrealised_pnl: Decimal
    margin_balance: Decimal
    """Equity: wallet balance plus unrealised PnL, as the venue adds it up."""
    available_balance: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal


class TradeReport(msgspec.Struct, frozen=True):
    """One fill. ``(symbol, trade_id)`` makes it unique. ``commission`` positive is a cost, in ``commission_asset``."""

    symbol: Symbol
    trade_id: TradeId
    order_id: VenueOrderId
    client_order_id: ClientOrderId | None
    """Known from the stream only."""
    side: Side
    price: Decimal
    quantity: Decimal
    realised_pnl: Decimal
    """As the venue booked it, before commission."""
    commission: Decimal
    commission_asset: str
    maker: bool
    time: datetime


class ForcedBy(enum.StrEnum):
    """Who, other than us, closed a position."""

    LIQUIDATION = "LIQUIDATION"
    ADL = "ADL"
    SETTLEMENT = "SETTLEMENT"

    @classmethod
    def of(cls, client_id: str) -> ForcedBy | None:
        """By the id that the venue gives orders it places itself; None for every other order."""
        return next((by for prefix, by in _FORCED if client_id.startswith(prefix)), None)


_FORCED = (  # the first match counts
    ("adl_autoclose", ForcedBy.ADL),
    ("settlement_autoclose-", ForcedBy.SETTLEMENT),
    ("autoclose-", ForcedBy.LIQUIDATION),
)


class OrderUpdate(msgspec.Struct, frozen=True):
    """ORDER_TRADE_UPDATE: what happened to an order, with the fill when there was one."""

    event_time: datetime
    execution_type: str
    """NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED (liquidation, ADL)."""
    order: OrderReport
    fill: TradeReport | None
    forced_by: ForcedBy | None


class AlgoUpdate(msgspec.Struct, frozen=True):
    """ALGO_UPDATE: a conditional order changed state."""

    event_time: datetime
    order: AlgoOrderReport


class PositionChange(msgspec.Struct, frozen=True):
    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    unrealised_pnl: Decimal
    position_side: str


class AccountUpdate(msgspec.Struct, frozen=True):
    """ACCOUNT_UPDATE: what changed, and only that."""

    event_time: datetime
    reason: str
    """ORDER, FUNDING_FEE, DEPOSIT, WITHDRAW, ..."""
    wallets: dict[str, Decimal]
    """New wallet balance per asset."""
    changes: dict[str, Decimal]
    """Change of balance per asset that is neither PnL nor commission (funding, transfers)."""
    positions: tuple[PositionChange, ...]


class ListenKeyExpired(msgspec.Struct, frozen=True):
    """The user stream is dead until a new key is made; events were or will be missed: reconcile."""

    event_time: datetime


UserEvent = OrderUpdate | AlgoUpdate | AccountUpdate | ListenKeyExpired
