"""What the emergency stop knows: the part that must survive everything (``Latched``) and the part it sees anew after a start."""

from __future__ import annotations

import hashlib
from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.evaluators import Breach
from breakwater.domain.ids import RequestId
from breakwater.domain.money import HUNDRED, ZERO
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_facts import Fact
from breakwater.domain.stop_rules import StopRules
from breakwater.domain.stop_state import RequestOutcome, StopState, Trigger, Trip

MAX_OUTCOMES = 256
"""Answers kept for repeated requests; the one longest not asked for again leaves first."""

MAX_FORGOTTEN = 2048
"""Ids of requests whose answer is not kept any more: they still never fire again."""

MOST_AHEAD = timedelta(seconds=2)
"""Market time by which two machines' clocks may differ before a snapshot from the future is refused; a fifth of
``stale_after`` once rules are known."""

STOPPED = frozenset({StopState.TRIPPED, StopState.COOLING_DOWN})


class Rebase(msgspec.Struct, frozen=True):
    """An accepted ``newBaseline``: on ``day`` the drawdown is measured from ``equity`` (USDT) until snapshots know of it."""

    day: date
    equity: Decimal
    epoch: int = 0
    """The stop's epoch of that reset; 0 in a latch that an older version wrote."""


class Latched(msgspec.Struct, frozen=True):
    """Written to disk, synced, before anybody hears of it."""

    state: StopState = StopState.DISABLED
    epoch: int = 0
    trip: Trip | None = None
    causes: tuple[Trigger, ...] = ()
    """Every trigger since the stop was last armed: a reset needs all of them gone."""
    drawdown_day: date | None = None
    """Trading day of the drawdown among the causes."""
    flat_at: datetime | None = None
    """When the cooldown began: max(trip, flat confirmed by the venue)."""
    held: StopRules | None = None
    """The strictest rules since the trip; in force until the re-arm."""
    standing: dict[Trigger, Decimal] = {}
    """What was measured when the cooldown began: standing still is no new breach."""
    consecutive_errors: int = 0
    execution_seen: tuple[int, int] = (0, 0)
    """(epoch, sequence) of the last outcome counted, so that a redelivered one is not counted again."""
    baseline_used_on: date | None = None
    rebase: Rebase | None = None
    outcomes: tuple[RequestOutcome, ...] = ()
    forgotten: tuple[str, ...] = ()
    """`mark_of` each request whose answer is not kept any more; the one longest not asked for again leaves first."""

    @property
    def stopped(self) -> bool:
        return self.state in STOPPED

    @property
    def cooling_down_until(self) -> datetime | None:
        if self.flat_at is None or self.held is None:
            return None
        return self.flat_at + self.held.cooldown

    def outcome_of(self, request_id: RequestId) -> RequestOutcome | None:
        return next((outcome for outcome in self.outcomes if outcome.request_id == request_id), None)

    def was_answered(self, request_id: RequestId) -> bool:
        return self.outcome_of(request_id) is not None or mark_of(request_id) in self.forgotten

    def with_outcome(self, outcome: RequestOutcome) -> Latched:
        """With one more answer as the newest; its id may be known already."""
        others = tuple(known for known in self.outcomes if known.request_id != outcome.request_id)
        gone = tuple(mark_of(known.request_id) for known in others[: max(0, len(others) + 1 - MAX_OUTCOMES)])
        kept = tuple(mark for mark in self.forgotten if mark not in gone)
        return msgspec.structs.replace(
            self, outcomes=(*others[len(gone) :], outcome), forgotten=(*kept, *gone)[-MAX_FORGOTTEN:]
        )

    def asked_again(self, request_id: RequestId) -> Latched:
        """With the id as the newest of its kind, so that one which is still repeated is never forgotten."""
        known = self.outcome_of(request_id)
        if known is not None:
            return self.with_outcome(known)
        mark = mark_of(request_id)
        return msgspec.structs.replace(self, forgotten=(*(other for other in self.forgotten if other != mark), mark))


def mark_of(request_id: RequestId) -> str:
    """A short stand-in for an id of any length: 64 bits of its SHA-256, hexadecimal."""
    return hashlib.sha256(request_id.encode()).hexdigest()[:16]


class Pending(msgspec.Struct, frozen=True, gc=False):
    """A breach seen once, waiting for a second snapshot to confirm it."""

    key: str
    sequence: int
    time: datetime
    breach: Breach


class Memory(msgspec.Struct, frozen=True, gc=False):
    """Everything at one instant. Only functions of ``breakwater.domain.emergency_stop`` make new ones."""

    latched: Latched
    since: datetime
    """Market time at which this process began to listen."""
    snapshot: Snapshot | None = None
    snapshot_problem: str = ""
    """Why the newest snapshot could not be used, or not be judged in full; empty when it could."""
    pending: tuple[Pending, ...] = ()
    peaks: dict[Trigger, Decimal] = {}
    """The worst measured of each trigger since the trip."""
    seen_flat: bool = False
    """A snapshot without positions was seen since the cooldown began."""
    venue_time: datetime | None = None
    """Time of the last account report: a successful round trip to the venue."""
    open_reports: int = 0
    """Account reports in a row that showed positions although the venue had confirmed none."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """New memory, and what happened on the way."""

    memory: Memory
    facts: tuple[Fact, ...] = ()


def rules_in_force(latched: Latched, asked: StopRules | None) -> StopRules | None:
    """Between a trip and the re-arm the strictest rules since the trip; otherwise what is asked. None: no policy known yet."""
    if latched.state not in STOPPED:
        return asked
    return latched.held or asked


def daily_drawdown_pct(snapshot: Snapshot, rebase: Rebase | None) -> Decimal:
    """The snapshot's drawdown; after a re-base of its day, measured from there while the portfolio has not heard of it.

    Once it has, its own baseline counts: that one moves with transfers.
    """
    if rebase is None or rebase.day != snapshot.baseline_day or 0 < rebase.epoch <= snapshot.rebase_epoch:
        return snapshot.daily_drawdown_pct
    return max(ZERO, rebase.equity - snapshot.equity) / rebase.equity * HUNDRED


def cannot_be(time: datetime, now: datetime) -> bool:
    """Whether something cannot have happened at ``time``, by our clock."""
    return time.tzinfo is None or time - now > MOST_AHEAD


def unusable(snapshot: Snapshot, rules: StopRules | None, now: datetime) -> str:
    """Why ``snapshot`` cannot be judged; empty when it can. Not a number is never 'below the limit', nor the future fresh."""
    if snapshot.time.tzinfo is None:
        return f"snapshot {snapshot.sequence} does not say in which zone its time is"
    if snapshot.time > now and (ahead := snapshot.time - now) > (rules.stale_after / 5 if rules else MOST_AHEAD):
        return f"snapshot {snapshot.sequence} is {ahead.total_seconds():.0f} s ahead of the clock: one of the clocks is wrong"
    if not (
        snapshot.wallet.is_finite()
        and snapshot.equity.is_finite()
        and snapshot.unrealised_pnl.is_finite()
        and snapshot.baseline.is_finite()
        and snapshot.daily_drawdown_pct.is_finite()
        and snapshot.open_loss_pct.is_finite()
    ):
        for name in ("wallet", "equity", "unrealised_pnl", "baseline", "daily_drawdown_pct", "open_loss_pct"):
            if not getattr(snapshot, name).is_finite():
                return f"snapshot {snapshot.sequence}: {name} is {getattr(snapshot, name)}"
    if snapshot.baseline <= ZERO:
        return f"snapshot {snapshot.sequence}: the day's baseline is {snapshot.baseline}, it must be positive"
    return ""
