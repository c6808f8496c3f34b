"""The runtime's two clocks on a virtual loop: both move only when the loop does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from breakwater.runtime.clocks import Clocks
from breakwater.simulation.loop import VirtualLoop


class VirtualMarketClock:
    """Market time: ``start`` plus the loop's virtual time, exact to the microsecond."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._start = _utc(start)

    def now(self) -> datetime:
        return self._start + timedelta(microseconds=self._loop.microseconds)

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()) / timedelta(seconds=1)) > 0:  # noqa: ASYNC110  this is the sleep
            await asyncio.sleep(left)


class VirtualInfraClock:
    """The machine's clocks in virtual time. ``utc_now`` starts at ``start`` and never steps."""

    def __init__(self, loop: VirtualLoop, start: datetime) -> None:
        self._loop = loop
        self._start = _utc(start)

    def monotonic(self) -> float:
        return self._loop.time()

    def utc_now(self) -> datetime:
        return self._start + timedelta(microseconds=self._loop.microseconds)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def virtual_clocks(loop: VirtualLoop, start: datetime) -> Clocks:
    """Both clocks at ``start`` (timezone-aware; ValueError otherwise)."""
    return Clocks(VirtualMarketClock(loop, start), VirtualInfraClock(loop, start))


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone: give it as UTC, for example ...+00:00")
    return moment.astimezone(UTC)
