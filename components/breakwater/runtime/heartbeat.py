"""The heartbeat: once a second a component says that it is alive, how much it has done, and which of its checks hold."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from breakwater.runtime.bus import Bus, BusUnavailable
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import Heartbeat
from breakwater.runtime.lifecycle import Service
from breakwater.runtime.metrics import Metrics

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 1.0


async def send_heartbeats(
    service: Service,
    bus: Bus,
    clocks: Clocks,
    progress: Callable[[], int],
    *,
    metrics: Metrics | None = None,
    interval: float = INTERVAL_SECONDS,
) -> None:
    """Broadcast ``service``'s heartbeat every ``interval`` seconds of infrastructure time, for ever. Give it to ``service.spawn``.

    ``progress`` counts units of the service's real work. ``Heartbeat.time`` is wall time (UTC), so that its age means the same
    at any market speed. While the bus is away heartbeats are left out: that is what their absence says.
    """
    silent = False
    while True:
        checks = service.readiness()
        now = clocks.infra.utc_now()
        beat = Heartbeat(
            component=service.name,
            time=now,
            progress=progress(),
            checks={name: check.ok for name, check in checks.items()},
            detail={name: check.detail for name, check in checks.items() if check.detail},
        )
        if metrics is not None:
            metrics.heartbeat.set(now.timestamp())
        try:
            await bus.set_state(beat, time=clocks.market.now())
            silent = False
        except BusUnavailable as error:
            if not silent:
                log.warning("heartbeats are not heard", service=service.name, error=str(error))
            silent = True
        await clocks.infra.sleep(interval)
