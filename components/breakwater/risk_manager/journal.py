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
KEPT_ANSWERS = 256
"""Answers to people's requests that are remembered."""


class _Proposed(msgspec.Struct, frozen=True, tag="proposed"):
    proposal: Proposal
    mark: Decimal


class _Repeats(msgspec.Struct, frozen=True, tag="repeats"):
    """State of one symbol's throttle, written when the file is compacted."""

    symbol: Symbol
    fingerprint: str
    count: int


class Closed(msgspec.Struct, frozen=True, tag="blocked"):
    """No entries on ``symbol`` since ``time`` (market time), until a person enables it."""

    symbol: Symbol
    time: datetime
    repeats: int = 0
    limit: int = 0
    """The limit in force then; 0 when it was execution's gate that counted."""


class Enabling(msgspec.Struct, frozen=True, tag="enabled"):
    """A person's request to enable ``symbol`` again and its one answer, at market time ``time``."""

    symbol: Symbol
    time: datetime
    who: str
    reason: str = ""
    request_id: str = ""
    accepted: bool = True


class _Announced(msgspec.Struct, frozen=True, tag="announced"):
    """The others have been told of this request's answer."""

    request_id: str


_Record = _Proposed | _Repeats | Closed | Enabling | _Announced


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
        self._closed: dict[Symbol, Closed] = {}
        self._answers: dict[str, Enabling] = {}
        self._announced: set[str] = set()

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

    def counts(self) -> dict[Symbol, int]:
        """Identical entries proposed in a row, by symbol."""
        return {symbol: count for symbol, (_, count) in self._repeats.items()}

    def closed(self) -> dict[Symbol, Closed]:
        return dict(self._closed)

    async def close(self, closed: Closed) -> None:
        """No entries on the symbol until `answer` enables it; survives restarts."""
        await self._append(closed)

    def answered(self, request_id: str) -> Enabling | None:
        return self._answers.get(request_id)

    def answers(self) -> list[Enabling]:
        """The last answers to people's requests, oldest first."""
        return list(self._answers.values())

    def unannounced(self) -> list[Enabling]:
        """Symbols enabled of which the others may not have heard."""
        return [each for each in self._answers.values() if each.accepted and each.request_id not in self._announced]

    async def answer(self, answer: Enabling) -> None:
        """Make the one answer to a request durable; an accepted one opens the symbol, and its count starts over."""
        await self._append(answer)
        self._forget()

    async def announced(self, request_id: str) -> None:
        await self._append(_Announced(request_id))

    async def _append(self, record: _Record) -> None:
        await self._file.append(record)
        self._apply(record)

    def _forget(self) -> None:
        while len(self._proposals) > KEPT:
            self._proposals.pop(next(iter(self._proposals)))
        while len(self._answers) > KEPT_ANSWERS:
            self._announced.discard(gone := next(iter(self._answers)))
            del self._answers[gone]

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
            case Closed(symbol):
                self._closed[symbol] = record
            case Enabling(symbol, request_id=request_id, accepted=accepted):
                self._answers.setdefault(request_id, record)
                if accepted:
                    self._closed.pop(symbol, None)
                    self._repeats.pop(symbol, None)
            case _Announced(request_id):
                self._announced.add(request_id)

    def _compacted(self) -> list[_Record]:
        records: list[_Record] = [_Proposed(entry.proposal, entry.mark) for entry in self._proposals.values()]
        records += self._answers.values()
        records += [_Announced(request_id) for request_id in sorted(self._announced & self._answers.keys())]
        # Counts and closed symbols come last: they are what everything above them, and what was forgotten, came to.
        records += [_Repeats(symbol, fingerprint, count) for symbol, (fingerprint, count) in self._repeats.items()]
        records += self._closed.values()
        return records


def fingerprint_of(proposal: Proposal) -> str:
    """What makes two entries on one symbol identical."""
    price = "" if proposal.price is None else plain(proposal.price)
    return f"{proposal.side}:{plain(proposal.quantity)}:{price}"
