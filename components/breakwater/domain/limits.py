"""The limits in force: where several sources speak about one limit, the tighter binds, and we say which one it was.

effective = min(stop's limit, override else profile, risk manager's cap). REQUIREMENTS R0 "Tighter binds", R2, R6.
"""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Generic, TypeVar

import msgspec

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.policy import PROFILE_LIMITS, PolicySpec, Profile, wire_name

RISK_MANAGER_MAX_LEVERAGE = 30
"""Holds unless the profile *and* ``limits.maxLeverage`` both say more: only then does every limit concerned say so."""

DEFAULT_MIN_POSITION_MARGIN_USD = Decimal(100)
DEFAULT_MAX_POSITION_MARGIN_USD = Decimal(2000)
DEFAULT_LEVERAGE = 10
DEFAULT_BASE_RISK_PER_TRADE_PCT = Decimal(10)
DEFAULT_MAX_RISK_PER_POSITION_PCT = Decimal(5)
DEFAULT_MAX_EXPOSURE_PCT = Decimal(200)
DEFAULT_MAX_CONCURRENT_POSITIONS = 20
DEFAULT_PRICE_COLLAR_PCT = Decimal("0.5")
DEFAULT_MAX_ORDER_NOTIONAL_USD = Decimal(60000)
DEFAULT_MAX_REPEATED_ORDERS = 10
DEFAULT_ENTRY_SPACING_MILLISECONDS = 500

N = TypeVar("N", int, Decimal)


class Binding(enum.StrEnum):
    """Which source the value in force came from."""

    PROFILE = "profile"
    OVERRIDE = "override"
    EMERGENCY_STOP = "emergencyStop"
    RISK_MANAGER = "riskManager"
    DEFAULT = "default"


class Bound(msgspec.Struct, Generic[N], frozen=True):
    """One limit in force: ``value`` is enforced, ``requested`` was asked for, ``binding`` is why they may differ."""

    value: N
    requested: N
    binding: Binding


class EffectiveLimits(msgspec.Struct, frozen=True, rename=wire_name):
    """Every limit in force, each with what was asked for. Units as in `LimitOverrides`."""

    min_position_margin_usd: Bound[Decimal]
    max_position_margin_usd: Bound[Decimal]
    max_leverage: Bound[int]
    leverage: Bound[int]
    """Used for sizing, before the venue's brackets and the liquidity rule lower it further."""
    base_risk_per_trade_pct: Bound[Decimal]
    """Margin allocated to a trade, before the confidence factor, as a share of equity."""
    max_risk_per_position_pct: Bound[Decimal]
    """The risk manager's own cap on loss at the stop."""
    max_risk_per_trade_pct: Bound[Decimal]
    """Loss at the stop allowed for one trade, already capped by ``max_risk_per_position_pct``."""
    max_daily_drawdown_pct: Bound[Decimal]
    max_open_loss_pct: Bound[Decimal]
    max_exposure_pct: Bound[Decimal]
    max_concurrent_positions: Bound[int]
    price_collar_pct: Bound[Decimal]
    max_order_notional_usd: Bound[Decimal]
    max_repeated_orders: Bound[int]
    entry_spacing_milliseconds: Bound[int]

    def items(self) -> list[tuple[str, Bound[Decimal] | Bound[int]]]:
        """Every limit with its name as the resource spells it, in a fixed order."""
        return [(wire_name(name), getattr(self, name)) for name in self.__struct_fields__]


