"""Execution's journal: every order before it is sent and what became of it, fills once published, halts. Survives kill -9."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from breakwater.domain.ids import ClientOrderId, ProposalId, Symbol, TradeId, VenueOrderId
from breakwater.domain.movements import Movement
from breakwater.domain.orders import Proposal, Protection
from breakwater.execution.orders import OrderState
from breakwater.runtime.journal import JournalCorrupt, TypedJournal
from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

FILE = "execution.journal"


class Record(msgspec.Struct, frozen=True):
    """Base of all records."""


class Intent(Record, frozen=True, tag="intent"):
    """This order is about to be sent."""

    client_id: ClientOrderId
    proposal: Proposal


class Outcome(Record, frozen=True, tag="outcome"):
    """What is known of an order now."""

    client_id: ClientOrderId
    state: OrderState
    executed: Decimal
    venue_id: VenueOrderId | None = None
    booked: Decimal | None = None
    """Seen as fills; only compaction writes it, elsewhere the fills themselves follow."""


class Booked(Record, frozen=True, tag="booked"):
    """A fill was published. ``quantity`` is signed."""

    symbol: Symbol
    trade_id: TradeId
    quantity: Decimal
    client_id: ClientOrderId | None


class Verified(Record, frozen=True, tag="verified"):
    """The account agreed with the venue: every trade up to these ids was published, and this is what was held."""

    trades: dict[Symbol, TradeId]
    positions: dict[Symbol, Decimal]
    wallet: Decimal
    foreign: tuple[Symbol, ...] = ()
    """Symbols whose position is not of the desk's making."""


class MovementsRead(Record, frozen=True, tag="movements"):
    """The income list was read up to ``through``, and these movements of the last days were published."""

    through: datetime
    published: tuple[Movement, ...]


class Halted(Record, frozen=True, tag="halted"):
    """A person halted the desk; ``epoch`` is the emergency stop's epoch known then."""

    who: str
    reason: str
    time: datetime
    epoch: int | None
    request_id: str = ""


class HaltAnswered(Record, frozen=True, tag="halt_answered"):
    """The answer to one more request to halt: the halt that stood then. Asking again with the id gives it again."""

    request_id: str
    halt: Halted


class HaltLifted(Record, frozen=True, tag="halt_lifted"):
    why: str
    time: datetime


class Kept(Record, frozen=True, tag="kept"):
    """What compaction keeps of orders that are over."""

    executed: tuple[ProposalId, ...]
    """Proposals that were journaled before, oldest first."""
    plans: dict[Symbol, Protection]
    leverage: dict[Symbol, int]
    commands: int
    """Number of the last stop, target or exit."""
    entries_allowed_from: datetime | None = None
    """Set after damage: older proposals may have been executed and are not executed again."""


AnyRecord = Intent | Outcome | Booked | Verified | MovementsRead | Halted | HaltAnswered | HaltLifted | Kept


class ExecutionJournal:
    """Typed, synced on return."""

    def __init__(self, disk: Disk) -> None:
        kind: Any = AnyRecord  # a union is a type to msgspec, not to mypy
        self._journal: TypedJournal[AnyRecord] = TypedJournal(disk, FILE, kind)
        self._disk = disk
        self.damaged = ""
        """Non-empty: records were lost; says which. The process starts all the same: positions have to be looked after."""

    async def load(self) -> list[AnyRecord]:
        """All records. Damage is reported and survived. Raises DiskError."""
        try:
            return await self._journal.load()
        except JournalCorrupt as error:
            self.damaged = str(error)
            log.error("execution journal damaged; entries proposed before now are refused", error=self.damaged)
        decoder = msgspec.json.Decoder(AnyRecord)
        records: list[AnyRecord] = []
        for data in await self._journal.journal.load(salvage=True):
            try:
                records.append(decoder.decode(data))
            except UNREADABLE as error:
                log.error("journal record left out", error=str(error))
        return records

    async def append(self, record: AnyRecord) -> None:
        """Durable on return. Raises DiskError."""
        await self._journal.append(record)

    async def append_or_log(self, record: AnyRecord) -> bool:
        """For what must go on without a disk, which is everything that reduces risk. False: it is not durable."""
        try:
            await self._journal.append(record)
        except DiskError as error:
            log.error("journal not written", record=type(record).__name__, error=str(error))
            return False
        return True

    async def flush(self) -> None:
        """Wait until everything under way is durable."""
        await self._journal.journal.flush()

    async def compact(self, records: list[AnyRecord]) -> None:
        """Replace everything by ``records``. Raises DiskError."""
        await self._journal.rewrite(records)


def newest_first_cut(known: Mapping[ProposalId, None], most: int = 20_000) -> tuple[ProposalId, ...]:
    """The last ``most`` keys in order of insertion."""
    return tuple(known)[-most:]
