"""What a step of the emergency stop brought about: values for the service to write down and to publish, in order."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopState, Trip


class Transition(msgspec.Struct, frozen=True, tag="transition"):
    """The state changed, or (``previous`` TRIPPED to TRIPPED) a stronger trip took the place of one that kept positions."""

    previous: StopState
    state: StopState
    epoch: int
    time: datetime
    who: str
    reason: str
    trip: Trip | None = None
    numbers: dict[str, str] = {}
    """Measured values behind it, as plain strings."""


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A request got its one answer."""

    request: StopRequest
    outcome: RequestOutcome


class Rebased(msgspec.Struct, frozen=True, tag="rebased"):
    """The day's drawdown is measured from ``equity`` (USDT) on; ``transfers`` are those that the snapshot of it knew."""

    epoch: int
    time: datetime
    equity: Decimal
    who: str
    transfers: Decimal | None = None


class Noted(msgspec.Struct, frozen=True, gc=False, tag="noted"):
    """Something for the audit alone: a refused change of the spec, a breach seen for the first time, a damaged file."""

    kind: str
    time: datetime
    text: str
    numbers: dict[str, str] = {}


Fact = Transition | Answered | Rebased | Noted
