"""The report of a what-if. Its JSON keys are an interface: docs/reference/whatif.md. The same input gives the same bytes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec


class MarketReport(msgspec.Struct, frozen=True):
    """``source``: ``journal``, ``files`` or ``synthetic:SEED``. Times are market time."""

    source: str
    symbols: tuple[str, ...]
    start: datetime
    end: datetime


class SignalsReport(msgspec.Struct, frozen=True):
    """``source``: ``journal``, ``long``, ``momentum`` or the file's name; ``recorded``: how many it holds in this span."""

    source: str
    recorded: int | None


class RecordingReport(msgspec.Struct, frozen=True):
    """What the desk itself lived through in this span, by its own journal, and how whole that journal is."""

    desk: str
    lines: int
    damaged_lines: int
    unknown_lines: int
    missing_lines: int
    starting_equity: Decimal
    final_equity: Decimal
    worst_daily_drawdown_pct: Decimal
    worst_open_loss_pct: Decimal
    peak_exposure_pct: Decimal
    trips: int
    orders_submitted: int
    fills: int
    fees: Decimal
    refused_by_code: dict[str, int]
    equity_curve: tuple[tuple[datetime, Decimal], ...]


class TripReport(msgspec.Struct, frozen=True):
    """Percentages, but for ``EXECUTION_ERRORS``: counts. ``reset_at`` is None where the desk stayed tripped."""

    time: datetime
    trigger: str
    measured: Decimal | None
    limit: Decimal | None
    binding: str
    flat_at: datetime | None
    reset_at: datetime | None


class LimitsReport(msgspec.Struct, frozen=True):
    """The limits that a person looks for first, as enforced."""

    max_risk_per_trade_pct: Decimal
    max_daily_drawdown_pct: Decimal
    max_open_loss_pct: Decimal
    max_leverage: int
    max_exposure_pct: Decimal
    max_concurrent_positions: int


class OrdersReport(msgspec.Struct, frozen=True):
    """``submitted``: orders the venue accepted, protective ones included; ``filled``: orders with at least one fill."""

    submitted: int
    filled: int
    failed: int
    refused: int
    refused_by_code: dict[str, int]
    """By risk manager and gate together."""
    refused_by: dict[str, int]
    """``risk_manager`` and ``gate``."""


class RunReport(msgspec.Struct, frozen=True):
    """One policy's run. Money in USDT, percentages 5 for 5 %."""

    name: str
    profile: str
    sha256: str
    """Of policy and stop as enforced: equal for equal ones."""
    symbols: tuple[str, ...]
    limits: LimitsReport
    trips: tuple[TripReport, ...]
    resets: int
    state_at_end: str
    worst_daily_drawdown_pct: Decimal
    worst_daily_drawdown_at: datetime | None
    worst_open_loss_pct: Decimal
    worst_open_loss_at: datetime | None
    peak_exposure_pct: Decimal
    signals: int
    orders: OrdersReport
    fills: int
    fees: Decimal
    funding: Decimal
    liquidations: int
    starting_equity: Decimal
    final_equity: Decimal
    lowest_equity: Decimal
    ledger_difference: Decimal
    """Our own ledger minus the venue's account."""
    positions_at_end: int
    equity_curve: tuple[tuple[datetime, Decimal], ...]
    """At most `MOST_POINTS` points: the first, then the last of each stretch of time."""


class Difference(msgspec.Struct, frozen=True):
    """A run against the first one: its figure minus the first one's."""

    name: str
    final_equity: Decimal
    worst_daily_drawdown_pct: Decimal
    worst_open_loss_pct: Decimal
    peak_exposure_pct: Decimal
    trips: int
    submitted: int
    refused: int
    refused_by_code: dict[str, int]
    """Codes whose counts differ."""
    fees: Decimal


class WhatIfReport(msgspec.Struct, frozen=True):
    """Everything: ``runs`` in the order they were asked for, the first is what ``differences`` compare with."""

    market: MarketReport
    signals: SignalsReport
    auto_reset: bool
    notes: tuple[str, ...]
    recording: RecordingReport | None
    runs: tuple[RunReport, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> bytes:
        """One JSON object. Decimals are JSON numbers, written out exactly; times are ISO 8601 in UTC."""
        return msgspec.json.format(_encoder.encode(self), indent=2)


MOST_POINTS = 400

_encoder = msgspec.json.Encoder(decimal_format="number")


def difference(base: RunReport, other: RunReport) -> Difference:
    """``other`` minus ``base``."""
    codes = sorted({*base.orders.refused_by_code, *other.orders.refused_by_code})
    changes = {
        code: other.orders.refused_by_code.get(code, 0) - base.orders.refused_by_code.get(code, 0) for code in codes
    }
    return Difference(
        name=other.name,
        final_equity=other.final_equity - base.final_equity,
        worst_daily_drawdown_pct=other.worst_daily_drawdown_pct - base.worst_daily_drawdown_pct,
        worst_open_loss_pct=other.worst_open_loss_pct - base.worst_open_loss_pct,
        peak_exposure_pct=other.peak_exposure_pct - base.peak_exposure_pct,
        trips=len(other.trips) - len(base.trips),
        submitted=other.orders.submitted - base.orders.submitted,
        refused=other.orders.refused - base.orders.refused,
        refused_by_code={code: change for code, change in changes.items() if change},
        fees=other.fees - base.fees,
    )


class Curve:
    """Thins a curve out while it is drawn: its first value, and the last one of each equal stretch of time."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start = start
        self._stretch = (end - start) / (MOST_POINTS - 2)
        self._first: tuple[datetime, Decimal] | None = None
        self._points: dict[int, tuple[datetime, Decimal]] = {}

    def add(self, moment: datetime, value: Decimal) -> None:
        """Moments must not go back. What is before the start counts as the start, what is after the end as the end."""
        number = int((moment - self._start) / self._stretch) if self._stretch else 0
        point = max(moment, self._start), value
        if self._first is None:
            self._first = point
        else:
            self._points[min(max(number, 0), MOST_POINTS - 2)] = point

    def points(self) -> tuple[tuple[datetime, Decimal], ...]:
        return ((self._first,) if self._first else ()) + tuple(self._points.values())
