"""The bus where the server that holds it changes: Sentinels name another master, a cluster moves the desk's slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.events import CandleClosed
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.redis_bus import RedisBus
from breakwater.runtime.redis_client import LOST, RedisClient
from breakwater.runtime.redis_kv import RedisKeyValueStore

from .conftest import DESK, Recorder
from .server_processes import Running, ask, end, free_port, launch

SLOT = key_slot(b"bw:{test}:writer")


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as open_until_the_end:
        yield open_until_the_end


async def started(stack: AsyncExitStack, directory: Path, *words: str, port: int | None = None) -> Running:
    running = await launch(directory, *words, port=port)
    stack.push_async_callback(end, running)
    return running


async def bus_of(stack: AsyncExitStack, url: str, recorder: Recorder, volume: Path) -> RedisBus:
    disk = FileDisk(volume, owner="test")
    stack.callback(disk.close)
    bus = RedisBus(url, DESK, "writer", WallInfraClock(), disk=disk)
    bus.subscribe(recorder, producers=["writer"], types=[CandleClosed], group="g")
    await bus.start()
    stack.push_async_callback(bus.stop)
    return bus


async def master_with_replica_and_sentinel(stack: AsyncExitStack, root: Path) -> tuple[Running, Running, str]:
    master = await started(stack, root / "master")
    replica = await started(
        stack, root / "replica", "--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0"
    )
    configuration = root / "sentinel.conf"
    port = free_port()
    configuration.write_text(
        f"port {port}\nsentinel monitor desk 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds desk 300\nsentinel failover-timeout desk 2000\n"
    )
    sentinel = await started(stack, root / "sentinel", str(configuration), "--sentinel", port=port)
    async with asyncio.timeout(20):
        while True:
            role = await ask(replica.port, "ROLE")
            known = await ask(sentinel.port, "SENTINEL", "REPLICAS", "desk")
            if role[3] == b"connected" and known:
                break
            await asyncio.sleep(0.05)
    return master, replica, f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}/desk"


@pytest.mark.slow
async def test_bus_goes_on_with_the_new_master_and_loses_nothing(
    stack: AsyncExitStack, tmp_path: Path, recorder: Recorder, publish: Any, eventually: Any
) -> None:
    master, _, url = await master_with_replica_and_sentinel(stack, tmp_path)
    bus = await bus_of(stack, url, recorder, tmp_path / "volume")
    for number in range(20):
        await publish(bus, number)
    master.kill()
    for number in range(20, 40):
        await publish(bus, number)
    await eventually(lambda: recorder.numbers == list(range(40)), 30)
    assert bus.connected


async def test_client_takes_the_master_from_the_sentinel_that_answers_and_says_what_it_lacks(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    master = await started(stack, tmp_path / "master")
    port = free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nsentinel monitor desk 127.0.0.1 {master.port} 1\n")
    await started(stack, tmp_path / "sentinel", str(configuration), "--sentinel", port=port)
    client = RedisClient(f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/desk", socket_timeout=2)
    assert (await client.endpoint("bw:{test}:writer")).port == master.port
    await client.close()
    stranger = RedisClient(f"redis+sentinel://127.0.0.1:{port}/other", socket_timeout=2)
    with pytest.raises(LOST, match="knows no master 'other'"):
        await stranger.run("PING")
    await stranger.close()


async def test_master_that_became_a_replica_is_not_written_to(stack: AsyncExitStack, tmp_path: Path) -> None:
    """Before the Sentinels notice: they still name it."""
    master = await started(stack, tmp_path / "master")
    other = await started(stack, tmp_path / "other")
    port = free_port()
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(f"port {port}\nsentinel monitor desk 127.0.0.1 {master.port} 1\n")
    await started(stack, tmp_path / "sentinel", str(configuration), "--sentinel", port=port)
    client = RedisClient(f"redis+sentinel://127.0.0.1:{port}/desk", socket_timeout=2)
    await client.run("SET", "bw:{test}:x", "1")
    await ask(master.port, "REPLICAOF", "127.0.0.1", other.port)
    with pytest.raises(LOST):
        await client.run("SET", "bw:{test}:x", "2")
    with pytest.raises(LOST, match="is a replica"):
        await client.run("GET", "bw:{test}:x")
    await client.close()


async def cluster(stack: AsyncExitStack, root: Path) -> list[Running]:
    """Three masters; the first has every slot."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
    nodes = [await started(stack, root / str(index), *options) for index in range(3)]
    await ask(nodes[0].port, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    for index, node in enumerate(nodes[1:], 2):
        await ask(node.port, "CLUSTER", "SET-CONFIG-EPOCH", index)
        await ask(nodes[0].port, "CLUSTER", "MEET", "127.0.0.1", node.port)
    async with asyncio.timeout(20):
        while True:
            states = [await ask(node.port, "CLUSTER", "INFO") for node in nodes]
            if all("cluster_state:ok" in _text(state) and "cluster_known_nodes:3" in _text(state) for state in states):
                return nodes
            await asyncio.sleep(0.05)


def _text(info: Any) -> str:
    if isinstance(info, dict):
        return "\n".join(f"{key}:{value}" for key, value in info.items())
    return info.decode() if isinstance(info, bytes) else str(info)


async def move_slot(old: Running, new: Running, slot: int) -> None:
    """As `redis-cli --cluster reshard` does, key by key."""
    old_id, new_id = [(await ask(node.port, "CLUSTER", "MYID")).decode() for node in (old, new)]
    await ask(new.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    await ask(old.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    while keys := await ask(old.port, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        for key in keys:
            await ask(old.port, "MIGRATE", "127.0.0.1", new.port, key.decode(), 0, 1000)
    for node in (new, old):
        await ask(node.port, "CLUSTER", "SETSLOT", slot, "NODE", new_id)


async def test_bus_follows_its_slot_to_another_node_and_loses_nothing(
    stack: AsyncExitStack, tmp_path: Path, recorder: Recorder, publish: Any, eventually: Any
) -> None:
    nodes = await cluster(stack, tmp_path)
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{nodes[2].port}"
    bus = await bus_of(stack, url, recorder, tmp_path / "volume")
    for number in range(20):
        await publish(bus, number)
    moving = asyncio.ensure_future(move_slot(nodes[0], nodes[1], SLOT))
    for number in range(20, 40):
        await publish(bus, number)
    await moving
    for number in range(40, 50):
        await publish(bus, number)
    await eventually(lambda: recorder.numbers == list(range(50)), 20)
    assert await ask(nodes[1].port, "XLEN", "bw:{test}:writer") == 50

    store = RedisKeyValueStore(url, WallInfraClock())  # the policy's key lies in a slot of its own
    assert await store.set_if_higher("breakwater:test:policy", 1, b"x")
    assert await store.get("breakwater:test:policy") == b"x"
    await store.close()
