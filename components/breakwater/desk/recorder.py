"""Records what a desk saw and did, so that the same days can be replayed under another policy (``breakwater whatif``).

It listens and decides nothing: a full disk costs the recording, not the desk.
"""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from breakwater.desk.recording import (
    COMPONENT,
    FILES,
    FORMAT,
    Account,
    AnyRecord,
    Candle,
    Given,
    Header,
    Instruments,
    Minute,
    Orders,
    Stop,
    decode_record,
    encode_record,
    file_name,
    policy_record,
)
from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument
from breakwater.domain.money import ZERO
from breakwater.domain.snapshot import Snapshot
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    CandleClosed,
    Event,
    MarkPrice,
    OrderFilled,
    OrderRefused,
    OrderSubmitted,
    Payload,
    PortfolioUpdated,
    SignalGenerated,
    StopCoolingDown,
    StopRearmed,
    StopTransition,
    StopTripped,
)
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.journal import Journal, decode_line
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

FILE_BYTES = 4 * 1024 * 1024
"""A file is full at this size; three symbols and a signal a minute fill one in about five days of market time."""
WRITE_SECONDS = 1.0
"""Infrastructure seconds between two writes."""
MOST_WAITING = 50_000
"""Records waiting for the disk; beyond it the oldest are dropped and counted."""
HISTORY = timedelta(days=1)
"""Candles that each new file begins with, so that it can be replayed alone."""


class _Way:
    """A mark's way through one minute, in at most four points."""

    def __init__(self, mark: MarkPrice, minute: datetime) -> None:
        self.minute = minute
        self._first = self._low = self._high = self._last = mark

    def add(self, mark: MarkPrice) -> None:
        if mark.price < self._low.price:
            self._low = mark
        if mark.price > self._high.price:
            self._high = mark
        self._last = mark

    def record(self, symbol: Symbol) -> Minute:
        points = {each.time: each.price for each in (self._first, self._low, self._high, self._last)}
        path = ((int((time - self.minute) / timedelta(milliseconds=1)), points[time]) for time in sorted(points))
        return Minute(self.minute, symbol, tuple(path))


class _Tally:
    """What became of orders in one minute."""

    def __init__(self, minute: datetime) -> None:
        self.minute = minute
        self.submitted = self.fills = 0
        self.fees = ZERO
        self.refused: Counter[str] = Counter()

    def add(self, payload: Payload) -> None:
        match payload:
            case OrderSubmitted():
                self.submitted += 1
            case OrderFilled(commission=fee):
                self.fills += 1
                self.fees += fee
            case OrderRefused(refusal=refusal):
                self.refused[refusal.code.value] += 1
            case _:
                pass

    def record(self) -> Orders:
        return Orders(self.minute, self.submitted, self.fills, self.fees, dict(sorted(self.refused.items())))


