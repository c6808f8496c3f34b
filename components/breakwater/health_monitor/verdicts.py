"""From heartbeats to verdicts. Pure; ages are on the infrastructure clock, in seconds."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from breakwater.runtime.events import Heartbeat

SILENT_SECONDS = 5.0
"""Heartbeats come about each second; after this long without one a component is down."""
STALL_SECONDS = 30.0
STARTING_SECONDS = 15.0


class Level(enum.StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"

    @property
    def rank(self) -> int:
        return ["ok", "degraded", "down"].index(self.value)


class Verdict(msgspec.Struct, frozen=True):
    """How one component is, with a sentence per reason. ``checks`` names the failed ones, stable from one look to the next."""

    status: Level
    reasons: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    age_seconds: float | None = None
    progress: int | None = None

    @property
    def short(self) -> str:
        """``ok``, or the level with what failed: without ages, so that it only changes when something happened."""
        return f"{self.status}: {', '.join(self.checks)}" if self.checks else str(self.status)


class Heard(msgspec.Struct):
    """What is known of one component's heartbeats."""

    beat: Heartbeat
    heard_at: float
    progressed_at: float

    def hear(self, beat: Heartbeat, now: float) -> None:
        if beat.progress != self.beat.progress:
            self.progressed_at = now
        self.beat, self.heard_at = beat, now


def judge(heard: Heard | None, *, now: float, running_for: float, must_progress: bool) -> Verdict:
    """Verdict on one component that has been expected for ``running_for`` seconds."""
    if heard is None:
        if running_for < STARTING_SECONDS:
            return Verdict(Level.DEGRADED, ("not heard yet: starting",), ("starting",))
        return Verdict(Level.DOWN, ("never heard: is it running?",), ("silent",))
    age, beat = now - heard.heard_at, heard.beat
    if age > SILENT_SECONDS:
        reason = f"no heartbeat for {age:.0f} s: is it running, and does Redis answer?"
        return Verdict(Level.DOWN, (reason,), ("silent",), age, beat.progress)
    failed = sorted(name for name, ok in beat.checks.items() if not ok)
    reasons = [f"{name}: {beat.detail.get(name) or 'not ok'}" for name in failed]
    stalled = now - heard.progressed_at
    if must_progress and stalled > STALL_SECONDS:
        failed.append("progress")
        reasons.append(f"progress: nothing done for {stalled:.0f} s")
    level = Level.DEGRADED if failed else Level.OK
    return Verdict(level, tuple(reasons), tuple(failed), age, beat.progress)


def overall(verdicts: Iterable[tuple[str, Verdict]], *, optional: frozenset[str]) -> Level:
    """The worst of all; an optional component that is down only degrades the desk."""
    worst = Level.OK
    for name, verdict in verdicts:
        level = Level.DEGRADED if name in optional and verdict.status is Level.DOWN else verdict.status
        worst = max(worst, level, key=lambda one: one.rank)
    return worst
