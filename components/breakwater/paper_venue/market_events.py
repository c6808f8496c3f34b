"""Market streams: what a tick publishes."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.candles import CandleBook, LiveCandle
from breakwater.paper_venue.depth_streams import DepthPublisher, Levels
from breakwater.paper_venue.funding import next_funding
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.markets.candle import INTERVALS
from breakwater.paper_venue.model import Level, Tick
from breakwater.paper_venue.money import ZERO, money, plain
from breakwater.paper_venue.streams import StreamHub
from breakwater.paper_venue.wire import Json


def best_texts(levels: Levels, symbol: str) -> tuple[str, str, str, str]:
    """Best bid, its quantity, best ask, its quantity, as the wire writes them; zeros for a side with nobody on it."""
    (bid,), (ask,) = (levels(symbol, side, 1) or [Level(ZERO, ZERO)] for side in ("BUY", "SELL"))
    return plain(bid.price), plain(bid.quantity), plain(ask.price), plain(ask.quantity)


def day_statistics(candles: list[LiveCandle], last: Decimal) -> dict[str, Decimal]:
    """Open, high, low, volume and quote volume of the last 24 hours (all at last price when there are none)."""
    if not candles:
        return {"open": last, "high": last, "low": last, "volume": Decimal(0), "quote": Decimal(0)}
    return {
        "open": candles[0].open,
        "high": max(c.high for c in candles),
        "low": min(c.low for c in candles),
        "volume": sum((c.volume for c in candles), Decimal(0)),
        "quote": sum((c.quote for c in candles), Decimal(0)),
    }


class MarketPublisher:
    """Turns ticks into stream events. Mark prices keep their own pace of 1 s and 3 s of market time."""

    def __init__(self, ledger: Ledger, candles: CandleBook, hub: StreamHub, levels: Levels) -> None:
        self._ledger = ledger
        self._candles = candles
        self._hub = hub
        self._levels = levels
        self.depth = DepthPublisher(hub, levels, self._next_id, self._last_id)
        self._last_sent: dict[str, int] = {}

    def publish(self, tick: Tick, closed: dict[str, LiveCandle]) -> None:
        """Send everything that somebody listens to."""
        name = tick.symbol.lower()
        hub = self._hub
        for interval in INTERVALS:
            stream = f"{name}@kline_{interval}"
            if hub.wants(stream):
                if interval in closed:
                    hub.publish(stream, self._kline(tick, interval, closed[interval], final=True))
                current = self._candles.current(tick.symbol, interval)
                if current is not None:
                    hub.publish(stream, self._kline(tick, interval, current, final=False))
        if hub.wants(f"{name}@bookTicker"):
            hub.publish(f"{name}@bookTicker", self._book_ticker(tick))
        if hub.wants("!bookTicker"):
            hub.publish("!bookTicker", self._book_ticker(tick))
        self.depth.publish(tick)
        for channel in ("trade", "aggTrade"):
            if hub.wants(f"{name}@{channel}"):
                hub.publish(f"{name}@{channel}", self._trade(tick, channel))
        for channel, pace_ms in (("markPrice@1s", 1000), ("markPrice", 3000)):
            if self._due(f"{name}@{channel}", tick.time_ms, pace_ms):
                hub.publish(f"{name}@{channel}", self._mark(tick))
        for channel in ("miniTicker", "ticker"):
            if self._due(f"{name}@{channel}", tick.time_ms, 1000):
                hub.publish(f"{name}@{channel}", self._ticker(tick, channel))
        self._publish_all(tick)

    def _publish_all(self, tick: Tick) -> None:
        """The streams of every symbol, each at its own pace."""
        for stream, pace_ms in (("!markPrice@arr@1s", 1000), ("!markPrice@arr", 3000)):
            if self._due(stream, tick.time_ms, pace_ms):
                self._hub.publish_list(stream, [self._mark(last) for last in self._last_ticks(tick)])
        for stream, channel in (("!miniTicker@arr", "miniTicker"), ("!ticker@arr", "ticker")):
            if self._due(stream, tick.time_ms, 1000):
                self._hub.publish_list(stream, [self._ticker(last, channel) for last in self._last_ticks(tick)])

    def _last_ticks(self, tick: Tick) -> list[Tick]:
        """What each symbol traded at last, as of now."""
        prices = self._ledger.state.prices
        return [Tick(symbol, tick.time_ms, prices[symbol].price) for symbol in self._ledger.specs if symbol in prices]

    def _due(self, stream: str, time_ms: int, pace_ms: int) -> bool:
        if not self._hub.wants(stream):
            return False
        last = self._last_sent.get(stream)
        if last is not None and last <= time_ms < last + pace_ms:
            return False
        self._last_sent[stream] = time_ms
        return True

    def _kline(self, tick: Tick, interval: str, candle: LiveCandle, *, final: bool) -> Json:
        return {
            "e": "kline",
            "E": tick.time_ms,
            "s": tick.symbol,
            "k": {
                "t": candle.open_time_ms,
                "T": candle.open_time_ms + candle.interval_ms - 1,
                "s": tick.symbol,
                "i": interval,
                "f": -1,
                "L": -1,
                "o": plain(candle.open),
                "c": plain(candle.close),
                "h": plain(candle.high),
                "l": plain(candle.low),
                "v": plain(candle.volume),
                "n": candle.count,
                "x": final,
                "q": plain(candle.quote),
                "V": plain(candle.volume / 2),
                "Q": plain(candle.quote / 2),
                "B": "0",
            },
            "st": 1,
            "ps": tick.symbol,
        }

    def _book_ticker(self, tick: Tick) -> Json:
        bid, bid_quantity, ask, ask_quantity = best_texts(self._levels, tick.symbol)
        return {
            "e": "bookTicker",
            "u": self._next_id(),
            "E": tick.time_ms,
            "T": tick.time_ms,
            "s": tick.symbol,
            "b": bid,
            "B": bid_quantity,
            "a": ask,
            "A": ask_quantity,
            "st": 1,
            "ps": tick.symbol,
        }

    def _next_id(self) -> int:
        self._ledger.state.counters.update_id += 1
        return self._ledger.state.counters.update_id

    def _last_id(self) -> int:
        return self._ledger.state.counters.update_id

    def _trade(self, tick: Tick, channel: str) -> Json:
        number = self._next_id()
        qty = plain(tick.volume or self._ledger.specs[tick.symbol].step_size)
        event: Json = {"e": channel, "E": tick.time_ms, "T": tick.time_ms, "s": tick.symbol}
        if channel == "aggTrade":
            event |= {"a": number, "p": plain(tick.price), "q": qty, "nq": qty, "f": number, "l": number, "m": False}
        else:
            event |= {"t": number, "p": plain(tick.price), "q": qty, "X": "MARKET", "m": False}
        return event | {"st": 1, "ps": tick.symbol}

    def _mark(self, tick: Tick) -> Json:
        price = plain(tick.price)
        return {
            "e": "markPriceUpdate",
            "E": tick.time_ms,
            "s": tick.symbol,
            "p": price,
            "ap": price,
            "P": price,
            "i": price,
            "r": money(self._ledger.config.funding_rate),
            "T": next_funding(tick.time_ms, self._ledger.config.funding_interval_ms),
            "st": 1,
            "ps": tick.symbol,
        }

    def _ticker(self, tick: Tick, channel: str) -> Json:
        day = day_statistics(self._candles.last_day(tick.symbol, tick.time_ms), tick.price)
        change = tick.price - day["open"]
        event: Json = {
            "e": "24hrMiniTicker" if channel == "miniTicker" else "24hrTicker",
            "E": tick.time_ms,
            "s": tick.symbol,
            "ps": tick.symbol,
            "c": plain(tick.price),
            "o": plain(day["open"]),
            "h": plain(max(day["high"], tick.price)),
            "l": plain(min(day["low"], tick.price)),
            "v": plain(day["volume"]),
            "q": plain(day["quote"]),
            "st": 1,
        }
        if channel == "ticker":
            average = day["quote"] / day["volume"] if day["volume"] else tick.price
            event |= {
                "p": plain(change),
                "P": plain((change / day["open"] * 100).quantize(Decimal("0.001"))),
                "w": plain(average.quantize(self._ledger.specs[tick.symbol].tick_size)),
                "Q": plain(tick.volume),
                "O": tick.time_ms - 86_400_000,
                "C": tick.time_ms,
                "F": 0,
                "L": 0,
                "n": 0,
            }
        return event
