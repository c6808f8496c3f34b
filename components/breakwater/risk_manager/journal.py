"""What the risk manager must not forget when it is killed: which proposals it made, and how often it repeated itself."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import ProposalId, Symbol
from breakwater.domain.money import plain
from breakwater.domain.orders import Proposal
from breakwater.runtime.journal import TypedJournal
from breakwater.runtime.ports import Disk

FILE = "proposals.jsonl"
KEPT = 500
"""Proposals remembered across a restart; older ones expired long ago."""


class _Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    proposal: Proposal
    mark: Decimal


class _Repeats(msgspec.Struct, frozen=True, tag="repeats"):
    """State of one symbol's throttle, written when the file is compacted."""

    symbol: Symbol
    fingerprint: str
    count: int


class _Blocked(msgspec.Struct, frozen=True, tag="blocked"):
    symbol: Symbol
    time: datetime


class _Enabled(msgspec.Struct, frozen=True, tag="enabled"):
    symbol: Symbol
    time: datetime
    who: str


_Record = _Proposed | _Repeats | _Blocked | _Enabled


class JournaledProposal(msgspec.Struct, frozen=True):
    proposal: Proposal
    mark: Decimal
    """Mark price it was sized at."""


class Journal:
    """An append-only file of proposals, synced before a proposal is published; compacted at start."""

    def __init__(self, disk: Disk) -> None:
        self._file: TypedJournal[_Record] = TypedJournal(disk, FILE, _Record)
        self._proposals: dict[ProposalId, JournaledProposal] = {}
        self._repeats: dict[Symbol, tuple[str, int]] = {}
        self._blocked: dict[Symbol, datetime] = {}

    async def load(self) -> None:
        """Read the file and compact it. Raises JournalCorrupt, DiskError: then nothing may be proposed."""
        records = await self._file.load()
        for record in records:
            self._apply(record)
        self._forget()
        if records:
            await self._file.rewrite(self._compacted())

    def find(self, proposal_id: ProposalId) -> JournaledProposal | None:
        return self._proposals.get(proposal_id)

    def all(self) -> list[JournaledProposal]:
        return list(self._proposals.values())

    async def add(self, proposal: Proposal, mark: Decimal) -> None:
        """Make the proposal durable. Raises DiskError; then it must not be published."""
        await self._append(_Proposed(proposal, mark))
        self._forget()

    def repeats(self, proposal: Proposal) -> int:
        """Identical entries (side, quantity, price) proposed in a row on this symbol before ``proposal``."""
        fingerprint, count = self._repeats.get(proposal.symbol, ("", 0))
        return count if fingerprint == fingerprint_of(proposal) else 0

    def blocked_since(self, symbol: Symbol) -> datetime | None:
        return self._blocked.get(symbol)

    def blocked(self) -> dict[Symbol, datetime]:
        return dict(self._blocked)

    async def block(self, symbol: Symbol, time: datetime) -> None:
        """No entries on ``symbol`` until `enable`; survives restarts."""
        await self._append(_Blocked(symbol, time))

    async def enable(self, symbol: Symbol, time: datetime, who: str) -> None:
        """A person allows entries again; the count starts over."""
        await self._append(_Enabled(symbol, time, who))

    async def _append(self, record: _Record) -> None:
        await self._file.append(record)
        self._apply(record)

    def _forget(self) -> None:
        while len(self._proposals) > KEPT:
            self._proposals.pop(next(iter(self._proposals)))

    def _apply(self, record: _Record) -> None:
        match record:
            case _Proposed(proposal, mark):
                if proposal.proposal_id in self._proposals:
                    return
                fingerprint = fingerprint_of(proposal)
                known, count = self._repeats.get(proposal.symbol, ("", 0))
                self._repeats[proposal.symbol] = (fingerprint, count + 1 if known == fingerprint else 1)
                self._proposals[proposal.proposal_id] = JournaledProposal(proposal, mark)
            case _Repeats(symbol, fingerprint, count):
                self._repeats[symbol] = (fingerprint, count)
            case _Blocked(symbol, time):
                self._blocked[symbol] = time
            case _Enabled(symbol, _, _):
                self._blocked.pop(symbol, None)
                self._repeats.pop(symbol, None)

    def _compacted(self) -> list[_Record]:
        records: list[_Record] = [_Proposed(entry.proposal, entry.mark) for entry in self._proposals.values()]
        # The counts come last: they are what the proposals above them, and forgotten ones, added up to.
        records += [_Repeats(symbol, fingerprint, count) for symbol, (fingerprint, count) in self._repeats.items()]
        records += [_Blocked(symbol, time) for symbol, time in self._blocked.items()]
        return records


def fingerprint_of(proposal: Proposal) -> str:
    """What makes two entries on one symbol identical."""
    price = "" if proposal.price is None else plain(proposal.price)
    return f"{proposal.side}:{plain(proposal.quantity)}:{price}"
