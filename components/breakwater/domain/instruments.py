"""What the venue says about a symbol: grids, minima and leverage brackets."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol


class LeverageBracket(msgspec.Struct, frozen=True):
    """Up to ``notional_cap`` USDT of position notional, at most ``max_leverage`` is allowed."""

    notional_cap: Decimal
    max_leverage: int
    maintenance_margin_rate: Decimal
    """Fraction of notional, 0.004 means 0.4 %."""


class Instrument(msgspec.Struct, frozen=True):
    """The trading rules of one perpetual. Prices in quote units (USDT), quantities in base units."""

    symbol: Symbol
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    """Largest quantity of one LIMIT order."""
    max_market_quantity: Decimal
    """Largest quantity of one MARKET order (MARKET_LOT_SIZE): exits are cut into chunks of it."""
    min_notional: Decimal
    trading: bool = True
    """False while the venue halts the symbol: no entries then."""
    brackets: tuple[LeverageBracket, ...] = ()
    multiplier_up: Decimal | None = None
    """PERCENT_PRICE: no buy may be priced above this multiple of the mark; None when not known."""
    multiplier_down: Decimal | None = None
    """PERCENT_PRICE: no sale may be priced below this multiple of the mark; None when not known."""

    def bracket_for(self, notional: Decimal) -> LeverageBracket | None:
        """The bracket a position of ``notional`` USDT falls into; None when none reaches that far or none is known."""
        for bracket in self.brackets:  # the first of a handful nearly always: no bisection is faster
            if notional <= bracket.notional_cap:
                return bracket
        return None

    def leverage_cap(self, notional: Decimal) -> int:
        """Greatest leverage the venue allows for a position of ``notional`` USDT; 0 when its bracket is not known."""
        bracket = self.bracket_for(notional)
        return bracket.max_leverage if bracket else 0
