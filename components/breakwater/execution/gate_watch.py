"""Watches the gate's state and acts when it closes; nothing has to be sent for it to be noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from breakwater.domain.gate import GateState, gate_state
from breakwater.domain.refusals import Refusal
from breakwater.execution.books import Books
from breakwater.execution.facts import FactFinder
from breakwater.execution.waiting import wait_for_event

log = structlog.get_logger(__name__)

GateClosed = Callable[[datetime | None, Refusal], None]


class GateWatch:
    """``evaluate`` after everything that may change the state; `watch_lease` does it when a lease runs out in silence."""

    def __init__(self, books: Books, facts: FactFinder) -> None:
        self._books = books
        self._facts = facts
        self._heard = asyncio.Event()
        self.state = GateState.REDUCE_ONLY
        self.why: Refusal | None = None
        self.on_closed: Callable[[], None] = lambda: None
        self.closed_listener: GateClosed | None = None
        """Told the market time of the last tick when the gate goes from OPEN to REDUCE_ONLY."""
        self.closings = 0

    def evaluate(self) -> GateState:
        """Look now; on OPEN -> REDUCE_ONLY tell whoever has to act."""
        state, why = gate_state(self._facts.for_desk())
        before, self.state, self.why = self.state, state, why
        if state is before:
            return state
        if why is not None:
            self.closings += 1
            if self.closed_listener is not None:
                self.closed_listener(self._books.last_tick, why)
            self.on_closed()
        log.info("gate", state=state, code=why.code if why else None, text=why.text if why else "")
        return state

    def heard_stop(self) -> None:
        """A new view of the emergency stop is in the books."""
        self._heard.set()
        self.evaluate()

    async def watch_lease(self) -> None:
        """Evaluate at the instant the stop's lease ends, until cancelled."""
        while True:
            remaining = self._books.stop.remaining_s
            if remaining <= 0:
                await self._heard.wait()
            # A little later than the lease, so that it has ended for certain.
            elif not await wait_for_event(self._heard, remaining + 0.001):
                self.evaluate()
            self._heard.clear()
