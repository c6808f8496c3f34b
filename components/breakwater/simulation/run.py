"""Run a coroutine to its end in virtual time, and fail if anything died unseen on the way."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from breakwater.runtime.clocks import Clocks
from breakwater.simulation.clocks import virtual_clocks
from breakwater.simulation.loop import DEFAULT_STALL_LIMIT, VirtualLoop

T = TypeVar("T")

_GRACE_S = 60.0
"""Virtual seconds that tasks left over get to end after being cancelled."""

_GC_THRESHOLDS = (100_000, 50, 100)
"""A simulation makes many short-lived objects and few cycles: searching for them at the usual rate costs an eighth of it."""


class UnseenFailure(AssertionError):
    """A task or future failed and nobody looked at it, or a task would not end. Lists all of them."""


class Trace:
    """Fingerprint of what happened: equal digests mean the same records in the same order."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._hash = hashlib.blake2b(digest_size=16)
        self.records = 0

    def record(self, kind: str, *fields: object) -> None:
        """Add one record, stamped with virtual time. Fields are taken as ``str``: pass nothing whose text varies."""
        self.records += 1
        text = "\x1f".join((str(self._loop.microseconds), kind, *map(str, fields)))
        self._hash.update(text.encode() + b"\x1e")

    @property
    def digest(self) -> str:
        """Hex digest of the records so far, and of the schedule that produced them."""
        return f"{self._hash.hexdigest()}-{self._loop.schedule_digest:08x}"


@dataclass(frozen=True)
class Simulation:
    """What a simulated program gets handed in instead of the machine's clocks and randomness."""

    loop: VirtualLoop
    clocks: Clocks
    seed: int
    trace: Trace
    unseen: list[str] = field(default_factory=list)
    """Failures nobody has looked at so far."""

    def random(self, purpose: str) -> random.Random:
        """An own random source per purpose, so that one more draw here does not shift the draws elsewhere."""
        return random.Random(f"{purpose}-{self.seed}")


def run_virtual(
    main: Callable[[Simulation], Coroutine[Any, Any, T]],
    *,
    seed: int,
    start: datetime,
    shuffle: bool = True,
    stall_limit: int = DEFAULT_STALL_LIMIT,
) -> T:
    """Run ``main`` on a fresh virtual loop whose clocks begin at ``start``, and return its result.

    Equal seeds give equal runs (same Python version and code). ``shuffle=False`` keeps tasks first-in first-out.
    Whatever still runs at the end is cancelled and awaited. Raises whatever ``main`` raises, with failures seen elsewhere
    as notes; UnseenFailure when only those exist; SimulationDeadlock, SimulationLivelock. Not from inside a running loop.
    """
    loop = VirtualLoop(seed=seed if shuffle else None, stall_limit=stall_limit)
    simulation = Simulation(loop, virtual_clocks(loop, start), seed, Trace(loop))
    unseen = simulation.unseen

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not _dropped_by_ccxt(context):
            unseen.append(_describe(context))

    loop.set_exception_handler(note)
    # Python's global source, from which ccxt draws ids nobody asked for, becomes part of the seed.
    saved = random.getstate()
    random.seed(f"global-{seed}")
    # What exists already need not be searched for garbage again and again, nor at the end of every run.
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        return _run(main, simulation)
    except UnseenFailure:
        raise
    except BaseException as error:
        for text in unseen:
            error.add_note(f"also, unseen: {text}")
        raise
    finally:
        random.setstate(saved)
        loop.close()
        gc.collect()  # what the loop held on to; the next run would freeze it, and nothing ever search it again
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _run(main: Callable[[Simulation], Coroutine[Any, Any, T]], simulation: Simulation) -> T:
    try:
        result = simulation.loop.run_until_complete(main(simulation))
    finally:
        _cancel_leftovers(simulation)
    if simulation.unseen:
        raise UnseenFailure(f"{len(simulation.unseen)} failure(s) nobody looked at:\n" + "\n".join(simulation.unseen))
    return result


def _cancel_leftovers(simulation: Simulation) -> None:
    loop = simulation.loop
    loop.forget_stall()
    tasks = asyncio.all_tasks(loop)
    for task in sorted(tasks, key=asyncio.Task.get_name):
        task.cancel()
    if tasks:
        _, stubborn = loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE_S))
        simulation.unseen.extend(
            f"task {task.get_name()} goes on {_GRACE_S:.0f} s after it was cancelled" for task in stubborn
        )
        for task in tasks - stubborn:
            if not task.cancelled() and (error := task.exception()) is not None:
                simulation.unseen.append(f"task {task.get_name()} when cancelled: {error!r}")
    loop.run_until_complete(loop.shutdown_asyncgens())
    # A failed task speaks up when it is collected; do it now, while somebody listens.
    tasks = set()
    gc.collect()


def _dropped_by_ccxt(context: dict[str, Any]) -> bool:
    """ccxt.pro rejects futures it has no further use for whenever a connection ends. That is its way, not a failure."""
    future, error = context.get("future"), context.get("exception")
    return (
        future is not None
        and type(future).__module__.startswith("ccxt.")
        and any(kind.__name__ == "NetworkError" for kind in type(error).__mro__)
    )


def _describe(context: dict[str, Any]) -> str:
    error = context.get("exception")
    owner = context.get("task") or context.get("future") or context.get("handle")
    return f"{context.get('message')}: {error!r} in {owner!r}"
