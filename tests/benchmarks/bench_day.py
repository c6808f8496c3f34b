"""A day of whole desks in virtual time with random faults: what their books and the venues' differ by in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

from tests.benchmarks.harness import Bench, lower

from breakwater.simulation.plan import long_plan
from breakwater.simulation.seed_run import run_seed

HOURS = 24
HOUR_S = 3600.0
CALM_S = 600.0
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def day() -> dict[str, float | str]:
    """Twenty-four hours of different seeds: kills, outages, dropped streams, transfers, deleveraging, faults on the wire."""
    difference, hours, violations = Decimal(0), 0.0, 0
    seen: Counter[str] = Counter()
    for seed in range(HOURS):
        plan = replace(long_plan(seed, HOUR_S, calm=CALM_S), source="momentum", symbols=SYMBOLS, profile="NORMAL")
        report = run_seed(seed, seconds=HOUR_S, plan=plan)
        if report.ledger_difference is None:
            raise AssertionError(f"seed {seed}: the ledger does not know its equity: {report.violations}")
        difference += abs(round(report.ledger_difference, 2))
        hours += report.hours
        violations += len(report.violations)
        seen += report.sometimes
    told = ", ".join(f"{count} x {what}" for what, count in sorted(seen.items()))
    return {
        "venue.day_ledger_difference_usdt": float(difference),
        "venue.day_violations": violations,
        "against": f"the venue's own account after {hours:.1f} h ({told})",
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
