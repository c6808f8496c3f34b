"""Raw websocket messages as a market."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from breakwater.paper_venue.config import VenueConfig, spec_for
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.markets import CaptureMarket, MarketFileError
from breakwater.paper_venue.model import Now

D = Decimal
T0 = 1_723_161_256_000
RECORDED = Path(__file__).resolve().parents[4] / "shared" / "marketdata" / "ws-btcusdt-2024-08-08.gz"


def line(data: dict[str, Any], received: int = 1) -> str:
    return f"{received} {json.dumps({'stream': 's', 'data': data})}\n"


def trade(ms: int, price: str, quantity: str = "0.5", symbol: str = "BTCUSDT") -> str:
    return line({"e": "trade", "E": T0 + ms, "T": T0 + ms, "s": symbol, "t": 1, "p": price, "q": quantity, "m": False})


def quote(ms: int, bid: str, ask: str) -> str:
    return line({"e": "bookTicker", "E": T0 + ms, "T": T0 + ms, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "1"})


def capture(tmp_path: Path, text: str, name: str = "ws.log") -> CaptureMarket:
    file = tmp_path / name
    file.write_text(text)
    return CaptureMarket([file])


def test_trades_move_the_price_with_their_volume_and_the_book_takes_it_along(tmp_path: Path) -> None:
    market = capture(
        tmp_path,
        trade(0, "60000", "0.5")
        + quote(1, "59999.9", "60000.1")  # around the price: nothing
        + quote(2, "60010", "60010.1")  # above it
        + quote(3, "59990", "59990.1")  # below it
        + trade(4, "59990", "0.2"),
    )
    assert [(t.time_ms - T0, t.price, t.volume) for t in market.ticks()] == [
        (0, D(60000), D("0.5")),
        (2, D(60010), D(0)),
        (3, D("59990.1"), D(0)),
        (4, D(59990), D("0.2")),
    ]
    assert (market.start_ms, market.end_ms, market.symbols) == (T0, T0 + 5, ("BTCUSDT",))
    assert [t.time_ms - T0 for t in market.ticks(T0 + 2)] == [3, 4]


def test_torn_and_unknown_lines_are_counted_and_cost_nothing_else(tmp_path: Path) -> None:
    text = (
        "nonsense\n"
        + trade(0, "60000")
        + trade(1, "60001")[:40]
        + "\n"
        + line({"e": "depthUpdate", "s": "BTCUSDT", "T": T0, "b": [["1", "2"]], "a": []})
        + trade(2, "-5")
        + trade(3, "NaN")
        + '7 {"id":1,"result":null}\n'
        + trade(5, "60002")
        + trade(4, "59000")
    )
    market = capture(tmp_path, text)
    assert [t.price for t in market.ticks()] == [D(60000), D(60002)]
    counts = market.counts
    assert (counts.used, counts.ignored, counts.unreadable, counts.late) == (2, 1, 5, 1)


def test_gzip_that_breaks_off_is_played_up_to_there(tmp_path: Path) -> None:
    whole = gzip.compress("".join(trade(n, str(60000 + n)) for n in range(5000)).encode())
    file = tmp_path / "ws.gz"
    file.write_bytes(whole[: len(whole) // 2])
    market = CaptureMarket([file])
    assert 100 < market.counts.used < 5000
    assert market.counts.unreadable >= 1


@pytest.mark.parametrize(("text", "sentence"), [("", "no trade"), ("1 {}\n", "no trade"), (None, "no such file")])
def test_file_without_a_price_is_refused_with_what_is_needed(tmp_path: Path, text: str | None, sentence: str) -> None:
    file = tmp_path / "ws.log"
    if text is not None:
        file.write_text(text)
    with pytest.raises(MarketFileError, match=sentence):
        CaptureMarket([file])


def test_several_symbols_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    market = capture(tmp_path, trade(0, "60000") + trade(5, "60001") + trade(3, "3000", symbol="ETHUSDT"))
    assert [(t.symbol, t.time_ms - T0) for t in market.ticks()] == [("BTCUSDT", 0), ("ETHUSDT", 3), ("BTCUSDT", 5)]


def test_history_is_what_was_recorded_before(tmp_path: Path) -> None:
    begin = T0 - T0 % 60_000 + 60_000 - T0
    market = capture(
        tmp_path,
        trade(begin, "60000")
        + trade(begin + 30_000, "60100")
        + trade(begin + 59_999, "60050")
        + trade(begin + 60_000, "1"),
    )
    (candle,) = market.history("BTCUSDT", 60_000, T0 + begin + 60_000, 10)
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (
        D(60000),
        D(60100),
        D(60000),
        D(60050),
        D("1.5"),
    )
    assert market.history("BTCUSDT", 60_000, T0 + begin + 59_999, 10) == []


@pytest.mark.marketdata
@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded market data beside the project (shared/marketdata)")
def test_recorded_minutes_drive_a_venue_to_the_prices_they_were_traded_at() -> None:
    market = CaptureMarket([RECORDED])
    assert market.counts.used == 66_089 + 21_313 - market.counts.late
    assert market.counts.unreadable <= 1  # a snapshot of the book is no stream's message
    ticks = list(market.ticks())
    assert all(before.time_ms <= after.time_ms for before, after in pairwise(ticks))
    assert market.end_ms - market.start_ms > 300_000
    venue = PaperVenue(VenueConfig(symbols=(spec_for("BTCUSDT"),)))
    for tick in ticks[:5000]:
        venue.on_tick(tick, Now(tick.time_ms, tick.time_ms))
    assert venue.to_state().prices["BTCUSDT"].price == ticks[4999].price
