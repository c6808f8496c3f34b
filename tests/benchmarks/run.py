"""``python tests/benchmarks/run.py [--only PREFIX]``: measure, print a table, write build/bench.json."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
from pathlib import Path

import structlog

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.benchmarks.harness import Bench, Metric  # noqa: E402


def discovered() -> list[Bench]:
    """The benches of every bench_*.py beside this file."""
    found: list[Bench] = []
    for path in sorted(HERE.glob("bench_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        found += module.BENCHES
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only benchmarks whose name begins so, for example bus.")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "bench.json", help="where to write")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chosen = [b for b in discovered() if any(m.name.startswith(options.only) for m in b.metrics)]
    if not chosen:
        parser.error(f"no benchmark's name begins with {options.only!r}")
    results: list[dict[str, object]] = []
    say(f"{'benchmark':<50} {'value':>9} {'floor':>7} {'aim':>7}         verdict      against")
    for bench in chosen:
        by_name = {metric.name: metric for metric in bench.metrics}
        for result in bench.results():
            results.append(result)
            row(by_name[str(result["name"])], result)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    say(f"{len(results)} values written to {options.out}")
    return 0


def row(metric: Metric, result: dict[str, object]) -> None:
    sign = ">=" if metric.better == "higher" else "<="
    marks = f"{sign}{metric.floor:>5g} {sign}{metric.aim:>5g}"
    if result["value"] is None:
        say(f"{metric.name:<50} {'-':>9} {marks}         not measured: {result['not_measured']}")
        return
    value = float(str(result["value"]))
    say(f"{metric.name:<50} {value:>9.3f} {marks}         {metric.verdict(value):<12} {result['against']}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
