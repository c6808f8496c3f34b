"""What the dashboard says about a desk: one typed object, the body of ``GET /v1/status``.

An interface (docs/reference/cli.md): keys are only ever added. Decimals are strings, times RFC 3339 UTC, ages seconds of
infrastructure time, percentages 5 for 5 %. None means unknown, never zero.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.snapshot import Snapshot


class DeskFacts(msgspec.Struct, frozen=True):
    """What does not change while a desk runs; handed in by whoever assembles it."""

    market: str
    """Where the market comes from: ``synthetic:7``, ``replay:BTCUSDT.csv``, ``binance``."""
    build: str
    """Version of the program."""
    started_at: datetime
    """Wall time, UTC."""
    speed: str = "1"
    """Market time per wall time, as given: ``1``, ``20``."""
    stop_name: str = "main"
    """Name of the EmergencyStop resource, for the kubectl line."""
    namespace: str = ""


class MarketView(msgspec.Struct, frozen=True):
    source: str
    data: str
    """DataKind: MARKET, REPLAY, SYNTHETIC or MOCK."""
    speed: str


class Need(msgspec.Struct, frozen=True):
    """One precondition of a reset. ``met`` is as far as the dashboard can see; the emergency stop decides."""

    name: str
    met: bool
    text: str


class StopPanel(msgspec.Struct, frozen=True):
    """The emergency stop. ``state`` is UNKNOWN until the stop was heard for the first time."""

    state: str
    lease_fresh: bool
    epoch: int | None = None
    reduce_only: bool = True
    reason: str = ""
    trip_id: str | None = None
    trigger: str | None = None
    tripped_at: datetime | None = None
    measured: Decimal | None = None
    limit: Decimal | None = None
    unit: str = ""
    """``%`` or ``errors``: unit of measured and limit."""
    binding: str = ""
    who: str = ""
    flat_at: datetime | None = None
    cooling_down_until: datetime | None = None
    remaining_seconds: int | None = None
    """Cooldown left, market time."""
    needs: tuple[Need, ...] = ()
    reset_command: str = ""
    kubectl_command: str = ""


class GateView(msgspec.Struct, frozen=True):
    """``told_by`` is ``execution`` when it reported its own gate, else ``derived`` from the stop's lease."""

    state: str
    code: str
    reason: str
    told_by: str


class RiskBar(msgspec.Struct, frozen=True):
    """How much of a limit is used. ``share_pct`` is 0..100 and beyond; level is ``ok``, ``near`` (from 70) or ``over`` (from 100)."""

    name: str
    label: str
    used: Decimal
    limit: Decimal
    unit: str
    share_pct: Decimal
    level: str
    binding: str


class PositionRow(msgspec.Struct, frozen=True):
    symbol: str
    side: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal
    pnl_pct: Decimal | None
    notional: Decimal
    leverage: int
    opened_at: datetime
    stop_price: Decimal | None
    """Trigger of the last protective stop sent for it."""


class OrderRow(msgspec.Struct, frozen=True):
    """A recent order, as far as events tell. ``GONE``: the venue reports no order any more; how it ended is not on the bus."""

    client_order_id: str
    symbol: str
    role: str
    side: str
    order_type: str
    quantity: Decimal
    filled: Decimal
    price: Decimal | None
    trigger_price: Decimal | None
    status: str
    time: datetime
    text: str = ""


class FillRow(msgspec.Struct, frozen=True):
    symbol: str
    role: str
    side: str
    quantity: Decimal
    price: Decimal
    commission: Decimal
    time: datetime


class RefusalRow(msgspec.Struct, frozen=True):
    code: str
    count: int
    by: str
    last_symbol: str
    last_text: str
    last_time: datetime


class LimitRow(msgspec.Struct, frozen=True):
    name: str
    value: Decimal
    requested: Decimal
    binding: str


class PolicyView(msgspec.Struct, frozen=True):
    version: int
    profile: str
    symbols: tuple[str, ...]
    stale: bool
    limits: tuple[LimitRow, ...]
    hold: str = ""
    """Why nothing may be opened under this policy; empty when it is not on hold."""


class ComponentRow(msgspec.Struct, frozen=True):
    """``status`` is ``ok``, ``degraded`` (a check fails) or ``silent`` (no heartbeat for 5 s)."""

    name: str
    status: str
    age_seconds: float
    progress: int
    failing: tuple[str, ...]
    detail: dict[str, str]
    verdict: str
    """What the health monitor says, empty if it has not spoken."""


class MarkRow(msgspec.Struct, frozen=True):
    symbol: str
    price: Decimal
    time: datetime


class AccountView(msgspec.Struct, frozen=True):
    """What the venue itself last said."""

    time: datetime
    wallet: Decimal
    open_orders: int
    open_algo_orders: int
    unknown_orders: int
    foreign: tuple[str, ...]


class Freshness(msgspec.Struct, frozen=True):
    """Ages in seconds of infrastructure time; None: never received."""

    marks_received: int
    last_mark_age_seconds: float | None
    last_mark_time: datetime | None
    snapshot_age_seconds: float | None
    stop_age_seconds: float | None
    stale: bool
    """No mark for 3 s: the figures are not the market's any more."""


class DeskStatus(msgspec.Struct, frozen=True):
    desk: str
    build: str
    started_at: datetime
    market_time: datetime
    mode: str | None
    """Paper, Staging or Live; None while no policy is known."""
    market: MarketView
    stop: StopPanel
    gate: GateView
    snapshot: Snapshot | None
    risk: tuple[RiskBar, ...]
    trip_equity: Decimal | None
    """Equity at which the day's drawdown trips the stop."""
    positions: tuple[PositionRow, ...]
    orders: tuple[OrderRow, ...]
    fills: tuple[FillRow, ...]
    account: AccountView | None
    refusals: tuple[RefusalRow, ...]
    counts: dict[str, int]
    policy: PolicyView | None
    components: tuple[ComponentRow, ...]
    health: str | None
    marks: tuple[MarkRow, ...]
    freshness: Freshness


class EventRow(msgspec.Struct, frozen=True):
    """One line of the event list. ``level`` is ``info``, ``good``, ``warn`` or ``bad``; ``number`` rises by one."""

    number: int
    time: datetime
    kind: str
    level: str
    text: str


class EquityPoint(msgspec.Struct, frozen=True, array_like=True):
    """``[number, market time in ms, equity]``."""

    number: int
    time_ms: int
    equity: Decimal


class Frame(msgspec.Struct, frozen=True):
    """One message of the stream. ``full`` replaces everything the page holds; otherwise events and equity are appended."""

    full: bool
    status: Any
    """Raw JSON of a DeskStatus: encoded once for all pages."""
    events: tuple[EventRow, ...]
    equity: tuple[EquityPoint, ...]


_encoder = msgspec.json.Encoder(decimal_format="string")


def encode(value: object) -> bytes:
    """JSON with exact decimals as strings."""
    return _encoder.encode(value)
