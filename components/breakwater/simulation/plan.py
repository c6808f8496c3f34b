"""What a seed means: the market, the desk and the mishaps of one simulated run. The same seed always means the same."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from breakwater.paper_venue.faults.catalogue import REQUEST_FAULTS, Family, Fault
from breakwater.paper_venue.faults.plan import FaultPlan, FaultRule, Match
from breakwater.simulation.transport import Latency

SECONDS = 600.0
"""Simulated time under way, in seconds."""
LEAD = timedelta(seconds=30)
"""Market time before the first tick, in which the desk starts."""
WIRE_REQUESTS = (
    Fault.RESET_BEFORE,
    Fault.RESET_AFTER,
    Fault.HANG,
    Fault.TRUNCATED,
    Fault.HTML,
    Fault.EMPTY,
    Fault.NO_ORDER_ID,
    Fault.UNKNOWN_503,
    Fault.UNAVAILABLE_503,
    Fault.BUSY_1008,
    Fault.GATEWAY_504,
    Fault.TIMEOUT_1007,
    Fault.ERROR_1001,
    Fault.CLOCK_1021,
    Fault.SLOW_REPLY,
)
"""None with which the venue keeps everybody away: nothing can be protected then."""
WIRE_PATHS = (
    "*/order",
    "*/algoOrder",
    "*/positionRisk",
    "*/account",
    "*/openOrders",
    "*/openAlgoOrders",
    "*/userTrades",
)
WIRE_STREAMS = (
    Fault.EVENT_LOST,
    Fault.EVENT_DUPLICATED,
    Fault.EVENT_DELAYED,
    Fault.EVENT_REORDERED,
    Fault.STREAM_SILENT,
    Fault.LISTEN_KEY_EXPIRED,
    Fault.LISTEN_KEY_DEAD,
)
FAMILIES = ("NORMAL", "DEFENSIVE", "AGGRESSIVE")


@dataclass(frozen=True)
class SeedPlan:
    """Times in seconds after the market's first tick."""

    seed: int
    profile: str
    source: str
    symbols: tuple[str, ...]
    begin: datetime
    crash_at: datetime | None
    crash_depth: float
    latency_s: tuple[float, float]
    kills: tuple[tuple[float, float], ...]
    """When the desk is killed, and for how long it is gone."""
    kill_at_order: tuple[int, float] | None
    """Killed the moment the venue has accepted this many orders, before the reply is back; and for how long it is gone."""
    outages: tuple[tuple[float, float], ...]
    """When bus and store go away, and for how long."""
    drops: tuple[float, ...]
    """When all streams break."""
    funding_every_s: int = 8 * 3600
    transfers: tuple[tuple[float, int], ...] = ()
    """When how many USDT are moved in, or out when negative."""
    deleveraged: tuple[float, ...] = ()
    """When the venue closes a part of whatever is held."""
    wire: tuple[FaultRule, ...] = ()
    """What goes wrong with requests and streams; times count from the start of the run, `LEAD` before the first tick."""

    @property
    def faults(self) -> FaultPlan:
        """``wire`` as the venue takes it."""
        return FaultPlan(self.seed, self.wire)

    def latency(self) -> Latency:
        """A new source of delays; the same every time."""
        return Latency(*self.latency_s, random.Random(f"latency-{self.seed}"))

    def __str__(self) -> str:
        crash = f"crash x{self.crash_depth:.1f} at {self.crash_at:%H:%M}" if self.crash_at else "no crash"
        return (
            f"{self.profile.lower()} {self.source} {'+'.join(self.symbols)} {crash}, "
            f"latency <= {self.latency_s[1] * 1000:.0f} ms, {len(self.kills)} kills"
            f"{f' and one at order {self.kill_at_order[0]}' if self.kill_at_order else ''}, {len(self.outages)} outages, "
            f"{len(self.drops)} stream drops, funding every {self.funding_every_s} s, {len(self.transfers)} transfers, "
            f"{len(self.deleveraged)} deleveragings, wire: {'+'.join(rule.fault for rule in self.wire) or 'good'}"
        )


