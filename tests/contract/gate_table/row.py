"""What a row of the gate's table says: a desk in some state, the orders it is asked for, what the account must show then.

Rows say nothing about how an answer comes about: whoever takes the orders, the venue's account judges. BTCUSDT trades
at 100,000, ETHUSDT at 4,000; the account has 14,000 USDT, the desk the NORMAL profile at leverage 10.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from breakwater.domain.orders import OrderRole, Side
from breakwater.domain.refusals import RefusalCode as Code

D = Decimal
EQUITY = D(14_000)
LONG, SHORT, FLAT = D("0.12"), D("-0.12"), D(0)


class State(enum.StrEnum):
    """What is the matter with the desk when the orders come."""

    OPEN = "nothing is the matter"
    STOP_REDUCE_ONLY = "the stop allows exits only"
    TRIPPED = "the stop has tripped"
    COOLING_DOWN = "the stop cools down"
    HALTED = "a person halted it"
    LEASE_EXPIRED = "the stop is silent"
    DISABLED_LIVE = "the stop is disabled in Live"
    POLICY_MISSING = "no policy is known"
    POLICY_STALE = "the policy is stale"
    POLICY_HOLD = "the policy is on hold"
    NOT_RECONCILED = "somebody else's position is on the account"
    MARK_MISSING = "the price is not known"
    EQUITY_MISSING = "the account's worth is not known"
    EQUITY_NEGATIVE = "equity is negative"
    SYMBOL_REMOVED = "the symbol left the policy"


CLOSED_BY = {
    State.STOP_REDUCE_ONLY: Code.STOP_REDUCE_ONLY,
    State.TRIPPED: Code.STOP_TRIPPED,
    State.COOLING_DOWN: Code.STOP_COOLING_DOWN,
    State.HALTED: Code.HALTED_BY_PERSON,
    State.LEASE_EXPIRED: Code.STOP_LEASE_EXPIRED,
    State.DISABLED_LIVE: Code.STOP_DISABLED_LIVE,
    State.POLICY_MISSING: Code.POLICY_MISSING,
    State.POLICY_STALE: Code.POLICY_STALE,
    State.POLICY_HOLD: Code.POLICY_ON_HOLD,
    State.NOT_RECONCILED: Code.NOT_RECONCILED,
    State.MARK_MISSING: Code.PRICE_UNKNOWN,
    State.EQUITY_MISSING: Code.EQUITY_UNKNOWN,
    State.EQUITY_NEGATIVE: Code.EQUITY_UNKNOWN,
    State.SYMBOL_REMOVED: Code.SYMBOL_EXITS_ONLY,
}
"""The code that an order which opens is refused with."""

PEER_KNOWS = frozenset(
    {
        State.OPEN,
        State.STOP_REDUCE_ONLY,
        State.TRIPPED,
        State.COOLING_DOWN,
        State.HALTED,
        State.MARK_MISSING,
        State.EQUITY_MISSING,
    }
)
"""States that a risk engine with ACTIVE, REDUCING and HALTED, an account and quotes can be told of."""


class Before(enum.StrEnum):
    """What else is on the account, or on the way."""

    NOTHING = ""
    ETH_RESTING = "an entry of 18,000 USDT rests in ETHUSDT"
    ETH_POSITION = "a position of 18,000 USDT is open in ETHUSDT"
    BTC_RESTING = "an entry rests in BTCUSDT"
    REPLY_LOST = "the reply to the first order is lost"


@dataclass(frozen=True)
class Ask:
    """One order. ``changes`` replace fields of a sane one; ``valid_s``: seconds until its signal expires."""

    role: OrderRole
    side: Side
    quantity: Decimal
    changes: dict[str, Any] = field(default_factory=dict)
    valid_s: int = 60
    same_id: bool = False
    """Carries the id of the order before it."""


@dataclass(frozen=True)
class Row:
    """``position`` is where the BTCUSDT position may end, lowest and highest; ``resting`` how many entries may rest."""

    name: str
    asks: tuple[Ask, ...]
    position: tuple[Decimal, Decimal]
    why: str
    state: State = State.OPEN
    held: Decimal = FLAT
    before: Before = Before.NOTHING
    limits: dict[str, Any] = field(default_factory=dict)
    codes: tuple[Code | None, ...] = (None,)
    """What our gate may answer to the last order; None: it was sent."""
    resting: int = 0
    gap_s: float = 0.0
    """Between orders; 0: the next is asked for while the one before is on the wire (exits) or right after it (entries)."""
    equity: Decimal = EQUITY
    peer_knows: bool = True
    """Whether the row is about something that the peer's risk engine has a notion of."""

    def judge(self, position: Decimal, resting: int) -> str:
        """What is wrong with the account afterwards; empty when it is as it must be."""
        low, high = self.position
        if not low <= position <= high:
            return f"position {position}, may be {low} to {high}"
        return f"{resting} entries rest, may be {self.resting}" if resting > self.resting else ""
