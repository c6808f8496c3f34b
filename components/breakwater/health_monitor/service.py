"""Watches every component's heartbeat and progress, the bus, the policy's age and the stop's lease; says what is wrong."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from breakwater.domain.money import plain
from breakwater.health_monitor.verdicts import Heard, Level, Verdict, judge, overall
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import Event, HealthUpdated, Heartbeat, StopLease
from breakwater.runtime.lifecycle import Check, Service

log = structlog.get_logger(__name__)

NAME = "health_monitor"
LOOK_SECONDS = 1.0
COMPONENTS = ("market_data", "ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop")
MUST_PROGRESS = frozenset({"market_data", "portfolio", "emergency_stop"})
"""These hear the market all the time: without progress they are stuck, whatever their sockets say."""
OPTIONAL = frozenset({"ai_engine", "dashboard"})
"""Without these the desk opens nothing new, but what it holds is safe."""


class HealthMonitor(Service):
    """Publishes HealthUpdated when a verdict changes. ``components`` are those that should be running."""

    name = NAME

    def __init__(self, context: ComponentContext, *, components: Collection[str] = COMPONENTS) -> None:
        super().__init__()
        self._context = context
        self._clocks = context.clocks
        self._components = tuple(components)
        self._started_at = context.clocks.infra.monotonic()
        self._heard: dict[str, Heard] = {}
        self._lease: tuple[StopLease, float] | None = None
        self._announced: tuple[str, dict[str, str]] | None = None
        self.progress = 0
        """Looks taken."""
        context.bus.watch_state(self._on_heartbeat, types=(Heartbeat,))
        context.bus.watch_state(self._on_lease, types=(StopLease,))

    async def start(self) -> None:
        self._started_at = self._clocks.infra.monotonic()
        self.spawn(self._keep_looking(), "look")

    def readiness(self) -> dict[str, Check]:
        return super().readiness() | {"looking": Check(self.progress > 0)}

    def verdicts(self) -> dict[str, Verdict]:
        """How everything is at this moment."""
        now = self._clocks.infra.monotonic()
        running_for = now - self._started_at
        found = {
            name: judge(self._heard.get(name), now=now, running_for=running_for, must_progress=name in MUST_PROGRESS)
            for name in self._components
        }
        return found | {"bus": self._bus(), "policy": self._policy(), "stop_lease": self._stop_lease(now)}

    def status(self) -> Level:
        """The desk as a whole."""
        return overall(self.verdicts().items(), optional=OPTIONAL)

    async def _on_heartbeat(self, event: Event) -> None:
        assert isinstance(event.payload, Heartbeat)
        beat, now = event.payload, self._clocks.infra.monotonic()
        heard = self._heard.get(beat.component)
        if heard is None:
            self._heard[beat.component] = Heard(beat, now, now)
        else:
            heard.hear(beat, now)

    async def _on_lease(self, event: Event) -> None:
        assert isinstance(event.payload, StopLease)
        self._lease = (event.payload, self._clocks.infra.monotonic())

    async def _keep_looking(self) -> None:
        while True:
            await self._look()
            self.progress += 1
            await self._clocks.infra.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        verdicts = self.verdicts()
        status = str(overall(verdicts.items(), optional=OPTIONAL))
        shown = (status, {name: verdict.short for name, verdict in verdicts.items()})
        if shown == self._announced:
            return
        now = self._clocks.market.now()
        try:
            await self._context.bus.publish(HealthUpdated(now, *shown), time=now)
        except BusUnavailable:
            return  # said again with the next look; the HTTP route tells meanwhile
        self._announced = shown
        bad = {name: "; ".join(verdict.reasons) for name, verdict in verdicts.items() if verdict.reasons}
        log.info("health", status=status, **bad)

    def _bus(self) -> Verdict:
        if self._context.bus.connected:
            return Verdict(Level.OK)
        return Verdict(Level.DOWN, ("the event bus does not answer: check Redis",), ("connection",))

    def _policy(self) -> Verdict:
        in_force = self._context.policy.current()
        if in_force is None:
            return Verdict(Level.DOWN, ("no trading policy is in force: apply one",), ("missing",))
        if in_force.stale:
            reason = "not confirmed for 10 minutes, or another copy differs: nothing is opened; check Redis"
            return Verdict(Level.DEGRADED, (reason,), ("stale",))
        if in_force.hold:
            return Verdict(Level.DEGRADED, (f"on hold, nothing is opened: {in_force.hold}",), ("hold",))
        return Verdict(Level.OK)

    def _stop_lease(self, now: float) -> Verdict:
        if self._lease is None:
            return Verdict(Level.DEGRADED, ("the emergency stop has not been heard: nothing is opened",), ("unknown",))
        lease, heard_at = self._lease
        age, lasts = now - heard_at, lease.view.lease_seconds
        if age > float(lasts):
            reason = f"nothing heard for {age:.0f} s, longer than the lease of {plain(lasts)} s: nothing is opened"
            return Verdict(Level.DEGRADED, (reason,), ("expired",), age)
        return Verdict(Level.OK, age_seconds=age)
