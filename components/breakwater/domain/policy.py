"""What a TradingPolicy asks for: the pure types behind the custom resource's spec.

Field names are the resource's in snake_case (``max_position_margin_usd`` is ``maxPositionMarginUSD``). Money is USDT,
percentages are ``..._pct`` (5 means 5 %). Values arrive already checked against the schema
(`breakwater.runtime.manifests`); what they mean together is worked out in `breakwater.domain.limits`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

import msgspec

from breakwater.domain.ids import Symbol

_UPPER = {"usd": "USD", "utc": "UTC", "id": "ID"}


def wire_name(name: str) -> str:
    """The resource's spelling of a Python field: ``start_utc`` becomes ``startUTC``, ``max_leverage`` ``maxLeverage``."""
    first, *rest = name.split("_")
    return first + "".join(_UPPER.get(word, word.capitalize()) for word in rest)


class Profile(enum.StrEnum):
    """A named set of the three limits that a desk's appetite is spoken in."""

    NORMAL = "NORMAL"
    DEFENSIVE = "DEFENSIVE"
    AGGRESSIVE = "AGGRESSIVE"


class TradingMode(enum.StrEnum):
    """Where orders go: the paper venue, the real venue's test of orders that it does not place, or real money."""

    PAPER = "Paper"
    STAGING = "Staging"
    LIVE = "Live"


class Exchange(enum.StrEnum):
    BINANCE_FUTURES = "binance-futures"


class MarketType(enum.StrEnum):
    USDM_PERP = "usdm_perp"


class SignalSource(enum.StrEnum):
    """Who may give the desk signals."""

    HEURISTIC = "Heuristic"
    MODELS = "Models"
    EXTERNAL = "External"


class ProfileLimits(msgspec.Struct, frozen=True):
    """The limits a profile governs. ``max_risk_per_trade_pct`` is loss at the stop as a share of equity."""

    max_risk_per_trade_pct: Decimal
    max_daily_drawdown_pct: Decimal
    max_leverage: int


PROFILE_LIMITS: Mapping[Profile, ProfileLimits] = MappingProxyType(
    {
        Profile.NORMAL: ProfileLimits(Decimal(2), Decimal(5), 30),
        Profile.DEFENSIVE: ProfileLimits(Decimal(1), Decimal(3), 10),
        Profile.AGGRESSIVE: ProfileLimits(Decimal(3), Decimal(8), 50),
    }
)


class SecretRef(msgspec.Struct, frozen=True, rename=wire_name):
    name: str


class ClaimRef(msgspec.Struct, frozen=True, rename=wire_name):
    name: str


class PaperMarket(msgspec.Struct, frozen=True, rename=wire_name):
    """The market that the simulated venue plays. Market time runs ``speed`` times as fast as the wall (1 to 60)."""

    market: str = "synthetic"
    """``synthetic[:SEED]`` or ``replay:FILE[,FILE]``, files relative to the claim."""
    speed: Decimal = Decimal(1)
    start: datetime | None = None
    """Market time at which a replay starts trading, UTC."""
    crash_after_minutes: int | None = None
    """Market minutes from a synthetic market's start to its crash."""
    data_claim_ref: ClaimRef | None = None

    @property
    def is_replay(self) -> bool:
        return self.market.startswith("replay:")


class VenueSpec(msgspec.Struct, frozen=True, rename=wire_name):
    exchange: Exchange = Exchange.BINANCE_FUTURES
    market_type: MarketType = MarketType.USDM_PERP
    credentials_secret_ref: SecretRef | None = None
    paper: PaperMarket | None = None
    """None: synthetic, at wall time."""


class LimitOverrides(msgspec.Struct, frozen=True, rename=wire_name):
    """Limits a person set on purpose. None: the profile's figure, or the risk manager's default, holds."""

    min_position_margin_usd: Decimal | None = None
    max_position_margin_usd: Decimal | None = None
    max_leverage: int | None = None
    leverage: int | None = None
    base_risk_per_trade_pct: Decimal | None = None
    max_risk_per_position_pct: Decimal | None = None
    max_risk_per_trade_pct: Decimal | None = None
    max_daily_drawdown_pct: Decimal | None = None
    max_exposure_pct: Decimal | None = None
    max_concurrent_positions: int | None = None
    price_collar_pct: Decimal | None = None
    max_order_notional_usd: Decimal | None = None
    max_repeated_orders: int | None = None
    entry_spacing_milliseconds: int | None = None


class SignalRules(msgspec.Struct, frozen=True, rename=wire_name):
    """Confidence is 0..1. Below ``min_confidence`` nothing is traded; bounds are exact (REQUIREMENTS R2)."""

    sources: tuple[SignalSource, ...] = (SignalSource.HEURISTIC, SignalSource.EXTERNAL)
    min_confidence: Decimal = Decimal("0.45")
    low_confidence: Decimal = Decimal("0.6")
    high_confidence: Decimal = Decimal("0.85")
    low_confidence_multiplier: Decimal = Decimal("0.5")
    high_confidence_multiplier: Decimal = Decimal("1.5")
    max_age_seconds: int = 60


class MathematicianRules(msgspec.Struct, frozen=True, rename=wire_name):
    """Stop, target, leverage and size from volatility and edge (`breakwater.domain.mathematician`)."""

    atr_period: int = 14
    """Closed candles of 5 minutes."""
    stop_atr_multiple: Decimal = Decimal(4)
    reward_to_risk: Decimal = Decimal(2)
    stop_loss_of_margin_pct: Decimal = Decimal(20)
    kelly_fraction: Decimal = Decimal("0.25")
    min_closed_trades: int = 30


class TradingDay(msgspec.Struct, frozen=True, rename=wire_name):
    start_utc: str = "00:00"

    @property
    def start_minute(self) -> int:
        """Minutes after midnight UTC at which the trading day begins."""
        hours, minutes = self.start_utc.split(":")
        return int(hours) * 60 + int(minutes)


class PolicySpec(msgspec.Struct, frozen=True, rename=wire_name):
    """The whole spec of a TradingPolicy, defaults filled in."""

    symbols: tuple[Symbol, ...]
    profile: Profile = Profile.NORMAL
    trading_mode: TradingMode = TradingMode.PAPER
    venue: VenueSpec = VenueSpec()
    limits: LimitOverrides = LimitOverrides()
    signals: SignalRules = SignalRules()
    mathematician: MathematicianRules | None = None
    """None: off."""
    day: TradingDay = TradingDay()
