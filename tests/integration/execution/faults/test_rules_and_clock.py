"""What is known of the venue goes out of date while the desk runs: filters, a symbol's status, the clock."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.faults.catalogue import Fault
from breakwater.paper_venue.faults.plan import FaultPlan, FaultRule, Match
from breakwater.runtime.events import OrderFailed, OrderFilled, OrderRefused

D = Decimal
Play = Callable[..., Any]
BTC = Match(symbol="BTCUSDT")


def strike(rig: Any, *rules: FaultRule) -> None:
    rig.faults.load(FaultPlan(1, rules), venue_now(rig.clocks))


def test_price_filter_changed_the_stop_is_laid_on_the_new_grid_and_the_position_stays(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        strike(rig, FaultRule(Fault.FILTER_CHANGED, BTC, tick_size=D(300)))
        await rig.propose(rig.entry(), wait=2.5)
        assert rig.stops() == [(D("0.120"), D("98100"))]  # towards the market
        assert [fill.role for fill in rig.said(OrderFilled)] == ["ENTRY"]

    play(scenario)


def test_entry_off_the_new_grid_is_refused_once_and_nothing_is_sent_again(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        strike(rig, FaultRule(Fault.FILTER_CHANGED, BTC, tick_size=D(700)))
        await rig.propose(rig.entry(), wait=8)
        assert [(failed.code, failed.counts_as_error) for failed in rig.said(OrderFailed)] == [("-4014", True)]
        assert rig.accepted() == []
        assert rig.service._instruments.get("BTCUSDT").tick_size == D(700)

    play(scenario)


def test_halted_symbol_opens_nothing_until_the_venue_lists_it_again(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        strike(rig, FaultRule(Fault.SYMBOL_HALTED, Match(symbol="BTCUSDT", to_s=40)))
        await rig.propose(rig.entry(), wait=2)
        assert [failed.code for failed in rig.said(OrderFailed)] == ["-4108"]
        posts = rig.venue.count("POST", "/fapi/v1/order?")
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.venue.count("POST", "/fapi/v1/order?") == posts  # the gate knows by now
        assert len(rig.said(OrderRefused)) == 1
        await rig.sleep(70)
        await rig.snapshot()
        await rig.move("BTCUSDT", "100000")
        await rig.propose(rig.entry("p-3"), wait=1)
        assert rig.held() == D("0.120")

    play(scenario)


@pytest.mark.parametrize("jump_ms", [30_000, -30_000])
def test_clock_that_jumps_while_a_position_is_held_does_not_keep_the_exit_from_the_venue(
    play: Play, jump_ms: int
) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig._client.options["timeDifference"] += jump_ms
        await rig.trip()
        await rig.sleep(3)
        assert rig.held() == 0
        assert rig._client.options["timeDifference"] == 0

    play(scenario)


def test_stop_whose_request_hangs_is_followed_by_another_before_the_deadline(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        strike(rig, FaultRule(Fault.HANG, Match(method="POST", path="*/algoOrder"), executed=False))
        await rig.propose(rig.entry(), wait=1.9)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        await rig.sleep(10)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert [fill.role for fill in rig.said(OrderFilled)] == ["ENTRY"]

    play(scenario)
