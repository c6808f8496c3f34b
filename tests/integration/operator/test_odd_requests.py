"""Requests that come in an odd order, twice, or on a stop that is on its way out."""

from __future__ import annotations

from functools import partial

from tests.integration.operator.fake_desk import FakeDesk
from tests.integration.operator.helpers import Cluster, answered, eventually, stop

from breakwater_operator.cluster.kinds import EMERGENCY_STOP


async def test_reset_waits_for_the_trip_that_was_asked_with_it(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": "t1", "reason": "news"}}})
    await eventually(lambda: answered(cluster, "t1"), "it is tripped")
    assert desk.trip is not None
    desk.reject_trips = True
    both = {
        "trip": {"requestID": "t2", "reason": "more news"},
        "reset": {"requestID": "r1", "tripID": desk.trip["trip_id"], "reason": "checked"},
    }
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": both})

    async def tried_twice() -> bool:
        return desk.rejected > 1

    await eventually(tried_twice, "the trip was tried again")
    assert "r1" not in [request["requestID"] for request in desk.asked]
    desk.reject_trips = False
    await eventually(lambda: answered(cluster, "r1"), "both are answered in the end")
    assert [request["requestID"] for request in desk.asked][-2:] == ["t2", "r1"]


async def test_trip_of_a_second_stop_under_an_id_used_before_is_answered_in_its_status(
    cluster: Cluster, desk: FakeDesk
) -> None:
    request = {"requestID": "t1", "reason": "news"}
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": request}})
    await eventually(lambda: answered(cluster, "t1"), "it is answered")
    await cluster.create(stop("second", trip=request))
    await eventually(lambda: answered(cluster, "t1", "second"), "the second one is answered as well")


async def test_trip_on_a_stop_that_is_being_deleted_is_delivered(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", {"metadata": {"finalizers": ["example.com/held"]}})
    await cluster.delete(EMERGENCY_STOP, "main")
    try:
        await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": "t1", "reason": "news"}}})

        async def tripped() -> bool:
            return desk.state == "TRIPPED"

        await eventually(tripped, "the desk has tripped")
    finally:
        await cluster.patch(EMERGENCY_STOP, "main", {"metadata": {"finalizers": None}})


async def test_trip_under_an_id_that_was_answered_before_is_said_to_do_nothing(
    cluster: Cluster, desk: FakeDesk
) -> None:
    for request in ("t1", "t2", "t1"):
        await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": request, "reason": "news"}}})
        await eventually(partial(answered, cluster, request), "it is answered")

    async def told() -> bool:
        return any("trip t1 (REQUEST_REPEATED)" in note for note in await cluster.events("RequestRefused"))

    await eventually(told, "an Event says so")
    assert [request["requestID"] for request in desk.asked] == ["t1", "t2"]
