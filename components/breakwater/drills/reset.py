"""The reset drill: a paper desk is tripped by a falling market, and a person asks for the reset in every wrong way before the right one.

Each request is answered exactly once. What may not re-arm the stop must be refused with its code, whatever comes later; of two
proper requests at once exactly one wins; the audit holds all of it. Rules and report: docs/reference/drills.md.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from breakwater.desk.desk import Desk
from breakwater.desk.observer import Observer
from breakwater.desk.ports import PAPER_CREDENTIALS
from breakwater.desk.sources import desk_manifests, restricted_to, signal_source
from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId, RequestId, TripId
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_requests import ACCEPTED
from breakwater.domain.stop_state import RequestOutcome, StopRequest, StopRequestKind, StopState, Trip
from breakwater.drills.crash import STARTING_EQUITY, SYNTHETIC_SYMBOLS
from breakwater.drills.report import ResetAnswer, ResetDrillReport, trip_report
from breakwater.drills.stages import LEAD, Stage, memory_stage, wall_stage
from breakwater.emergency_stop.audit import FILE as AUDIT_FILE
from breakwater.emergency_stop.verify import Verdict, check_trail
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.config import AccountConfig, VenueConfig, spec_for
from breakwater.paper_venue.markets import SyntheticMarket
from breakwater.simulation.run import Simulation, run_virtual

DESK = DeskId("drill")
START = datetime(2025, 10, 10, 20, tzinfo=UTC)
CRASH_AFTER = timedelta(minutes=5)
LONGEST = timedelta(hours=2)
"""Market time after which a desk that did not trip or re-arm has failed the drill."""
WHO = "drill"
OPENS_SECONDS = 30.0
"""Infrastructure seconds that the gate gets to open again after the re-arm."""


@dataclass(frozen=True)
class ResetOptions:
    """``seed`` is the market's; ``speed``: ``max`` in virtual time and memory, a number on a real Valkey and HTTP."""

    seed: int = 1
    speed: float | Literal["max"] = "max"


def run_reset(options: ResetOptions) -> ResetDrillReport:
    """Run the drill to its end; the verdict is in the report."""
    market = SyntheticMarket(options.seed, SYNTHETIC_SYMBOLS, START, crash_at=START + CRASH_AFTER)
    config = VenueConfig(
        symbols=tuple(spec_for(symbol) for symbol in market.symbols),
        accounts=(
            AccountConfig(DESK, PAPER_CREDENTIALS.api_key, PAPER_CREDENTIALS.secret, starting_balance=STARTING_EQUITY),
        ),
    )
    if options.speed == "max":

        async def in_memory(simulation: Simulation) -> ResetDrillReport:
            async with memory_stage(simulation, market, config, desk=DESK, data=DataKind.SYNTHETIC) as stage:
                return await _Drill(stage).run()

        return run_virtual(in_memory, seed=1, start=START - LEAD)
    speed = float(options.speed)

    async def on_the_wall() -> ResetDrillReport:
        async with wall_stage(market, config, desk=DESK, data=DataKind.SYNTHETIC, start=START, speed=speed) as stage:
            return await _Drill(stage).run()

    return asyncio.run(on_the_wall())


