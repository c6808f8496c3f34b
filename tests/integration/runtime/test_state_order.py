"""The last word on a state channel is the newest one that its producer said, whatever arrived last."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.integration.runtime.conftest import DESK

from breakwater.domain.stop_state import StopState, StopView
from breakwater.runtime.events import Event, StopLease, decode_event
from breakwater.runtime.redis_publisher import state_keys

NOW = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)


def lease(*, closed: bool) -> StopLease:
    return StopLease(StopView(StopState.ARMED, 1, 1, NOW, Decimal(1), closed, "closing" if closed else ""))


async def last_word(client: Any) -> Event:
    latest: dict[bytes, bytes] = await client.run("HGETALL", state_keys(DESK, "ess.lease")[1])
    (data,) = latest.values()
    return decode_event(data)


async def test_open_lease_that_was_overtaken_by_the_closing_one_is_not_the_last_word(
    make_bus: Any, client: Any
) -> None:
    bus = await make_bus("emergency_stop")
    await bus.set_state(lease(closed=False), time=NOW)
    await bus.set_state(lease(closed=True), time=NOW)
    closing = await last_word(client)
    bus._publisher._state_sequence -= 2  # as if this one had been made before, and its packet was late
    await bus.set_state(lease(closed=False), time=NOW)
    assert await last_word(client) == closing
    assert len(await client.run("XRANGE", state_keys(DESK, "ess.lease")[0], "-", "+")) == 2


async def test_producer_that_took_over_speaks_from_its_first_state_on(make_bus: Any, client: Any) -> None:
    first = await make_bus("emergency_stop")
    for _ in range(3):
        await first.set_state(lease(closed=True), time=NOW)
    await first.stop()
    second = await make_bus("emergency_stop")
    await second.set_state(lease(closed=False), time=NOW)
    found = await last_word(client)
    assert (found.epoch, found.sequence) == (second.epoch, 1)
