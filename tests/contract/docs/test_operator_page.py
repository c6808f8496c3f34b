"""docs/reference/operator.md says what the operator does: settings, conditions, reasons, Events and metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.settings import VARIABLES
from breakwater_operator.verdict.reasons import WARNINGS, ConditionType, EventReason, Reason


def rows(page: Path, after: str) -> list[list[str]]:
    """Cells of the first table that begins after ``after``, without its two head lines."""
    table: list[list[str]] = []
    for line in page.read_text().partition(after)[2].splitlines():
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            break
    return table[2:]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_operator_page_lists_every_setting_with_its_default(reference: Path) -> None:
    table = rows(reference / "operator.md", "## Settings")
    assert {code(row[0])[0]: (code(row[1]) or [""])[0] for row in table} == VARIABLES


def test_operator_page_lists_every_condition_and_reason(reference: Path) -> None:
    page = reference / "operator.md"
    assert [code(row[0])[0] for row in rows(page, "## Conditions")] == list(ConditionType)
    reasons = rows(page, "the message has the line that arms it again |")
    assert [code(row[0])[0] for row in reasons] == list(Reason)
    assert {row[1] for row in reasons} == set(ConditionType)


def test_operator_page_lists_every_event_with_its_type(reference: Path) -> None:
    table = {code(row[0])[0]: row[1] for row in rows(reference / "operator.md", "## Events")}
    assert table == {reason.value: "Warning" if reason in WARNINGS else "Normal" for reason in EventReason}


def test_operator_page_lists_every_metric_with_kind_and_labels(reference: Path) -> None:
    collectors: list[Any] = list(OperatorMetrics(version="1").registry._collector_to_names)
    real = {
        collector._name + ("_total" if collector._type == "counter" else ""): (
            collector._type,
            list(collector._labelnames),
        )
        for collector in collectors
    }
    table = rows(reference / "operator.md", "## Metrics")
    assert {code(row[0])[0]: (row[1], code(row[2])) for row in table} == real
