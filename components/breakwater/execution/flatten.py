"""After a trip or a person's halt: cancel entries, close positions, then take back stops, and prove it with the venue.

Every round starts from what the venue reports, so it may be interrupted anywhere and begun again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal

import structlog

from breakwater.domain.ids import Symbol, TripId
from breakwater.domain.money import ZERO
from breakwater.domain.orders import OrderRole
from breakwater.domain.rate_budget import Lane
from breakwater.domain.stop_state import StopState, StopView
from breakwater.exchange.governor import current_lane
from breakwater.exchange.messages import AlgoOrderReport, OrderReport
from breakwater.execution.account_reader import AccountReading
from breakwater.execution.books import Books
from breakwater.execution.entries import Entries
from breakwater.execution.exits import Exits
from breakwater.execution.outbox import Outbox
from breakwater.execution.protection import ProtectionKeeper
from breakwater.execution.reconcile import Reconciler
from breakwater.execution.venue_calls import VenueCalls
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import FlatConfirmed

log = structlog.get_logger(__name__)

REQUOTE_S = 5.0
PAGE_S = 15.0
LONGEST_PAUSE_S = 5.0
ROUND_S = 0.25
"""Pause between rounds while something is still open, for the first OFTEN_S seconds; SELDOM_S later."""
OFTEN_S = 3.0
SELDOM_S = 1.0


@dataclass(frozen=True)
class Cause:
    """Why the desk is flattened. A halt that the emergency stop does not know of yet has no trip."""

    reason: str
    close_positions: bool
    trip_id: TripId | None = None
    epoch: int = 0


CONFIRM_AGAIN_SECONDS = 10.0
"""After which a stop that still says TRIPPED has not heard that the account was proved flat."""


class Flattener:
    """Runs one cause at a time; `begin` twice with the same cause does nothing more."""

    def __init__(
        self,
        books: Books,
        entries: Entries,
        exits: Exits,
        protection: ProtectionKeeper,
        reconciler: Reconciler,
        calls: VenueCalls,
        outbox: Outbox,
        clocks: Clocks,
    ) -> None:
        self._books = books
        self._entries = entries
        self._exits = exits
        self._protection = protection
        self._reconciler = reconciler
        self._calls = calls
        self._outbox = outbox
        self._clocks = clocks
        self._cause: Cause | None = None
        self._wake = asyncio.Event()
        self._confirmed: tuple[TripId, int] | None = None
        self._confirmed_at = 0.0
        """Infrastructure time."""
        self.pages = 0
        self.requotes = 0

    @property
    def active(self) -> Cause | None:
        return self._cause

    def closing(self, symbol: Symbol) -> bool:
        """Whether ``symbol`` is being closed anyway."""
        return self._cause is not None and self._cause.close_positions

    def begin(self, cause: Cause) -> None:
        """Flatten, unless exactly that was confirmed already."""
        if cause.trip_id is not None and self._confirmed == (cause.trip_id, cause.epoch):
            return
        if self._cause is not None and self._cause.close_positions and not cause.close_positions:
            cause = replace(cause, close_positions=True)  # what is being closed is not left half-way
        if self._cause == cause:
            return
        log.warning("flattening", reason=cause.reason, trip_id=cause.trip_id, close_positions=cause.close_positions)
        self._cause = cause
        self._wake.set()

    def take_view(self, view: StopView) -> None:
        """A view of the emergency stop: flatten for each trip once."""
        if view.state is StopState.TRIPPED and view.trip is not None:
            trip = view.trip
            unheard = self._clocks.infra.monotonic() - self._confirmed_at > CONFIRM_AGAIN_SECONDS
            if self._cause is None and self._confirmed == (trip.trip_id, view.epoch) and unheard:
                log.warning("the stop has not heard that the account is flat; proving it again", trip_id=trip.trip_id)
                self._confirmed = None
            self.begin(Cause(f"trip {trip.trip_id}", trip.close_positions, trip.trip_id, view.epoch))

    def again(self) -> None:
        """The account shows a position although the desk was confirmed flat for a trip that still stands."""
        view = self._books.stop.view
        if self._cause is not None or self._confirmed is None or view is None:
            return
        if view.state is StopState.TRIPPED and view.trip is not None and view.trip.close_positions:
            self._confirmed = None
            self.take_view(view)

    async def run(self) -> None:
        """Work off causes until cancelled."""
        current_lane.set(Lane.PROTECTION)  # what is asked in here, getting out waits for
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (cause := self._cause) is not None:
                page = asyncio.ensure_future(self._page_later(cause))
                try:
                    reading = await self._flatten(cause)
                finally:
                    page.cancel()
                if self._cause is cause:  # otherwise a newer cause asks for more
                    self._finish(cause, reading)
                    self._cause = None
            self._protection.wake_all()

    async def _flatten(self, cause: Cause) -> AccountReading:
        started = self._clocks.infra.monotonic()
        chase = rounds = 0
        while True:
            # What the books know goes at once: neither cancels nor a slow account hold exits back.
            known = self._books.open_positions() if cause.close_positions else {}
            await asyncio.gather(self._cancel_entries(), self._exit_all(known, cause, chase))
            # Listing the orders of all symbols is dear: for the first look, and for the proof.
            whole = rounds == 0 or not (known or self._books.live(None, OrderRole.ENTRY, OrderRole.EXIT))
            rounds += 1
            reading = await self._reconciler.once(whole=whole)
            if reading is not None:
                held = {symbol: position.quantity for symbol, position in reading.positions.items()}
                if cause.close_positions:
                    await self._exit_all(held, cause, chase)
                await self._cancel_others(reading, held, cause)
                if whole and self._done(reading, cause):
                    return reading
            elapsed = self._clocks.infra.monotonic() - started
            if elapsed >= REQUOTE_S and cause.close_positions:
                # In turns with MARKET: a mark that stands still must not keep every quote away from the market.
                chase = 0 if chase else int(elapsed / REQUOTE_S)
                self.requotes += 1
            self._protection.wake_all()
            if self._cause is not cause and self._cause is not None and reading is not None:
                return reading
            # A venue that told us to stay away would only ban us for asking.
            pause = min(self._calls.pause_s(), LONGEST_PAUSE_S)
            often = ROUND_S if elapsed < OFTEN_S else SELDOM_S
            await self._clocks.infra.sleep(max(pause, often, self._calls.reading_pause_s()))

    async def _page_later(self, cause: Cause) -> None:
        await self._clocks.infra.sleep(PAGE_S)
        self.pages += 1
        log.error(
            "page",
            why="the desk is not flat 15 s after it was told to be",
            reason=cause.reason,
            positions={str(s): str(q) for s, q in self._books.open_positions().items()},
            account=self._reconciler.problem,
        )

    async def _cancel_entries(self) -> None:
        """By id, each: those that rest. Those on the wire end by themselves or are cancelled in the next round."""
        await asyncio.gather(
            *(
                self._entries.cancel(order)
                for order in self._books.working(None, OrderRole.ENTRY)
                if order.state.resting
            )
        )

    async def _exit_all(self, held: dict[Symbol, Decimal], cause: Cause, chase: int) -> None:
        known = self._books.positions_known
        await asyncio.gather(
            *(
                self._exits.close(symbol, cause.reason, chase=chase, quantity=None if known else quantity)
                for symbol, quantity in sorted(held.items())
                if quantity != ZERO
            )
        )

    async def _cancel_others(self, reading: AccountReading, held: dict[Symbol, Decimal], cause: Cause) -> None:
        """Plain orders of any origin that could add risk; once a symbol is flat at the venue, everything left on it.

        All at the same time: one after the other, sixty orders take sixty round trips.
        """
        plain = (order for order in reading.orders if not self._keeps(order, held, cause))
        algo = (order for order in reading.algo_orders if held.get(order.symbol, ZERO) == ZERO)
        await asyncio.gather(*map(self._cancel_plain, plain), *map(self._cancel_algo, algo))

    async def _cancel_plain(self, order: OrderReport) -> None:
        result = await self._calls.cancel_plain(order.symbol, order.client_order_id)
        tracked = self._books.orders.get(order.client_order_id)
        if tracked is not None and result.value is not None:
            tracked.take_plain(result.value)

    async def _cancel_algo(self, order: AlgoOrderReport) -> None:
        tracked = self._books.orders.get(order.client_algo_id)
        if tracked is not None:
            await self._protection.cancel(tracked)
        else:
            await self._calls.cancel_algo(order.symbol, order.client_algo_id)

    def _keeps(self, order: OrderReport, held: dict[Symbol, Decimal], cause: Cause) -> bool:
        """A reduce-only order stays while it has a position to reduce and positions are not being closed; our exits stay."""
        tracked = self._books.orders.get(order.client_order_id)
        if tracked is not None and tracked.role is OrderRole.EXIT:
            return True
        return order.reduce_only and not cause.close_positions and held.get(order.symbol, ZERO) != ZERO

    def _done(self, reading: AccountReading, cause: Cause) -> bool:
        """Whether the reading and the books agree that nothing is left to do."""
        if any(order.adds_risk for order in self._books.live()):
            return False  # on the wire, unknown, or executed without its fills seen
        if cause.close_positions:
            exits = self._books.live(None, OrderRole.EXIT)
            return not (reading.positions or reading.orders or reading.algo_orders or exits)
        if not all(self._protection.covered(symbol) for symbol in reading.positions):
            return False
        return all(order.reduce_only for order in reading.orders)

    def _finish(self, cause: Cause, reading: AccountReading) -> None:
        log.warning("flat", reason=cause.reason, positions=len(reading.positions))
        if cause.trip_id is None:
            return
        self._confirmed = (cause.trip_id, cause.epoch)
        self._confirmed_at = self._clocks.infra.monotonic()
        self._outbox.put(
            FlatConfirmed(
                trip_id=cause.trip_id,
                epoch=cause.epoch,
                time=self._clocks.market.now(),
                positions=len(reading.positions),
                open_orders=len(reading.orders),
                open_algo_orders=len(reading.algo_orders),
            )
        )
