"""MARGIN_CALL: told once whenever an account comes near its liquidation."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.events import margin_call
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin
from breakwater.paper_venue.model import Account, Now
from breakwater.paper_venue.orders import Emit

CALL_AT = Decimal("0.8")
"""Maintenance margin as a fraction of the equity behind it. At 1 the position is liquidated."""


class MarginCalls:
    """One call for all cross positions, one for each isolated one; another after the margin has recovered.

    Who was called is kept in memory: after a restart an account that is still low is told again.
    """

    def __init__(self, ledger: Ledger, emit: Emit) -> None:
        self._ledger = ledger
        self._emit = emit
        self._called: set[tuple[str, str]] = set()
        """Account and symbol; no symbol for the cross wallet."""

    def on_price(self, symbol: str, now: Now) -> None:
        for account in self._ledger.state.accounts.values():
            position = account.positions.get(symbol)
            # Without a listen key nobody would hear it.
            if position is not None and position.qty and account.listen_key:
                self._check(account, "" if not position.isolated else symbol, now)

    def _check(self, account: Account, isolated: str, now: Now) -> None:
        """``isolated``: that position; empty: everything the cross wallet stands for."""
        total = account_margin(self._ledger, account)
        if isolated:
            held = [account.positions[isolated]]
            needed = total.positions[isolated].maintenance
            equity = held[0].isolated_wallet + total.positions[isolated].unrealized
        else:
            held = [account.positions[name] for name in total.positions if not account.positions[name].isolated]
            held = [position for position in held if position.qty]
            needed, equity = total.cross_maintenance, total.cross_wallet + total.cross_unrealized
        key = (account.name, isolated)
        if needed < equity * CALL_AT:
            self._called.discard(key)
        elif key not in self._called:
            self._called.add(key)
            rows = [(p, self._ledger.last_price(p.symbol), total.positions[p.symbol].maintenance) for p in held]
            self._emit(account.name, margin_call(rows, None if isolated else total.cross_wallet, now.market_ms))
