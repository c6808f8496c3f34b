"""freqtrade's MaxDrawdown protection behind JSON lines, on the in-memory database that it uses for dry runs.

Runs on the peer's own Python (see venvs.py).
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import freqtrade
from answering import answer  # type: ignore[import-not-found]
from freqtrade.persistence import Trade, init_db
from freqtrade.plugins.protections.max_drawdown_protection import MaxDrawdown

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BALANCE = 14_000.0
LOOK_BACK_MINUTES = 24 * 60


def protection(limit: float) -> MaxDrawdown:
    rules = {
        "method": "MaxDrawdown",
        "calculation_mode": "equity",
        "lookback_period": LOOK_BACK_MINUTES,
        "trade_limit": 1,
        "stop_duration": 15,
        "max_allowed_drawdown": limit,
    }
    return MaxDrawdown({"timeframe": "5m"}, rules)


def fresh(closed: int, open_trades: int, open_profit: float) -> None:
    """A database with ``closed`` small trades in the window, in turn won and lost, and some open ones at a profit ratio."""
    init_db("sqlite://")
    step = timedelta(minutes=LOOK_BACK_MINUTES) / (closed + 1)
    for n in range(closed + open_trades):
        is_open = n >= closed
        closed_at = NOW - timedelta(minutes=LOOK_BACK_MINUTES) + step * (n + 1)
        trade = Trade(
            pair=f"COIN{n % 20}/USDT:USDT",
            stake_amount=700.0,
            amount=7.0,
            amount_requested=7.0,
            open_rate=100.0,
            open_date=NOW - timedelta(minutes=LOOK_BACK_MINUTES * 2),
            fee_open=0.0005,
            fee_close=0.0005,
            exchange="binance",
            leverage=10.0,
            is_open=is_open,
        )
        if is_open:
            trade.max_rate = trade.min_rate = 100.0 * (1 + open_profit)
        else:
            trade.close_date = closed_at
            trade.close_rate = 100.0
            trade.close_profit = 0.0001 if n % 2 else -0.0001
            trade.close_profit_abs = trade.close_profit * 700.0
        Trade.session.add(trade)
    Trade.session.commit()


def drawdown(closed: int, open_trades: int, rounds: int) -> Any:
    """Seconds of each of ``rounds`` evaluations. The limit is never reached."""
    fresh(closed, open_trades, 0.0)
    judge = protection(0.99)
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        verdict = judge.global_stop(NOW, "long", BALANCE)
        taken.append(time.perf_counter() - began)
        if verdict is not None:
            raise RuntimeError(f"unexpected: {verdict}")
    return taken


def open_losers(closed: int, open_trades: int, loss: float) -> Any:
    """Whether it stops trading when every open trade stands at ``loss`` (a ratio) and closed ones have lost next to nothing."""
    fresh(closed, open_trades, -loss)
    return protection(0.05).global_stop(NOW, "long", BALANCE) is not None


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    answer({"version": lambda: freqtrade.__version__, "drawdown": drawdown, "open_losers": open_losers})
