"""One container: its runs, restarts, probes and end, and what its status says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.node.actions import Target, act
from tests.cluster.node.api import Object
from tests.cluster.node.environment import ConfigError, command
from tests.cluster.node.probes import Probe, probe_container
from tests.cluster.node.processes import ContainerProcess, Label, LaunchError, ProcessTable

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE, LONG_ENOUGH = 1.0, 30.0, 60.0
"""Seconds: a kubelet's back-off (10 s to 5 min, forgotten after 10 min), shortened for tests."""
SHIMS = "/opt/node-shims"
"""Where a container sees the programs that images would bring."""
_RETRY_SECONDS = 1.0
_MESSAGE_BYTES = 4096
_LEAST_AFTER_HOOK = 2.0


class Pod(Protocol):
    """What a container needs from its pod."""

    pod: Object
    ip: str
    directory: Path

    def variables(self, container: Object) -> dict[str, str]:
        """Raises ConfigError."""

    def mounts(self, container: Object, variables: dict[str, str]) -> list[dict[str, Any]]:
        """Raises ConfigError."""

    def changed(self) -> None:
        """Some status is different now."""

    def say(self, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        """An Event."""


@dataclass(frozen=True)
class Host:
    """What the node gives every container. ``visible`` and ``hidden``: see launch.py."""

    processes: ProcessTable
    shims: Path
    logs: Path
    visible: list[str]
    hidden: str


class Container:
    """``run`` until it will not run again; ``stop`` ends it for good."""

    def __init__(self, host: Host, pod: Pod, spec: Object, previous: Object | None, *, init: bool = False) -> None:
        """``previous``: the status that an earlier agent reported."""
        self.spec = spec
        self.name: str = spec["name"]
        self.ready = False
        self.started = False
        self.state: Object = {"waiting": {"reason": "PodInitializing" if init else "ContainerCreating"}}
        self.last_state: Object = {}
        self.restarts = 0
        self.run_id = ""
        self.process: ContainerProcess | None = None
        self.log_from = self.previous_log_from = 0
        self._host = host
        self._pod = pod
        self._init = init
        self._previous = previous
        self._variables: dict[str, str] = {}
        self._stopping = False
        self._deadline = 0.0
        self._killer: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        metadata = pod.pod["metadata"]
        self.log_file = host.logs / f"{metadata['namespace']}_{metadata['name']}_{self.name}.log"

    def status(self) -> Object:
        """ContainerStatus of the API."""
        image = self.spec.get("image", "")
        return {
            "name": self.name,
            "image": image,
            "imageID": f"host://{image}",
            "containerID": self.run_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }

    def wake(self) -> None:
        """Something that it waits for may be there now."""
        self._wake.set()

    async def run(self) -> int:
        """Run it, again and again as its policy wants. The last exit code."""
        code = self._take_over()
        if code is not None:
            return code
        pause = -1.0
        while True:
            began = time.monotonic()
            code = await self._run_once()
            if self._stopping or not self._again(code):
                # A finished init container counts as ready, as a kubelet has it.
                self.ready = self._init and code == 0
                self._pod.changed()
                return code
            pause = -1.0 if time.monotonic() - began > LONG_ENOUGH else pause
            pause = 0.0 if pause < 0 else min(max(FIRST_PAUSE, pause * 2), LONGEST_PAUSE)
            if pause:
                await self._back_off(pause)
            if self._stopping:
                return code
            if "terminated" in self.state:
                self.last_state = self.state
            self.restarts += 1

    async def stop(self, grace: float) -> None:
        """End it and never start it again; at once when ``grace`` (seconds) is 0. May be called again with less grace."""
        self._stopping = True
        self._wake.set()
        self._kill(grace, f"Stopping container {self.name}")
        await self._idle.wait()

    def _again(self, code: int) -> bool:
        policy = self._pod.pod["spec"].get("restartPolicy", "Always")
        if policy == "Always":
            return not self._init or code != 0
        return bool(policy == "OnFailure" and code != 0)

    def _take_over(self) -> int | None:
        """Go on from what an earlier agent reported; its exit code when the container need not run again."""
        if not self._previous:
            return None
        self.restarts = self._previous.get("restartCount", 0)
        self.last_state = self._previous.get("lastState") or {}
        state = self._previous.get("state") or {}
        if running := state.get("running"):
            lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "the node agent was restarted"}
            state = {"terminated": {**lost, "startedAt": running["startedAt"], "finishedAt": timestamp()}}
        if "terminated" not in state:
            return None
        code = int(state["terminated"]["exitCode"])
        if not self._again(code):
            self.state = state
            self.ready = self._init and code == 0
            return code
        self.last_state = state
        self.restarts += 1
        return None

    async def _back_off(self, pause: float) -> None:
        metadata = self._pod.pod["metadata"]
        where = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        self.last_state = self.state
        message = f"back-off {pause:g}s restarting failed container={self.name} pod={where}"
        self._set({"waiting": {"reason": "CrashLoopBackOff", "message": message}})
        self._say("BackOff", f"Back-off restarting failed container {self.name} in pod {where}", warning=True)
        ends = time.monotonic() + pause
        while not self._stopping and (left := ends - time.monotonic()) > 0:
            await self._wait_to_be_woken(left)

    async def _wait_to_be_woken(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        if not self._stopping:
            self._wake.clear()

    async def _run_once(self) -> int:
        while True:
            if self._stopping:
                return 0
            try:
                argv, mounts = self._plan()
                break
            except (ConfigError, OSError) as error:
                reason = getattr(error, "reason", ConfigError.reason)
                self._set({"waiting": {"reason": reason, "message": str(error)}})
                self._say("Failed", f"Error: {error}", warning=True)
                await self._wait_to_be_woken(_RETRY_SECONDS)
        began = timestamp()
        self._idle.clear()
        try:
            try:
                self.process = await self._launch(argv, mounts)
            except LaunchError as error:
                self._say("Failed", f"Error: failed to start container: {error}", warning=True)
                self._set(_terminated(128, "StartError", str(error), began))
                return 128
            code = await self._attend(self.process, began)
            self.process = None
            reason = "Completed" if code == 0 else "Error"
            self._set(_terminated(code, reason, self._last_words(code), began, self.run_id))
            return code
        finally:
            self.process = self._killer = None
            self._idle.set()

    def _plan(self) -> tuple[list[str], list[dict[str, Any]]]:
        path = f"{SHIMS}:{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        image = {"PATH": path, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
        image["HOSTNAME"] = self._pod.pod["metadata"]["name"]
        self._variables = image | self._pod.variables(self.spec)
        return command(self.spec, self._variables, self._pod.ip), self._pod.mounts(self.spec, self._variables)

    async def _launch(self, argv: list[str], mounts: list[dict[str, Any]]) -> ContainerProcess:
        metadata = self._pod.pod["metadata"]
        label = Label(metadata["namespace"], metadata["name"], self.name, self._pod.ip, self.log_file)
        words = self._words_file
        words.write_bytes(b"")
        root = self._pod.directory / "root"
        root.mkdir(exist_ok=True)
        spec = {
            "argv": argv,
            "env": self._variables,
            "cwd": self.spec.get("workingDir") or "/",
            "hostname": self._pod.pod["spec"].get("hostname") or metadata["name"],
            "root": str(root),
            "readOnlyRoot": bool((self.spec.get("securityContext") or {}).get("readOnlyRootFilesystem")),
            "mounts": [*mounts, {"source": str(words), "target": self._words_path, "readOnly": False}],
            "visible": self._host.visible,
            "hidden": self._host.hidden,
        }
        self.previous_log_from = self.log_from
        self.log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        return await self._host.processes.launch(label, spec, self._pod.directory / f"{self.name}.launch")

    async def _attend(self, process: ContainerProcess, began: str) -> int:
        """From start to end of one run. The exit code."""
        self.run_id = f"process://{process.pid}-{process.start_ticks}"
        self._set({"running": {"startedAt": began}})
        self._say("Created", f"Container created: {self.name}")
        self._say("Started", f"Container started: {self.name}")
        tasks = [asyncio.create_task(self._probe(), name=f"probes of {self.name}")]
        if self._stopping:  # while it was being launched
            self._kill(0, f"Stopping container {self.name}")
        if hook := (self.spec.get("lifecycle") or {}).get("postStart"):
            tasks.append(asyncio.create_task(self._after_start(hook)))
        try:
            return await self._host.processes.ended(process)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.ready = self.started = False

    async def _after_start(self, hook: Object) -> None:
        good, said = await act(hook, self._target(), self._pod_grace())
        if not good:
            self._say("FailedPostStartHook", f"PostStartHook failed: {said}", warning=True)
            self._kill(self._pod_grace(), f"FailedPostStartHook: container {self.name} will be restarted")

    async def _probe(self) -> None:
        def started() -> None:
            self.started = True
            self._pod.changed()

        def ready(good: bool) -> None:
            if good != self.ready:
                self.ready = good
                self._pod.changed()

        def dead(kind: Probe) -> None:
            if self._killer is None and not self._stopping:
                grace = self.spec[kind.field].get("terminationGracePeriodSeconds", self._pod_grace())
                message = f"Container {self.name} failed {kind.value.lower()} probe, will be restarted"
                self._kill(grace, message)

        def failed(message: str) -> None:
            self._say("Unhealthy", message, warning=True)

        await probe_container(self.spec, self._target(), started, ready, dead, failed)

    def _target(self) -> Target:
        assert self.process is not None
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports") or [] if port.get("name")}
        return Target(self.process.pid, self._pod.ip, ports, self._variables)

    def _pod_grace(self) -> float:
        return float(self._pod.pod["spec"].get("terminationGracePeriodSeconds", 30))

    def _kill(self, grace: float, message: str) -> None:
        """preStop, SIGTERM, ``grace`` seconds after the beginning SIGKILL. Called again it can only shorten that."""
        ends = time.monotonic() + grace
        if self._killer is not None and not self._killer.done():
            self._deadline = min(self._deadline, ends)
        elif self.process is not None:
            self._deadline = ends
            self._say("Killing", message)
            self._killer = asyncio.create_task(self._end(self.process), name=f"end of {self.name}")

    async def _end(self, process: ContainerProcess) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and (left := self._deadline - time.monotonic()) > 0:
            await self._before_end(act(hook, self._target(), left))
            self._deadline = max(self._deadline, time.monotonic() + _LEAST_AFTER_HOOK)
        if time.monotonic() < self._deadline:
            process.signal(signal.SIGTERM)
        while process.running:
            left = self._deadline - time.monotonic()
            if left <= 0:
                process.signal(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 0.2 if left <= 0 else min(left, 0.2))

    async def _before_end(self, hook: Coroutine[Any, Any, tuple[bool, str]]) -> None:
        task = asyncio.create_task(hook)
        while not task.done() and time.monotonic() < self._deadline:
            await asyncio.wait({task}, timeout=min(0.2, max(0.0, self._deadline - time.monotonic())))
        if not task.done():
            task.cancel()
            self._say("FailedPreStopHook", "PreStopHook failed: the grace period is over", warning=True)
        elif not (answer := task.result())[0]:
            self._say("FailedPreStopHook", f"PreStopHook failed: {answer[1]}", warning=True)

    @property
    def _words_file(self) -> Path:
        return self._pod.directory / f"{self.name}.words"

    @property
    def _words_path(self) -> str:
        return str(self.spec.get("terminationMessagePath") or "/dev/termination-log")

    def _last_words(self, code: int) -> str:
        """What the container wrote as its termination message; of a failed one, if it asks for that, the log's end."""
        words = _tail(self._words_file, 0)
        if not words and code and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            words = _tail(self.log_file, self.log_from)
        return words

    def _set(self, state: Object) -> None:
        self.state = state
        self._pod.changed()

    def _say(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._pod.say(reason, message, warning=warning, container=self.name)


def timestamp() -> str:
    """Now, as the API writes times."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _terminated(code: int, reason: str, message: str, began: str, run_id: str = "") -> Object:
    state = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp()}
    if code > 128 and reason == "Error":
        state["signal"] = code - 128
    if message:
        state["message"] = message
    if run_id:
        state["containerID"] = run_id
    return {"terminated": state}


def _tail(file: Path, start: int) -> str:
    try:
        with open(file, "rb") as content:
            size = content.seek(0, os.SEEK_END)
            content.seek(max(start, size - _MESSAGE_BYTES))
            return content.read().decode(errors="replace")
    except OSError:
        return ""
