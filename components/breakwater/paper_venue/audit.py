"""Evidence for drills, counted at the venue: every accepted order, and what an account looks like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin
from breakwater.paper_venue.model import AcceptedOrder, Account, AlgoOrder, Order, Position
from breakwater.paper_venue.money import ZERO


class Audit:
    """Every order the venue accepted, in the order of acceptance."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __iter__(self) -> Iterator[AcceptedOrder]:
        return iter(self._ledger.state.audit)

    def __len__(self) -> int:
        return len(self._ledger.state.audit)

    def accepted_orders(self, since_ms: int, *, account: str | None = None) -> list[AcceptedOrder]:
        """Orders accepted at or after a market time."""
        return [
            record
            for record in self._ledger.state.audit
            if record.market_ms >= since_ms and (account is None or record.account == account)
        ]

    def risk_increasing_since(self, since_ms: int, *, account: str | None = None) -> list[AcceptedOrder]:
        """Those of them that could have opened or grown a position, judged at acceptance."""
        return [r for r in self.accepted_orders(since_ms, account=account) if r.risk_increasing]


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account as the venue sees it, exact. Equity = wallet + unrealized."""

    name: str
    starting_balance: Decimal
    wallet: Decimal
    unrealized: Decimal
    equity: Decimal
    available: Decimal
    realized_total: Decimal
    commission_total: Decimal
    positions: tuple[Position, ...]
    open_orders: tuple[Order, ...]
    open_algo_orders: tuple[AlgoOrder, ...]
    fills: int


def account_report(ledger: Ledger, account: Account) -> AccountReport:
    total = account_margin(ledger, account)
    trades = list(ledger.trades_of(account.name))
    starting = next((a.starting_balance for a in ledger.config.accounts if a.name == account.name), ZERO)
    return AccountReport(
        name=account.name,
        starting_balance=starting,
        wallet=account.wallet,
        unrealized=total.unrealized,
        equity=total.equity,
        available=total.available,
        realized_total=sum((t.realized_pnl for t in trades), ZERO),
        commission_total=sum((t.commission for t in trades), ZERO),
        positions=tuple(p for p in account.positions.values() if p.qty),
        open_orders=tuple(ledger.open_orders(account.name)),
        open_algo_orders=tuple(ledger.open_algo_orders(account.name)),
        fills=len(trades),
    )
