"""The ladder of an exit that does not get through: MARKET in chunks, IOC through the mark from 5 s on, a page at 15 s."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.runtime.events import FlatConfirmed

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"
BUSY = (503, '{"code":-1008,"msg":"busy"}')
PERCENT_PRICE = (
    400,
    '{"code":-4131,"msg":"The counterparty best price does not meet the PERCENT_PRICE filter limit."}',
)


def exits(rig: Any) -> list[str]:
    """Types of the exits that the venue took, in order."""
    return [str(request.type) for request in rig.accepted() if request.reduce_only]


def tried(rig: Any, kind: str) -> int:
    count: int = rig.venue.count("POST", f"type={kind}&")
    return count


def test_first_rung_is_market_and_nothing_else(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        await rig.trip()
        await rig.sleep(1)
        assert exits(rig) == ["MARKET"]
        flattener = rig.service.parts.flattener
        assert (flattener.requotes, flattener.pages) == (0, 0)

    play(scenario)


def test_market_that_stays_refused_is_chased_with_ioc_from_five_seconds_on(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        limits_before = tried(rig, "LIMIT")
        rig.venue.fail("POST", "type=MARKET&", faults.answer(*BUSY), times=100_000)
        await rig.trip()
        await rig.sleep(4.5)
        assert rig.held() == D("0.120")
        assert tried(rig, "LIMIT") == limits_before  # the market alone, so far
        assert tried(rig, "MARKET") > 1
        await rig.sleep(4)
        assert rig.held() == 0
        assert exits(rig) == ["LIMIT"]
        assert rig.service.parts.flattener.requotes > 0
        assert rig.service.parts.flattener.pages == 0
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_percent_price_refusal_is_chased_at_once_each_chunk_for_itself(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        rules = rig.service._instruments.get("BTCUSDT")
        rig.service._instruments.update([msgspec.structs.replace(rules, max_market_quantity=D("0.050"))])
        rig.venue.fail("POST", "type=MARKET&", faults.answer(*PERCENT_PRICE), times=2)
        await rig.trip()
        await rig.sleep(1)
        assert exits(rig) == ["LIMIT", "LIMIT", "MARKET"]
        assert rig.held() == 0

    play(scenario)


def test_percent_price_refusal_and_a_chase_that_misses_go_on_until_flat(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        market = rig.venue.fail("POST", "type=MARKET&", faults.answer(*PERCENT_PRICE), times=100_000)
        rig.fill_model.most = D("0.030")  # each IOC gets a part
        await rig.trip()
        await rig.sleep(12)
        assert rig.held() == 0
        assert set(exits(rig)) == {"LIMIT"}
        assert len(exits(rig)) >= 4
        assert market[0] < 100_000
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_page_comes_once_at_fifteen_seconds_and_the_exits_go_on(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        busy = rig.venue.fail("POST", ORDER, faults.answer(*BUSY), times=100_000)
        await rig.trip()
        flattener = rig.service.parts.flattener
        await rig.sleep(14.5)
        assert flattener.pages == 0
        await rig.sleep(1)
        assert flattener.pages == 1
        before = rig.venue.count("POST", ORDER)
        await rig.sleep(30)
        assert flattener.pages == 1
        assert rig.venue.count("POST", ORDER) > before
        busy[0] = 0
        await rig.sleep(8)
        assert rig.held() == 0

    play(scenario)


def test_flat_in_time_pages_nobody(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        await rig.trip()
        await rig.sleep(20)
        assert rig.service.parts.flattener.pages == 0

    play(scenario)


@pytest.mark.parametrize("redis", [True, False])
def test_halt_climbs_the_same_ladder_with_and_without_redis(play: Play, faults: Any, redis: bool) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        rig.broker.up = redis
        rig.venue.fail("POST", "type=MARKET&", faults.answer(*BUSY), times=100_000)
        await rig.service.halt("alice", "news")
        await rig.sleep(9)
        assert rig.held() == 0
        assert exits(rig) == ["LIMIT"]
        rig.broker.up = True

    play(scenario)


def test_trip_that_keeps_positions_sends_no_exit_and_confirms_once_all_is_covered(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        await rig.propose(rig.entry("p-2", price=D("99900"), time_in_force="GTX", quantity=D("0.010")))
        (stop,) = rig.core.ledger.open_algo_orders("paper", "BTCUSDT")
        blocked = rig.venue.fail("POST", "/fapi/v1/algoOrder", faults.answer(*BUSY), times=100_000)
        await rig._client.fapiPrivateDeleteAlgoOrder({"symbol": "BTCUSDT", "clientAlgoId": stop.client_algo_id})
        await rig.trip(close_positions=False)
        await rig.sleep(0.5)
        assert rig.resting() == []  # entries go in any case
        assert not rig.said(FlatConfirmed)  # a position without a stop is not "flat"
        blocked[0] = 0
        await rig.sleep(4)
        (confirmed,) = rig.said(FlatConfirmed)
        assert rig.stops() or rig.held() == 0
        assert confirmed.positions == (1 if rig.held() else 0)

    play(scenario)
