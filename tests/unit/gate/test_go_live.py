"""What keeps a desk from going Live."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.go_live import GoLiveFacts, go_live_problems
from breakwater.domain.ids import Symbol
from breakwater.domain.limits import effective_limits
from breakwater.domain.policy import PolicySpec, Profile
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState

POLICY = PolicySpec(symbols=(Symbol("BTCUSDT"),))
GOOD = GoLiveFacts(
    stop=StopState.ARMED,
    stop_lease_fresh=True,
    profile=Profile.NORMAL,
    limits=effective_limits(POLICY, EmergencyStopSpec(policy_ref=PolicyRef("main"))),
    policy_stale=False,
    policy_hold="",
    data=DataKind.MARKET,
)


def test_desk_with_everything_in_place_may_go_live() -> None:
    assert go_live_problems(GOOD) == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"stop": None}, "not heard"),
        ({"stop_lease_fresh": False}, "ARMED and heard"),
        *(({"stop": state}, f"it is {state.value}") for state in StopState if state is not StopState.ARMED),
        ({"limits": None}, "apply one"),
        ({"profile": None}, "apply one"),
        ({"policy_stale": True}, "not confirmed"),
        ({"policy_hold": "two emergency stops"}, "two emergency stops"),
        *(({"data": kind}, f"are {kind.value}") for kind in DataKind if kind is not DataKind.MARKET),
    ],
)
def test_whatever_is_missing_keeps_a_desk_from_going_live(changes: dict[str, Any], sentence: str) -> None:
    (problem,) = go_live_problems(msgspec.structs.replace(GOOD, **changes))
    assert sentence in problem
