"""Rules that span fields: the Python twins of the CEL rules in crds/*.yaml, word for word the same messages.

The API server and ``breakwater up`` therefore refuse the same manifests for the same reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from breakwater.domain import limits as lim
from breakwater.domain.emergency_stop_spec import EmergencyStopSpec
from breakwater.domain.policy import PaperMarket, PolicySpec, TradingMode
from breakwater.domain.stop_state import StopState

S = TypeVar("S", PolicySpec, EmergencyStopSpec)


@dataclass(frozen=True)
class Rule(Generic[S]):
    """``holds`` is asked of a whole spec; ``scope`` is where the schema states the rule, ``path`` the field it blames."""

    scope: str
    path: str
    message: str
    holds: Callable[[S], bool]
    reads: tuple[str, ...]
    """Fields the rule looks at: it is not asked while one of them is wrong by itself."""


@dataclass(frozen=True)
class NameRule:
    """A rule about ``metadata.name``; the schema states it at its root."""

    message: str
    pattern: str
    longest: int

    def holds(self, name: str) -> bool:
        return len(name) <= self.longest and re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class PolicyUpdateRule:
    """A rule about a change of a TradingPolicy: ``holds(old, new)``."""

    scope: str
    path: str
    message: str
    holds: Callable[[PolicySpec, PolicySpec], bool]


@dataclass(frozen=True)
class UpdateRule:
    """A rule about a change of an EmergencyStop: ``holds(old, new, state)``."""

    scope: str
    path: str
    message: str
    holds: Callable[[EmergencyStopSpec, EmergencyStopSpec, StopState | None], bool]


def _minimum_margin(spec: PolicySpec) -> Decimal:
    return _or(spec.limits.min_position_margin_usd, lim.DEFAULT_MIN_POSITION_MARGIN_USD)


def _or(value: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if value is None else value


def _leverage_fits(spec: PolicySpec) -> bool:
    used, most = spec.limits.leverage, spec.limits.max_leverage
    return used is None or most is None or used <= most


def _unique(values: tuple[object, ...]) -> bool:
    return len(set(values)) == len(values)


def _paper(holds: Callable[[PaperMarket], bool]) -> Callable[[PolicySpec], bool]:
    return lambda spec: spec.venue.paper is None or holds(spec.venue.paper)


POLICY_NAME_RULE = NameRule(
    "the name of a TradingPolicy has at most 40 small letters, digits and '-', begins with a letter and does not end "
    "with '-': its components are named after it",
    "[a-z]([-a-z0-9]*[a-z0-9])?",
    40,
)

POLICY_RULES: tuple[Rule[PolicySpec], ...] = (
    Rule(
        "spec",
        "spec.tradingMode",
        "tradingMode Live needs venue.credentialsSecretRef: name the Secret that holds the exchange's API key, "
        "or choose Paper",
        lambda s: s.trading_mode is not TradingMode.LIVE or s.venue.credentials_secret_ref is not None,
        ("spec.tradingMode", "spec.venue"),
    ),
    Rule(
        "spec",
        "spec.limits.maxLeverage",
        "limits.maxLeverage above 30 needs profile AGGRESSIVE: lower it to 30, the risk manager's cap, "
        "or choose that profile",
        lambda s: (
            lim.profile_allows_more_leverage(s.profile) or (s.limits.max_leverage or 0) <= lim.RISK_MANAGER_MAX_LEVERAGE
        ),
        ("spec.profile", "spec.limits.maxLeverage"),
    ),
    Rule(
        "spec.symbols",
        "spec.symbols",
        "symbols must be unique: remove the repeated one",
        lambda s: _unique(s.symbols),
        ("spec.symbols",),
    ),
    Rule(
        "spec.limits",
        "spec.limits.minPositionMarginUSD",
        "minPositionMarginUSD must not be above maxPositionMarginUSD (without a value they are 100 and 2000): "
        "change one of them",
        lambda s: _minimum_margin(s) <= _or(s.limits.max_position_margin_usd, lim.DEFAULT_MAX_POSITION_MARGIN_USD),
        ("spec.limits.minPositionMarginUSD", "spec.limits.maxPositionMarginUSD"),
    ),
    Rule(
        "spec.limits",
        "spec.limits.leverage",
        "leverage must not be above maxLeverage: lower leverage or raise maxLeverage",
        _leverage_fits,
        ("spec.limits.leverage", "spec.limits.maxLeverage"),
    ),
    Rule(
        "spec.limits",
        "spec.limits.maxOrderNotionalUSD",
        "maxOrderNotionalUSD must not be below minPositionMarginUSD (without a value they are 60000 and 100), "
        "or no order could be placed: change one of them",
        lambda s: _minimum_margin(s) <= _or(s.limits.max_order_notional_usd, lim.DEFAULT_MAX_ORDER_NOTIONAL_USD),
        ("spec.limits.minPositionMarginUSD", "spec.limits.maxOrderNotionalUSD"),
    ),
    Rule(
        "spec",
        "spec.signals.lowConfidence",
        "confidence bounds must rise: minConfidence <= lowConfidence <= highConfidence",
        lambda s: s.signals.min_confidence <= s.signals.low_confidence <= s.signals.high_confidence,
        ("spec.signals.minConfidence", "spec.signals.lowConfidence", "spec.signals.highConfidence"),
    ),
    Rule(
        "spec.signals.sources",
        "spec.signals.sources",
        "sources must be unique: remove the repeated one",
        lambda s: _unique(s.signals.sources),
        ("spec.signals.sources",),
    ),
    Rule(
        "spec",
        "spec.venue.paper",
        "venue.paper is the simulated market of tradingMode Paper: remove it, or choose Paper",
        lambda s: s.trading_mode is TradingMode.PAPER or s.venue.paper is None,
        ("spec.tradingMode", "spec.venue.paper"),
    ),
    Rule(
        "spec.venue.paper",
        "spec.venue.paper.start",
        "start belongs to a replay: remove it, or choose a market such as replay:btcusdt.csv",
        _paper(lambda paper: paper.start is None or paper.is_replay),
        ("spec.venue.paper.market", "spec.venue.paper.start"),
    ),
    Rule(
        "spec.venue.paper",
        "spec.venue.paper.crashAfterMinutes",
        "crashAfterMinutes belongs to a synthetic market: remove it, recorded prices cannot be told when to crash",
        _paper(lambda paper: paper.crash_after_minutes is None or not paper.is_replay),
        ("spec.venue.paper.market", "spec.venue.paper.crashAfterMinutes"),
    ),
    Rule(
        "spec.venue.paper",
        "spec.venue.paper.dataClaimRef",
        "dataClaimRef names the claim with the files of a replay: a replay needs it, a synthetic market has none",
        _paper(lambda paper: (paper.data_claim_ref is not None) is paper.is_replay),
        ("spec.venue.paper.market", "spec.venue.paper.dataClaimRef"),
    ),
)

POLICY_UPDATE_RULES: tuple[PolicyUpdateRule, ...] = (
    PolicyUpdateRule(
        "spec",
        "spec.venue.paper",
        "venue.paper cannot be changed: the account and its prices belong to one market; create another desk for "
        "another market",
        lambda old, new: (
            any(spec.trading_mode is not TradingMode.PAPER for spec in (old, new)) or old.venue.paper == new.venue.paper
        ),
    ),
)

STOP_RULES: tuple[Rule[EmergencyStopSpec], ...] = (
    Rule(
        "spec",
        "spec.missingDataTripSeconds",
        "missingDataTripSeconds must be above staleAfterSeconds: entries stop first, the trip comes later",
        lambda s: s.missing_data_trip_seconds > s.stale_after_seconds,
        ("spec.missingDataTripSeconds", "spec.staleAfterSeconds"),
    ),
    Rule(
        "spec",
        "spec.onTrip.cancelOrders",
        "onTrip.closePositions needs cancelOrders: a resting entry could open again what was closed",
        lambda s: s.on_trip.cancel_orders or not s.on_trip.close_positions,
        ("spec.onTrip",),
    ),
)

STOP_UPDATE_RULES: tuple[UpdateRule, ...] = (
    UpdateRule(
        "",
        "spec.enabled",
        "a stop that is TRIPPED or COOLING_DOWN cannot be disabled: reset it first",
        lambda old, new, state: (
            new.enabled or not old.enabled or state not in (StopState.TRIPPED, StopState.COOLING_DOWN)
        ),
    ),
    UpdateRule(
        "spec.policyRef",
        "spec.policyRef",
        "policyRef cannot be changed: create another EmergencyStop for the other desk",
        lambda old, new, state: old.policy_ref == new.policy_ref,
    ),
)


def policy_update_problems(old: PolicySpec, new: PolicySpec) -> list[tuple[str, str]]:
    """Why ``new`` may not replace ``old``: (field path, sentence) each; empty when it may."""
    return [(rule.path, rule.message) for rule in POLICY_UPDATE_RULES if not rule.holds(old, new)]


def stop_update_problems(
    old: EmergencyStopSpec, new: EmergencyStopSpec, state: StopState | None
) -> list[tuple[str, str]]:
    """Why ``new`` may not replace ``old`` while the stop is in ``state``: (field path, sentence) each; empty when it may."""
    return [(rule.path, rule.message) for rule in STOP_UPDATE_RULES if not rule.holds(old, new, state)]
