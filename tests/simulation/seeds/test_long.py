"""An hour with mishaps and faults on the wire all along: the books end to the cent."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from breakwater.simulation.plan import long_plan
from breakwater.simulation.seed_run import run_seed

HOUR_S = 3600.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 11])
def test_hour_of_trading_with_random_faults_ends_with_the_venues_money_to_the_cent(seed: int) -> None:
    plan = replace(long_plan(seed, HOUR_S, calm=600), source="momentum", symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    report = run_seed(seed, seconds=HOUR_S, plan=plan)
    assert not report.violations, "; ".join(map(str, report.violations))
    assert report.ledger_difference is not None
    assert round(report.ledger_difference, 2) == Decimal("0.00")
    assert report.hours > 1
    assert report.sometimes["entry"] > 1
    assert report.sometimes["fault on the wire"] > 0


def test_long_plan_has_mishaps_all_along() -> None:
    plan = long_plan(3, 24 * HOUR_S)
    for times in ([at for at, _ in plan.kills], [at for at, _ in plan.outages], list(plan.drops)):
        assert min(times) < 2 * HOUR_S
        assert max(times) > 22 * HOUR_S
    starts = [rule.match.from_s for rule in plan.wire]
    assert max(starts) > 20 * HOUR_S
