"""Cells of the paper venue's fault table that end as they must: every way the venue goes wrong, in everything execution does."""

from __future__ import annotations

from tests.benchmarks.harness import Bench, higher
from tests.integration.execution.faults.cell import play_cell
from tests.integration.execution.faults.rows import ROWS, Action

PLAYED = [row for row in ROWS if not row.no_sense]
CELLS = len(PLAYED) * len(Action)


def cells_that_end_well() -> dict[str, float]:
    return {"faults.table": float(sum(not play_cell(row, action).wrongs for row in PLAYED for action in Action))}


BENCHES = [
    Bench(
        (higher("faults.table", CELLS, CELLS, f"all {CELLS} cells, judged by the venue's own records"),),
        cells_that_end_well,
        1,
    )
]
