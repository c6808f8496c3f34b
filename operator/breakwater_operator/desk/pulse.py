"""A look at every running desk each second: what it says is kept, and whoever cares is told when something changed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.lifecycle import Service
from breakwater_operator.desk.link import Desk, DeskLink
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.verdict.patch import without_numbers
from breakwater_operator.verdict.report import DeskReport, carried

PERIOD_SECONDS = 1.0
JITTER = 0.1
AT_ONCE = 96
"""Desks that hang hold a place each for as long as a question may take: the others must not wait for them."""
FIGURES_SECONDS = 10.0
"""How often a desk's figures may cause a look at its resources when nothing else happens."""

Changed = Callable[[Desk], None]


class Pulse(Service):
    """Asks every desk it was given, at most ``AT_ONCE`` at a time. Reports are kept by the policy's uid."""

    name = "pulse"

    def __init__(
        self, link: DeskLink, clock: InfraClock, jitter: random.Random, metrics: OperatorMetrics, changed: Changed
    ) -> None:
        super().__init__()
        self._link, self._clock, self._random, self._metrics, self._changed = link, clock, jitter, metrics, changed
        self._desks: dict[str, Desk] = {}
        self._tasks_of: dict[str, asyncio.Task[None]] = {}
        self._reports: dict[str, DeskReport] = {}
        self._told: dict[str, tuple[Any, Any, float]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        metrics.before_reading(self._measure)

    def follow(self, desk: Desk) -> None:
        """Ask this desk from now on; a second call changes nothing."""
        if desk.uid not in self._desks:
            self._desks[desk.uid] = desk
            self._tasks_of[desk.uid] = self.spawn(self._ask_for_ever(desk), f"desk.{desk.namespace}.{desk.policy}")

    def forget(self, uid: str) -> None:
        """Ask it no more."""
        if task := self._tasks_of.pop(uid, None):
            task.cancel()
        for known in (self._desks, self._reports, self._told):
            known.pop(uid, None)

    def report(self, uid: str) -> DeskReport | None:
        """What the desk said last; None when it has not been asked yet."""
        return self._reports.get(uid)

    async def look(self, desk: Desk) -> DeskReport:
        """Ask now, out of turn."""
        report = await self._link.report(desk)
        if desk.uid in self._desks:
            self._take(desk, report)
        return report

    async def _ask_for_ever(self, desk: Desk) -> None:
        while True:
            async with self._slots:
                report = await self._link.report(desk)
            self._take(desk, report)
            await self._clock.sleep(PERIOD_SECONDS * (1 + JITTER * (2 * self._random.random() - 1)))

    def _take(self, desk: Desk, report: DeskReport) -> None:
        known = self._reports.get(desk.uid)
        if known is not None and known.asked_at > report.asked_at:
            return
        report = carried(known, report)
        self._reports[desk.uid] = report
        facts, figures, now = facts_of(report), figures_of(report), self._clock.monotonic()
        told = self._told.get(desk.uid)
        due = told is None or facts != told[0] or (figures != told[1] and now - told[2] >= FIGURES_SECONDS)
        if due:
            self._told[desk.uid] = (facts, figures, now)
            self._changed(desk)

    def _measure(self) -> None:
        self._metrics.desks.set(len(self._desks))
        self._metrics.desks_unreachable.set(sum(1 for report in self._reports.values() if report.stop is None))


def facts_of(report: DeskReport) -> Any:
    """What a change of which is told at once. Numbers inside sentences (ages, amounts) do not count."""
    stop, execution = report.stop, report.execution
    return (
        (
            stop.view.state,
            stop.view.epoch,
            stop.view.trip,
            stop.view.flat_at,
            stop.view.cooling_down_until,
            stop.view.reduce_only,
            without_numbers(stop.view.reduce_only_reason),
            tuple((answer.kind, answer.request_id) for answer in stop.outcomes),
            stop.policy,
        )
        if stop is not None
        else None,
        (execution.gate, execution.code, execution.halted_by, execution.policy, execution.mode)
        if execution is not None
        else None,
    )


def figures_of(report: DeskReport) -> Any:
    """What changes all the time."""
    measured = report.stop.measured if report.stop is not None else None
    positions = report.execution.positions if report.execution is not None else None
    figures = msgspec.structs.asdict(measured) if measured is not None else {}
    figures.pop("time", None)
    return figures, positions
