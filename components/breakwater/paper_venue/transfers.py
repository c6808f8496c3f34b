"""Capital moved between the futures wallet and elsewhere."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue import events
from breakwater.paper_venue.fills import add_income
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.margin import account_margin
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.money import ZERO, plain
from breakwater.paper_venue.orders import Emit


def transfer(ledger: Ledger, emit: Emit, name: str, amount: Decimal, now: Now) -> None:
    """Move `amount` USDT into the account, or out when negative. Raises ValueError for more than is available."""
    account = ledger.account(name)
    if not amount.is_finite() or not amount:
        raise ValueError(f"cannot transfer {amount} USDT: give a positive amount in, a negative amount out")
    available = account_margin(ledger, account).available
    if -amount > available:
        raise ValueError(f"cannot transfer {plain(-amount)} USDT out of {name}: {plain(available)} is available")
    account.wallet += amount
    account.update_time = now.market_ms
    add_income(ledger, account, "", "TRANSFER", amount, now.market_ms)
    ledger.touch_account(account)
    reason = "DEPOSIT" if amount > ZERO else "WITHDRAW"
    emit(
        name,
        events.account_update(account, None, account.cross_wallet, ZERO, reason, now.market_ms, change=amount),
    )
