"""Table, differences, curve and picture of a report."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.whatif.plot import sparkline, svg
from breakwater.whatif.report import (
    MOST_POINTS,
    Curve,
    LimitsReport,
    MarketReport,
    OrdersReport,
    RunReport,
    SignalsReport,
    TripReport,
    WhatIfReport,
    difference,
)
from breakwater.whatif.summary import summary_rows

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
END = START + timedelta(hours=2)


def run(name: str, equity: str, *, trip_at: datetime | None = None, refused: dict[str, int] | None = None) -> RunReport:
    codes = refused or {}
    trip = TripReport(trip_at or START, "DAILY_DRAWDOWN", Decimal("5.18"), Decimal(5), "emergencyStop", None, None)
    return RunReport(
        name=name, profile="NORMAL", sha256="0" * 64, symbols=("BTCUSDT",),
        limits=LimitsReport(Decimal(2), Decimal(5), Decimal(10), 30, Decimal(200), 5),
        trips=(trip,) if trip_at else (), resets=0, state_at_end="ARMED",
        worst_daily_drawdown_pct=Decimal("5.18"), worst_daily_drawdown_at=START,
        worst_open_loss_pct=Decimal(1), worst_open_loss_at=START, peak_exposure_pct=Decimal(100), signals=3,
        orders=OrdersReport(4, 3, 0, sum(codes.values()), codes, {"gate": 0, "risk_manager": sum(codes.values())}),
        fills=3, fees=Decimal("1.50"), funding=Decimal(0), liquidations=0, starting_equity=Decimal(14000),
        final_equity=Decimal(equity), lowest_equity=Decimal(equity), ledger_difference=Decimal(0), positions_at_end=0,
        equity_curve=((START, Decimal(14000)), (START + timedelta(hours=1), Decimal("14020")), (END, Decimal(equity))),
    )  # fmt: skip


def report(*runs: RunReport) -> WhatIfReport:
    return WhatIfReport(
        MarketReport("files", ("BTCUSDT",), START, END), SignalsReport("long", None), False, (), None, runs,
        tuple(difference(runs[0], other) for other in runs[1:]),
    )  # fmt: skip


NORMAL = run("NORMAL", "13215.16", trip_at=START + timedelta(minutes=90), refused={"EXPOSURE": 2, "STOP_TRIPPED": 1})
TIGHT = run("tight & <small>", "13542.20", refused={"EXPOSURE": 2})


def test_difference_is_the_other_minus_the_first() -> None:
    change = difference(NORMAL, TIGHT)
    assert (change.final_equity, change.trips, change.refused) == (Decimal("327.04"), -1, -1)
    assert change.refused_by_code == {"STOP_TRIPPED": -1}


def test_table_marks_what_differs_and_lists_trips_and_codes() -> None:
    rows = {label.strip(): (cells, differs) for label, cells, differs in summary_rows(report(NORMAL, TIGHT))}
    assert rows["final equity"] == (["13,215.16", "13,542.20"], True)
    assert rows["trips"] == (["1", "0"], True)
    assert rows["trip"] == (["10-10 21:30:00", "-"], True)
    assert rows["why"] == (["DAILY_DRAWDOWN 5.18 % of 5 %", "-"], True)
    assert rows["STOP_TRIPPED"] == (["1", "0"], True)
    assert rows["EXPOSURE"] == (["2", "2"], False)
    assert rows["fees"] == (["1.50", "1.50"], False)


def test_picture_is_well_formed_holds_every_curve_inside_the_frame_and_marks_the_trip() -> None:
    root = ElementTree.fromstring(svg(report(NORMAL, TIGHT)))
    space = "{http://www.w3.org/2000/svg}"
    lines = [p.get("d", "") for p in root.iter(f"{space}path") if p.get("stroke-linejoin")]
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, pair.split())) for pair in line[1:].split("L")]
        assert len(points) == 3
        assert all(0 <= x <= 960 and 44 <= y <= 406 for x, y in points)
    hints = [title.text or "" for title in root.iter(f"{space}title")]
    assert [hint for hint in hints if "tripped" in hint] == ["NORMAL tripped at 2025-10-10 21:30:00 UTC"]
    assert any(text.text == "tight & <small>: 13,542.20 (0 trips)" for text in root.iter(f"{space}text"))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(-60, 7300), st.decimals(-(10**6), 10**6, places=2)), min_size=1, max_size=600))
def test_curve_is_bounded_in_order_and_ends_with_the_last_value(values: list[tuple[int, Decimal]]) -> None:
    curve = Curve(START, END)
    values.sort(key=lambda pair: pair[0])
    for second, value in values:
        curve.add(START + timedelta(seconds=second), value)
    points = curve.points()
    assert 1 <= len(points) <= MOST_POINTS
    assert [moment for moment, _ in points] == sorted(moment for moment, _ in points)
    assert points[0][1] == values[0][1]
    assert points[-1][1] == values[-1][1]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.decimals(0, 10**6, places=2), min_size=2, max_size=100), st.integers(1, 60))
def test_sparkline_has_its_width_and_shows_lowest_and_highest(values: list[Decimal], width: int) -> None:
    line = sparkline([(START + timedelta(minutes=i), value) for i, value in enumerate(values)], width)
    assert len(line) == width
    assert set(line) <= set("▁▂▃▄▅▆▇█")
    assert sparkline([(START, Decimal(1))], width) == ""


def test_picture_of_a_flat_line_is_drawn() -> None:
    flat = msgspec.structs.replace(TIGHT, equity_curve=((START, Decimal(14000)), (END, Decimal(14000))))
    ElementTree.fromstring(svg(report(flat, flat)))


def test_reference_page_lists_every_key_of_the_report_in_order() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "whatif.md").read_text()
    table = page.partition("## Report")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert listed == keys(WhatIfReport)
    assert list(json.loads(report(NORMAL, TIGHT).to_json())) == [key for key in listed if "." not in key]


def keys(kind: Any, prefix: str = "") -> list[str]:
    found = []
    for field in msgspec.structs.fields(kind):
        found.append(prefix + field.name)
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                found += keys(inner, f"{prefix}{field.name}.")
    return found
