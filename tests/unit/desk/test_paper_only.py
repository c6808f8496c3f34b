"""A paper desk shows its keys to a paper venue only."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from breakwater.desk.component import run_component
from breakwater.runtime.http import listen
from breakwater.runtime.settings import SettingsError, load_settings
from breakwater.runtime.valkey_server import EmbeddedServer

REAL = [
    "https://fapi.binance.com",
    "https://FAPI.Binance.com.:443",
    "https://demo-fapi.binance.com",
    "https://api.bybit.com",
]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    for name in ("key", "secret", "token"):
        (tmp_path / name).write_text("x" * 64)
    return {
        "BREAKWATER_API_KEY_FILE": str(tmp_path / "key"),
        "BREAKWATER_API_SECRET_FILE": str(tmp_path / "secret"),
        "BREAKWATER_TOKEN_FILE": str(tmp_path / "token"),
        "BREAKWATER_HTTP_HOST": "127.0.0.1",
        "REDIS_URL": "redis://127.0.0.1:1",
        "BREAKWATER_STATE_DIR": str(tmp_path / "state"),
        **more,
    }


@pytest.mark.parametrize("url", REAL)
async def test_real_exchange_is_refused_by_name_before_anything_is_sent(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="real exchange"):
        await run_component("execution", load_settings(environment(tmp_path, BREAKWATER_VENUE_URL=url)))


async def test_real_exchange_as_the_address_of_streams_is_refused(tmp_path: Path) -> None:
    venue = {
        "BREAKWATER_VENUE_URL": "http://127.0.0.1:1",
        "BREAKWATER_VENUE_WS_URL": "wss://fstream.binance.com",
    }
    with pytest.raises(SettingsError, match=r"VENUE_WS_URL names a real exchange \(fstream.binance.com\)"):
        await run_component("market_data", load_settings(environment(tmp_path, **venue)))


@pytest.mark.parametrize("name", ["execution", "market_data"])
async def test_address_that_does_not_answer_as_a_paper_venue_sees_neither_key_nor_order(
    tmp_path: Path, name: str
) -> None:
    asked: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, request.path))
        assert "X-MBX-APIKEY" not in request.headers
        return web.json_response({"serverTime": 1}, status=404 if len(asked) % 2 else 200)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        own = listen("127.0.0.1", 0)
        own_port = own.getsockname()[1]
        own.close()
        redis = EmbeddedServer(tmp_path / "redis")
        await redis.start()
        stack.push_async_callback(redis.stop)
        addresses = {
            "REDIS_URL": redis.url,
            "BREAKWATER_VENUE_URL": f"http://127.0.0.1:{port}",
            "BREAKWATER_HTTP_PORT": str(own_port),
        }
        settings = load_settings(environment(tmp_path, **addresses))
        running = asyncio.ensure_future(run_component(name, settings))
        async with asyncio.timeout(20):
            while len(asked) < 3 and not running.done():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert set(asked) == {("GET", "/v1/clock")}
