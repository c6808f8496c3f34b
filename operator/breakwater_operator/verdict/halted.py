"""The condition Halted: whether the desk has been stopped, why, and the line that arms it again."""

from __future__ import annotations

import json
import re

from breakwater.domain.refusals import RefusalCode
from breakwater.domain.stop_state import StopState
from breakwater_operator.verdict.body import listed
from breakwater_operator.verdict.conditions import Fact, moment
from breakwater_operator.verdict.reasons import ConditionType, Reason
from breakwater_operator.verdict.report import DeskReport, StopReport

_REASONS = {
    StopState.ARMED: Reason.ARMED,
    StopState.DISABLED: Reason.DISABLED,
    StopState.TRIPPED: Reason.TRIPPED,
    StopState.COOLING_DOWN: Reason.COOLING_DOWN,
}
_QUOTABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
# Fixed words for each code: the stop's own sentences count down, and every change of a condition is a write.
_NEEDS = {
    RefusalCode.RESET_NOT_FLAT.value: "the desk is not flat",
    RefusalCode.RESET_CAUSE_NOT_GONE.value: "what fired it still holds",
    RefusalCode.RESET_NOT_RECONCILED.value: "the account is not reconciled",
    RefusalCode.RESET_NOT_ALLOWED.value: "spec.allowManualReset is false",
    RefusalCode.RESET_BASELINE_USED.value: "today's new baseline is used up",
}


def halted(report: DeskReport | None, stop_name: str, namespace: str, before: Fact | None = None) -> Fact:
    """Halted by what was reported. When the stop does not answer, what was known ``before`` stays."""
    stop = report.stop if report is not None else None
    if stop is None:
        return before or Fact(ConditionType.HALTED, None, Reason.UNKNOWN, "the emergency stop has not reported yet")
    state = stop.view.state
    execution = report.execution if report is not None else None
    if state in (StopState.TRIPPED, StopState.COOLING_DOWN):
        return Fact(ConditionType.HALTED, True, _REASONS[state], _tripped(stop, stop_name, namespace))
    if execution is not None and execution.halted_by:
        message = (
            f"{execution.halted_by} halted execution directly; the stop itself is {state.value}. "
            "To lift it, trip the emergency stop and reset it"
        )
        return Fact(ConditionType.HALTED, True, Reason.HALTED_BY_PERSON, message)
    said = "the emergency stop is armed and watches" if state is StopState.ARMED else "the emergency stop is disabled"
    return Fact(ConditionType.HALTED, False, _REASONS[state], said)


def reset_line(stop: StopReport, stop_name: str, namespace: str) -> str:
    """The kubectl command that asks for a reset of this trip, under an id not used yet; empty when there is no trip."""
    trip = stop.view.trip
    if trip is None or not all(_QUOTABLE.fullmatch(name) for name in (stop_name, namespace, trip.trip_id)):
        return ""
    prefix = f"reset-{stop.view.epoch}-"
    used = sum(outcome.request_id.startswith(prefix) for outcome in stop.outcomes)
    reset: dict[str, object] = {
        "requestID": f"{prefix}{used + 1}",
        "tripID": trip.trip_id,
        "reason": "why it is safe again",
        # Always said: a merge patch keeps what an earlier request asked for.
        "newBaseline": _codes(stop, baseline=False) - _codes(stop, baseline=True)
        == {RefusalCode.RESET_CAUSE_NOT_GONE.value},
    }
    patch = json.dumps({"spec": {"reset": reset}}, separators=(",", ":"))
    return f"kubectl patch estop {stop_name} -n {namespace} --type merge -p '{patch}'"


def _tripped(stop: StopReport, stop_name: str, namespace: str) -> str:
    view = stop.view
    why = (view.trip.reason if view.trip else "the emergency stop fired").rstrip(".")
    sentences = [why]
    codes = _codes(stop, baseline=False)
    needs = [text for code, text in _NEEDS.items() if code in codes]
    if needs:
        sentences.append(f"A reset is refused while {listed(needs)}")
    if view.cooling_down_until is not None:
        sentences.append(f"It has to cool down until {moment(view.cooling_down_until)}")
    if line := reset_line(stop, stop_name, namespace):
        sentences.append(f"To arm it again: {line}")
    return ". ".join(sentences)


def _codes(stop: StopReport, *, baseline: bool) -> set[str]:
    return {missing.code for missing in (stop.needs_with_baseline if baseline else stop.needs)}