def plan_for(seed: int) -> SeedPlan:
    """Draw the plan of ``seed``."""
    draw = random.Random(f"plan-{seed}")
    # Markets turn every five minutes; the run may begin anywhere in between.
    day = datetime(2026, 3, 2, 12, tzinfo=UTC) + timedelta(minutes=5 * draw.randrange(200))
    begin = day + timedelta(seconds=5 * draw.randrange(60))
    crash = draw.random() < 0.5
    latency = draw.choice([(0.0, 0.0), (0.001, 0.01), (0.005, 0.08)])

    def times(most: int) -> list[float]:
        return sorted(round(draw.uniform(5, SECONDS - 60), 3) for _ in range(draw.randrange(most + 1)))

    # A source of its own: what seeds meant before money moved otherwise than by trades, they mean still.
    money = random.Random(f"money-{seed}")
    moves = sorted(round(money.uniform(5, SECONDS - 60), 3) for _ in range(money.choice([0, 0, 1, 2])))
    return SeedPlan(
        seed=seed,
        profile=draw.choice(FAMILIES),
        source=draw.choices(["long", "momentum"], [3, 1])[0],
        symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT")[: draw.randint(1, 3)],
        begin=begin,
        crash_at=day + timedelta(minutes=5 * draw.randrange(2)) if crash else None,
        crash_depth=draw.uniform(1.5, 5.0),
        latency_s=latency,
        kills=tuple((at, draw.choice([0.0, 0.5, 3.0, 15.0])) for at in times(2)),
        kill_at_order=(draw.randint(1, 8), draw.choice([0.0, 1.0, 5.0])) if draw.random() < 0.5 else None,
        outages=tuple((at, round(draw.uniform(0.2, 8.0), 3)) for at in times(2)),
        drops=tuple(times(3)),
        funding_every_s=money.choice([8 * 3600, 60, 150]),
        transfers=tuple((at, money.choice([-3000, -500, 700, 5000])) for at in moves),
        deleveraged=tuple(round(money.uniform(5, SECONDS - 60), 3) for _ in range(money.choice([0, 0, 0, 1]))),
        wire=_wire(random.Random(f"wire-{seed}")),
    )


def long_plan(seed: int, seconds: float, *, calm: float = 1800.0) -> SeedPlan:
    """As `plan_for`, with no crash and with mishaps all along: those of another seed every ``calm`` seconds."""
    plan = plan_for(seed)
    kills: list[tuple[float, float]] = []
    outages: list[tuple[float, float]] = []
    drops: list[float] = []
    transfers: list[tuple[float, int]] = []
    deleveraged: list[float] = []
    wire: list[FaultRule] = []
    for number in range(int(seconds // calm)):
        part, later = plan_for(seed + 1000 * (number + 1)), number * calm
        kills += [(at + later, gone) for at, gone in part.kills]
        outages += [(at + later, lasts) for at, lasts in part.outages]
        drops += [at + later for at in part.drops]
        transfers += [(at + later, amount) for at, amount in part.transfers]
        deleveraged += [at + later for at in part.deleveraged]
        wire += [_shifted(rule, later) for rule in part.wire]
    return replace(
        plan,
        crash_at=None,
        funding_every_s=8 * 3600,
        kills=tuple(kills),
        outages=tuple(outages),
        drops=tuple(drops),
        transfers=tuple(transfers),
        deleveraged=tuple(deleveraged),
        wire=tuple(wire),
    )


def _shifted(rule: FaultRule, later: float) -> FaultRule:
    match = rule.match
    to_s = match.to_s + later if match.to_s is not None else None
    return msgspec.structs.replace(rule, match=msgspec.structs.replace(match, from_s=match.from_s + later, to_s=to_s))


def _wire(draw: random.Random) -> tuple[FaultRule, ...]:
    """Up to five rules; two runs in five have a good wire."""
    rules: list[FaultRule] = []
    for _ in range(draw.choice([0, 0, 1, 3, 5])):
        from_s = round(LEAD.total_seconds() + draw.uniform(0, SECONDS - 90), 3)
        to_s = round(from_s + draw.uniform(5, 60), 3)
        if draw.random() < 0.7:
            fault = draw.choice(WIRE_REQUESTS)
            path = draw.choice(WIRE_PATHS)
            method = draw.choice(["POST", "DELETE"]) if path in WIRE_PATHS[:2] else "GET"
            match = Match(method=method, path=path, from_s=from_s)
            ambiguous = REQUEST_FAULTS[fault].ambiguous
            rules.append(
                FaultRule(
                    fault,
                    match,
                    count=draw.choice([1, 1, 2]),
                    executed=draw.random() < 0.5 if ambiguous else None,
                    delay_s=round(draw.uniform(0.1, 1.5), 3) if fault is Fault.SLOW_REPLY else None,
                )
            )
            continue
        fault = draw.choice(WIRE_STREAMS)
        if fault.family is Family.INSTANT:
            rules.append(FaultRule(fault, Match(from_s=from_s)))
            continue
        probability = 1.0 if fault is Fault.STREAM_SILENT else 0.3
        match = Match(path="*/private/*", from_s=from_s, to_s=to_s, probability=probability)
        delay_s = round(draw.uniform(0.1, 2.0), 3) if fault is Fault.EVENT_DELAYED else None
        rules.append(FaultRule(fault, match, count=0, delay_s=delay_s))
    return tuple(rules)
