"""Typed events: one envelope, one payload type per event name. JSON on the wire, decimals as exact strings."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, Symbol, TradeId, TripId, VenueOrderId
from breakwater.domain.instruments import Instrument
from breakwater.domain.liquidity import LiquidityReading
from breakwater.domain.movements import Movement
from breakwater.domain.orders import OrderRole, OrderStatus, OrderType, Proposal, Side
from breakwater.domain.refusals import Refusal
from breakwater.domain.signals import Signal
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import RequestOutcome, StopState, StopView, Trip
from breakwater.runtime.unreadable import UNREADABLE


class Payload(msgspec.Struct, frozen=True):
    """Base of all payloads; each sets ``EVENT`` to its name on the bus."""


class MarkPrice(Payload, frozen=True):
    """Latest mark price of a symbol. Published by market_data."""

    symbol: Symbol
    price: Decimal
    time: datetime


class CandleClosed(Payload, frozen=True):
    """One closed candle; volume in base units. Published by market_data, history included at start (``backfilled``)."""

    symbol: Symbol
    open_time: datetime
    interval: timedelta
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    backfilled: bool = False


class InstrumentsLoaded(Payload, frozen=True):
    """The venue's trading rules, for components that do not talk to it; a state channel."""

    instruments: tuple[Instrument, ...]


class MarketLiquidity(Payload, frozen=True):
    """How liquid the followed symbols are; a state channel. Published by market_data, every quarter of a minute or so."""

    readings: tuple[LiquidityReading, ...]


class SignalGenerated(Payload, frozen=True):
    signal: Signal


class OrderProposed(Payload, frozen=True):
    proposal: Proposal


class OrderRefused(Payload, frozen=True):
    """An order that was not placed. ``by`` is ``risk_manager`` or ``gate``."""

    by: str
    symbol: Symbol
    role: OrderRole
    refusal: Refusal
    proposal_id: ProposalId | None = None


class ThrottleClosed(Payload, frozen=True):
    """Too many identical entries in a row: none on ``symbol`` until a person enables it. Published by risk_manager."""

    symbol: Symbol
    time: datetime
    repeats: int
    limit: int
    """0 when execution's gate counted."""


class ThrottleEnabled(Payload, frozen=True):
    """A person allowed entries on ``symbol`` again; may be published twice for one request."""

    symbol: Symbol
    time: datetime
    who: str
    reason: str
    request_id: str


class OrderSubmitted(Payload, frozen=True):
    """An order was sent; published once its outcome at the venue is known to be accepted."""

    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId | None
    proposal_id: ProposalId
    symbol: Symbol
    role: OrderRole
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    reduce_only: bool
    leverage: int | None = None


class OrderFilled(Payload, frozen=True):
    """One fill (a trade at the venue); ``trade_id`` with ``symbol`` makes it unique. Amounts in USDT, quantity in base units."""

    trade_id: TradeId
    client_order_id: ClientOrderId
    venue_order_id: VenueOrderId
    symbol: Symbol
    role: OrderRole
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    """Positive is a cost."""
    venue_realised_pnl: Decimal
    """What the venue booked for this fill, before commission: for reconciliation, not for the ledger."""
    time: datetime
    leverage: int = 1
    liquidation: bool = False
    """Whether the venue closed the position by itself."""
    forced_by: str = ""
    """Then ``LIQUIDATION``, ``ADL`` or ``SETTLEMENT``."""
    commission_asset: str = "USDT"
    """A commission in another asset did not touch the USDT wallet, which is all the ledger counts."""


class OrderFailed(Payload, frozen=True):
    """The final outcome of one command was a failure, after retries and look-ups."""

    client_order_id: ClientOrderId
    proposal_id: ProposalId
    symbol: Symbol
    role: OrderRole
    status: OrderStatus
    code: str
    text: str
    counts_as_error: bool
    """Whether it counts towards the emergency stop's consecutive execution errors."""


class VenuePosition(msgspec.Struct, frozen=True):
    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    leverage: int = 1


class AccountReported(Payload, frozen=True):
    """What the venue says about the account: published by execution after each reconciliation."""

    time: datetime
    wallet: Decimal
    unrealised_pnl: Decimal
    positions: tuple[VenuePosition, ...]
    open_orders: int
    open_algo_orders: int
    through_trade: dict[str, str]
    """Per symbol the last trade id execution had published when the account was read."""
    unknown_orders: int = 0
    foreign: tuple[str, ...] = ()
    """Positions or orders at the venue that are not the desk's."""
    moved_through: datetime | None = None
    """Every wallet movement up to here is in ``wallet``."""


class AccountMoved(Payload, frozen=True):
    """The wallet changed otherwise than by a fill: funding, a transfer, clearing. Published by execution, before any report
    whose wallet contains it."""

    movement: Movement


class FlatConfirmed(Payload, frozen=True):
    """After a trip: the venue confirmed no positions (if closing was asked for) and no open orders of either kind."""

    trip_id: TripId
    epoch: int
    time: datetime
    positions: int
    open_orders: int
    open_algo_orders: int


class PortfolioUpdated(Payload, frozen=True):
    snapshot: Snapshot


