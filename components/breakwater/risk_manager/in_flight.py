"""Entries the risk manager proposed and whose end it has not seen yet: they use exposure and block their symbol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.domain.ids import ProposalId, Symbol
from breakwater.domain.money import ZERO
from breakwater.domain.orders import Proposal
from breakwater.domain.snapshot import Snapshot

GRACE = timedelta(seconds=5)
"""Market time after a signal's expiry during which the last report about its entry may still come."""


@dataclass
class _Entry:
    symbol: Symbol
    quantity: Decimal
    price: Decimal
    expires_at: datetime
    filled: Decimal = ZERO
    filled_at: datetime | None = None
    ended: bool = False
    """No further fill will come."""


class InFlight:
    """Proposed entries by id. What filled counts here until a snapshot of the portfolio shows it, so nothing is missed between."""

    def __init__(self) -> None:
        self._entries: dict[ProposalId, _Entry] = {}

    def add(self, proposal: Proposal, mark: Decimal, expires_at: datetime) -> None:
        self._entries[proposal.proposal_id] = _Entry(proposal.symbol, proposal.quantity, mark, expires_at)

    def refused(self, proposal_id: ProposalId) -> None:
        """The gate said no: it was never sent."""
        self._entries.pop(proposal_id, None)

    def failed(self, proposal_id: ProposalId) -> None:
        """The command ended without (further) fills."""
        entry = self._entries.get(proposal_id)
        if entry is None:
            return
        if entry.filled == ZERO:
            del self._entries[proposal_id]
        else:
            entry.ended = True

    def filled(self, symbol: Symbol, quantity: Decimal, time: datetime) -> None:
        """An entry fill on ``symbol``; there is one entry at a time per symbol, so it is that one's."""
        for entry in self._entries.values():
            if entry.symbol == symbol:
                entry.filled += quantity
                entry.filled_at = time if entry.filled_at is None else max(time, entry.filled_at)
                return

    def seen(self, snapshot: Snapshot) -> None:
        """Forget what ended and is part of ``snapshot``."""
        for proposal_id, entry in list(self._entries.items()):
            included = entry.filled_at is not None and entry.filled_at <= snapshot.time
            if included and (entry.ended or entry.filled >= entry.quantity):
                del self._entries[proposal_id]

    def expire(self, now: datetime) -> None:
        """Forget entries that can no longer fill: an entry never outlives its signal."""
        for proposal_id, entry in list(self._entries.items()):
            if now >= entry.expires_at + GRACE:
                del self._entries[proposal_id]

    def symbols(self) -> frozenset[Symbol]:
        return frozenset(entry.symbol for entry in self._entries.values())

    def notional(self, snapshot: Snapshot) -> Decimal:
        """USDT that may still be added to ``snapshot``: what is unfilled, and fills it does not include yet."""
        total = ZERO
        for entry in self._entries.values():
            included = entry.filled if entry.filled_at is not None and entry.filled_at <= snapshot.time else ZERO
            pending = entry.filled if entry.ended else entry.quantity
            total += max(pending - included, ZERO) * entry.price
        return total
