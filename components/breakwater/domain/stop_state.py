"""States and records of the emergency stop, shared by who decides and who obeys."""

from __future__ import annotations

import enum
import re
from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import RequestId, TripId


class StopState(enum.StrEnum):
    DISABLED = "DISABLED"
    ARMED = "ARMED"
    TRIPPED = "TRIPPED"
    COOLING_DOWN = "COOLING_DOWN"

    @property
    def strictness(self) -> int:
        """Higher is stricter: breaks a tie between copies of equal epoch."""
        return {"DISABLED": 0, "ARMED": 1, "COOLING_DOWN": 2, "TRIPPED": 3}[self.value]


_TRIGGER_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,31}")


class Trigger(enum.StrEnum):
    """What fired the stop. The five of Breakwater itself; an evaluator may bring one of its own: ``Trigger("FUNDING_COST")``.

    So a further evaluator is one file, and a latch that names its trigger is still read where that file is missing.
    """

    DAILY_DRAWDOWN = "DAILY_DRAWDOWN"
    OPEN_LOSS = "OPEN_LOSS"
    EXECUTION_ERRORS = "EXECUTION_ERRORS"
    MISSING_DATA = "MISSING_DATA"
    PERSON = "PERSON"

    @classmethod
    def _missing_(cls, value: object) -> Trigger | None:
        if not isinstance(value, str) or not _TRIGGER_NAME.fullmatch(value):
            return None
        made = str.__new__(cls, value)
        made._name_ = made._value_ = value
        # Kept, so that equal ones are identical, as members of an enum are.
        known = cls._value2member_map_.setdefault(value, made)
        assert isinstance(known, cls)
        return known


class Trip(msgspec.Struct, frozen=True):
    """Why the stop fired. Percentages: 5 means 5 %; for errors the count and its limit."""

    trip_id: TripId
    trigger: Trigger
    time: datetime
    measured: Decimal | None
    limit: Decimal | None
    binding: str
    """Which setting the limit came from: ``emergencyStop``, ``profile``, ``override`` or ``person``."""
    who: str
    reason: str
    close_positions: bool = True


class StopRequestKind(enum.StrEnum):
    TRIP = "TRIP"
    RESET = "RESET"


class StopRequest(msgspec.Struct, frozen=True):
    """What a person asks of the emergency stop. ``request_id`` makes it processed exactly once."""

    kind: StopRequestKind
    request_id: RequestId
    reason: str
    who: str
    trip_id: TripId | None = None
    """For a reset: the trip it refers to; a reset of another trip is refused."""
    new_baseline: bool = False
    """Reset only: measure the day's drawdown from today's equity on (audited, once a day)."""


class RequestOutcome(msgspec.Struct, frozen=True):
    """The one answer to a request; a repeated request gets the same answer again."""

    request_id: RequestId
    kind: StopRequestKind
    accepted: bool
    code: str
    """``ACCEPTED`` or a RefusalCode."""
    text: str
    time: datetime
    remaining_seconds: int | None = None
    """Cooldown left, when that is what is missing."""
    who: str = ""
    """Who asked; empty in answers of before this was kept."""


class StopView(msgspec.Struct, frozen=True, gc=False):
    """The emergency stop's state as it is broadcast with a lease: whoever does not hear it goes REDUCE_ONLY."""

    state: StopState
    epoch: int
    """Rises with every transition, never falls; the highest known one wins."""
    sequence: int
    """Rises with every broadcast of one process."""
    issued_at: datetime
    """Wall time (UTC) of the broadcast."""
    lease_seconds: Decimal
    reduce_only: bool
    """True when nothing may be opened although the state may still be ARMED (debounce, stale data, boot)."""
    reduce_only_reason: str = ""
    trip: Trip | None = None
    flat_at: datetime | None = None
    cooling_down_until: datetime | None = None
    day_baseline_used: bool = False
