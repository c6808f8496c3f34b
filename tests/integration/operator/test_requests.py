"""kubectl patch: a trip or reset reaches the desk, and its answer reaches the status."""

from __future__ import annotations

from typing import Any

from tests.integration.operator.fake_desk import FakeDesk
from tests.integration.operator.helpers import Cluster, Operators, eventually, stop

from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater_operator.cluster.kinds import EMERGENCY_STOP, TRADING_POLICY
from breakwater_operator.main import Operator

TRIP = {"spec": {"trip": {"requestID": "t1", "reason": "news", "requestedBy": "ann"}}}


async def answer(cluster: Cluster, kind: str, request: str) -> dict[str, Any]:
    for found in (await cluster.status(EMERGENCY_STOP, "main")).get("requests", []):
        if (found["kind"], found["requestID"]) == (kind, request):
            entry: dict[str, Any] = found
            return entry
    return {}


async def state_is(cluster: Cluster, state: str) -> bool:
    return (await cluster.status(EMERGENCY_STOP, "main")).get("state") == state


def reset(request: str, trip: str) -> dict[str, Any]:
    return {"spec": {"reset": {"requestID": request, "tripID": trip, "reason": "checked"}}}


async def test_trip_reaches_stop_and_execution_and_is_answered(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    found = await eventually(lambda: answer(cluster, "TRIP", "t1"), "the trip is answered")
    assert found["accepted"] is True
    assert [request["requestedBy"] for request in desk.asked] == ["ann (as the request says, not verified)"]
    assert [halt["requestID"] for halt in desk.halts] == ["t1"]
    await eventually(lambda: state_is(cluster, "TRIPPED"), "the state is mirrored")

    async def policy_shows() -> bool:
        status = await cluster.status(TRADING_POLICY, "main")
        return status.get("stopState") == "TRIPPED" and status.get("gate") == "REDUCE_ONLY"

    await eventually(policy_shows, "the policy shows it too")
    halted = await cluster.condition(TRADING_POLICY, "main", "Halted")
    assert halted["status"] == "True"

    async def told() -> bool:
        return bool(await cluster.events("StopTripped")) and bool(await cluster.events("RequestAccepted"))

    await eventually(told, "Events tell of it")


async def test_trip_is_repeated_until_the_stop_answers_and_halts_execution_once(
    cluster: Cluster, desk: FakeDesk
) -> None:
    desk.away = {"emergency-stop"}
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)

    async def halted() -> bool:
        return len(desk.halts) == 1

    await eventually(halted, "execution is halted although the stop is away")

    async def unreachable() -> bool:
        return (await cluster.condition(EMERGENCY_STOP, "main", "Ready")).get("status") == "False"

    await eventually(unreachable, "the status says that the stop cannot be reached")
    desk.away = set()
    found = await eventually(lambda: answer(cluster, "TRIP", "t1"), "the trip is answered")
    assert found["accepted"] is True
    assert len(desk.halts) == 1


