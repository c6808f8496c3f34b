"""``python tests/integration/execution/faults/page.py`` plays every cell and writes docs/reference/venue-faults.md."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
sys.path.insert(0, str(ROOT))

from tests.integration.execution.faults.cell import play_cell  # noqa: E402
from tests.integration.execution.faults.rows import ROWS, Action, Row  # noqa: E402

from breakwater.paper_venue.faults.catalogue import Fault, meaning  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "venue-faults.md"
TABLE_HEAD = "| what goes wrong | " + " | ".join(Action) + " |"
FAULTS_HEAD = "| fault | befalls | means |"

HEAD = """# Faults of the paper venue

The paper venue can go wrong on purpose, in every way that the real one is known to. `breakwater run paper-venue --faults FILE`
(or `BREAKWATER_FAULTS`) reads a plan; with `--faults-api` (or `BREAKWATER_FAULTS_API=true`) a running venue takes one at
`/paper/faults`: `POST` adds a plan's rules, `GET` tells how often each matched and happened, `DELETE` takes all back. There is no
token: leave it off where others reach the port.

```json
{
  "seed": 7,
  "rules": [
    {"fault": "reset_after", "match": {"method": "POST", "path": "/fapi/v1/order", "symbol": "BTCUSDT", "nth": 2}},
    {"fault": "unknown_503", "match": {"path": "*/algoOrder", "probability": 0.1}, "count": 0, "executed": false},
    {"fault": "stream_silent", "match": {"from_s": 60, "to_s": 90}, "count": 0},
    {"fault": "price_gap", "match": {"symbol": "ETHUSDT", "from_s": 30, "to_s": 60}, "factor": "0.97"}
  ]
}
```

The first rule that applies to a request is what happens to it. `match` takes `method`, `path`, `symbol`, `client_id` (the order's),
`event` (of a stream's message), each with `*` for any text; `nth` (the first of the matching ones that goes wrong), `probability`
(drawn from the plan's `seed`, for each rule by itself), and a window `from_s` to `to_s` in seconds after the plan was loaded. `count` is
how often it happens, 1 unless said, 0 for always. `executed` says of a fault that leaves it open whether the venue did what was asked;
`delay_s`, `retry_after_s`, `code` with `text`, `factor`, `tick_size`, `step_size` and `min_notional` belong to the faults that name
them. A plan with a mistake is refused with line and field. A batch with one leg refused needs no fault: send one bad leg.

"""

MATRIX = """
## How execution takes them

Every row while execution is about each of five things: an entry of 0.12 BTC, the stop after it, the target after it, the cancel of
an entry that rests, and the flattening after a trip. `make test` and `make test-slow` play every cell on the real Execution
component, with the unmodified ccxt client, and judge by the venue's own records: at most one fill per proposal and no id accepted twice,
nothing but entries ever increased risk, never more than 2 s without stops over the whole position unless it is being closed, and in
the end reconciled, with books that say what the venue says. A cell is where the account stood then. While the venue's own
`Retry-After` lasts, and for 60 s after a 403, nothing is sent, stops and exits neither: that time does not count in the 2 s, and what
comes first afterwards is the stop and the exit together.

"""


def rendered(endings: dict[tuple[str, str], str]) -> str:
    faults = "\n".join(f"| `{fault}` | {fault.family.value} | {meaning(fault)} |" for fault in Fault)
    lines = []
    for row in ROWS:
        cells = [
            f"*not played: {row.no_sense}*" if row.no_sense else endings[row.name, action.value] for action in Action
        ]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    rule = "|---" * 3 + "|"
    wide = "|---" * (len(Action) + 1) + "|"
    return f"{HEAD}{FAULTS_HEAD}\n{rule}\n{faults}\n{MATRIX}{TABLE_HEAD}\n{wide}\n" + "\n".join(lines) + "\n"


def shown() -> dict[tuple[str, str], str]:
    """The page's matrix: ending by row and action."""
    found: dict[tuple[str, str], str] = {}
    for line in PAGE.read_text().partition(TABLE_HEAD)[2].splitlines()[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        found |= {(name, action.value): cell for action, cell in zip(Action, cells, strict=True)}
    return found


def main() -> int:
    endings, bad = {}, 0
    for row in ROWS:
        if row.no_sense:
            continue
        for action in Action:
            played = play_cell(row, action)
            endings[row.name, action.value] = played.ending
            print(f"{row.name:60} {action:8} {played.ending:28} {played.happened}", *played.wrongs, sep="  ")  # noqa: T201
            bad += bool(played.wrongs)
    PAGE.write_text(rendered(endings))
    return 1 if bad else 0


def rows_of(*, slow: bool) -> list[Row]:
    """Rows that are played, by how long a run has time."""
    return [row for row in ROWS if row.slow is slow and not row.no_sense]


if __name__ == "__main__":
    sys.exit(main())
