"""Copies, statuses and objects that somebody else wrote: the spec's limits win, and nothing wedges or lies."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from tests.integration.operator.fake_desk import FakeDesk, FakeDesks
from tests.integration.operator.helpers import KEY, Cluster, Operators, answered, eventually, policy, stop, store_at

from breakwater.runtime import policy_copy
from breakwater.runtime.policy_copy import PolicyCopy, decode_copy, encode_copy
from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater_operator.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMERGENCY_STOP,
    EVENT,
    SECRET,
    SERVICE,
    TRADING_POLICY,
)
from breakwater_operator.desired.inputs import desk_id
from breakwater_operator.main import Operator

FORGED = 2**53 - 1


async def uid_of(cluster: Cluster) -> str:
    body = await cluster.get(TRADING_POLICY, "main")
    assert body is not None
    return str(body["metadata"]["uid"])


async def key_of(cluster: Cluster) -> str:
    return f"breakwater:{desk_id(cluster.namespace, 'main', await uid_of(cluster))}:policy"


async def config_copy(cluster: Cluster) -> PolicyCopy:
    config = await cluster.get(CONFIG_MAP, "main-policy")
    assert config is not None
    return decode_copy(config["data"]["policy.json"].encode())


async def loosened(cluster: Cluster, version: int, **stop_changes: Any) -> bytes:
    """A valid copy of this desk's policy with a larger risk, as an attacker would write it."""
    copy = await config_copy(cluster)
    whole: dict[str, Any] = json.loads(encode_copy(copy))
    whole["TradingPolicy"]["spec"]["profile"] = "AGGRESSIVE"
    whole["EmergencyStop"]["metadata"] |= stop_changes
    whole["version"] = version
    whole.pop("sha256")
    return sealed(whole)


def sealed(body: dict[str, Any]) -> bytes:
    data = json.loads(json.dumps(body), parse_float=Decimal)
    return policy_copy._encoder.encode({**data, "sha256": policy_copy._digest(data)})


async def in_store(cluster: Cluster, valkey: EmbeddedServer) -> PolicyCopy:
    store = store_at(valkey.url)
    try:
        raw = await store.get(await key_of(cluster))
    finally:
        await store.close()
    assert raw is not None
    return decode_copy(raw)


def profile(copy: PolicyCopy) -> str:
    return copy.desk.policy.spec.profile.value


async def test_forged_copy_in_the_config_map_that_makes_the_spec_look_refused_never_comes_into_force(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators, valkey: EmbeddedServer
) -> None:
    await operators.end(operator)
    # Under this copy the spec would be "another desk's" and be refused, so that the forged limits stay for ever.
    forged = await loosened(cluster, 9, name="other")
    await cluster.patch(CONFIG_MAP, "main-policy", {"data": {"policy.json": forged.decode()}})
    await operators.start()

    async def healed() -> bool:
        status = await cluster.status(TRADING_POLICY, "main")
        return bool(status["version"] > 9 and (await config_copy(cluster)).version == status["version"])

    await eventually(healed, "a version above the forged one holds")
    for copy in (await config_copy(cluster), await in_store(cluster, valkey)):
        assert (profile(copy), copy.version) == ("NORMAL", 10)


async def test_version_that_a_component_obeys_above_ours_is_passed(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer
) -> None:
    # It read a forged ConfigMap as its mirror before the operator put that back.
    desk.policy = {"version": 41, "stale": True, "hold": ""}

    async def passed() -> bool:
        return (await in_store(cluster, valkey)).version == 42

    await eventually(passed, "the version in force is above the component's")


@pytest.mark.parametrize("spec", ["valid", "refused"])
async def test_forged_copy_in_the_store_is_replaced_by_what_holds(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer, spec: str
) -> None:
    if spec == "refused":
        await cluster.patch(TRADING_POLICY, "main", {"spec": {"tradingMode": "Staging"}})

        async def refused() -> bool:
            return (await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")).get("reason") == "Refused"

        await eventually(refused, "it is refused")
    store = store_at(valkey.url)
    await store.set_if_higher(await key_of(cluster), 9, await loosened(cluster, 9))
    await store.close()
    desk.policy = {"version": 9, "stale": False, "hold": ""}

    async def replaced() -> bool:
        copy = await in_store(cluster, valkey)
        return copy.version > 9 and profile(copy) == "NORMAL"

    await eventually(replaced, "the last good policy is back, above the forged one")


async def test_forged_version_in_the_status_does_not_wedge_publishing(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.patch(TRADING_POLICY, "main", {"status": {"version": FORGED}}, status=True)
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})

    async def published() -> bool:
        status = await cluster.status(TRADING_POLICY, "main")
        return status.get("version", FORGED) < 10 and profile(await config_copy(cluster)) == "DEFENSIVE"

    await eventually(published, "the change is in force under a version of ours")


