"""Who may send to the venue next. Requests wait in lanes: exits and cancels, protection, entries, queries; first come, first
served within a lane. A later request overtakes an earlier one only if it takes nothing of what that one waits for.

Several processes of one address share the limits through a ``SharedBudget``. While that does not answer, each keeps to its part;
exits always go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from breakwater.domain.rate_budget import Cost, Lack, Lane, RateBudget, Resource, VenueLimits
from breakwater.exchange.wire import LOAD_CODES, SHUT_OUT, Reply, binance_error, number_in
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.rate_sharing import Granted, SharedBudget

log = structlog.get_logger(__name__)

READING_PAUSES = ((0.8, 5.0), (0.6, 2.0), (0.4, 1.0))
"""From this share of the weight on, readings of the account are this many seconds apart."""
BAN_PAUSE_S = 60.0
BUSY_PAUSE_S = 1.0
"""How long to keep away when the venue does not say."""
PATIENCE_S = {Lane.EXITS: 1.0, Lane.PROTECTION: 1.0, Lane.ENTRIES: 60.0, Lane.QUERIES: 5.0}
"""What would wait longer is refused at once, and its owner goes on with something else."""
SHORTEST_WAIT_S = 0.001
"""Waits shorter than the clock's own grain would never end."""
LOOK_AGAIN_S = 1.0
"""How long after it last failed the shared budget is asked again."""
UNHEARD_MEMBERS = 4
"""Processes that share the limits, as long as the shared budget has never said how many there are."""
TOLD_APART = 50
"""The shared budget hears the venue's count of weight when it is off by as much."""
HANGS_S = 0.05
"""What reduces risk waits so long for the shared budget: about the time in which a token comes."""
TOO_MANY = frozenset({-1003, -1015})

current_lane: ContextVar[Lane] = ContextVar("current_lane", default=Lane.QUERIES)
"""What requests made in this context are for."""


