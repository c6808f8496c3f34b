"""From what was heard to what is shown: builds the one `DeskStatus` that the page and ``breakwater status`` read."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from breakwater.dashboard.risk_bars import risk_bars
from breakwater.dashboard.state import Beat, DeskState
from breakwater.dashboard.stop_panel import stop_panel
from breakwater.dashboard.view import (
    AccountView,
    ComponentRow,
    DeskFacts,
    DeskStatus,
    Freshness,
    GateView,
    LimitRow,
    MarketView,
    MarkRow,
    PolicyView,
    PositionRow,
    StopPanel,
)
from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId
from breakwater.domain.money import HUNDRED, ONE, ZERO, percent_of
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.snapshot import PositionView
from breakwater.domain.stop_state import StopState
from breakwater.runtime.policy_store import PolicyInForce

STALE_AFTER_SECONDS = 3.0
SILENT_AFTER_SECONDS = 5.0


def build_status(
    state: DeskState,
    *,
    desk: DeskId,
    facts: DeskFacts,
    data: str,
    policy: PolicyInForce | None,
    market_now: datetime,
    now: float,
    gate: tuple[GateState, Refusal | None] | None = None,
    dead_letters: int = 0,
) -> DeskStatus:
    """Everything the desk says about itself at infrastructure time ``now``; ``gate`` is execution's own word on its gate."""
    stop = _stop(state, facts, policy, market_now, now)
    snapshot = state.snapshot
    trip_equity = None
    if snapshot is not None and policy is not None:
        trip_equity = snapshot.baseline * (ONE - policy.limits.max_daily_drawdown_pct.value / HUNDRED)
    return DeskStatus(
        desk=desk,
        build=facts.build,
        started_at=facts.started_at,
        market_time=market_now,
        mode=policy.policy.trading_mode.value if policy else None,
        market=MarketView(facts.market, data, facts.speed),
        stop=stop,
        gate=_told(*gate) if gate else _gate(state, stop, policy, now),
        snapshot=snapshot,
        risk=risk_bars(snapshot, policy.limits if policy else None),
        trip_equity=trip_equity,
        positions=tuple(_position(p, state) for p in (snapshot.positions if snapshot else ())),
        orders=tuple(reversed(state.orders.values())),
        fills=tuple(reversed(state.fills)),
        account=_account(state),
        refusals=tuple(sorted(state.refusals.values(), key=lambda row: (-row.count, row.code))),
        counts={**state.counts, "dead_letters": dead_letters},
        policy=_policy(policy),
        components=tuple(_component(name, beat, state, now) for name, beat in sorted(state.beats.items())),
        health=state.health.status if state.health else None,
        marks=tuple(MarkRow(m.symbol, m.price, m.time) for m in sorted(state.marks.values(), key=lambda m: m.symbol)),
        freshness=_freshness(state, now),
    )


def _age(then: float | None, now: float) -> float | None:
    return None if then is None else round(max(0.0, now - then), 3)


def _freshness(state: DeskState, now: float) -> Freshness:
    age = _age(state.mark_at, now)
    return Freshness(
        marks_received=state.marks_received,
        last_mark_age_seconds=age,
        last_mark_time=max((mark.time for mark in state.marks.values()), default=None),
        snapshot_age_seconds=_age(state.snapshot_at, now),
        stop_age_seconds=_age(state.stop_at, now),
        stale=age is None or age > STALE_AFTER_SECONDS,
    )


def _stop(
    state: DeskState, facts: DeskFacts, policy: PolicyInForce | None, market_now: datetime, now: float
) -> StopPanel:
    age = _age(state.stop_at, now)
    fresh = state.stop is not None and age is not None and age <= float(state.stop.lease_seconds)
    day_start = timedelta(minutes=policy.policy.day.start_minute if policy else 0)
    return stop_panel(
        state.stop,
        lease_fresh=fresh,
        snapshot=state.snapshot,
        facts=facts,
        market_now=market_now,
        day_start=day_start,
        account_seen_at=state.account.time if state.account else None,
    )


