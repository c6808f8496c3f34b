"""What may be given up when the buffer fills: market data and signals first; fills, trips and audit never."""

from __future__ import annotations

import enum

from breakwater.runtime.events import EVENT_TYPES


class Keeping(enum.IntEnum):
    DROPPABLE = 0
    """Refused first: the next one says more."""
    KEPT = 1
    """Refused when the buffer is full."""
    ALWAYS = 2
    """Never refused because of a bound: money, safety, and what an auditor asks for."""


_DROPPABLE = ("market.", "signal.", "model.", "health.")
_ALWAYS = ("order.", "account.moved", "account.flat", "ess.", "policy.", "throttle.")


def keeping_of(event_type: str) -> Keeping:
    """The class of a type of event."""
    if event_type.startswith(_ALWAYS):
        return Keeping.ALWAYS
    return Keeping.DROPPABLE if event_type.startswith(_DROPPABLE) else Keeping.KEPT


KEEPING: dict[str, Keeping] = {name: keeping_of(name) for name in EVENT_TYPES}
