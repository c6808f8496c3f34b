"""What the fault matrix counts: the share of events that came wrong while everything around the bus was killed, cut off or full."""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks.harness import Bench, NotMeasured, lower
from tests.faults.machinery import servers
from tests.faults.matrix import PAIRS, matrix, report, summary

RUNS = 3 * PAIRS


def share_of_wrong_events() -> dict[str, float | str]:
    if not servers():
        raise NotMeasured("no Redis or Valkey server here")
    seed = int(time.time()) % 1_000_000
    outcomes = asyncio.run(matrix(seed, range(RUNS)))
    result = summary(outcomes)
    if result["never_happened"]:
        raise NotMeasured(f"these faults never happened with seed {seed}: {', '.join(result['never_happened'])}")
    other = [outcome for outcome in outcomes if outcome.verdict.other]
    if other:
        raise NotMeasured("; ".join(report(outcome) for outcome in other))
    events = result["events"]
    return {
        "bus.lost_under_faults": events["lost"] / events["acknowledged"],
        "bus.duplicated_under_faults": (events["duplicated"] + events["repeated"]) / events["acknowledged"],
        "bus.out_of_order_under_faults": events["out_of_order"] / events["acknowledged"],
        "against": f"{events['acknowledged']} acknowledged events in {RUNS} runs of the fault matrix, seed {seed}",
    }


OF = f"acknowledged events of {RUNS} runs of the fault matrix"
BENCHES = [
    Bench(
        (
            lower("bus.lost_under_faults", 0, 0, OF),
            lower("bus.duplicated_under_faults", 0, 0, OF),
            lower("bus.out_of_order_under_faults", 0, 0, OF),
        ),
        share_of_wrong_events,
        runs=1,
    )
]
