"""Keeps a process' Prometheus metrics equal to what its desk says on the bus."""

from __future__ import annotations

from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    Event,
    MarkPrice,
    OrderFailed,
    OrderFilled,
    OrderRefused,
    OrderSubmitted,
    PortfolioUpdated,
    StopLease,
)
from breakwater.runtime.lifecycle import Service
from breakwater.runtime.metrics import Metrics


class MetricsFeed(Service):
    """Listens; decides nothing. ``gate_open`` here is what the stop's lease allows: execution's own gate may be stricter."""

    name = "metrics"

    def __init__(self, context: ComponentContext, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics
        self._policy = context.policy
        self._filled: set[str] = set()
        bus = context.bus
        metrics.watch_connected(lambda: bus.connected)
        bus.subscribe(
            self._apply,
            producers=("market_data", "risk_manager", "execution", "portfolio"),
            types=(MarkPrice, OrderRefused, OrderSubmitted, OrderFilled, OrderFailed, PortfolioUpdated),
            group=None,
        )
        bus.watch_state(self._apply, types=(StopLease,))

    async def _apply(self, event: Event) -> None:
        self.progress += 1
        metrics = self._metrics
        match event.payload:
            case MarkPrice():
                metrics.marks.inc()
            case OrderRefused(refusal=refusal):
                metrics.count_order("refused")
                metrics.count_refusal(refusal.code)
            case OrderSubmitted():
                metrics.count_order("submitted")
            case OrderFilled(client_order_id=order):
                if order not in self._filled:
                    self._filled.add(order)
                    metrics.count_order("filled")
            case OrderFailed():
                metrics.count_order("failed")
            case StopLease(view=view):
                metrics.set_stop_state(view.state)
                metrics.stop_epoch.set(view.epoch)
                metrics.gate_open.set(0 if view.reduce_only else 1)
            case PortfolioUpdated(snapshot=snapshot):
                metrics.equity.set(float(snapshot.equity))
                metrics.wallet.set(float(snapshot.wallet))
                metrics.positions.set(len(snapshot.positions))
                metrics.set_pct(metrics.drawdown, snapshot.daily_drawdown_pct)
                metrics.set_pct(metrics.open_loss, snapshot.open_loss_pct)
                metrics.set_pct(metrics.exposure, snapshot.exposure_pct)
                self._limits()
            case _:
                pass

    def _limits(self) -> None:
        policy = self._policy.current()
        if policy is None:
            return
        limits = policy.limits
        self._metrics.set_pct(self._metrics.drawdown_limit, limits.max_daily_drawdown_pct.value)
        self._metrics.set_pct(self._metrics.open_loss_limit, limits.max_open_loss_pct.value)
        self._metrics.set_pct(self._metrics.exposure_limit, limits.max_exposure_pct.value)
