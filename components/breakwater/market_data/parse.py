"""Market messages and replies of the venue, made into our events. What makes no sense raises VenueReplyError."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.liquidity import spread_pct
from breakwater.domain.money import ZERO
from breakwater.exchange.reader import Reader, VenueReplyError, time_from_ms
from breakwater.runtime.events import CandleClosed, MarkPrice

INTERVALS: Mapping[str, timedelta] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
}
"""The venue's names of candle lengths."""
INTERVAL = "5m"
"""The candles that models see."""
HISTORY_CANDLES = 300
"""Closed candles loaded before the first price, so that indicators speak at once."""


class Quote(msgspec.Struct, frozen=True):
    """Best bid and ask at one instant, as the spread between them."""

    symbol: Symbol
    spread_pct: Decimal
    time: datetime


class DayVolume(msgspec.Struct, frozen=True):
    """What was traded in the last 24 h, USDT."""

    symbol: Symbol
    usd: Decimal
    time: datetime


def parse_market_message(message: Mapping[str, Any]) -> MarkPrice | CandleClosed | None:
    """One stream message, bare or wrapped. None for kinds we have no use for and for candles that are still open."""
    inner = message.get("data")
    raw = inner if isinstance(inner, Mapping) and "stream" in message else message
    kind = raw.get("e")
    if kind == "markPriceUpdate":
        event = Reader(raw, "markPriceUpdate")
        return MarkPrice(Symbol(event.text("s")), _price(event, "p"), event.time("E"))
    if kind == "kline":
        return _closed_candle(Reader(raw, "kline").child("k"))
    return None


def _closed_candle(k: Reader) -> CandleClosed | None:
    if not k.boolean("x"):
        return None
    name = k.text("i")
    if name not in INTERVALS:
        raise VenueReplyError(k.what, "i", f"is {name!r}, known are {', '.join(INTERVALS)}")
    return _checked(
        CandleClosed(
            symbol=Symbol(k.text("s")),
            open_time=k.time("t"),
            interval=INTERVALS[name],
            open=_price(k, "o"),
            high=_price(k, "h"),
            low=_price(k, "l"),
            close=_price(k, "c"),
            volume=k.amount("v"),
        )
    )


def parse_klines(reply: object, symbol: Symbol, interval: timedelta, now: datetime) -> list[CandleClosed]:
    """Rows of GET klines, oldest first, without a candle that is still open at ``now``."""
    if not isinstance(reply, list):
        raise VenueReplyError(f"klines of {symbol}", "(whole reply)", "must be a list")
    candles = []
    for index, row in enumerate(reply):
        what = f"klines of {symbol}[{index}]"
        if not isinstance(row, list) or len(row) < 6:
            raise VenueReplyError(what, "(row)", "must be a list of at least 6 values")
        names = ("openTime", "open", "high", "low", "close", "volume")
        fields = Reader(dict(zip(names, row, strict=False)), what)
        open_time = time_from_ms(fields.integer("openTime"))
        if open_time + interval > now:
            continue
        candles.append(
            _checked(
                CandleClosed(
                    symbol=symbol,
                    open_time=open_time,
                    interval=interval,
                    open=_price(fields, "open"),
                    high=_price(fields, "high"),
                    low=_price(fields, "low"),
                    close=_price(fields, "close"),
                    volume=fields.amount("volume"),
                    backfilled=True,
                )
            )
        )
    return sorted(candles, key=lambda candle: candle.open_time)


def parse_quote(row: Reader) -> Quote:
    """One row of ticker/bookTicker. Raises VenueReplyError, also for a book that is empty or crossed."""
    try:
        spread = spread_pct(row.decimal("bidPrice"), row.decimal("askPrice"))
    except ValueError as error:
        raise VenueReplyError(row.what, "askPrice", str(error)) from None
    return Quote(Symbol(row.text("symbol")), spread, row.time("time"))


def parse_day_volume(row: Reader) -> DayVolume:
    """One row of ticker/24hr. Raises VenueReplyError."""
    return DayVolume(Symbol(row.text("symbol")), row.amount("quoteVolume"), row.time("closeTime"))


def _checked(candle: CandleClosed) -> CandleClosed:
    inside = (candle.open, candle.close)
    if candle.low > min(inside) or candle.high < max(inside):
        raise VenueReplyError(
            f"candle of {candle.symbol}",
            "high/low",
            f"{candle.high}/{candle.low} do not contain open and close {inside[0]}/{inside[1]}",
        )
    return candle


def _price(reader: Reader, name: str) -> Decimal:
    price = reader.decimal(name)
    if price <= ZERO:
        raise VenueReplyError(reader.what, name, f"must be a positive price, is {price}")
    return price
