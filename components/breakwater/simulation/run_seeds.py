"""``python -m breakwater.simulation.run_seeds --seed 1 --count 5``: run seeds and say which invariants held.

Exit status 1 when one did not. A run is repeated exactly by its seed, the same Python and the same code.
"""

from __future__ import annotations

import argparse
import logging
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

import structlog

from breakwater.simulation.seed_run import SeedReport, run_seed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_seeds", description="Run whole desks in virtual time, with mishaps.")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--count", type=int, default=1, help="how many seeds, one after the other (default 1)")
    parser.add_argument("--replay", action="store_true", help="run one seed and show everything the desk logs")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.seed < 0:
        parser.error("--seed must be 0 or more and --count at least 1")
    level = logging.INFO if options.replay else logging.CRITICAL
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    seeds = [options.seed] if options.replay else range(options.seed, options.seed + options.count)
    sometimes: Counter[str] = Counter()
    violations = 0
    hours = 0.0
    for seed in seeds:
        report = run_seed(seed)
        print_report(report)
        sometimes += report.sometimes
        violations += len(report.violations)
        hours += report.hours
    _say("sometimes: " + (", ".join(f"{name} {count}" for name, count in sorted(sometimes.items())) or "nothing"))
    if violations:
        _say(f"Python {platform.python_version()}, commit {_commit()}; see one again: --seed SEED --replay")
    _say(f"{len(seeds)} seeds, {violations} violations, {hours:.2f} simulated hours")
    return 1 if violations else 0


def print_report(report: SeedReport) -> None:
    seen = ", ".join(f"{name} {count}" for name, count in sorted(report.sometimes.items())) or "nothing"
    verdict = "ok" if not report.violations else f"{len(report.violations)} VIOLATIONS"
    _say(f"seed {report.plan.seed}: {verdict} | {report.plan} | {seen} | {report.digest}")
    for violation in report.violations:
        _say(f"    seed {report.plan.seed}: {violation}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _commit() -> str:
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
