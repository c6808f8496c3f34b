"""A queue of keys: each at most once in it, each worked on by one worker at a time, retried until it succeeds.

Level-triggered: a key says only *what* to look at. One that is added while it is being worked on is worked on once more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import structlog

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.lifecycle import Check, Service
from breakwater_operator.metrics import OperatorMetrics

log = structlog.get_logger(__name__)

FIRST_BACKOFF, MOST_BACKOFF = 0.2, 60.0
SHORTEST_SECONDS = 0.001
JITTER = 0.2
"""A delay is spread by so much of itself to either side."""


class Lane(IntEnum):
    """Which of two waiting keys goes first."""

    URGENT = 0
    NORMAL = 1


@dataclass(frozen=True, order=True)
class Key:
    """What to look at: the kind's name, namespace and name of an object."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Retry(Exception):
    """An attempt did not succeed for a known reason: try again with growing delays, at most ``most`` seconds."""

    def __init__(self, reason: str, *, most: float = MOST_BACKOFF, at_once: bool = False) -> None:
        super().__init__(reason)
        self.most, self.at_once = most, at_once


Work = Callable[[Key], Awaitable[float | None]]
"""Look at a key. Returns seconds after which to look again, or None. Raises Retry, or anything else, to be called again."""


@dataclass
class _Entry:
    lane: Lane
    due: float
    failures: int = 0
    running: bool = False
    again: bool = False
    """Added while running."""


class WorkQueue(Service):
    """Runs ``work`` for every key. ``urgent`` workers serve only the urgent lane, so that a slow desk never delays a trip."""

    name = "queue"

    def __init__(
        self,
        work: Work,
        clock: InfraClock,
        jitter: random.Random,
        metrics: OperatorMetrics,
        *,
        workers: int = 8,
        urgent: int = 32,
    ) -> None:
        super().__init__()
        self._work, self._clock, self._random, self._metrics = work, clock, jitter, metrics
        self._workers, self._urgent = workers, urgent
        self._entries: dict[Key, _Entry] = {}
        self._wake: dict[Lane, asyncio.Event] = {lane: asyncio.Event() for lane in Lane}
        metrics.before_reading(self._measure)

    async def start(self) -> None:
        for number in range(self._workers):
            self.spawn(self._serve(Lane.NORMAL), f"worker{number}")
        for number in range(self._urgent):
            self.spawn(self._serve(Lane.URGENT), f"urgent{number}")

    def readiness(self) -> dict[str, Check]:
        failing = sorted(str(key) for key, entry in self._entries.items() if entry.failures > 5)
        return {**super().readiness(), "backlog": Check(True, f"{len(failing)} failing: {', '.join(failing[:3])}")}

    def add(self, key: Key, *, lane: Lane = Lane.NORMAL) -> None:
        """Look at ``key`` now, whatever it was waiting for; an urgent key stays urgent until it has been looked at."""
        now = self._clock.monotonic()
        entry = self._entries.setdefault(key, _Entry(lane, now))
        entry.lane = min(entry.lane, lane)
        if entry.running:
            entry.again = True
            return
        entry.due = min(entry.due, now)
        self._wake[entry.lane].set()

    def failures(self, key: Key) -> int:
        """Attempts in a row that did not succeed."""
        return self._entries[key].failures if key in self._entries else 0

    def __len__(self) -> int:
        return len(self._entries)

    async def _serve(self, lane: Lane) -> None:
        while True:
            found = self._next(lane)
            if isinstance(found, Key):
                await self._attempt(found)
                continue
            await self._idle(lane, found)

    async def _idle(self, lane: Lane, seconds: float | None) -> None:
        """Until something is added to the lane, or for so long."""
        wake = self._wake[lane]
        wake.clear()
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(wake.wait())]
        if seconds is not None:
            # A clock may not tell shorter times apart; the key would be not due and due for ever.
            waiting.append(asyncio.ensure_future(self._clock.sleep(max(seconds, SHORTEST_SECONDS))))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _next(self, lane: Lane) -> Key | float | None:
        """A key that is due in this lane, else the seconds until one is, else None."""
        now = self._clock.monotonic()
        waiting = [(e.due, e.failures > 0, key) for key, e in self._entries.items() if not e.running and e.lane is lane]
        if not waiting:
            return None
        # A crowd of desks that do not answer, each tried again and again, must not hold up a trip of one that does.
        ready = min(((failing, due, key) for due, failing, key in waiting if due <= now), default=None)
        return ready[2] if ready is not None else min(waiting)[0] - now

    async def _attempt(self, key: Key) -> None:
        entry = self._entries[key]
        entry.running, entry.again = True, False
        lane, entry.lane = entry.lane, Lane.NORMAL
        began = self._clock.monotonic()
        waited = max(0.0, began - entry.due)
        delay: float | None
        try:
            delay = await self._work(key)
        except Retry as retry:
            result, delay = "retry", self._backoff(entry, retry.most)
            if retry.at_once and entry.failures == 1:
                delay = 0.0
            # A desk that stays away would else fill the log.
            if entry.failures in (1, 5) or entry.failures % 50 == 0:
                log.warning("will try again", key=str(key), reason=str(retry), attempts=entry.failures, seconds=delay)
        except Exception:
            result, delay = "error", self._backoff(entry, MOST_BACKOFF)
            self._metrics.count_unexpected(key.kind)
            log.exception("an attempt failed unexpectedly; will try again", key=str(key), attempts=entry.failures)
        else:
            result = "done" if delay is None else "again"
            entry.failures = 0
        finally:
            entry.running = False
        now = self._clock.monotonic()
        self._metrics.observe_attempt(key.kind, result, now - began, waited)
        if entry.again:
            delay = 0.0
        if delay is None:
            del self._entries[key]
            return
        entry.lane = min(entry.lane, lane)
        entry.due = now + delay
        self._wake[entry.lane].set()

    def _backoff(self, entry: _Entry, most: float) -> float:
        entry.failures += 1
        delay: float = min(most, FIRST_BACKOFF * 2 ** min(entry.failures - 1, 20))
        return delay * (1 + JITTER * (2 * self._random.random() - 1))

    def _measure(self) -> None:
        now = self._clock.monotonic()
        late = [now - e.due for e in self._entries.values() if not e.running and e.due <= now]
        self._metrics.queue_depth.set(len(self._entries))
        self._metrics.queue_oldest.set(max(late, default=0.0))
        self._metrics.queue_failing.set(sum(1 for e in self._entries.values() if e.failures))
