"""From events to the status: what is unknown is said to be unknown, and nothing looks better than it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater.dashboard.state import MOST_EVENTS, MOST_ORDERS, DeskState
from breakwater.dashboard.status import build_status
from breakwater.dashboard.view import DeskStatus, encode
from breakwater.domain.gate import GateState
from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, Symbol, TradeId, TripId, VenueOrderId
from breakwater.domain.orders import OrderRole, OrderStatus, OrderType, Side
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.stop_state import StopState, Trigger
from breakwater.runtime import events as e


def built(state: DeskState, make: Any, *, now: float = 100.0, policy: Any = "in force", gate: Any = None) -> DeskStatus:
    in_force = make.policy if policy == "in force" else policy
    return build_status(
        state,
        desk=DeskId("main"),
        facts=make.facts,
        data="SYNTHETIC",
        policy=in_force,
        market_now=make.noon,
        now=now,
        gate=gate,
    )


def test_status_before_anything_was_heard_is_all_unknown(make: Any) -> None:
    found = built(DeskState(), make, policy=None)
    assert (found.mode, found.snapshot, found.health, found.policy, found.trip_equity) == (None,) * 5
    assert found.stop.state == "UNKNOWN"
    assert (found.gate.state, found.gate.code) == ("REDUCE_ONLY", "STOP_UNKNOWN")
    assert found.freshness.stale
    assert found.freshness.last_mark_age_seconds is None
    json.loads(encode(found))


def test_gate_with_an_armed_stop_and_execution_heard_is_open_until_the_lease_ends(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("emergency_stop", e.StopLease(make.view())), 100.0)
    assert built(state, make).gate.state == "UNKNOWN"
    state.apply(make.event("execution", make.heartbeat("execution")), 100.0)
    assert built(state, make, now=101.0).gate.state == "OPEN"
    expired = built(state, make, now=101.01)
    assert (expired.gate.state, expired.gate.code) == ("REDUCE_ONLY", "STOP_LEASE_EXPIRED")
    assert not expired.stop.lease_fresh


def test_gate_as_execution_itself_says_wins_over_what_is_derived(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("emergency_stop", e.StopLease(make.view())), 100.0)
    state.apply(make.event("execution", make.heartbeat("execution")), 100.0)
    why = Refusal(RefusalCode.PASSIVE_BREACH, "exposure is 201 %")
    gate = built(state, make, gate=(GateState.REDUCE_ONLY, why)).gate
    assert (gate.state, gate.code, gate.reason) == ("REDUCE_ONLY", "PASSIVE_BREACH", "exposure is 201 %")
    assert gate.told_by == "execution"


def test_gate_when_execution_has_not_compared_the_account_is_not_shown_open(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("emergency_stop", e.StopLease(make.view())), 100.0)
    beat = make.heartbeat("execution", checks={"account": False}, account="a foreign position in XRPUSDT")
    state.apply(make.event("execution", beat), 100.0)
    gate = built(state, make).gate
    assert (gate.state, gate.code, gate.reason) == ("REDUCE_ONLY", "NOT_RECONCILED", "a foreign position in XRPUSDT")


@pytest.mark.parametrize(
    ("in_force", "code"), [(None, "POLICY_MISSING"), ("stale", "POLICY_STALE"), ("hold", "POLICY_ON_HOLD")]
)
def test_gate_without_a_fresh_policy_is_closed(make: Any, in_force: str | None, code: str) -> None:
    import msgspec

    state = DeskState()
    state.apply(make.event("emergency_stop", e.StopLease(make.view())), 100.0)
    state.apply(make.event("execution", make.heartbeat("execution")), 100.0)
    changed: dict[str, dict[str, Any]] = {"stale": {"stale": True}, "hold": {"hold": "no EmergencyStop"}}
    policy = msgspec.structs.replace(make.policy, **changed[in_force]) if in_force else None
    found = built(state, make, policy=policy)
    assert found.gate.code == code
    assert found.gate.reason


def test_marks_older_than_three_seconds_are_stale(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("market_data", e.MarkPrice(Symbol("BTCUSDT"), Decimal(1), make.noon)), 100.0)
    assert not built(state, make, now=103.0).freshness.stale
    assert built(state, make, now=103.1).freshness.stale


def test_an_older_snapshot_or_stop_view_never_replaces_a_newer_one(make: Any) -> None:
    state = DeskState()
    newer, older = make.snapshot(time=make.noon), make.snapshot(time=make.noon - timedelta(seconds=1), equity="1")
    tripped, before = make.view(StopState.TRIPPED, epoch=2, trip=make.trip()), make.view(epoch=1)
    for payload in (e.PortfolioUpdated(newer), e.PortfolioUpdated(older), e.StopLease(tripped), e.StopLease(before)):
        state.apply(make.event("any", payload), 100.0)
    assert state.snapshot == newer
    assert state.stop == tripped


def test_positions_and_risk_follow_the_snapshot_with_the_limits_in_force(make: Any) -> None:
    state = DeskState()
    long, short = make.position(), make.position("ETHUSDT", "-2", "4000", "4100")
    state.apply(make.event("portfolio", e.PortfolioUpdated(make.snapshot(long, short, equity="13600"))), 100.0)
    found = built(state, make)
    assert [(p.symbol, p.side, p.quantity) for p in found.positions] == [
        ("BTCUSDT", "LONG", Decimal("0.1")),
        ("ETHUSDT", "SHORT", Decimal(2)),
    ]
    assert found.positions[1].pnl_pct == Decimal("-2.5")
    assert found.trip_equity == Decimal(13300)
    bars = {bar.name: bar for bar in found.risk}
    assert bars["maxConcurrentPositions"].used == 2
    assert bars["maxDailyDrawdownPct"].limit == 5
    assert bars["maxPositionMarginUSD"].used == Decimal(990)


@pytest.mark.parametrize(
    ("equity", "level"), [("13600", "ok"), ("13510", "near"), ("13300", "over"), ("13299", "over")]
)
def test_drawdown_bar_turns_near_at_70_pct_and_over_at_the_limit(make: Any, equity: str, level: str) -> None:
    state = DeskState()
    state.apply(make.event("portfolio", e.PortfolioUpdated(make.snapshot(equity=equity))), 100.0)
    assert next(bar.level for bar in built(state, make).risk if bar.name == "maxDailyDrawdownPct") == level


def submitted(number: int, role: OrderRole = OrderRole.ENTRY, trigger: Decimal | None = None) -> e.OrderSubmitted:
    return e.OrderSubmitted(
        ClientOrderId(f"c{number}"),
        VenueOrderId(f"v{number}"),
        ProposalId(f"p{number}"),
        Symbol("BTCUSDT"),
        role,
        Side.BUY,
        OrderType.LIMIT,
        Decimal(2),
        Decimal(10),
        trigger,
        False,
    )


def filled(number: int, quantity: int, trade: int) -> e.OrderFilled:
    return e.OrderFilled(
        TradeId(f"t{trade}"),
        ClientOrderId(f"c{number}"),
        VenueOrderId(f"v{number}"),
        Symbol("BTCUSDT"),
        OrderRole.ENTRY,
        Side.BUY,
        Decimal(quantity),
        Decimal(10),
        Decimal("0.1"),
        Decimal(0),
        datetime(2025, 1, 1, tzinfo=UTC),
    )


def test_orders_go_from_new_over_partial_to_filled_or_failed(make: Any) -> None:
    state = DeskState()
    seen = []
    failed = e.OrderFailed(
        ClientOrderId("c2"), ProposalId("p2"), Symbol("BTCUSDT"), OrderRole.ENTRY, OrderStatus.EXPIRED, "X", "why", True
    )
    for payload in (submitted(1), filled(1, 1, 1), filled(1, 1, 2), submitted(2), failed):
        state.apply(make.event("execution", payload), 100.0)
        seen.append(built(state, make).orders[0].status)
    assert seen == ["NEW", "PARTIALLY_FILLED", "FILLED", "NEW", "EXPIRED"]
    assert built(state, make).orders[0].text == "X: why"


def test_order_that_the_venue_no_longer_has_is_not_shown_as_resting(make: Any) -> None:
    state = DeskState()
    for number in (1, 2):
        state.apply(make.event("execution", submitted(number)), 100.0)
    state.apply(make.event("execution", filled(2, 2, 1)), 100.0)

    def shown(time: datetime, algo_orders: int) -> list[str]:
        flat = e.FlatConfirmed(TripId("t1"), 2, time, 0, 0, algo_orders)
        state.apply(make.event("execution", flat), 100.0)
        return [order.status for order in built(state, make).orders]

    assert shown(make.noon - timedelta(seconds=1), 0) == ["FILLED", "NEW"], "a report of before the order says nothing"
    assert shown(make.noon + timedelta(seconds=1), 1) == ["FILLED", "NEW"], "one rests, and nobody knows which"
    assert shown(make.noon + timedelta(seconds=1), 0) == ["FILLED", "GONE"]


def test_protective_stop_is_shown_with_its_position(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("execution", submitted(1, OrderRole.STOP, Decimal(98000))), 100.0)
    state.apply(make.event("portfolio", e.PortfolioUpdated(make.snapshot(make.position()))), 100.0)
    assert built(state, make).positions[0].stop_price == Decimal(98000)


def test_refusals_are_counted_by_code_with_the_last_sentence(make: Any) -> None:
    state = DeskState()
    for code, text in (("EXPOSURE", "a"), ("MARGIN_MIN", "b"), ("EXPOSURE", "c")):
        refusal = Refusal(RefusalCode(code), text)
        state.apply(make.event("execution", e.OrderRefused("gate", Symbol("BTCUSDT"), OrderRole.ENTRY, refusal)), 100.0)
    assert [(r.code, r.count, r.last_text) for r in built(state, make).refusals] == [
        ("EXPOSURE", 2, "c"),
        ("MARGIN_MIN", 1, "b"),
    ]


def test_component_with_a_failing_check_is_degraded_and_without_a_heartbeat_silent(make: Any) -> None:
    state = DeskState()
    state.apply(make.event("portfolio", make.heartbeat("portfolio", checks={"bus": False, "tasks": True})), 100.0)
    degraded = built(state, make, now=105.0).components[0]
    assert (degraded.status, degraded.failing) == ("degraded", ("bus",))
    assert built(state, make, now=105.1).components[0].status == "silent"


def test_a_long_run_stays_bounded(make: Any) -> None:
    state = DeskState()
    for number in range(MOST_EVENTS * 3):
        state.apply(make.event("execution", submitted(number)), float(number))
        mark = e.MarkPrice(Symbol(f"S{number}USDT"), Decimal(1), make.noon)
        state.apply(make.event("market_data", mark), float(number))
    assert len(state.rows_since(0)) == MOST_EVENTS
    assert len(state.orders) == MOST_ORDERS
    assert len(state.marks) <= 200


@pytest.mark.parametrize("trigger", list(Trigger))
def test_tripped_stop_lists_needs_and_command_for_every_trigger(make: Any, trigger: Trigger) -> None:
    state = DeskState()
    view = make.view(
        StopState.COOLING_DOWN,
        trip=make.trip(trigger),
        flat_at=make.noon,
        cooling_down_until=make.noon + timedelta(minutes=15),
    )
    state.apply(make.event("emergency_stop", e.StopLease(view)), 100.0)
    stop = built(state, make).stop
    assert stop.remaining_seconds == 900
    assert [need.name for need in stop.needs] == ["flat", "cooldown", "reconciled", "cause", "request"]
    assert ("--new-baseline" in stop.reset_command) == (trigger is Trigger.DAILY_DRAWDOWN)
    assert '"tripID":"main-7"' in stop.kubectl_command


def test_drawdown_cause_is_gone_once_the_day_has_rolled(make: Any) -> None:
    state = DeskState()
    view = make.view(StopState.COOLING_DOWN, trip=make.trip(), flat_at=make.noon, cooling_down_until=make.noon)
    state.apply(make.event("emergency_stop", e.StopLease(view)), 100.0)
    state.apply(make.event("portfolio", e.PortfolioUpdated(make.snapshot(time=make.noon + timedelta(days=1)))), 100.0)
    stop = built(state, make).stop
    assert next(need.met for need in stop.needs if need.name == "cause")
    assert "--new-baseline" not in stop.reset_command


def test_trip_id_that_a_shell_would_read_is_not_put_into_a_command(make: Any) -> None:
    state = DeskState()
    view = make.view(StopState.TRIPPED, trip=make.trip(trip_id="x'; rm -rf ~; '"))
    state.apply(make.event("emergency_stop", e.StopLease(view)), 100.0)
    stop = built(state, make).stop
    assert stop.kubectl_command == ""
    assert "rm" not in stop.reset_command
