"""What execution knows of the emergency stop: the newest view, and whether its lease still holds."""

from __future__ import annotations

from datetime import datetime

from breakwater.domain.stop_state import StopView
from breakwater.runtime.clocks import InfraClock

LONGEST_LEASE_S = 1.0
"""Whatever a broadcast claims: silence of this long closes the gate (invariant 3)."""


class StopLeaseBook:
    """The highest epoch wins, on a tie the stricter state, of two equal ones the newer broadcast."""

    def __init__(self, clock: InfraClock) -> None:
        self._clock = clock
        self.view: StopView | None = None
        self._received = 0.0
        self._lease_s = 0.0

    def take(self, view: StopView) -> bool:
        """Whether ``view`` is now the one in force. An older or replayed one is not, and renews nothing."""
        if self.view is not None and not _newer(view, self.view, self._clock.utc_now()):
            return False
        self.view = view
        self._received = self._clock.monotonic()
        self._lease_s = min(float(view.lease_seconds), LONGEST_LEASE_S)
        return True

    @property
    def fresh(self) -> bool:
        """Received within the lease (monotonic clock) and issued within it (wall clock)."""
        return self.remaining_s > 0

    @property
    def remaining_s(self) -> float:
        """Seconds until the lease ends; 0 when it has, or nothing was heard."""
        if self.view is None:
            return 0.0
        lease = self._lease_s
        age = (self._clock.utc_now() - self.view.issued_at).total_seconds()
        if age < -lease:
            return 0.0  # from the future: one of the clocks is wrong
        unheard = self._clock.monotonic() - self._received
        left = lease - (unheard if unheard > age else age)
        return left if left > 0 else 0.0


def _newer(new: StopView, known: StopView, now: datetime) -> bool:
    if new.epoch != known.epoch:
        return new.epoch > known.epoch
    if new.state is not known.state:
        return (
            new.state.strictness > known.state.strictness
        )  # every transition has an epoch of its own: somebody is wrong
    if new.issued_at != known.issued_at:
        # One from the future was made by a clock that was wrong: it must not outlast those that are right.
        wrong_clock = (known.issued_at - now).total_seconds() > LONGEST_LEASE_S
        return new.issued_at > known.issued_at or wrong_clock
    if new.sequence != known.sequence:
        return new.sequence > known.sequence
    return new.reduce_only and not known.reduce_only
