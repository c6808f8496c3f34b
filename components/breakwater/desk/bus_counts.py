"""Copies what buses count into a process' metrics, each time these are read."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from breakwater.runtime.bus import Bus
from breakwater.runtime.disk_buffer.classes import Keeping
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
        buffers = [bus.buffer for bus in self._buses if bus.buffer is not None]
        self._metrics.buffer_events.set(sum(buffer.count for buffer in buffers))
        self._metrics.buffer_size.set(sum(buffer.size for buffer in buffers))
        quarantined = sum(buffer.quarantined for buffer in buffers)
        self._metrics.buffer_quarantined.inc(self._new("quarantined", quarantined))
        for keeping in (Keeping.DROPPABLE, Keeping.KEPT):
            for _ in range(self._new(f"refused/{keeping}", sum(bus.refused[keeping] for bus in self._buses))):
                self._metrics.count_buffer_refusal(keeping)
        self._metrics.dead_letters.inc(self._new("dead", sum(bus.counters.dead_letters for bus in self._buses)))
        self._metrics.dead_letters_waiting.set(max((bus.counters.letters_kept for bus in self._buses), default=0))
        self._metrics.unread_trimmed.inc(self._new("trimmed", sum(bus.counters.unread_trimmed for bus in self._buses)))
        self._metrics.stream_gaps.inc(self._new("gaps", sum(bus.counters.gaps for bus in self._buses)))

    def _new(self, name: str, count: int) -> int:
        new = count - self._copied[name]
        self._copied[name] = count
        return new
