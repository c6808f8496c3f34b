"""A look at every desk each second: news is told at once, figures now and then, one silent desk holds up nobody."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import msgspec

from breakwater.domain.stop_state import StopState, StopView
from breakwater.simulation.run import Simulation, run_virtual
from breakwater_operator.desk.link import Desk, DeskLink
from breakwater_operator.desk.pulse import FIGURES_SECONDS, Pulse
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.verdict.report import DeskReport, ExecutionReport, Measured, StopReport

START = datetime(2025, 10, 10, tzinfo=UTC)
A, B = Desk("ns", "a", "ua", "t"), Desk("ns", "b", "ub", "t")


class Link:
    """What every desk says, instead of HTTP."""

    def __init__(self, simulation: Simulation) -> None:
        self._clock = simulation.clocks.infra
        self.state = StopState.ARMED
        self.reason = ""
        self.drawdown = Decimal(0)
        self.silent: set[str] = set()
        self.asked: list[str] = []

    async def report(self, desk: Desk) -> DeskReport:
        self.asked.append(desk.uid)
        now = self._clock.utc_now()
        if desk.uid in self.silent:
            await self._clock.sleep(2)
            return DeskReport(asked_at=now, stop_problem="silent", execution_problem="silent")
        view = StopView(self.state, 1, 1, now, Decimal(1), bool(self.reason), self.reason)
        measured = Measured(time=now, daily_drawdown_pct=self.drawdown)
        stop = StopReport(view=view, measured=measured)
        return DeskReport(asked_at=now, stop=stop, execution=ExecutionReport(gate="OPEN"))


def play(script: Any) -> list[tuple[float, str]]:
    """Run ``script(simulation, link, pulse)`` in virtual time; when each desk's news was told."""
    told: list[tuple[float, str]] = []

    async def main(simulation: Simulation) -> None:
        link = Link(simulation)
        loop = asyncio.get_running_loop()
        pulse = Pulse(
            cast(DeskLink, link),
            simulation.clocks.infra,
            random.Random(1),
            OperatorMetrics(version="1"),
            lambda desk: told.append((loop.time(), desk.policy)),
        )
        await pulse.start()
        await script(link, pulse)
        await pulse.stop()

    run_virtual(main, seed=1, start=START)
    return told


def test_change_of_state_is_told_at_the_next_look_and_only_once() -> None:
    async def script(link: Link, pulse: Pulse) -> None:
        pulse.follow(A)
        await asyncio.sleep(30)
        link.state = StopState.TRIPPED
        await asyncio.sleep(30)

    told = [at for at, _ in play(script)]
    assert told[0] == 0
    assert len(told) == 2
    assert 30 <= told[1] <= 31.2


def test_moving_figures_are_told_seldom() -> None:
    async def script(link: Link, pulse: Pulse) -> None:
        pulse.follow(A)
        for step in range(60):
            link.drawdown = Decimal(step) / 100
            await asyncio.sleep(1)

    told = play(script)
    assert 5 <= len(told) <= 60 / FIGURES_SECONDS + 1


def test_age_that_counts_up_in_a_sentence_is_no_news() -> None:
    async def script(link: Link, pulse: Pulse) -> None:
        pulse.follow(A)
        for age in range(20):
            link.reason = f"the last portfolio snapshot is {age} s old"
            await asyncio.sleep(1)

    assert len(play(script)) <= 2


def test_silence_counts_after_a_while_and_holds_up_nobody_else() -> None:
    reports: list[DeskReport | None] = []

    async def script(link: Link, pulse: Pulse) -> None:
        pulse.follow(A)
        pulse.follow(B)
        await asyncio.sleep(5)
        link.silent = {"ua"}
        await asyncio.sleep(3)
        reports.append(pulse.report("ua"))
        await asyncio.sleep(20)
        reports.append(pulse.report("ua"))
        link.state = StopState.TRIPPED
        await asyncio.sleep(1.2)
        reports.append(pulse.report("ub"))

    told = play(script)
    assert reports[0] is not None
    assert reports[0].stop is not None
    assert reports[1] is not None
    assert reports[1].stop is None
    assert reports[1].stop_heard_at is not None
    assert reports[2] is not None
    assert msgspec.structs.asdict(reports[2])["stop"].view.state is StopState.TRIPPED
    assert told[-1][1] == "b"


def test_forgotten_desk_is_asked_no_more() -> None:
    asked: list[int] = []

    async def script(link: Link, pulse: Pulse) -> None:
        pulse.follow(A)
        await asyncio.sleep(5)
        pulse.forget("ua")
        asked.append(len(link.asked))
        await asyncio.sleep(10)
        asked.append(len(link.asked))
        assert pulse.report("ua") is None

    play(script)
    assert asked[0] == asked[1]
