"""``python tests/contract/gate_table/page.py`` writes docs/reference/gate-table.md from the table; a test keeps them equal."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.contract.gate_table.row import Ask, Before, Row, State  # noqa: E402
from tests.contract.gate_table.table import SECTIONS, TABLE  # noqa: E402

from breakwater.domain.money import plain  # noqa: E402
from breakwater.domain.orders import OrderRole  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "gate-table.md"

HEAD = """# The gate's correctness table

{count} situations, each with what the venue's account must show afterwards. `make test` plays every row on a real Execution
component, with the unmodified ccxt client and the paper venue, and judges by that account alone; then it looks whether the gate
answered with the code in the last column. BTCUSDT trades at 100,000 and ETHUSDT at 4,000; the account has 14,000 USDT; the desk's
profile is NORMAL, its leverage 10; every position has its stop and its target resting. What the codes mean: [refusals](refusals.md).
How others do on the same rows: [benchmarks](benchmarks.md#the-gate).
"""


def rendered() -> str:
    parts = [HEAD.format(count=len(TABLE))]
    for title, rows in SECTIONS.items():
        lines = "\n".join(_line(row) for row in rows)
        parts.append(
            f"\n## {title}\n\n| situation | position before | asked for | position may end | because | the gate answers |\n"
            f"|---|---|---|---|---|---|\n{lines}\n"
        )
    return "".join(parts)


def _line(row: Row) -> str:
    situation = row.name
    matters = [str(row.before)] if row.before is not Before.NOTHING else []
    if row.state is not State.OPEN and row.state.value not in row.name:
        matters.insert(0, row.state.value)
    if matters:
        situation += f" ({'; '.join(matters)})"
    low, high = row.position
    end = _signed(low) if low == high else f"{_signed(low)} to {_signed(high)}"
    asked = ", then ".join(_asked(ask) for ask in row.asks) or "nothing"
    codes = " or ".join(f"`{code}`" if code else "sent" for code in row.codes) if row.asks else ""
    return f"| {situation} | {_signed(row.held)} | {asked} | {end} | {row.why} | {codes} |"


def _asked(ask: Ask) -> str:
    kind = "entry" if ask.role is OrderRole.ENTRY else "exit"
    quantity = plain(ask.quantity) if ask.quantity.is_finite() else str(ask.quantity)
    return f"{kind} {ask.side} {quantity}"


def _signed(quantity: Decimal) -> str:
    text = plain(quantity)
    return "flat" if text == "0" else text


if __name__ == "__main__":
    PAGE.write_text(rendered())
