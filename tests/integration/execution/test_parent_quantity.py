"""Orders made of one proposal never add up to more than the proposal, whoever makes them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.ids import ProposalId
from breakwater.execution.client_ids import child_id

D = Decimal
Play = Callable[..., Any]


@pytest.mark.parametrize(("quantity", "passes"), [("0.020", True), ("0.021", False), ("0.120", False)])
def test_child_beyond_what_is_left_of_its_parent_is_refused(play: Play, quantity: str, passes: bool) -> None:
    async def scenario(rig: Any) -> None:
        root = msgspec.structs.replace(rig.entry(), time_in_force="GTX", price=D("99900"))
        await rig.propose(root, wait=1)
        order = next(iter(rig.service.books.orders.values()))
        assert order.state.resting
        order.executed = D("0.100")
        order.state = type(order.state).CANCELED
        child = msgspec.structs.replace(
            rig.entry(proposal_id=child_id(root.proposal_id, 2)), quantity=D(quantity), created_at=root.created_at
        )
        begun = await rig.service.parts.sender.begin(child)
        refusal = getattr(begun, "refusal", None)
        assert (refusal is None) is passes, refusal
        if refusal is not None:
            assert refusal.code == "CHILD_EXCEEDS_PARENT"
            assert refusal.numbers == {"quantity": quantity.rstrip("0"), "used": "0.1", "limit": "0.12"}

    play(scenario)


def test_child_of_a_parent_that_is_not_known_is_refused(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        begun = await rig.service.parts.sender.begin(rig.entry(proposal_id=child_id(ProposalId("p-9"), 2)))
        assert begun.refusal.code == "CHILD_EXCEEDS_PARENT"

    play(scenario)
