"""What is done to a desk's bus in one run: everything that chance decides, decided by the run's seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

OUTAGE_EVENTS = 10_000
"""Events published while the server is away, in a run with the axis OUTAGE."""
PUBLISHING_SECONDS = 1.2
"""How long events are published and faults begin; what is under way then ends by itself."""


class Axis(StrEnum):
    KILL_SERVER = "kill-server"
    KILL_PUBLISHER = "kill-publisher"
    KILL_CONSUMER = "kill-consumer"
    DROP_REPLIES = "drop-replies"
    DISK_FULL = "disk-full"
    OUTAGE = "outage"
    RESTART = "restart"


class Network(StrEnum):
    GOOD = "good"
    SLOW = "slow"
    SLICED = "sliced"
    RESETS = "resets"
    BLACKHOLE = "blackhole"


class Do(StrEnum):
    """What befalls somebody at one instant."""

    KILL = "kill"
    CUT = "cut"
    """Kill the server, and take away the end of what it had written: an append-only file that was not synced."""
    KILL_BOTH = "kill-both"
    """Server (its tail cut) and publisher together."""
    PAUSE = "pause"
    RESTART = "restart"
    """Stopped in good order, and started again."""
    OUTAGE = "outage"
    FILL_DISK = "fill-disk"
    RESET = "reset"
    BLACKHOLE = "blackhole"


@dataclass(frozen=True, order=True)
class Action:
    at: float
    """Seconds after publishing began."""
    do: Do
    seconds: float = 0.1
    """How long it stays so."""


@dataclass(frozen=True)
class Plan:
    index: int
    seed: int
    axes: frozenset[Axis]
    durable: bool
    """The producer's events are on its disk before publish returns."""
    network: Network
    awaiters: int
    pause: float
    """Seconds each of them waits between two events."""
    body: int
    """Most bytes of padding in an event."""
    drop_rate: float
    may_lose: bool
    """The server may lose what it took in its last seconds: always somebody else still has it."""
    server: tuple[Action, ...]
    publisher: tuple[Action, ...]
    consumer: tuple[Action, ...]
    links: tuple[Action, ...]
    disk: tuple[Action, ...]

    def describe(self) -> str:
        axes = "+".join(axis for axis in Axis if axis in self.axes) or "no fault"
        mode = "durable first" if self.durable else "plain"
        return f"run {self.index}: {axes}; {mode}, network {self.network}, {self.awaiters} awaiters"


def axes_of(index: int) -> frozenset[Axis]:
    """Every 128 runs hold every combination once; each 8 of them hold every pair of axes in all four ways.

    (The orthogonal array L8, shifted in 16 ways.)
    """
    a, b, c = (index >> bit & 1 for bit in range(3))
    shift = index // 8 % 16 ^ 1
    s, t, u, v = (shift >> bit & 1 for bit in range(4))
    bits = (a, b, a ^ b ^ s, c, a ^ c ^ t, b ^ c ^ u, a ^ b ^ c ^ v)
    return frozenset(axis for axis, bit in zip(Axis, bits, strict=True) if bit)


def make_plan(seed: int, index: int, *, knows_durable: bool = True) -> Plan:
    """``knows_durable``: the bus has a mode in which events are on disk first; half of the runs use it."""
    rng = random.Random(f"{seed}/{index}")
    axes = axes_of(index)
    durable = rng.random() < 0.5 and knows_durable
    network = rng.choice(list(Network))
    # What the server alone had (no disk behind every event, or a full one) dies if it loses its tail and its publisher as well.
    cuts = (durable and Axis.DISK_FULL not in axes) or Axis.KILL_PUBLISHER not in axes
    server: list[Action] = []
    publisher: list[Action] = []
    consumer: list[Action] = []

    def some(do: Do, most: int, seconds: float) -> list[Action]:
        return [
            Action(rng.uniform(0.05, PUBLISHING_SECONDS), do, rng.uniform(0.02, seconds))
            for _ in range(rng.randint(1, most))
        ]

    if Axis.KILL_SERVER in axes:
        for number, action in enumerate(some(Do.KILL, 2, 0.4)):
            do = Do.KILL
            if cuts and (not number or rng.random() < 0.5):
                both = durable and Axis.KILL_PUBLISHER in axes and rng.random() < 0.5
                do = Do.KILL_BOTH if both else Do.CUT
            at = action.at if do is Do.KILL else max(action.at, 0.3)  # something was there to lose
            server.append(Action(at, do, action.seconds))
    if Axis.OUTAGE in axes:
        server.append(Action(rng.uniform(0.2, 0.6), Do.OUTAGE, rng.uniform(0.0, 0.3)))
    if Axis.KILL_PUBLISHER in axes:
        publisher += some(Do.KILL, 2, 0.2)
    if Axis.KILL_CONSUMER in axes:
        consumer += some(Do.KILL, 3, 0.2)
    if Axis.RESTART in axes:
        stays = Axis.KILL_SERVER in axes and not durable
        for actions in (server, consumer) if stays else (server, publisher, consumer):
            actions += some(Do.RESTART, 1, 0.1)
    for actions in (server, publisher, consumer):
        if rng.random() < 0.2:
            actions += some(Do.PAUSE, 1, 0.5)
    links: list[Action] = []
    if network is Network.RESETS:
        links = some(Do.RESET, 6, 0.05)
    elif network is Network.BLACKHOLE:
        links = some(Do.BLACKHOLE, 2, 0.6)
    disk = some(Do.FILL_DISK, 2, 0.5) if Axis.DISK_FULL in axes else []
    if disk and server:  # a full disk matters while the server is away
        disk.append(Action(rng.choice(server).at + rng.uniform(-0.1, 0.3), Do.FILL_DISK, rng.uniform(0.1, 0.4)))
    awaiters = rng.choice((1, 8, 64))
    return Plan(
        index=index,
        seed=seed,
        axes=axes,
        durable=durable,
        network=network,
        awaiters=awaiters,
        pause=awaiters * rng.uniform(0.0005, 0.003),
        body=rng.choice((0, 200, 2000)),
        drop_rate=0.1 if Axis.DROP_REPLIES in axes else 0.0,
        may_lose=cuts,
        server=tuple(sorted(server)),
        publisher=tuple(sorted(publisher)),
        consumer=tuple(sorted(consumer)),
        links=tuple(sorted(links)),
        disk=tuple(sorted(disk)),
    )