def _told(state: GateState, why: Refusal | None) -> GateView:
    return GateView(state.value, why.code.value if why else "", why.text if why else "", "execution")


def _gate(state: DeskState, stop: StopPanel, policy: PolicyInForce | None, now: float) -> GateView:
    """What follows from the stop, the policy and execution's heartbeat: open only if all of them let it be."""
    code = _closed_code(stop, policy)
    if code:
        reasons = {
            "POLICY_MISSING": "no policy is known",
            "POLICY_STALE": "the policy is not confirmed, or another copy of it differs",
            "POLICY_ON_HOLD": f"the trading policy is on hold: {policy.hold}" if policy else "",
        }
        return GateView("REDUCE_ONLY", code, reasons.get(code, stop.reason), "derived")
    beat = state.beats.get("execution")
    if beat is None or now - beat.heard_at > SILENT_AFTER_SECONDS:
        return GateView("UNKNOWN", "", "execution was not heard for 5 s", "derived")
    if not beat.heartbeat.checks.get("account", True):
        reason = beat.heartbeat.detail.get("account", "the account was not compared with the venue yet")
        return GateView("REDUCE_ONLY", RefusalCode.NOT_RECONCILED.value, reason, "derived")
    return GateView("OPEN", "", "", "derived")


def _closed_code(stop: StopPanel, policy: PolicyInForce | None) -> str:
    if stop.state == "UNKNOWN":
        return "STOP_UNKNOWN"
    if not stop.lease_fresh:
        return "STOP_LEASE_EXPIRED"
    if stop.state == StopState.TRIPPED:
        return "STOP_TRIPPED"
    if stop.state == StopState.COOLING_DOWN:
        return "STOP_COOLING_DOWN"
    if stop.reduce_only:
        return "STOP_REDUCE_ONLY"
    if policy is None:
        return "POLICY_MISSING"
    if policy.stale:
        return "POLICY_STALE"
    return "POLICY_ON_HOLD" if policy.hold else ""


def _position(position: PositionView, state: DeskState) -> PositionRow:
    cost = abs(position.quantity) * position.entry_price
    return PositionRow(
        symbol=position.symbol,
        side="LONG" if position.quantity > ZERO else "SHORT",
        quantity=abs(position.quantity),
        entry_price=position.entry_price,
        mark_price=position.mark_price,
        unrealised_pnl=position.unrealised_pnl,
        pnl_pct=percent_of(position.unrealised_pnl, cost) if cost > ZERO else None,
        notional=position.notional,
        leverage=position.leverage,
        opened_at=position.opened_at,
        stop_price=state.protective.get(position.symbol),
    )


def _account(state: DeskState) -> AccountView | None:
    a = state.account
    if a is None:
        return None
    return AccountView(a.time, a.wallet, a.open_orders, a.open_algo_orders, a.unknown_orders, a.foreign)


def _policy(policy: PolicyInForce | None) -> PolicyView | None:
    if policy is None:
        return None
    return PolicyView(
        version=policy.version,
        profile=policy.policy.profile.value,
        symbols=policy.policy.symbols,
        stale=policy.stale,
        hold=policy.hold,
        limits=tuple(
            LimitRow(name, Decimal(bound.value), Decimal(bound.requested), bound.binding.value)
            for name, bound in policy.limits.items()
        ),
    )


def _component(name: str, beat: Beat, state: DeskState, now: float) -> ComponentRow:
    age = now - beat.heard_at
    failing = tuple(sorted(check for check, ok in beat.heartbeat.checks.items() if not ok))
    status = "silent" if age > SILENT_AFTER_SECONDS else "degraded" if failing else "ok"
    verdict = state.health.components.get(name, "") if state.health else ""
    return ComponentRow(
        name, status, round(age, 1), beat.heartbeat.progress, failing, dict(beat.heartbeat.detail), verdict
    )
