"""The page of faults shows every fault and every row of the table; what stands in its cells, the table's own tests compare."""

from __future__ import annotations

from tests.integration.execution.faults.page import PAGE, rendered, shown
from tests.integration.execution.faults.rows import ROWS, Action

from breakwater.paper_venue.faults.plan import parse_plan


def test_page_is_what_the_table_makes_of_its_endings() -> None:
    assert PAGE.read_text() == rendered(shown()), "run: python tests/integration/execution/faults/page.py"


def test_every_row_is_there_once_with_every_action() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(shown()) == {(name, action.value) for name in names for action in Action}


def test_plan_on_the_page_can_be_read() -> None:
    example = PAGE.read_text().partition("```json\n")[2].partition("```")[0]
    assert len(parse_plan(example.encode(), "page").rules) == 4
