"""How several processes that reach a venue from one address keep to its limits together: the port, and what it answers."""

from __future__ import annotations

from typing import Protocol

import msgspec

from breakwater.domain.rate_budget import Cost, Lack, Lane


class Granted(msgspec.Struct, frozen=True):
    """What the shared budget says to one request."""

    lack: Lack | None
    """None: it may go and was counted."""
    members: int
    """Processes that asked within the last minute, this one included."""
    weight: int
    """Of this minute, of all of them."""
    pause_s: float = 0.0
    """The venue told one of them to keep away for so long."""
    banned: bool = False


class SharedBudget(Protocol):
    """The limits of one address, for all its processes. Raises StoreUnavailable."""

    async def take(self, lane: Lane, cost: Cost) -> Granted: ...

    async def heard(self, weight: int, pause_s: float, *, banned: bool) -> None:
        """The venue's own count of this minute's weight, and how many seconds it wants to be left alone."""
        ...

    async def close(self) -> None: ...
