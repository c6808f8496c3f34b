"""What an EmergencyStop asks for: the pure types behind the custom resource's spec.

The stop's states and records are in `breakwater.domain.stop_state`; this is only what a person configured and requests.
"""

from __future__ import annotations

import enum
from decimal import Decimal

import msgspec

from breakwater.domain.ids import RequestId, TripId
from breakwater.domain.policy import wire_name


class OnMissingData(enum.StrEnum):
    """What happens after ``missing_data_trip_seconds`` without a fresh snapshot."""

    TRIP = "Trip"
    REDUCE_ONLY = "ReduceOnly"


class PolicyRef(msgspec.Struct, frozen=True, rename=wire_name):
    name: str


class OnTrip(msgspec.Struct, frozen=True, rename=wire_name):
    cancel_orders: bool = True
    close_positions: bool = True


class OnErrorTrip(msgspec.Struct, frozen=True, rename=wire_name):
    """Instead of `OnTrip.close_positions` when consecutive execution errors fired the stop."""

    close_positions: bool = False


class ResetSpec(msgspec.Struct, frozen=True, rename=wire_name):
    """A person's request to arm again; answered exactly once per ``request_id``."""

    request_id: RequestId
    trip_id: TripId
    reason: str
    new_baseline: bool = False
    requested_by: str | None = None


class TripSpec(msgspec.Struct, frozen=True, rename=wire_name):
    """A person's request to stop; answered exactly once per ``request_id``."""

    request_id: RequestId
    reason: str
    requested_by: str | None = None


class EmergencyStopSpec(msgspec.Struct, frozen=True, rename=wire_name):
    """The whole spec of an EmergencyStop, defaults filled in. Percentages: 5 means 5 %."""

    policy_ref: PolicyRef
    enabled: bool = True
    max_daily_drawdown_pct: Decimal = Decimal(5)
    max_open_loss_pct: Decimal = Decimal(10)
    max_consecutive_errors: int = 5
    cooldown_minutes: int = 15
    allow_manual_reset: bool = True
    on_trip: OnTrip = OnTrip()
    on_error_trip: OnErrorTrip = OnErrorTrip()
    stale_after_seconds: int = 10
    on_missing_data: OnMissingData = OnMissingData.REDUCE_ONLY
    missing_data_trip_seconds: int = 60
    reset: ResetSpec | None = None
    trip: TripSpec | None = None

    def without_requests(self) -> EmergencyStopSpec:
        """The configuration alone: a trip or reset request is not part of the policy in force."""
        return msgspec.structs.replace(self, reset=None, trip=None)
