"""A process that lives by the venue's clock waits for it, and ends when the venue was made anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from breakwater.desk import venue_clock
from breakwater.desk.venue_clock import ClockChanged, ClockUnknown, VenueClockReader
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


@pytest.mark.parametrize(
    "answer",
    [
        b"<!doctype html><title>502</title>",
        b"",
        b"\xff\xfe",
        b"[" * 5000,
        b'{"marketAnchor":' + b"{" * 5000,
        json.dumps({**GOOD, "padding": "x" * 20_000}).encode(),
        json.dumps({**GOOD, "speed": "60"}).encode(),
        json.dumps(GOOD).replace("60.0", "1e400").encode(),
        json.dumps(GOOD).replace("60.0", "NaN").encode(),
        {**GOOD, "speed": 61},
        {**GOOD, "speed": -1},
        {**GOOD, "marketAnchor": "9999-12-31T23:59:59Z"},
        {**GOOD, "marketAnchor": "0001-01-01T00:00:00Z"},
        {**GOOD, "wallAnchor": "9999-12-31T23:59:59Z"},
        {**GOOD, "marketAnchor": None},
        302,
    ],
)
async def test_answer_that_is_no_clock_is_not_lived_by(venue: Answers, answer: Any) -> None:
    reader = venue(answer, answer, GOOD)
    with pytest.raises(ClockUnknown, match="http://venue:8080/v1/clock"):
        await reader.ask()
    assert (await reader.wait()).speed == 60.0
    await reader.close()


async def test_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(stream: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await stream.readuntil(b"\r\n\r\n")
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            while True:
                out.write(b" ")
                await out.drain()
                await asyncio.sleep(0.02)

    monkeypatch.setattr(venue_clock, "TIMEOUT_SECONDS", 0.2)
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        reader = VenueClockReader(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Clock())
        with pytest.raises(ClockUnknown, match="TimeoutError"):
            await reader.ask()
        await reader.close()


@pytest.mark.parametrize("field", ["marketAnchor", "wallAnchor"])
async def test_other_anchors_end_the_process_and_a_venue_that_is_away_does_not(venue: Answers, field: str) -> None:
    changed = {**GOOD, field: "2026-01-06T00:00:00Z"}
    reader = venue(GOOD, GOOD, httpx.ReadTimeout("away"), 503, {**GOOD, "market": "named otherwise"}, changed)
    known = await reader.wait()
    with pytest.raises(ClockChanged, match="starts again"):
        await reader.watch(known)
    await reader.close()
