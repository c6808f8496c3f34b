"""Every component ends cleanly when it is asked to, whatever else is gone."""

from __future__ import annotations

import signal
import time
from typing import Any


def test_execution_ends_cleanly_when_redis_and_the_venue_died_before(processes: Any) -> None:
    processes.start_valkey()
    for name in ("paper_venue", "policy", "execution"):
        processes.start(name)
    processes.until(lambda: processes.execution()["counters"]["comparisons"] > 0, 30, what="compared with the venue")
    processes.kill("valkey")
    processes.kill("paper_venue")
    processes.until(lambda: processes.execution()["counters"]["stream_reconnects"] > 0, what="stream lost")
    assert processes.interrupt("execution") == 0, processes.log("execution")
    assert processes.interrupt("policy") == 0, processes.log("policy")


def test_execution_ends_cleanly_when_redis_and_the_venue_hang(processes: Any) -> None:
    processes.start_valkey()
    for name in ("paper_venue", "policy", "execution"):
        processes.start(name)
    processes.until(lambda: processes.execution()["counters"]["comparisons"] > 0, 30, what="compared with the venue")
    for name in ("paper_venue", "valkey"):
        processes.running[name].send_signal(signal.SIGSTOP)
    time.sleep(1)
    assert processes.interrupt("execution", 10) == 0, processes.log("execution")