class StopTransition(Payload, frozen=True):
    """Base of the three transition events. ``who`` is a person's name or the component that decided."""

    epoch: int
    previous: StopState
    state: StopState
    time: datetime
    who: str
    reason: str
    trip: Trip | None = None


class StopTripped(StopTransition, frozen=True):
    pass


class StopCoolingDown(StopTransition, frozen=True):
    pass


class StopRearmed(StopTransition, frozen=True):
    pass


class StopRequestAnswered(Payload, frozen=True):
    outcome: RequestOutcome
    who: str


class BaselineReset(Payload, frozen=True):
    """A reset with ``newBaseline`` was accepted: the day's drawdown is measured from this equity on."""

    time: datetime
    epoch: int
    equity: Decimal
    who: str
    transfers: Decimal | None = None
    """``snapshot.transfers`` when the equity was measured; None from an older version."""


class StopLease(Payload, frozen=True):
    """The stop's state with a lease; a state channel, not a stream of record."""

    view: StopView
    head: StopHead | None = None
    """Where the stop's audit ends, signed: kept by others, it shows a chain that was cut and signed again."""


class PolicyUpdated(Payload, frozen=True):
    version: int
    sha256: str
    who: str
    changes: tuple[str, ...]


class Heartbeat(Payload, frozen=True):
    """A component is alive and makes progress. ``progress`` counts units of its real work."""

    component: str
    time: datetime
    progress: int
    checks: dict[str, bool]
    detail: dict[str, str] = {}


class HealthUpdated(Payload, frozen=True):
    """Verdict of the health monitor; published on change."""

    time: datetime
    status: str
    """``ok``, ``degraded`` or ``down``."""
    components: dict[str, str]


EVENT_TYPES: dict[str, type[Payload]] = {
    "market.mark": MarkPrice,
    "market.candle": CandleClosed,
    "market.instruments": InstrumentsLoaded,
    "market.liquidity": MarketLiquidity,
    "signal.generated": SignalGenerated,
    "order.proposed": OrderProposed,
    "order.refused": OrderRefused,
    "throttle.closed": ThrottleClosed,
    "throttle.enabled": ThrottleEnabled,
    "order.submitted": OrderSubmitted,
    "order.filled": OrderFilled,
    "order.failed": OrderFailed,
    "account.reported": AccountReported,
    "account.moved": AccountMoved,
    "account.flat": FlatConfirmed,
    "portfolio.updated": PortfolioUpdated,
    "ess.tripped": StopTripped,
    "ess.cooling_down": StopCoolingDown,
    "ess.rearmed": StopRearmed,
    "ess.answered": StopRequestAnswered,
    "ess.baseline": BaselineReset,
    "ess.lease": StopLease,
    "policy.updated": PolicyUpdated,
    "health.heartbeat": Heartbeat,
    "health.updated": HealthUpdated,
}
EVENT_NAMES: dict[type[Payload], str] = {kind: name for name, kind in EVENT_TYPES.items()}


class Event(msgspec.Struct, frozen=True):
    """An event as a consumer sees it. ``(producer, epoch, sequence)`` is unique; within a producer, order is by (epoch, sequence)."""

    desk: DeskId
    producer: str
    epoch: int
    sequence: int
    time: datetime
    """Market time at which it was published."""
    type: str
    payload: Payload

    @property
    def id(self) -> str:
        return f"{self.producer}:{self.epoch}-{self.sequence}"


class EventError(Exception):
    """Bytes that are not an event we know; the message says what is wrong with which field."""


class _Envelope(msgspec.Struct):
    desk: DeskId
    producer: str
    epoch: int
    sequence: int
    time: datetime
    type: str
    payload: msgspec.Raw


_encoder = msgspec.json.Encoder(decimal_format="string")
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_payload_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in EVENT_TYPES.items()
}


MOST_EVENT_BYTES = 262_144
"""An event is small; what is larger is a mistake of its producer, and would hold up everybody who reads it."""


def encode_event(event: Event) -> bytes:
    """One JSON object: the envelope with the payload inside. Raises EventError for one above MOST_EVENT_BYTES."""
    data = _encoder.encode(event)
    if len(data) > MOST_EVENT_BYTES:
        raise EventError(f"{event.type} has {len(data)} bytes; an event has at most {MOST_EVENT_BYTES}: publish less")
    return data


def decode_event(data: bytes) -> Event:
    """Parse and validate. Raises EventError for anything that is not a known event."""
    try:
        envelope = _envelope_decoder.decode(data)
    except UNREADABLE as error:
        raise EventError(f"not an event envelope: {error}") from error
    decoder = _payload_decoders.get(envelope.type)
    if decoder is None:
        raise EventError(f"unknown event type {envelope.type!r}: produced by a newer version?")
    try:
        payload = decoder.decode(envelope.payload)
    except UNREADABLE as error:
        raise EventError(f"{envelope.type}: {error}") from error
    return Event(
        desk=envelope.desk,
        producer=envelope.producer,
        epoch=envelope.epoch,
        sequence=envelope.sequence,
        time=envelope.time,
        type=envelope.type,
        payload=payload,
    )
