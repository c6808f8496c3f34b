"""Keeps what the trading mathematician looks at: closed candles, and what became of each source's trades.

Does nothing while the policy does not turn it on. The record of trades is on disk; candles are loaded again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.mathematician.advice import Advice, advise
from breakwater.domain.mathematician.edge import edge_of
from breakwater.domain.mathematician.track_record import Stake, TrackRecord, TradeFill
from breakwater.domain.mathematician.volatility import Bar, wilder_atr
from breakwater.domain.orders import OrderRole
from breakwater.domain.policy import MathematicianRules
from breakwater.domain.refusals import Refusal
from breakwater.domain.signals import Signal
from breakwater.risk_manager.journal import JournaledProposal
from breakwater.runtime.events import CandleClosed, OrderFilled
from breakwater.runtime.journal import TypedJournal
from breakwater.runtime.ports import Disk, DiskError

log = structlog.get_logger(__name__)

FILE = "trades.jsonl"
KEPT_CANDLES = 300
"""Enough for the longest average to forget where it began."""
LATE_INTERVALS = 2
"""A last candle that closed longer ago than this many of its lengths says nothing of the volatility now."""
HISTORY_AGAIN_AFTER = timedelta(seconds=30)
"""Market time between two questions for a symbol's history: they have a weight, and not every symbol has enough of it."""

History = Callable[[Symbol], Awaitable[Sequence[CandleClosed]]]
Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class _Booked(msgspec.Struct, frozen=True, tag="booked"):
    fill: TradeFill
    stake: Stake | None


class _Compacted(msgspec.Struct, frozen=True, tag="compacted"):
    record: TrackRecord


class Mathematician:
    """``history`` loads a symbol's closed candles where this process did not hear market_data's own backfill."""

    def __init__(
        self, disk: Disk, rules: Callable[[], MathematicianRules | None], *, history: History | None, spawn: Spawn
    ) -> None:
        self._file: TypedJournal[_Booked | _Compacted] = TypedJournal(disk, FILE, _Booked | _Compacted)
        self._rules = rules
        self._history = history
        self._spawn = spawn
        self._candles: dict[Symbol, deque[CandleClosed]] = {}
        self._loading: set[Symbol] = set()
        self._asked: dict[Symbol, datetime] = {}
        self._booking = asyncio.Lock()
        self.record = TrackRecord()

    async def load(self) -> None:
        """Read the record of trades and compact it. Raises JournalCorrupt, DiskError."""
        records = await self._file.load()
        for each in records:
            match each:
                case _Compacted(record):
                    self.record = record
                case _Booked(fill, stake):
                    self.record = self.record.book(fill, stake)
        if len(records) > 1:
            await self._file.rewrite([_Compacted(self.record)])

    # ------------------------------------------------------------------------------------------------ what it hears

    def take_candles(self, candles: Iterable[CandleClosed]) -> None:
        """Closed candles in the order of their time; what is not newer than the last one is known already."""
        for candle in candles:
            kept = self._candles.setdefault(candle.symbol, deque(maxlen=KEPT_CANDLES))
            if not kept or candle.open_time > kept[-1].open_time:
                kept.append(candle)

    async def take_fill(self, fill: OrderFilled, proposals: Iterable[JournaledProposal]) -> None:
        """Count a fill once; an entry's stake is that of the symbol's last proposal: there is one entry at a time."""
        if self._rules() is None:
            return
        stake = _stake(fill, proposals) if fill.role is OrderRole.ENTRY else None
        one = TradeFill(fill.trade_id, fill.symbol, fill.side, fill.quantity, fill.price, fill.commission, fill.time)
        async with self._booking:
            if self.record.has(one):
                return
            try:
                await self._file.append(_Booked(one, stake))
            except DiskError as error:
                # After a restart this trade ends uncounted; nothing that protects the desk hangs on it.
                log.error("a fill is missing in the record of trades", symbol=fill.symbol, error=str(error))
            self.record = self.record.book(one, stake)

    # ------------------------------------------------------------------------------------------------ what it says

    def advise(self, signal: Signal, mark: Decimal, now: datetime) -> Advice | Refusal | None:
        """Advice on ``signal`` at market time ``now``; None while it is off."""
        rules = self._rules()
        if rules is None:
            return None
        atr = self._atr(signal.symbol, rules.atr_period, now)
        if atr is None:
            self._load_history(signal.symbol, now)
        edge = edge_of(self.record.results(signal.provenance.source, now), rules.min_closed_trades)
        return advise(rules, atr=atr, mark=mark, edge=edge)

    def _atr(self, symbol: Symbol, period: int, now: datetime) -> Decimal | None:
        unbroken = _unbroken(self._candles.get(symbol, ()))
        if not unbroken or now - unbroken[-1].open_time > (LATE_INTERVALS + 1) * unbroken[-1].interval:
            return None
        return wilder_atr([Bar(candle.high, candle.low, candle.close) for candle in unbroken], period)

    def _load_history(self, symbol: Symbol, now: datetime) -> None:
        asked = self._asked.get(symbol)
        if asked is not None and abs(now - asked) < HISTORY_AGAIN_AFTER:
            return
        if self._history is not None and symbol not in self._loading:
            self._asked[symbol] = now
            self._loading.add(symbol)
            self._spawn(self._load(symbol, self._history), f"history.{symbol}")

    async def _load(self, symbol: Symbol, history: History) -> None:
        try:
            candles = await history(symbol)
            later = self._candles.pop(symbol, deque())
            self.take_candles((*candles, *later))
        finally:
            self._loading.discard(symbol)


def _unbroken(candles: Iterable[CandleClosed]) -> list[CandleClosed]:
    """The candles since the last gap."""
    run: list[CandleClosed] = []
    for candle in candles:
        if run and candle.open_time != run[-1].open_time + run[-1].interval:
            run = []
        run.append(candle)
    return run


def _stake(fill: OrderFilled, proposals: Iterable[JournaledProposal]) -> Stake | None:
    last: JournaledProposal | None = None
    for each in proposals:
        if each.proposal.symbol == fill.symbol and each.proposal.side is fill.side:
            last = each
    if last is None or last.proposal.protection is None or last.proposal.provenance is None:
        return None
    return Stake(last.proposal.provenance.source, abs(last.mark - last.proposal.protection.stop_price))
