"""Execution's half of the way from a breach to a closed gate, as a process of its own: ``python gate_process.py URL``.

Hears the stop's lease over the bus, keeps it in real books and watches the gate as execution does. Each change of the gate
is one line on standard output: ``OPEN`` or ``REDUCE_ONLY``, and the nanoseconds of the system-wide monotonic clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import structlog
from tests.benchmarks.samples import BTC, LIMITS, POLICY, STOP_SPEC

from breakwater.domain.ids import DeskId
from breakwater.execution.books import Books
from breakwater.execution.facts import FactFinder
from breakwater.execution.gate_watch import GateWatch
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.events import Event, StopLease
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.redis_bus import RedisBus

IN_FORCE: Any = SimpleNamespace(policy=POLICY, stop=STOP_SPEC, limits=LIMITS, stale=False, hold="", version=1)
POLICIES: Any = SimpleNamespace(current=lambda: IN_FORCE)


async def main(url: str) -> None:
    clocks, desk = wall_clocks(), DeskId("bench")
    books = Books(desk, clocks)
    gate = GateWatch(books, FactFinder(books, POLICIES, InstrumentBook(), clocks))
    bus = RedisBus(url, desk, "execution", clocks.infra)

    async def hear(event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        if books.stop.take(event.payload.view):
            before = gate.state
            gate.heard_stop()
            if gate.state is not before:
                os.write(1, f"{gate.state} {time.monotonic_ns()}\n".encode())

    bus.watch_state(hear, types=[StopLease])
    books.take_mark(BTC, LIMITS.max_order_notional_usd.value, clocks.market.now())
    await bus.start()
    while True:
        books.verified(())
        await asyncio.sleep(5)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(sys.argv[1]))
