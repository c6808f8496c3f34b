"""Copies what buses count of their consuming side into a process' metrics, each time these are read."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from breakwater.runtime.bus import Bus
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.redis_bus import RedisBus


class BusCounts:
    """Failed handlers, dead letters and gaps of ``buses`` together; an alert on any of them says that events get lost."""

    def __init__(self, metrics: Metrics, buses: Iterable[Bus]) -> None:
        self._metrics = metrics
        self._buses = [bus for bus in buses if isinstance(bus, RedisBus)]
        self._copied: collections.Counter[str] = collections.Counter()
        metrics.before_reading(self.copy)

    def copy(self) -> None:
        failures: collections.Counter[str] = collections.Counter()
        for bus in self._buses:
            failures.update(bus.counters.handler_failures)
        for event_type, count in failures.items():
            for _ in range(self._new(f"failures/{event_type}", count)):
                self._metrics.count_handler_failure(event_type)
        self._metrics.dead_letters.inc(self._new("dead", sum(bus.counters.dead_letters for bus in self._buses)))
        self._metrics.stream_gaps.inc(self._new("gaps", sum(bus.counters.gaps for bus in self._buses)))

    def _new(self, name: str, count: int) -> int:
        new = count - self._copied[name]
        self._copied[name] = count
        return new
