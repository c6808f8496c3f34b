"""The custom resources' specs as pydantic models: the Python twin of the schemas in crds/*.yaml.

A contract test holds every name, type, bound, pattern, default and required field against the schema: change both.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from breakwater.domain import policy as p
from breakwater.domain.emergency_stop_spec import OnMissingData
from breakwater.runtime.manifest_fields import Moment, Number, Text, Whole

ObjectName = Annotated[str, Text(253, 1, "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", example="main")]
RequestName = Annotated[str, Text(64, 1, "^[A-Za-z0-9][A-Za-z0-9._-]*$", example="r1")]
TripName = Annotated[str, Text(128, 1, "^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
Reason = Annotated[str, Text(1024, 1)]
Person = Annotated[str, Text(256)]
SymbolName = Annotated[str, Text(20, 5, "^[A-Z0-9]{5,20}$", example="BTCUSDT")]
TimeOfDay = Annotated[str, Text(5, 5, "^([01][0-9]|2[0-3]):[0-5][0-9]$", example='"00:00" in quotes')]
_FILE = "[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*"
MarketName = Annotated[
    str, Text(512, 1, f"^(synthetic(:[0-9]{{1,9}})?|replay:{_FILE}(,{_FILE})*)$", example="synthetic:7")
]
StartTime = Annotated[str, Moment(example='"2025-10-10T20:00:00Z" in quotes')]
Confidence = Annotated[Decimal, Number("0", "1")]
MarginUSD = Annotated[Decimal, Number("5", "1000000")]
Leverage = Annotated[int, Whole("1", "50")]
LossPct = Annotated[Decimal, Number("0.05", "10")]


class SpecModel(BaseModel):
    model_config = ConfigDict(
        alias_generator=p.wire_name, extra="forbid", frozen=True, populate_by_name=False, validate_default=False
    )


class SecretRefModel(SpecModel):
    name: ObjectName


class ClaimRefModel(SpecModel):
    name: ObjectName


class PaperModel(SpecModel):
    market: MarketName = "synthetic"
    speed: Annotated[Decimal, Number("1", "60")] = Decimal(1)
    start: StartTime | None = None
    crash_after_minutes: Annotated[int, Whole("1", "1440")] | None = None
    data_claim_ref: ClaimRefModel | None = None


class VenueModel(SpecModel):
    exchange: p.Exchange = p.Exchange.BINANCE_FUTURES
    market_type: p.MarketType = p.MarketType.USDM_PERP
    credentials_secret_ref: SecretRefModel | None = None
    paper: PaperModel | None = None


class LimitsModel(SpecModel):
    min_position_margin_usd: MarginUSD | None = None
    max_position_margin_usd: MarginUSD | None = None
    max_leverage: Leverage | None = None
    leverage: Leverage | None = None
    base_risk_per_trade_pct: Annotated[Decimal, Number("0.1", "50")] | None = None
    max_risk_per_position_pct: LossPct | None = None
    max_risk_per_trade_pct: LossPct | None = None
    max_daily_drawdown_pct: Annotated[Decimal, Number("0.1", "20")] | None = None
    max_exposure_pct: Annotated[Decimal, Number("1", "1000")] | None = None
    max_concurrent_positions: Annotated[int, Whole("1", "50")] | None = None
    price_collar_pct: Annotated[Decimal, Number("0.01", "5")] | None = None
    max_order_notional_usd: Annotated[Decimal, Number("5", "10000000")] | None = None
    max_repeated_orders: Annotated[int, Whole("1", "100")] | None = None
    entry_spacing_milliseconds: Annotated[int, Whole("100", "60000")] | None = None


class SignalsModel(SpecModel):
    sources: Annotated[tuple[p.SignalSource, ...], Field(min_length=1, max_length=3)] = (
        p.SignalSource.HEURISTIC,
        p.SignalSource.EXTERNAL,
    )
    min_confidence: Confidence = Decimal("0.45")
    low_confidence: Confidence = Decimal("0.6")
    high_confidence: Confidence = Decimal("0.85")
    low_confidence_multiplier: Annotated[Decimal, Number("0.05", "1")] = Decimal("0.5")
    high_confidence_multiplier: Annotated[Decimal, Number("1", "3")] = Decimal("1.5")
    max_age_seconds: Annotated[int, Whole("1", "86400")] = 60


class MathematicianModel(SpecModel):
    atr_period: Annotated[int, Whole("2", "100")] = 14
    stop_atr_multiple: Annotated[Decimal, Number("0.5", "20")] = Decimal(4)
    reward_to_risk: Annotated[Decimal, Number("0.5", "20")] = Decimal(2)
    stop_loss_of_margin_pct: Annotated[Decimal, Number("1", "100")] = Decimal(20)
    kelly_fraction: Annotated[Decimal, Number("0.05", "1")] = Decimal("0.25")
    min_closed_trades: Annotated[int, Whole("10", "500")] = 30


class DayModel(SpecModel):
    start_utc: TimeOfDay = "00:00"


class TradingPolicyModel(SpecModel):
    profile: p.Profile = p.Profile.NORMAL
    trading_mode: p.TradingMode = p.TradingMode.PAPER
    symbols: Annotated[tuple[SymbolName, ...], Field(min_length=1, max_length=50)]
    venue: VenueModel = Field(default_factory=VenueModel)
    limits: LimitsModel | None = None
    signals: SignalsModel = Field(default_factory=SignalsModel)
    mathematician: MathematicianModel | None = None
    day: DayModel = Field(default_factory=DayModel)


class PolicyRefModel(SpecModel):
    name: ObjectName


class OnTripModel(SpecModel):
    cancel_orders: StrictBool = True
    close_positions: StrictBool = True


class OnErrorTripModel(SpecModel):
    close_positions: StrictBool = False


class ResetModel(SpecModel):
    request_id: RequestName
    trip_id: TripName
    reason: Reason
    new_baseline: StrictBool = False
    requested_by: Person | None = None


class TripModel(SpecModel):
    request_id: RequestName
    reason: Reason
    requested_by: Person | None = None


class EmergencyStopModel(SpecModel):
    policy_ref: PolicyRefModel
    enabled: StrictBool = True
    max_daily_drawdown_pct: Annotated[Decimal, Number("0.1", "20")] = Decimal(5)
    max_open_loss_pct: Annotated[Decimal, Number("0.1", "50")] = Decimal(10)
    max_consecutive_errors: Annotated[int, Whole("1", "100")] = 5
    cooldown_minutes: Annotated[int, Whole("1", "10080")] = 15
    allow_manual_reset: StrictBool = True
    on_trip: OnTripModel = Field(default_factory=OnTripModel)
    on_error_trip: OnErrorTripModel = Field(default_factory=OnErrorTripModel)
    stale_after_seconds: Annotated[int, Whole("2", "300")] = 10
    on_missing_data: OnMissingData = OnMissingData.REDUCE_ONLY
    missing_data_trip_seconds: Annotated[int, Whole("3", "86400")] = 60
    reset: ResetModel | None = None
    trip: TripModel | None = None
