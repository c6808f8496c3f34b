"""Ways out of a position: reduce-only MARKET orders in the venue's chunks, a chasing IOC where MARKET is refused."""

from __future__ import annotations

from decimal import Decimal

import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.money import ONE, ZERO, ceil_to, floor_to
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Side, TimeInForce
from breakwater.execution.books import Books
from breakwater.execution.fills import FillKeeper
from breakwater.execution.sender import OrderSender, Sent
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.instrument_book import InstrumentBook

log = structlog.get_logger(__name__)

PERCENT_PRICE = -4131
CHASE_STEP = Decimal("0.01")
"""Each round of chasing goes this much further through the mark, up to four times as much."""
BAND_USED = Decimal("0.8")
"""At most this part of the way that PERCENT_PRICE allows: the venue's mark is not exactly ours."""


class Exits:
    """Never paced, never refused for the desk's state; the gate only keeps them from exceeding the position."""

    def __init__(
        self, books: Books, sender: OrderSender, fills: FillKeeper, instruments: InstrumentBook, clocks: Clocks
    ) -> None:
        self._books = books
        self._sender = sender
        self._fills = fills
        self._instruments = instruments
        self._clocks = clocks

    async def close(self, symbol: Symbol, reason: str, *, chase: int = 0, quantity: Decimal | None = None) -> bool:
        """Send what takes ``symbol`` to flat (``quantity`` is the signed position if the books do not know it).

        ``chase`` above 0 sends LIMIT IOC that many steps through the mark instead of MARKET. True when every order was
        accepted; whether the position is flat is for fills and reconciliation to say.
        """
        position = self._books.position(symbol)
        position = quantity if position is None or quantity is not None else position
        if not position:
            return True
        side = Side.SELL if position > ZERO else Side.BUY
        left = abs(position) - self._books.exits_in_flight(symbol)
        fine = True
        for part in self._chunks(symbol, left):
            sent = await self._sender.execute(self._proposal(symbol, side, part, reason, chase))
            if sent.code == PERCENT_PRICE and chase == 0:
                sent = await self._sender.execute(self._proposal(symbol, side, part, reason, 1))
            fine = fine and sent.accepted
            await self._book(sent)
        return fine

    async def _book(self, sent: Sent) -> None:
        if sent.accepted and sent.order is not None:
            await self._fills.ensure(sent.order)
        elif sent.refusal is not None:
            log.warning("exit refused", code=sent.refusal.code, text=sent.refusal.text)

    def _chunks(self, symbol: Symbol, quantity: Decimal) -> list[Decimal]:
        if quantity <= ZERO:
            return []
        rules = self._instruments.get(symbol)
        if rules is None or rules.max_market_quantity <= ZERO:
            return [quantity]
        whole, rest = divmod(quantity, rules.max_market_quantity)
        return [rules.max_market_quantity] * int(whole) + ([rest] if rest > ZERO else [])

    def _proposal(self, symbol: Symbol, side: Side, quantity: Decimal, reason: str, chase: int) -> Proposal:
        price = self._chase_price(symbol, side, chase) if chase else None
        return Proposal(
            proposal_id=self._books.command_id("exit", symbol),
            symbol=symbol,
            role=OrderRole.EXIT,
            side=side,
            quantity=quantity,
            order_type=OrderType.LIMIT if price is not None else OrderType.MARKET,
            created_at=self._clocks.market.now(),
            reduce_only=True,
            price=price,
            time_in_force=TimeInForce.IOC if price is not None else None,
            reason=reason,
        )

    def _chase_price(self, symbol: Symbol, side: Side, chase: int) -> Decimal | None:
        mark, rules = self._books.marks.get(symbol), self._instruments.get(symbol)
        if mark is None or rules is None:
            return None
        away = CHASE_STEP * min(chase, 4)
        limit = rules.multiplier_up if side is Side.BUY else rules.multiplier_down
        if limit is not None:
            away = min(away, abs(limit - ONE) * BAND_USED)
        if side is Side.BUY:
            return ceil_to(mark * (ONE + away), rules.tick_size)
        return floor_to(mark * (ONE - away), rules.tick_size)
