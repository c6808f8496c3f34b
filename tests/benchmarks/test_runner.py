"""The benchmark runner measures what was asked for and writes what others read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.run import discovered

RUNNER = Path(__file__).resolve().parent / "run.py"
KEYS = {"name", "value", "floor", "aim", "better", "against", "runs"}


def test_one_cheap_benchmark_alone_writes_its_ratio_as_json(tmp_path: Path) -> None:
    out = tmp_path / "build" / "bench.json"
    command = [sys.executable, str(RUNNER), "--only", "policy.", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (result,) = json.loads(out.read_text())
    assert set(result) == KEYS
    assert result["name"] == "policy.read_us"
    assert result["value"] > 0
    assert "policy.read_us" in done.stdout


def test_unknown_prefix_is_refused_by_name(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    command = [sys.executable, str(RUNNER), "--only", "nonsense.", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense." in done.stderr
    assert not out.exists()


def test_reference_page_lists_every_benchmark_with_its_floor_and_aim() -> None:
    page = (RUNNER.parents[2] / "docs" / "reference" / "benchmarks.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9_.]+)` \| .+ \| . ([0-9.]+) \| . ([0-9.]+) \|$", page, re.MULTILINE)
    metrics = [metric for bench in discovered() for metric in bench.metrics]
    assert listed == sorted((m.name, f"{m.floor:g}", f"{m.aim:g}") for m in metrics)
