"""The emergency stop as a component: it alone decides the state. Memory first, then the latch on disk, then the bus.

Judging never waits for the bus: what has to be announced is handed to one publishing task. While the bus or this process is
silent, the lease runs out and everybody else goes reduce-only by themselves.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import structlog

from breakwater.domain import emergency_stop as machine
from breakwater.domain.stop_facts import Fact
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_memory import Latched, Step
from breakwater.domain.stop_reset import Missing, missing_for_reset
from breakwater.domain.stop_rules import StopRules, stop_rules
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopState, StopView
from breakwater.domain.stop_view import Measured, measured_now, next_deadline, reduce_only_reason, stop_view
from breakwater.emergency_stop.audit import is_for_record
from breakwater.emergency_stop.boot import choose, is_ahead, overtaken
from breakwater.emergency_stop.heads import HeadSigner
from breakwater.emergency_stop.inputs import Work, outcomes_missing, work_of
from breakwater.emergency_stop.latch import Finding, LatchContent, LatchReading, durable
from breakwater.emergency_stop.messages import log_facts, payload_of
from breakwater.emergency_stop.recorder import Recorder
from breakwater.emergency_stop.waiting import either
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import (
    AccountReported,
    Event,
    FlatConfirmed,
    OrderFailed,
    OrderSubmitted,
    PolicyUpdated,
    PortfolioUpdated,
    StopLease,
)
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

NAME = "emergency_stop"
LEASE_SECONDS = Decimal(1)
BROADCAST_SECONDS = 0.3
"""Infrastructure time between two leases, and how long a start listens for copies before it speaks."""
PATIENCE_SECONDS = 1.0
"""Infrastructure time after which an input that still waits to be judged closes the lease."""
ANSWER_SECONDS = 5.0
"""How long a person's request waits for a stop that is still starting."""

_HAIR = timedelta(milliseconds=1)


