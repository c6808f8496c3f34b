"""Messages recorded from the real exchange, read by our own code. Every file is read, or has its reason here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.ids import Symbol
from breakwater.exchange.messages import AlgoUpdate, OrderUpdate
from breakwater.exchange.parse import list_of, parse_instrument, parse_order, parse_position, parse_trade
from breakwater.exchange.reader import Reader
from breakwater.exchange.stream import parse_user_event
from breakwater.market_data.parse import parse_day_volume, parse_klines, parse_market_message, parse_quote

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "binance-futures"
pytestmark = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"recorded messages are not at {FIXTURES}")

LATER = datetime(2030, 1, 1, tzinfo=UTC)


def _orders(message: Any) -> bool:
    return all(order.order_id for order in list_of(parse_order)(message))


def _trades(message: Any) -> bool:
    return all(trade.quantity > 0 for trade in list_of(parse_trade)(message))


def _positions(message: Any) -> bool:
    return all(position.symbol for position in list_of(parse_position)(message))


def _instruments(message: Any) -> bool:
    return all(parse_instrument(row).tick_size > 0 for row in message["symbols"])


def _klines(message: Any) -> bool:
    candles = parse_klines(message, Symbol("BTCUSDT"), timedelta(minutes=5), LATER)
    return len(candles) == len(message)


def _quote(message: Any) -> bool:
    return parse_quote(Reader(message, "ticker")).spread_pct > 0


def _day_volume(message: Any) -> bool:
    return parse_day_volume(Reader(message, "ticker")).usd > 0


def _algo_update(message: Any) -> bool:
    return isinstance(parse_user_event(message), AlgoUpdate)


def _order_update(message: Any) -> bool:
    return isinstance(parse_user_event(message), OrderUpdate)


def _not_ours(message: Any) -> bool:
    """Read, and passed over without a complaint."""
    return parse_user_event(message) is None and parse_market_message(message) is None


READERS: Mapping[str, Callable[[Any], bool]] = {
    "rest/http_futures_account_orders.json": _orders,
    "rest/http_futures_account_trades.json": _trades,
    "rest/http_futures_account_positions_hedge.json": _positions,
    "rest/http_futures_account_positions_one_way.json": _positions,
    "rest/http_futures_market_exchange_info.json": _instruments,
    "rest/http_futures_market_klines.json": _klines,
    "rest/http_futures_market_book_ticker.json": _quote,
    "rest/http_futures_market_ticker_24hr.json": _day_volume,
    **{
        f"ws/ws_futures_algo_update_{name}.json": _algo_update
        for name in ("triggering", "triggered", "finished", "finished_canceled")
    },
    **{
        f"ws/ws_futures_order_update_{name}.json": _order_update
        for name in (
            "adl",
            "adl_filled",
            "liquidation",
            "liquidation_zero_qty",
            "settlement",
            "new_price_match",
            "new_limit_if_touched_price_match",
            "new_stop_limit_price_match",
            "new_reduce_only_qty",
            "trade_reduce_only_qty",
        )
    },
    **{
        f"ws/ws_futures_{name}.json": _not_ours
        for name in ("book_ticker", "depth_update", "depth_diff_update", "ticker_24hr", "trade_lite")
    },
}
UNREAD: Mapping[str, str] = {
    "rest/http_futures_account_position_side_dual.json": "one flag, asked for and read by the check of the position mode",
    "rest/http_futures_account_symbol_config.json": "leverage and margin type are read from positionRisk",
    "rest/http_futures_market_funding_rate.json": "funding is booked from the income list, not computed from rates",
    "rest/http_futures_market_premium_index.json": "marks come from the stream",
    "rest/http_futures_market_ticker_price.json": "prices come from the stream",
}


def test_every_recorded_file_is_read_or_has_a_reason() -> None:
    found = {str(path.relative_to(FIXTURES)) for path in FIXTURES.rglob("*.json")}
    assert found == READERS.keys() | UNREAD.keys()
    assert not READERS.keys() & UNREAD.keys()


@pytest.mark.parametrize("name", READERS)
def test_recorded_message_is_understood(name: str) -> None:
    assert READERS[name](json.loads((FIXTURES / name).read_text()))
