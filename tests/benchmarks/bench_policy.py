"""Reading the policy in force, as every order does, against one microsecond."""

from __future__ import annotations

import asyncio
import time

from tests.benchmarks.harness import Bench, lower

from breakwater.runtime.clocks import WallInfraClock
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_store import PolicyStore
from breakwater.runtime.resources import profile_file
from breakwater.simulation.stores import MemoryStore

READS = 100_000


def read() -> dict[str, float]:
    async def main() -> float:
        store = PolicyStore(MemoryStore(), None, WallInfraClock(), desk="bench", writer=True)
        await store.apply(load_manifests(profile_file("NORMAL")), who="bench")
        began = time.perf_counter()
        for _ in range(READS):
            store.current()
        return (time.perf_counter() - began) / READS

    return {"policy.read_us": asyncio.run(main()) * 1e6}


BENCHES = [Bench((lower("policy.read_us", 1, 0.5, "one microsecond"),), read)]
