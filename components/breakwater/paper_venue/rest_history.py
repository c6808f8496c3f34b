"""Public REST endpoints about the past: aggregated trades, candles of the mark price, funding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal

from breakwater.paper_venue.candles import CandleBook, LiveCandle
from breakwater.paper_venue.funding import next_funding
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.markets.candle import INTERVALS, MINUTE_MS
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.money import money, plain
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.rest_market import require_known_symbol
from breakwater.paper_venue.wire import Json

TRADES_PER_CANDLE = 4
HOUR_MS = 60 * MINUTE_MS


class HistoryEndpoints:
    """Each method answers one path; `params` and `now` in, a JSON-ready object out."""

    def __init__(self, ledger: Ledger, candles: CandleBook) -> None:
        self._ledger = ledger
        self._candles = candles

    def agg_trades(self, params: Params, now: Now) -> list[Json]:
        """Single trades are not kept: each minute is told as four, at its open, low, high and close."""
        spec = self._ledger.spec(params.text("symbol"))
        start, end = params.window()
        from_id = params.integer("fromId")
        limit = params.limit(500, 1000)
        minutes = self._candles.klines(spec.symbol, "1m", 0, 2**62, 1500)
        rows = [row for candle in minutes for row in _trades(candle, spec.step_size)]
        found = [
            row
            for row in rows
            if start <= row["T"] <= end and row["T"] <= now.market_ms and (from_id is None or row["a"] >= from_id)
        ]
        from_the_start = from_id is not None or params.text("startTime") is not None
        return found[:limit] if from_the_start else found[-limit:]

    def mark_price_klines(self, params: Params, now: Now) -> list[list[object]]:
        """Candles of the mark price, which is the last price here. Nothing trades at a mark: volumes are 0."""
        spec = self._ledger.spec(params.text("symbol"))
        interval = params.choice("interval", INTERVALS, -1120, "Invalid interval.")
        start, end = params.window()
        limit = params.limit(500, 1500)
        return [_mark_row(candle) for candle in self._candles.klines(spec.symbol, interval, start, end, limit)]

    def funding_rate(self, params: Params, now: Now) -> list[Json]:
        """The funding instants that the venue's candles cover, oldest first; settlements out of turn are not among them."""
        wanted = require_known_symbol(self._ledger, params.text("symbol"))
        start, end = params.window()
        limit = params.limit(100, 1000)
        rows = [
            self._funding(symbol, due, price)
            for symbol in (self._ledger.specs if wanted is None else (wanted,))
            for due, price in self._instants(symbol, min(end, now.market_ms))
            if due >= start
        ]
        rows.sort(key=lambda row: int(row["fundingTime"]))
        return rows[:limit] if params.text("startTime") is not None else rows[-limit:]

    def _instants(self, symbol: str, until_ms: int) -> Iterator[tuple[int, Decimal]]:
        """Funding instants since the oldest candle, with the price that was last then."""
        candles = self._candles.klines(symbol, "5m", 0, 2**62, 1500)
        opened = [candle.open_time_ms for candle in candles]
        interval = self._ledger.config.funding_interval_ms
        due = next_funding(opened[0] - 1, interval) if opened else until_ms + 1
        while due <= until_ms:
            candle = candles[bisect_right(opened, due) - 1]
            yield due, candle.open if candle.open_time_ms == due else candle.close
            due += interval

    def _funding(self, symbol: str, time_ms: int, price: Decimal) -> Json:
        return {
            "symbol": symbol,
            "fundingTime": time_ms,
            "fundingRate": money(self._ledger.config.funding_rate),
            "markPrice": plain(price),
            "rateType": "Regular",
        }

    def funding_info(self, params: Params, now: Now) -> list[Json]:
        hours = self._ledger.config.funding_interval_ms // HOUR_MS
        return [
            {
                "symbol": symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": hours,
                "disclaimer": False,
            }
            for symbol in self._ledger.specs
        ]


def _trades(candle: LiveCandle, step: Decimal) -> list[Json]:
    first = candle.open_time_ms // MINUTE_MS * TRADES_PER_CANDLE
    quantity = max(step, candle.volume / TRADES_PER_CANDLE // step * step)
    prices = (candle.open, candle.low, candle.high, candle.close)
    quarter = candle.interval_ms // TRADES_PER_CANDLE
    return [
        {
            "a": first + number,
            "p": plain(price),
            "q": plain(quantity),
            "nq": plain(quantity),
            "f": first + number,
            "l": first + number,
            "T": candle.open_time_ms + number * quarter,
            "m": number % 2 == 1,
        }
        for number, price in enumerate(prices)
    ]


def _mark_row(candle: LiveCandle) -> list[object]:
    return [
        candle.open_time_ms,
        plain(candle.open),
        plain(candle.high),
        plain(candle.low),
        plain(candle.close),
        "0",
        candle.open_time_ms + candle.interval_ms - 1,
        "0",
        candle.count,
        "0",
        "0",
        "0",
    ]
