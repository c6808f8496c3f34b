"""Signals that wait to be judged: at most so many, the best first (REQUIREMENTS R4, PATCH #3).

One order decides everything: confidence first, then age. The highest is judged next, of two equal ones the newer; the lowest
is dropped when there is no room, of two equal ones the older. Expired signals leave before any valid one does.
"""

from __future__ import annotations

import enum
import heapq
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from breakwater.domain.signals import Signal

CAPACITY: Final = 100
_BEGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_Rank = TypeVar("_Rank", tuple[Decimal, datetime, int], tuple[Decimal, timedelta, int], tuple[datetime, int])


class DropReason(enum.StrEnum):
    EXPIRED = "EXPIRED"
    LOWEST_CONFIDENCE = "LOWEST_CONFIDENCE"


@dataclass(frozen=True)
class Dropped:
    """A signal that left without being judged; ``number`` is what ``offer`` gave it."""

    number: int
    signal: Signal
    reason: DropReason


class SignalQueue:
    """Offering, taking and dropping cost O(log n), n being the signals that wait. Times are market times.

    Three heaps hold the same signals by three orders. What leaves by one of them is left in the others until it comes to
    their top, or until it is half of what they hold.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"a queue of {capacity} signals holds none")
        self.capacity = capacity
        self._waiting: dict[int, tuple[Signal, datetime]] = {}
        self._last = 0
        # The last of each tuple is the signal's number.
        self._worst: list[tuple[Decimal, datetime, int]] = []
        self._best: list[tuple[Decimal, timedelta, int]] = []
        self._expiring: list[tuple[datetime, int]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, signal: Signal, expires_at: datetime, now: datetime) -> tuple[int, list[Dropped]]:
        """Take ``signal`` in. Returns its number, and what had to leave: it may be this one."""
        self._last = number = self._last + 1
        self._waiting[number] = (signal, expires_at)
        self._push(number)
        dropped = self.expire(now)
        if len(self._waiting) > self.capacity:
            dropped.append(self._leave(self._top(self._worst), DropReason.LOWEST_CONFIDENCE))
        return number, dropped

    def take(self, now: datetime) -> tuple[tuple[int, Signal] | None, list[Dropped]]:
        """Number and signal to be judged next, if any is still valid, and what has expired."""
        dropped = self.expire(now)
        if not self._waiting:
            return None, dropped
        number = self._top(self._best)
        signal, _ = self._waiting.pop(number)
        self._tidy()
        return (number, signal), dropped

    def expire(self, now: datetime) -> list[Dropped]:
        """What has expired leaves."""
        dropped = []
        while self._waiting:
            number = self._top(self._expiring)
            if self._waiting[number][1] > now:
                break
            dropped.append(self._leave(number, DropReason.EXPIRED))
        return dropped

    def _push(self, number: int) -> None:
        signal, expires_at = self._waiting[number]
        heapq.heappush(self._worst, (signal.confidence, signal.time, number))
        heapq.heappush(self._best, (-signal.confidence, _BEGIN - signal.time, -number))
        heapq.heappush(self._expiring, (expires_at, number))

    def _top(self, heap: list[_Rank]) -> int:
        """Number of the first in ``heap`` that still waits."""
        while (number := abs(heap[0][-1])) not in self._waiting:
            heapq.heappop(heap)
        return number

    def _leave(self, number: int, reason: DropReason) -> Dropped:
        signal, _ = self._waiting.pop(number)
        self._tidy()
        return Dropped(number, signal, reason)

    def _tidy(self) -> None:
        """What has left must not pile up in the heaps: each removal pays for its share."""
        most = 2 * max(len(self._waiting), 16)
        if all(len(heap) <= most for heap in (self._worst, self._best, self._expiring)):
            return
        for heap in (self._worst, self._best, self._expiring):
            heap.clear()
        for number in self._waiting:
            self._push(number)
