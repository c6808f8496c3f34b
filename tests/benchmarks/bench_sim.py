"""How much market time the whole desk lives through in virtual time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from tests.benchmarks.harness import Bench, higher

from breakwater.drills.crash import CrashOptions, run_crash

HOURS = 1.0
START = datetime(2025, 10, 10, 20, tzinfo=UTC)


def crash() -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    report = run_crash(CrashOptions(market=("synthetic:1",), start=START, end=START + timedelta(hours=HOURS)))
    assert report.tripped
    return {
        "sim.hours_per_cpu_second": HOURS / (time.process_time() - cpu),
        "drill.crash_speed": HOURS / (time.perf_counter() - wall),
    }


BENCHES = [
    Bench(
        (
            higher("sim.hours_per_cpu_second", 0.1, 0.28, "market hours of the whole desk in one CPU-second"),
            higher("drill.crash_speed", 0.1, 0.28, "market hours of the crash drill in one second"),
        ),
        crash,
        3,
    )
]
