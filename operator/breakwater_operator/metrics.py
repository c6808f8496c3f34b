"""What the operator says about itself in Prometheus' format. Names begin with ``breakwater_operator_``; labels are bounded."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KNOWN_FAILURES = ("unavailable", "Conflict", "Forbidden", "Invalid", "NotFound", "AlreadyExists", "other")


class OperatorMetrics:
    """Metrics of the operator's process. Durations in seconds."""

    def __init__(self, *, version: str) -> None:
        self.registry = CollectorRegistry()
        self._before_reading: list[Callable[[], None]] = []
        self.queue_depth = self._gauge("queue_depth_count", "Keys that wait or are being worked on.")
        self.queue_oldest = self._gauge("queue_oldest_age_seconds", "How long the oldest due key has been waiting.")
        self.queue_failing = self._gauge("queue_failing_count", "Keys whose last attempt failed.")
        self._reconcile_seconds = Histogram(
            "breakwater_operator_reconcile_seconds",
            "Time of one attempt, by kind and result.",
            ["kind", "result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_seconds = Histogram(
            "breakwater_operator_queue_wait_seconds",
            "Time from being due to being worked on, by kind.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._unexpected = self._counter(
            "unexpected_errors_total", "Errors nobody thought of, with a log entry.", "kind"
        )
        self._writes = self._counter("api_writes_total", "Writes to the API server.", "kind", "verb")
        self._api_failures = self._counter("api_failures_total", "Requests the API server refused or left.", "reason")
        self.objects = Gauge(
            "breakwater_operator_objects_count", "Objects known, by kind.", ["kind"], registry=self.registry
        )
        self._missed = self._counter("watch_missed_total", "Changes that only the periodic list showed.", "kind")
        self._watch_events = self._counter("watch_events_total", "Events of the watches.", "kind")
        self.desks = self._gauge("desks_count", "Desks whose components are asked each second.")
        self.desks_unreachable = self._gauge("desks_unreachable_count", "Of those, where the emergency stop is silent.")
        self._deliveries = self._counter("requests_total", "Trips and resets handed to desks.", "kind", "outcome")
        self.trip_seconds = Histogram(
            "breakwater_operator_trip_delivery_seconds",
            "Time from seeing a trip in the spec to the desk's answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._published = self._counter("policies_published_total", "Versions of policies brought into force.")
        self.store_connected = self._gauge("store_connected", "1 while Redis answers.")
        self.loop_lag = self._gauge("loop_lag_seconds", "How late the event loop last woke up.")
        info = Gauge(
            "breakwater_operator_build_info", "Version that runs; always 1.", ["version"], registry=self.registry
        )
        info.labels(version=version).set(1)

    def observe_attempt(self, kind: str, result: str, seconds: float, waited: float) -> None:
        """``result`` is ``done``, ``again``, ``retry`` or ``error``; ``waited``: seconds from being due to the start."""
        self._reconcile_seconds.labels(kind=kind, result=result).observe(seconds)
        self._queue_seconds.labels(kind=kind).observe(waited)

    def count_unexpected(self, kind: str) -> None:
        self._unexpected.labels(kind=kind).inc()

    def count_write(self, kind: str, verb: str) -> None:
        self._writes.labels(kind=kind, verb=verb).inc()

    def count_api_failure(self, reason: str) -> None:
        self._api_failures.labels(reason=reason if reason in _KNOWN_FAILURES else "other").inc()

    def count_missed(self, kind: str, number: int) -> None:
        self._missed.labels(kind=kind).inc(number)

    def count_watch_event(self, kind: str) -> None:
        self._watch_events.labels(kind=kind).inc()

    def count_delivery(self, kind: str, outcome: str) -> None:
        """``kind`` is ``TRIP``, ``RESET`` or ``HALT``; ``outcome`` ``accepted``, ``refused`` or ``unreachable``."""
        self._deliveries.labels(kind=kind, outcome=outcome).inc()

    def count_published(self) -> None:
        self._published.inc()

    def before_reading(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` each time the metrics are about to be read."""
        self._before_reading.append(hook)

    def render(self) -> bytes:
        """Text exposition format."""
        for hook in self._before_reading:
            hook()
        return generate_latest(self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"breakwater_operator_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"breakwater_operator_{name}", text, labels, registry=self.registry)
