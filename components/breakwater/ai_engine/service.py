"""Hosts signal sources: feeds them the market, makes signals of their opinions, with provenance and deterministic ids."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

import msgspec
import structlog

from breakwater.ai_engine.source import Opinion, SignalSource
from breakwater.domain.ids import SignalId, Symbol
from breakwater.domain.signals import Provenance, Signal
from breakwater.domain.stop_state import StopState
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    CandleClosed,
    Event,
    MarkPrice,
    OrderFilled,
    PortfolioUpdated,
    SignalGenerated,
    StopLease,
    StopTripped,
)
from breakwater.runtime.lifecycle import Check, Service

log = structlog.get_logger(__name__)

NAME = "ai_engine"
_ENDED_FILE = "signals-ended.json"

History = Callable[[Symbol], Awaitable[Sequence[CandleClosed]]]


class SignalRefused(Exception):
    """A signal could not be taken; the sentence says why and what to do."""


class AiEngine(Service):
    """``history`` loads a symbol's closed candles when this process did not hear market_data's own backfill.

    ``end_at_first_trip`` makes every source fall silent for good at the first trip (drills).
    """

    name = NAME

    def __init__(
        self,
        context: ComponentContext,
        sources: Sequence[SignalSource],
        *,
        history: History | None = None,
        end_at_first_trip: bool = False,
    ) -> None:
        super().__init__()
        names = [source.name for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two signal sources have the same name among {names}: name them apart")
        self._context = context
        self._bus = context.bus
        self._clock = context.clocks.market
        self._sources = tuple(sources)
        self._history = history
        self._end_all = end_at_first_trip
        self._ended = False
        self._symbols: frozenset[Symbol] = frozenset()
        self._started = False
        self._loading: dict[Symbol, asyncio.Task[None]] = {}
        self._held: dict[Symbol, list[CandleClosed]] = {}
        """Candles that closed while their symbol's history was still being loaded: they come after it."""
        self._faults: dict[str, str] = {}
        self.progress = 0
        """Events heard and signals taken."""
        self.signals = 0
        """Signals published."""
        self.unpublished = 0
        """Signals lost because the bus did not take them."""
        subscribe = self._bus.subscribe
        subscribe(self._on_market, producers=("market_data",), types=(CandleClosed, MarkPrice), group=None)
        subscribe(self._on_snapshot, producers=("portfolio",), types=(PortfolioUpdated,), group=None)
        subscribe(self._on_fill, producers=("execution",), types=(OrderFilled,), group=None)
        subscribe(self._on_trip, producers=("emergency_stop",), types=(StopTripped,), group=NAME)
        self._bus.watch_state(self._on_lease, types=(StopLease,))

    @property
    def symbols(self) -> frozenset[Symbol]:
        """The symbols the policy in force names; none while it is not known."""
        self._follow_policy()
        return self._symbols

    async def start(self) -> None:
        """Restore whether signals ended, feed history, let sources run. Raises DiskError."""
        self._ended = self._context.disk.read(_ENDED_FILE) is not None
        self._started = True
        self._follow_policy()
        for symbol in sorted(self._symbols):
            self._begin_history(symbol)
        for source in self._sources:
            self.spawn(self._run(source), f"source.{source.name}")

    def readiness(self) -> dict[str, Check]:
        loading = ", ".join(sorted(self._held))
        checks = super().readiness() | {
            "policy": Check(bool(self._symbols), "" if self._symbols else "no trading policy is known yet"),
            "history": Check(not loading, f"not loaded yet: {loading}" if loading else ""),
        }
        for source in self._sources:
            fault = self._faults.get(source.name)
            checks[source.name] = Check(ok=False, detail=fault) if fault else source.check()
        return checks

    async def submit(
        self, opinion: Opinion, *, source: str, models: tuple[str, ...] = (), signal_id: str = ""
    ) -> Signal:
        """Publish a signal of ``source``. Raises BusUnavailable when it was not taken, SignalRefused when signals ended."""
        if self._ended and self._end_all:
            raise SignalRefused("signals ended with the first trip of the emergency stop in this drill")
        now = self._clock.now()
        time = opinion.time or now
        signal = Signal(
            signal_id=SignalId(signal_id) if signal_id else _signal_id(source, opinion, time),
            symbol=opinion.symbol,
            direction=opinion.direction,
            confidence=opinion.confidence,
            time=time,
            horizon=opinion.horizon,
            provenance=Provenance(source=source, data=self._context.data, models=models),
            stop_pct=opinion.stop_pct,
            target_pct=opinion.target_pct,
        )
        await self._publish(signal)
        return signal

    async def replay(self, signal: Signal) -> None:
        """Publish a recorded signal again, whoever gave it; it rests on this desk's data now. Raises BusUnavailable."""
        provenance = msgspec.structs.replace(signal.provenance, data=self._context.data)
        await self._publish(msgspec.structs.replace(signal, provenance=provenance))

    async def _publish(self, signal: Signal) -> None:
        await self._bus.publish(SignalGenerated(signal), time=self._clock.now())
        self.progress += 1
        self.signals += 1

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_market(self, event: Event) -> None:
        self._follow_policy()
        now = self._clock.now()
        match event.payload:
            case CandleClosed(symbol=symbol) as candle if symbol in self._held:
                self._held[symbol].append(candle)
            case CandleClosed() as candle:
                await self._ask(lambda source: source.on_candle(candle, now))
            case MarkPrice() as mark:
                await self._ask(lambda source: source.on_mark(mark, now))
            case _:
                pass

    async def _on_snapshot(self, event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        snapshot, now = event.payload.snapshot, self._clock.now()
        self._follow_policy()
        await self._ask(lambda source: source.on_snapshot(snapshot, now))

    async def _on_fill(self, event: Event) -> None:
        assert isinstance(event.payload, OrderFilled)
        fill, now = event.payload, self._clock.now()
        await self._ask(lambda source: source.on_fill(fill, now))

    async def _on_trip(self, event: Event) -> None:
        await self._end(event.time)

    async def _on_lease(self, event: Event) -> None:
        # The lease is faster than the stream: a signal must not slip out between the two.
        assert isinstance(event.payload, StopLease)
        if event.payload.view.state in {StopState.TRIPPED, StopState.COOLING_DOWN}:
            await self._end(event.time)

    async def _end(self, time: datetime) -> None:
        if self._ended:
            return
        self._ended = True
        await self._context.disk.replace(_ENDED_FILE, msgspec.json.encode({"first_trip_seen": time}))
        silenced = [source.name for source in self._sources if self._silent(source)]
        if silenced:
            log.info("signals ended at the first trip", sources=silenced)

    def _silent(self, source: SignalSource) -> bool:
        return self._ended and (self._end_all or source.ends_at_first_trip)

    # ------------------------------------------------------------------------------------------------ sources

    async def _ask(self, question: Callable[[SignalSource], Iterable[Opinion]]) -> None:
        self.progress += 1
        for source in self._sources:
            if self._silent(source):
                continue
            try:
                opinions = tuple(question(source))
            except Exception as error:  # noqa: BLE001  a source may be a user's own code: it loses this event, nobody else does
                self._fault(source, error)
                continue
            for opinion in opinions:
                await self._emit(source, opinion)

    async def _run(self, source: SignalSource) -> None:
        async def emit(opinion: Opinion) -> None:
            await self._emit(source, opinion)

        try:
            await source.run(emit, self._clock)
        except Exception as error:  # noqa: BLE001  as in `_ask`; readiness shows it
            self._fault(source, error)

    async def _emit(self, source: SignalSource, opinion: Opinion) -> None:
        if self._silent(source):
            return
        problem = _problem(opinion)
        if problem:
            self._fault(source, ValueError(f"{opinion.symbol}: {problem}"))
            return
        try:
            await self.submit(opinion, source=source.name)
        except BusUnavailable as error:
            # Worth nothing later: new risk has stopped with the bus, and opinions age.
            self.unpublished += 1
            log.warning("signal not published", source=source.name, symbol=opinion.symbol, error=str(error))

    def _begin_history(self, symbol: Symbol) -> None:
        if self._history is None or not self._started or symbol in self._loading:
            return
        self._held[symbol] = []
        self._loading[symbol] = self.spawn(self._load_history(self._history, symbol), f"history.{symbol}")

    async def _load_history(self, history: History, symbol: Symbol) -> None:
        held = self._held[symbol]
        for candle in await history(symbol):
            await self._ask_about(candle)
        while held:
            await self._ask_about(held.pop(0))
        del self._held[symbol]

    async def _ask_about(self, candle: CandleClosed) -> None:
        now = self._clock.now()
        await self._ask(lambda source: source.on_candle(candle, now))

    def _follow_policy(self) -> None:
        in_force = self._context.policy.current()
        symbols = frozenset(in_force.policy.symbols) if in_force else self._symbols
        if symbols == self._symbols:
            return
        before, self._symbols = self._symbols, symbols
        for source in self._sources:
            source.on_symbols(symbols)
        for symbol in sorted(before - symbols):
            if (loading := self._loading.pop(symbol, None)) is not None:
                loading.cancel()
                self._held.pop(symbol, None)
        for symbol in sorted(symbols - before):
            self._begin_history(symbol)

    def _fault(self, source: SignalSource, error: Exception) -> None:
        self._faults[source.name] = f"{type(error).__name__}: {error}"
        log.error("signal source failed", source=source.name, error=repr(error))


def _signal_id(source: str, opinion: Opinion, time: datetime) -> SignalId:
    key = f":{opinion.key}" if opinion.key else ""
    return SignalId(f"{source}:{opinion.symbol}:{opinion.direction}:{time:%Y%m%dT%H%M%S.%fZ}{key}")


def _problem(opinion: Opinion) -> str:
    if not Decimal(0) <= opinion.confidence <= Decimal(1):
        return f"confidence {opinion.confidence} is not between 0 and 1"
    if not Decimal(0) < opinion.stop_pct < Decimal(100):
        return f"stop_pct {opinion.stop_pct} is not above 0 and below 100"
    return ""
