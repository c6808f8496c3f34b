"""``run_whatif``: every policy once over the same market and the same signals, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from breakwater.desk.recording import Recording
from breakwater.domain.money import ZERO, to_cents
from breakwater.domain.stop_state import StopState
from breakwater.whatif.engine import run_side
from breakwater.whatif.report import (
    Curve,
    MarketReport,
    RecordingReport,
    RunReport,
    SignalsReport,
    WhatIfReport,
    difference,
)
from breakwater.whatif.scenario import Scenario, WhatIfOptions, make_scenario

__all__ = ["WhatIfOptions", "WhatIfReport", "run_whatif"]


def run_whatif(options: WhatIfOptions, *, on_run: Callable[[str], None] = lambda _: None) -> WhatIfReport:
    """Run it in virtual time. ``on_run`` hears the name of each run before it begins.

    Raises DeskInputError, ManifestError, MarketFileError for what cannot be used, before anything has run.
    """
    scenario = make_scenario(options)
    runs: list[RunReport] = []
    for side in scenario.sides:
        on_run(side.name)
        runs.append(run_side(scenario, side))
    recorded = scenario.recorded
    return WhatIfReport(
        market=MarketReport(scenario.source, scenario.symbols, scenario.start, scenario.end),
        signals=SignalsReport(scenario.signals_name, None if recorded is None else len(recorded)),
        auto_reset=scenario.auto_reset,
        notes=scenario.notes,
        recording=_recording(scenario, scenario.recording) if scenario.recording is not None else None,
        runs=tuple(runs),
        differences=tuple(difference(runs[0], other) for other in runs[1:]),
    )


def _recording(scenario: Scenario, recording: Recording) -> RecordingReport:
    """The desk's own figures in the span that was replayed, to the minute."""
    begin, end = scenario.start - timedelta(minutes=1), scenario.end
    accounts = [each for each in recording.accounts if begin < each.time < end]
    orders = [each for each in recording.orders if begin < each.time < end]
    refused: Counter[str] = Counter()
    for each in orders:
        refused.update(each.refused)
    curve = Curve(scenario.start, scenario.end)
    for account in accounts:
        curve.add(account.time, to_cents(account.equity))

    def worst(name: str) -> Decimal:
        return max((getattr(account, name) for account in accounts), default=ZERO)

    return RecordingReport(
        desk=recording.header.desk,
        lines=recording.lines,
        damaged_lines=recording.damaged,
        unknown_lines=recording.unknown,
        missing_lines=recording.missing,
        starting_equity=to_cents(scenario.starting_equity),
        final_equity=to_cents(accounts[-1].equity if accounts else scenario.starting_equity),
        worst_daily_drawdown_pct=worst("drawdown_pct"),
        worst_open_loss_pct=worst("open_loss_pct"),
        peak_exposure_pct=worst("exposure_pct"),
        trips=sum(stop.state is StopState.TRIPPED and begin < stop.time < end for stop in recording.stops),
        orders_submitted=sum(each.submitted for each in orders),
        fills=sum(each.fills for each in orders),
        fees=to_cents(sum((each.fees for each in orders), ZERO)),
        refused_by_code=dict(sorted(refused.items())),
        equity_curve=curve.points(),
    )
