"""Whole desks in virtual time with mishaps: no invariant breaks, equal seeds run equally, and a planted bug is found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import structlog

from breakwater.domain.stop_state import StopState, StopView
from breakwater.execution.protection import ProtectionKeeper
from breakwater.execution.wallet_movements import WalletMovements
from breakwater.paper_venue.config import DEFAULT_ACCOUNT, VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now
from breakwater.portfolio.service import PortfolioService
from breakwater.runtime.events import Event, StopLease
from breakwater.simulation import run_seeds
from breakwater.simulation.bus import MemoryBroker
from breakwater.simulation.invariants import Invariants
from breakwater.simulation.plan import plan_for
from breakwater.simulation.seed_run import DESK, SeedReport, run_seed

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOLDING = 116
"""A seed whose desk holds positions."""
GROWING = 2
"""A seed whose positions grow, so that stops are replaced."""
PAYING = 116
"""A seed whose venue settles funding every minute while the desk holds."""


def numbers(report: SeedReport) -> set[int]:
    return {violation.invariant for violation in report.violations}


def test_desk_with_mishaps_keeps_every_invariant(any_seed: int) -> None:
    report = run_seed(any_seed)
    assert not report.violations, f"seed {any_seed} ({report.plan}): " + "; ".join(map(str, report.violations))


@pytest.mark.parametrize(("seed", "liquidity"), [(2, 100_000), pytest.param(HOLDING, 600, marks=pytest.mark.slow)])
def test_desk_on_a_thin_book_keeps_every_invariant(seed: int, liquidity: int) -> None:
    report = run_seed(seed, liquidity=Decimal(liquidity))
    assert not report.violations, "; ".join(map(str, report.violations))


def test_equal_seeds_run_equally_and_others_do_not() -> None:
    first, again, other = (run_seed(seed, seconds=120) for seed in (31, 31, 32))
    assert (first.digest, first.sometimes) == (again.digest, again.sometimes)
    assert first.digest != other.digest


def test_plans_of_many_seeds_hold_every_kind_of_mishap() -> None:
    plans = [plan_for(seed) for seed in range(200)]
    assert plans == [plan_for(seed) for seed in range(200)]
    for mishaps in (
        [plan for plan in plans if plan.kills],
        [plan for plan in plans if plan.kill_at_order],
        [plan for plan in plans if plan.outages],
        [plan for plan in plans if plan.drops],
        [plan for plan in plans if plan.funding_every_s < 8 * 3600],
        [plan for plan in plans if plan.transfers],
        [plan for plan in plans if plan.deleveraged],
        [plan for plan in plans if plan.wire],
    ):
        assert 20 < len(mishaps) < 200
    assert 60 < sum(1 for plan in plans if plan.crash_at) < 140


def test_faults_on_the_wire_really_happen_in_a_run() -> None:
    assert run_seed(HOLDING, seconds=300).sometimes["fault on the wire"] > 0


# ------------------------------------------------------------------------------------------------ the checks can fail


async def _asleep(*_: Any) -> None:
    await asyncio.Event().wait()


def test_desk_that_places_no_stops_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProtectionKeeper, "_guard", _asleep)
    assert 6 in numbers(run_seed(HOLDING, seconds=60))


def test_desk_that_leaves_old_stops_beside_new_ones_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = ProtectionKeeper.cancel

    async def keeps_stops(self: ProtectionKeeper, order: Any) -> bool:
        return False if order.algo else await cancel(self, order)

    monkeypatch.setattr(ProtectionKeeper, "cancel", keeps_stops)
    texts = [violation.text for violation in run_seed(GROWING, seconds=200).violations if violation.invariant == 6]
    assert "2 stops in ETHUSDT for more than 5 s" in texts


def test_portfolio_that_books_no_fills_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortfolioService, "_book", lambda *_: None)
    assert 8 in numbers(run_seed(HOLDING, seconds=60))


def test_portfolio_that_books_no_movements_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(*_: Any) -> None:
        return

    monkeypatch.setattr(PortfolioService, "_move", forget)
    assert 8 in numbers(run_seed(PAYING, seconds=120))


def test_execution_that_reads_no_incomes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> int:
        return 0

    monkeypatch.setattr(WalletMovements, "pull", nothing)
    assert {7, 8} <= numbers(run_seed(PAYING, seconds=120))


@pytest.fixture
def checks() -> Invariants:
    return Invariants(PaperVenue(VenueConfig()), MemoryBroker(), DESK, DEFAULT_ACCOUNT.name)


def lease(state: StopState, epoch: int, *, issued_at: datetime = NOW) -> Event:
    view = StopView(state, epoch, epoch, issued_at, Decimal(1), reduce_only=state is not StopState.ARMED)
    return Event(DESK, "emergency_stop", 1, epoch, issued_at, "stop.lease", StopLease(view))


def found(checks: Invariants) -> list[int]:
    return [violation.invariant for violation in checks.violations]


def leave(checks: Invariants, *, gate_open: bool = True) -> list[int]:
    checks.now_s += 0.1
    query = "symbol=BTCUSDT&newClientOrderId=bw-e&side=BUY"
    checks.request_leaves("POST", "/fapi/v1/order", query, b"", gate_open, Now(NOW_MS, NOW_MS))
    return found(checks)


async def test_entry_under_a_fresh_armed_lease_is_no_violation(checks: Invariants) -> None:
    await checks.heard(lease(StopState.ARMED, 1))
    assert leave(checks) == []


@pytest.mark.parametrize(
    "event",
    [
        lease(StopState.TRIPPED, 2),
        lease(StopState.COOLING_DOWN, 2),
        lease(StopState.ARMED, 2, issued_at=NOW - timedelta(seconds=3)),
        None,
    ],
)
async def test_entry_that_the_stop_forbids_is_found(checks: Invariants, event: Event | None) -> None:
    if event is not None:
        await checks.heard(event)
    assert leave(checks) == [1]


async def test_entry_past_a_closed_gate_is_found(checks: Invariants) -> None:
    await checks.heard(lease(StopState.ARMED, 1))
    assert leave(checks, gate_open=False) == [1]


async def test_stop_that_arms_by_itself_or_goes_back_an_epoch_is_found(checks: Invariants) -> None:
    await checks.heard(lease(StopState.TRIPPED, 3))
    await checks.heard(lease(StopState.ARMED, 2))
    assert found(checks) == [9, 10]


def test_runner_says_what_broke_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = run_seed(31, seconds=30)
    checks = Invariants(PaperVenue(VenueConfig()), MemoryBroker(), DESK, DEFAULT_ACCOUNT.name)
    checks.broken(6, "BTCUSDT 0.1 without a full stop")
    bad = replace(good, violations=tuple(checks.violations))
    monkeypatch.setattr(run_seeds, "run_seed", lambda seed: bad if seed == 2 else good)
    monkeypatch.setattr(structlog, "configure", lambda **_: None)
    assert run_seeds.main(["--seed", "1", "--count", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 seeds, 0 violations, ")
    assert run_seeds.main(["--seed", "1", "--count", "3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any("invariant 6" in line and "BTCUSDT 0.1" in line for line in lines)
    assert any(line.startswith("Python 3.") for line in lines)
    assert lines[-1].startswith("3 seeds, 1 violations, ")
    assert lines[-1].endswith(" simulated hours")
