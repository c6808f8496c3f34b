"""The processes of all containers: started, recorded so that nobody is left behind, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_LAUNCHER = Path(__file__).with_name("launch.py")


class LaunchError(Exception):
    """The command did not begin to run; the message says why."""


@dataclass(frozen=True)
class Label:
    """Whose process it is, as pods.json tells it. ``log``: the file that its output is appended to."""

    namespace: str
    pod: str
    container: str
    pod_ip: str
    log: Path


class ContainerProcess:
    """A running command, leader of its own session."""

    def __init__(self, process: asyncio.subprocess.Process, label: Label) -> None:
        self._process = process
        self.label = label
        self.pid = process.pid
        self.start_ticks = _start_ticks(process.pid)
        self.mounts = ""

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code; 128 + n when signal n ended it."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def signal(self, number: signal.Signals) -> None:
        """Send to the whole process group."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def record(self) -> dict[str, Any]:
        return {
            "namespace": self.label.namespace,
            "pod": self.label.pod,
            "container": self.label.container,
            "pid": self.pid,
            "podIP": self.label.pod_ip,
            "log": str(self.label.log),
            "startTicks": self.start_ticks,
            "mountNamespace": self.mounts,
        }


class ProcessTable:
    """What runs, and ``pods.json`` that says so at every moment."""

    def __init__(self, pods_file: Path) -> None:
        self._file = pods_file
        self._running: dict[int, ContainerProcess] = {}

    def kill_leftovers(self) -> None:
        """End what an agent that was killed has left running."""
        try:
            records = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return
        for record in records:
            if _start_ticks(record["pid"]) == record["startTicks"]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record["pid"], signal.SIGKILL)
            _kill_session(record["pid"], record["mountNamespace"])
        self._save()

    async def launch(self, label: Label, spec: dict[str, Any], draft: Path) -> ContainerProcess:
        """Start a command as ``launch.py`` describes. ``draft``: where its specification may lie for a moment.

        Raises LaunchError.
        """
        ours, theirs = os.pipe()
        output = os.open(label.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        _write_private(draft, json.dumps(spec | {"parent": os.getpid(), "report": theirs}))
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_LAUNCHER), str(draft),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(theirs,),
                start_new_session=True,
                env={},
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(output)
        running = ContainerProcess(process, label)
        self._running[running.pid] = running
        self._save()
        said = await _read_all(ours)
        mounts, _, error = said.partition("\n") if said.startswith("mnt:") else ("", "", said)
        running.mounts = mounts
        if error or not mounts:
            await self.ended(running)
            raise LaunchError(error or f"the launcher ended, see {label.log}")
        self._save()
        return running

    async def ended(self, running: ContainerProcess) -> int:
        """Wait for the end, end what it left in its session, forget it. The exit code."""
        code = await running.wait()
        _kill_session(running.pid, running.mounts)
        self._running.pop(running.pid, None)
        self._save()
        return code

    async def kill_all(self, grace: float) -> None:
        """SIGTERM to everything, after ``grace`` seconds SIGKILL."""
        running = list(self._running.values())
        for process in running:
            process.signal(signal.SIGTERM)
        waits = [asyncio.create_task(self.ended(process)) for process in running]
        if waits:
            await asyncio.wait(waits, timeout=grace)
            for process in running:
                process.signal(signal.SIGKILL)
            await asyncio.wait(waits)

    def _save(self) -> None:
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps([process.record() for process in self._running.values()], indent=1) + "\n")
        os.replace(draft, self._file)


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


async def _read_all(descriptor: int) -> str:
    """What comes through a pipe until it closes."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        return (await reader.read()).decode(errors="replace")
    finally:
        transport.close()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start_ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else -1


def _mounts(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _kill_session(leader: int, mounts: str) -> None:
    """SIGKILL what still runs in a container's session. A number may have been given to a stranger; the mount namespace was not."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        fields = _stat(int(entry.name))
        if fields and int(fields[3]) == leader and mounts and _mounts(int(entry.name)) == mounts:
            log.info("ending process %s that container process %s left behind", entry.name, leader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
