"""Redis, the API server or the operator away: the desk is at worst REDUCE_ONLY, and what was asked meanwhile is done."""

from __future__ import annotations

import pytest
from tests.cluster.desks.lab import RELEASE_NAMESPACE, Lab, profile
from tests.cluster.local.control_plane import ControlPlane


def test_redis_away_closes_the_gate_and_its_return_opens_it(lab: Lab, desk: str) -> None:
    pods = lab.pods(desk)
    lab.kubectl("scale", "statefulset/breakwater-valkey", "-n", RELEASE_NAMESPACE, "--replicas=0")
    lab.until(lambda: lab.gate(desk)[0] == "REDUCE_ONLY", what="the gate closes")
    version = lab.status("tradingpolicy", "main", desk)["version"]
    lab.apply(profile("defensive"), desk)
    refused = lab.until(
        lambda: (c := lab.condition("tradingpolicy", "main", desk, "PolicyPublished")).get("status") == "False" and c,
        what="PolicyPublished=False",
    )
    assert refused["reason"] == "StoreUnavailable"
    lab.kubectl("scale", "statefulset/breakwater-valkey", "-n", RELEASE_NAMESPACE, "--replicas=1")
    lab.ready("main", desk)
    lab.until(lambda: lab.gate(desk)[0] == "OPEN", 60, what="the gate opens")
    assert lab.status("tradingpolicy", "main", desk)["version"] == version + 1
    assert lab.page(desk)["policy"]["profile"] == "DEFENSIVE"
    assert lab.pods(desk) == pods


def test_policy_edited_while_the_operator_is_away_is_followed_on_its_return(lab: Lab, desk: str) -> None:
    version = lab.status("tradingpolicy", "main", desk)["version"]
    lab.remove_operator()
    lab.apply(profile("defensive"), desk)
    lab.kubectl("delete", "service/main-execution", "-n", desk)
    assert lab.gate(desk)[0] == "OPEN"
    lab.return_operator()
    lab.until(lambda: lab.execution(desk)["policy"]["version"] == version + 1, what="the new policy")
    lab.until(lambda: lab.get("service", "main-execution", desk), what="the Service")
    lab.ready("main", desk)


@pytest.mark.parametrize("moment", [0.0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.05, 0.2))])
def test_operator_killed_while_it_switches_the_profile_ends_with_one_more_version(
    lab: Lab, desk: str, moment: float
) -> None:
    lab.until(lambda: lab.page(desk)["policy"]["profile"] == "NORMAL", what="NORMAL before")
    version = lab.status("tradingpolicy", "main", desk)["version"]
    lab.apply(profile("defensive"), desk)
    lab.after(moment, lambda: lab.kill(lab.operator()))
    lab.ready("main", desk)
    lab.until(lambda: lab.page(desk)["policy"]["profile"] == "DEFENSIVE", what="the profile is followed")
    status = lab.status("tradingpolicy", "main", desk)
    # A version that was claimed and never written may be left out; none is given twice.
    assert version < status["version"] <= version + 2
    assert lab.execution(desk)["policy"]["version"] == status["version"]


@pytest.mark.slow
def test_api_server_away_leaves_the_desk_trading_and_the_operator_comes_back(
    lab: Lab, desk: str, control_plane: ControlPlane
) -> None:
    operator = lab.operator().pid
    control_plane.pause()
    try:
        for _ in range(50):
            assert lab.gate(desk)[0] == "OPEN"
        lab.until(lambda: "operator.api failed" in lab.operator_ready(), 45, what="the operator says so")
    finally:
        control_plane.resume()
    lab.apply(profile("defensive"), desk)
    lab.until(lambda: lab.page(desk)["policy"]["profile"] == "DEFENSIVE", 60, what="the operator works again")
    lab.ready("main", desk)
    assert lab.operator().pid == operator
