"""The listed trading rules (PRICE_FILTER, LOT_SIZE, ...), as pure checks that raise the exchange's codes."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.config import SymbolSpec
from breakwater.paper_venue.errors import VenueError, over_precision
from breakwater.paper_venue.money import is_multiple, plain


def check_price(spec: SymbolSpec, price: Decimal, name: str = "price") -> None:
    """PRICE_FILTER for a price or a trigger price."""
    if price <= 0:
        raise VenueError(-4001 if name == "price" else -4006, f"{name.capitalize()} less than or equal to zero.")
    if price > spec.max_price:
        raise VenueError(-4002, f"Price greater than max price {plain(spec.max_price)}.")
    if price < spec.min_price:
        raise VenueError(-4013, f"Price less than min price {plain(spec.min_price)}.")
    if not is_multiple(price, spec.tick_size):
        raise VenueError(-4014, f"Price not increased by tick size {plain(spec.tick_size)}.")


def check_percent_price(spec: SymbolSpec, side: str, price: Decimal, mark: Decimal) -> None:
    """PERCENT_PRICE: a buy not far above the mark, a sell not far below it."""
    highest = mark * spec.multiplier_up
    lowest = mark * spec.multiplier_down
    if side == "BUY" and price > highest:
        raise VenueError(-4016, f"Limit price can't be higher than {plain(highest.quantize(spec.tick_size))}.")
    if side == "SELL" and price < lowest:
        raise VenueError(-4024, f"Limit price can't be lower than {plain(lowest.quantize(spec.tick_size))}.")


def check_quantity(spec: SymbolSpec, qty: Decimal, *, market: bool) -> None:
    """LOT_SIZE, or MARKET_LOT_SIZE for market orders."""
    if qty <= 0:
        raise VenueError(-4003, "Quantity less than or equal to zero.")
    if not is_multiple(qty, spec.step_size):
        raise over_precision()
    if qty < spec.min_qty:
        raise VenueError(-4004, f"Quantity less than min quantity {plain(spec.min_qty)}.")
    largest = spec.market_max_qty if market else spec.max_qty
    if qty > largest:
        raise VenueError(-4005, f"Quantity greater than max quantity {plain(largest)}.")


def check_notional(spec: SymbolSpec, qty: Decimal, price: Decimal, *, reduce_only: bool) -> None:
    """MIN_NOTIONAL, from which reduce-only orders are exempt."""
    if not reduce_only and qty * price < spec.min_notional:
        raise VenueError(
            -4164,
            f"Order's notional must be no smaller than {plain(spec.min_notional)} (unless you choose reduce only).",
        )
