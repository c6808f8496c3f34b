"""How much of each limit a desk uses, from the same snapshot and limits that the gate and the emergency stop judge by."""

from __future__ import annotations

from decimal import Decimal

from breakwater.dashboard.view import RiskBar
from breakwater.domain.limits import Bound, EffectiveLimits
from breakwater.domain.money import HUNDRED, ZERO, percent_of
from breakwater.domain.snapshot import Snapshot

NEAR_PCT = Decimal(70)


def risk_bars(snapshot: Snapshot | None, limits: EffectiveLimits | None) -> tuple[RiskBar, ...]:
    """One bar per limit that a snapshot says something about; empty while either is unknown."""
    if snapshot is None or limits is None:
        return ()
    margin, leverage, loss = ZERO, 0, ZERO
    for position in snapshot.positions:
        margin = max(margin, position.notional / position.leverage)
        leverage = max(leverage, position.leverage)
    if snapshot.equity > ZERO:
        loss = max(
            (percent_of(max(ZERO, -p.unrealised_pnl), snapshot.equity) for p in snapshot.positions), default=ZERO
        )
    return (
        _bar("maxDailyDrawdownPct", "Day's drawdown", snapshot.daily_drawdown_pct, limits.max_daily_drawdown_pct, "%"),
        _bar("maxOpenLossPct", "Open loss", snapshot.open_loss_pct, limits.max_open_loss_pct, "%"),
        _bar("maxExposurePct", "Exposure", snapshot.exposure_pct, limits.max_exposure_pct, "%"),
        _bar(
            "maxConcurrentPositions", "Positions", Decimal(len(snapshot.positions)), limits.max_concurrent_positions, ""
        ),
        _bar("maxPositionMarginUSD", "Largest margin", margin, limits.max_position_margin_usd, "USD"),
        _bar("maxRiskPerTradePct", "Largest open loss of one position", loss, limits.max_risk_per_trade_pct, "%"),
        _bar("maxLeverage", "Highest leverage", Decimal(leverage), limits.max_leverage, "x"),
    )


def _bar(name: str, label: str, used: Decimal, bound: Bound[Decimal] | Bound[int], unit: str) -> RiskBar:
    limit = Decimal(bound.value)
    share = used / limit * HUNDRED if limit > ZERO else HUNDRED
    level = "over" if share >= HUNDRED else "near" if share >= NEAR_PCT else "ok"
    # A count or leverage at its limit is full, not breached: the gate admits exactly that much.
    if level == "over" and share == HUNDRED and unit in {"", "x", "USD"}:
        level = "near"
    return RiskBar(name, label, used, limit, unit, share, level, bound.binding.value)
