"""What a seed means: the market, the desk and the mishaps of one simulated run. The same seed always means the same."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from breakwater.simulation.transport import Latency

SECONDS = 600.0
"""Simulated time under way, in seconds."""
LEAD = timedelta(seconds=30)
"""Market time before the first tick, in which the desk starts."""
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
            f"{len(self.deleveraged)} deleveragings"
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
    )