class EmergencyStopService(Service):
    """Subscribes when made; ``start`` restores. Whoever assembles the component starts and stops the bus."""

    name = NAME

    def __init__(self, context: ComponentContext, *, entropy: Callable[[int], bytes] = secrets.token_bytes) -> None:
        super().__init__()
        self._context, self._bus, self._clocks = context, context.bus, context.clocks
        self._recorder = Recorder(context.disk, context.desk, HeadSigner(context.disk, entropy))
        self._memory = machine.started(Latched(), context.clocks.market.now())
        self._visible = self._memory
        """What may be announced: equal to the memory once that is durable."""
        self._rules: StopRules | None = None
        self._lock = asyncio.Lock()
        self._settled = asyncio.Event()
        self._wake = asyncio.Event()
        self._deadline_moved = asyncio.Event()
        self._outbox: deque[Fact] = deque()
        self._unaudited: list[Fact] = []
        self._marked_unpublished = False
        """The latch on disk names facts as not published yet."""
        self._copy: StopView | None = None
        self._kept_head: StopHead | None = None  # the audit's end as the bus kept it
        self._reading = LatchReading(Finding.ABSENT)
        self._audit_epoch = self._sequence = 0
        self._unfinished: LatchContent | None = None
        self._disk_trouble = ""
        self._mending: asyncio.Task[None] | None = None
        self._inputs: dict[object, float] = {}
        """When each input that is not judged yet came (infrastructure time), the oldest first."""
        self._sent_closed: bool | None = None
        self.progress = 0
        """Snapshots judged."""
        self._bus.subscribe(
            self.guarded(self._on_snapshot), producers=("portfolio",), types=(PortfolioUpdated,), group=None
        )
        self._bus.subscribe(
            self.guarded(self._on_execution),
            producers=("execution",),
            types=(OrderSubmitted, OrderFailed, AccountReported, FlatConfirmed),
            group=NAME,
        )
        self._bus.watch_gaps(self._on_gap, producers=("execution",))
        self._bus.subscribe(self.guarded(self._on_policy), producers=("policy",), types=(PolicyUpdated,), group=None)
        self._bus.watch_state(self.guarded(self._on_lease), types=(StopLease,))

    # ------------------------------------------------------------------------------------------------ life

    async def start(self) -> None:
        """Read the latch and begin to listen. Raises DiskError when the volume cannot be read at all."""
        self._reading, self._audit_epoch = await self._recorder.restore()
        for problem in self._reading.problems:
            log.error("latch damaged", problem=problem)
        if not self._recorder.audit.ok:
            log.error("audit damaged", problem=self._recorder.audit.problem)
        if self._reading.content is not None:
            self._memory = machine.started(self._reading.content.latched, self._clocks.market.now())
            self._visible = self._memory
            self._outbox.extend(self._reading.content.unpublished)
            self._marked_unpublished = bool(self._outbox)
        self.spawn(self._run(), "publish")

    def readiness(self) -> dict[str, Check]:
        report, problems = self._recorder.audit, "; ".join(self._reading.problems)
        return super().readiness() | {
            "settled": Check(self._settled.is_set(), "" if self._settled.is_set() else "reading the latch"),
            "snapshot": Check(self._memory.snapshot is not None, "" if self._memory.snapshot else "none seen yet"),
            "latch": Check(not self._disk_trouble and not problems, self._disk_trouble or problems),
            "audit": Check(report.ok, report.problem),
            "signing": Check(not self._recorder.signer.problem, self._recorder.signer.problem),
        }

    # ------------------------------------------------------------------------------------------------ for people

    @property
    def settled(self) -> bool:
        """Whether it is known what the stop is: latch and broadcast copies are read."""
        return self._settled.is_set()

    async def submit(self, request: StopRequest) -> RequestOutcome:
        """Answer a person's request, exactly once per id. Raises DiskError when the answer could not be made durable: ask again."""
        if not self.settled:
            await either(self._settled, self._clocks.infra.sleep(ANSWER_SECONDS))
        if not self.settled:
            raise DiskError("the stop is starting and cannot read the copies of its state yet: is the event bus there?")
        await self._take(lambda memory, rules, now: machine.on_request(memory, request, rules, now))
        return machine.answer_to(self._memory, request, self._clocks.market.now())

    def view(self) -> StopView:
        """What would be broadcast now."""
        memory, closed = self._visible, ""
        if not self._settled.is_set():
            closed = "the emergency stop is starting"
        elif self._memory is not memory:
            closed = "a change is being written"
        elif self._disk_trouble:
            closed = f"the latch cannot be written: {self._disk_trouble}"
        elif self._clocks.infra.monotonic() - next(iter(self._inputs.values()), math.inf) > PATIENCE_SECONDS:
            closed = "what came in cannot be judged: evaluation does not get on"
        elif trouble := self._bus.trouble:
            closed = f"what the stop decides may not be kept: {trouble}"
        return stop_view(
            memory,
            self._rules,
            self._clocks.market.now(),
            sequence=self._sequence,
            issued_at=self._clocks.infra.utc_now(),
            lease_seconds=LEASE_SECONDS,
            closed_because=closed,
        )

    def missing(self, request: StopRequest) -> list[Missing]:
        """Everything ``request`` (a reset) would still need at this moment; nothing is recorded."""
        return list(missing_for_reset(self._memory, request, self._rules, self._clocks.market.now()))

    @property
    def outcomes(self) -> tuple[RequestOutcome, ...]:
        """The answers kept, the newest last."""
        return self._memory.latched.outcomes

    @property
    def trail(self) -> Recorder:
        """Audit, last transitions and signed head."""
        return self._recorder

    @property
    def measured(self) -> Measured | None:
        """What the last usable snapshot measured; None before the first."""
        return measured_now(self._memory)

    @property
    def policy(self) -> PolicyInForce | None:
        return self._context.policy.current()

    # ------------------------------------------------------------------------------------------------ events in

    async def _on_snapshot(self, event: Event) -> None:
        assert isinstance(event.payload, PortfolioUpdated)
        snapshot = event.payload.snapshot
        first = self._memory.snapshot is None
        await self._take(lambda memory, rules, now: machine.on_snapshot(memory, snapshot, rules, now))
        self.progress += 1
        if first:
            self._deadline_moved.set()

    async def _on_execution(self, event: Event) -> None:
        if (work := work_of(event)) is not None:
            await self._take(work)

    def _on_gap(self, producer: str) -> None:
        self.spawn(self._take_missing(), "missing-outcomes")

    async def _take_missing(self) -> None:
        while True:
            try:
                return await self._take(outcomes_missing)
            except DiskError as error:  # nobody offers it again
                log.error("missing events of execution cannot be counted yet", error=str(error))
                await self._clocks.infra.sleep(BROADCAST_SECONDS)

    async def _on_policy(self, event: Event) -> None:
        await self._take(lambda memory, rules, now: Step(memory))
        self._deadline_moved.set()

    async def _on_lease(self, event: Event) -> None:
        """A copy of our state, normally our own echo. One with a higher epoch tells what a lost or old volume does not."""
        assert isinstance(event.payload, StopLease)
        view = event.payload.view
        if event.producer != NAME:
            return
        if not self._settled.is_set():
            self._copy, self._kept_head = view, event.payload.head or self._kept_head
        elif is_ahead(view, self._memory.latched):
            async with self._lock:
                if is_ahead(view, self._memory.latched):
                    await self._commit(overtaken(self._memory.latched, view, self._clocks.market.now()))

    # ------------------------------------------------------------------------------------------------ one input

    async def _take(self, work: Work) -> None:
        """Apply one input: inputs are taken one after the other, each on what the one before left durable."""
        await self._settled.wait()
        this = object()
        self._inputs[this] = self._clocks.infra.monotonic()
        try:
            async with self._lock:
                await self._refresh_rules()
                await self._commit(work(self._memory, self._rules, self._clocks.market.now()))
        finally:
            del self._inputs[this]

    async def _refresh_rules(self) -> None:
        policy = self._context.policy.current()
        if policy is None:
            return  # what is known stays in force
        rules = stop_rules(policy.stop, policy.limits, policy.policy.trading_mode, speed=self._clocks.speed)
        if rules == self._rules and not machine.waits_for_rules(self._memory, rules):
            return
        before, self._rules = self._rules, rules
        try:
            await self._commit(machine.on_rules(self._memory, before, rules, self._clocks.market.now()))
        except DiskError as error:
            # Judging goes on under the rules before; the next input tries again.
            self._rules, self._disk_trouble = before, str(error)
            log.error("a change of the spec cannot be made durable: the old one holds", error=str(error))
        self._deadline_moved.set()

    async def _commit(self, step: Step) -> None:
        """Memory, then latch, then announce. Raises DiskError with nothing changed, except that a trip is never held up by a disk."""
        before, after = self._memory.latched, step.memory.latched
        for_record = [fact for fact in step.facts if is_for_record(fact)]
        if not for_record and durable(before) == durable(after):
            self._memory = self._visible = step.memory
            self._announce_if_changed()
            log_facts(step.facts)
            return
        tripping = after.state is StopState.TRIPPED and after.epoch > before.epoch
        old = self._memory
        if not (before.stopped and not after.stopped):
            self._memory = step.memory  # a re-arm alone waits for the disk
            self._announce_if_changed()  # "nothing may be opened" waits for none either
        facts = [fact for fact in step.facts if payload_of(fact) is not None]
        unpublished = [*self._outbox, *facts]
        self._unaudited.extend(for_record)
        self._unfinished = None  # the write before: overtaken by this one, which carries what it did not finish
        try:
            self._unfinished = await self._recorder.latch(after, self._unaudited, unpublished)
            self._unaudited.clear()
            self._marked_unpublished = bool(unpublished)
        except DiskError as error:
            # Whatever is on disk now, ``_mend`` writes what is true over it.
            self._disk_trouble = str(error)
            if not tripping:
                self._memory = old
                del self._unaudited[len(self._unaudited) - len(for_record) :]
                self._wake.set()
                raise
            log.critical("tripped, but the latch cannot be written", error=str(error))
        self._memory = self._visible = step.memory
        log_facts(step.facts)
        self._outbox.extend(facts)
        self._wake.set()
        self._deadline_moved.set()
        await asyncio.sleep(0)  # let the lease go out before the second half of the paperwork
        if self._unfinished is not None:
            try:
                await self._recorder.finish(self._unfinished)
            except DiskError as error:
                self._disk_trouble = str(error)
                log.error("audit or second latch copy cannot be written", error=str(error))
            else:
                self._unfinished = None

    def _announce_if_changed(self) -> None:
        closed = bool(reduce_only_reason(self._memory, self._rules, self._clocks.market.now()))
        if closed and self._sent_closed is False:
            self.spawn(self._send_lease(), "close")  # at once, whatever else is being sent
        elif closed is not self._sent_closed:
            self._wake.set()

    # ------------------------------------------------------------------------------------------------ out

    async def _run(self) -> None:
        listened = False
        while not listened:
            # Without a latch of our own a copy may know of a trip: only a bus that answers can say that there is none.
            listened = self._reading.finding is Finding.FOUND or self._bus.connected
            await self._clocks.infra.sleep(BROADCAST_SECONDS)
        async with self._lock:
            await self._settle()
            await self._refresh_rules()
        self._settled.set()
        self.spawn(self._watch_deadlines(), "deadlines")
        while not self.failed.done():
            self._wake.clear()
            await self._send_lease()
            await self._send_facts()
            if self._can_mend and (self._mending is None or self._mending.done()):
                self._mending = self.spawn(self._mend(), "mend")  # on its own: a slow disk does not hold up the lease
            if not self._wake.is_set():
                await either(self._wake, self._clocks.infra.sleep(BROADCAST_SECONDS))

    async def _settle(self) -> None:
        now = self._clocks.market.now()
        self._recorder.compare(self._kept_head)
        latched, facts = choose(self._reading, self._recorder.audit, self._audit_epoch, self._copy, now)
        facts += self._recorder.key_facts(now)
        if not facts and latched == self._memory.latched:
            return
        step = Step(machine.started(latched, now), facts)
        try:
            await self._commit(step)
        except DiskError:  # closed for as long as this cannot be written, and `_mend` tries
            self._memory = self._visible = step.memory
            self._unaudited.extend(filter(is_for_record, facts))

    async def _send_lease(self) -> None:
        self._sequence += 1
        view = self.view()
        before, self._sent_closed = self._sent_closed, view.reduce_only
        try:
            await self._bus.set_state(StopLease(view, self._recorder.signed_head), time=self._clocks.market.now())
        except BusUnavailable as error:
            if before is not None:
                log.warning("the lease cannot be broadcast: everybody goes reduce-only", error=str(error))
            self._sent_closed = None
        if view.sequence != self._sequence:
            self._wake.set()  # a newer one overtook this: say it again, so that it is also the last that the bus keeps

    async def _send_facts(self) -> None:
        while self._outbox:
            try:
                if (payload := payload_of(self._outbox[0])) is not None:
                    await self._bus.publish(payload, time=self._clocks.market.now())
            except BusUnavailable:
                return  # kept, also in the latch; the next round tries again
            self._outbox.popleft()

    @property
    def _can_mend(self) -> bool:
        return bool(self._disk_trouble) or (self._marked_unpublished and not self._outbox)

    async def _mend(self) -> None:
        """Write down that everything is published; after disk trouble, try again to write what is not durable yet."""
        async with self._lock:
            unpublished = list(self._outbox)
            try:
                if self._unfinished is None:
                    self._unfinished = await self._recorder.latch(self._memory.latched, self._unaudited, unpublished)
                    self._unaudited.clear()
                    self._marked_unpublished = bool(unpublished)
                await self._recorder.finish(self._unfinished)
            except DiskError as error:
                self._disk_trouble = str(error)
                return
            self._unfinished, self._disk_trouble = None, ""

    async def _watch_deadlines(self) -> None:
        """Wakes at the moments when silence alone changes something: market time, no polling."""
        while True:
            self._deadline_moved.clear()
            deadline = next_deadline(self._memory, self._rules, self._clocks.market.now())
            if deadline is None:
                await self._deadline_moved.wait()
                continue
            # A hair later than the deadline: "older than" has become true then.
            await either(self._deadline_moved, self._clocks.market.sleep_until(deadline + _HAIR))
            await self._take(machine.on_time)
            self._announce_if_changed()
