"""The rate governor at full demand on a virtual clock, beside the limiters that others use for the same limit of 1200 a minute."""

from __future__ import annotations

import asyncio
import importlib
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiolimiter import AsyncLimiter
from tests.benchmarks.harness import Bench, higher, lower

from breakwater.domain.rate_budget import Cost, Lane, VenueLimits
from breakwater.exchange.governor import Governor
from breakwater.runtime.clocks import InfraClock
from breakwater.simulation.run import Simulation, run_virtual

LIMITS = VenueLimits()
WINDOW_S = LIMITS.window_s
DEMAND_S = 180.0
TASKS = 40
"""That ask again and again, as fast as they are let."""
COMMAND = Cost(command=True)
HUMMINGBOT_LOOKS_EVERY_S = 0.1
CCXT_RATE_LIMIT_MS = 50.0

Take = Callable[[], Awaitable[Any]]
Make = Callable[[Simulation], tuple[Take, Take]]
"""How an entry and how an exit asks."""


def ours(simulation: Simulation) -> tuple[Take, Take]:
    governor = Governor(simulation.clocks.infra)
    return lambda: governor.take(COMMAND, Lane.ENTRIES), lambda: governor.take(COMMAND, Lane.EXITS)


def ccxt_own(simulation: Simulation) -> tuple[Take, Take]:
    """As ccxt sets it for Binance: one request each 50 ms."""
    module = importlib.import_module("ccxt.async_support.base.throttler")
    module.time = simulation.clocks.infra.monotonic  # type: ignore[attr-defined]
    throttle = module.Throttler({"refillRate": 1 / CCXT_RATE_LIMIT_MS, "capacity": 1.0})
    return throttle, throttle


def aiolimiter(_: Simulation) -> tuple[Take, Take]:
    limiter = AsyncLimiter(LIMITS.commands, WINDOW_S)
    return limiter.acquire, limiter.acquire


class SlidingLog:
    """Hummingbot's rule, as it documents it: a log of the last minute, looked at again every 0.1 s while there is no room."""

    def __init__(self, clock: InfraClock) -> None:
        self._clock = clock
        self._log: deque[float] = deque()
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        async with self._lock:
            while True:
                now = self._clock.monotonic()
                while self._log and self._log[0] <= now - WINDOW_S:
                    self._log.popleft()
                if len(self._log) < LIMITS.commands:
                    self._log.append(now)
                    return
                await self._clock.sleep(HUMMINGBOT_LOOKS_EVERY_S)


def hummingbot(simulation: Simulation) -> tuple[Take, Take]:
    log = SlidingLog(simulation.clocks.infra)
    return log.take, log.take


@dataclass(frozen=True)
class Seen:
    """What came of one limiter."""

    first_window: int
    worst_window: int
    at_once_after_idling: int
    worst_exit_wait_s: float


def measured(make: Make) -> Seen:
    """On a clock of its own."""

    async def main(simulation: Simulation) -> Seen:
        clock = simulation.clocks.infra
        entry, exit_ = make(simulation)
        times: list[float] = []
        stop = clock.monotonic() + DEMAND_S

        async def ask() -> None:
            while clock.monotonic() < stop:
                await entry()
                times.append(clock.monotonic())

        asking = [asyncio.ensure_future(ask()) for _ in range(TASKS)]
        await clock.sleep(90.0)
        worst_exit = 0.0
        for _ in range(20):
            began = clock.monotonic()
            await exit_()
            worst_exit = max(worst_exit, clock.monotonic() - began)
            times.append(clock.monotonic())
            await clock.sleep(1.0)
        await asyncio.gather(*asking)
        times.sort()
        worst = max(bisect_left(times, at + WINDOW_S) - n for n, at in enumerate(times))
        first = bisect_left(times, times[0] + WINDOW_S)
        return Seen(first, worst, await _after_idling(make, simulation), worst_exit)

    return run_virtual(main, seed=1, start=datetime(2026, 3, 2, 12, tzinfo=UTC), shuffle=False)


async def _after_idling(make: Make, simulation: Simulation) -> int:
    """Granted without waiting after 10 s of full demand and 10 s of none."""
    clock = simulation.clocks.infra
    entry, _ = make(simulation)
    stop = clock.monotonic() + 10.0
    while clock.monotonic() < stop:
        await entry()
    await clock.sleep(10.0)
    began, granted = clock.monotonic(), 0
    while granted < LIMITS.commands:
        await entry()
        if clock.monotonic() > began:
            break
        granted += 1
    return granted


def governor() -> dict[str, float | str]:
    """Ours, and what the others did in the same run, said beside it."""
    mine = measured(ours)
    others = {"ccxt": measured(ccxt_own), "aiolimiter": measured(aiolimiter), "hummingbot": measured(hummingbot)}
    theirs = "; ".join(
        f"{name} {seen.first_window}, {seen.worst_window}, {seen.at_once_after_idling}, {seen.worst_exit_wait_s:.2f} s"
        for name, seen in others.items()
    )
    return {
        "governor.granted_60s_against_limit": mine.first_window / LIMITS.commands,
        "governor.worst_60s_against_limit": mine.worst_window / LIMITS.commands,
        "governor.at_once_after_10s_idle_against_burst": mine.at_once_after_idling / (LIMITS.burst - LIMITS.reserve),
        "governor.worst_exit_wait_against_token_time": mine.worst_exit_wait_s * LIMITS.refill_per_s,
        "against": f"1200 a minute (first and worst 60 s, at once after idling, worst exit: {theirs})",
    }


BENCHES = [
    Bench(
        (
            higher("governor.granted_60s_against_limit", 0.95, 0.98, "1200 a minute"),
            lower("governor.worst_60s_against_limit", 1, 1, "1200 in any 60 s"),
            higher("governor.at_once_after_10s_idle_against_burst", 1, 1, "the burst less the reserve for exits"),
            lower("governor.worst_exit_wait_against_token_time", 1, 0.1, "time in which one token comes"),
        ),
        governor,
        1,
    )
]
