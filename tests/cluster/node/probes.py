"""Startup, readiness and liveness of one container run, with a kubelet's thresholds and periods."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

from tests.cluster.node.actions import Target, act
from tests.cluster.node.api import Object


class Probe(StrEnum):
    STARTUP = "Startup"
    READINESS = "Readiness"
    LIVENESS = "Liveness"

    @property
    def field(self) -> str:
        return f"{self.value.lower()}Probe"


async def probe(
    kind: Probe, spec: Object, target: Target, settle: Callable[[bool], None], failed: Callable[[str], None]
) -> None:
    """Probe for ever. ``settle(ok)``: a threshold was reached (said again each time). ``failed(message)``: one attempt failed."""
    began = time.monotonic()
    period, timeout = spec.get("periodSeconds", 10), spec.get("timeoutSeconds", 1)
    needed = {True: spec.get("successThreshold", 1), False: spec.get("failureThreshold", 3)}
    await asyncio.sleep(max(0.0, spec.get("initialDelaySeconds", 0) - (time.monotonic() - began)))
    last, count = False, 0
    while True:
        attempt = time.monotonic()
        good, said = await act(spec, target, timeout)
        count = count + 1 if good == last else 1
        last = good
        if not good:
            failed(f"{kind.value} probe failed: {said}")
        if count >= needed[good]:
            settle(good)
        await asyncio.sleep(max(0.0, period - (time.monotonic() - attempt)))


async def probe_container(
    spec: Object,
    target: Target,
    on_started: Callable[[], None],
    on_ready: Callable[[bool], None],
    on_dead: Callable[[Probe], None],
    on_failure: Callable[[str], None],
) -> None:
    """All probes of a container, from its start to cancellation: readiness and liveness begin once it has started."""
    if startup := spec.get(Probe.STARTUP.field):
        started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def settle(ok: bool) -> None:
            if not started.done():
                started.set_result(ok)

        task = asyncio.create_task(probe(Probe.STARTUP, startup, target, settle, on_failure))
        try:
            ok = await started
        finally:
            task.cancel()
        if not ok:
            on_dead(Probe.STARTUP)
            return
    on_started()
    async with asyncio.TaskGroup() as group:
        if readiness := spec.get(Probe.READINESS.field):
            group.create_task(probe(Probe.READINESS, readiness, target, on_ready, on_failure))
        else:
            on_ready(True)
        if liveness := spec.get(Probe.LIVENESS.field):

            def judge(ok: bool) -> None:
                if not ok:
                    on_dead(Probe.LIVENESS)

            group.create_task(probe(Probe.LIVENESS, liveness, target, judge, on_failure))