class _Drill:
    def __init__(self, stage: Stage) -> None:
        self._stage, self._clocks = stage, stage.ports.clocks
        self._desk = Desk(
            stage.ports, [signal_source("long", stage.ports.clocks.infra)], end_signals_at_first_trip=True
        )
        self._observer = Observer(stage.ports.bus("drill"))
        self._answers: list[ResetAnswer] = []
        self._problems: list[str] = []
        self._gate_after = "not seen"
        self._rearmed: RequestOutcome | None = None

    async def run(self) -> ResetDrillReport:
        began = time.perf_counter()
        await self._observer.start()
        chosen = desk_manifests(profile=None, policy=None, stop=None)
        await self._desk.start(restricted_to(chosen, SYNTHETIC_SYMBOLS, extend=True), who=WHO)
        person = asyncio.ensure_future(self._person())
        others = [asyncio.ensure_future(self._desk.run()), asyncio.ensure_future(self._stage.drive(START + LONGEST))]
        try:
            await asyncio.wait([person, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in (person, *others):
                if task.done():
                    task.result()
            if not person.done():
                self._problems.append("the market ended before the desk had tripped, cooled down and re-armed")
            return self._report(time.perf_counter() - began)
        finally:
            for task in (person, *others):
                task.cancel()
            await asyncio.gather(person, *others, return_exceptions=True)
            await self._desk.stop()
            await self._observer.stop()

    async def _person(self) -> None:
        """Every wrong way to ask, in the order in which the stop comes to them; then the right one, twice at once."""
        seen = self._observer
        await seen.wait_for(lambda: seen.cooling is not None and seen.lease is not None)
        trip = self._trip
        assert trip is not None
        this = trip.trip_id
        await self._expect("no-reason", RefusalCode.REQUEST_INVALID, this, reason=" ")
        await self._expect("cooling-down", RefusalCode.RESET_COOLING_DOWN, this, new_baseline=True)
        assert seen.lease is not None
        until = seen.lease.view.cooling_down_until or self._clocks.market.now()
        await self._clocks.market.sleep_until(until + timedelta(seconds=1))
        await self._expect("old-trip", RefusalCode.TRIP_ID_MISMATCH, TripId("t0-drill"), new_baseline=True)
        await self._expect("cause-stands", RefusalCode.RESET_CAUSE_NOT_GONE, this)
        await self._expect(
            "cooling-down", RefusalCode.RESET_COOLING_DOWN, this, case="refused-id-again", new_baseline=True
        )
        both = await asyncio.gather(
            self._ask("first-of-two", this, new_baseline=True), self._ask("second-of-two", this, new_baseline=True)
        )
        self._judge_two(both)
        if self._rearmed is None:
            return
        again = await self._ask(self._rearmed.request_id, this, new_baseline=True)
        self._note("accepted-id-again", again, self._rearmed.code)
        if again != self._rearmed:
            self._problems.append("accepted-id-again: a repeated request did not get its first answer")
        await self._gate_opens()

    async def _expect(
        self,
        request: str,
        code: RefusalCode,
        trip: TripId,
        *,
        reason: str = "reset drill",
        new_baseline: bool = False,
        case: str = "",
    ) -> None:
        answer = await self._ask(request, trip, reason=reason, new_baseline=new_baseline)
        self._note(case or request, answer, code.value)

    def _note(self, case: str, answer: RequestOutcome, expected: str) -> None:
        self._answers.append(ResetAnswer(case, answer.accepted, answer.code, expected, answer.text))
        if answer.code != expected:
            self._problems.append(f"{case}: answered {answer.code}, not {expected}: {answer.text}")

    def _judge_two(self, both: tuple[RequestOutcome, RequestOutcome]) -> None:
        winners = [answer for answer in both if answer.accepted]
        for name, answer in zip(("first-of-two", "second-of-two"), both, strict=True):
            won = bool(winners) and answer is winners[0]
            self._note(name, answer, ACCEPTED if won else RefusalCode.RESET_NOT_TRIPPED.value)
        if len(winners) == 1:
            self._rearmed = winners[0]
        else:
            self._problems.append(f"of two proper requests at once {len(winners)} were accepted, not exactly one")

    async def _gate_opens(self) -> None:
        """The lease has to bring the news to execution first."""
        for _ in range(int(OPENS_SECONDS * 10)):
            state, why = self._desk.execution.gate()
            self._gate_after = state.value
            if state is GateState.OPEN:
                return
            await self._clocks.infra.sleep(0.1)
        self._problems.append(f"the gate stays {state.value} after the re-arm: {why.text if why else ''}")

    async def _ask(
        self, request: str, trip: TripId, *, reason: str = "reset drill", new_baseline: bool = False
    ) -> RequestOutcome:
        return await self._desk.emergency_stop.submit(
            StopRequest(StopRequestKind.RESET, RequestId(request), reason, WHO, trip, new_baseline)
        )

    @property
    def _trip(self) -> Trip | None:
        return self._observer.trip.trip if self._observer.trip else None

    def _report(self, duration: float) -> ResetDrillReport:
        trip = self._trip
        risky = 0
        if trip is not None:
            until = to_ms(self._rearmed.time) if self._rearmed else None
            orders = self._stage.venue.audit.risk_increasing_since(to_ms(trip.time))
            risky = sum(1 for order in orders if until is None or order.market_ms <= until)
        if risky:
            self._problems.append(f"{risky} risk-increasing orders were accepted between the trip and the re-arm")
        audit, records = self._audit()
        state = self._desk.stop_state
        if self._rearmed is not None and state is not StopState.ARMED:
            self._problems.append(f"the stop is {state.value if state else 'UNKNOWN'} after the re-arm")
        return ResetDrillReport(
            verdict="FAILED" if self._problems else "PASSED",
            problems=tuple(self._problems),
            trip=trip_report(trip) if trip is not None else None,
            resets=tuple(self._answers),
            accepted=sum(1 for answer in self._answers if answer.accepted and answer.case != "accepted-id-again"),
            rearmed_at=self._rearmed.time if self._rearmed else None,
            gate_after_rearm=self._gate_after,
            risk_increasing_orders_accepted_while_stopped=risky,
            audit=audit,
            audit_records=records,
            state_at_end=state.value if state else "UNKNOWN",
            duration_s=round(duration, 2),
        )

    def _audit(self) -> tuple[str, int]:
        data = self._stage.ports.disk(self._desk.emergency_stop.name).read(AUDIT_FILE) or b""
        trail = self._desk.emergency_stop.trail
        found = check_trail(data, head=trail.signed_head, unsigned_because=trail.signer.problem)
        answered = sum(1 for line in data.splitlines() if b'"kind":"request"' in line)
        asked = len({answer.case for answer in self._answers} - {"accepted-id-again", "refused-id-again"})
        if found.verdict is not Verdict.WHOLE:
            self._problems.append(f"the audit is {found.verdict.value}: {found.problem}")
            return f"{found.verdict.value}: {found.problem}", found.records
        if answered != asked:
            self._problems.append(f"{asked} requests were made and {answered} are in the audit")
            return f"{answered} of {asked} requests", found.records
        return "OK", found.records
