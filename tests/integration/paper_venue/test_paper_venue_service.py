"""The whole component on a real port: market, server, saved state, restart and kill -9."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.http import PortInUseError
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.service import PaperVenueService
from breakwater.runtime.clocks import wall_clocks

START = datetime(2025, 10, 1, tzinfo=UTC)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def _service(state: Path | None = None, port: int = 0, anchor: datetime = START) -> PaperVenueService:
    clocks = wall_clocks(speed=60, market_anchor=anchor)
    market = SyntheticMarket(11, SYMBOLS, START)
    return PaperVenueService(VenueConfig(), market, clocks, port=port, state_path=state)


async def _call(url: str, method: str, path: str, **params: object) -> Any:
    raw = urlencode({**params, "timestamp": int(time.time() * 1000), "recvWindow": 10000})
    raw += "&signature=" + hmac.new(b"paper-secret", raw.encode(), hashlib.sha256).hexdigest()
    async with (
        aiohttp.ClientSession(headers={"X-MBX-APIKEY": "paper-key"}) as session,
        session.request(method, f"{url}{path}?{raw}") as reply,
    ):
        body = await reply.json()
        assert reply.status == 200, body
        return body


async def test_market_runs_at_its_speed_and_candles_have_history() -> None:
    service = _service()
    await service.start()
    runner = asyncio.create_task(service.run())
    try:
        candles = await _call(service.url, "GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=300)
        assert len(candles) == 300
        before = await _call(service.url, "GET", "/fapi/v1/ticker/price", symbol="BTCUSDT")
        await asyncio.sleep(0.5)
        after = await _call(service.url, "GET", "/fapi/v1/ticker/price", symbol="BTCUSDT")
        assert 10_000 <= after["time"] - before["time"] <= 120_000
    finally:
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await service.stop()


async def test_port_in_use_is_named_with_a_remedy() -> None:
    first = _service()
    await first.start()
    second = _service(port=first.server.port)
    try:
        with pytest.raises(PortInUseError, match=rf"port {first.server.port} .* choose another port"):
            await second.start()
    finally:
        await first.stop()


async def test_stop_fires_on_the_ticks_that_passed_while_the_venue_was_down(tmp_path: Path) -> None:
    state = tmp_path / "venue.json"
    service = _service(state)
    await service.start()
    market = SyntheticMarket(11, SYMBOLS, START)
    ticks = market.ticks()
    for _ in range(180):
        tick = next(ticks)
        service.venue.on_tick(tick, _now(tick.time_ms))
    await _call(service.url, "POST", "/fapi/v1/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    last = service.venue.ledger.last_price("BTCUSDT")
    trigger = (last * Decimal("0.97")).quantize(Decimal("0.1"))
    await _call(
        service.url,
        "POST",
        "/fapi/v1/algoOrder",
        algoType="CONDITIONAL",
        symbol="BTCUSDT",
        side="SELL",
        type="STOP_MARKET",
        quantity="0.01",
        triggerPrice=trigger,
        reduceOnly="true",
    )
    await service.stop()

    # Six hours later, the scheduled crash is over.
    later = _service(state, anchor=datetime(2025, 10, 1, 6, tzinfo=UTC))
    await later.start()
    runner = asyncio.create_task(later.run())
    try:
        async with asyncio.timeout(20):
            while later.venue.ledger.open_algo_orders():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        trades = await _call(later.url, "GET", "/fapi/v1/userTrades", symbol="BTCUSDT")
        assert [t["side"] for t in trades] == ["BUY", "SELL"]
        assert Decimal(trades[1]["price"]) <= trigger
        assert datetime.fromtimestamp(trades[1]["time"] / 1000, UTC) < datetime(2025, 10, 1, 5, tzinfo=UTC)
    finally:
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await later.stop()


async def test_while_it_catches_up_the_venue_is_alive_and_lets_nobody_in(tmp_path: Path) -> None:
    state = tmp_path / "venue.json"
    service = _service(state)
    await service.start()
    await service.stop()

    later = _service(state, anchor=datetime(2025, 10, 3, tzinfo=UTC))
    starting = asyncio.create_task(later.start())
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"{later.url}{path}") as reply:
                return reply.status, await reply.text()

        async with asyncio.timeout(20):
            while not later.server.port:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        ready, time_of_day, alive = [await get(path) for path in ("/readyz", "/fapi/v1/time", "/livez")]
        assert not starting.done(), "two days of ticks are not done in a moment"
        assert ready[0] == 503
        assert "catching up" in ready[1]
        assert (time_of_day[0], alive[0]) == (503, 200)
        assert "-1001" in time_of_day[1]
        await starting
        assert [(await get(path))[0] for path in ("/readyz", "/fapi/v1/time", "/healthz")] == [200] * 3
        assert (await get("/readyz?verbose"))[1].startswith("[+]paper_venue.market ok")
        candles = await _call(later.url, "GET", "/fapi/v1/klines", symbol="BTCUSDT", interval="5m", limit=500)
        opened = [row[0] for row in candles]
        assert {after - before for before, after in itertools.pairwise(opened)} == {300_000}, "no gap in history"
        assert opened[-1] >= datetime(2025, 10, 2, 23, 50, tzinfo=UTC).timestamp() * 1000
    await later.stop()


def _now(time_ms: int) -> Now:
    return Now(time_ms, int(time.time() * 1000))


CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.paper_venue.service import PaperVenueService
from breakwater.runtime.clocks import wall_clocks

async def main():
    start = datetime(2025, 10, 1, tzinfo=UTC)
    service = PaperVenueService(
        VenueConfig(), SyntheticMarket(11, ("BTCUSDT",), start), wall_clocks(speed=60, market_anchor=start),
        state_path=Path(sys.argv[1]),
    )
    await service.start()
    print(service.url, flush=True)
    await service.run()

asyncio.run(main())
"""


async def test_killed_process_loses_no_acknowledged_order(tmp_path: Path) -> None:
    def launch() -> tuple[subprocess.Popen[bytes], str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "venue.json")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"http"):
                return process, line.decode().strip()
        raise AssertionError("the venue did not start")

    process, url = await asyncio.to_thread(launch)
    try:
        bought = await _call(
            url,
            "POST",
            "/fapi/v1/order",
            symbol="BTCUSDT",
            side="BUY",
            type="MARKET",
            quantity="0.01",
            newOrderRespType="RESULT",
        )
        stop = await _call(
            url,
            "POST",
            "/fapi/v1/algoOrder",
            algoType="CONDITIONAL",
            symbol="BTCUSDT",
            side="SELL",
            type="STOP_MARKET",
            quantity="0.01",
            triggerPrice="20000",
            reduceOnly="true",
            clientAlgoId="s",
        )
        before = await _call(url, "GET", "/fapi/v3/account")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process, url = await asyncio.to_thread(launch)
    try:
        order = await _call(url, "GET", "/fapi/v1/order", symbol="BTCUSDT", orderId=bought["orderId"])
        assert (order["status"], order["avgPrice"]) == ("FILLED", bought["avgPrice"])
        (open_stop,) = await _call(url, "GET", "/fapi/v1/openAlgoOrders")
        assert open_stop["algoId"] == stop["algoId"]
        after = await _call(url, "GET", "/fapi/v3/account")
        assert after["totalWalletBalance"] == before["totalWalletBalance"]
        assert after["positions"][0]["positionAmt"] == "0.01"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