def effective_limits(policy: PolicySpec, stop: EmergencyStopSpec) -> EffectiveLimits:
    """What the desk enforces under ``policy`` and ``stop``; pure, total for specs that passed the schema."""
    asked, profile = policy.limits, PROFILE_LIMITS[policy.profile]
    per_position = _choose(asked.max_risk_per_position_pct, DEFAULT_MAX_RISK_PER_POSITION_PCT, Binding.DEFAULT)
    per_trade = _choose(asked.max_risk_per_trade_pct, profile.max_risk_per_trade_pct, Binding.PROFILE)
    drawdown = _choose(asked.max_daily_drawdown_pct, profile.max_daily_drawdown_pct, Binding.PROFILE)
    max_leverage = _max_leverage(asked.max_leverage, profile.max_leverage)
    leverage = _choose(asked.leverage, DEFAULT_LEVERAGE, Binding.DEFAULT)
    return EffectiveLimits(
        min_position_margin_usd=_choose(
            asked.min_position_margin_usd, DEFAULT_MIN_POSITION_MARGIN_USD, Binding.DEFAULT
        ),
        max_position_margin_usd=_choose(
            asked.max_position_margin_usd, DEFAULT_MAX_POSITION_MARGIN_USD, Binding.DEFAULT
        ),
        max_leverage=max_leverage,
        leverage=_cap(leverage, max_leverage.value, max_leverage.binding),
        base_risk_per_trade_pct=_choose(
            asked.base_risk_per_trade_pct, DEFAULT_BASE_RISK_PER_TRADE_PCT, Binding.DEFAULT
        ),
        max_risk_per_position_pct=per_position,
        max_risk_per_trade_pct=_cap(per_trade, per_position.value, Binding.RISK_MANAGER),
        max_daily_drawdown_pct=_cap(drawdown, stop.max_daily_drawdown_pct, Binding.EMERGENCY_STOP, on_tie=True),
        max_open_loss_pct=Bound(stop.max_open_loss_pct, stop.max_open_loss_pct, Binding.EMERGENCY_STOP),
        max_exposure_pct=_choose(asked.max_exposure_pct, DEFAULT_MAX_EXPOSURE_PCT, Binding.DEFAULT),
        max_concurrent_positions=_choose(
            asked.max_concurrent_positions, DEFAULT_MAX_CONCURRENT_POSITIONS, Binding.DEFAULT
        ),
        price_collar_pct=_choose(asked.price_collar_pct, DEFAULT_PRICE_COLLAR_PCT, Binding.DEFAULT),
        max_order_notional_usd=_choose(asked.max_order_notional_usd, DEFAULT_MAX_ORDER_NOTIONAL_USD, Binding.DEFAULT),
        max_repeated_orders=_choose(asked.max_repeated_orders, DEFAULT_MAX_REPEATED_ORDERS, Binding.DEFAULT),
        entry_spacing_milliseconds=_choose(
            asked.entry_spacing_milliseconds, DEFAULT_ENTRY_SPACING_MILLISECONDS, Binding.DEFAULT
        ),
    )


def strictness(policy: PolicySpec, stop: EmergencyStopSpec) -> tuple[object, ...]:
    """A sort key: of two specs of equal version the one with the lower key is the stricter, and wins.

    Specs are only partly ordered, so the limits are compared one after the other, the one that loses most money first.
    """
    limits = effective_limits(policy, stop)
    modes = ["Paper", "Staging", "Live"]
    return (
        not stop.enabled,
        modes.index(policy.trading_mode),
        limits.max_daily_drawdown_pct.value,
        limits.max_open_loss_pct.value,
        limits.max_risk_per_trade_pct.value,
        limits.max_exposure_pct.value,
        limits.leverage.value,
        limits.max_leverage.value,
        limits.max_position_margin_usd.value,
        limits.max_concurrent_positions.value,
        limits.max_order_notional_usd.value,
        limits.base_risk_per_trade_pct.value,
        limits.price_collar_pct.value,
        limits.max_repeated_orders.value,
        -limits.entry_spacing_milliseconds.value,
        -limits.min_position_margin_usd.value,
        -policy.signals.min_confidence,
        policy.signals.max_age_seconds,
        policy.mathematician is None,
        stop.max_consecutive_errors,
        -stop.cooldown_minutes,
        stop.allow_manual_reset,
        not stop.on_trip.close_positions,
        len(policy.symbols),
    )


def _choose(override: N | None, otherwise: N, source: Binding) -> Bound[N]:
    if override is None:
        return Bound(otherwise, otherwise, source)
    return Bound(override, override, Binding.OVERRIDE)


def _cap(bound: Bound[N], cap: N, source: Binding, *, on_tie: bool = False) -> Bound[N]:
    """``bound`` no looser than ``cap``; ``on_tie`` names the cap as binding also when both say the same."""
    if cap < bound.value or (on_tie and cap == bound.value):
        return Bound(cap, bound.requested, source)
    return bound


def _max_leverage(override: int | None, profile_max: int) -> Bound[int]:
    asked = _choose(override, profile_max, Binding.PROFILE)
    if override is not None and profile_max > RISK_MANAGER_MAX_LEVERAGE:
        return _cap(asked, profile_max, Binding.PROFILE)
    return _cap(asked, RISK_MANAGER_MAX_LEVERAGE, Binding.RISK_MANAGER)


def profile_allows_more_leverage(profile: Profile) -> bool:
    """Whether ``limits.maxLeverage`` may lift the risk manager's cap under ``profile``."""
    return PROFILE_LIMITS[profile].max_leverage > RISK_MANAGER_MAX_LEVERAGE
