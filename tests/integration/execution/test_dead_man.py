"""The dead-man switch: armed while an entry rests, off otherwise; after a standstill the desk is whole again, whatever it took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from breakwater.domain.orders import TimeInForce
from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.http import VenueServer
from breakwater.paper_venue.model import Tick
from breakwater.runtime.clocks import Clocks, wall_clocks

from .wall import BTC, entry, fixed_policy, running

D = Decimal
Play = Callable[..., Any]
COUNTDOWN = "/fapi/v1/countdownCancelAll"


def told(rig: Any) -> list[str]:
    """The countdowns that were set, in order, in milliseconds."""
    return [text.split("countdownTime=")[1].split("&")[0] for _, path, text in rig.venue.log if path == COUNTDOWN]


def test_countdown_runs_while_an_entry_rests_is_renewed_and_ends_with_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.sleep(3)
        assert told(rig) == []
        resting = rig.entry("p-1", price=D(99900), time_in_force=TimeInForce.GTX)
        await rig.propose(resting, wait=2)
        assert len(rig.resting()) == 1
        assert told(rig) == ["30000"]
        await rig.sleep(24)
        assert told(rig) == ["30000"] * 3
        await rig.sleep(20)
        assert len(rig.resting()) == 1  # it was renewed in time
        await rig.trip()
        await rig.sleep(3)
        assert rig.resting() == []
        assert told(rig)[-1] == "0"
        count = len(told(rig))
        await rig.sleep(30)
        assert len(told(rig)) == count
        assert not rig.core.ledger.state.accounts["paper"].countdown_wall

    play(scenario)


def test_immediate_entries_need_no_countdown(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=3)
        assert rig.held() == D("0.120")
        assert told(rig) == []

    play(scenario)


def test_entry_of_unknown_outcome_that_may_rest_is_covered(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", "/fapi/v1/order?", faults.lost_reply)
        rig.venue.fail("GET", "/fapi/v1/order?", faults.answer(503, "busy"), times=20)
        await rig.propose(rig.entry("p-1", price=D(99900), time_in_force=TimeInForce.GTX), wait=3)
        assert told(rig)[:1] == ["30000"]

    play(scenario)


def test_account_that_cannot_be_compared_lets_the_countdown_run_out(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry("p-1", price=D(99900), time_in_force=TimeInForce.GTX), wait=2)
        for path in ("/fapi/v3/account", "/fapi/v3/positionRisk"):
            rig.venue.fail("GET", path, faults.answer(503, "busy"), times=10**6)
        rig.venue.fail("DELETE", "/fapi/v1/order?", faults.answer(503, "busy"), times=10**6)
        await rig.sleep(80)
        rig.tick(BTC, "100000")
        assert rig.resting() == []

    play(scenario)


class FarVenue:
    """A paper venue that lives on in a thread of its own, whatever happens to the test's event loop."""

    def __init__(self, config: VenueConfig, clocks: Clocks) -> None:
        self.core = PaperVenue(config)
        self._clocks = clocks
        self._loop = asyncio.new_event_loop()
        self.server = VenueServer(self.core, "127.0.0.1", 0, clocks)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.call(self.server.start())
        self._market = asyncio.run_coroutine_threadsafe(self._tick(), self._loop)

    async def _tick(self) -> None:
        while True:
            now = venue_now(self._clocks)
            self.core.on_tick(Tick(BTC, now.market_ms, D(100000)), now)
            await asyncio.sleep(0.1)

    def ask(self, question: Callable[[], Any]) -> Any:
        """The answer, worked out in the venue's own thread."""

        async def answer() -> Any:
            return question()

        return self.call(answer())

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self) -> None:
        self._market.cancel()
        self.call(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def far_venue(config: VenueConfig, clocks: Clocks) -> Iterator[FarVenue]:
    venue = FarVenue(config, clocks)
    venue.start()
    try:
        yield venue
    finally:
        venue.stop()


@pytest.mark.parametrize("stops_go_too", [False, True])
async def test_standstill_beyond_the_countdown_ends_with_the_position_protected(
    tmp_path: Path, stops_go_too: bool
) -> None:
    """A position with its stop, and an entry that rests. The process stands still; the venue goes on."""
    clocks = wall_clocks()
    with far_venue(VenueConfig(countdown_cancels_algo_orders=stops_go_too), clocks) as far:
        endpoint = Endpoint(far.server.url, far.server.url.replace("http", "ws"))
        client = make_client(endpoint, Credentials("paper-key", "paper-secret"), clocks.infra, timeout_s=3.0)
        async with running(tmp_path, fixed_policy(), far.core, client, clocks) as twin:
            ledger = far.core.ledger

            def stops() -> Any:
                return far.ask(lambda: {stop.algo_id: stop.quantity for stop in ledger.open_algo_orders("paper")})

            def entries() -> Any:
                return far.ask(lambda: list(ledger.open_orders("paper", BTC)))

            await twin.open()
            dead_man = twin.service.parts.dead_man
            dead_man._countdown_s = 3.0
            await twin.propose(entry(twin, 1))
            await twin.until(stops)
            first = stops()
            await asyncio.sleep(0.6)  # the least time between two entries
            await twin.propose(entry(twin, 2, quantity=D("0.012"), price=D(99900), time_in_force=TimeInForce.GTX))
            await twin.until(lambda: entries() and dead_man.armed)

            time.sleep(6)  # noqa: ASYNC251  nothing of ours runs: as if the process had been stopped
            assert (stops() == {}) is stops_go_too
            assert entries() == []
            async with asyncio.timeout(2):  # invariant 6, from the moment it is back
                while sum(stops().values()) != D("0.120"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert stops().keys().isdisjoint(first) is stops_go_too
            await twin.until(lambda: not dead_man.armed)
            assert far.ask(lambda: ledger.state.accounts["paper"].positions[BTC].qty) == D("0.120")
            assert dead_man.pauses == 1
