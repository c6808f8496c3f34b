"""The way from one state of the stop to another that the API server accepts: one write for each step."""

from __future__ import annotations

from breakwater.domain.stop_state import StopState

_STEPS: dict[StopState, tuple[StopState, ...]] = {
    StopState.DISABLED: (StopState.ARMED,),
    StopState.ARMED: (StopState.TRIPPED, StopState.DISABLED),
    StopState.TRIPPED: (StopState.COOLING_DOWN,),
    StopState.COOLING_DOWN: (StopState.TRIPPED, StopState.ARMED),
}
"""The transitions that the rule on status.state in crds/emergencystops.yaml allows."""


def walk(old: StopState | None, new: StopState) -> tuple[StopState, ...]:
    """The states to write one after the other, the last one ``new``; empty when nothing moved.

    A poll can miss steps in between (TRIPPED, then ARMED): the shortest allowed way is what must have happened.
    """
    if old is new:
        return ()
    if old is None:
        return (new,)
    ways: list[tuple[StopState, ...]] = [(old,)]
    for way in ways:
        for step in _STEPS[way[-1]]:
            if step is new:
                return (*way[1:], step)
            if step not in way:
                ways.append((*way, step))
    raise AssertionError(f"no way from {old} to {new}")
