"""How long the exchange remembers an order: what ended without a fill goes after 3 days, everything after 90."""

from __future__ import annotations

from breakwater.paper_venue.model import AlgoOrder, Order

DAY_MS = 24 * 3600 * 1000
UNFILLED_MS = 3 * DAY_MS
ANY_MS = 90 * DAY_MS
_ENDED = ("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH")


def order_is_known(order: Order, market_ms: int) -> bool:
    """Whether queries still find a plain order, counted from its creation in market time."""
    gone_unfilled = order.status in _ENDED and not order.executed_qty
    return order.is_open or market_ms - order.time <= (UNFILLED_MS if gone_unfilled else ANY_MS)


def algo_is_known(algo: AlgoOrder, market_ms: int) -> bool:
    gone_unfilled = algo.status in _ENDED and not algo.actual_qty
    return algo.is_open or market_ms - algo.create_time <= (UNFILLED_MS if gone_unfilled else ANY_MS)
