"""Funding: at fixed instants every open position pays, or receives, a share of its notional at the mark price.

A positive rate is paid by longs to shorts. The wallet moves, an isolated position's margin with it, and the account is told as
the exchange tells it: a balance alone for cross margin, the position too for isolated margin.
"""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue import events
from breakwater.paper_venue.fills import add_income
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.model import Account, Now, Position
from breakwater.paper_venue.money import round8
from breakwater.paper_venue.orders import Emit


def next_funding(time_ms: int, interval_ms: int) -> int:
    """The first funding instant after a market time: multiples of the interval, so 00, 08 and 16 UTC for eight hours."""
    return time_ms - time_ms % interval_ms + interval_ms


class Funding:
    """Pays what fell due between two market times."""

    def __init__(self, ledger: Ledger, emit: Emit) -> None:
        self._ledger = ledger
        self._emit = emit

    def pass_time(self, before_ms: int, now: Now) -> None:
        """Market time went from `before_ms` to `now`; 0 means that the venue has only begun."""
        interval = self._ledger.config.funding_interval_ms
        due = next_funding(before_ms, interval)
        while before_ms and due <= now.market_ms and self._positions():
            self.pay(self._ledger.config.funding_rate, due, now)
            due += interval

    def pay(self, rate: Decimal, time_ms: int, now: Now, *, symbol: str | None = None) -> None:
        """Settle one funding instant at the last prices, for one symbol or all."""
        for account, position in self._positions():
            if symbol is not None and position.symbol != symbol:
                continue
            mark = self._ledger.last_price(position.symbol)
            amount = round8(-position.qty * mark * rate)
            if not amount:
                continue
            account.wallet += amount
            account.update_time = time_ms
            if position.isolated:
                position.isolated_wallet += amount
            add_income(self._ledger, account, position.symbol, "FUNDING_FEE", amount, time_ms)
            self._ledger.touch_account(account)
            told = position if position.isolated else None
            self._emit(
                account.name,
                events.account_update(
                    account, told, account.cross_wallet, mark, "FUNDING_FEE", now.market_ms, change=amount
                ),
            )

    def _positions(self) -> list[tuple[Account, Position]]:
        return [
            (account, position)
            for account in self._ledger.state.accounts.values()
            for position in account.positions.values()
            if position.qty
        ]
