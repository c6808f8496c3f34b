"""From a TradingPolicy and its EmergencyStop to what runs, on a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.integration.operator.fake_desk import FakeDesk, FakeDesks
from tests.integration.operator.helpers import Cluster, Operators, eventually, policy, stop, store_at

from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater_operator.cluster.kinds import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    EMERGENCY_STOP,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    TRADING_POLICY,
    Kind,
)
from breakwater_operator.desired.inputs import desk_id
from breakwater_operator.main import Operator

COMPONENTS = {
    f"main-{name}"
    for name in (
        "paper-venue", "market-data", "ai-engine", "risk-manager", "execution", "portfolio", "emergency-stop",
        "health-monitor", "dashboard",
    )
}  # fmt: skip


async def version_is(cluster: Cluster, version: int) -> bool:
    condition = await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")
    status = await cluster.status(TRADING_POLICY, "main")
    return bool(status.get("version") == version and condition.get("status") == "True")


async def applied(cluster: Cluster) -> bool:
    return await cluster.names(DEPLOYMENT) == COMPONENTS


async def uid_of(cluster: Cluster, kind: Kind, name: str) -> str:
    found = await cluster.get(kind, name)
    return str(found["metadata"]["uid"]) if found else ""


def essence(body: dict[str, Any] | None) -> Any:
    """What of an object a person could have changed."""
    assert body is not None
    return body["metadata"]["labels"], body.get("spec"), body.get("data")


async def told_of_restoring(cluster: Cluster, names: set[str]) -> None:
    async def told() -> bool:
        notes = " ".join(await cluster.events("ChildRestored"))
        return all(name in notes for name in names)

    await eventually(told, "Events say what was put back")


async def copy_of(cluster: Cluster) -> dict[str, object]:
    config = await cluster.get(CONFIG_MAP, "main-policy")
    assert config is not None
    copy: dict[str, object] = json.loads(config["data"]["policy.json"])
    return copy


def writes(operator: Operator) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["kind"], sample.labels["verb"]): sample.value
        for family in operator.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "breakwater_operator_api_writes_total"
    }


async def test_applied_desk_gets_all_its_objects_and_its_policy_in_every_copy(
    cluster: Cluster, desk: FakeDesk, valkey: EmbeddedServer
) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    assert await cluster.names(SERVICE) == COMPONENTS
    assert "main-desk" in await cluster.names(SECRET)
    assert "main-desk" in await cluster.names(SERVICE_ACCOUNT)
    claims = {f"main-{name}" for name in ("execution", "emergency-stop", "portfolio", "paper-venue")}
    assert await cluster.names(CLAIM) == claims
    body = await cluster.get(TRADING_POLICY, "main")
    assert body is not None
    desk_name = desk_id(cluster.namespace, "main", body["metadata"]["uid"])
    store = store_at(valkey.url)
    raw = await store.get(f"breakwater:{desk_name}:policy")
    await store.close()
    assert raw is not None
    assert json.loads(raw) == await copy_of(cluster)
    assert json.loads(raw)["version"] == 1
    assert await cluster.events("PolicyPublished") != []


async def test_changed_profile_is_a_new_version_and_restarts_nothing(cluster: Cluster, desk: FakeDesk) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    before = {item["metadata"]["name"]: item["metadata"]["generation"] for item in await cluster.items(DEPLOYMENT)}
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})
    await eventually(lambda: version_is(cluster, 2), "version 2 is in force")

    async def shown() -> bool:
        limits = (await cluster.status(TRADING_POLICY, "main"))["limits"]
        return ("maxLeverage", 10) in [(row["name"], row["effective"]) for row in limits]

    await eventually(shown, "the new limit is shown")
    after = {item["metadata"]["name"]: item["metadata"]["generation"] for item in await cluster.items(DEPLOYMENT)}
    assert after == before


async def test_refused_policy_names_the_field_and_the_last_good_one_stays(cluster: Cluster, desk: FakeDesk) -> None:
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"tradingMode": "Staging", "profile": "DEFENSIVE"}})

    async def refused() -> dict[str, str]:
        condition = await cluster.condition(TRADING_POLICY, "main", "PolicyPublished")
        return condition if condition.get("reason") == "Refused" else {}

    condition = await eventually(refused, "the policy is refused")
    assert "spec.tradingMode" in condition["message"]
    assert "Version 1 stays in force" in condition["message"]
    copy = await copy_of(cluster)
    assert copy["version"] == 1
    assert "NORMAL" in json.dumps(copy)


async def test_policy_without_a_stop_starts_nothing(cluster: Cluster, operator: Operator) -> None:
    await cluster.create(policy())

    async def said() -> bool:
        condition = await cluster.condition(TRADING_POLICY, "main", "Ready")
        return condition.get("reason") == "NoEmergencyStop"

    await eventually(said, "the missing stop is named")
    assert await cluster.names(DEPLOYMENT) == set()
    assert "version" not in await cluster.status(TRADING_POLICY, "main")


@pytest.mark.parametrize("how", ["none", "two"])
async def test_running_desk_without_exactly_one_stop_is_put_on_hold_and_lifted(
    cluster: Cluster, desk: FakeDesk, how: str
) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    if how == "none":
        await cluster.delete(EMERGENCY_STOP, "main")
    else:
        await cluster.create(stop("second"))

    async def held() -> bool:
        return bool((await copy_of(cluster)).get("hold"))

    await eventually(held, "the policy is on hold")
    assert await cluster.names(DEPLOYMENT) == COMPONENTS
    reason = "NoEmergencyStop" if how == "none" else "SeveralEmergencyStops"

    async def said() -> bool:
        return (await cluster.condition(TRADING_POLICY, "main", "Ready")).get("reason") == reason

    await eventually(said, "the reason is said")
    if how == "none":
        await cluster.create(stop())
    else:
        await cluster.delete(EMERGENCY_STOP, "second")

    async def lifted() -> bool:
        copy = await copy_of(cluster)
        return copy["version"] == 3 and not copy.get("hold")

    await eventually(lifted, "the hold is lifted by a new version")


async def test_children_deleted_by_hand_are_made_anew(cluster: Cluster, desk: FakeDesk) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    before = [(DEPLOYMENT, "main-execution"), (SERVICE, "main-portfolio"), (CONFIG_MAP, "main-policy")]
    uids = {name: await uid_of(cluster, kind, name) for kind, name in before}
    for kind, name in before:
        await cluster.delete(kind, name)

    async def back() -> bool:
        now = {name: await uid_of(cluster, kind, name) for kind, name in before}
        return all(now[name] not in ("", uids[name]) for name in uids)

    await eventually(back, "all three are there again")
    assert (await copy_of(cluster))["version"] == 1
    await told_of_restoring(cluster, set(uids))


async def test_children_changed_by_hand_are_put_back(cluster: Cluster, desk: FakeDesk) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    changes: list[tuple[Kind, str, dict[str, object]]] = [
        (DEPLOYMENT, "main-dashboard", {"spec": {"replicas": 3}}),
        (DEPLOYMENT, "main-portfolio", {"spec": {"template": {"spec": {"hostNetwork": True}}}}),
        (SERVICE, "main-execution", {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}),
        (SERVICE, "main-ai-engine", {"spec": {"ports": [{"name": "other", "port": 81}]}}),
        (CONFIG_MAP, "main-policy", {"data": {"policy.json": "{}", "more": "x"}}),
    ]
    before = {name: essence(await cluster.get(kind, name)) for kind, name, _ in changes}
    for kind, name, patch in changes:
        await cluster.patch(kind, name, patch)

    async def restored() -> bool:
        return {name: essence(await cluster.get(kind, name)) for kind, name, _ in changes} == before

    await eventually(restored, "all are as they were")
    await told_of_restoring(cluster, set(before))


async def test_object_of_somebody_else_is_left_alone_and_named(cluster: Cluster, operator: Operator) -> None:
    foreign = {
        "kind": "Service",
        "metadata": {"name": "main-dashboard"},
        "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}},
    }
    await cluster.create(foreign)
    await cluster.create(policy())
    await cluster.create(stop())

    async def said() -> dict[str, str]:
        condition = await cluster.condition(TRADING_POLICY, "main", "ComponentsReady")
        return condition if condition.get("reason") == "ApplyFailed" else {}

    condition = await eventually(said, "the name that is taken is said")
    assert "main-dashboard" in condition["message"]
    theirs = await cluster.get(SERVICE, "main-dashboard")
    assert theirs is not None
    assert theirs["spec"]["selector"] == {"app": "theirs"}
    assert "main-execution" in await cluster.names(DEPLOYMENT)


async def test_deleted_policy_loses_its_components_and_keeps_its_claims(
    cluster: Cluster, desk: FakeDesk, operator: Operator
) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    await cluster.delete(TRADING_POLICY, "main")

    async def gone() -> bool:
        left = await cluster.names(DEPLOYMENT) | await cluster.names(SERVICE)
        return not left and "main-policy" not in await cluster.names(CONFIG_MAP)

    await eventually(gone, "the garbage collector took the components")
    assert len(await cluster.names(CLAIM)) == 4

    async def said() -> bool:
        return (await cluster.condition(EMERGENCY_STOP, "main", "Ready")).get("reason") == "PolicyNotFound"

    await eventually(said, "the stop says that its policy is gone")
    assert operator.context is not None
    assert operator.context.pulse.report("any") is None
    # Made anew under its old name it is another desk, from version 1 on.
    await cluster.create(policy())
    await eventually(lambda: version_is(cluster, 1), "the new desk is in force")
    await eventually(lambda: applied(cluster), "its components are there")


async def test_restarted_operator_writes_nothing_to_what_is_right(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await eventually(lambda: applied(cluster), "all Deployments are there")
    await operators.end(operator)
    second = await operators.start()

    async def looked() -> bool:
        return second.context is not None and (cluster.namespace, "main") in second.context.known

    await eventually(looked, "the new operator has looked at the desk")
    touched = {kind for kind, _ in writes(second)}
    assert touched <= {"Secret", "ServiceAccount", "TradingPolicy", "EmergencyStop", "Event"}
    assert (await cluster.status(TRADING_POLICY, "main"))["version"] == 1


async def test_policy_changed_while_the_operator_is_away_comes_into_force_when_it_is_back(
    cluster: Cluster, desk: FakeDesk, operator: Operator, operators: Operators
) -> None:
    await operators.end(operator)
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})
    await operators.start()
    await eventually(lambda: version_is(cluster, 2), "version 2 is in force")


async def test_two_desks_in_one_namespace_do_not_mix(cluster: Cluster, desk: FakeDesk, desks: FakeDesks) -> None:
    made = await cluster.create(policy("main-2"))
    other = desks.add(cluster.namespace, "main-2", made["metadata"]["uid"])
    await cluster.create(stop("main-2", "main-2"))

    async def applied() -> bool:
        return len(await cluster.names(DEPLOYMENT)) == 2 * len(COMPONENTS)

    await eventually(applied, "both desks have their Deployments")
    await cluster.patch(EMERGENCY_STOP, "main-2", {"spec": {"trip": {"requestID": "t1", "reason": "test"}}})
    await other.heard.wait()
    await cluster.delete(TRADING_POLICY, "main-2")

    async def only_the_first() -> bool:
        return await cluster.names(DEPLOYMENT) == COMPONENTS

    await eventually(only_the_first, "only the deleted desk is gone")
    assert desk.asked == []
    assert desk.halts == []
