"""Frames for any number of open pages: encoded once per change, at most one each 250 ms, a slow page skips to the newest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import msgspec

from breakwater.dashboard.state import DeskState
from breakwater.dashboard.view import Frame, encode
from breakwater.runtime.clocks import InfraClock

FRAME_SECONDS = 0.25
EVENTS_PER_FRAME = 60


class StatusFeed:
    """Wakes its readers when `changed` was called. ``status`` gives the newest status as JSON."""

    def __init__(self, state: DeskState, clock: InfraClock, status: Callable[[], bytes]) -> None:
        self._state, self._clock, self._status = state, clock, status
        self._revision = 0
        self._wake: set[asyncio.Event] = set()
        self._encoded: tuple[float, int, msgspec.Raw] | None = None

    @property
    def readers(self) -> int:
        return len(self._wake)

    def changed(self) -> None:
        """Something that is shown is different now."""
        self._revision += 1
        for wake in self._wake:
            wake.set()

    def wake_all(self) -> None:
        """Let every reader look again although nothing changed (the service stops)."""
        for wake in self._wake:
            wake.set()

    async def frames(self, stopped: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """One full frame now, then one per change until ``stopped``; never closer together than 250 ms."""
        wake = asyncio.Event()
        self._wake.add(wake)
        event_number = point_number = 0
        full = True
        try:
            while not stopped():
                wake.clear()
                events = self._state.rows_since(event_number, EVENTS_PER_FRAME)
                equity = self._state.curve.since(point_number)
                event_number = events[-1].number if events else event_number
                point_number = equity[-1].number if equity else point_number
                yield encode(Frame(full, self._current(), events, equity))
                full = False
                await self._clock.sleep(FRAME_SECONDS)
                await wake.wait()
        finally:
            self._wake.discard(wake)

    def _current(self) -> msgspec.Raw:
        now = self._clock.monotonic()
        kept = self._encoded
        if kept is None or kept[1] != self._revision or now - kept[0] > FRAME_SECONDS:
            kept = self._encoded = (now, self._revision, msgspec.Raw(self._status()))
        return kept[2]
