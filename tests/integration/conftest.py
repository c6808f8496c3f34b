"""What the venue itself says about a desk: read from the paper venue's own files, never from what the desk believes."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater.paper_venue.model import AcceptedOrder, Account, VenueState
from breakwater.paper_venue.state_file import VenueStateFile

START_BALANCE = Decimal(14_000)
CENT = Decimal("0.01")


class VenueBook:
    """The paper venue's records, as they are on disk now (every reply is written before it leaves)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> VenueState:
        state = VenueStateFile(self.path).load()
        assert state is not None, f"the venue never saved anything in {self.path}"
        return state

    def account(self) -> Account:
        (account,) = self.read().accounts.values()
        return account

    def positions(self) -> dict[str, Decimal]:
        return {position.symbol: position.qty for position in self.account().positions.values() if position.qty}

    def entries(self) -> list[AcceptedOrder]:
        return [record for record in self.read().audit if record.client_order_id.endswith("-e")]

    def wrongs(self) -> list[str]:
        """Everything that must never be seen at the venue, whatever died when."""
        state = self.read()
        sent = [record for record in state.audit if record.kind in ("order", "algo")]
        uses = Counter(record.client_order_id for record in sent)
        found = [f"{name} was accepted {count} times" for name, count in uses.items() if count > 1]
        for record in sent:
            if record.client_order_id.endswith("-e"):
                if record.position_before:
                    found.append(f"{record.client_order_id} entered {record.symbol} on top of {record.position_before}")
                if record.filled_qty > record.qty:
                    found.append(f"{record.client_order_id} filled {record.filled_qty} of {record.qty}")
            elif record.risk_increasing:
                found.append(f"{record.client_order_id} is no entry and could have increased risk")
        (account,) = state.accounts.values()
        if account.wallet != START_BALANCE + sum((income.income for income in state.incomes), Decimal(0)):
            found.append("the venue's wallet is not the sum of its incomes")
        return found

    def unprotected(self) -> list[str]:
        """Positions that accepted stops do not cover to the last unit."""
        state = self.read()
        found = []
        for symbol, quantity in self.positions().items():
            side = "SELL" if quantity > 0 else "BUY"
            covered = sum(
                (
                    order.quantity
                    for order in state.algo_orders.values()
                    if order.is_open and order.symbol == symbol and order.side == side and order.reduce_only
                ),
                Decimal(0),
            )
            if covered < abs(quantity):
                found.append(f"{symbol}: stops for {covered} of {quantity}")
        return found


@pytest.fixture(scope="session")
def venue_book() -> type[VenueBook]:
    """``venue_book(path of state.json)``."""
    return VenueBook
