"""The page of scenarios promises nothing that no test plays."""

from __future__ import annotations

import re
from pathlib import Path

ROWS = re.compile(r"^\|.*\| `(test_\w+)` \|$", re.MULTILINE)


def test_every_scenario_of_the_page_is_played_by_a_test(reference: Path) -> None:
    page = (reference / "reconcile.md").read_text()
    named = ROWS.findall(page)
    folder = reference.parents[1] / "tests"
    there = set(re.findall(r"def (test_\w+)", "\n".join(file.read_text() for file in folder.rglob("test_*.py"))))
    assert [name for name in named if name not in there] == []
    rows = [
        line for line in page.splitlines() if line.startswith("|") and "---" not in line and "played by" not in line
    ]
    assert len(named) == len(rows) > 40
