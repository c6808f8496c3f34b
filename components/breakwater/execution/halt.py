"""A person's halt reaches execution directly and is honoured by itself: latched on disk until the emergency stop has taken over."""

from __future__ import annotations

import msgspec
import structlog

from breakwater.domain.stop_state import StopState, StopView
from breakwater.execution.books import Books
from breakwater.execution.flatten import Cause, Flattener
from breakwater.execution.gate_watch import GateWatch
from breakwater.execution.journal import ExecutionJournal, HaltAnswered, Halted, HaltLifted
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import StopRearmed

log = structlog.get_logger(__name__)


class HaltKeeper:
    """Halting works without bus, policy, emergency stop and disk; only lifting a halt needs the emergency stop."""

    def __init__(
        self, books: Books, journal: ExecutionJournal, gate: GateWatch, flattener: Flattener, clocks: Clocks
    ) -> None:
        self._books = books
        self._journal = journal
        self._gate = gate
        self._flattener = flattener
        self._clocks = clocks

    async def halt(self, who: str, reason: str, request_id: str = "") -> Halted:
        """Close the gate at once and flatten. Repeating it changes nothing. The first halt stands until lifted.

        A ``request_id`` that was answered before gets the same answer, also after a re-arm: it halts nothing again.
        """
        answered = self._books.halts_answered.get(request_id)
        if answered is not None:
            return answered
        halted = self._books.halt
        if halted is None:
            view = self._books.stop.view
            halted = Halted(who, reason, self._clocks.market.now(), view.epoch if view else None, request_id)
            self._books.halt = halted
            self._books.remember_halt(request_id, halted)
            log.warning("halted by a person", who=who, reason=reason)
            self._gate.evaluate()
            self._flattener.begin(self._cause(halted))
            await self._journal.append_or_log(halted)
        elif request_id:
            self._books.remember_halt(request_id, halted)
            await self._journal.append_or_log(HaltAnswered(request_id, halted))
        return halted

    def resume(self) -> None:
        """After a restart: a halt that was not lifted is carried on."""
        if self._books.halt is not None:
            self._flattener.begin(self._cause(self._books.halt))

    async def take_view(self, view: StopView) -> None:
        """Once the emergency stop itself is tripped after the halt, it holds the desk, and the halt has done its work."""
        halted = self._books.halt
        if halted is None:
            return
        if halted.epoch is None and view.state not in {StopState.TRIPPED, StopState.COOLING_DOWN}:
            # Not known when it happened: from now on only what comes later lifts it.
            self._books.halt = msgspec.structs.replace(halted, epoch=view.epoch)
            await self._journal.append_or_log(self._books.halt)
            return
        later = halted.epoch is None or view.epoch > halted.epoch
        if later and view.state in {StopState.TRIPPED, StopState.COOLING_DOWN}:
            await self._lift(f"the emergency stop is {view.state} (epoch {view.epoch})")

    async def take_rearm(self, event: StopRearmed) -> None:
        """A person re-armed the stop after the halt."""
        halted = self._books.halt
        after_cooling = event.previous is StopState.COOLING_DOWN
        if halted is not None and after_cooling and halted.epoch is not None and event.epoch > halted.epoch:
            await self._lift(f"re-armed by {event.who} (epoch {event.epoch})")

    async def _lift(self, why: str) -> None:
        log.warning("halt lifted", why=why)
        self._books.halt = None
        await self._journal.append_or_log(HaltLifted(why, self._clocks.market.now()))
        self._gate.evaluate()

    @staticmethod
    def _cause(halted: Halted) -> Cause:
        return Cause(f"halt by {halted.who}: {halted.reason}", close_positions=True)
