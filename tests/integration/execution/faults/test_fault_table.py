"""Every row of the fault table against every action, judged by the venue's own records."""

from __future__ import annotations

import pytest
from tests.integration.execution.faults.cell import play_cell
from tests.integration.execution.faults.page import rows_of, shown
from tests.integration.execution.faults.rows import Action, Row


def _judge(row: Row, action: Action) -> None:
    played = play_cell(row, action)
    assert played.wrongs == ()
    assert played.ending == shown()[row.name, action.value], "run: python tests/integration/execution/faults/page.py"


@pytest.mark.parametrize("action", Action, ids=str)
@pytest.mark.parametrize("row", rows_of(slow=False), ids=lambda row: row.name)
def test_fault_during_action_ends_reconciled_without_duplicate_or_gap_in_protection(row: Row, action: Action) -> None:
    _judge(row, action)


@pytest.mark.slow
@pytest.mark.parametrize("action", Action, ids=str)
@pytest.mark.parametrize("row", rows_of(slow=True), ids=lambda row: row.name)
def test_rarer_fault_during_action_ends_reconciled_without_duplicate_or_gap_in_protection(
    row: Row, action: Action
) -> None:
    _judge(row, action)
