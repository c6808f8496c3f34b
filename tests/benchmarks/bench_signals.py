"""The queue of signals: what an offer costs when it is full, and how that grows with its size."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from tests.benchmarks.harness import Bench, lower, quantile

from breakwater.domain.ids import SignalId, Symbol
from breakwater.domain.signal_queue import CAPACITY, SignalQueue
from breakwater.domain.signals import DataKind, Direction, Provenance, Signal

OFFERS = 10_000
SMALL, LARGE = CAPACITY, 100 * CAPACITY
START = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
PROVENANCE = Provenance("heuristic:bench", DataKind.REPLAY)


def signals(count: int, seed: int) -> list[Signal]:
    random = Random(seed)
    return [
        Signal(
            SignalId(f"s{number}"),
            Symbol("BTCUSDT"),
            Direction.LONG,
            Decimal(random.randrange(1, 1000)) / 1000,
            START + timedelta(milliseconds=number / 10),
            timedelta(seconds=random.randrange(1, 600)),
            PROVENANCE,
        )
        for number in range(count)
    ]


def offering(capacity: int, seed: int) -> float:
    """Seconds that OFFERS signals take on a full queue, one out of four of those that stay being taken out again."""
    queue = SignalQueue(capacity)
    filling, offers = signals(capacity, seed), signals(OFFERS, seed + 1)
    for each in filling:
        queue.offer(each, each.expires_at, START)
    expiries = [each.expires_at for each in offers]
    began = time.perf_counter()
    for number, each in enumerate(offers):
        queue.offer(each, expiries[number], each.time)
        if not number % 4:
            queue.take(each.time)
    return time.perf_counter() - began


def growth() -> dict[str, float]:
    small, large = [], []
    for seed in range(7):
        small.append(offering(SMALL, seed))
        large.append(offering(LARGE, seed))
    return {
        "signals.offer_at_hundredfold_size": quantile(large, 0.5) / quantile(small, 0.5),
        "signals.core_at_10k_offers_per_s": quantile(small, 0.5),
    }


BENCHES = [
    Bench(
        (
            # log 10,000 / log 100 is 2; what grows with the size itself would be near 100.
            lower("signals.offer_at_hundredfold_size", 4, 2, "the same 10,000 offers to a queue of 100"),
            lower("signals.core_at_10k_offers_per_s", 0.5, 0.1, "one core"),
        ),
        growth,
    )
]
