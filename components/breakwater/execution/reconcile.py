"""Compares the books with the venue: at start, every 5 s, and after anything unknown. Fills first, then the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal

import structlog

from breakwater.domain.ids import ClientOrderId, ProposalId, Symbol, TradeId
from breakwater.domain.money import ZERO, plain
from breakwater.domain.orders import OrderRole, OrderType, Proposal
from breakwater.exchange.messages import AlgoOrderReport, OrderReport
from breakwater.execution import journal as records
from breakwater.execution.account_reader import AccountReading, read_account
from breakwater.execution.books import Books
from breakwater.execution.client_ids import role_of
from breakwater.execution.fills import FillKeeper
from breakwater.execution.journal import ExecutionJournal
from breakwater.execution.lookup import Found, Lookup
from breakwater.execution.orders import OrderState, TrackedOrder
from breakwater.execution.outbox import Outbox
from breakwater.execution.venue_calls import VenueCalls
from breakwater.execution.waiting import wait_for_event
from breakwater.execution.wallet_movements import WalletMovements
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.events import AccountReported, VenuePosition

log = structlog.get_logger(__name__)

PERIOD_S = 5.0
WHOLE_EVERY_S = 60.0
"""How often orders of all symbols are listed, not only of those we know (a request of weight 40 twice)."""
TRIES = 4
RETRY_S = 0.5
DRIFT_CONFIRM_S = 1.0
"""A position that no trade explains is believed when it is still there this much later."""


class Reconciler:
    """``symbols`` tells which symbols may have trades and orders of ours."""

    def __init__(
        self,
        books: Books,
        calls: VenueCalls,
        fills: FillKeeper,
        movements: WalletMovements,
        lookup: Lookup,
        journal: ExecutionJournal,
        outbox: Outbox,
        clocks: Clocks,
        symbols: Callable[[], set[Symbol]],
    ) -> None:
        self._books = books
        self._calls = calls
        self._fills = fills
        self._movements = movements
        self._lookup = lookup
        self._journal = journal
        self._outbox = outbox
        self._clocks = clocks
        self._symbols = symbols
        self._wanted = asyncio.Event()
        self._lock = asyncio.Lock()
        self._whole_at: float | None = None
        self.on_done: Callable[[], None] = lambda: None
        self.cancel_orphan: Callable[[TrackedOrder], None] = lambda _: None
        self._verified_positions: dict[Symbol, Decimal] = {}
        self._differs: dict[Symbol, Decimal] = {}
        self._differs_since = 0.0
        self.rounds = 0
        self.missed_fills = 0
        """Fills that only a comparison brought to light."""
        self.problem = "not compared yet"
        self.account_problems: tuple[str, ...] = ()
        """Settings of the account under which nothing may be opened, each with what to change."""

    def request(self) -> None:
        """Compare as soon as possible."""
        self._wanted.set()

    async def run(self) -> None:
        """Compare every 5 s of infrastructure time, at once on request."""
        while True:
            done = await self.once()
            self._wanted.clear()
            pause = PERIOD_S if done else max(RETRY_S, min(self._calls.pause_s(), PERIOD_S))
            await wait_for_event(self._wanted, pause)

    async def once(self, *, whole: bool = False) -> AccountReading | None:
        """One comparison. None when the venue did not answer or kept changing; then nothing was reported."""
        async with self._lock:
            reading = await self._compare(whole=whole)
        self.on_done()
        return reading

    async def _compare(self, *, whole: bool) -> AccountReading | None:
        await self._resolve_unknown()
        now = self._clocks.infra.monotonic()
        whole = whole or self._whole_at is None or now - self._whole_at >= WHOLE_EVERY_S
        if not await self._baseline(self._symbols()):
            return None
        if whole:
            await self._fills.ask_about_fees()
        if self._movements.due():
            await self._movements.pull()
        for _ in range(TRIES):
            booked = self._books.bookings
            asked = self._clocks.market.now()
            reading = await read_account(self._calls, None if whole else sorted(self._symbols()))
            if isinstance(reading, str):
                self.problem = reading
                log.warning("account not compared", why=reading)
                return None
            if booked != self._books.bookings:
                continue  # something traded meanwhile
            agrees = self._agrees(reading)
            if not agrees:
                if not await self._baseline(reading.positions.keys()):
                    return None
                new = await self._pull(reading)
                if new is None:
                    return None
                self.missed_fills += new
                if reading.account.wallet_balance != self._books.wallet:
                    await self._movements.pull()  # not answered: the account is compared all the same
            foreign = await self._check_orders(reading, whole)
            if booked == self._books.bookings:
                if not agrees and self._doubtful(reading):
                    await self._clocks.infra.sleep(DRIFT_CONFIRM_S)
                    continue
                drift = () if agrees else self._adopt(reading)
                return self._conclude(reading, asked, whole, (*drift, *foreign))
        self.problem = "the account kept changing while it was read"
        return None

    # ------------------------------------------------------------------------------------------------ fills and positions

    async def _baseline(self, symbols: Iterable[Symbol]) -> bool:
        """First contact with a symbol: trades older than this desk are none of its ledger's business."""
        for symbol in sorted(symbols):
            if symbol in self._books.verified_trade:
                if not self._books.positions_known and await self._fills.pull(symbol) is None:
                    self.problem = f"trades of {symbol} could not be read"
                    return False
                continue
            if symbol in self._books.last_trade:  # traded before it was first looked at
                mine = min(int(trade) for known, trade in self._books.seen if known == symbol)
                self._books.verified_trade[symbol] = TradeId(str(mine - 1))
                continue
            newest = await self._calls.trades(symbol, None)
            if newest.value is None:
                self.problem = f"trades of {symbol} could not be read: {newest.message}"
                return False
            last = newest.value[-1].trade_id if newest.value else TradeId("0")
            self._books.verified_trade[symbol] = last
            if int(last) > 0:
                self._books.last_trade.setdefault(symbol, last)
        return True

    def _agrees(self, reading: AccountReading) -> bool:
        symbols = set(reading.positions) | set(self._books.open_positions())
        held = all(reading.quantity(s) == self._books.positions.get(s, ZERO) for s in symbols)
        return held and reading.account.wallet_balance == self._books.wallet

    async def _pull(self, reading: AccountReading) -> int | None:
        new = 0
        for symbol in sorted(self._symbols() | set(reading.positions) | set(self._books.open_positions())):
            found = await self._fills.pull(symbol)
            if found is None:
                self.problem = f"trades of {symbol} could not be read"
                return None
            new += found
        return new

    def _doubtful(self, reading: AccountReading) -> bool:
        """Positions differ, and no trade says why: once may be a reply that lags behind. True until it was seen twice.

        Believing it at once would take the stops of a position away that is still open.
        """
        symbols = set(reading.positions) | set(self._books.open_positions())
        differs = {s: reading.quantity(s) for s in symbols if reading.quantity(s) != self._books.positions.get(s, ZERO)}
        now = self._clocks.infra.monotonic()
        if not differs or not self._books.positions_known:
            return False
        if self._differs != differs:
            self._differs, self._differs_since = differs, now
        if now - self._differs_since >= DRIFT_CONFIRM_S:
            return False
        self.problem = f"positions differ from the books without a trade: {', '.join(sorted(differs))}; asked again"
        self._books.unverified(self.problem)
        return True

    def _adopt(self, reading: AccountReading) -> tuple[str, ...]:
        """No trade explains the difference: the venue is right. Says what was adrift; money alone is funding or a transfer."""
        drift = []
        for symbol in sorted(set(reading.positions) | set(self._books.open_positions())):
            mine, theirs = self._books.positions.get(symbol, ZERO), reading.quantity(symbol)
            if mine != theirs:
                drift.append(f"{symbol}: the books said {plain(mine)}, the venue has {plain(theirs)}")
                self._books.positions[symbol] = theirs
                if theirs != ZERO:
                    self._books.foreign_positions.add(symbol)
                else:
                    self._books.foreign_positions.discard(symbol)
                    self._books.plans.pop(symbol, None)
        self._adopt_wallet(reading.account.wallet_balance)
        if drift:
            log.error("positions adrift", what="; ".join(drift))
        return tuple(drift)

    def _adopt_wallet(self, wallet: Decimal) -> None:
        """The venue's figure counts. What no trade and no movement explains, a row that comes late may explain yet."""
        mine = self._books.wallet
        if mine is not None and mine != wallet:
            self._books.unexplained += wallet - mine
            self._movements.expect()
        self._books.wallet = wallet

    # ------------------------------------------------------------------------------------------------ orders

    async def _resolve_unknown(self) -> None:
        """Orders whose outcome was lost: in a crash, or on the wire."""
        for order in self._books.working():
            if order.state is not OrderState.UNKNOWN:
                continue
            found = await self._lookup.once(order)
            if found is Found.ABSENT:
                order.presume(OrderState.NOT_SENT)
            elif found is Found.FOUND:
                self._fills.announce(order)
            if found is not Found.UNRESOLVED:
                log.info("order resolved", client_id=order.client_id, found=found.value, state=order.state)
                await self._note(order)

    async def _check_orders(self, reading: AccountReading, whole: bool) -> list[str]:
        """Bring the books in line with the lists of open orders; returns what is not ours."""
        foreign: list[str] = []
        listed: set[ClientOrderId] = set()
        for report in reading.orders:
            listed.add(report.client_order_id)
            foreign += await self._check_one(report, report.client_order_id, f"order {report.order_id}")
        for algo in reading.algo_orders:
            listed.add(algo.client_algo_id)
            foreign += await self._check_one(algo, algo.client_algo_id, f"algo order {algo.algo_id}")
        known = self._symbols()
        for order in self._books.working():
            at_venue = order.state.resting or order.state is OrderState.TRIGGERED
            if at_venue and order.client_id not in listed and (whole or order.symbol in known):
                if await self._lookup.once(order) is Found.ABSENT:
                    order.presume(OrderState.CANCELED)  # expired orders without fills vanish from the venue
                await self._note(order)
        return foreign

    async def _check_one(self, report: OrderReport | AlgoOrderReport, client_id: ClientOrderId, name: str) -> list[str]:
        order = self._books.orders.get(client_id)
        if order is None and not self._books.ours(client_id):
            return [f"{name} in {report.symbol} (client id {client_id}): cancel it at the venue"]
        if order is None:
            order = self._adopt_order(report, client_id)
        revived = order.revivable
        changed = order.take_plain(report) if isinstance(report, OrderReport) else order.take_algo(report)
        if revived:
            log.warning("an order given up as lost is at the venue", client_id=client_id, symbol=report.symbol)
        if changed:
            await self._note(order)
        # Without our journal nobody knows what it was for: an entry must not rest, a stop without a position has no use.
        if order.proposal.reason == ORPHAN and (
            order.role is OrderRole.ENTRY or self._books.positions.get(order.symbol, ZERO) == ZERO
        ):
            self.cancel_orphan(order)
        return []

    def _adopt_order(self, report: OrderReport | AlgoOrderReport, client_id: ClientOrderId) -> TrackedOrder:
        """An order of ours that the journal does not know."""
        algo = isinstance(report, AlgoOrderReport)
        role = role_of(client_id) or (OrderRole.STOP if algo else OrderRole.ENTRY)
        proposal = Proposal(
            proposal_id=ProposalId(f"orphan-{client_id}"),
            symbol=report.symbol,
            role=role,
            side=report.side,
            quantity=report.quantity or ZERO,
            order_type=OrderType.STOP_MARKET if algo else OrderType.LIMIT,
            created_at=self._clocks.market.now(),
            reduce_only=report.reduce_only,
            trigger_price=report.trigger_price if isinstance(report, AlgoOrderReport) else None,
            reason=ORPHAN,
        )
        order = TrackedOrder(client_id, proposal, OrderState.NEW, announced=True)
        self._books.orders[client_id] = order
        log.warning(
            "adopted an order of ours that the journal does not know", client_id=client_id, symbol=report.symbol
        )
        return order

    # ------------------------------------------------------------------------------------------------ conclusion

    def _conclude(
        self, reading: AccountReading, asked: datetime, whole: bool, named: tuple[str, ...]
    ) -> AccountReading:
        """Nothing is awaited in here: what is reported belongs together."""
        foreign = [*self.account_problems, *named]
        if whole:
            self._whole_at = self._clocks.infra.monotonic()
        if reading.hedge_mode:
            foreign.append("the account is in hedge mode: switch it to one-way mode at the venue")
        foreign += [
            f"position {plain(held)} {symbol} was not opened by this desk: close it at the venue"
            for symbol in sorted(self._books.foreign_positions)
            if (held := self._books.positions.get(symbol, ZERO)) != ZERO
        ]
        if self._fills.foreign_fee:
            foreign.append(self._fills.foreign_fee)
        self._differs = {}
        first = not self._books.positions_known
        moved = bool(self._books.seen) or first or self._books.positions != self._verified_positions
        self._verified_positions = dict(self._books.positions)
        self._books.verified(tuple(foreign))
        self._books.forget_settled()
        self.rounds += 1
        self.problem = "; ".join(foreign)
        verification = self._books.verification()
        self._outbox.put(
            self._report(reading, asked, tuple(foreign)),
            after=(lambda: self._journal.append_or_log(verification)) if moved else None,
        )
        return reading

    def _report(self, reading: AccountReading, asked: datetime, foreign: tuple[str, ...]) -> AccountReported:
        positions = tuple(
            VenuePosition(p.symbol, p.quantity, p.entry_price, self._books.leverage.get(p.symbol, p.leverage or 1))
            for p in sorted(reading.positions.values(), key=_symbol)
        )
        return AccountReported(
            time=self._clocks.market.now(),
            wallet=reading.account.wallet_balance,
            unrealised_pnl=_unrealised(reading),
            positions=positions,
            open_orders=len(reading.orders),
            open_algo_orders=len(reading.algo_orders),
            through_trade={str(symbol): str(trade) for symbol, trade in sorted(self._books.last_trade.items())},
            unknown_orders=sum(1 for o in self._books.working() if o.state is OrderState.UNKNOWN),
            foreign=foreign,
            moved_through=self._movements.through(asked),
        )

    async def _note(self, order: TrackedOrder) -> None:
        await self._journal.append_or_log(records.Outcome(order.client_id, order.state, order.executed, order.venue_id))


ORPHAN = "orphan"
"""Reason of orders that were adopted from the venue."""


def _symbol(position: object) -> str:
    return str(getattr(position, "symbol", ""))


def _unrealised(reading: AccountReading) -> Decimal:
    return sum((p.unrealised_pnl for p in reading.positions.values()), ZERO)
