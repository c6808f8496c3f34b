"""The portfolio at an instant, as the emergency stop judges it and the gate counts it."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol


class PositionView(msgspec.Struct, frozen=True):
    """One open position. ``quantity`` is signed base units (negative is short); money in USDT."""

    symbol: Symbol
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal
    leverage: int
    opened_at: datetime

    @property
    def notional(self) -> Decimal:
        return abs(self.quantity) * self.mark_price


class Snapshot(msgspec.Struct, frozen=True):
    """Equity and risk at ``time`` (market time). Definitions: REQUIREMENTS R0.

    equity = wallet + unrealised; daily drawdown = max(0, baseline - equity) / baseline;
    open loss = max(0, -net unrealised) / wallet. Percentages: 5 means 5 %.
    """

    sequence: int
    """Rises by one with each snapshot of one portfolio process; distinct snapshots have distinct sequences."""
    time: datetime
    wallet: Decimal
    unrealised_pnl: Decimal
    equity: Decimal
    baseline: Decimal
    """Equity that the day's drawdown is measured from."""
    baseline_day: date
    daily_drawdown_pct: Decimal
    open_loss_pct: Decimal
    gross_notional: Decimal
    exposure_pct: Decimal
    positions: tuple[PositionView, ...]
    reconciled: bool
    """The ledger agreed with the venue when they were last compared."""
    marks_missing: tuple[Symbol, ...] = ()
    """Open positions without a mark price: figures are then incomplete and nothing may be opened."""
    realised_today: Decimal = Decimal(0)
    fees_today: Decimal = Decimal(0)
    funding_today: Decimal = Decimal(0)
    """Received minus paid."""
    rebase_epoch: int = 0
    """The stop's epoch of the last new baseline asked for that ``baseline`` knows of."""
    transfers: Decimal = Decimal(0)
    """Capital in minus out since the ledger began: who keeps a figure of this snapshot can tell what was moved since."""
