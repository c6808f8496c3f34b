"""Prometheus metrics of one process. Names: ``breakwater_<what>_<unit>``, counters end in ``_total``; every label value is known or bounded.

All of a desk's figures exist from the start, at zero or NaN, so that an alert on a missing series means a missing process.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from breakwater.domain.rate_budget import Lane
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import StopState
from breakwater.runtime.disk_buffer.classes import Keeping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ORDER_OUTCOMES = ("submitted", "filled", "refused", "failed")
_NAN = float("nan")


class ProcessMetrics:
    """What every process tells of itself."""

    content_type = CONTENT_TYPE

    def __init__(self, *, desk: str, component: str, version: str) -> None:
        self.registry = CollectorRegistry()
        self._before_reading: list[Callable[[], None]] = []
        self._labels = {"desk": desk, "component": component}
        self._add_figures()
        self.heartbeat = self._gauge(
            "heartbeat_timestamp_seconds", "When this component last reported progress (Unix time).", 0
        )
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop last woke up.", 0)
        info = self._gauge_by("build_info", "Version that runs; always 1.", "version")
        info.labels(**self._labels, version=version).set(1)

    def _add_figures(self) -> None:
        """What a kind of process tells besides."""

    def before_reading(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` each time the metrics are about to be read."""
        self._before_reading.append(hook)

    def render(self) -> bytes:
        """Text exposition format."""
        for hook in self._before_reading:
            hook()
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str, start: float) -> Gauge:
        gauge = self._gauge_by(name, text).labels(**self._labels)
        gauge.set(start)
        return gauge

    def _gauge_by(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"breakwater_{name}", text, [*self._labels, *labels], registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return self._counter_by(name, text).labels(**self._labels)

    def _counter_by(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"breakwater_{name}", text, [*self._labels, *labels], registry=self.registry)


class Metrics(ProcessMetrics):
    """The metrics that every component may set; each component sets what it knows. Ratios: 0.05 means 5 %; money in USDT."""

    def _add_figures(self) -> None:
        self.gate_open = self._gauge(
            "gate_open", "1 when orders that add risk may pass, 0 when the gate is REDUCE_ONLY.", 0
        )
        self._stop_state = self._gauge_by(
            "stop_state", "1 for the state the emergency stop is in, 0 for the others.", "state"
        )
        for state in StopState:
            self._stop_state.labels(**self._labels, state=state.value).set(0)
        self.stop_epoch = self._gauge("stop_epoch_count", "Transitions of the emergency stop so far.", 0)
        self._orders = self._counter_by("orders_total", "Orders by outcome.", "outcome")
        for outcome in ORDER_OUTCOMES:
            self._orders.labels(**self._labels, outcome=outcome)
        self._refusals = self._counter_by("refusals_total", "Orders and requests refused, by code.", "code")
        for code in RefusalCode:
            self._refusals.labels(**self._labels, code=code.value)
        self.equity = self._gauge("equity_usdt", "Wallet and open profit or loss.", _NAN)
        self.wallet = self._gauge("wallet_usdt", "Wallet balance, without open profit or loss.", _NAN)
        self.drawdown = self._gauge("daily_drawdown_ratio", "Loss since the day's baseline, of that baseline.", _NAN)
        self.drawdown_limit = self._gauge("daily_drawdown_limit_ratio", "Drawdown at which the stop trips.", _NAN)
        self.open_loss = self._gauge("open_loss_ratio", "Open loss, of the wallet.", _NAN)
        self.open_loss_limit = self._gauge("open_loss_limit_ratio", "Open loss at which the stop trips.", _NAN)
        self.exposure = self._gauge("exposure_ratio", "Gross notional, of equity.", _NAN)
        self.exposure_limit = self._gauge("exposure_limit_ratio", "Exposure beyond which nothing is opened.", _NAN)
        self.positions = self._gauge("open_positions_count", "Open positions.", _NAN)
        self.marks = self._counter("marks_received_total", "Mark prices received.")
        self.bus_connected = self._gauge("bus_connected", "1 while the event bus answers.", 0)
        self._handler_failures = self._counter_by(
            "handler_failures_total", "Failed attempts to handle an event.", "type"
        )
        self.dead_letters = self._counter("dead_letters_total", "Events set aside after repeated failure.")
        self.dead_letters_waiting = self._gauge("dead_letters_waiting_count", "Events set aside, not settled yet.", 0)
        self.unread_trimmed = self._counter(
            "stream_unread_trimmed_total", "Times the stream's bound took events a group had not handled."
        )
        self.buffer_events = self._gauge("buffer_events_count", "Events that wait on disk for Redis.", 0)
        self.buffer_size = self._gauge("buffer_size_bytes", "Size of the files in which they wait.", 0)
        self.buffer_quarantined = self._counter("buffer_quarantined_total", "Damaged lines of the buffer, set aside.")
        self._buffer_refused = self._counter_by(
            "buffer_refused_total", "Events refused because the buffer fills, by what may be given up.", "keeping"
        )
        for keeping in (Keeping.DROPPABLE, Keeping.KEPT):
            self._buffer_refused.labels(**self._labels, keeping=keeping.name.lower())
        self.venue_bans = self._counter("venue_bans_total", "Times the venue shut this address out.")
        self._venue_waits = self._counter_by(
            "venue_waits_total", "Requests to the venue that waited for their turn, by lane.", "lane"
        )
        for lane in Lane:
            self._venue_waits.labels(**self._labels, lane=lane.name.lower())
        self.stream_gaps = self._counter("stream_gaps_total", "Times events were missing from a stream.")

    def set_stop_state(self, current: StopState | None) -> None:
        """None: unknown, all zero."""
        for state in StopState:
            self._stop_state.labels(**self._labels, state=state.value).set(1 if state is current else 0)

    def count_order(self, outcome: str) -> None:
        """``outcome`` is one of ORDER_OUTCOMES."""
        if outcome not in ORDER_OUTCOMES:
            raise ValueError(f"{outcome!r} is not one of {', '.join(ORDER_OUTCOMES)}")
        self._orders.labels(**self._labels, outcome=outcome).inc()

    def count_refusal(self, code: RefusalCode) -> None:
        self._refusals.labels(**self._labels, code=code.value).inc()

    def count_buffer_refusal(self, keeping: Keeping) -> None:
        self._buffer_refused.labels(**self._labels, keeping=keeping.name.lower()).inc()

    def count_handler_failure(self, event_type: str) -> None:
        self._handler_failures.labels(**self._labels, type=event_type).inc()

    def count_venue_waits(self, lane: Lane, count: int) -> None:
        self._venue_waits.labels(**self._labels, lane=lane.name.lower()).inc(count)

    @staticmethod
    def set_pct(gauge: Gauge, percent: Decimal | None) -> None:
        """Set a ratio from a percentage: 5 becomes 0.05; None becomes NaN."""
        gauge.set(_NAN if percent is None else float(percent / 100))

    def watch_connected(self, connected: Callable[[], bool]) -> None:
        """Ask for the bus' state whenever the metrics are read."""
        self.bus_connected.set_function(lambda: 1.0 if connected() else 0.0)
