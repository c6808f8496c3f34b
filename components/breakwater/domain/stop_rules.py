"""What the emergency stop enforces right now: configuration and effective limits folded into one flat record."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, OnMissingData
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import plain
from breakwater.domain.policy import TradingMode


class StopRules(msgspec.Struct, frozen=True):
    """Percentages: 5 means 5 %, written plainly, so that they can be shown as they are. ``..._binding`` names the setting a limit came from."""

    enabled: bool
    live: bool
    max_daily_drawdown_pct: Decimal
    daily_drawdown_binding: str
    max_open_loss_pct: Decimal
    open_loss_binding: str
    max_consecutive_errors: int
    cooldown: timedelta
    allow_manual_reset: bool
    close_positions: bool
    close_positions_on_errors: bool
    stale_after: timedelta
    trip_on_missing_data: bool
    missing_data_after: timedelta


SILENCE_FLOOR_SECONDS = 2
"""The machine's time below which silence in a market faster than the wall says nothing: docs/decisions/0005."""


def market_silence(seconds: int, spec: EmergencyStopSpec, speed: float) -> timedelta:
    """``seconds`` of market time, stretched when ``staleAfterSeconds`` passes within less than the floor at this ``speed``."""
    if speed <= 1:
        return timedelta(seconds=seconds)
    return timedelta(seconds=seconds) * max(1.0, SILENCE_FLOOR_SECONDS * speed / spec.stale_after_seconds)


def stop_rules(spec: EmergencyStopSpec, limits: EffectiveLimits, mode: TradingMode, *, speed: float = 1.0) -> StopRules:
    """The rules under one policy in force, in a market that runs ``speed`` times as fast as the wall."""
    return StopRules(
        enabled=spec.enabled,
        live=mode is TradingMode.LIVE,
        max_daily_drawdown_pct=Decimal(plain(limits.max_daily_drawdown_pct.value)),
        daily_drawdown_binding=limits.max_daily_drawdown_pct.binding.value,
        max_open_loss_pct=Decimal(plain(limits.max_open_loss_pct.value)),
        open_loss_binding=limits.max_open_loss_pct.binding.value,
        max_consecutive_errors=spec.max_consecutive_errors,
        cooldown=timedelta(minutes=spec.cooldown_minutes),
        allow_manual_reset=spec.allow_manual_reset,
        close_positions=spec.on_trip.close_positions,
        close_positions_on_errors=spec.on_error_trip.close_positions,
        stale_after=market_silence(spec.stale_after_seconds, spec, speed),
        trip_on_missing_data=spec.on_missing_data is OnMissingData.TRIP,
        missing_data_after=market_silence(spec.missing_data_trip_seconds, spec, speed),
    )


def tighter(held: StopRules, asked: StopRules) -> StopRules:
    """The stricter of both, setting by setting: what holds between a trip and the re-arm, when loosening has to wait."""
    drawdown = min((held, asked), key=lambda rules: rules.max_daily_drawdown_pct)
    open_loss = min((held, asked), key=lambda rules: rules.max_open_loss_pct)
    return StopRules(
        enabled=held.enabled or asked.enabled,
        live=held.live or asked.live,
        max_daily_drawdown_pct=drawdown.max_daily_drawdown_pct,
        daily_drawdown_binding=drawdown.daily_drawdown_binding,
        max_open_loss_pct=open_loss.max_open_loss_pct,
        open_loss_binding=open_loss.open_loss_binding,
        max_consecutive_errors=min(held.max_consecutive_errors, asked.max_consecutive_errors),
        cooldown=max(held.cooldown, asked.cooldown),
        allow_manual_reset=held.allow_manual_reset and asked.allow_manual_reset,
        close_positions=held.close_positions or asked.close_positions,
        close_positions_on_errors=held.close_positions_on_errors or asked.close_positions_on_errors,
        stale_after=min(held.stale_after, asked.stale_after),
        trip_on_missing_data=held.trip_on_missing_data or asked.trip_on_missing_data,
        missing_data_after=min(held.missing_data_after, asked.missing_data_after),
    )
