"""One line of plain text for each event worth a person's eye. Marks, candles, leases, heartbeats and snapshots are not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from breakwater.domain.money import plain, to_cents
from breakwater.domain.movements import MovementKind
from breakwater.runtime import events as e

Line = tuple[str, str, str]
"""(kind, level, text)"""


def line_for(payload: e.Payload) -> Line | None:
    """Kind, level and text of an event, or None if it is not shown."""
    describe = _LINES.get(type(payload))
    return describe(payload) if describe else None


def _signal(p: e.SignalGenerated) -> Line:
    s = p.signal
    fallback = ", fallback" if s.provenance.fallback else ""
    text = f"{s.symbol} {s.direction} with confidence {plain(s.confidence)} from {s.provenance.source} ({s.provenance.data}{fallback})"
    return "signal", "info", text


def _proposed(p: e.OrderProposed) -> Line:
    o = p.proposal
    bound = f", size bound by {o.bound_by}" if o.bound_by else ""
    return "proposal", "info", f"{o.symbol} {o.side} {plain(o.quantity)}{_at(o.price)}{bound}"


def _refused(p: e.OrderRefused) -> Line:
    return "refused", "warn", f"{p.symbol} {p.role} by {p.by}: {p.refusal.code}: {p.refusal.text}"


def _throttled(p: e.ThrottleClosed) -> Line:
    how = f"{p.repeats} identical entries in a row" if p.limit else "execution counted too many identical entries"
    return "refused", "bad", f"{p.symbol} closed to entries: {how}; a person has to look: breakwater throttle show"


def _enabled(p: e.ThrottleEnabled) -> Line:
    return "proposal", "good", f"{p.symbol} open to entries again, by {p.who}: {p.reason}"


def _submitted(p: e.OrderSubmitted) -> Line:
    trigger = f" trigger {plain(p.trigger_price)}" if p.trigger_price is not None else ""
    return (
        "order",
        "info",
        f"{p.symbol} {p.role} {p.side} {plain(p.quantity)} {p.order_type}{_at(p.price)}{trigger} accepted",
    )


def _filled(p: e.OrderFilled) -> Line:
    booked = f", realised {_signed(p.venue_realised_pnl)}" if p.venue_realised_pnl else ""
    level = "bad" if p.liquidation else "good"
    kind = f"{p.forced_by or 'LIQUIDATION'} " if p.liquidation else ""
    text = f"{kind}{p.symbol} {p.role} {p.side} {plain(p.quantity)} at {plain(p.price)}{booked}, fee {plain(to_cents(p.commission))}"
    return "fill", level, text


def _moved(p: e.AccountMoved) -> Line:
    m = p.movement
    where = f" {m.symbol}" if m.symbol else ""
    level = "warn" if m.kind is MovementKind.OTHER else "info"
    return "account", level, f"{m.kind.value}{where} {_signed(m.amount)} {m.asset}"


def _failed(p: e.OrderFailed) -> Line:
    counts = " (counts towards the stop)" if p.counts_as_error else ""
    return "failed", "bad", f"{p.symbol} {p.role} {p.status}: {p.code}: {p.text}{counts}"


def _tripped(p: e.StopTripped) -> Line:
    trip = p.trip
    if trip is None or trip.measured is None or trip.limit is None:
        return "stop", "bad", f"TRIPPED by {p.who}: {p.reason}"
    return "stop", "bad", f"TRIPPED by {trip.trigger}: {plain(trip.measured)} against {plain(trip.limit)}: {p.reason}"


def _cooling(p: e.StopCoolingDown) -> Line:
    return "stop", "warn", f"COOLING_DOWN: {p.reason}"


def _rearmed(p: e.StopRearmed) -> Line:
    return "stop", "good", f"{p.state} again by {p.who}: {p.reason}"


def _answered(p: e.StopRequestAnswered) -> Line:
    o = p.outcome
    verdict = "accepted" if o.accepted else f"refused: {o.code}"
    return "stop", "info" if o.accepted else "warn", f"{o.kind} asked by {p.who} {verdict}: {o.text}"


def _baseline(p: e.BaselineReset) -> Line:
    return "stop", "warn", f"the day's drawdown is measured from {plain(to_cents(p.equity))} USDT on, by {p.who}"


def _flat(p: e.FlatConfirmed) -> Line:
    return (
        "account",
        "good",
        f"after {p.trip_id} the venue confirms {p.positions} positions, {p.open_orders + p.open_algo_orders} open orders",
    )


def _policy(p: e.PolicyUpdated) -> Line:
    changes = "; ".join(p.changes) or "no change of a limit"
    return "policy", "info", f"version {p.version} in force, by {p.who}: {changes}"


def _health(p: e.HealthUpdated) -> Line:
    unwell = ", ".join(f"{name} {status}" for name, status in sorted(p.components.items()) if status != "ok")
    return "health", "good" if p.status == "ok" else "warn", f"{p.status}" + (f": {unwell}" if unwell else "")


def _at(price: Decimal | None) -> str:
    return "" if price is None else f" at {plain(price)}"


def _signed(amount: Decimal) -> str:
    return f"{'+' if amount > 0 else ''}{plain(to_cents(amount))}"


_LINES: dict[type[e.Payload], Callable[[Any], Line]] = {
    e.SignalGenerated: _signal,
    e.OrderProposed: _proposed,
    e.OrderRefused: _refused,
    e.ThrottleClosed: _throttled,
    e.ThrottleEnabled: _enabled,
    e.OrderSubmitted: _submitted,
    e.OrderFilled: _filled,
    e.OrderFailed: _failed,
    e.StopTripped: _tripped,
    e.StopCoolingDown: _cooling,
    e.StopRearmed: _rearmed,
    e.StopRequestAnswered: _answered,
    e.BaselineReset: _baseline,
    e.FlatConfirmed: _flat,
    e.AccountMoved: _moved,
    e.PolicyUpdated: _policy,
    e.HealthUpdated: _health,
}
