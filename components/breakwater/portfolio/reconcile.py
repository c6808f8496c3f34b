"""Compares the ledger with what the venue reports: positions exact, wallet to the cent."""

from __future__ import annotations

import enum

import msgspec

from breakwater.domain.ids import Symbol, TradeId
from breakwater.domain.ledger import Ledger
from breakwater.domain.money import CENT, ZERO, plain
from breakwater.runtime.events import AccountReported


class Agreement(enum.Enum):
    AGREED = enum.auto()
    AHEAD = enum.auto()
    """Fills published after the account was read are applied here: this report cannot tell."""
    DIFFERS = enum.auto()


class Comparison(msgspec.Struct, frozen=True):
    agreement: Agreement
    differences: tuple[str, ...] = ()
    """Each a sentence with both values."""


def compare(ledger: Ledger, report: AccountReported) -> Comparison:
    """Judge ``report``. Equal numbers agree whatever the order of events; only differing ones need an explanation.

    Fills after the report explain a difference of their own symbol and of the wallet, no other.
    """
    through = {Symbol(symbol): TradeId(trade) for symbol, trade in report.through_trade.items()}
    unknown = {symbol for symbol, trade in through.items() if not ledger.has_seen(symbol, trade)}
    differences = [f"trade {symbol} {through[symbol]} of the venue is not in the ledger" for symbol in sorted(unknown)]
    theirs = {held.symbol: held.quantity for held in report.positions if held.quantity}
    ours = {symbol: held.quantity for symbol, held in ledger.positions.items()}
    moved = {symbol for symbol in {*theirs, *ours} if ours.get(symbol, ZERO) != theirs.get(symbol, ZERO)}
    for symbol in sorted(moved):
        here, there = ours.get(symbol, ZERO), theirs.get(symbol, ZERO)
        differences.append(f"{symbol}: the ledger holds {plain(here)}, the venue {plain(there)}")
    adrift = report.wallet - ledger.wallet
    if not abs(adrift) < CENT:  # written so that NaN differs
        differences.append(f"wallet: the ledger has {plain(ledger.wallet)}, the venue {report.wallet}")
        if not (unknown or moved):
            differences.append(
                f"trades and positions agree, so {plain(adrift)} USDT came from a funding payment or a transfer that the "
                "venue's income list does not show yet"
            )
    if not differences:
        return Comparison(Agreement.AGREED)
    ahead = {
        symbol
        for symbol in {*through, *moved}
        if symbol not in unknown and ledger.last_trade(symbol) not in (None, through.get(symbol))
    }
    explained = bool(ahead) and not unknown and moved <= ahead
    return Comparison(Agreement.AHEAD if explained else Agreement.DIFFERS, tuple(differences))


def unusable(report: AccountReported) -> str:
    """Why ``report`` cannot be used; empty when it can."""
    if not report.wallet.is_finite():
        return f"wallet is {report.wallet}"
    for held in report.positions:
        if not (held.quantity.is_finite() and held.entry_price.is_finite()):
            return f"position {held.symbol}: quantity {held.quantity}, entry price {held.entry_price}"
        if held.quantity and held.entry_price <= ZERO:
            return f"position {held.symbol}: entry price {held.entry_price} must be positive"
    return ""
