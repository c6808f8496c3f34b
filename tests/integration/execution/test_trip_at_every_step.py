"""A trip at every moment of an entry's life, on a wire with latency: nothing is sent afterwards, everything ends flat."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from breakwater.runtime.events import FlatConfirmed, OrderFilled
from breakwater.simulation.transport import Latency

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"
STEP_S = 0.011
MOMENTS = 36
"""Of 11 ms each: from before the entry is journaled until its stop has long been accepted."""


def entries_sent(rig: Any) -> int:
    return sum(
        1
        for method, path, text in rig.venue.log
        if method == "POST" and path.endswith("/fapi/v1/order") and "reduceOnly=true" not in text
    )


@pytest.mark.parametrize("fault", ["", "lost_reply", "never_arrived", "partial"])
def test_trip_at_any_moment_sends_no_entry_afterwards_and_ends_flat(play: Play, faults: Any, fault: str) -> None:
    async def scenario(rig: Any, moment: int) -> int:
        rig.latency = Latency(0.005, 0.02, random.Random(moment))
        await rig.ready()
        if fault == "partial":
            rig.fill_model.most = D("0.040")
        elif fault:
            rig.venue.fail("POST", ORDER, getattr(faults, fault))
        on_the_wire: list[int] = []
        fence = rig.service.parts.gateway._fence
        allowed = 0

        def counted(proposal: Any) -> Any:
            nonlocal allowed
            refusal = fence(proposal)
            if refusal is None and proposal.role == "ENTRY":
                allowed += 1
            return refusal

        rig.service.parts.gateway._fence = counted
        await rig.propose(rig.entry(), wait=moment * STEP_S)
        await rig.trip()
        on_the_wire.append(allowed)
        await rig.sleep(12)
        rig.fill_model.most = None
        await rig.sleep(3)
        assert entries_sent(rig) <= on_the_wire[0], moment
        assert rig.held() == 0, moment
        assert not rig.stops(), moment
        assert not rig.resting(), moment
        assert len(rig.said(FlatConfirmed)) == 1, moment
        fills = rig.said(OrderFilled)
        assert sum((f.quantity * f.side.sign for f in fills), D(0)) == 0, moment
        assert len({(f.symbol, f.trade_id) for f in fills}) == len(fills), moment
        assert rig.service.books.wallet == rig.core.ledger.state.accounts["paper"].wallet, moment
        return entries_sent(rig)

    sent = []
    for moment in range(MOMENTS):

        async def at_this_moment(rig: Any, moment: int = moment) -> int:
            return await scenario(rig, moment)

        sent.append(play(at_this_moment, ready=False))
    assert 0 in sent  # some trips came before the order went
    assert max(sent) >= 1  # and some after