class Recorder(Service):
    """``instruments`` is the desk's own book of trading rules, ``build`` the program's version."""

    name = COMPONENT

    def __init__(self, context: ComponentContext, instruments: InstrumentBook, *, build: str = "") -> None:
        super().__init__()
        self._context = context
        self._disk = context.disk
        self._instruments = instruments
        self._build = build
        self._journal = Journal(self._disk, file_name(0))
        self._segment = 0
        self._bytes = 0
        self._opened = False
        self._waiting: deque[AnyRecord] = deque()
        self._ways: dict[Symbol, _Way] = {}
        self._tally: _Tally | None = None
        self._account: Account | None = None
        self._opening_told = False
        self._candles: dict[Symbol, deque[Candle]] = {}
        self._known: tuple[int, tuple[Instrument, ...]] = (0, ())
        """Version of the policy and the trading rules that were recorded last."""
        self._problem = ""
        self.dropped = 0
        """Records lost because the disk did not take them in time."""
        bus = context.bus
        bus.subscribe(self._on_event, producers=("market_data",), types=(MarkPrice, CandleClosed), group=None)
        bus.subscribe(self._on_event, producers=("ai_engine",), types=(SignalGenerated,), group=None)
        bus.subscribe(self._on_event, producers=("portfolio",), types=(PortfolioUpdated,), group=None)
        orders = (OrderSubmitted, OrderFilled, OrderRefused)
        bus.subscribe(self._on_event, producers=("risk_manager", "execution"), types=orders, group=None)
        transitions = (StopTripped, StopCoolingDown, StopRearmed)
        bus.subscribe(self._on_event, producers=("emergency_stop",), types=transitions, group=None)

    async def start(self) -> None:
        """Go on in the newest file. A disk that fails makes it not ready, no more."""
        try:
            await self._open()
        except DiskError as error:
            self._stand_still(error)
        self.spawn(self._keep_writing(), "write")

    async def stop(self) -> None:
        """Write what is there, unfinished minutes included."""
        await super().stop()
        for symbol in sorted(self._ways):
            self._put(self._ways.pop(symbol).record(symbol))
        self._close_account()
        self._close_tally()
        await self._write()
        await self._journal.flush()

    def readiness(self) -> dict[str, Check]:
        return super().readiness() | {"recording": Check(not self._problem, self._problem)}

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_event(self, event: Event) -> None:
        self.progress += 1
        match event.payload:
            case MarkPrice() as mark:
                self._mark(mark)
            case CandleClosed() as candle:
                self._candle(candle)
            case SignalGenerated(signal=signal):
                self._put(Given(event.time, signal))
            case PortfolioUpdated(snapshot=snapshot):
                self._snapshot(snapshot)
            case StopTransition() as change:
                self._put(Stop(change.time, change.state, change.who, change.reason, change.trip))
            case _:
                minute = _minute(event.time)
                if self._tally is None or self._tally.minute != minute:
                    self._close_tally()
                    self._tally = _Tally(minute)
                self._tally.add(event.payload)

    def _mark(self, mark: MarkPrice) -> None:
        minute, way = _minute(mark.time), self._ways.get(mark.symbol)
        if way is not None and way.minute == minute:
            way.add(mark)
            return
        if way is not None:
            self._put(way.record(mark.symbol))
        self._ways[mark.symbol] = _Way(mark, minute)

    def _candle(self, candle: CandleClosed) -> None:
        known = self._candles.setdefault(candle.symbol, deque())
        if known and candle.open_time <= known[-1].time:
            return  # the history again, after a restart
        prices = candle.open, candle.high, candle.low, candle.close
        seconds = int(candle.interval.total_seconds())
        record = Candle(candle.open_time, candle.symbol, seconds, *prices, candle.volume)
        self._remember(record)
        self._put(record)

    def _remember(self, candle: Candle) -> None:
        known = self._candles.setdefault(candle.symbol, deque())
        known.append(candle)
        while known[0].time < candle.time - HISTORY:
            known.popleft()

    def _snapshot(self, snapshot: Snapshot) -> None:
        minute, before = _minute(snapshot.time), self._account
        worst = snapshot.daily_drawdown_pct, snapshot.open_loss_pct, snapshot.exposure_pct
        if not self._opening_told:
            # The first one as it is: what a replay begins with, before anything was traded.
            self._opening_told = True
            self._put(_account(snapshot, worst))
        if before is not None and _minute(before.time) == minute:
            earlier = before.drawdown_pct, before.open_loss_pct, before.exposure_pct
            worst = max(worst[0], earlier[0]), max(worst[1], earlier[1]), max(worst[2], earlier[2])
        else:
            self._close_account()
        self._account = _account(snapshot, worst)

    def _close_account(self) -> None:
        if self._account is not None:
            self._put(self._account)
            self._account = None

    def _close_tally(self) -> None:
        if self._tally is not None:
            self._put(self._tally.record())
            self._tally = None

    def _put(self, record: AnyRecord) -> None:
        self._waiting.append(record)
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1

    # ------------------------------------------------------------------------------------------------ to the disk

    async def _open(self) -> None:
        newest = -1
        for number in range(FILES):
            newest = max(newest, _segment_of(self._disk.read(file_name(number)) or b""))
        self._segment = max(newest, 0)
        self._journal = Journal(self._disk, file_name(self._segment))
        lines = await self._journal.load(salvage=True)
        for record in map(decode_record, lines):
            if isinstance(record, Candle):
                self._remember(record)
        self._bytes = sum(map(len, lines))
        await self._append([self._header()])
        self._opened = True

    async def _keep_writing(self) -> None:
        while True:
            await self._context.clocks.infra.sleep(WRITE_SECONDS)
            await self._write()

    async def _write(self) -> None:
        """All that waits, in one sync. What the disk does not take waits on."""
        if self._tally is not None and self._tally.minute < _minute(self._context.clocks.market.now()):
            self._close_tally()  # the next order may be hours away
        news, records = self._news(), list(self._waiting)
        self._waiting.clear()
        if not news and not records:
            return
        try:
            if not self._opened:
                await self._open()
            if self._bytes >= FILE_BYTES:
                await self._begin_file()
            await self._append([*news, *records])
        except DiskError as error:
            self._stand_still(error)
            self._known = (0, ())
            self._waiting.extendleft(reversed(records))
            self._drop_oldest()
        else:
            self._problem = ""

    async def _begin_file(self) -> None:
        segment = self._segment + 1
        journal = Journal(self._disk, file_name(segment))
        # Whatever an older segment left there goes.
        await self._disk.replace(file_name(segment), b"")
        await journal.load()
        self._segment, self._journal, self._bytes = segment, journal, 0
        self._known = (0, ())
        history = [candle for symbol in sorted(self._candles) for candle in self._candles[symbol]]
        await self._append([self._header(), *self._news(), *history])

    def _news(self) -> list[AnyRecord]:
        """Policy and trading rules, when they are others than recorded last."""
        now, policy = self._context.clocks.market.now(), self._context.policy.current()
        version, rules = self._known
        found: list[AnyRecord] = []
        if policy is not None and policy.version != version:
            found.append(policy_record(now, policy.version, policy.desk))
            version = policy.version
        traded = policy.policy.symbols if policy is not None else ()
        listed = tuple(each for each in self._instruments.all() if each.symbol in traded)
        if listed != rules:
            found.append(Instruments(now, listed))
        self._known = (version, listed)
        return found

    def _header(self) -> Header:
        context = self._context
        return Header(context.clocks.market.now(), FORMAT, self._segment, context.desk, self._build, context.data)

    async def _append(self, records: list[AnyRecord]) -> None:
        lines = [encode_record(record) for record in records]
        await self._journal.append_many(lines)
        self._bytes += sum(map(len, lines))

    def _stand_still(self, error: DiskError) -> None:
        if not self._problem:
            log.error("recording stands still", error=str(error))
        self._problem = str(error)


def _account(snapshot: Snapshot, worst: tuple[Decimal, Decimal, Decimal]) -> Account:
    # Four places are a ten-thousandth of a percent: the recording is read by people, too.
    drawdown, open_loss, exposure = (value.quantize(Decimal("0.0001")) for value in worst)
    money = snapshot.equity, snapshot.wallet
    return Account(snapshot.time, *money, drawdown, open_loss, exposure, len(snapshot.positions))


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def _segment_of(raw: bytes) -> int:
    parsed = decode_line(raw.partition(b"\n")[0])
    record = decode_record(parsed[1]) if parsed else None
    return record.segment if isinstance(record, Header) else -1
