"""A process' governor: shared with others of its address through Redis, and told of in its metrics."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

from breakwater.domain.rate_budget import Lane
from breakwater.exchange.endpoints import BINANCE
from breakwater.exchange.governor import Governor
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.redis_rate import RedisSharedBudget
from breakwater.runtime.settings import Settings


def shared_governor(
    component: str, settings: Settings, redis_url: str, clock: InfraClock, closing: contextlib.AsyncExitStack
) -> Governor:
    """A governor that keeps to the venue's limits together with all processes of ``settings.venue_address`` on that Redis."""
    member = f"{settings.desk}/{component}"
    venue = urlsplit(settings.venue_url or BINANCE.http_base).netloc
    shared = RedisSharedBudget(redis_url, venue=venue, address=settings.venue_address, member=member)
    closing.push_async_callback(shared.close)
    return Governor(clock, shared=shared)


def count_requests(metrics: Metrics, governor: Governor) -> None:
    """From now on ``metrics`` tells of bans, and of requests that waited, each time it is read."""
    copied = dict.fromkeys(Lane, 0)
    bans = 0

    def copy() -> None:
        nonlocal bans
        metrics.venue_bans.inc(governor.bans - bans)
        bans = governor.bans
        for lane, count in governor.waits.items():
            metrics.count_venue_waits(lane, count - copied[lane])
            copied[lane] = count

    metrics.before_reading(copy)
