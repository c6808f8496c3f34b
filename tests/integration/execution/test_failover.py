"""Two addresses of one venue on real sockets; the first one dies at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.refusals import RefusalCode
from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.exchange.failover import Failover
from breakwater.execution.clearance import SWITCH
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue, Response
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.model import Now
from breakwater.runtime.clocks import Clocks, wall_clocks
from breakwater.runtime.events import OrderFilled

from .wall import BTC, Twin, entry, fixed_policy, running

D = Decimal


class Road:
    """Passes bytes on to a server, until it is cut: then nobody there can be reached any more, and every connection breaks."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"http://127.0.0.1:{self.port}", f"ws://127.0.0.1:{self.port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._open |= {writer, far_writer}
        try:
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
        finally:
            for each in (writer, far_writer):
                self._open.discard(each)
                each.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()


class Watched:
    """The venue's core; ``after_order`` is called when an order was executed and before its reply leaves."""

    def __init__(self, core: PaperVenue) -> None:
        self._core = core
        self.after_order: Callable[[], None] | None = None
        self.asked: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def handle(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now) -> Response:
        self.asked.append((method, path))
        reply = self._core.handle(method, path, query, headers, body, now)
        if self.after_order is not None and (method, path) == ("POST", "/fapi/v1/order"):
            done, self.after_order = self.after_order, None
            done()
        return reply


@asynccontextmanager
async def two_roads(tmp_path: Path) -> AsyncIterator[tuple[Twin, Watched, Road, Road]]:
    clocks: Clocks = wall_clocks()
    venue = PaperVenue(VenueConfig())
    first, second = Watched(venue), Watched(venue)
    servers = [VenueServer(each, "127.0.0.1", 0, clocks) for each in (first, second)]  # type: ignore[arg-type]
    roads = []
    for server in servers:
        await server.start()
        road = Road(server.port)
        await road.start()
        roads.append(road)
    client = make_client(
        [road.endpoint for road in roads], Credentials("paper-key", "paper-secret"), clocks.infra, timeout_s=3.0
    )
    try:
        async with running(tmp_path, fixed_policy(), venue, client, clocks) as twin:
            yield twin, first, roads[0], roads[1]
    finally:
        for road in roads:
            await road.close()
        for server in servers:
            await server.stop()


async def test_address_that_dies_in_the_middle_of_an_entry_costs_neither_a_double_nor_the_protection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_roads(tmp_path) as (twin, first, road, other):
        await twin.open()
        parts = twin.service.parts
        told: list[Any] = []
        happened = parts.change.happened

        def seen() -> None:
            happened()
            told.append(twin.service.gate()[1])

        parts.client.on_switch = seen
        first.after_order = road.cut  # the venue has it; nobody will ever say so on this road
        await twin.propose(entry(twin, 1))
        await twin.until(lambda: twin.venue.ledger.open_algo_orders("paper"), 20)
        assert parts.client.failover.present == other.endpoint
        assert told[0].code is RefusalCode.VENUE_NOT_CLEARED
        assert "spoken to at another address" in told[0].text
        account = twin.venue.ledger.state.accounts["paper"]
        assert account.positions[BTC].qty == D("0.120")
        entries = [record for record in twin.venue.ledger.state.audit if record.client_order_id.endswith("-e")]
        assert len(entries) == 1
        (stop,) = twin.venue.ledger.open_algo_orders("paper")
        assert (stop.quantity, stop.trigger_price) == (D("0.120"), D(98000))
        await twin.until(lambda: twin.service.gate()[1] is None)

        # The user stream has come along: what happens now is heard, not fetched.
        fetched = parts.fills.from_rest
        await twin.until(lambda: any(url.startswith(other.endpoint.ws_base) for url in parts.client.clients))
        await asyncio.sleep(0.5)
        twin.tick("97900")
        await twin.until(lambda: len(twin.said(OrderFilled)) >= 2)
        assert parts.fills.from_rest == fetched


async def test_nothing_is_opened_at_the_new_address_before_the_account_was_compared_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_roads(tmp_path) as (twin, _, road, other):
        await twin.open()
        parts = twin.service.parts
        hold = asyncio.Event()
        once = parts.reconciler.once

        async def held(*, whole: bool = False) -> Any:
            await hold.wait()
            return await once(whole=whole)

        monkeypatch.setattr(parts.reconciler, "once", held)
        road.cut()
        await twin.until(lambda: parts.client.failover.present == other.endpoint)
        await twin.propose(entry(twin, 1))
        await asyncio.sleep(0.5)
        assert twin.entries() == []
        assert twin.refusals()[-1].code is RefusalCode.VENUE_NOT_CLEARED
        hold.set()
        await twin.until(lambda: twin.service.gate()[1] is None)
        await twin.propose(entry(twin, 2))
        await twin.until(lambda: twin.venue.ledger.open_algo_orders("paper"))


async def test_first_address_is_used_again_once_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("breakwater.exchange.client.HOME_CHECK_S", 0.1)
    monkeypatch.setattr("breakwater.exchange.failover.HOME_AFTER_S", 1.0)
    async with two_roads(tmp_path) as (twin, _, road, other):
        await twin.open()
        failover: Failover = twin.service.parts.client.failover
        home = road.endpoint
        road.cut()
        await twin.until(lambda: failover.present == other.endpoint)
        await asyncio.sleep(1.5)
        assert failover.present == other.endpoint  # it still does not answer
        await road.start()
        await twin.until(lambda: failover.present == home)
        await twin.until(lambda: twin.service.gate()[1] is None)
        assert SWITCH not in twin.service.parts.clearance.trouble()
        await twin.propose(entry(twin, 1))
        await twin.until(lambda: twin.venue.ledger.open_algo_orders("paper"))
