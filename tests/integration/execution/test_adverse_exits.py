"""What may go wrong on the way out: hanging calls, hanging disk, marks that stand still, a venue that counts requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater.runtime.events import FlatConfirmed, OrderFilled

D = Decimal
Play = Callable[..., Any]
HOST = "http://venue.memory"
ORDER = "/fapi/v1/order?"
ALGO = "/fapi/v1/algoOrder"


def test_cancel_that_hangs_does_not_hold_back_the_exit(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(quantity=D("0.050")), wait=1)
        await rig.propose(rig.entry("p-2", quantity=D("0.050"), price=D("99900"), time_in_force="GTX"))
        assert len(rig.resting()) == 1
        rig.slow[f"DELETE {HOST}/fapi/v1/order"] = 2.9
        await rig.trip()
        await rig.sleep(0.5)
        assert rig.held() == 0
        rig.slow.clear()
        await rig.sleep(6)
        assert rig.resting() == []
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_exit_whose_fate_cannot_be_asked_is_sent_again(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig.venue.fail("POST", ORDER, faults.never_arrived)
        rig.venue.fail("GET", ORDER, faults.never_arrived, times=100_000)
        rig.venue.fail("GET", ALGO, faults.never_arrived, times=100_000)
        await rig.trip()
        await rig.sleep(6)
        assert rig.held() == 0

    play(scenario)


def test_exit_that_hangs_is_followed_by_another_within_three_seconds(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig.slow[f"POST {HOST}/fapi/v1/order"] = 60.0
        await rig.trip()
        await rig.sleep(1)
        rig.slow.clear()
        await rig.sleep(1.9)
        assert rig.held() == 0

    play(scenario)


def test_mark_that_stands_still_does_not_keep_the_exit_from_the_market(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        protection = type(rig.entry().protection)
        await rig.propose(
            rig.entry(symbol="ETHUSDT", quantity=D("2"), price=D("4020"), protection=protection(D("3920"))), wait=1
        )
        busy = rig.venue.fail("POST", ORDER, faults.answer(503, '{"code":-1008,"msg":"busy"}'), times=1000)
        rig.venue.fail("POST", ALGO, faults.answer(503, '{"code":-1008,"msg":"busy"}'), times=1000)
        for algo in list(rig.core.ledger.open_algo_orders("paper", "ETHUSDT")):
            await rig._client.fapiPrivateDeleteAlgoOrder({"symbol": "ETHUSDT", "clientAlgoId": algo.client_algo_id})
        await rig.trip()
        await rig.sleep(6)
        rig.tick("ETHUSDT", "3750")  # below every quote off the mark of 4000, and market data does not say so
        busy[0] = 0
        await rig.sleep(4)
        assert rig.held("ETHUSDT") == 0

    play(scenario)


def test_long_flattening_stays_within_the_request_weight(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        busy = rig.venue.fail("POST", ORDER, faults.answer(503, '{"code":-1008,"msg":"busy"}'), times=100_000)
        used: list[int] = []
        note = rig.service.parts.governor.note

        def watch(reply: Any) -> None:
            used.append(int(reply.headers.get("x-mbx-used-weight-1m", 0)))
            note(reply)

        rig.service.parts.governor.note = watch
        await rig.trip()
        await rig.sleep(90)
        busy[0] = 0
        await rig.sleep(6)
        assert max(used) < 2400
        assert rig.service.parts.governor.bans == 0
        assert rig.held() == 0

    play(scenario)


def test_trades_that_hang_do_not_delay_the_stop_of_another_fill(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.slow[f"GET {HOST}/fapi/v1/userTrades"] = 2.9
        asyncio.get_running_loop().create_task(rig.service.parts.fills.pull("BTCUSDT"))
        await rig.sleep(0.1)
        await rig.propose(rig.entry(), wait=1.0)
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]

    play(scenario)


def test_disk_that_hangs_does_not_hold_back_the_exit(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        append, stuck = rig.disk.append, asyncio.Event()

        async def hang(name: str, data: bytes) -> None:
            await stuck.wait()
            await append(name, data)

        rig.disk.append = hang
        await rig.trip()
        await rig.sleep(2)
        assert rig.held() == 0
        stuck.set()
        await rig.sleep(3)
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


@pytest.mark.parametrize("before_s", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_stop_that_triggers_while_the_exit_is_on_its_way_ends_flat_once(play: Play, before_s: float) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig.slow[f"POST {HOST}/fapi/v1/order"] = 0.03
        await rig.trip()
        await rig.sleep(before_s)
        await rig.move("BTCUSDT", "97900")
        await rig.sleep(3)
        assert rig.held() == 0
        assert sum(f.quantity * f.side.sign for f in rig.said(OrderFilled)) == 0
        assert rig.stops() == []
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_triggered_stop_that_never_finishes_is_not_taken_for_cover(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        stop = rig.service.books.working("BTCUSDT", "STOP")[0]
        # The venue says that it triggered, and nothing executes.
        stop.state = type(stop.state).TRIGGERED
        before = rig.venue.count("POST", ALGO)
        rig.service.parts.protection.wake("BTCUSDT")
        await rig.sleep(3)
        assert rig.venue.count("POST", ALGO) > before or rig.held() == 0

    play(scenario)
