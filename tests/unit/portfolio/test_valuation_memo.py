"""Valuing only what has moved gives the very snapshot that valuing everything gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Ledger
from breakwater.domain.positions import Fill
from breakwater.domain.valuation import Baseline, Mark, Valued, value

NOW = datetime(2025, 10, 10, 21, 0, tzinfo=UTC)
SYMBOLS = [Symbol(name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
PRICES = st.decimals(Decimal("0.5"), Decimal(90_000), places=3)
MOVES = st.one_of(
    st.tuples(st.just("mark"), st.sampled_from(SYMBOLS), PRICES),
    st.tuples(st.just("fill"), st.sampled_from(SYMBOLS), PRICES),
    st.tuples(st.just("close"), st.sampled_from(SYMBOLS), PRICES),
    st.tuples(st.just("wait"), st.sampled_from(SYMBOLS), PRICES),
)


@given(st.lists(MOVES, max_size=25))
def test_any_marks_and_fills_snapshot_with_memo_equals_the_one_without(
    moves: list[tuple[str, Symbol, Decimal]],
) -> None:
    ledger, marks, now = Ledger(), dict[Symbol, Mark](), NOW
    ledger.adopt(Decimal(14_000), [], {})
    memo: dict[Symbol, Valued] = {}
    for number, (kind, symbol, price) in enumerate(moves):
        position = ledger.positions.get(symbol)
        if kind == "mark":
            marks[symbol] = Mark(price, now)
        elif kind == "wait":
            now += timedelta(seconds=6)
        elif kind == "fill" or position is not None:
            quantity = -position.quantity if kind == "close" and position is not None else Decimal("0.1")
            ledger.record(Fill(symbol, TradeId(str(number + 1)), quantity, price, Decimal("0.1"), now))
        baseline, fresh = Baseline(NOW.date(), Decimal(14_000)), now - timedelta(seconds=10)

        known = value(ledger, marks, baseline, sequence=1, time=now, reconciled=True, fresh_since=fresh, memo=memo)
        anew = value(ledger, marks, baseline, sequence=1, time=now, reconciled=True, fresh_since=fresh)
        assert known == anew
