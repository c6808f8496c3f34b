"""Wallet movements: what changes the wallet and is no fill. Funding, transfers, clearing, rebates; amounts in the asset named."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal, localcontext

import msgspec

from breakwater.domain.ids import Symbol, TranId
from breakwater.domain.money import ZERO, plain
from breakwater.domain.positions import EXACT

SETTLEMENT_ASSET = "USDT"
"""What the ledger counts; movements of another asset change another wallet."""
_GRAIN = Decimal(1).scaleb(-24)


class MovementKind(enum.StrEnum):
    """What a movement means for the desk's result."""

    FUNDING = "FUNDING"
    """Paid or received for holding a position: PnL."""
    TRANSFER = "TRANSFER"
    """Capital moved in or out: no PnL."""
    INSURANCE_CLEAR = "INSURANCE_CLEAR"
    """Charged or covered when a position was liquidated: PnL."""
    REBATE = "REBATE"
    """Fees given back: PnL."""
    OTHER = "OTHER"
    """Anything else, gifts included. Judged strictly: what it takes is a loss, what it gives is capital and no gain."""


class Movement(msgspec.Struct, frozen=True):
    """One movement; ``amount`` is positive when the wallet grows. ``(venue_type, tran_id, asset)`` makes it unique."""

    tran_id: TranId
    venue_type: str
    """The venue's own word for the kind."""
    kind: MovementKind
    amount: Decimal
    time: datetime
    symbol: Symbol | None = None
    asset: str = SETTLEMENT_ASSET

    @property
    def key(self) -> tuple[str, TranId, str]:
        return self.venue_type, self.tran_id, self.asset

    @property
    def capital(self) -> bool:
        """Whether it is money of the ledger's and no PnL: the day's baseline moves with it."""
        if self.asset != SETTLEMENT_ASSET:
            return False
        return self.kind is MovementKind.TRANSFER or (self.kind is MovementKind.OTHER and self.amount > ZERO)


def check(movement: Movement) -> None:
    """Raises ValueError naming the field that cannot be."""
    name = f"{movement.venue_type} {movement.tran_id}"
    if not movement.amount.is_finite():
        raise ValueError(f"wallet movement {name}: amount is {movement.amount}, not a number")
    if not movement.tran_id:
        raise ValueError(f"wallet movement {movement.venue_type} of {movement.time}: the id is missing")


def baseline_after(baseline: Decimal, equity: Decimal, amount: Decimal) -> Decimal:
    """The baseline once ``amount`` of capital came in (or left, negative): the day's drawdown in percent stays what it was.

    Adding ``amount`` would do so only without a loss: a deposit would shrink the percentage of a loss already made, a
    withdrawal raise it until the stop trips. ``equity`` is that before the transfer. Without baseline or equity to take a
    share of, the amount is added; a baseline is never negative.
    """
    with localcontext(EXACT):
        after = equity + amount
        if baseline > ZERO and equity > ZERO and after > ZERO:
            return Decimal(plain((baseline * after / equity).quantize(_GRAIN)))
        return max(baseline + amount, ZERO) if after > ZERO else ZERO