async def test_store_that_refuses_the_new_version_is_not_called_published(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer
) -> None:
    store = store_at(valkey.url)
    await store.set_if_higher(await key_of(cluster), FORGED, b"not a policy")
    await store.close()
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})

    async def said() -> str:
        condition = await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")
        return condition["message"] if condition.get("reason") == "StoreUnavailable" else ""

    message = await eventually(said, "that components do not get it is said")
    assert await key_of(cluster) in message


async def test_forged_state_and_epoch_do_not_hide_a_trip(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await cluster.patch(EMERGENCY_STOP, "main", {"status": {"epoch": FORGED, "requests": []}}, status=True)
    desk.move("TRIPPED", "emergency_stop", "drawdown")

    async def tripped() -> bool:
        return (await cluster.status(EMERGENCY_STOP, "main")).get("state") == "TRIPPED"

    await eventually(tripped, "the trip is shown")
    # With the operator there it is corrected between the two steps already.
    await operators.end(operator)
    await cluster.patch(EMERGENCY_STOP, "main", {"status": {"state": "COOLING_DOWN"}}, status=True)
    await cluster.patch(EMERGENCY_STOP, "main", {"status": {"state": "ARMED"}}, status=True)
    await operators.start()
    await eventually(tripped, "a forged ARMED is corrected")


async def test_object_of_another_controller_with_our_labels_is_left_alone(cluster: Cluster, operator: Operator) -> None:
    owner = await cluster.create({"kind": "ConfigMap", "metadata": {"name": "owner"}, "data": {}})
    labels = {"app.kubernetes.io/managed-by": "breakwater-operator", "breakwater.trading/policy": "main"}
    controller = {
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    theirs = await cluster.create(
        {
            "kind": "Service",
            "metadata": {"name": "main-dashboard", "labels": labels, "ownerReferences": [controller]},
            "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
        }
    )
    await cluster.create(policy())
    await cluster.create(stop())

    async def said() -> str:
        condition = await cluster.condition(TRADING_POLICY, "main", "ComponentsReady")
        return condition["message"] if condition.get("reason") == "ApplyFailed" else ""

    assert "main-dashboard" in await eventually(said, "the name that is taken is said")
    still = await cluster.get(SERVICE, "main-dashboard")
    assert still is not None
    assert still["metadata"]["uid"] == theirs["metadata"]["uid"]


async def test_secret_of_somebody_else_is_not_taken_over(cluster: Cluster, operator: Operator) -> None:
    await cluster.create({"kind": "Secret", "metadata": {"name": "main-desk"}, "data": {"theirs": "eA=="}})
    await cluster.create(policy())
    await cluster.create(stop())

    async def said() -> str:
        condition = await cluster.condition(TRADING_POLICY, "main", "ComponentsReady")
        return condition["message"] if condition.get("reason") == "ApplyFailed" else ""

    assert "Secret main-desk" in await eventually(said, "the name that is taken is said")
    theirs = await cluster.get(SECRET, "main-desk")
    assert theirs is not None
    assert theirs["data"] == {"theirs": "eA=="}
    assert not theirs["metadata"].get("ownerReferences")


async def test_policy_made_anew_at_once_gets_a_desk_of_its_own(
    cluster: Cluster, desk: FakeDesk, desks: FakeDesks
) -> None:
    async def deployments() -> bool:
        return len(await cluster.names(DEPLOYMENT)) == 9

    await eventually(deployments, "the first desk is there")
    await cluster.delete(TRADING_POLICY, "main")
    made = await cluster.create(policy())
    uid = made["metadata"]["uid"]

    async def new_ones() -> bool:
        owned = [
            [ref["uid"] for ref in item["metadata"]["ownerReferences"]] == [uid]
            for kind in (DEPLOYMENT, SERVICE)
            for item in await cluster.items(kind)
        ]
        return len(owned) == 18 and all(owned)

    await eventually(new_ones, "all objects belong to the new policy")
    assert (await config_copy(cluster)).version == 1


async def test_child_that_a_quota_refuses_is_said_while_the_others_are_applied(
    cluster: Cluster, operator: Operator
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/deployments.apps": "2"}},
    }
    await post(cluster, "resourcequotas", quota)

    async def counted() -> bool:
        answer = await cluster._http.get(f"/api/v1/namespaces/{cluster.namespace}/resourcequotas/few")
        return "used" in answer.json().get("status", {})

    await eventually(counted, "the quota is in force")
    await cluster.create(policy())
    await cluster.create(stop())

    async def said() -> str:
        condition = await cluster.condition(TRADING_POLICY, "main", "ComponentsReady")
        return condition["message"] if "quota" in condition.get("message", "") else ""

    message = await eventually(said, "the quota is named")
    assert message.startswith("Deployment main-")
    assert len(await cluster.names(SERVICE)) == 9


async def post(cluster: Cluster, plural: str, body: dict[str, Any]) -> httpx.Response:
    answer = await cluster._http.post(f"/api/v1/namespaces/{cluster.namespace}/{plural}", json=body)
    assert answer.status_code == 201, answer.text
    return answer


async def test_nothing_that_people_read_holds_a_secret(
    cluster: Cluster, desk: FakeDesk, operator: Operator, valkey: EmbeddedServer
) -> None:
    desk.away = {"emergency-stop", "execution"}
    await valkey.stop()
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})

    async def said() -> bool:
        return (await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")).get("reason") == "StoreUnavailable"

    await eventually(said, "the store is named")
    read = [json.dumps(await cluster.items(kind)) for kind in (TRADING_POLICY, EMERGENCY_STOP, EVENT)]
    body = await cluster.get(TRADING_POLICY, "main")
    assert operator.context is not None
    assert body is not None
    read += [operator.metrics.render().decode(), repr(operator.context.desk_of(body))]
    for text in read:
        assert desk.token not in text
        assert KEY not in text


async def test_two_operators_at_once_never_give_one_version_two_contents(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators, valkey: EmbeddedServer
) -> None:
    await operators.start()
    seen: dict[int, set[str]] = {}

    async def in_force(wanted: str) -> bool:
        for copy in (await in_store(cluster, valkey), await config_copy(cluster)):
            seen.setdefault(copy.version, set()).add(copy.content_digest)
        return profile(copy) == wanted

    for wanted in ("DEFENSIVE", "AGGRESSIVE", "NORMAL", "DEFENSIVE", "AGGRESSIVE"):
        await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": wanted}})
        await eventually(partial(in_force, wanted), "it is in force")
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": "t1", "reason": "news"}}})
    await eventually(lambda: answered(cluster, "t1"), "it is answered")
    assert all(len(contents) == 1 for contents in seen.values())
    assert [outcome["request_id"] for outcome in desk.outcomes] == ["t1"]

    async def settled() -> bool:
        status = await cluster.status(TRADING_POLICY, "main")
        copies = await in_store(cluster, valkey), await config_copy(cluster)
        return all((status["version"], status["versionSHA256"]) == (c.version, c.content_digest) for c in copies)

    await eventually(settled, "status, ConfigMap and store say the same")


async def test_second_stop_that_comes_and_goes_quickly_leaves_no_hold(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer
) -> None:
    for _ in range(6):
        await cluster.create(stop("second"))
        await cluster.delete(EMERGENCY_STOP, "second")

    async def free() -> bool:
        condition = await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")
        return condition["status"] == "True" and not (await in_store(cluster, valkey)).hold

    await eventually(free, "the policy is in force without a hold")


@pytest.mark.slow
async def test_desks_that_came_and_went_leave_nothing_in_memory(
    cluster: Cluster, desk: FakeDesk, operator: Operator
) -> None:
    context = operator.context
    assert context is not None
    names = [f"desk-{number}" for number in range(6)]
    for name in names:
        await cluster.create(policy(name))
        await cluster.create(stop(name, name, trip={"requestID": "t1", "reason": "x"}))

    async def known() -> bool:
        return len(context.known) == len(names) + 1

    await eventually(known, "all are known")
    # One more that goes before anything is known of it.
    await cluster.create(policy("brief"))
    for name in [*names, "brief"]:
        await cluster.delete(TRADING_POLICY, name)
    for name in names:
        await cluster.delete(EMERGENCY_STOP, name)
    policies, stops, pulse = operator._policies, operator._stops, context.pulse

    async def forgotten() -> bool:
        sizes = [
            len(each)
            for each in (
                context.known, context.publisher._desks, pulse._desks, pulse._reports, pulse._told, pulse._tasks_of,
                policies._seen, stops._uids,
                stops._standing, context.objects.all(TRADING_POLICY), context.objects.all(EMERGENCY_STOP),
            )
        ]  # fmt: skip
        others = {name for _, _, name in context.applier._right if not name.startswith("main-")}
        return max(sizes) == 1 and not others and not stops._seen and not stops._halted and len(context.queue) <= 2

    await eventually(forgotten, "only the desk that is left is remembered")
