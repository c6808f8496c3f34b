"""The queue in virtual time: one worker per key, nothing lost, back-off, and trips first."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from breakwater.simulation.run import Simulation, run_virtual
from breakwater_operator.metrics import OperatorMetrics
from breakwater_operator.work_queue import FIRST_BACKOFF, JITTER, Key, Lane, Retry, WorkQueue

START = datetime(2025, 10, 10, tzinfo=UTC)
A, B = Key("TradingPolicy", "ns", "a"), Key("TradingPolicy", "ns", "b")
STOP = Key("EmergencyStop", "ns", "a")

Body = Callable[[Simulation, WorkQueue], Awaitable[None]]
Work = Callable[[Key], Awaitable[float | None]]


def run(work: Work, body: Body, *, seed: int = 1, workers: int = 2, urgent: int = 1) -> OperatorMetrics:
    """Run ``body`` beside a queue that does ``work``, in virtual time."""

    async def main(simulation: Simulation) -> OperatorMetrics:
        metrics = OperatorMetrics(version="1")
        queue = WorkQueue(work, simulation.clocks.infra, random.Random(seed), metrics, workers=workers, urgent=urgent)
        await queue.start()
        await body(simulation, queue)
        await queue.stop()
        return metrics

    return run_virtual(main, seed=seed, start=START)


def test_key_added_many_times_before_its_turn_is_worked_on_once() -> None:
    seen: list[Key] = []

    async def work(key: Key) -> None:
        seen.append(key)

    async def body(_: Simulation, queue: WorkQueue) -> None:
        for _again in range(5):
            queue.add(A)
        await asyncio.sleep(10)

    run(work, body)
    assert seen == [A]


def test_key_added_while_it_is_worked_on_is_worked_on_once_more() -> None:
    begun: list[float] = []

    async def body(simulation: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(0.5)
        queue.add(A)
        queue.add(A)
        await asyncio.sleep(10)

    async def work(key: Key) -> None:
        begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(1)

    run(work, body)
    assert begun == [0, 1]


@given(
    seed=st.integers(0, 10_000), adds=st.lists(st.tuples(st.sampled_from([A, B, STOP]), st.floats(0, 3)), max_size=30)
)
@settings(max_examples=40, deadline=None)
def test_any_adds_and_failures_never_run_a_key_twice_at_once_and_end_after_the_last_add(
    seed: int, adds: list[tuple[Key, float]]
) -> None:
    running: Counter[Key] = Counter()
    ended: dict[Key, float] = {}
    last: dict[Key, float] = {}
    chance = random.Random(seed)

    async def work(key: Key) -> float | None:
        running[key] += 1
        assert running[key] == 1
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(chance.random())
        running[key] -= 1
        if chance.random() < 0.3:
            raise chance.choice([Retry("not yet", most=1.0), ValueError("a bug")])
        ended[key] = began
        return None

    async def body(_: Simulation, queue: WorkQueue) -> None:
        loop = asyncio.get_running_loop()
        for key, at in sorted(adds, key=lambda add: add[1]):
            await asyncio.sleep(max(0.0, at - loop.time()))
            queue.add(key, lane=Lane.URGENT if key is STOP else Lane.NORMAL)
            last[key] = loop.time()
        await asyncio.sleep(600)
        assert len(queue) == 0

    run(work, body, seed=seed)
    assert ended.keys() == last.keys()
    assert all(ended[key] >= moment for key, moment in last.items())


def test_failing_key_waits_longer_each_time_and_success_forgets_it() -> None:
    begun: list[float] = []

    async def work(key: Key) -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) in (1, 2, 3, 4, 6):
            raise Retry("away")

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(30)
        queue.add(A)
        await asyncio.sleep(30)

    run(work, body)
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    expected = [FIRST_BACKOFF * 2**n for n in range(4)]
    for pause, wanted in zip(pauses, expected, strict=False):
        assert wanted * (1 - JITTER) <= pause <= wanted * (1 + JITTER)
    assert len(begun) == 7
    assert pauses[5] <= FIRST_BACKOFF * (1 + JITTER)


def test_retry_with_a_bound_never_waits_longer() -> None:
    begun: list[float] = []

    async def work(key: Key) -> None:
        begun.append(asyncio.get_running_loop().time())
        raise Retry("away", most=2.0)

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(120)

    run(work, body)
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    assert max(pauses) <= 2.0 * (1 + JITTER)
    assert len(pauses) > 40


def test_conflict_is_retried_at_once_the_first_time() -> None:
    begun: list[float] = []

    async def work(key: Key) -> None:
        begun.append(asyncio.get_running_loop().time())
        if len(begun) < 3:
            raise Retry("conflict", at_once=True)

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(5)

    run(work, body)
    assert begun[1] == begun[0]
    assert begun[2] > begun[1]


def test_result_asks_for_another_look_later() -> None:
    begun: list[float] = []

    async def work(key: Key) -> float | None:
        begun.append(asyncio.get_running_loop().time())
        return 7.0 if len(begun) == 1 else None

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(60)
        assert len(queue) == 0

    run(work, body)
    assert [round(at) for at in begun] == [0, 7]


def test_add_cuts_a_pause_short() -> None:
    begun: list[float] = []

    async def work(key: Key) -> float | None:
        begun.append(asyncio.get_running_loop().time())
        return 3600.0

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        await asyncio.sleep(5)
        queue.add(A)
        await asyncio.sleep(5)

    run(work, body)
    assert begun == [0, 5]


def test_urgent_key_is_served_while_all_other_workers_hang() -> None:
    served: dict[Key, float] = {}

    async def work(key: Key) -> None:
        if key is not STOP:
            await asyncio.sleep(1000)
        served[key] = asyncio.get_running_loop().time()

    async def body(_: Simulation, queue: WorkQueue) -> None:
        for number in range(20):
            queue.add(Key("TradingPolicy", "ns", str(number)))
        await asyncio.sleep(1)
        queue.add(STOP, lane=Lane.URGENT)
        await asyncio.sleep(1)

    run(work, body)
    assert served == {STOP: 1.0}


def test_fresh_urgent_key_goes_before_a_crowd_of_failing_ones() -> None:
    served: dict[Key, float] = {}

    async def work(key: Key) -> None:
        if key != STOP:
            await asyncio.sleep(4)
            raise Retry("the desk hangs", most=2.0)
        served[key] = asyncio.get_running_loop().time()

    async def body(_: Simulation, queue: WorkQueue) -> None:
        for number in range(50):
            queue.add(Key("EmergencyStop", "ns", f"hangs-{number}"), lane=Lane.URGENT)
        await asyncio.sleep(60)
        queue.add(STOP, lane=Lane.URGENT)
        await asyncio.sleep(60)

    # By then all have failed. Whichever worker is free first takes it: never more than one attempt's length later.
    run(work, body, urgent=8)
    assert served[STOP] <= 64.0


def test_unexpected_error_is_counted_and_other_keys_go_on() -> None:
    served: list[Key] = []

    async def work(key: Key) -> None:
        if key == A:
            raise ZeroDivisionError
        served.append(key)

    async def body(_: Simulation, queue: WorkQueue) -> None:
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(3)
        assert queue.failures(A) > 2
        assert not queue.failed.done()

    metrics = run(work, body)
    assert served == [B]
    assert b'unexpected_errors_total{kind="TradingPolicy"}' in metrics.render()


def test_metrics_tell_depth_and_age() -> None:
    shown: list[bytes] = []

    async def work(key: Key) -> None:
        await asyncio.sleep(100)

    metrics_of: list[Any] = []

    async def body(_: Simulation, queue: WorkQueue) -> None:
        for number in range(5):
            queue.add(Key("TradingPolicy", "ns", str(number)))
        await asyncio.sleep(10)
        metrics_of.append(queue._metrics)
        shown.append(queue._metrics.render())

    run(work, body)
    assert b"queue_depth_count 5.0" in shown[0]
    assert b"queue_oldest_age_seconds 10.0" in shown[0]
