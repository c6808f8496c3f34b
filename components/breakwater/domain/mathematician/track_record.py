"""What became of a source's trades: fills folded into closed trades, each in multiples of what it risked."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.money import ZERO
from breakwater.domain.orders import Side

COUNTED_FOR = timedelta(days=30)
"""Market time for which a closed trade says something about its source."""
KEPT_TRADES = 1000
KEPT_IDS = 200


class TradeFill(msgspec.Struct, frozen=True):
    """One fill of one of the desk's orders. Quantity in base units, amounts in USDT."""

    trade_id: TradeId
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal
    time: datetime


class Stake(msgspec.Struct, frozen=True):
    """What an entry was made for: whose opinion, and what it loses per base unit at its stop."""

    source: str
    per_unit: Decimal


class OpenTrade(msgspec.Struct, frozen=True):
    """A position since it was flat."""

    source: str
    quantity: Decimal
    """Signed."""
    cash: Decimal
    """Received less paid, commissions included: the profit once the position is flat."""
    risked: Decimal


class ClosedTrade(msgspec.Struct, frozen=True):
    """``result`` is profit after commissions as a multiple of what was risked: -1 is a loss exactly at the stop."""

    source: str
    symbol: Symbol
    time: datetime
    result: Decimal


class TrackRecord(msgspec.Struct, frozen=True):
    """Every open and the last closed trades. A value: `book` makes the next one."""

    open: dict[Symbol, OpenTrade] = {}
    closed: tuple[ClosedTrade, ...] = ()
    seen: tuple[str, ...] = ()
    """The last fills, so that one delivered again counts once."""

    def has(self, fill: TradeFill) -> bool:
        return _key(fill) in self.seen

    def book(self, fill: TradeFill, stake: Stake | None) -> TrackRecord:
        """With ``fill``; ``stake`` is what an entry risks, None for orders that reduce. The same fill again changes nothing.

        A fill that fits to no trade known (made before this record began, or flipping the side) ends that trade uncounted.
        """
        if self.has(fill):
            return self
        trades, closed = dict(self.open), self.closed
        trade = trades.pop(fill.symbol, None)
        if trade is None and stake is not None:
            trade = OpenTrade(stake.source, ZERO, ZERO, ZERO)
        if trade is not None:
            signed = fill.side.sign * fill.quantity
            before, after = trade.quantity, trade.quantity + signed
            cash = trade.cash - signed * fill.price - fill.commission
            risked = trade.risked + (stake.per_unit * fill.quantity if stake is not None else ZERO)
            if after == ZERO and risked > ZERO:
                closed = (*closed, ClosedTrade(trade.source, fill.symbol, fill.time, cash / risked))[-KEPT_TRADES:]
            elif after * before >= ZERO and (stake is not None or abs(after) < abs(before)):
                trades[fill.symbol] = OpenTrade(trade.source, after, cash, risked)
        return TrackRecord(trades, closed, (*self.seen, _key(fill))[-KEPT_IDS:])

    def results(self, source: str, now: datetime) -> tuple[Decimal, ...]:
        """Results of the trades of ``source`` that closed in the last 30 days before ``now``, oldest first."""
        since = now - COUNTED_FOR
        return tuple(trade.result for trade in self.closed if trade.source == source and since < trade.time <= now)


def _key(fill: TradeFill) -> str:
    return f"{fill.symbol}:{fill.trade_id}"
