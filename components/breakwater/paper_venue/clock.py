"""The runtime's two clocks as the venue counts them: milliseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from breakwater.paper_venue.model import Now
from breakwater.runtime.clocks import Clocks

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """An aware datetime as ms since 1970 UTC, rounded down, without passing through float."""
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def venue_now(clocks: Clocks) -> Now:
    """Both clocks now."""
    return Now(to_ms(clocks.market.now()), to_ms(clocks.infra.utc_now()))
