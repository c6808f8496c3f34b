"""The embedded server: found, started, supervised, stopped; and the key-value store on it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.redis_client import RedisClient
from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater.runtime.valkey_server import EmbeddedServer, ServerError, find_server

Eventually = Callable[..., Awaitable[None]]

_PARENT = """
import asyncio, pathlib, sys
from breakwater.runtime.valkey_server import EmbeddedServer
async def main():
    server = EmbeddedServer(pathlib.Path(sys.argv[1]), binary=pathlib.Path(sys.argv[2]))
    await server.start()
    print("pid", server.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_server_stopped_and_started_again_keeps_its_data(server: EmbeddedServer, client: RedisClient) -> None:
    await client.run("SET", "a", "1")
    await server.stop()
    again = EmbeddedServer(server.directory, binary=server.binary)
    await again.start()
    assert await client.run("GET", "a") == b"1"
    assert server.directory.stat().st_mode & 0o777 == 0o700
    await again.stop()


async def test_server_that_still_loads_its_data_is_not_called_started(
    server: EmbeddedServer, client: RedisClient, tmp_path: Path
) -> None:
    # Many commands, because the server looks up from loading only after each thousand or so.
    await client.run("EVAL", "for i = 1, 20000 do redis.call('SET', 'key-' .. i, 'x') end", 0)
    await server.stop()
    slow = tmp_path / "slow-server"
    slow.write_text(f'#!/bin/sh\nexec "{server.binary}" "$@" --key-load-delay 100\n')  # microseconds
    slow.chmod(0o755)
    again = EmbeddedServer(server.directory, binary=slow)
    await again.start()
    try:
        assert await client.run("GET", "key-20000") == b"x"
    finally:
        await again.stop()


async def test_second_server_on_the_same_directory_is_refused_naming_the_holder(server: EmbeddedServer) -> None:
    with pytest.raises(ServerError, match=f"in use by.*process {os.getpid()}"):
        await EmbeddedServer(server.directory, binary=server.binary).start()
    assert server.pid is not None
    assert alive(server.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux only")
async def test_parent_killed_takes_the_server_with_it(
    server: EmbeddedServer, tmp_path: Path, eventually: Eventually
) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path / "other"), str(server.binary), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    line = b""
    while not line.startswith(b"pid"):
        line = await asyncio.wait_for(parent.stdout.readline(), 20)
    pid = int(line.split()[1])
    assert alive(pid)
    parent.kill()
    await parent.wait()
    await eventually(lambda: not alive(pid))


async def test_server_left_behind_is_stopped_first(server: EmbeddedServer, tmp_path: Path) -> None:
    directory = tmp_path / "left"
    directory.mkdir(mode=0o700)
    socket = directory / "server.sock"
    stray = await asyncio.create_subprocess_exec(
        server.binary, "--port", "0", "--unixsocket", str(socket), "--dir", str(directory), stdout=subprocess.DEVNULL
    )
    (directory / "server.pid").write_text(f"{stray.pid}\n{socket}\n")
    await asyncio.sleep(0.3)
    fresh = EmbeddedServer(directory, binary=server.binary)
    await fresh.start()
    assert await asyncio.wait_for(stray.wait(), 5) == 0
    await fresh.stop()


async def test_server_that_cannot_start_says_what_its_log_says(server: EmbeddedServer, tmp_path: Path) -> None:
    directory = tmp_path / "broken"
    (directory / "appendonlydir").mkdir(parents=True)
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(ServerError, match=r"(?s)ended at once.*server\.log ends:.*(AOF|manifest)"):
        await EmbeddedServer(directory, binary=server.binary).start()


async def test_long_directory_gets_a_short_socket(server: EmbeddedServer, tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    long = EmbeddedServer(directory, binary=server.binary)
    await long.start()
    socket = long.socket
    assert len(str(socket)) <= 100
    assert socket.exists()
    await long.stop()
    assert not socket.parent.exists()


def test_binary_that_does_not_exist_is_named() -> None:
    with pytest.raises(ServerError, match="BREAKWATER_REDIS_SERVER=/no/such"):
        find_server("/no/such")


def test_without_override_some_server_is_found() -> None:
    assert os.access(find_server(), os.X_OK)


async def test_store_takes_only_a_higher_version(server: EmbeddedServer) -> None:
    store = RedisKeyValueStore(server.url, WallInfraClock(), timeout=30)
    assert await store.get("policy") is None
    assert await store.set_if_higher("policy", 2, b"two")
    assert not await store.set_if_higher("policy", 2, b"other")
    assert not await store.set_if_higher("policy", 1, b"one")
    assert await store.get("policy") == b"two"
    assert sum(await asyncio.gather(*(store.set_if_higher("policy", 3, b"%d" % n) for n in range(20)))) == 1
    await store.set("plain", b"x")
    assert await store.get("plain") == b"x"
    assert 0 < await store.ping() < 30
    await store.close()


async def test_store_away_is_unavailable_never_empty(server: EmbeddedServer) -> None:
    store = RedisKeyValueStore(server.url, WallInfraClock(), timeout=0.3)
    await store.set("a", b"1")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await store.get("a")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert await store.get("a") == b"1"
    await store.close()
