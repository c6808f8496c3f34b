"""A desk on another exchange's prices, which is a paper venue of its own here, when that one goes away."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.desk.conftest import BREAKWATER, clean_environment


@contextlib.contextmanager
def exchange(state: Path, port: int) -> Iterator[None]:
    """A process of its own, killed at the end."""
    environment = clean_environment() | {
        "BREAKWATER_STATE_DIR": str(state),
        "BREAKWATER_HTTP_PORT": str(port),
        "BREAKWATER_MARKET": "synthetic:3",
    }
    with (state.parent / "exchange.txt").open("a") as output:
        process = subprocess.Popen((*BREAKWATER, "run", "paper_venue"), env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_lost_exchange_closes_the_gate_and_its_return_opens_it(desk: Any, tmp_path: Path) -> None:
    port, upstream = free_port(), tmp_path / "exchange"
    upstream.mkdir()
    with exchange(upstream, port):
        wait_for(port)
        desk.start("--market", f"live:http://127.0.0.1:{port}")
        desk.until(lambda status: status["gate"]["state"] == "OPEN")
        sent = desk.run("signal", "send", "BTCUSDT", "long", "--confidence", "0.9")
        assert sent.code == 0, sent.said
        desk.until_it_trades()
    closed = desk.until(lambda status: status["gate"]["state"] == "REDUCE_ONLY", 40)
    # Which of the two is noticed first is a matter of a second.
    assert any(why in closed["gate"]["reason"] for why in ("no fresh mark price", "portfolio snapshot is")), closed[
        "gate"
    ]
    held = {row["symbol"]: row["quantity"] for row in closed["snapshot"]["positions"]}
    assert held
    assert desk.venue.unprotected() == []
    with exchange(upstream, port):
        desk.until(lambda status: status["gate"]["state"] == "OPEN", 60)
        assert desk.interrupt() == 0, desk.output
    assert desk.venue.wrongs() == []


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while not answers(port):
        assert time.monotonic() < deadline, "the exchange did not start"
        time.sleep(0.1)
