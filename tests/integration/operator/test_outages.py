"""The store away, the API server away, the operator killed between two writes: nobody crashes, everything heals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.local.control_plane import ControlPlane
from tests.integration.operator.fake_desk import FakeDesk, FakeDesks
from tests.integration.operator.helpers import KEY, Cluster, Operators, eventually, policy, stop, store_at

from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater.runtime.valkey_server import EmbeddedServer
from breakwater_operator.cluster.kinds import CONFIG_MAP, DEPLOYMENT, EMERGENCY_STOP, TRADING_POLICY
from breakwater_operator.desk.backup import ConfigMapDisk
from breakwater_operator.main import Operator

COMPONENTS = 9
pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Stands for the process ending at this very point."""


async def published(cluster: Cluster, reason: str, *, version: int | None = None) -> bool:
    body = await cluster.get(TRADING_POLICY, "main")
    assert body is not None
    status = body.get("status", {})
    condition: dict[str, Any] = next(
        (each for each in status.get("conditions", []) if each["type"] == "PolicyPublished"), {}
    )
    if condition.get("reason") != reason:
        return False
    # The version is claimed before anything is written: only the condition of this generation says that it is.
    told = condition.get("observedGeneration") == body["metadata"]["generation"]
    return version is None or (told and status.get("version") == version)


async def test_store_away_from_the_start_is_said_and_heals(
    cluster: Cluster, operators: Operators, valkey: EmbeddedServer, desks: FakeDesks
) -> None:
    await valkey.stop()
    await operators.start()
    await cluster.create(policy())
    await cluster.create(stop())
    await eventually(lambda: published(cluster, "StoreUnavailable"), "the store is named")

    async def started() -> bool:
        return len(await cluster.names(DEPLOYMENT)) == COMPONENTS

    await eventually(started, "the components are there all the same")
    assert "version" not in await cluster.status(TRADING_POLICY, "main")
    await valkey.start()
    await eventually(lambda: published(cluster, "Published", version=1), "the policy is published")


async def test_store_that_lost_everything_gets_the_policy_back(
    cluster: Cluster, desk: FakeDesk, operator: Operator, valkey: EmbeddedServer
) -> None:
    store = store_at(valkey.url)
    try:
        await store._client.run("FLUSHALL")
        await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})
        await eventually(lambda: published(cluster, "Published", version=2), "the change is published")
        (key,) = await store._client.run("KEYS", "breakwater:*:policy")
        assert b'"version":2' in (await store.get(key.decode()) or b"")
    finally:
        await store.close()


@pytest.mark.parametrize("point", ["after the claim", "after the ConfigMap", "after the store"])
async def test_operator_killed_between_two_writes_of_a_version_heals_upwards(
    cluster: Cluster,
    desk: FakeDesk,
    operator: Operator,
    operators: Operators,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    killed = asyncio.Event()

    async def die(*_: Any) -> None:
        killed.set()
        raise Killed

    replace = ConfigMapDisk.replace
    store_it = RedisKeyValueStore.set_if_higher

    async def replace_then_die(self: ConfigMapDisk, name: str, data: bytes) -> None:
        await replace(self, name, data)
        await die()

    async def store_then_die(self: RedisKeyValueStore, key: str, version: int, value: bytes) -> bool:
        await store_it(self, key, version, value)
        await die()
        return True

    with monkeypatch.context() as patched:
        if point == "after the claim":
            patched.setattr(ConfigMapDisk, "replace", die)
        elif point == "after the ConfigMap":
            patched.setattr(ConfigMapDisk, "replace", replace_then_die)
        else:
            patched.setattr(RedisKeyValueStore, "set_if_higher", store_then_die)
        await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "DEFENSIVE"}})
        await killed.wait()
        with pytest.raises(RuntimeError, match="queue failed"):
            await operator.until_failed()
    await operators.end(operator)
    claimed = (await cluster.status(TRADING_POLICY, "main"))["version"]
    assert claimed == 2
    # Meanwhile the person takes the change back.
    await cluster.patch(TRADING_POLICY, "main", {"spec": {"profile": "NORMAL"}})
    await operators.start()

    async def healed() -> bool:
        config = await cluster.get(CONFIG_MAP, "main-policy")
        status = await cluster.status(TRADING_POLICY, "main")
        assert config is not None
        version = status["version"]
        return version > claimed and f'"version":{version}' in config["data"]["policy.json"]

    await eventually(healed, "a higher version holds everywhere")


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_api_server_away_and_back_does_not_end_the_operator(
    plane: ControlPlane, cluster: Cluster, desk: FakeDesk, operator: Operator, how: str
) -> None:
    failing = asyncio.ensure_future(operator.until_failed())
    server = plane.api_server
    (server.kill if how == "killed" else server.pause)()
    # The desk goes on; what it says while nobody can write it down is written later.
    desk.drawdown = "1.5"
    desk.answer({"kind": "trip", "requestID": "own", "reason": "drawdown", "requestedBy": "emergency_stop"})
    assert operator.context is not None
    context = operator.context

    async def heard() -> bool:
        report = context.pulse.report(next(iter(context.known.values())).uid)
        return report is not None and report.stop is not None and report.stop.view.state == "TRIPPED"

    await eventually(heard, "the operator hears it")

    async def said() -> bool:
        return not operator.readiness()["api"].ok

    await eventually(said, "readiness says that the API server is away")
    # In this very thread: the API server ends with the thread that started it.
    (server.start if how == "killed" else server.resume)()
    await eventually(lambda: tripped(cluster), "it is written once the API server is back")
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": "t2", "reason": "more"}}})
    await asyncio.wait_for(desk.heard.wait(), 30)
    assert not failing.done()
    failing.cancel()


