"""The event bus as services see it. One stream per producer, one writer per stream; consumer groups; last-value state channels.

Implementations: ``runtime.redis_bus`` (Redis Streams) and ``simulation.bus`` (memory).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Protocol

from breakwater.domain.ids import DeskId
from breakwater.runtime.events import Event, Payload

Handler = Callable[[Event], Awaitable[None]]
"""Applies one event. At-least-once: must tolerate seeing the same event again. Raising leaves it unacknowledged and retried."""


class BusUnavailable(Exception):
    """The bus did not take the event; it is not known to be stored."""


class Bus(Protocol):
    """A connection of one component (``producer``) of one desk. Subscribe before ``start``."""

    desk: DeskId
    producer: str

    async def publish(self, payload: Payload, *, time: datetime) -> Event:
        """Append to this producer's stream. Returns once stored. Raises BusUnavailable, EventError (too large)."""
        ...

    async def set_state(self, payload: Payload, *, time: datetime) -> None:
        """Broadcast a last-value state (leases, heartbeats): only the newest matters, no history, no redelivery.

        Raises BusUnavailable.
        """
        ...

    def subscribe(
        self,
        handler: Handler,
        *,
        producers: Collection[str],
        types: Collection[type[Payload]],
        group: str | None,
        at_once: int = 1,
    ) -> None:
        """Deliver events of ``producers`` whose payload is one of ``types`` to ``handler``, in order per producer.

        With ``group``: durable, each event at least once until handled, across restarts, from the stream's beginning.
        Without: only what is published after ``start``, best effort.
        ``at_once`` above one gives up the order: so many events of a producer are handled at the same time, each of them
        counts as handled when its own call returns. One order for all: where several subscriptions of a group share a
        producer, the least of their ``at_once`` holds.
        """
        ...

    def watch_state(self, handler: Handler, *, types: Collection[type[Payload]]) -> None:
        """Deliver state broadcasts of any producer: the latest stored one at start, then each new one (may skip to the newest)."""
        ...

    def watch_gaps(self, listener: Callable[[str], None], *, producers: Collection[str]) -> None:
        """Call ``listener`` with the producer each time events of one of ``producers`` are missing for good from what we subscribed to:
        for those whose state is a fold over all of them, and who must not go on as if nothing had been.
        """
        ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    @property
    def trouble(self) -> str:
        """Why an event published next may not be kept, a sentence with what to do; empty while there is no reason to fear."""
        ...

    @property
    def dead_letters(self) -> int:
        """Events of the desk that were set aside and wait for a person, when last looked."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the last exchange with the server succeeded."""
        ...
