"""An asyncio event loop whose time is virtual: it never waits, it jumps to the next timer.

Time is kept in whole microseconds, so repeated sleeps do not drift and market timestamps stay exact. With a seed, the
tasks that are ready at the same moment run in a shuffled order; everything asyncio promises to keep in order (plain
callbacks, done-callbacks of one future, timers of one instant) keeps it.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
import random
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

DEFAULT_STALL_LIMIT = 500_000
"""Callbacks without any time passing after which a simulation counts as stuck (a few CPU-seconds)."""

_PACK = struct.Struct("<qI")


class SimulationDeadlock(RuntimeError):
    """Nothing is ready and no timer is set: every task waits for something that nobody will do."""


class SimulationLivelock(RuntimeError):
    """Callbacks keep running and time does not move: a loop that never really waits."""


class _Timer(asyncio.TimerHandle):
    """A timer that, among timers of the same instant, runs in the order it was set (the stock heap is not stable)."""

    __slots__ = ("_sequence",)
    _when: float
    _scheduled: bool
    _sequence: int

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Timer):
            return NotImplemented
        return (self._when, self._sequence) < (other._when, other._sequence)

    __hash__ = asyncio.TimerHandle.__hash__


class _NoSelector:
    """Stands where the loop asks the operating system for events; moves time instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop._before_callbacks(timeout)
        return []

    def close(self) -> None:
        """Nothing is held open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Seeded event loop in virtual time. ``seed=None`` keeps asyncio's first-in first-out order throughout.

    No threads, sockets or child processes: asking for one raises, because their timing is not the simulation's.
    Raises SimulationDeadlock and SimulationLivelock out of ``run_until_complete``.
    """

    def __init__(self, *, seed: int | None = None, stall_limit: int = DEFAULT_STALL_LIMIT) -> None:
        super().__init__()
        self._selector = _NoSelector(self)
        self._clock_resolution = 5e-7  # half a tick: a timer due now is due, one a microsecond later is not
        self._random = None if seed is None else random.Random(f"schedule-{seed}")
        self._microseconds = 0
        self._timer_sequence = 0
        self._stall_limit = stall_limit
        self._since_time_moved = 0
        self._tasks_made = 0
        self.callbacks_run = 0
        """Callbacks run so far: the simulation's unit of work."""
        self.schedule_digest = 0
        """CRC over (time, callbacks ready) of every pass: two runs with equal digests took the same path."""

    # Time.

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._microseconds / 1e6

    @property
    def microseconds(self) -> int:
        """Virtual microseconds since the loop was made."""
        return self._microseconds

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()  # type: ignore[attr-defined]
        # Round up to whole microseconds (never fire early), forgiving the error of the float sum behind `when`.
        timer = _Timer(math.ceil(when * 1e6 - 0.1) / 1e6, callback, args, self, context)
        self._timer_sequence += 1
        timer._sequence = self._timer_sequence
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _before_callbacks(self, timeout: float | None) -> None:
        ready = self._ready  # type: ignore[attr-defined]
        if timeout is None:
            raise SimulationDeadlock(
                f"at virtual {self.time():.6f} s nothing is ready and no timer is set; waiting: {_waiting(self)}"
            )
        if timeout > 0:
            due = self._scheduled[0]._when  # type: ignore[attr-defined]
            self._microseconds = round(due * 1e6)
            self._since_time_moved = 0
        count = len(ready)
        self.callbacks_run += count
        self._since_time_moved += count + 1
        self.schedule_digest = zlib.crc32(_PACK.pack(self._microseconds, count), self.schedule_digest)
        if self._since_time_moved > self._stall_limit:
            raise SimulationLivelock(
                f"{self._stall_limit} callbacks at virtual {self.time():.6f} s and time does not move; "
                f"next: {list(ready)[:5]}"
            )
        if self._random is not None and count > 1:
            self._shuffle_tasks()

    def _shuffle_tasks(self) -> None:
        """Permute the ready steps of tasks among the places they hold; all other callbacks stay where they are."""
        assert self._random is not None
        ready = self._ready  # type: ignore[attr-defined]
        places = [i for i, handle in enumerate(ready) if _is_task_step(handle)]
        if len(places) < 2:
            return
        steps = [ready[i] for i in places]
        self._random.shuffle(steps)
        for place, step in zip(places, steps, strict=True):
            ready[place] = step

    def create_task(self, coro: Any, *, name: object = None, **options: Any) -> asyncio.Task[Any]:
        """As asyncio's, but tasks without a name are numbered per loop, so that names repeat from run to run."""
        self._tasks_made += 1
        return super().create_task(coro, name=name or f"task-{self._tasks_made:06d}", **options)

    def forget_stall(self) -> None:
        """Start counting callbacks without progress anew (before cleaning up after a livelock)."""
        self._since_time_moved = 0

    # What a simulation must not do.

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func!r} asks for a thread: threads have no place in virtual time")

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        raise RuntimeError(f"{host}:{port} would be a real connection: hand in a memory transport")

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._thread_id not in (None, threading.get_ident()):  # type: ignore[attr-defined]
            raise RuntimeError(f"{callback!r} comes from another thread: threads have no place in virtual time")
        return self.call_soon(callback, *args, context=context)

    # What BaseEventLoop asks of its heirs.

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no events from outside."""

    def _write_to_self(self) -> None:
        """Nothing sleeps, so there is nothing to wake."""


def _is_task_step(handle: asyncio.Handle) -> bool:
    owner = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    return isinstance(owner, asyncio.Task)


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return "; ".join(f"{task.get_name()} {task.get_coro()!r}" for task in tasks[:20]) or "no task"
