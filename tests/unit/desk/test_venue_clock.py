"""A process that lives by the venue's clock waits for it, and ends when the venue was made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from breakwater.desk.venue_clock import ClockChanged, VenueClockReader
from breakwater.domain.signals import DataKind

GOOD = {
    "marketAnchor": "2025-10-10T20:00:00Z", "wallAnchor": "2026-01-05T12:00:00Z", "speed": 60.0,
    "market": "replay:/data/b.csv", "data": "REPLAY",
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def utc_now(self) -> datetime:
        return datetime(2026, 1, 5, 12, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


Answers = Callable[..., VenueClockReader]


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """A venue that gives one answer after the other: an object, raw bytes, a status, or an error to raise."""

    def make(*answers: Any) -> VenueClockReader:
        left = list(answers)

        def answer(request: httpx.Request) -> httpx.Response:
            assert request.url.path == "/v1/clock"
            now = left.pop(0)
            if isinstance(now, Exception):
                raise now
            if isinstance(now, int):
                return httpx.Response(now)
            return httpx.Response(200, content=now) if isinstance(now, bytes) else httpx.Response(200, json=now)

        real = httpx.AsyncClient
        transport = httpx.MockTransport(answer)
        monkeypatch.setattr(httpx, "AsyncClient", lambda **options: real(transport=transport, **options))
        return VenueClockReader("http://venue:8080", Clock())

    return make


async def test_clock_is_asked_until_it_answers_sensibly(venue: Answers) -> None:
    naive = {**GOOD, "wallAnchor": "2026-01-05T12:00:00"}
    refused = httpx.ConnectError("connection refused")
    reader = venue(refused, 503, b"<html>", {**GOOD, "speed": 0}, naive, {"speed": 1}, GOOD)
    clock = await reader.wait()
    assert (clock.speed, clock.data, clock.market) == (60.0, DataKind.REPLAY, "replay:/data/b.csv")
    assert clock.market_anchor == datetime(2025, 10, 10, 20, tzinfo=UTC)
    assert "http://venue:8080/v1/clock" in reader.problem
    await reader.close()


@pytest.mark.parametrize("field", ["marketAnchor", "wallAnchor"])
async def test_other_anchors_end_the_process_and_a_venue_that_is_away_does_not(venue: Answers, field: str) -> None:
    changed = {**GOOD, field: "2026-01-06T00:00:00Z"}
    reader = venue(GOOD, GOOD, httpx.ReadTimeout("away"), 503, {**GOOD, "market": "named otherwise"}, changed)
    known = await reader.wait()
    with pytest.raises(ClockChanged, match="starts again"):
        await reader.watch(known)
    await reader.close()
