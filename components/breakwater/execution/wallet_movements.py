"""Wallet movements from the venue's income list: each published once it is seen, none lost over a restart.

The list is dear (request weight 30) and its rows may come late: it is read at the start, when the stream or a wallet that no
fill explains says that something moved, then again a few times with growing pauses, and seldom otherwise. Every reading goes
back over an hour that was read before, the last of a series over two days; what was seen is told by its id.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from breakwater.domain.ids import TranId
from breakwater.domain.money import plain
from breakwater.domain.movements import SETTLEMENT_ASSET, Movement
from breakwater.exchange.incomes import KINDS
from breakwater.execution.books import Books
from breakwater.execution.journal import ExecutionJournal, MovementsRead
from breakwater.execution.outbox import Outbox
from breakwater.execution.venue_calls import INCOMES_PER_PAGE, VenueCalls
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import AccountMoved

log = structlog.get_logger(__name__)

AGAIN_AFTER_S = (0.0, 5.0, 20.0, 90.0, 600.0)
"""Infrastructure seconds after a sign of a movement at which the list is read; the last reading is a deep one."""
EVERY_S = 3600.0
RETRY_S = 15.0
OVERLAP = timedelta(hours=1)
DEEP = timedelta(hours=48)
KEPT = timedelta(hours=72)
"""How long ids are remembered: longer than any reading goes back."""
MOST_PAGES = 20

Key = tuple[str, TranId, str]


class WalletMovements:
    """``pull`` is called by whoever compares the account, so that no movement comes between a reading and its report."""

    def __init__(
        self, books: Books, calls: VenueCalls, journal: ExecutionJournal, outbox: Outbox, clocks: Clocks
    ) -> None:
        self._books = books
        self._calls = calls
        self._journal = journal
        self._outbox = outbox
        self._clocks = clocks
        self._agenda: list[float] = []
        self._conflicts: set[Key] = set()
        self._strange: set[str] = set()
        self._fresh = True
        self._resume: datetime | None = None
        """Where the last reading stopped when there was more than one reading takes."""
        self.problem = ""
        """Why the list could not be read the last time; empty when it could."""
        self.expect()

    def expect(self) -> None:
        """Something moved, or may have: read the list at the next comparison, and some more times for rows that come late."""
        now = self._clocks.infra.monotonic()
        self._agenda = [now + pause for pause in AGAIN_AFTER_S]

    def due(self) -> bool:
        """Whether it is time to read the list."""
        return bool(self._agenda) and self._agenda[0] <= self._clocks.infra.monotonic()

    def through(self, asked: datetime) -> datetime:
        """Market time up to which every movement is in a wallet that was asked for at ``asked`` and agreed with the books."""
        newest = max((movement.time for movement in self._books.moves.values()), default=asked)
        return max(asked, newest)

    async def pull(self) -> int | None:
        """Read the list and publish what is new. How many movements; None: not answered, the next ``due`` tries again."""
        asked = self._clocks.market.now()
        begin = self._begin(asked)
        found: dict[Key, list[Movement]] = {}
        reached = await self._read(begin, found)
        now = self._clocks.infra.monotonic()
        if reached is None:
            self._agenda = [now + RETRY_S, *(at for at in self._agenda if at > now + RETRY_S)]
            return None
        self._fresh, self.problem = False, ""
        self._resume = reached if reached < asked else None
        self._agenda = [at for at in self._agenda if at > now] or [now + EVERY_S]
        if self._resume is not None:
            self._agenda.insert(0, now + RETRY_S)
        self._books.moves_through = reached
        new = [movement for alike in found.values() for movement in alike if self._is_new(movement)]
        if new:
            self._publish(new, reached)
        return len(new)

    def _begin(self, now: datetime) -> datetime:
        """From where to read. After a start, and at the end of a series, deep: what was missed came late, or while away."""
        if self._resume is not None:
            return self._resume
        read = min(self._books.moves_through or now, now) - OVERLAP
        last = len(self._agenda) == 1 and self.due()
        return min(read, now - DEEP) if self._fresh or last else read

    async def _read(self, begin: datetime, found: dict[Key, list[Movement]]) -> datetime | None:
        """Collect the rows since ``begin``. Until when they were read; None when a page could not be had."""
        asked = self._clocks.market.now()
        for _ in range(MOST_PAGES):
            page = await self._calls.incomes(begin)
            if page.value is None:
                self._unread(f"{page.outcome} {page.message}".rstrip())
                return None
            for movement in page.value.movements:
                alike = found.setdefault(movement.key, [])
                if movement not in alike:  # pages overlap
                    alike.append(movement)
            newest = page.value.newest
            if page.value.rows < INCOMES_PER_PAGE or newest is None:
                return asked
            if newest <= begin:
                self._unread(f"over {INCOMES_PER_PAGE} rows have the time {begin.isoformat()}")
                return None
            begin = newest
        return begin

    def _publish(self, new: list[Movement], through: datetime) -> None:
        for movement in new:
            self._check(movement)
            if movement.key not in self._books.moves:
                self._books.book_movement(movement)
        self._books.forget_moves(through - KEPT)
        record = MovementsRead(through, tuple(self._books.moves.values()))
        for movement in new[:-1]:
            self._outbox.put(AccountMoved(movement))
        # A crash before this one is journaled publishes all of them again: who takes them in tells them by their ids.
        self._outbox.put(AccountMoved(new[-1]), after=lambda: self._journal.append_or_log(record))

    def _unread(self, why: str) -> None:
        self.problem = f"the venue's income list could not be read: {why}"
        log.error(
            "wallet movements not read; funding and transfers are missing until they are",
            why=why,
            retry_after_s=RETRY_S,
        )

    def _is_new(self, movement: Movement) -> bool:
        known = self._books.moves.get(movement.key)
        if known is None:
            return True
        if known != movement and movement.key not in self._conflicts:
            self._conflicts.add(movement.key)
            log.error(
                "the venue shows one movement with two sets of numbers; the first one counts: ask the venue which is right",
                type=movement.venue_type,
                tran_id=movement.tran_id,
                amounts=f"{plain(known.amount)} and {plain(movement.amount)}",
            )
            return True  # the portfolio judges it the same way, and raises the alarm
        return False

    def _check(self, movement: Movement) -> None:
        """Say what a person should know of it."""
        if movement.venue_type not in KINDS and movement.venue_type not in self._strange:
            self._strange.add(movement.venue_type)
            log.error(
                "income of an unknown type: what it takes counts as a loss, what it gives as capital",
                type=movement.venue_type,
                amount=plain(movement.amount),
            )
        if movement.asset != SETTLEMENT_ASSET:
            log.warning("a movement of another asset; the ledger counts USDT only", asset=movement.asset)
