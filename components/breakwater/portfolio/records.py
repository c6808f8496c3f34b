"""What the portfolio writes down before it acts on it. Replaying the journal gives the ledger and the baseline back."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ledger import Fill
from breakwater.runtime.events import VenuePosition

JOURNAL = "portfolio.journal"
EQUITY = "equity.json"


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A process began; its snapshots are numbered from ``run`` on, above those of every earlier one."""

    run: int


class Adopted(msgspec.Struct, frozen=True, tag="adopted"):
    """The wallet and positions the ledger starts from, and the trades they contain (last id per symbol)."""

    time: datetime
    wallet: Decimal
    positions: tuple[VenuePosition, ...]
    through_trade: dict[str, str]


class Filled(msgspec.Struct, frozen=True, tag="filled"):
    fill: Fill


class BaselineSet(msgspec.Struct, frozen=True, tag="baseline"):
    """Equity (USDT) that ``day``'s drawdown is measured from. ``epoch`` is the emergency stop's, when a reset asked for it."""

    day: date
    equity: Decimal
    time: datetime
    why: str
    epoch: int = 0
    start_minute: int | None = None
    """Minutes after midnight UTC at which ``day`` began, by the policy then in force."""


Record = Started | Adopted | Filled | BaselineSet


class ReconciledEquity(msgspec.Struct, frozen=True):
    """The last equity known to agree with the venue: the next day's baseline. Kept in its own small file."""

    time: datetime
    equity: Decimal
