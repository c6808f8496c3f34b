"""The two seconds in which a position needs a stop or its exit, when requests fail in ways that eat the time."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.faults.catalogue import Fault
from breakwater.paper_venue.faults.plan import FaultPlan, FaultRule, Match

Play = Callable[..., Any]
STOPS = Match(method="POST", path="*/algoOrder")


@pytest.mark.parametrize("fault", [Fault.RESET_BEFORE, Fault.BUSY_1008, Fault.HANG])
def test_no_stop_gets_through_and_the_exit_leaves_by_the_deadline_not_an_attempt_later(
    play: Play, fault: Fault
) -> None:
    async def scenario(rig: Any) -> None:
        executed = False if fault is Fault.HANG else None
        rig.faults.load(FaultPlan(1, (FaultRule(fault, STOPS, count=0, executed=executed),)), venue_now(rig.clocks))
        await rig.propose(rig.entry(), wait=1.9)
        assert rig.held() == Decimal("0.120")
        await rig.sleep(0.15)
        assert rig.held() == 0

    play(scenario)


def test_stop_whose_outcome_stayed_unknown_for_its_whole_attempt_is_followed_at_once(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        lost = Match(to_s=1.5)
        await rig.propose(rig.entry(), wait=0)
        while not rig.held():
            await rig.sleep(0.001)
        rig.faults.load(FaultPlan(1, (FaultRule(Fault.RESET_BEFORE, lost, count=0),)), venue_now(rig.clocks))
        await rig.sleep(1.95)
        assert rig.stops() == [(Decimal("0.120"), Decimal(98000))]

    play(scenario)
