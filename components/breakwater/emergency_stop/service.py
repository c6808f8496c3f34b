"""The emergency stop as a component: it alone decides the state. Memory first, then the latch on disk, then the bus.

Judging never waits for the bus: what has to be announced is handed to one publishing task. While the bus or this process is
silent, the lease runs out and everybody else goes reduce-only by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from msgspec.structs import replace

from breakwater.domain import emergency_stop as machine
from breakwater.domain.emergency_stop import ITSELF
from breakwater.domain.orders import OrderRole
from breakwater.domain.stop_facts import Fact, Noted, Transition
from breakwater.domain.stop_memory import Latched, Memory, Step
from breakwater.domain.stop_reset import Missing, missing_for_reset
from breakwater.domain.stop_rules import StopRules, stop_rules
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopState, StopView
from breakwater.domain.stop_view import next_deadline, reduce_only_reason, stop_view
from breakwater.emergency_stop.audit import is_for_record
from breakwater.emergency_stop.latch import Finding, LatchContent, LatchReading
from breakwater.emergency_stop.messages import from_copy, log_facts, payload_of
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
from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)

NAME = "emergency_stop"
LEASE_SECONDS = Decimal(1)
BROADCAST_SECONDS = 0.3
"""Infrastructure time between two leases, and how long a start listens for copies before it speaks."""

_HAIR = timedelta(milliseconds=1)
_Work = Callable[[Memory, StopRules | None, datetime], Step]


class EmergencyStopService(Service):
    """Subscribes when made; ``start`` restores. Whoever assembles the component starts and stops the bus."""

    name = NAME

    def __init__(self, context: ComponentContext) -> None:
        super().__init__()
        self._context, self._bus, self._clocks = context, context.bus, context.clocks
        self._recorder = Recorder(context.disk)
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
        self._reading = LatchReading(Finding.ABSENT)
        self._audit_epoch = 0
        self._unfinished: LatchContent | None = None
        self._disk_trouble = ""
        self._sequence = 0
        self._sent_closed: bool | None = None
        self.progress = 0
        """Snapshots judged."""
        self._bus.subscribe(
            self._guard(self._on_snapshot), producers=("portfolio",), types=(PortfolioUpdated,), group=None
        )
        self._bus.subscribe(
            self._guard(self._on_execution),
            producers=("execution",),
            types=(OrderSubmitted, OrderFailed, AccountReported, FlatConfirmed),
            group=NAME,
        )
        self._bus.subscribe(self._guard(self._on_policy), producers=("policy",), types=(PolicyUpdated,), group=None)
        self._bus.watch_state(self._guard(self._on_lease), types=(StopLease,))

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
        }

    # ------------------------------------------------------------------------------------------------ for people

    async def submit(self, request: StopRequest) -> RequestOutcome:
        """Answer a person's request, exactly once per id. Raises DiskError when the answer could not be made durable: ask again."""
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
        position = (event.epoch, event.sequence)
        match event.payload:
            case OrderSubmitted(role=OrderRole.ENTRY):
                await self._take(lambda m, r, now: machine.on_execution_outcome(m, position, None, r, now))
            case OrderFailed(counts_as_error=True) as failed:
                text = f"{failed.symbol} {failed.role.value}: {failed.code} {failed.text}"
                await self._take(lambda m, r, now: machine.on_execution_outcome(m, position, text, r, now))
            case AccountReported() as report:
                held = sum(1 for held in report.positions if held.quantity)
                await self._take(lambda m, r, now: machine.on_account(m, report.time, held, r, now))
            case FlatConfirmed() as flat:
                orders = flat.open_orders + flat.open_algo_orders
                await self._take(
                    lambda m, _, now: machine.on_flat(
                        m, flat.trip_id, flat.epoch, flat.time, positions=flat.positions, open_orders=orders, now=now
                    )
                )
            case _:
                pass

    async def _on_policy(self, event: Event) -> None:
        await self._take(lambda memory, rules, now: Step(memory))
        self._deadline_moved.set()

    async def _on_lease(self, event: Event) -> None:
        """A copy of our state, normally our own echo. One with a higher epoch tells what a lost or old volume does not."""
        assert isinstance(event.payload, StopLease)
        view = event.payload.view
        if event.producer != NAME or view.epoch <= self._memory.latched.epoch:
            return
        if not self._settled.is_set():
            self._copy = view
            return
        async with self._lock:
            now = self._clocks.market.now()
            if view.epoch > self._memory.latched.epoch:
                old = self._memory.latched
                text = f"a broadcast copy has epoch {view.epoch} ({view.state.value}), the latch {old.epoch}"
                latched = from_copy(view, old) if view.state.strictness > old.state.strictness else old
                memory = machine.started(replace(latched, epoch=view.epoch), now)
                await self._commit(Step(memory, (Noted("copy_ahead", now, text),)))

    def _guard(self, handler: Callable[[Event], Awaitable[None]]) -> Callable[[Event], Awaitable[None]]:
        """A handler that fails for another reason than the disk has a bug: stop broadcasting rather than judge wrongly."""

        async def guarded(event: Event) -> None:
            try:
                await handler(event)
            except DiskError:
                raise  # unacknowledged: the bus offers it again
            except Exception as error:
                self.fail(error)
                raise

        return guarded

    # ------------------------------------------------------------------------------------------------ one input

    async def _take(self, work: _Work) -> None:
        """Apply one input: inputs are taken one after the other, each on what the one before left durable."""
        await self._settled.wait()
        async with self._lock:
            await self._refresh_rules()
            await self._commit(work(self._memory, self._rules, self._clocks.market.now()))

    async def _refresh_rules(self) -> None:
        policy = self._context.policy.current()
        if policy is None:
            return  # what is known stays in force
        rules = stop_rules(policy.stop, policy.limits, policy.policy.trading_mode)
        if rules == self._rules:
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
        if not for_record and _durable(before) == _durable(after):
            self._memory = self._visible = step.memory
            log_facts(step.facts)
            self._announce_if_changed()
            return
        tripping = after.state is StopState.TRIPPED and after.epoch > before.epoch
        old = self._memory
        if not (before.stopped and not after.stopped):
            self._memory = step.memory  # a re-arm alone waits for the disk
        try:
            self._unaudited.extend(for_record)
            facts = [fact for fact in step.facts if payload_of(fact) is not None]
            self._unfinished = await self._recorder.latch(after, self._unaudited, [*self._outbox, *facts])
            self._unaudited.clear()
            self._marked_unpublished = bool(self._outbox or facts)
        except DiskError as error:
            if not tripping:
                self._memory = old
                del self._unaudited[len(self._unaudited) - len(for_record) :]
                raise
            self._disk_trouble = str(error)
            log.critical("tripped, but the latch cannot be written", error=str(error))
        self._memory = self._visible = step.memory
        log_facts(step.facts)
        self._outbox.extend(facts)
        self._wake.set()
        self._deadline_moved.set()
        await asyncio.sleep(0)  # let the lease go out before the second half of the paperwork
        await self._finish()

    async def _finish(self) -> None:
        if self._unfinished is None:
            return
        try:
            await self._recorder.finish(self._unfinished)
        except DiskError as error:
            self._disk_trouble = str(error)
            log.error("audit or second latch copy cannot be written", error=str(error))
        else:
            self._unfinished = None

    def _announce_if_changed(self) -> None:
        closed = bool(reduce_only_reason(self._memory, self._rules, self._clocks.market.now()))
        if closed is not self._sent_closed:
            self._wake.set()

    # ------------------------------------------------------------------------------------------------ out

    async def _run(self) -> None:
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
            await self._mend()
            if not self._wake.is_set():
                await either(self._wake, self._clocks.infra.sleep(BROADCAST_SECONDS))

    async def _settle(self) -> None:
        """Choose among the copies: the highest epoch wins, on a tie the stricter; none readable: closed."""
        now, reading, copy = self._clocks.market.now(), self._reading, self._copy
        facts: list[Fact] = [Noted("latch_damaged", now, problem) for problem in reading.problems]
        if not self._recorder.audit.ok:
            facts.append(Noted("audit_damaged", now, self._recorder.audit.problem))
        latched = self._memory.latched
        if copy is not None and copy.epoch > max(latched.epoch, self._audit_epoch - 1):
            facts.append(Noted("copy_ahead", now, f"the state was taken from a broadcast copy of epoch {copy.epoch}"))
            latched = from_copy(copy, latched)
        elif reading.finding is Finding.UNREADABLE:
            epoch = max(self._audit_epoch, copy.epoch if copy else 0) + 1
            why = f"no readable copy of the latch ({'; '.join(reading.problems)}): what was before is unknown"
            latched = machine.unknown_state(epoch, why, now)
            facts.append(Transition(StopState.ARMED, latched.state, epoch, now, ITSELF, why, latched.trip))
        if facts or latched != self._memory.latched:
            await self._commit(Step(machine.started(latched, now), tuple(facts)))

    async def _send_lease(self) -> None:
        self._sequence += 1
        view = self.view()
        try:
            await self._bus.set_state(StopLease(view), time=self._clocks.market.now())
        except BusUnavailable as error:
            if self._sent_closed is not None:
                log.warning("the lease cannot be broadcast: everybody goes reduce-only", error=str(error))
            self._sent_closed = None
        else:
            self._sent_closed = view.reduce_only

    async def _send_facts(self) -> None:
        while self._outbox:
            payload = payload_of(self._outbox[0])
            try:
                if payload is not None:
                    await self._bus.publish(payload, time=self._clocks.market.now())
            except BusUnavailable:
                return  # kept, also in the latch; the next round tries again
            self._outbox.popleft()

    async def _mend(self) -> None:
        """Write down that everything is published; after disk trouble, try again to write what is not durable yet."""
        if not self._disk_trouble and (self._outbox or not self._marked_unpublished):
            return
        async with self._lock:
            try:
                if self._unfinished is None:
                    self._unfinished = await self._recorder.latch(
                        self._memory.latched, self._unaudited, list(self._outbox)
                    )
                    self._unaudited.clear()
                await self._recorder.finish(self._unfinished)
            except DiskError as error:
                self._disk_trouble = str(error)
                return
            self._unfinished, self._disk_trouble = None, ""
            self._marked_unpublished = bool(self._outbox)

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


def _durable(latched: Latched) -> Latched:
    """What a write is worth: not the order of the kept answers, nor outcomes that changed no count."""
    return replace(latched, execution_seen=(0, 0), outcomes=())
