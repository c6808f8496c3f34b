"""A day of a whole desk in virtual time with random faults: what its books and the venue's differ by in the end."""

from __future__ import annotations

from dataclasses import replace

from tests.benchmarks.harness import Bench, lower

from breakwater.simulation.plan import long_plan
from breakwater.simulation.seed_run import run_seed

SEED = 3
HOURS = 24
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def day() -> dict[str, float | str]:
    """Kills, outages, dropped streams, transfers, deleveraging, and faults on the wire every half hour."""
    seconds = HOURS * 3600.0
    plan = replace(long_plan(SEED, seconds), source="momentum", symbols=SYMBOLS, profile="NORMAL")
    report = run_seed(SEED, seconds=seconds, plan=plan)
    if report.ledger_difference is None:
        raise AssertionError(f"the ledger does not know its equity: {report.violations}")
    seen = ", ".join(f"{count} x {what}" for what, count in sorted(report.sometimes.items()))
    return {
        "venue.day_ledger_difference_usdt": abs(float(round(report.ledger_difference, 2))),
        "venue.day_violations": len(report.violations),
        "against": f"the venue's own account after {report.hours:.1f} h ({seen})",
    }


BENCHES = [
    Bench(
        (
            lower("venue.day_ledger_difference_usdt", 0, 0, "the venue's own account after a day"),
            lower("venue.day_violations", 0, 0, "the invariants of a desk, checked all day"),
        ),
        day,
        1,
    )
]