async def test_refused_reset_is_answered_once_and_never_sent_again(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    await eventually(lambda: state_is(cluster, "TRIPPED"), "it is tripped")
    assert desk.trip is not None
    desk.refuse_reset = "RESET_COOLDOWN"
    await cluster.patch(EMERGENCY_STOP, "main", reset("r1", desk.trip["trip_id"]))
    found = await eventually(lambda: answer(cluster, "RESET", "r1"), "the reset is answered")
    assert (found["accepted"], found["code"]) == (False, "RESET_COOLDOWN")
    desk.refuse_reset = ""
    sent = len(desk.asked)
    # The same patch again changes nothing; neither does an operator that starts anew.
    await cluster.patch(EMERGENCY_STOP, "main", reset("r1", desk.trip["trip_id"]))
    await operators.end(operator)
    await operators.start()
    await cluster.patch(EMERGENCY_STOP, "main", {"metadata": {"annotations": {"looked": "at"}}})
    await cluster.patch(EMERGENCY_STOP, "main", reset("r2", desk.trip["trip_id"]))
    await eventually(lambda: answer(cluster, "RESET", "r2"), "a new request is answered")
    assert [request["requestID"] for request in desk.asked[sent:]] == ["r2"]
    await eventually(lambda: state_is(cluster, "ARMED"), "it is armed again")


async def test_trip_answered_by_the_stop_but_not_written_is_not_sent_again_after_a_restart(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await operators.end(operator)
    # What a kill between the answer and the status leaves behind, and meanwhile somebody armed the desk again.
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    request = {"kind": "trip", "requestID": "t1", "reason": "news", "requestedBy": "ann"}
    desk.answer(request)
    assert desk.trip is not None
    desk.answer({"kind": "reset", "requestID": "r0", "tripID": desk.trip["trip_id"], "reason": "x", "requestedBy": "y"})
    desk.asked.clear()
    await operators.start()
    await eventually(lambda: answer(cluster, "TRIP", "t1"), "the answer is written")
    assert desk.asked == []
    assert desk.halts == []


async def test_transitions_that_no_look_saw_are_walked(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    await eventually(lambda: state_is(cluster, "TRIPPED"), "it is tripped")
    await operators.end(operator)
    desk.move("COOLING_DOWN", "emergency_stop", "flat")
    desk.move("ARMED", "bob", "checked")
    desk.trip = None
    await operators.start()
    await eventually(lambda: state_is(cluster, "ARMED"), "it is armed, by allowed steps")

    async def told() -> bool:
        return bool(await cluster.events("StopCoolingDown")) and bool(await cluster.events("StopRearmed"))

    await eventually(told, "each step has its Event")


async def test_stop_without_its_policy_says_so(cluster: Cluster, operator: Operator) -> None:
    await cluster.create(stop("lonely", "nobody"))

    async def said() -> bool:
        return (await cluster.condition(EMERGENCY_STOP, "lonely", "Ready")).get("reason") == "PolicyNotFound"

    await eventually(said, "the missing policy is named")


async def test_second_stop_can_trip_and_cannot_reset(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.create(
        stop(
            "second",
            trip={"requestID": "t9", "reason": "panic"},
            reset={"requestID": "r9", "tripID": "t2", "reason": "no"},
        )
    )

    async def tripped() -> bool:
        return [request["requestID"] for request in desk.asked] == ["t9"]

    await eventually(tripped, "the trip is handed over")
    assert desk.state == "TRIPPED"


async def test_trip_is_delivered_while_the_store_is_away(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer
) -> None:
    await valkey.stop()
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    await eventually(lambda: answer(cluster, "TRIP", "t1"), "the trip is answered")
    assert desk.state == "TRIPPED"
    assert len(desk.halts) == 1


async def test_figures_alone_cause_few_writes(cluster: Cluster, desk: FakeDesk, operator: Operator) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", TRIP)
    await eventually(lambda: state_is(cluster, "TRIPPED"), "it is tripped")
    assert operator.context is not None

    async def settled() -> bool:
        # Without a node this is where both components stay.
        condition = await cluster.condition(EMERGENCY_STOP, "main", "ComponentsReady")
        return str(condition.get("message")).count("no node takes its pod") == 2

    await eventually(settled, "the components' state does not change any more")
    before = await cluster.get(EMERGENCY_STOP, "main")
    assert before is not None
    seen = operator.context.pulse.report(_uid(operator))
    for figure in ("0.5", "0.6", "0.7"):
        desk.drawdown = figure

        async def looked(last: Any = seen) -> bool:
            assert operator.context is not None
            return operator.context.pulse.report(_uid(operator)) is not last

        await eventually(looked, "the desk was asked again")
        seen = operator.context.pulse.report(_uid(operator))
    after = await cluster.get(EMERGENCY_STOP, "main")
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def _uid(operator: Operator) -> str:
    assert operator.context is not None
    (known,) = operator.context.known.values()
    return known.uid
