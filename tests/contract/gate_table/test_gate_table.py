"""Every row of the table on a real desk; the venue's account is the judge, and the gate's answer has the code it should."""

from __future__ import annotations

import pytest
from tests.contract.gate_table.desk import play
from tests.contract.gate_table.page import PAGE, rendered
from tests.contract.gate_table.row import Row
from tests.contract.gate_table.table import TABLE

from breakwater.domain.gate import Approval, GateFacts
from breakwater.domain.orders import Proposal
from breakwater.execution import sender


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_account_afterwards_is_as_the_table_says(row: Row) -> None:
    after = play(row)
    assert row.judge(after.position, after.resting) == "", row.why
    assert after.code in row.codes


def yes(proposal: Proposal, facts: GateFacts) -> Approval:
    """A gate that refuses nothing."""
    approval = object.__new__(Approval)
    Approval.__dict__["proposal"].__set__(approval, proposal)
    Approval.__dict__["facts"].__set__(approval, facts)
    return approval


@pytest.mark.parametrize(
    "name",
    [
        "open from flat: the stop allows exits only",
        "a long turned short while only exits are allowed",
        "exposure above the limit with an order in flight elsewhere",
    ],
)
def test_account_behind_a_gate_that_refuses_nothing_is_judged_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "decide", yes)
    (row,) = (row for row in TABLE if row.name == name)
    after = play(row)
    assert row.judge(after.position, after.resting) != ""


def test_table_has_rows_enough_and_no_two_of_one_name() -> None:
    names = [row.name for row in TABLE]
    assert len(set(names)) == len(names)
    assert len(names) >= 40


def test_page_shows_the_table_as_it_is() -> None:
    assert PAGE.read_text() == rendered(), "run: python tests/contract/gate_table/page.py"
