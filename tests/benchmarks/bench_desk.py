"""Memory of a desk in one process against the same components each in its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.harness import Bench, lower, rss_kib

from breakwater.runtime.resources import profile_file
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
COMMAND = Path(sys.executable).parent / "breakwater"
SETTLE_SECONDS = 12.0


def memory() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="breakwater-bench-") as directory:
        together = _rss([[str(COMMAND), "up", "--port", "0", "--state-dir", f"{directory}/up"]], [{}], Path(directory))
    with tempfile.TemporaryDirectory(prefix="breakwater-bench-") as directory:
        commands, environments = _separately(Path(directory))
        apart = _rss(commands, environments, Path(directory))
    return {"desk.rss_one_process_against_separate": together / apart}


def _separately(root: Path) -> tuple[list[list[str]], list[dict[str, str]]]:
    (root / "key").write_text("paper-key")
    (root / "secret").write_text("paper-secret")
    (root / "token").write_text("t" * 32)
    ports = _free_ports(len(COMPONENTS))
    anchor = datetime.now(UTC).isoformat()
    common = {
        "REDIS_URL": f"unix://{root}/r.sock",
        "BREAKWATER_STATE_DIR": str(root),
        "BREAKWATER_VENUE_URL": f"http://127.0.0.1:{ports[0]}",
        "BREAKWATER_API_KEY_FILE": str(root / "key"),
        "BREAKWATER_API_SECRET_FILE": str(root / "secret"),
        "BREAKWATER_TOKEN_FILE": str(root / "token"),
        "BREAKWATER_POLICY_FILE": str(profile_file("NORMAL")),
        "BREAKWATER_MARKET_ANCHOR": anchor,
        "BREAKWATER_WALL_ANCHOR": anchor,
        "BREAKWATER_LOG_FORMAT": "json",
    }
    server = [
        str(find_server()),
        "--port",
        "0",
        "--unixsocket",
        f"{root}/r.sock",
        "--appendonly",
        "yes",
        "--dir",
        str(root),
    ]
    commands = [server] + [[str(COMMAND), "run", name] for name in COMPONENTS]
    return commands, [{}] + [common | {"BREAKWATER_HTTP_PORT": str(port)} for port in ports]


def _rss(commands: list[list[str]], environments: list[dict[str, str]], directory: Path) -> float:
    """KiB of all processes, their children included, once they have settled. All must still run then."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (directory / "log").open("wb") as log:
            for command, environment in zip(commands, environments, strict=True):
                started.append(
                    subprocess.Popen(
                        command, env=os.environ | environment, cwd=directory, stdout=log, stderr=subprocess.STDOUT
                    )
                )
        time.sleep(SETTLE_SECONDS)
        for process, command in zip(started, commands, strict=True):
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended:\n{(directory / 'log').read_text()[-2000:]}")
        return float(sum(rss_kib(process.pid) for process in started))
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGINT)
        for process in started:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(taken.getsockname()[1]) for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


BENCHES = [
    Bench(
        (lower("desk.rss_one_process_against_separate", 0.35, 0.25, "sum of the components as processes"),), memory, 1
    )
]
