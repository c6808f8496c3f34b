from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.paper_venue.markets import (
    Candle,
    Crash,
    MarketFileError,
    ReplayMarket,
    SyntheticMarket,
    aggregate,
    candle_path,
)
from breakwater.paper_venue.markets.synthetic import KEPT_CANDLES

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
FIVE = 300_000
PRICE = st.integers(1000, 2000)


@given(prices=st.tuples(PRICE, PRICE, PRICE, PRICE), ticks=st.integers(60, 200), volume=st.integers(0, 10**9))
def test_candle_path_hits_open_low_high_close_in_the_right_order(
    prices: tuple[int, int, int, int], ticks: int, volume: int
) -> None:
    opened, closed, *wicks = (Decimal(p) / 10 for p in prices)
    high, low = max(opened, closed, *wicks), min(opened, closed, *wicks)
    candle = Candle("BTCUSDT", START_MS, FIVE, opened, high, low, closed, Decimal(volume) / 1000)
    path = candle_path(candle, ticks, tick_size=Decimal("0.1"))
    found = [t.price for t in path]
    assert len(path) == ticks
    assert (found[0], found[-1]) == (opened, closed)
    assert (min(found), max(found)) == (low, high)
    first, second = (low, high) if closed >= opened else (high, low)
    assert found.index(first) <= len(found) - 1 - found[::-1].index(second)
    assert found[(ticks - 1) // 3] == first
    assert found[2 * (ticks - 1) // 3] == second
    assert all(p % Decimal("0.1") == 0 for p in found)
    assert path[0].time_ms == START_MS
    assert path[-1].time_ms < START_MS + FIVE
    gaps = {b.time_ms - a.time_ms for a, b in pairwise(path)}
    assert max(gaps) - min(gaps) <= 1
    assert sum((t.volume for t in path), Decimal(0)) == candle.volume


def test_aggregate_builds_larger_candles_and_drops_a_partial_first_one() -> None:
    def candle(i: int) -> Candle:
        p = Decimal(100 + i)
        return Candle("X", START_MS + i * FIVE, FIVE, p, p + 2, p - 2, p + 1, Decimal(1))

    built = aggregate([candle(i) for i in range(1, 9)], 3 * FIVE)
    assert [c.open_time_ms for c in built] == [START_MS + 3 * FIVE, START_MS + 6 * FIVE]
    assert built[0][3:] == (Decimal(103), Decimal(107), Decimal(101), Decimal(106), Decimal(3))


def test_same_seed_gives_the_same_market_and_another_seed_does_not() -> None:
    def ticks(seed: int) -> list[object]:
        return list(islice(SyntheticMarket(seed, ("BTCUSDT", "ETHUSDT"), START).ticks(), 2000))

    assert ticks(1) == ticks(1)
    assert ticks(1) != ticks(2)


def test_synthetic_market_continues_on_the_same_path_after_a_restart() -> None:
    whole = list(islice(SyntheticMarket(3, ("BTCUSDT", "ETHUSDT"), START).ticks(), 3000))
    after = whole[1234].time_ms
    rest = list(islice(SyntheticMarket(3, ("BTCUSDT", "ETHUSDT"), START).ticks(after), 1000))
    assert rest == [t for t in whole if t.time_ms > after][:1000]


def test_synthetic_history_joins_the_ticks_and_is_in_order() -> None:
    market = SyntheticMarket(5, ("BTCUSDT",), START)
    history = market.history("BTCUSDT", FIVE, START_MS, 500)
    assert len(history) == 500
    assert history[-1].open_time_ms == START_MS - FIVE
    assert next(market.ticks()).price == history[-1].close
    assert all(b.open_time_ms - a.open_time_ms == FIVE and b.open == a.close for a, b in pairwise(history))
    assert all(c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in history)
    assert len(market.history("BTCUSDT", 3_600_000, START_MS, 24)) == 24
    assert market.history("BTCUSDT", 60_000, START_MS, 10) == []


def test_market_keeps_some_days_of_candles_however_long_it_runs() -> None:
    market = SyntheticMarket(5, ("BTCUSDT", "ETHUSDT"), START)
    most = KEPT_CANDLES + 300
    for day in range(12):
        market.history("BTCUSDT", FIVE, START_MS + day * 288 * FIVE, 10)
        assert all(len(walk.candles) <= most for walk in market._walks.values())
    later = START_MS + 60 * 288 * FIVE
    assert len(market.history("ETHUSDT", FIVE, later, 2016)) == 2016
    assert all(len(walk.candles) <= most for walk in market._walks.values())


@pytest.mark.parametrize("days", [0, 7, 20])
def test_market_gives_the_same_prices_whether_it_walked_there_or_jumped(days: int) -> None:
    def market() -> SyntheticMarket:
        return SyntheticMarket(5, ("BTCUSDT", "ETHUSDT"), START)

    until = START_MS + days * 288 * FIVE
    walked = market()
    for step in range(0, days * 288 + 1, 12):
        walked.history("BTCUSDT", FIVE, START_MS + step * FIVE, 1)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert walked.history(symbol, FIVE, until, 2016) == market().history(symbol, FIVE, until, 2016)
    assert list(islice(walked.ticks(until), 500)) == list(islice(market().ticks(until), 500))


def test_market_draws_again_what_it_does_not_keep_any_more() -> None:
    fresh, far = (SyntheticMarket(5, ("BTCUSDT", "ETHUSDT"), START) for _ in range(2))
    begun = far.ticks()
    expected = list(islice(fresh.ticks(), 1000))
    early = fresh.history("ETHUSDT", FIVE, START_MS + 12 * FIVE, 100)
    got = list(islice(begun, 7))
    far.history("BTCUSDT", FIVE, START_MS + 60 * 288 * FIVE, 10)
    assert [*got, *islice(begun, 993)] == expected
    assert list(islice(far.ticks(), 1000)) == expected
    assert far.history("ETHUSDT", FIVE, START_MS + 12 * FIVE, 100) == early


def test_prices_of_a_seed_are_what_they_have_always_been() -> None:
    """Recorded before candles were dropped: drills and running desks rely on them."""
    market = SyntheticMarket(
        1, ("BNBUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"), datetime(2026, 1, 5, 12, tzinfo=UTC)
    )
    until = int(datetime(2026, 3, 6, 12, tzinfo=UTC).timestamp() * 1000)
    history = market.history("BTCUSDT", FIVE, until, 2016)
    assert hashlib.sha256(repr(history).encode()).hexdigest()[:12] == "b0d838fa48a4"


def test_scheduled_crash_happens_when_asked_and_by_default_after_four_hours() -> None:
    def fall(market: SyntheticMarket, at: datetime) -> Decimal:
        at_ms = int(at.timestamp() * 1000)
        candles = market.history("BTCUSDT", FIVE, at_ms + 12 * FIVE, 12)
        return min(c.low for c in candles) / candles[0].open

    default = START + timedelta(hours=4)
    assert fall(SyntheticMarket(1, ("BTCUSDT",), START), default) < Decimal("0.92")
    assert fall(SyntheticMarket(1, ("BTCUSDT",), START, crashes=()), default) > Decimal("0.92")
    early = START + timedelta(minutes=30)
    assert fall(SyntheticMarket(1, ("BTCUSDT",), START, crash_at=early), early) < Decimal("0.92")
    deep = [Crash(early, 2.0)]
    assert fall(SyntheticMarket(1, ("BTCUSDT",), START, crashes=deep), early) < Decimal("0.85")


def _write(path: Path, rows: list[str], header: str = "ts,open,high,low,close,volume") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _rows(count: int, first_ms: int = START_MS - 10 * FIVE, base: int = 100) -> list[str]:
    return [f"{first_ms + i * FIVE},{base + i},{base + i + 2},{base + i - 2},{base + i + 1},10" for i in range(count)]


def test_replay_merges_files_in_time_order_and_keeps_what_came_before_as_history(tmp_path: Path) -> None:
    btc = _write(tmp_path / "BTCUSDT-5m-x.csv", _rows(20))
    eth = tmp_path / "ETHUSDT-5m.csv.gz"
    eth.write_bytes(gzip.compress(("ts,open,high,low,close,volume\n" + "\n".join(_rows(20))).encode()))
    market = ReplayMarket([btc, eth], START, START + timedelta(minutes=15))
    ticks = list(market.ticks())
    assert len(ticks) == 2 * 3 * 60
    assert [t.time_ms for t in ticks] == sorted(t.time_ms for t in ticks)
    assert {t.symbol for t in ticks[:2]} == {"BTCUSDT", "ETHUSDT"}
    assert [t.symbol for t in ticks if t.time_ms == START_MS] == ["BTCUSDT", "ETHUSDT"]
    history = market.history("BTCUSDT", FIVE, START_MS, 100)
    assert len(history) == 10
    assert history[-1].close == Decimal(110)
    assert len(market.history("ETHUSDT", 900_000, START_MS, 2)) == 2
    after = ticks[100].time_ms
    assert list(market.ticks(after)) == [t for t in ticks if t.time_ms > after]


@pytest.mark.parametrize(
    ("rows", "header", "parts"),
    [
        (["x,1,2,1,1,1"], None, ("line 2", "'ts'", "ms")),
        ([*_rows(2), f"{START_MS},1,2,one,1,1"], None, ("line 4", "'low'", "'one'")),
        ([*_rows(2), f"{START_MS},1,NaN,1,1,1"], None, ("line 4", "'high'")),
        ([*_rows(2), f"{START_MS},1,2,0,1,1"], None, ("line 4", "'low'")),
        ([*_rows(2), f"{START_MS},5,2,1,1,1"], None, ("line 4", "'high'", "below")),
        ([*_rows(2), f"{START_MS},1,2"], None, ("line 4", "3 fields")),
        ([*_rows(3), _rows(3)[1]], None, ("line 5", "'ts'", "Sort")),
        ([*_rows(3), f"{START_MS + 7},1,2,1,1,1"], None, ("line 5", "multiple")),
        (_rows(1), None, ("1 candle", "two candles")),
        ([], None, ("0 candle",)),
        (_rows(3), "time,o,h,l,c,v", ("line 1", "ts,open,high,low,close,volume")),
        (_rows(3), None, ("no candle between", "choose start and end")),
    ],
)
def test_unusable_market_file_is_refused_naming_place_and_remedy(
    tmp_path: Path, rows: list[str], header: str | None, parts: tuple[str, ...]
) -> None:
    path = _write(tmp_path / "BTCUSDT-5m.csv", rows, *([header] if header else []))
    with pytest.raises(MarketFileError) as caught:
        ReplayMarket([path], START, START + timedelta(hours=1))
    for part in (str(path), *parts):
        assert part in str(caught.value)


def test_missing_unnamed_binary_and_doubled_files_are_refused(tmp_path: Path) -> None:
    end = START + timedelta(hours=1)
    with pytest.raises(MarketFileError, match="no such file"):
        ReplayMarket([tmp_path / "BTCUSDT-5m.csv"], START, end)
    with pytest.raises(MarketFileError, match="symbol"):
        ReplayMarket([_write(tmp_path / "candles.csv", _rows(3))], START, end)
    broken = tmp_path / "BTCUSDT-5m.csv.gz"
    broken.write_bytes(b"not gzip at all")
    with pytest.raises(MarketFileError, match="cannot be read"):
        ReplayMarket([broken], START, end)
    cut = tmp_path / "ETHUSDT-5m.csv.gz"
    cut.write_bytes(gzip.compress("\n".join(_rows(500)).encode())[:-20])
    with pytest.raises(MarketFileError, match="cannot be read"):
        ReplayMarket([cut], START, end)
    good = _write(tmp_path / "SOLUSDT-5m.csv", _rows(20))
    with pytest.raises(MarketFileError, match="already"):
        ReplayMarket([good, good], START, end)
    with pytest.raises(ValueError, match="before it starts"):
        ReplayMarket([good], end, START)


DATA = Path(__file__).resolve().parents[4] / "shared" / "marketdata"


@pytest.mark.marketdata
@pytest.mark.skipif(not DATA.is_dir(), reason=f"recorded market data is not at {DATA}")
def test_recorded_crash_replays_its_highs_and_lows() -> None:
    files = [DATA / "BTCUSDT-5m-2025-09_2025-10.csv.gz", DATA / "ETHUSDT-5m-2025-09_2025-10.csv.gz"]
    market = ReplayMarket(files, START, datetime(2025, 10, 11, 0, 30, tzinfo=UTC))
    ticks = list(market.ticks())
    assert len(ticks) == 2 * 54 * 60
    btc = [t.price for t in ticks if t.symbol == "BTCUSDT"]
    assert min(btc) < Decimal(103_000)
    assert max(btc) > Decimal(116_000)
    assert len(market.history("BTCUSDT", FIVE, START_MS, 500)) == 500
