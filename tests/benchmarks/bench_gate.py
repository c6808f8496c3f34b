"""The gate's full check of an entry, and a snapshot's way to a closed gate, against one hop of the event loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace
from tests.benchmarks.harness import Bench, loop_hops, lower, quantile, timed, undisturbed
from tests.benchmarks.samples import ARMED, ENTRY, FACTS, LIMITS, NOW, POLICY, STOP_SPEC, snapshot

from breakwater.domain import emergency_stop as machine
from breakwater.domain.gate import Approval, GateState, decide, gate_state
from breakwater.domain.ids import DeskId, ProposalId, Symbol, TradeId
from breakwater.domain.orders import OrderRole, OrderType, Proposal
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_rules import stop_rules
from breakwater.domain.stop_view import stop_view
from breakwater.execution.books import Books
from breakwater.execution.facts import FactFinder
from breakwater.execution.orders import OrderState
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.instrument_book import InstrumentBook

ROUNDS = 10
BLOCK = 1000
"""Calls in a row. The first ones after another piece of work find cold caches: in short blocks they alone would be the p99."""
RULES = stop_rules(STOP_SPEC, LIMITS, POLICY.trading_mode)
LEASE = Decimal(1)
POSITIONS = 20


def decide_entry() -> dict[str, float]:
    assert isinstance(decide(ENTRY, FACTS), Approval)
    ours: list[float] = []
    hops: list[float] = []
    for _ in range(ROUNDS):
        ours += [timed(lambda: decide(ENTRY, FACTS)) for _ in range(BLOCK)]
        hops += loop_hops(BLOCK)
    return {"gate.decide_entry_against_loop_hop": quantile(ours, 0.5) / quantile(hops, 0.5)}


def decide_from_books() -> dict[str, float]:
    """As the sender decides: read 20 positions, their stops and targets and an entry in flight, then judge."""
    books, finder, order = _busy_desk()

    def judge() -> object:
        return decide(order, finder.for_proposal(order, first=True))

    ours: list[float] = []
    hops: list[float] = []
    for _ in range(ROUNDS):
        books.stop.take(replace(ARMED, issued_at=datetime.now(UTC)))  # it lasts for a second
        assert isinstance(judge(), Approval)
        ours += [timed(judge) for _ in range(BLOCK // 4)]
        hops += loop_hops(BLOCK // 4)
    return {"gate.decide_entry_from_books_against_loop_hop": quantile(ours, 0.5) / quantile(hops, 0.5)}


def tick_to_gate_closed() -> dict[str, float]:
    """A snapshot over the limit: judged by the stop's rules, made a broadcast, taken by the gate."""
    started = machine.on_rules(machine.started(Latched(), NOW), None, RULES, NOW).memory
    armed = machine.on_snapshot(started, snapshot(1, NOW, Decimal(0)), RULES, NOW).memory
    later = NOW + timedelta(seconds=1)
    breach = snapshot(2, later, Decimal("5.5"))

    def close() -> GateState:
        memory = machine.on_snapshot(armed, breach, RULES, later).memory
        view = stop_view(memory, RULES, later, sequence=2, issued_at=later, lease_seconds=LEASE)
        return gate_state(replace(FACTS, now=later, stop=view))[0]

    assert close() is GateState.REDUCE_ONLY
    ours: list[list[float]] = []
    hops: list[list[float]] = []
    for _ in range(3 * ROUNDS):
        ours.append([timed(close) for _ in range(BLOCK)])
        hops.append(loop_hops(BLOCK))
    hop = undisturbed(hops, 0.5)
    return {
        "stop.tick_to_gate_closed_p50_against_loop_hop": undisturbed(ours, 0.5) / hop,
        "stop.tick_to_gate_closed_p99_against_loop_hop": undisturbed(ours, 0.99) / hop,
    }


def _busy_desk() -> tuple[Books, FactFinder, Proposal]:
    clocks = wall_clocks()
    now = clocks.market.now()
    books = Books(DeskId("bench"), clocks)
    symbols = [Symbol(f"S{number}USDT") for number in range(POSITIONS)]
    for number, symbol in enumerate(symbols):
        books.positions[symbol], books.verified_trade[symbol] = Decimal("0.5"), TradeId("1")
        books.take_mark(symbol, Decimal("100.5"), now)
        for role, kind in ((OrderRole.STOP, OrderType.STOP_MARKET), (OrderRole.TARGET, OrderType.LIMIT)):
            resting = replace(
                ENTRY,
                proposal_id=ProposalId(f"{role}{number}"),
                symbol=symbol,
                role=role,
                order_type=kind,
                reduce_only=True,
            )
            books.open(resting).state = OrderState.NEW
    books.open(replace(ENTRY, proposal_id=ProposalId("on its way"), symbol=symbols[3])).state = OrderState.SENT
    order = replace(ENTRY, expires_at=now + timedelta(hours=1))
    books.verified_trade[order.symbol] = TradeId("1")
    for symbol in [*symbols, order.symbol]:
        books.take_mark(symbol, books.marks.get(symbol, Decimal(100_000)), now + timedelta(hours=1))
    books.verified(())
    books.snapshot = snapshot(1, now + timedelta(hours=1), Decimal(0))
    limits = replace(LIMITS, max_concurrent_positions=replace(LIMITS.max_concurrent_positions, value=POSITIONS + 2))
    in_force: Any = SimpleNamespace(policy=POLICY, stop=STOP_SPEC, limits=limits, stale=False, hold="")
    policies: Any = SimpleNamespace(current=lambda: in_force)
    assert FACTS.instrument is not None
    finder = FactFinder(books, policies, InstrumentBook([FACTS.instrument]), clocks)
    return books, finder, order


HOP = "one call_soon hop of asyncio, p50"
BENCHES = [
    Bench((lower("gate.decide_entry_against_loop_hop", 8, 4, HOP),), decide_entry),
    Bench((lower("gate.decide_entry_from_books_against_loop_hop", 30, 15, HOP),), decide_from_books),
    Bench(
        (
            lower("stop.tick_to_gate_closed_p50_against_loop_hop", 2, 1, HOP),
            lower("stop.tick_to_gate_closed_p99_against_loop_hop", 2, 1, HOP),
        ),
        tick_to_gate_closed,
    ),
]