async def tripped(cluster: Cluster) -> bool:
    return (await cluster.status(EMERGENCY_STOP, "main")).get("state") == "TRIPPED"


async def test_silent_desk_does_not_delay_a_trip_of_another(
    cluster: Cluster, desk: FakeDesk, operator: Operator, desks: FakeDesks
) -> None:
    for number in range(4):
        await cluster.create(policy(f"silent-{number}"))
        request = {"requestID": "t1", "reason": "x"}
        await cluster.create(stop(f"silent-{number}", f"silent-{number}", trip=request))
    await cluster.patch(EMERGENCY_STOP, "main", {"spec": {"trip": {"requestID": "t1", "reason": "news"}}})
    await asyncio.wait_for(desk.heard.wait(), 10)
    await eventually(lambda: tripped(cluster), "it is tripped")


async def test_process_ends_cleanly_at_sigterm(
    plane: ControlPlane, cluster: Cluster, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    process = await start_process(plane, cluster, valkey, tmp_path)
    assert process.stderr is not None
    while b"operator runs" not in (line := await process.stderr.readline()):
        assert line, "it ended before it ran"
    process.send_signal(signal.SIGTERM)
    rest = await process.stderr.read()
    assert await process.wait() == 0, rest.decode()
    assert b"Traceback" not in rest, rest.decode()


async def test_process_with_bad_settings_names_each_and_ends(
    plane: ControlPlane, cluster: Cluster, valkey: EmbeddedServer, tmp_path: Path
) -> None:
    process = await start_process(
        plane, cluster, valkey, tmp_path, REDIS_URL="http://x", BREAKWATER_PLATFORM_FILE=str(tmp_path / "none")
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"REDIS_URL" in said
    assert b"BREAKWATER_PLATFORM_FILE" in said


async def start_process(
    plane: ControlPlane, cluster: Cluster, valkey: EmbeddedServer, tmp_path: Path, **more: str
) -> asyncio.subprocess.Process:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "platform.yaml").write_text("image: breakwater:test\n")
    environment = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(plane.cluster.kubeconfig),
        "REDIS_URL": valkey.url,
        "BREAKWATER_OPERATOR_KEY_FILE": str(tmp_path / "key"),
        "BREAKWATER_PLATFORM_FILE": str(tmp_path / "platform.yaml"),
        "BREAKWATER_NAMESPACES": cluster.namespace,
        "BREAKWATER_HTTP_HOST": "127.0.0.1",
        "BREAKWATER_HTTP_PORT": "0",
        "BREAKWATER_LOG_FORMAT": "json",
        **more,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "breakwater_operator", "run", env=environment, stderr=asyncio.subprocess.PIPE
    )
