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


class _Ready(asyncio.Handle):
    """A callback to run: as asyncio's, without its debugging aids, which cost a third of a simulation's time."""

    __slots__ = ()

    def __init__(  # type: ignore[no-untyped-def]
        self, callback, args, loop, context
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _Timer(asyncio.TimerHandle):
    """The same for timers."""

    __slots__ = ()

    def __init__(  # type: ignore[no-untyped-def]
        self, when, callback, args, loop, context
    ) -> None:
        _Ready.__init__(self, callback, args, loop, context)  # type: ignore[arg-type]
        self._when = when
        self._scheduled = True

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = self._args = None  # type: ignore[assignment]
            if self._scheduled:
                self._loop._timers_cancelled += 1  # type: ignore[attr-defined]


class VirtualLoop(asyncio.BaseEventLoop):
    """Seeded event loop in virtual time. ``seed=None`` keeps asyncio's first-in first-out order throughout.

    No threads, sockets or child processes: asking for one raises, because their timing is not the simulation's.
    Raises SimulationDeadlock and SimulationLivelock out of ``run_until_complete``.
    """

    def __init__(self, *, seed: int | None = None, stall_limit: int = DEFAULT_STALL_LIMIT) -> None:
        super().__init__()
        self._random = None if seed is None else random.Random(f"schedule-{seed}")
        self._microseconds = 0
        # (microsecond due, number, timer): timers of one instant run in the order they were set.
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._timers_set = 0
        self._timers_cancelled = 0
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
        due = math.ceil(when * 1e6 - 0.1)
        timer = _Timer(due / 1e6, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (due, self._timers_set, timer))
        return timer

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if self._closed:  # type: ignore[attr-defined]
            self._check_closed()  # type: ignore[attr-defined]
        handle = _Ready(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def _run_once(self) -> None:
        """One pass: move time if nothing is ready, shuffle, run what is ready now (not what that makes ready)."""
        ready = self._ready  # type: ignore[attr-defined]
        self._take_due_timers(move_time=not ready and not self._stopping)  # type: ignore[attr-defined]
        count = len(ready)
        self.callbacks_run += count
        self._since_time_moved += count + 1
        self.schedule_digest = zlib.crc32(_PACK.pack(self._microseconds, count), self.schedule_digest)
        if self._since_time_moved > self._stall_limit:
            raise SimulationLivelock(
                f"{self._stall_limit} callbacks at virtual {self.time():.6f} s and time does not move; "
                f"next: {list(ready)[:5]}"
            )
        if count > 1 and self._random is not None:
            self._shuffle_tasks(self._random.random)
        take = ready.popleft
        for _ in range(count):
            handle = take()
            if not handle._cancelled:
                try:
                    handle._context.run(handle._callback, *handle._args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001  as asyncio does: the loop's exception handler decides
                    self.call_exception_handler(
                        {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
                    )

    def _take_due_timers(self, *, move_time: bool) -> None:
        """Make ready what is due. ``move_time`` first jumps to the next timer; SimulationDeadlock if there is none."""
        timers = self._timers
        if self._timers_cancelled > 100 and self._timers_cancelled * 2 > len(timers):
            timers[:] = [entry for entry in timers if not entry[2]._cancelled]
            heapq.heapify(timers)
            self._timers_cancelled = 0
        while timers and (move_time or timers[0][0] <= self._microseconds):
            due, _, timer = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer._cancelled:
                self._timers_cancelled -= 1
                continue
            if due > self._microseconds:
                self._microseconds = due
                self._since_time_moved = 0
            move_time = False
            self._ready.append(timer)  # type: ignore[attr-defined]
        if move_time:
            raise SimulationDeadlock(
                f"at virtual {self.time():.6f} s nothing is ready and no timer is set; waiting: {_waiting(self)}"
            )

    def _shuffle_tasks(self, draw: Callable[[], float]) -> None:
        """Permute the ready steps of tasks among the places they hold; all other callbacks stay where they are."""
        ready = self._ready  # type: ignore[attr-defined]
        places = [
            i for i, handle in enumerate(ready) if isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)
        ]
        for last in range(len(places) - 1, 0, -1):
            other = int(draw() * (last + 1))
            here, there = places[last], places[other]
            ready[here], ready[there] = ready[there], ready[here]

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

    def close(self) -> None:
        super().close()
        self._timers.clear()

    def _write_to_self(self) -> None:
        """Nothing sleeps, so there is nothing to wake."""


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return "; ".join(f"{task.get_name()} {task.get_coro()!r}" for task in tasks[:20]) or "no task"
