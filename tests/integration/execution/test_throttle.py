"""The gate's own count of identical entries: it closes, exits still go, and a person's word opens it again."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import LimitOverrides
from breakwater.runtime.events import OrderRefused, OrderSubmitted, ThrottleEnabled

D = Decimal
Play = Callable[..., Any]


def refusals(rig: Any) -> list[str]:
    return [r.refusal.code for r in rig.said(OrderRefused)]


async def repeat(rig: Any, names: str) -> None:
    """The same entry, below the market, so that it comes to nothing each time."""
    for name in names:
        await rig.mark(Symbol("BTCUSDT"))
        await rig.snapshot()
        await rig.propose(rig.entry(f"p-{name}", price=D("99900")), wait=3)  # three tries


def test_identical_entries_are_refused_until_a_person_enables_the_symbol(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, limits=LimitOverrides(max_repeated_orders=3))
        await repeat(rig, "abcde")
        assert refusals(rig) == ["REPEATED_ORDER", "REPEATED_ORDER"]
        assert {order.proposal_id.partition("~")[0] for order in rig.said(OrderSubmitted)} == {"p-a", "p-b", "p-c"}
        enabled = ThrottleEnabled(Symbol("BTCUSDT"), rig.clocks.market.now(), "alice", "fixed", "r1")
        await rig.say("risk_manager", enabled)
        await repeat(rig, "fgh")
        assert refusals(rig) == ["REPEATED_ORDER", "REPEATED_ORDER"]
        await repeat(rig, "i")
        assert refusals(rig) == ["REPEATED_ORDER"] * 3

    play(scenario)


def test_throttled_symbol_is_still_left_when_the_stop_trips(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, limits=LimitOverrides(max_repeated_orders=1))
        await rig.propose(rig.entry(), wait=1)
        assert rig.held() == D("0.120")
        await rig.propose(rig.entry("p-2"), wait=1)
        assert refusals(rig) == ["REPEATED_ORDER"]
        await rig.trip()
        await rig.sleep(3)
        assert rig.held() == 0

    play(scenario)
