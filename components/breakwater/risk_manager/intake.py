"""Where signals wait for the risk manager's judgement: a queue of the best, and who waits to hear what became of each.

A signal's event counts as handled only when the signal was judged or dropped, and what was decided is stored. So one that
waits here when the process is killed is delivered again; nothing leaves without being accounted for.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signal_queue import CAPACITY, Dropped, DropReason, SignalQueue
from breakwater.domain.signals import Signal
from breakwater.runtime.clocks import MarketClock

AT_ONCE = 2 * CAPACITY
"""Signals taken from the bus before the first of them is settled: a full queue, and as many that are being refused."""


class Intake:
    """``settled`` is for who brings a signal, ``next`` and ``settle`` for the one who judges."""

    def __init__(self, market: MarketClock) -> None:
        self._market = market
        self._queue = SignalQueue()
        self._outcomes: dict[int, asyncio.Future[Refusal | None]] = {}
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        """Signals that wait."""
        return len(self._queue)

    async def settled(self, signal: Signal, expires_at: datetime) -> Refusal | None:
        """Wait until ``signal`` was judged (None), or dropped without: then why. Raises what judging it raised."""
        number, dropped = self._queue.offer(signal, expires_at, self._market.now())
        outcome: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        self._outcomes[number] = outcome
        self._drop(dropped)
        self._arrived.set()
        return await outcome

    async def next(self) -> tuple[int, Signal]:
        """The best of those that wait, as soon as there is one. ``settle`` it."""
        while True:
            best, dropped = self._queue.take(self._market.now())
            self._drop(dropped)
            if best is not None:
                return best
            self._arrived.clear()
            await self._arrived.wait()

    def settle(self, number: int, error: Exception | None = None) -> None:
        """It was judged, or ``error`` came between."""
        outcome = self._outcomes.pop(number)
        if outcome.done():  # who brought it is gone
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    def _drop(self, dropped: list[Dropped]) -> None:
        for each in dropped:
            outcome = self._outcomes.pop(each.number)
            if not outcome.done():
                outcome.set_result(_why(each, self._queue.capacity))


def _why(dropped: Dropped, capacity: int) -> Refusal:
    signal = dropped.signal
    if dropped.reason is DropReason.EXPIRED:
        return Refusal(
            RefusalCode.EXPIRED, "the signal expired while it waited to be judged; send fewer, or later ones"
        )
    return Refusal(
        RefusalCode.SIGNAL_CROWDED_OUT,
        f"{capacity} signals wait to be judged and this one's confidence of {signal.confidence} was the lowest; "
        "send fewer at a time",
    )
