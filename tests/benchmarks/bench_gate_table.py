"""Rows of the gate's correctness table that come out right: ours, and beside nautilus_trader's RiskEngine."""

from __future__ import annotations

from tests.benchmarks.harness import Bench, higher
from tests.benchmarks.peers.gate_table import has_a_notion_of, play_with_nautilus
from tests.benchmarks.peers.process import Peer
from tests.benchmarks.peers.venvs import NAUTILUS
from tests.contract.gate_table.desk import play
from tests.contract.gate_table.row import Row
from tests.contract.gate_table.table import TABLE

ROWS = len(TABLE)
KNOWN = sum(map(has_a_notion_of, TABLE))


def ours_is_right(row: Row) -> bool:
    after = play(row)
    return not row.judge(after.position, after.resting)


def our_rows() -> dict[str, float]:
    return {"gate.table_rows_right": float(sum(map(ours_is_right, TABLE)))}


def beside_nautilus() -> dict[str, float | str]:
    with Peer(NAUTILUS) as peer:
        theirs = [row for row in TABLE if not play_with_nautilus(row, peer)]
    known = [row for row in TABLE if has_a_notion_of(row)]
    ours = sum(map(ours_is_right, known))
    their_known = sum(map(has_a_notion_of, theirs))
    return {
        "gate.table_rows_right_against_nautilus": ours / max(1, their_known),
        "against": f"nautilus_trader {NAUTILUS.version}, margin account: {their_known} of the {KNOWN} rows it has a notion of "
        f"(ours {ours}), {len(theirs)} of all {ROWS}",
    }


BENCHES = [
    Bench(
        (higher("gate.table_rows_right", ROWS, ROWS, f"all {ROWS} rows, judged by the venue's account"),), our_rows, 1
    ),
    Bench(
        (higher("gate.table_rows_right_against_nautilus", 1, 1, "RiskEngine of nautilus_trader, margin account"),),
        beside_nautilus,
        1,
    ),
]
