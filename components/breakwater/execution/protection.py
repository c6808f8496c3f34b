"""Every position has an accepted stop over all of it within 2 s of the fill that grew it, or it is closed.

One worker per symbol looks at the books whenever something happened there and does the next thing that is missing:
new stop, then cancel of the old; target; tidying up when flat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import structlog

from breakwater.domain.ids import ClientOrderId, Symbol
from breakwater.domain.money import ZERO, ceil_to, floor_to
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.rate_budget import Lane
from breakwater.exchange.governor import current_lane
from breakwater.execution import journal as records
from breakwater.execution.books import Books
from breakwater.execution.exits import Exits
from breakwater.execution.fills import FillKeeper
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.sender import WOULD_TRIGGER, OrderSender, Sent
from breakwater.execution.venue_calls import VenueCalls, absent
from breakwater.execution.waiting import wait_for_event
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.instrument_book import InstrumentBook

log = structlog.get_logger(__name__)

DEADLINE_S = 2.0
"""Infrastructure seconds from a growing fill to an accepted stop (invariant 6)."""
ATTEMPT_S = 0.5
"""How long one stop may go without an answer before another is sent."""
RETRY_S = 0.25
EXIT_RETRY_S = 0.5
LONGEST_PAUSE_S = 5.0

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class ProtectionKeeper:
    """``flattening(symbol)`` says that somebody is closing the position anyway: then old stops stay and no new ones come."""

    def __init__(
        self,
        books: Books,
        sender: OrderSender,
        exits: Exits,
        fills: FillKeeper,
        calls: VenueCalls,
        journal: ExecutionJournal,
        instruments: InstrumentBook,
        clocks: Clocks,
        spawn: Spawn,
    ) -> None:
        self._books = books
        self._sender = sender
        self._exits = exits
        self._fills = fills
        self._calls = calls
        self._journal = journal
        self._instruments = instruments
        self._clocks = clocks
        self._spawn = spawn
        self._wake: dict[Symbol, asyncio.Event] = {}
        self._uncovered_since: dict[Symbol, float] = {}
        self._refused: dict[Symbol, Sent] = {}
        """The last stop that came back refused; the exit at the deadline names it."""
        self._triggered_since: dict[ClientOrderId, float] = {}
        self.flattening: Callable[[Symbol], bool] = lambda _: False
        self.exits_for_want_of_a_stop = 0

    def wake(self, symbol: Symbol) -> None:
        """Something happened to ``symbol``: look again."""
        event = self._wake.get(symbol)
        if event is None:
            event = self._wake[symbol] = asyncio.Event()
            self._spawn(self._guard(symbol, event), f"protection.{symbol}")
        event.set()

    def wake_all(self) -> None:
        symbols = set(self._books.open_positions())
        symbols |= {o.symbol for o in self._books.working(None, OrderRole.STOP, OrderRole.TARGET)}
        for symbol in sorted(symbols):
            self.wake(symbol)

    def covered(self, symbol: Symbol) -> bool:
        """Whether accepted stops cover the whole position."""
        position = self._books.position(symbol)
        return position is not None and (position == ZERO or self._covering(symbol, position) is not None)

    async def _guard(self, symbol: Symbol, event: asyncio.Event) -> None:
        current_lane.set(Lane.PROTECTION)  # what is asked in here, a stop waits for
        while True:
            await event.wait()
            event.clear()
            while await self._step(symbol):
                pass

    async def _step(self, symbol: Symbol) -> bool:
        """Do the next thing that is missing. False: nothing is."""
        position = self._books.position(symbol)
        if position is None:
            return False
        if position == ZERO:
            self._uncovered_since.pop(symbol, None)
            await self._tidy(symbol)
            return False
        plan = self._books.plans.get(symbol)
        if self.flattening(symbol):
            return False
        if plan is None:
            return await self._without_plan(symbol, position)
        cover = self._covering(symbol, position)
        if cover is None:
            return await self._protect(symbol, position, plan)
        self._uncovered_since.pop(symbol, None)
        if cover.state is OrderState.TRIGGERED:
            await self._clocks.infra.sleep(RETRY_S)
            return True  # it is executing, which does not take long
        for old in self._books.working(symbol, OrderRole.STOP):
            if old is not cover and old.state is OrderState.NEW:
                await self.cancel(old)
        await self._keep_target(symbol, position, plan)
        return self._books.position(symbol) != position

    # ------------------------------------------------------------------------------------------------ stop

    def _covering(self, symbol: Symbol, position: Decimal) -> TrackedOrder | None:
        """The newest accepted stop over exactly the position, on its plan; a triggered one covers while it executes."""
        plan = self._books.plans.get(symbol)
        for stop in reversed(self._books.working(symbol, OrderRole.STOP)):
            if stop.state is OrderState.TRIGGERED:
                left = stop.proposal.quantity - stop.booked
                since = self._triggered_since.setdefault(stop.client_id, self._clocks.infra.monotonic())
                if left >= abs(position) and self._clocks.infra.monotonic() - since < DEADLINE_S:
                    return stop
                continue
            right_way = stop.proposal.side.sign * position < ZERO
            right_price = plan is None or stop.proposal.trigger_price == self._trigger(symbol, position, plan)
            if stop.state is OrderState.NEW and right_way and stop.proposal.quantity == abs(position) and right_price:
                return stop
        return None

    async def _without_plan(self, symbol: Symbol, position: Decimal) -> bool:
        """Nobody knows where it is wrong: not the desk's, then a person decides; else it needs a stop of old, or goes."""
        if symbol in self._books.foreign_positions or self._covering(symbol, position) is not None:
            self._uncovered_since.pop(symbol, None)
            return False
        now = self._clocks.infra.monotonic()
        if now < self._uncovered_since.setdefault(symbol, now) + DEADLINE_S:
            await self._clocks.infra.sleep(RETRY_S)
            return True
        await self._exit(symbol, None, "nobody knows where its stop should be")
        return True

    async def _protect(self, symbol: Symbol, position: Decimal, plan: Protection) -> bool:
        now = self._clocks.infra.monotonic()
        partly = self._protected_quantity(symbol, position)
        overdue_at = None
        if partly < abs(position):
            overdue_at = self._uncovered_since.setdefault(symbol, now) + DEADLINE_S
        # A stop that triggered, and whose fills may be late.
        triggered = any(s.state is OrderState.FILLED and s.booked == ZERO for s in self._stops_of(symbol))
        if triggered and await self._fills.pull(symbol):
            return True
        left = DEADLINE_S if overdue_at is None else max(overdue_at - self._clocks.infra.monotonic(), 0.0)
        # One request that hangs must not cost the position: another stop goes out while there is time.
        sent = await self._send_in_time(self._stop(symbol, position, plan), min(left, ATTEMPT_S))
        if sent is not None and sent.accepted:
            self._refused.pop(symbol, None)
            return True
        if sent is not None:
            self._refused[symbol] = sent
        if self._books.position(symbol) != position:
            return True  # it changed while we spoke
        if sent is not None and sent.code == WOULD_TRIGGER:
            await self._exit(symbol, sent, "stop would trigger at once")
            return True
        if overdue_at is None:
            return False  # covered by older stops: tried again with the next reconciliation
        if self._covering(symbol, position) is not None:
            return True  # its reply was lost, and the stream told of it
        left = overdue_at - self._clocks.infra.monotonic()
        if left > 0:
            if sent is not None:  # else it has been waited for long enough
                await self._clocks.infra.sleep(min(RETRY_S, left))
            return True
        await self._exit(symbol, self._refused.pop(symbol, None), "no stop was accepted in time")
        return True

    def _protected_quantity(self, symbol: Symbol, position: Decimal) -> Decimal:
        stops = self._books.working(symbol, OrderRole.STOP)
        return sum(
            (
                s.proposal.quantity
                for s in stops
                if s.state is OrderState.NEW and s.proposal.side.sign * position < ZERO
            ),
            ZERO,
        )

    def _stops_of(self, symbol: Symbol) -> list[TrackedOrder]:
        return [o for o in self._books.orders.values() if o.symbol == symbol and o.role is OrderRole.STOP]

    async def _send_in_time(self, proposal: Proposal, seconds: float) -> Sent | None:
        """The stop's outcome, or None when there is none in time (the send itself goes on and is followed)."""
        result: list[Sent] = []
        done = asyncio.Event()

        async def send() -> None:
            try:
                result.append(await self._sender.execute(proposal))
            finally:
                done.set()
                self.wake(proposal.symbol)

        self._spawn(send(), f"stop.{proposal.proposal_id}")
        await wait_for_event(done, seconds)
        return result[0] if result else None

    async def _exit(self, symbol: Symbol, sent: Sent | None, why: str) -> None:
        self.exits_for_want_of_a_stop += 1
        log.error("position closed because it could not be protected", symbol=symbol, why=why)
        if sent is not None and sent.order is not None and sent.code != WOULD_TRIGGER:
            self._sender.fail(sent.order, "UNPROTECTED", f"{why}: the position is closed at market", counts=True)
        await self._exits.close(symbol, why)
        if self._books.position(symbol) != ZERO:
            # While the venue wants to be left alone, nothing would be sent; every try is journaled.
            await self._clocks.infra.sleep(max(EXIT_RETRY_S, min(self._calls.pause_s(), LONGEST_PAUSE_S)))

    def _stop(self, symbol: Symbol, position: Decimal, plan: Protection) -> Proposal:
        return Proposal(
            proposal_id=self._books.command_id("stop", symbol),
            symbol=symbol,
            role=OrderRole.STOP,
            side=Side.SELL if position > ZERO else Side.BUY,
            quantity=abs(position),
            order_type=OrderType.STOP_MARKET,
            created_at=self._clocks.market.now(),
            reduce_only=True,
            trigger_price=self._trigger(symbol, position, plan),
            reason="protect",
        )

    def _trigger(self, symbol: Symbol, position: Decimal, plan: Protection) -> Decimal:
        """On the venue's grid, rounded towards the market: never more loss than planned."""
        rules = self._instruments.get(symbol)
        if rules is None:
            return plan.stop_price
        return (ceil_to if position > ZERO else floor_to)(plan.stop_price, rules.tick_size)

    # ------------------------------------------------------------------------------------------------ target, tidying

    async def _keep_target(self, symbol: Symbol, position: Decimal, plan: Protection) -> None:
        """Optional and no protection: a failure is reported and tried again when something happens on the symbol."""
        live = self._books.working(symbol, OrderRole.TARGET)
        wanted = None if plan.target_price is None else self._target(symbol, position, plan.target_price)
        good = False
        for order in live:
            same = wanted is not None and not good and order.proposal.price == wanted.price
            left = order.proposal.quantity - order.booked
            if same and order.state.resting and left == abs(position):
                good = True
            elif order.state.resting:
                # Old before new here: two resting reduce-only orders would exceed the position.
                await self.cancel(order)
        if wanted is not None and not good and not any(o.state is OrderState.UNKNOWN for o in live):
            await self._sender.execute(wanted)

    def _target(self, symbol: Symbol, position: Decimal, price: Decimal) -> Proposal:
        rules = self._instruments.get(symbol)
        if rules is not None:
            price = (floor_to if position > ZERO else ceil_to)(price, rules.tick_size)
        return Proposal(
            proposal_id=self._books.command_id("target", symbol),
            symbol=symbol,
            role=OrderRole.TARGET,
            side=Side.SELL if position > ZERO else Side.BUY,
            quantity=abs(position),
            order_type=OrderType.LIMIT,
            created_at=self._clocks.market.now(),
            reduce_only=True,
            price=price,
            time_in_force=TimeInForce.GTC,
            reason="target",
        )

    async def _tidy(self, symbol: Symbol) -> None:
        """The position is closed: its stop and target go too."""
        for order in self._books.working(symbol, OrderRole.STOP, OrderRole.TARGET):
            if order.state.resting:
                await self.cancel(order)

    async def cancel(self, order: TrackedOrder) -> bool:
        """Cancel a stop or target by id. False: not certain yet; reconciliation looks it up."""
        if order.algo:
            algo = await self._calls.cancel_algo(order.symbol, order.client_id)
            if algo.accepted:
                order.move(OrderState.CANCELED)
            elif absent(algo):
                found = await self._calls.find_algo(order)
                if found.value is not None:
                    order.take_algo(found.value)
                elif absent(found):
                    order.presume(OrderState.CANCELED)
        else:
            plain = await self._calls.cancel_plain(order.symbol, order.client_id)
            if plain.value is not None:
                order.take_plain(plain.value)
            elif absent(plain):
                found_plain = await self._calls.find_plain(order)
                if found_plain.value is not None:
                    order.take_plain(found_plain.value)
                elif absent(found_plain):
                    order.presume(OrderState.CANCELED)
        await self._journal.append_or_log(records.Outcome(order.client_id, order.state, order.executed, order.venue_id))
        return order.state.terminal
