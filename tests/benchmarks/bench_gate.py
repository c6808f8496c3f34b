"""The gate's full check of an entry, and a snapshot's way to a closed gate, against one hop of the event loop."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from msgspec.structs import replace
from tests.benchmarks.harness import Bench, loop_hops, lower, quantile, timed
from tests.benchmarks.samples import ENTRY, FACTS, LIMITS, NOW, POLICY, STOP_SPEC, snapshot

from breakwater.domain import emergency_stop as machine
from breakwater.domain.gate import Approval, GateState, decide, gate_state
from breakwater.domain.stop_memory import Latched
from breakwater.domain.stop_rules import stop_rules
from breakwater.domain.stop_view import stop_view

ROUNDS = 20
BLOCK = 200
RULES = stop_rules(STOP_SPEC, LIMITS, POLICY.trading_mode)


def decide_entry() -> dict[str, float]:
    assert isinstance(decide(ENTRY, FACTS), Approval)
    ours: list[float] = []
    hops: list[float] = []
    for _ in range(ROUNDS):
        ours += [timed(lambda: decide(ENTRY, FACTS)) for _ in range(BLOCK)]
        hops += loop_hops(BLOCK)
    return {"gate.decide_entry_against_loop_hop": quantile(ours, 0.5) / quantile(hops, 0.5)}


def tick_to_gate_closed() -> dict[str, float]:
    """A snapshot over the limit: judged by the stop's rules, made a broadcast, taken by the gate."""
    started = machine.on_rules(machine.started(Latched(), NOW), None, RULES, NOW).memory
    armed = machine.on_snapshot(started, snapshot(1, NOW, Decimal(0)), RULES, NOW).memory
    later = NOW + timedelta(seconds=1)
    breach = snapshot(2, later, Decimal("5.5"))

    def close() -> GateState:
        memory = machine.on_snapshot(armed, breach, RULES, later).memory
        view = stop_view(memory, RULES, later, sequence=2, issued_at=later, lease_seconds=Decimal(1))
        return gate_state(replace(FACTS, now=later, stop=view))[0]

    assert close() is GateState.REDUCE_ONLY
    ours: list[float] = []
    hops: list[float] = []
    for _ in range(ROUNDS):
        ours += [timed(close) for _ in range(BLOCK)]
        hops += loop_hops(BLOCK)
    return {"stop.tick_to_gate_closed_p99_against_loop_hop": quantile(ours, 0.99) / quantile(hops, 0.5)}


HOP = "one call_soon hop of asyncio, p50"
BENCHES = [
    Bench((lower("gate.decide_entry_against_loop_hop", 8, 4, HOP),), decide_entry),
    Bench((lower("stop.tick_to_gate_closed_p99_against_loop_hop", 2, 1, HOP),), tick_to_gate_closed),
]
