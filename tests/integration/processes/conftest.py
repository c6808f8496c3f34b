"""A desk whose components run as processes of their own, as on Kubernetes: one Valkey, one paper venue, HTTP on free ports."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from breakwater.runtime.valkey_server import find_server

COMPONENTS = (
    "paper_venue",
    "policy",
    "market_data",
    "ai_engine",
    "risk_manager",
    "execution",
    "portfolio",
    "emergency_stop",
    "health_monitor",
    "dashboard",
)
PROJECT = Path(__file__).resolve().parents[3]
TOKEN = "t" * 32
SPEED = "20"
PATIENCE = 3.0
"""Waits end with what they wait for; on a machine that is busy with something else they may take this many times longer."""


class Processes:
    """All processes of one desk by name (``valkey`` too); each can be killed and started again on its own."""

    components = COMPONENTS

    def __init__(self, root: Path, book: Any, *, venue_clock: bool = False, host: str = "127.0.0.1") -> None:
        """``venue_clock``: as on Kubernetes, the venue alone is told a speed, and all others ask it for the time."""
        self.root = root
        self.venue_clock = venue_clock
        self.venue = book(root / "paper_venue" / "state.json")
        # One client: reading the system's certificates for each request would take most of the machine.
        self._http = httpx.Client(timeout=5, trust_env=False, verify=False)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = dict(zip(COMPONENTS, free_ports(len(COMPONENTS)), strict=True))
        self._redis = root / "r.sock"
        for name, content in (("key", "paper-key"), ("secret", "paper-secret"), ("token", TOKEN)):
            (root / name).write_text(content)
        policy = (PROJECT / "profiles" / "normal.yaml").read_text()
        self.policy_file = root / "policy.yaml"
        self.policy_file.write_text(policy.replace("cooldownMinutes: 15", "cooldownMinutes: 1"))
        self.waited: dict[str, str] = {}
        """What each component said while it waited for parts that came late."""
        self._started_at = datetime.now(UTC)
        anchor = self._started_at.isoformat()
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BREAKWATER_", "REDIS_", "RM_", "QT_"))},
            "REDIS_URL": f"unix://{self._redis}",
            "BREAKWATER_STATE_DIR": str(root),
            "BREAKWATER_VENUE_URL": f"http://127.0.0.1:{self.ports['paper_venue']}",
            "BREAKWATER_API_KEY_FILE": str(root / "key"),
            "BREAKWATER_API_SECRET_FILE": str(root / "secret"),
            "BREAKWATER_TOKEN_FILE": str(root / "token"),
            "BREAKWATER_POLICY_FILE": str(self.policy_file),
            "BREAKWATER_LOG_FORMAT": "json",
            "BREAKWATER_HTTP_HOST": host,
            "BREAKWATER_STOP": "guard",
            "BREAKWATER_NAMESPACE": "desk-a",
        }
        if not venue_clock:
            anchors = ("BREAKWATER_MARKET_ANCHOR", "BREAKWATER_WALL_ANCHOR")
            self._environment |= {**dict.fromkeys(anchors, anchor), "BREAKWATER_SPEED": SPEED}

    # -------------------------------------------------------------------------------------------- life

    def start_valkey(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self.root / "appendonlydir")
        options = ("--port", "0", "--unixsocket", str(self._redis), "--appendonly", "yes", "--dir", str(self.root))
        self._spawn("valkey", str(find_server()), *options)

    def start(self, name: str) -> None:
        command = (sys.executable, "-m", "breakwater.cli.main", "run", name)
        own = {"BREAKWATER_HTTP_PORT": str(self.ports[name])}
        if self.venue_clock:
            own |= {"BREAKWATER_SPEED": SPEED} if name == "paper_venue" else {"BREAKWATER_CLOCK": "venue"}
        self._spawn(name, *command, **own)

    def _spawn(self, name: str, *command: str, **environment: str) -> None:
        assert name not in self.running
        with (self.root / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, env={**self._environment, **environment}, stdout=log, stderr=subprocess.STDOUT
            )

    def run(self, name: str, **environment: str) -> int:
        """Start ``name`` and wait until it ends by itself; the exit code."""
        command = (sys.executable, "-m", "breakwater.cli.main", "run", name)
        self._spawn(name, *command, **{"BREAKWATER_HTTP_PORT": str(self.ports[name]), **environment})
        process = self.running.pop(name)
        try:
            return process.wait(20)
        finally:
            process.kill()

    def start_all(self) -> None:
        self.start_valkey()
        for name in COMPONENTS:
            self.start(name)

    def start_in_the_wrong_order(self) -> None:
        """Components first, then the venue, then the policy's writer, and Redis last; notes what those wait for that wait."""
        late = ("paper_venue", "policy")
        early = [name for name in COMPONENTS if name not in late]
        for name in early:
            self.start(name)
        for name in early:
            self.waited[name] = self.until(functools.partial(self._waits, name), 60, what=f"{name} waits for the venue")
        for name in late:
            self.start(name)
        for name in early:
            if name != "health_monitor":  # its work is to say what is missing
                redis = self.until(
                    functools.partial(self._waits, name, clock=False), 60, what=f"{name} waits for Redis"
                )
                self.waited[name] += redis
        self.start_valkey()

    def _waits(self, name: str, *, clock: bool = True) -> str:
        assert self.request(name, "GET", "/livez").status_code == 200, f"{name} would be restarted"
        answer = self.request(name, "GET", "/readyz")
        return answer.text if answer.status_code == 503 and (".clock failed" in answer.text) is clock else ""

    def market_at(self, wall: datetime) -> datetime:
        """Market time at a moment of the wall, by the venue's clock."""
        clock = self.request("paper_venue", "GET", "/v1/clock").json()
        passed = wall - datetime.fromisoformat(clock["wallAnchor"])
        return datetime.fromisoformat(clock["marketAnchor"]) + passed * int(SPEED)

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.running.pop(name)
        process.kill()
        process.wait(5)

    def interrupt(self, name: str, seconds: float = 10, *, by: signal.Signals = signal.SIGINT) -> int:
        """Send a signal; the exit code."""
        process = self.running.pop(name)
        process.send_signal(by)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"{name} did not end within {seconds:.0f} s of {by.name}:\n{self.log(name)}")

    def terminate(self, name: str) -> int:
        """SIGTERM, as Kubernetes does it, and less than the 30 s it gives; the exit code."""
        return self.interrupt(name, 20, by=signal.SIGTERM)

    def kill_all(self) -> None:
        for name in list(self.running):
            self.kill(name)

    def log(self, name: str, lines: int = 25) -> str:
        file = self.root / f"{name}.log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else "never started"

    # -------------------------------------------------------------------------------------------- looking

    def request(self, name: str, method: str, path: str, **parts: Any) -> httpx.Response:
        url = f"http://127.0.0.1:{self.ports[name]}{path}"
        return self._http.request(method, url, headers={"Authorization": f"Bearer {TOKEN}"}, **parts)

    def unready(self) -> dict[str, str]:
        """Every component that is not ready, with its own words."""
        found = {}
        for name in self.running:
            if name != "valkey":
                answer = self.request(name, "GET", "/readyz")
                if answer.status_code != 200:
                    found[name] = answer.text
        return found

    def execution(self) -> Any:
        return self.request("execution", "GET", "/v1/execution").json()

    def status(self) -> Any:
        return self.request("dashboard", "GET", "/v1/status").json()

    def until(self, fact: Callable[[], Any], seconds: float = 20, *, what: str = "") -> Any:
        """Wait until ``fact()`` holds; what does not answer yet counts as no. Fails when a component has ended by itself."""
        deadline = time.monotonic() + seconds * PATIENCE
        last: object = None
        while time.monotonic() < deadline:
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)}"
            try:
                last = fact()
                if last:
                    return last
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                last = error
            time.sleep(0.1)
        pytest.fail(f"{what or fact!r}: not within {seconds:.0f} s; last {last!r}\n{self._situation()}")

    def _situation(self) -> str:
        found = []
        for name, path in (("execution", "/v1/execution"), ("dashboard", "/v1/status")):
            try:
                answer = self.request(name, "GET", path).json()
                answer.pop("policy", None)
                found.append(f"{name}: {json.dumps(answer)[:2500]}")
            except (httpx.HTTPError, ValueError) as error:
                found.append(f"{name}: {error!r}\n{self.log(name, 5)}")
        return "\n".join(found)

    def worked_anew(self, *, compared: bool = False) -> Callable[[], bool]:
        """A question that holds once every part has worked since now, and the desk is whole.

        Work is: a signal that reaches the risk manager, prices in a new snapshot, and (``compared``) an account report.
        """
        asked = 0
        since = datetime.now(UTC)

        def answered() -> bool:
            nonlocal asked
            asked += 1
            signal_ = {"symbol": "BTCUSDT", "direction": "LONG", "confidence": "0.5", "stop_pct": "2"}
            counts = self.status()["counts"]
            posted = self.request(
                "ai_engine", "POST", "/v1/signals", json={**signal_, "id": f"{since:%H%M%S%f}-{asked}"}
            )
            assert posted.status_code in (202, 503), posted.text
            time.sleep(0.2)
            after = self.status()["counts"]
            return bool(after["refused"] + after["proposals"] > counts["refused"] + counts["proposals"])

        def all_worked() -> bool:
            status, market = self.status(), self.market_at(since)
            seen = [status["snapshot"]["time"], *([status["account"]["time"]] if compared else ())]
            return all(datetime.fromisoformat(time_) > market for time_ in seen) and answered() and self.whole()

        return all_worked

    def whole(self) -> bool:
        """Everything runs, the gate is open, and ledger, execution and venue agree on positions and money."""
        execution, status = self.execution(), self.status()
        snapshot, account = status["snapshot"], status["account"]
        held = self.venue.positions()
        return (
            execution["gate"] == "OPEN"
            and execution["reconciled"]
            and snapshot["reconciled"]
            and account["unknown_orders"] == 0
            and {row["symbol"]: Decimal(row["quantity"]) for row in snapshot["positions"]} == held
            and {symbol: Decimal(quantity) for symbol, quantity in execution["positions"].items()} == held
            and Decimal(snapshot["wallet"]) == self.venue.account().wallet
            and not self.venue.unprotected()
        )


def free_ports(count: int) -> list[int]:
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@pytest.fixture
def make_processes(tmp_path: Path, venue_book: Any) -> Iterator[Callable[..., Processes]]:
    """A desk with options, nothing started yet; whatever runs at the end is killed."""
    made: list[Processes] = []

    def make(**options: Any) -> Processes:
        made.append(Processes(tmp_path, venue_book, **options))
        return made[-1]

    yield make
    for each in made:
        each.kill_all()


@pytest.fixture
def processes(tmp_path: Path, venue_book: Any) -> Iterator[Processes]:
    """Nothing started yet; whatever runs at the end is killed."""
    made = Processes(tmp_path, venue_book)
    yield made
    made.kill_all()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, venue_book: Any) -> Iterator[Processes]:
    """One desk for a whole file, because starting ten processes costs much. Each test leaves it whole."""
    made = Processes(tmp_path_factory.mktemp("desk"), venue_book, venue_clock=True)
    made.start_in_the_wrong_order()
    yield made
    made.kill_all()
