"""The report for people: a row a fact, a column a run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from breakwater.whatif.plot import sparkline
from breakwater.whatif.report import RecordingReport, RunReport, TripReport, WhatIfReport

SPARK_WIDTH = 20
Row = tuple[str, list[str], bool]
"""A label, a cell for each run (and the recording), and whether the runs differ."""


def summary_rows(report: WhatIfReport) -> list[Row]:
    """The recording, where there is one, is the last cell of each row."""
    rows = [_row(label, report, of_run, of_recording) for label, of_run, of_recording in _FACTS]
    most_trips = max(len(run.trips) for run in report.runs)
    at = 2 + [label for label, _, _ in _FACTS[2:]].index("trips") + 1
    for number in reversed(range(most_trips)):
        label = "trip" if most_trips == 1 else f"trip {number + 1}"
        rows[at:at] = [
            _row(f"  {label}", report, lambda run, n=number: _nth(run, n, _when), _nothing),  # type: ignore[misc]
            _row("  why", report, lambda run, n=number: _nth(run, n, _why), _nothing),  # type: ignore[misc]
        ]
    counts = [run.orders.refused_by_code for run in report.runs]
    if report.recording is not None:
        counts.append(report.recording.refused_by_code)
    codes = sorted({code for each in counts for code in each})
    at = [label for label, _, _ in rows].index("refused") + 1
    rows[at:at] = [
        _row(
            f"  {code}",
            report,
            lambda run, c=code: str(run.orders.refused_by_code.get(c, 0)),  # type: ignore[misc]
            lambda recorded, c=code: str(recorded.refused_by_code.get(c, 0)),  # type: ignore[misc]
        )
        for code in codes
    ]
    return rows


def _row(
    label: str,
    report: WhatIfReport,
    of_run: Callable[[RunReport], str],
    of_recording: Callable[[RecordingReport], str],
) -> Row:
    cells = [of_run(run) for run in report.runs]
    recorded = [of_recording(report.recording)] if report.recording is not None else []
    return label, cells + recorded, label != "equity" and len(set(cells)) > 1


def _nothing(_: RecordingReport) -> str:
    return ""


def _nth(run: RunReport, number: int, tell: Callable[[TripReport], str]) -> str:
    return tell(run.trips[number]) if number < len(run.trips) else "-"


def _when(trip: TripReport) -> str:
    return _clock(trip.time)


def _why(trip: TripReport) -> str:
    if trip.measured is None or trip.limit is None:
        return trip.trigger
    unit = "" if trip.trigger == "EXECUTION_ERRORS" else " %"
    return f"{trip.trigger} {trip.measured:.2f}{unit} of {trip.limit.normalize():f}{unit}"


def _clock(moment: datetime) -> str:
    return f"{moment:%m-%d %H:%M:%S}"


def _pct(value: Decimal) -> str:
    return f"{value:.2f} %"


_FACTS: list[tuple[str, Callable[[RunReport], str], Callable[[RecordingReport], str]]] = [
    (
        "risk / drawdown / leverage",
        lambda run: (
            f"{run.limits.max_risk_per_trade_pct:g} % / {run.limits.max_daily_drawdown_pct:g} % / "
            f"{run.limits.max_leverage:g}x"
        ),
        _nothing,
    ),
    ("final equity", lambda run: f"{run.final_equity:,}", lambda recorded: f"{recorded.final_equity:,}"),
    ("equity", lambda run: sparkline(run.equity_curve, SPARK_WIDTH), lambda r: sparkline(r.equity_curve, SPARK_WIDTH)),
    ("lowest equity", lambda run: f"{run.lowest_equity:,}", _nothing),
    ("trips", lambda run: str(len(run.trips)), lambda recorded: str(recorded.trips)),
    ("resets", lambda run: str(run.resets), _nothing),
    ("stop at the end", lambda run: run.state_at_end, _nothing),
    (
        "worst daily drawdown",
        lambda run: _pct(run.worst_daily_drawdown_pct),
        lambda r: _pct(r.worst_daily_drawdown_pct),
    ),
    ("worst open loss", lambda run: _pct(run.worst_open_loss_pct), lambda r: _pct(r.worst_open_loss_pct)),
    ("peak exposure", lambda run: _pct(run.peak_exposure_pct), lambda r: _pct(r.peak_exposure_pct)),
    ("signals", lambda run: str(run.signals), _nothing),
    (
        "orders submitted / filled",
        lambda run: f"{run.orders.submitted} / {run.orders.filled}",
        lambda recorded: str(recorded.orders_submitted),
    ),
    ("fills", lambda run: str(run.fills), lambda recorded: str(recorded.fills)),
    ("refused", lambda run: str(run.orders.refused), lambda recorded: str(sum(recorded.refused_by_code.values()))),
    ("fees", lambda run: f"{run.fees:,}", lambda recorded: f"{recorded.fees:,}"),
    ("funding", lambda run: f"{run.funding:,}", _nothing),
    ("positions at the end", lambda run: str(run.positions_at_end), _nothing),
]
