"""No limit, throttle, pace or state of the desk refuses an order that truly reduces a position."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.domain.gate import Approval, GateFacts, decide
from breakwater.domain.limits import Binding, Bound
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Side, TimeInForce
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal
from breakwater.domain.stop_state import StopState

D = Decimal
Facts = Callable[..., GateFacts]
Order = Callable[..., Proposal]

_SHAPES = [
    (OrderRole.EXIT, OrderType.MARKET, None),
    (OrderRole.EXIT, OrderType.LIMIT, TimeInForce.IOC),
    (OrderRole.STOP, OrderType.STOP_MARKET, None),
    (OrderRole.TARGET, OrderType.LIMIT, TimeInForce.GTC),
]

desks = st.fixed_dictionaries(
    {
        "repeated": st.integers(0, 1000),
        "gross_notional": st.decimals(D(0), D(10_000_000), places=2),
        "in_flight_notional": st.decimals(D(0), D(10_000_000), places=2),
        "in_flight_quantity": st.decimals(D(0), D(100), places=3),
        "mark": st.none() | st.decimals(D("0.1"), D(10_000_000), places=1),
        "equity": st.none() | st.decimals(D(-50_000), D(50_000), places=2),
        "mode": st.none() | st.sampled_from(TradingMode),
        "symbols": st.sampled_from([frozenset(), frozenset({"BTCUSDT"})]),
        "open_symbols": st.sampled_from([frozenset(), frozenset(f"S{n}" for n in range(60))]),
        "marks_missing": st.sampled_from([frozenset(), frozenset({"BTCUSDT", "ETHUSDT"})]),
        "policy_stale": st.booleans(),
        "venue_trouble": st.sampled_from(["", "the API key can withdraw money"]),
        "venue_ban": st.sampled_from(["", "the venue shut this address out"]),
        "policy_hold": st.sampled_from(["", "two stops"]),
        "reconciled": st.booleans(),
        "halted_by_person": st.booleans(),
        "stop_lease_fresh": st.booleans(),
        "unresolved": st.booleans(),
        "already_executed": st.booleans(),
        "passive_breach": st.sampled_from(["", "exposure 900 %"]),
        "stop__state": st.sampled_from(StopState),
        "stop__reduce_only": st.booleans(),
    }
)
TIGHT = [
    "price_collar_pct", "max_order_notional_usd", "max_repeated_orders", "max_exposure_pct", "max_concurrent_positions",
    "max_position_margin_usd", "max_leverage", "max_risk_per_trade_pct", "max_risk_per_position_pct",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    desk=desks,
    shape=st.sampled_from(_SHAPES),
    held=st.decimals(D("0.001"), D(50), places=3),
    share=st.decimals(D("0.001"), D(1), places=3),
    long=st.booleans(),
    price=st.decimals(D("0.1"), D(10_000_000), places=1),
    limits=st.sampled_from(["known", "none", "tight"]),
    rules=st.sampled_from(["known", "none", "halted"]),
    known=st.booleans(),
    recent_ms=st.none() | st.integers(0, 499),
)
def test_exit_within_the_position_always_passes(
    facts: Facts,
    reduction: Order,
    desk: dict[str, Any],
    shape: tuple[OrderRole, OrderType, TimeInForce | None],
    held: Decimal,
    share: Decimal,
    long: bool,
    price: Decimal,
    limits: str,
    rules: str,
    known: bool,
    recent_ms: int | None,
) -> None:
    base = facts(**desk)
    assert base.limits is not None
    assert base.instrument is not None
    changes: dict[str, Any] = {"position": (held if long else -held) if known else None}
    if recent_ms is not None:
        changes["last_entry_at"] = base.now - timedelta(milliseconds=recent_ms)
    if limits == "none":
        changes["limits"] = None
    elif limits == "tight":
        zero = {name: Bound(type(getattr(base.limits, name).value)(0), 0, Binding.OVERRIDE) for name in TIGHT}
        changes["limits"] = msgspec.structs.replace(base.limits, **zero)
    if rules == "none":
        changes["instrument"] = None
    elif rules == "halted":
        changes["instrument"] = msgspec.structs.replace(base.instrument, trading=False)
    role, kind, force = shape
    order = reduction(
        role=role,
        order_type=kind,
        time_in_force=force,
        side=Side.SELL if long else Side.BUY,
        quantity=held * share,
        price=price if kind is OrderType.LIMIT else None,
        trigger_price=price if kind is OrderType.STOP_MARKET else None,
    )
    verdict = decide(order, msgspec.structs.replace(base, **changes))
    assert isinstance(verdict, Approval), verdict.text if isinstance(verdict, Refusal) else verdict
