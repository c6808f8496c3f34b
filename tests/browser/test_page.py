"""The page in a real browser, fed with canned events."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from breakwater.dashboard.equity_curve import EquityCurve
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import StopState
from breakwater.runtime import events as e

LIVE = "document.body.className === 'live'"


async def a_morning(desk: Any, points: int = 24) -> None:
    """A desk with two positions, some history and refusals; the equity curve needs a second of real time per point."""
    desk_equity = 14000.0
    await desk.lease()
    await desk.beat(failing="risk_manager")
    await desk.trade("BTCUSDT", "0.124", "113012.4")
    await desk.trade("ETHUSDT", "3.456", "4011.25")
    await desk.refuse(RefusalCode.EXPOSURE, "exposure would be 212 % of equity, the limit is 200 %: wait for an exit")
    await desk.refuse(RefusalCode.EXPOSURE, "exposure would be 208 % of equity, the limit is 200 %: wait for an exit")
    await desk.refuse(
        RefusalCode.MARGIN_MIN, "margin would be 82 USD, below 100 USD: raise equity or lower the minimum"
    )
    await desk.fail("reduce-only order would not reduce: the position is flat at the venue")
    await desk.say(
        "policy", e.PolicyUpdated(3, "ab" * 32, "anna", ("TradingPolicy.spec.limits.maxLeverage: 30 -> 20",))
    )
    for step in range(points):
        desk.time += timedelta(seconds=20)
        wave = [0, 12, 25, 18, -8, -30, -55, -41, -62, -95, -120, -101][step % 12] - 8 * step
        btc, eth = 113012.4 + wave * 6, 4011.25 + wave * 0.3
        await desk.tick("BTCUSDT", f"{btc:.1f}")
        await desk.tick("ETHUSDT", f"{eth:.2f}")
        first = desk.position("BTCUSDT", "0.124", "113012.4", f"{btc:.1f}")
        second = desk.position("ETHUSDT", "3.456", "4011.25", f"{eth:.2f}")
        total = desk_equity + float(first.unrealised_pnl + second.unrealised_pnl) - 14.2
        await desk.snapshot(f"{total:.2f}", first, second)
        await desk.lease()
        if points > 1:
            await asyncio.sleep(0.03)


@pytest.fixture
def quick_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equity points each 20 ms instead of each second."""
    monkeypatch.setattr("breakwater.dashboard.state.EquityCurve", lambda: EquityCurve(spacing=0.02))


@pytest.mark.usefixtures("quick_curve")
async def test_page_with_a_trading_desk_shows_its_figures_live(page: Any, canned_desk: Any) -> None:
    await page.open(canned_desk.url)
    await page.until("document.getElementById('fresh').textContent === 'no market tick yet'")
    await a_morning(canned_desk)
    await page.until(LIVE)
    await page.until("document.querySelectorAll('#positions tr').length === 2")
    assert await page.text("mode") == "PAPER"
    assert await page.text("market") == "SYNTHETIC · synthetic:7 · ×20"
    assert await page.text("stop-state") == "ARMED"
    assert "BTCUSDT" in await page.text("positions")
    assert "EXPOSURE2" in await page.text("refusals")
    assert "-2022" in await page.text("events")
    await page.until("document.querySelector('#curve path.line') !== null")
    await canned_desk.lease()
    await page.picture("desk-dark")
    await page.resize(1280, 1400, dark=False)
    await canned_desk.lease()
    await asyncio.sleep(0.3)
    await page.picture("desk-light")
    assert page.problems == []


@pytest.mark.usefixtures("quick_curve")
async def test_page_when_the_stop_trips_says_why_and_what_a_reset_needs(page: Any, canned_desk: Any) -> None:
    await page.open(canned_desk.url)
    await a_morning(canned_desk)
    await page.until(LIVE)
    canned_desk.epoch, trip = 2, canned_desk.trip()
    await canned_desk.say(
        "emergency_stop",
        e.StopTripped(2, StopState.ARMED, StopState.TRIPPED, canned_desk.time, "emergency_stop", trip.reason, trip),
    )
    await canned_desk.snapshot("13285.54")
    await canned_desk.tick("BTCUSDT", "108012")
    await canned_desk.lease(StopState.TRIPPED, trip)
    await page.until("document.getElementById('stop-state').textContent === 'TRIPPED'")
    assert (await page.text("gate")).endswith("REDUCE ONLY")
    assert await page.text("alert") == "Emergency stop TRIPPED: the day's drawdown is above its limit"
    assert await page.text("trip-measured") == "5.1 %"
    assert await page.text("trip-limit") == "5 % (emergencyStop)"
    flat, until = canned_desk.time, canned_desk.time + timedelta(minutes=7)
    canned_desk.epoch = 3
    await canned_desk.lease(StopState.COOLING_DOWN, trip, flat_at=flat, cooling_down_until=until)
    await page.until("document.getElementById('stop-state').textContent === 'COOLING DOWN'")
    assert (await page.text("trip-left")).startswith("14:")
    needs = await page.text("needs")
    assert "✓ the venue confirms the desk flat" in needs
    assert "○ a new trading day, or --new-baseline" in needs
    assert (await page.text("reset-cli")).startswith("breakwater reset --reason ")
    assert (await page.text("reset-cli")).endswith(" --new-baseline")
    assert '"tripID":"main-7"' in await page.text("reset-kubectl")
    await page.picture("tripped-dark")
    await page.resize(390, 844, dark=False)
    await canned_desk.lease(StopState.COOLING_DOWN, trip, flat_at=flat, cooling_down_until=until)
    await asyncio.sleep(0.4)
    assert await page.read("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways on a phone"
    await page.picture("tripped-phone")
    assert page.problems == []


async def test_page_when_ticks_stop_greys_the_figures_while_the_stream_goes_on(page: Any, canned_desk: Any) -> None:
    await page.open(canned_desk.url)
    await a_morning(canned_desk, points=1)
    await page.until(LIVE)
    for _ in range(14):
        await canned_desk.lease()
        await asyncio.sleep(0.25)
    await page.until("document.body.className === 'stale'")
    assert "STALE: no market tick for" in await page.text("fresh")
    assert await page.read("getComputedStyle(document.getElementById('k-equity')).opacity") == "0.5"
    await canned_desk.tick("BTCUSDT", "113000")
    await page.until(LIVE)


async def test_page_with_markup_in_names_shows_it_as_text(page: Any, canned_desk: Any) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    await page.open(canned_desk.url)
    await a_morning(canned_desk, points=1)
    await canned_desk.tick(evil, "1")
    await canned_desk.trade(evil, "1", "2")
    await canned_desk.refuse(RefusalCode.EXPIRED, evil, evil)
    await canned_desk.snapshot("14000", canned_desk.position(evil, "1", "2", "3"))
    await page.until("document.getElementById('positions').textContent.includes('<script>')")
    await page.until("document.getElementById('events').textContent.includes('<img')")
    assert await page.read("document.querySelectorAll('main img, main script').length") == 0
    assert "owned" not in await page.read("document.title")
    assert page.problems == []


async def test_page_after_a_long_run_keeps_sixty_events(page: Any, canned_desk: Any) -> None:
    await page.open(canned_desk.url)
    await a_morning(canned_desk, points=1)
    for number in range(150):
        await canned_desk.refuse(RefusalCode.EXPIRED, f"signal {number} is too old")
    await page.until("document.getElementById('events').textContent.includes('signal 149 ')")
    assert await page.read("document.querySelectorAll('#events li').length") == 60
    assert "signal 149 " in await page.read("document.querySelector('#events li').textContent")
