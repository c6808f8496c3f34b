"""What became of an order whose reply was lost: asked by client id, in both id spaces, before anything is sent again."""

from __future__ import annotations

import enum

import structlog

from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.venue_calls import VenueCalls, absent
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

RECEIVE_WINDOW_S = 5.0
"""The venue takes a signed request only this long after its timestamp: what is not there afterwards never will be."""
CERTAIN_AFTER_S = RECEIVE_WINDOW_S + 2.0
_PAUSES_S = (0.1, 0.3, 0.6, 1.0, 2.0, 3.0)


class Found(enum.Enum):
    FOUND = "found"
    ABSENT = "absent"
    """Not at the venue, and too late to arrive."""
    UNRESOLVED = "unresolved"
    """The venue did not answer, or it may still arrive."""


class Lookup:
    """Resolves orders in state SENT or UNKNOWN."""

    def __init__(self, calls: VenueCalls, clock: InfraClock) -> None:
        self._calls = calls
        self._clock = clock
        self.resolved = 0

    async def once(self, order: TrackedOrder) -> Found:
        """Ask once. The books take over what is found."""
        plain_absent = algo_absent = False
        if order.algo:
            algo = await self._calls.find_algo(order)
            if algo.value is not None:
                order.take_algo(algo.value)
                self.resolved += 1
                return Found.FOUND
            algo_absent = absent(algo)
        plain = await self._calls.find_plain(order)
        if plain.value is not None:
            order.take_plain(plain.value)
            self.resolved += 1
            return Found.FOUND
        plain_absent = absent(plain)
        if not order.algo:
            algo = await self._calls.find_algo(order)
            if algo.value is not None:
                order.take_algo(algo.value)
                return Found.FOUND
            algo_absent = absent(algo)
        return Found.ABSENT if plain_absent and algo_absent and self._too_late(order) else Found.UNRESOLVED

    async def resolve(self, order: TrackedOrder, *, patience_s: float) -> Found:
        """Ask until it is certain, or ``patience_s`` have passed."""
        order.move(OrderState.UNKNOWN)
        end = self._clock.monotonic() + patience_s
        pauses = iter(_PAUSES_S)
        while True:
            await self._clock.sleep(min(next(pauses, _PAUSES_S[-1]), max(0.0, end - self._clock.monotonic())))
            found = await self.once(order)
            if found is not Found.UNRESOLVED or order.state.terminal or order.state.resting:
                return Found.ABSENT if found is Found.ABSENT else Found.FOUND
            if self._clock.monotonic() >= end:
                log.warning("outcome of an order still unknown", client_id=order.client_id, symbol=order.symbol)
                return Found.UNRESOLVED

    def _too_late(self, order: TrackedOrder) -> bool:
        if order.proposal.reduce_only:
            return True  # should it arrive all the same, the venue keeps a reduce-only order from doing harm
        return order.sent_at is None or self._clock.monotonic() - order.sent_at >= CERTAIN_AFTER_S
