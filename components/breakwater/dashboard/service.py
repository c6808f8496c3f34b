"""The dashboard component: hears everything, decides nothing. Read-only, and whatever happens to it, the desk trades on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from breakwater.dashboard.feed import StatusFeed
from breakwater.dashboard.state import DeskState
from breakwater.dashboard.status import build_status
from breakwater.dashboard.view import DeskFacts, DeskStatus, encode
from breakwater.domain.gate import GateState
from breakwater.domain.ids import Symbol
from breakwater.domain.refusals import Refusal
from breakwater.runtime import events as e
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.lifecycle import Check, Service

PRODUCERS = (
    "market_data",
    "ai_engine",
    "risk_manager",
    "execution",
    "portfolio",
    "emergency_stop",
    "policy",
    "health_monitor",
)
_STATES: tuple[type[e.Payload], ...] = (e.StopLease, e.Heartbeat)
_STREAMS = tuple(kind for kind in e.EVENT_NAMES if kind not in _STATES and kind is not e.CandleClosed)


class DashboardService(Service):
    """Follows the bus live; what happened before it started is not shown, what holds now (stop, heartbeats) is.

    Subscribes when made: start ``context.bus`` afterwards. ``gate`` is execution's own answer, where it runs in the same
    process; without it the gate's state is derived from the stop, the policy and execution's heartbeat. ``stops`` likewise:
    triggers of the protective stops by symbol, those from before this process included.
    """

    name = "dashboard"

    def __init__(
        self,
        context: ComponentContext,
        facts: DeskFacts,
        *,
        producers: Collection[str] = PRODUCERS,
        gate: Callable[[], tuple[GateState, Refusal | None]] | None = None,
        stops: Callable[[], Mapping[Symbol, Decimal]] | None = None,
    ) -> None:
        super().__init__()
        self._context, self._facts, self._gate, self._stops = context, facts, gate, stops
        self.state = DeskState()
        self.feed = StatusFeed(self.state, context.clocks.infra, self.status_json)
        context.bus.subscribe(self._heard, producers=producers, types=_STREAMS, group=None)
        context.bus.watch_state(self._heard, types=_STATES)

    async def stop(self) -> None:
        """Also ends every open stream, so that the server can close."""
        await super().stop()
        self.feed.wake_all()

    @property
    def stopping(self) -> bool:
        return self._stopping

    def status(self) -> DeskStatus:
        """What is shown, as of now."""
        clocks = self._context.clocks
        if self._stops is not None:
            self.state.protective = dict(self._stops())
        return build_status(
            self.state,
            desk=self._context.desk,
            facts=self._facts,
            data=self._context.data.value,
            policy=self._context.policy.current(),
            market_now=clocks.market.now(),
            now=clocks.infra.monotonic(),
            gate=self._gate() if self._gate else None,
            dead_letters=self._context.bus.dead_letters,
        )

    def status_json(self) -> bytes:
        return encode(self.status())

    def readiness(self) -> dict[str, Check]:
        connected = self._context.bus.connected
        return {
            **super().readiness(),
            "bus": Check(connected, "" if connected else "the event bus does not answer: the page shows old figures"),
        }

    async def _heard(self, event: e.Event) -> None:
        self.state.apply(event, self._context.clocks.infra.monotonic())
        self.progress += 1
        self.feed.changed()
