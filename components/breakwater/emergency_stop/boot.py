"""What the stop is when its process starts: the latch, a broadcast copy, or, when neither can be read, closed."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from breakwater.domain.emergency_stop import ITSELF, started, unknown_state
from breakwater.domain.stop_facts import Fact, Noted, Transition
from breakwater.domain.stop_memory import Latched, Step
from breakwater.domain.stop_state import StopState, StopView
from breakwater.emergency_stop.audit import AuditReport
from breakwater.emergency_stop.latch import Finding, LatchReading
from breakwater.emergency_stop.messages import from_copy


def choose(
    reading: LatchReading, audit: AuditReport, audit_epoch: int, copy: StopView | None, now: datetime
) -> tuple[Latched, tuple[Fact, ...]]:
    """The highest epoch wins, on a tie the stricter state; none readable: closed. Facts tell what was wrong."""
    facts: list[Fact] = [Noted("latch_damaged", now, problem) for problem in reading.problems]
    if not audit.ok:
        facts.append(Noted("audit_damaged", now, audit.problem))
    latched = reading.content.latched if reading.content is not None else Latched()
    if copy is not None and copy.epoch >= audit_epoch and is_ahead(copy, latched):
        facts.append(Noted("copy_ahead", now, f"the state was taken from a broadcast copy of epoch {copy.epoch}"))
        latched = from_copy(copy, latched)
    elif why := _unknown(reading, latched, audit_epoch, copy):
        epoch = max(latched.epoch, audit_epoch, copy.epoch if copy else 0) + 1
        latched = unknown_state(epoch, why, now)
        facts.append(Transition(StopState.ARMED, latched.state, epoch, now, ITSELF, why, latched.trip))
    return latched, tuple(facts)


def _unknown(reading: LatchReading, latched: Latched, audit_epoch: int, copy: StopView | None) -> str:
    """Why it is not known what the stop was; empty when it is."""
    if reading.finding is Finding.UNREADABLE:
        return f"no readable copy of the latch ({'; '.join(reading.problems)}): what was before is unknown"
    if audit_epoch > latched.epoch:
        return f"the audit knows epoch {audit_epoch}, the latch {latched.epoch}: what was last is unknown"
    if reading.may_lag and not latched.stopped and (copy is None or copy.epoch != latched.epoch):
        return (
            f"only the second copy of the latch is left (epoch {latched.epoch}) and nobody else knows it: "
            "there may have been a trip after it"
        )
    return ""


def is_ahead(copy: StopView, latched: Latched) -> bool:
    """Whether ``copy`` tells of something that ``latched`` has not seen."""
    return (copy.epoch, copy.state.strictness) > (latched.epoch, latched.state.strictness)


def overtaken(old: Latched, view: StopView, now: datetime) -> Step:
    """What a running stop does about a copy that is ahead of it: its epoch, and its state where that is the stricter one."""
    text = f"a broadcast copy has epoch {view.epoch} ({view.state.value}), the latch {old.epoch}"
    latched = from_copy(view, old) if view.state.strictness > old.state.strictness else old
    return Step(started(replace(latched, epoch=view.epoch), now), (Noted("copy_ahead", now, text),))
