"""What the portfolio writes down before it acts on it. Replaying the journal gives the ledger and the baseline back."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Fill, LedgerState
from breakwater.domain.movements import Movement
from breakwater.domain.valuation import DayTotals
from breakwater.runtime.events import VenuePosition

JOURNAL = "portfolio.journal"
EQUITY = "equity.json"


class ReconciledEquity(msgspec.Struct, frozen=True):
    """The last equity known to agree with the venue: the next day's baseline. Kept in its own small file."""

    time: datetime
    equity: Decimal


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A process began; its snapshots are numbered from ``run`` on, above those of every earlier one."""

    run: int


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    """The wallet and positions the ledger starts from, and what they contain: trades (last id per symbol) and movements."""

    time: datetime
    wallet: Decimal
    positions: tuple[VenuePosition, ...]
    through_trade: dict[str, str]
    moved_through: datetime | None = None
    """None in a journal that an older version wrote: then up to ``time``."""


class Filled(msgspec.Struct, frozen=True, tag="filled"):
    fill: Fill


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """A wallet movement. Capital moves what losses are measured from: ``baseline`` and ``last`` are the figures after it."""

    movement: Movement
    baseline: Decimal | None = None
    """None: it stayed."""
    last: ReconciledEquity | None = None
    """The next day's baseline as it stood then."""


class BaselineSet(msgspec.Struct, frozen=True, tag="baseline"):
    """Equity (USDT) that ``day``'s drawdown is measured from. ``epoch`` is the emergency stop's, when a reset asked for it."""

    day: date
    equity: Decimal
    time: datetime
    why: str
    epoch: int = 0
    start_minute: int | None = None
    """Minutes after midnight UTC at which ``day`` began, by the policy then in force."""


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint"):
    """Everything the records before it amount to; the first record of a compacted journal."""

    run: int
    ledger: LedgerState
    totals: DayTotals
    baseline: BaselineSet | None = None
    rebase_epoch: int = 0
    last: ReconciledEquity | None = None
    settled: dict[Symbol, TradeId] = {}
    """Trades that both sides agreed on, not yet forgotten by the ledger."""


Record = Started | Adopted | Filled | Moved | BaselineSet | Checkpoint
