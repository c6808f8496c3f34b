"""Proposals and orders. A proposal becomes sendable only as an Approval, and only the gate makes those."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import ProposalId, SignalId, Symbol
from breakwater.domain.signals import Provenance


class Side(enum.StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1


class OrderRole(enum.StrEnum):
    """What an order is for. Only ENTRY can add risk; the others are reduce-only."""

    ENTRY = "ENTRY"
    STOP = "STOP"
    TARGET = "TARGET"
    EXIT = "EXIT"


class OrderType(enum.StrEnum):
    LIMIT = "LIMIT"
    MARKET = "MARKET"
    STOP_MARKET = "STOP_MARKET"


class TimeInForce(enum.StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    GTX = "GTX"
    """Post-only: cancelled by the venue instead of taking liquidity."""


class OrderStatus(enum.StrEnum):
    """Life of an order as the venue reports it, plus UNKNOWN while its outcome has to be looked up."""

    UNKNOWN = "UNKNOWN"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self in {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED, OrderStatus.REJECTED}


class Protection(msgspec.Struct, frozen=True):
    """Where an entry is wrong, and where it is right. Prices in quote units."""

    stop_price: Decimal
    target_price: Decimal | None = None


class Proposal(msgspec.Struct, frozen=True):
    """One order somebody would like to place. Quantities in base units, prices in quote units."""

    proposal_id: ProposalId
    symbol: Symbol
    role: OrderRole
    side: Side
    quantity: Decimal
    order_type: OrderType
    created_at: datetime
    reduce_only: bool
    price: Decimal | None = None
    """Limit price; for an entry the collar, beyond which it must not fill."""
    trigger_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    expires_at: datetime | None = None
    leverage: int | None = None
    """Leverage an entry is margined with; None for orders that reduce."""
    protection: Protection | None = None
    signal_id: SignalId | None = None
    provenance: Provenance | None = None
    reason: str = ""
    """Why, in a few words: ``signal``, ``protect``, ``trip t-3``..."""
    bound_by: str = ""
    """Name of the last cap that bound the size."""
