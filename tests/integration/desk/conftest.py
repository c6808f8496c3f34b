"""A whole desk as people start it: ``breakwater up`` in a process of its own, on a state directory of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

BREAKWATER = (sys.executable, "-m", "breakwater.cli.main")
PROJECT = Path(__file__).resolve().parents[3]
PATIENCE = 3.0
"""Waits end with what they wait for; on a machine that is busy with something else they may take this many times longer."""


def clean_environment() -> dict[str, str]:
    """Ours, without anything that would point a command at another desk."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BREAKWATER_", "REDIS_", "RM_", "QT_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "NO_COLOR": "1"}


class Result:
    """What a command left: exit code and everything it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        # Tables and wrapping are for people; tests read sentences.
        self.said = " ".join((out + " " + err).split())

    def json(self) -> Any:
        return json.loads(self.out)


class DeskProcess:
    """``start``, look at it, ``interrupt`` or ``kill``, ``start`` again: always from the same state directory."""

    def __init__(self, state: Path, book: Any) -> None:
        self.state = state
        self.venue = book(state / "venue" / "state.json")
        self.process: subprocess.Popen[str] | None = None
        # One client: reading the system's certificates for each request would take most of the machine.
        self._http = httpx.Client(timeout=10, trust_env=False, verify=False)
        self._output = state.parent / "output.txt"

    # -------------------------------------------------------------------------------------------- life

    def start(self, *options: str, environment: dict[str, str] | None = None) -> None:
        assert self.process is None
        command = (*BREAKWATER, "up", "--state-dir", str(self.state), "--port", "0", *options)
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**clean_environment(), **(environment or {})},
                text=True,
                cwd=self.state.parent,
            )

    def interrupt(self, seconds: float = 20) -> int:
        """Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self._ended(seconds)

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self._ended(5)

    def _ended(self, seconds: float) -> int:
        assert self.process is not None
        code = self.process.wait(seconds)
        self.process = None
        return code

    # -------------------------------------------------------------------------------------------- looking

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def record(self) -> Any:
        return json.loads((self.state / "desk.json").read_text())

    @property
    def token(self) -> str:
        return (self.state / "token").read_text().strip()

    def request(self, method: str, path: str, **parts: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", **parts.pop("headers", {})}
        return self._http.request(method, self.record["url"] + path, headers=headers, **parts)

    def status(self) -> Any:
        answer = self.request("GET", "/v1/status")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def until(self, fact: Callable[[Any], Any], seconds: float = 30) -> Any:
        """The first status for which ``fact`` holds; fails with the last one and the output when none came."""
        deadline = time.monotonic() + seconds * PATIENCE
        last: Any = None
        while time.monotonic() < deadline:
            assert self.process is None or self.process.poll() is None, f"the desk ended:\n{self.output}"
            try:
                if self.process is None or self.record["pid"] == self.process.pid:
                    last = self.status()
                    if fact(last):
                        return last
            except (OSError, ValueError, httpx.HTTPError):
                pass  # not there yet
            time.sleep(0.1)
        pytest.fail(f"not within {seconds:.0f} s; status {json.dumps(last)[:3000]}\noutput:\n{self.output}")

    def until_it_trades(self, seconds: float = 30) -> Any:
        return self.until(trades, seconds)

    def until_it_agrees(self, seconds: float = 20) -> Any:
        """Reconciled, and the desk's wallet and positions are the venue's."""
        return self.until(self._agrees, seconds)

    def _agrees(self, status: Any) -> bool:
        snapshot, account = status["snapshot"], status["account"]
        if not (snapshot and account and snapshot["reconciled"]) or account["unknown_orders"]:
            return False
        held = {row["symbol"]: Decimal(row["quantity"]) for row in snapshot["positions"]}
        return bool(held == self.venue.positions() and Decimal(snapshot["wallet"]) == self.venue.account().wallet)

    def run(self, *arguments: str, environment: dict[str, str] | None = None, seconds: float = 30) -> Result:
        """A command of the CLI, on this desk's state directory."""
        return run_command(
            *arguments,
            environment={"BREAKWATER_HOME": str(self.state), **(environment or {})},
            cwd=self.state.parent,
            seconds=seconds,
        )

    def server_pid(self) -> int:
        """The embedded server's process."""
        return int((self.state / "valkey" / "server.pid").read_text().split()[0])


def trades(status: Any) -> bool:
    return bool(status["snapshot"] and status["snapshot"]["positions"] and status["gate"]["state"] == "OPEN")


def run_command(*arguments: str, environment: dict[str, str], cwd: Path, seconds: float = 30) -> Result:
    done = subprocess.run(
        (*BREAKWATER, *arguments),
        capture_output=True,
        text=True,
        env={**clean_environment(), **environment},
        cwd=cwd,
        timeout=seconds,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.fixture
def running() -> Callable[[int], bool]:
    """Whether a process of that number runs."""
    return is_running


@pytest.fixture
def desk(tmp_path: Path, venue_book: Any) -> Iterator[DeskProcess]:
    """Not started yet. Whatever runs at the end is killed, its server too."""
    with desk_in(tmp_path, venue_book) as made:
        yield made


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory, venue_book: Any) -> Iterator[DeskProcess]:
    """One desk that runs and holds positions, for the tests of a file; it is whole at the end."""
    with desk_in(tmp_path_factory.mktemp("traded"), venue_book) as made:
        made.start("--speed", "30")
        made.until_it_trades()
        yield made
        made.until_it_agrees()
        assert made.interrupt() == 0, made.output
        assert made.venue.wrongs() == []


@contextlib.contextmanager
def desk_in(directory: Path, venue_book: Any) -> Iterator[DeskProcess]:
    made = DeskProcess(directory / "state", venue_book)
    try:
        yield made
    finally:
        end(made)


def end(made: DeskProcess) -> None:
    if made.process is not None:
        made.kill()
    pid_file = made.state / "valkey" / "server.pid"
    if pid_file.exists() and is_running(pid := made.server_pid()):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"valkey" in command or b"redis" in command:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def breakwater(tmp_path: Path) -> Callable[..., Result]:
    """Run one command without a desk: ``breakwater("up", ..., environment={...})``."""

    def run(*arguments: str, environment: dict[str, str] | None = None, seconds: float = 30) -> Result:
        return run_command(*arguments, environment=environment or {}, cwd=tmp_path, seconds=seconds)

    return run


@pytest.fixture
def profile() -> Callable[[str], Path]:
    """A shipped profile's file."""
    return lambda name: PROJECT / "profiles" / f"{name}.yaml"
