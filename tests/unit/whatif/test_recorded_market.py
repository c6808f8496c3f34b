"""The market that a recording makes: every recorded mark at its own time, and no silence between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.desk.recording import Candle, Header, Recording
from breakwater.domain.ids import DeskId, Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_ms
from breakwater.whatif.recorded_market import GAP_MS, STEP_MS, RecordedMarket

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")


def recorded(marks: dict[Symbol, list[tuple[int, str]]]) -> Recording:
    recording = Recording("test", Header(START, 1, 0, DeskId("main"), "test", DataKind.SYNTHETIC))
    for symbol, path in marks.items():
        recording.marks[symbol] = {START + timedelta(milliseconds=ms): Decimal(price) for ms, price in path}
    return recording


paths = st.lists(
    st.tuples(st.integers(0, 600_000), st.integers(10, 999).map(lambda n: f"{n}.10")),
    min_size=1, max_size=12, unique_by=lambda point: point[0],
).map(sorted)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(btc=paths, eth=paths, minutes=st.integers(1, 12))
def test_every_mark_is_played_at_its_time_and_steps_are_short_and_in_order(
    btc: list[tuple[int, str]], eth: list[tuple[int, str]], minutes: int
) -> None:
    end = START + timedelta(minutes=minutes)
    market = RecordedMarket(recorded({BTC: btc, ETH: eth}), (BTC, ETH), START, end)
    ticks = list(market.ticks())
    assert [tick.time_ms for tick in ticks] == sorted(tick.time_ms for tick in ticks)
    for symbol, path in ((BTC, btc), (ETH, eth)):
        mine = {tick.time_ms: tick.price for tick in ticks if tick.symbol == symbol}
        inside = {to_ms(START) + ms: Decimal(price) for ms, price in path if ms < minutes * 60_000}
        assert inside.items() <= mine.items()
        times = [*mine, to_ms(end)]
        assert times[0] == to_ms(START)
        assert all(0 < after - before <= STEP_MS for before, after in pairwise(times))
        prices = [Decimal(price) for _, price in path]
        assert all(min(prices) <= price <= max(prices) for price in mine.values())


def test_price_stands_still_where_nothing_was_recorded() -> None:
    silent = GAP_MS + 60_000
    market = RecordedMarket(
        recorded({BTC: [(0, "100"), (silent, "200")]}), (BTC,), START, START + timedelta(milliseconds=silent + 1)
    )
    prices = [tick.price for tick in market.ticks()]
    assert market.gaps == 1
    assert set(prices[:-1]) == {Decimal(100)}
    assert prices[-1] == 200


def test_ticks_go_on_after_a_moment_already_seen() -> None:
    market = RecordedMarket(recorded({BTC: [(0, "100"), (60_000, "160")]}), (BTC,), START, START + timedelta(minutes=1))
    ticks = list(market.ticks())
    assert list(market.ticks(ticks[3].time_ms)) == ticks[4:]


def test_history_is_what_closed_by_then_and_volume_is_shared_out() -> None:
    recording = recorded({BTC: [(0, "100"), (299_000, "101")]})
    for number in (-2, -1, 0):
        time = START + timedelta(minutes=5 * number)
        recording.candles.setdefault(BTC, {})[time] = Candle(time, BTC, 300, *(Decimal(100),) * 4, Decimal(60))
    market = RecordedMarket(recording, (BTC,), START, START + timedelta(minutes=5))
    assert [c.open_time_ms - market.start_ms for c in market.history("BTCUSDT", 300_000, market.start_ms, 10)] == [
        -600_000,
        -300_000,
    ]
    assert sum(tick.volume for tick in market.ticks()) == 61  # 60 ticks, and the mark between two of them


def test_recorded_rules_are_the_venues_rules() -> None:
    recording = recorded({BTC: [(0, "100")]})
    bracket = LeverageBracket(Decimal(1000), 7, Decimal("0.02"))
    recording.instruments[BTC] = Instrument(
        BTC, Decimal("0.5"), Decimal("0.01"), Decimal("0.01"), Decimal(10), Decimal(5), Decimal(50), brackets=(bracket,)
    )
    (spec,) = RecordedMarket(recording, (BTC,), START, START + timedelta(minutes=1)).specs
    assert (spec.tick_size, spec.step_size, spec.min_notional) == (Decimal("0.5"), Decimal("0.01"), Decimal(50))
    assert [(b.cap, b.leverage, b.ratio) for b in spec.brackets] == [(Decimal(1000), 7, Decimal("0.02"))]