class PausedError(Exception):
    """Not to be sent: the venue told us to keep away, or its limits leave no room, for ``wait_s`` more seconds."""

    def __init__(self, text: str, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = wait_s


@contextmanager
def in_lane(lane: Lane) -> Iterator[None]:
    """Requests made inside, and in tasks begun inside, go in ``lane``."""
    token = current_lane.set(lane)
    try:
        yield
    finally:
        current_lane.reset(token)


@dataclass
class _Waiting:
    number: int
    lane: Lane
    cost: Cost
    turn: asyncio.Future[None] = field(repr=False)
    waited: bool = False

    @property
    def place(self) -> tuple[Lane, int]:
        """The lowest goes first."""
        return self.lane, self.number


class Governor:
    """One for all clients of a process that reach the venue from one address. Times are of the infrastructure clock."""

    def __init__(
        self, clock: InfraClock, *, limits: VenueLimits | None = None, shared: SharedBudget | None = None
    ) -> None:
        self._clock = clock
        self._limits = limits or VenueLimits()
        self._budget = RateBudget(self._limits, clock.monotonic())
        self._shared = shared
        self._shared_from = 0.0
        """When the shared budget may be asked again."""
        self._alone = False
        """The shared budget does not answer."""
        self._asking = False
        """Somebody's request waits for its answer."""
        self._members = UNHEARD_MEMBERS
        self._shared_weight = 0
        self._paused_until = self._busy_until = self._banned_until = 0.0
        self._groups: dict[tuple[Lane, Resource], deque[_Waiting]] = {}
        self._numbers = 0
        self._changed = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self.on_ban: list[Callable[[], object]] = []
        """Called when a ban begins."""
        self.bans = 0
        self.waits = dict.fromkeys(Lane, 0)
        """Requests that had to wait, by lane."""

    # ------------------------------------------------------------------------------------------------ asking

    async def take(self, cost: Cost, lane: Lane) -> None:
        """Return when the request may go; it is counted then. Raises PausedError when it must not be sent for now."""
        refused = self._refused(lane)
        if refused is not None:
            raise refused
        if self._shared is None and not any(self._groups.values()):
            lack = self._lack(lane, cost)
            if lack is None:
                self._budget.charge(cost, *self._now())
                return
            if lack.wait_s > PATIENCE_S[lane]:
                raise _no_room(lack)
        waiting = _Waiting(self._numbers, lane, cost, asyncio.get_running_loop().create_future())
        self._numbers += 1
        self._groups.setdefault((lane, cost.needs), deque()).append(waiting)
        self._changed.set()
        if self._serving is None or self._serving.done():
            self._serving = asyncio.ensure_future(self._serve())
        try:
            if self._shared is not None and lane <= Lane.PROTECTION:
                await asyncio.wait({waiting.turn}, timeout=HANGS_S)
                # Whoever keeps the shared budget is silent: what reduces risk goes by our own.
                if not waiting.turn.done() and self._asking and self._budget.take(lane, cost, *self._now()) is None:
                    waiting.turn.cancel()
                    return
            await waiting.turn
        except asyncio.CancelledError:
            waiting.turn.cancel()
            self._changed.set()
            raise

    def pause_s(self) -> float:
        """Seconds the venue told us to keep away for."""
        return max(0.0, max(self._paused_until, self._busy_until) - self._clock.monotonic())

    def ban(self) -> str:
        """Why and until when this address is shut out; empty when it is not."""
        left = self._banned_until - self._clock.monotonic()
        if left <= 0:
            return ""
        until = self._clock.utc_now() + timedelta(seconds=left)
        return (
            f"the venue shut this address out until {until:%Y-%m-%d %H:%M:%S} UTC; find out what asked too often and stop "
            "other programs on this address or key, then wait: nothing is sent before, and entries open by themselves"
        )

    def reading_pause_s(self) -> float:
        """Seconds to leave between readings of the account: the more of this minute's weight is used, the longer."""
        used = self._budget.used_weight(*self._now()) / self._limits.weight_per_minute
        return next((pause for share, pause in READING_PAUSES if used >= share), 0.0)

    # ------------------------------------------------------------------------------------------------ learning

    def note(self, reply: Reply) -> None:
        """Learn from a reply: how much the venue has counted, and whether it wants us to keep away."""
        headers = reply.headers
        weight = number_in(headers, "x-mbx-used-weight-1m", int)
        now, utc_s = self._now()
        self._budget.heard(
            weight,
            number_in(headers, "x-mbx-order-count-10s", int),
            number_in(headers, "x-mbx-order-count-1m", int),
            now,
            utc_s,
        )
        pause_s, banned = 0.0, reply.status in SHUT_OUT
        if reply.status >= 400:
            code, text = binance_error(reply.body)
            told = number_in(headers, "retry-after", float)
            if banned:
                pause_s = told or BAN_PAUSE_S
                self.bans += 1
                log.error(
                    "the venue shut this address out: find out what asked too often, and stop other programs on its key",
                    http_status=reply.status,
                    retry_after_s=told,
                    message=text,
                )
            elif reply.status == 429 or code in TOO_MANY:
                pause_s = told or BUSY_PAUSE_S
            elif code in LOAD_CODES:
                # The venue is busy with others; it takes what reduces a position all the same.
                self._busy_until = max(self._busy_until, now + (told or BUSY_PAUSE_S))
        if pause_s:
            self._keep_away(pause_s, banned=banned)
        if pause_s or (weight is not None and weight >= self._shared_weight + TOLD_APART):
            self._tell(weight or 0, pause_s, banned=banned)

    def _keep_away(self, seconds: float, *, banned: bool) -> None:
        until = self._clock.monotonic() + seconds
        self._paused_until = max(self._paused_until, until)
        self._changed.set()
        if banned:
            began = self._banned_until <= self._clock.monotonic()
            self._banned_until = max(self._banned_until, until)
            if began:
                for hear in self.on_ban:
                    hear()

    def _tell(self, weight: int, pause_s: float, *, banned: bool) -> None:
        shared = self._shared
        if shared is None or self._alone:
            return
        self._shared_weight = max(self._shared_weight, weight)

        async def tell() -> None:
            try:
                await shared.heard(weight, pause_s, banned=banned)
            except StoreUnavailable as error:
                self._lost(error)

        telling = asyncio.ensure_future(tell())
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    # ------------------------------------------------------------------------------------------------ serving

    async def _serve(self) -> None:
        """Until nobody waits."""
        while any(self._groups.values()):
            self._changed.clear()
            wait_s = await self._round()
            if any(self._groups.values()):
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(wait_s, SHORTEST_WAIT_S)):
                        await self._changed.wait()

    async def _round(self) -> float:
        """Let go whoever may. Returns the seconds until somebody else may, if nothing changes before."""
        short = Resource.NONE
        soonest = float("inf")
        while (group := self._next_group(short)) is not None:
            first = group[0]
            refused = self._refused(first.lane)
            lack = None if refused else await self._ask(first)
            if lack is not None:  # the shared budget may have told of a ban just now
                refused = self._refused(first.lane) or (
                    _no_room(lack) if lack.wait_s > PATIENCE_S[first.lane] else None
                )
            if lack is not None and refused is None:
                short |= lack.resource
                soonest = min(soonest, lack.wait_s)
                if not first.waited:
                    first.waited = True
                    self.waits[first.lane] += 1
                continue
            group.popleft()
            if first.turn.done():
                continue
            if refused is None:
                first.turn.set_result(None)
            else:
                first.turn.set_exception(refused)
        return soonest

    def _next_group(self, short: Resource) -> deque[_Waiting] | None:
        """The group whose first is next, among those that take nothing of what is short."""
        best: deque[_Waiting] | None = None
        for (_, needs), group in self._groups.items():
            while group and group[0].turn.done():
                group.popleft()
            if group and not needs & short and (best is None or group[0].place < best[0].place):
                best = group
        return best

    async def _ask(self, waiting: _Waiting) -> Lack | None:
        """None: it may go, and is counted."""
        lane, cost, shared = waiting.lane, waiting.cost, self._shared
        lack = self._lack(lane, cost)
        if lack is not None:
            return lack
        if shared is not None and self._may_ask(lane):
            self._asking = True
            try:
                granted = await shared.take(lane, cost)
            except StoreUnavailable as error:
                self._lost(error)
                lack = self._lack(lane, cost)
            else:
                lack = self._found(granted, cost)
            finally:
                self._asking = False
        if lack is None:
            self._budget.charge(cost, *self._now())
        return lack

    def _lack(self, lane: Lane, cost: Cost) -> Lack | None:
        """By what this process knows."""
        if lane is Lane.ENTRIES and (pause_s := self.pause_s()) > 0:
            return Lack(cost.needs, pause_s)
        return self._budget.lack(lane, cost, *self._now())

    def _refused(self, lane: Lane) -> PausedError | None:
        """While the venue wants to be left alone nothing is sent: it answers nothing, and asking makes it longer.

        Entries wait for the end, unless it is far.
        """
        now = self._clock.monotonic()
        left = self._paused_until - now
        if left <= 0 or (lane is Lane.ENTRIES and left <= PATIENCE_S[lane] and self._banned_until <= now):
            return None
        return PausedError(self.ban() or f"the venue wants no request for another {left:.1f} s; not sent", left)

    # ------------------------------------------------------------------------------------------------ sharing

    def _may_ask(self, lane: Lane) -> bool:
        """Whether somebody answers; it is for others than exits to find out."""
        if not self._alone:
            return True
        return lane > Lane.PROTECTION and self._clock.monotonic() >= self._shared_from

    def _found(self, granted: Granted, cost: Cost) -> Lack | None:
        self._members, self._shared_weight = max(1, granted.members), granted.weight
        # Of this request too, which is counted when it goes.
        self._budget.heard(max(0, granted.weight - cost.weight), None, None, *self._now())
        if self._alone:
            self._alone = False
            self._budget.whole()
            log.info("the rate limits are shared again", processes=self._members)
        if granted.pause_s > 0:
            self._keep_away(granted.pause_s, banned=granted.banned)
            return Lack(cost.needs, granted.pause_s)
        return granted.lack

    def _lost(self, error: StoreUnavailable) -> None:
        now = self._clock.monotonic()
        self._shared_from = now + LOOK_AGAIN_S
        if not self._alone:
            self._alone = True
            self._budget.shrink(1 / self._members, now)
            log.warning(
                "the rate limits are not shared: this process keeps to its part", of=self._members, why=str(error)
            )

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.utc_now().timestamp()


def _no_room(lack: Lack) -> PausedError:
    what = str(lack.resource.name).lower()
    return PausedError(f"the venue's limit on {what} leaves no room for another {lack.wait_s:.1f} s", lack.wait_s)
