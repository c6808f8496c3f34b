"""Limits and permissions on old, missing or doubled information: what is not known for certain opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import LimitOverrides
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.runtime.events import MarkPrice, OrderRefused, PortfolioUpdated, StopLease

D = Decimal
Play = Callable[..., Any]


def eth(rig: Any, proposal_id: str = "p-eth", quantity: str = "3") -> Any:
    protection = type(rig.entry().protection)
    return rig.entry(
        proposal_id, symbol="ETHUSDT", quantity=D(quantity), price=D("4020"), protection=protection(D("3920"))
    )


def refusals(rig: Any) -> list[str]:
    return [r.refusal.code for r in rig.said(OrderRefused)]


def test_resting_entry_counts_into_the_margin_of_its_position(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        resting = {"price": D("99900"), "time_in_force": "GTX"}
        await rig.propose(rig.entry(**resting), wait=1)
        await rig.propose(rig.entry("p-2", **resting), wait=1)  # 1,200 + 1,200 of at most 2,000
        assert len(rig.resting()) == 1
        assert refusals(rig) == ["MARGIN_MAX"]

    play(scenario)


def test_entry_that_grows_a_position_counts_the_loss_of_all_of_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.policy.spec = msgspec.structs.replace(
            rig.policy.spec,
            limits=LimitOverrides(max_risk_per_position_pct=D(2), max_position_margin_usd=D(5000)),
        )
        await rig.propose(rig.entry(), wait=1)  # loses 264 of at most 280
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.held() == D("0.120")
        assert refusals(rig) == ["RISK_AT_STOP"]

    play(scenario)


def test_entry_that_lifts_the_position_into_a_bracket_of_less_leverage_is_refused(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rules = rig.service._instruments.get("BTCUSDT")
        low = msgspec.structs.replace(rules.brackets[0], notional_cap=D(13_000))
        high = msgspec.structs.replace(rules.brackets[0], notional_cap=D(90_000), max_leverage=5)
        rig.service._instruments.update([msgspec.structs.replace(rules, brackets=(low, high))])
        await rig.propose(rig.entry(), wait=1)
        await rig.propose(rig.entry("p-2", quantity=D("0.020")), wait=1)
        assert refusals(rig) == ["LEVERAGE"]

    play(scenario)


def test_position_whose_mark_is_not_known_is_not_counted_as_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        await rig.kill()
        await rig.start()
        await rig.sleep(0.5)
        await rig.snapshot()
        await rig.mark("ETHUSDT")
        await rig.propose(eth(rig), wait=1)
        assert refusals(rig) == ["PRICE_UNKNOWN"]
        await rig.mark("BTCUSDT")
        await rig.propose(eth(rig, "p-3"), wait=1)
        assert rig.held("ETHUSDT") == 3

    play(scenario)


@pytest.mark.parametrize("what", ["old", "not reconciled", "mark missing"])
def test_snapshot_that_says_too_little_gives_no_equity(play: Play, what: str) -> None:
    async def scenario(rig: Any) -> None:
        now = rig.clocks.market.now()
        value = D(14_000)
        snapshot = Snapshot(
            2,
            now,
            value,
            D(0),
            value,
            value,
            now.date(),
            D(0),
            D(0),
            D(0),
            D(0),
            (),
            reconciled=what != "not reconciled",
        )
        if what == "old":
            snapshot = msgspec.structs.replace(snapshot, time=now - timedelta(seconds=11))
        if what == "mark missing":
            snapshot = msgspec.structs.replace(snapshot, marks_missing=("ETHUSDT",))
        await rig.say("portfolio", PortfolioUpdated(snapshot))
        await rig.propose(rig.entry(), wait=1)
        assert refusals(rig) == ["EQUITY_UNKNOWN"]
        assert rig.held() == 0

    play(scenario)


def test_mark_older_than_the_stop_allows_is_no_price(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        then = rig.clocks.market.now() - timedelta(seconds=11)
        await rig.say("market_data", MarkPrice(Symbol("BTCUSDT"), D("100000"), then))
        await rig.propose(rig.entry(), wait=1)
        assert refusals(rig) == ["PRICE_UNKNOWN"]

    play(scenario)


def test_two_stops_of_one_epoch_the_stricter_holds(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        def view(state: StopState) -> StopView:
            return StopView(state, 5, 1, rig.clocks.infra.utc_now(), D(1), reduce_only=False)

        rig.silence_stop()
        await rig.say("emergency_stop", StopLease(view(StopState.TRIPPED)), state=True)
        await rig.sleep(0.1)
        await rig.say("emergency_stop", StopLease(view(StopState.ARMED)), state=True)
        await rig.propose(rig.entry(), wait=0.1)
        assert refusals(rig) == ["STOP_TRIPPED"]

    play(scenario)


def test_lease_longer_than_a_second_is_cut_to_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.silence_stop()
        await rig.sleep(0.4)
        view = StopView(StopState.ARMED, 1, 1000, rig.clocks.infra.utc_now(), D(3600), reduce_only=False)
        await rig.say("emergency_stop", StopLease(view), state=True)
        await rig.sleep(1.1)
        await rig.propose(rig.entry(), wait=1)
        assert refusals(rig) == ["STOP_LEASE_EXPIRED"]

    play(scenario)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "sNaN"])
def test_number_that_is_none_is_refused_and_stops_nobody_else(play: Play, number: str) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(quantity=D(number)), wait=0.6)
        await rig.propose(rig.entry("p-2", price=D(number)), wait=0.6)
        await rig.propose(rig.entry("p-3"), wait=1)
        assert refusals(rig) == ["QUANTITY_GRID", "QUANTITY_GRID"]
        assert rig.held() == D("0.120")

    play(scenario)
