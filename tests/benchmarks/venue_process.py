"""The paper venue over HTTP as a process of its own, so that its CPU and its clients' are counted apart.

``python venue_process.py`` prints its address, then the CPU-seconds it has taken for each line it reads.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import KNOWN_SYMBOLS, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import serve_http
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import Clocks, wall_clocks

SYMBOLS = tuple(KNOWN_SYMBOLS)[:18]
PRICES = {"BTCUSDT": Decimal(60000), "ETHUSDT": Decimal(3000)}
OTHER_PRICE = Decimal(10)
TICK_S = 1.0
_CONFIG = VenueConfig(
    symbols=tuple(KNOWN_SYMBOLS[s] for s in SYMBOLS),
    weight_limit_per_minute=10**9,
    order_limit_per_10s=10**9,
    order_limit_per_minute=10**9,
)


class VenueProcess:
    """A running venue."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._ask, self._answers = process.stdin, process.stdout
        self.url = self._answers.readline().strip()

    def cpu_s(self) -> float:
        """CPU-seconds it has taken so far."""
        self._ask.write("\n")
        self._ask.flush()
        return float(self._answers.readline())


@contextmanager
def venue_process() -> Iterator[VenueProcess]:
    """A venue with prices, until the end of the block."""
    command = [sys.executable, str(Path(__file__))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield VenueProcess(process)
        finally:
            process.kill()


async def _main() -> None:
    clocks = wall_clocks()
    venue = PaperVenue(_CONFIG)
    _tick(venue, clocks)
    server = await serve_http(venue, "127.0.0.1", 0, clocks)
    _say(server.url)
    asking = asyncio.create_task(asyncio.to_thread(_answer))
    while not asking.done():
        await asyncio.sleep(TICK_S)
        _tick(venue, clocks)


def _tick(venue: PaperVenue, clocks: Clocks) -> None:
    now = venue_now(clocks)
    for symbol in SYMBOLS:
        venue.on_tick(Tick(symbol, now.market_ms, PRICES.get(symbol, OTHER_PRICE)), now)


def _answer() -> None:
    for _ in sys.stdin:
        _say(str(time.process_time()))


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    asyncio.run(_main())
