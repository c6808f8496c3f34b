"""The virtual loop: time jumps, order holds where asyncio promises it, and nothing fails silently."""

from __future__ import annotations

import asyncio
import time
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.simulation.loop import SimulationDeadlock, SimulationLivelock, VirtualLoop
from breakwater.simulation.run import Simulation, UnseenFailure, run_virtual

START = datetime(2025, 10, 10, 20, tzinfo=UTC)


def test_sleep_of_a_day_takes_no_wall_time_and_exactly_a_day_of_virtual_time() -> None:
    async def main(sim: Simulation) -> tuple[float, datetime]:
        await sim.clocks.infra.sleep(86_400)
        return sim.clocks.infra.monotonic(), sim.clocks.market.now()

    began = time.monotonic()
    monotonic, now = run_virtual(main, seed=1, start=START)
    assert (monotonic, now) == (86_400.0, START + timedelta(days=1))
    assert time.monotonic() - began < 30  # not a day


def test_ten_thousand_short_sleeps_do_not_drift() -> None:
    async def main(sim: Simulation) -> datetime:
        for _ in range(10_000):
            await asyncio.sleep(0.1)
        return sim.clocks.market.now()

    assert run_virtual(main, seed=1, start=START) == START + timedelta(seconds=1000)


def test_sleep_until_returns_at_the_moment_and_at_once_when_past() -> None:
    async def main(sim: Simulation) -> list[datetime]:
        market = sim.clocks.market
        seen = []
        for moment in (START + timedelta(microseconds=1), START + timedelta(hours=3), START):
            await market.sleep_until(moment)
            seen.append(market.now())
        return seen

    assert run_virtual(main, seed=1, start=START) == [
        START + timedelta(microseconds=1),
        START + timedelta(hours=3),
        START + timedelta(hours=3),
    ]


def test_timers_of_one_instant_run_in_the_order_they_were_set() -> None:
    async def main(sim: Simulation) -> list[int]:
        order: list[int] = []
        for i in range(50):
            sim.loop.call_at(1.0, order.append, i)
        await asyncio.sleep(2)
        return order

    assert run_virtual(main, seed=3, start=START) == list(range(50))


async def _race(sim: Simulation) -> list[int]:
    order: list[int] = []

    async def racer(i: int) -> None:
        await asyncio.sleep(1)
        order.append(i)

    await asyncio.gather(*(racer(i) for i in range(10)))
    return order


def test_tasks_of_one_instant_run_in_an_order_the_seed_decides() -> None:
    runs = {seed: run_virtual(_race, seed=seed, start=START) for seed in range(5)}
    again = {seed: run_virtual(_race, seed=seed, start=START) for seed in range(5)}
    assert runs == again
    assert len({tuple(order) for order in runs.values()}) > 1
    assert run_virtual(_race, seed=1, start=START, shuffle=False) == list(range(10))


def test_plain_callbacks_keep_their_order_under_any_seed() -> None:
    async def main(sim: Simulation) -> list[int]:
        order: list[int] = []
        done: asyncio.Future[None] = sim.loop.create_future()
        for i in range(20):
            done.add_done_callback(lambda _, i=i: order.append(i))  # type: ignore[misc]
        done.set_result(None)
        await asyncio.sleep(0)
        for i in range(20, 40):
            sim.loop.call_soon(order.append, i)
        await asyncio.sleep(0.1)
        return order

    for seed in range(5):
        assert run_virtual(main, seed=seed, start=START) == list(range(40))


def test_everybody_waiting_for_nobody_is_reported_as_deadlock_with_names() -> None:
    async def main(sim: Simulation) -> None:
        waiter = asyncio.create_task(asyncio.Event().wait(), name="waits-for-godot")
        await waiter

    with pytest.raises(SimulationDeadlock, match="waits-for-godot"):
        run_virtual(main, seed=1, start=START)


def test_loop_that_never_waits_is_reported_as_livelock() -> None:
    async def main(sim: Simulation) -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(SimulationLivelock, match="time does not move"):
        run_virtual(main, seed=1, start=START, stall_limit=1000)


def test_task_that_dies_unseen_fails_the_run() -> None:
    async def dies() -> None:
        raise ValueError("broken invariant")

    async def main(sim: Simulation) -> str:
        asyncio.create_task(dies(), name="doomed")  # noqa: RUF006
        await asyncio.sleep(1)
        return "fine"

    with pytest.raises(UnseenFailure, match="broken invariant"):
        run_virtual(main, seed=1, start=START)


def test_task_that_fails_while_being_cancelled_fails_the_run() -> None:
    async def dies() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError("broken stop")

    async def main(sim: Simulation) -> None:
        sim.loop.create_task(dies(), name="doomed")
        await asyncio.sleep(1)

    with pytest.raises(UnseenFailure, match="broken stop"):
        run_virtual(main, seed=1, start=START)


def test_task_that_will_not_end_fails_the_run() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(7)
            except asyncio.CancelledError:
                continue

    async def main(sim: Simulation) -> None:
        sim.loop.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(1)

    with pytest.raises(UnseenFailure, match="stubborn goes on"):
        run_virtual(main, seed=1, start=START)


def test_callback_that_raises_fails_the_run() -> None:
    async def main(sim: Simulation) -> None:
        sim.loop.call_later(1, lambda: 1 // 0)
        await asyncio.sleep(2)

    with pytest.raises(UnseenFailure, match="ZeroDivisionError"):
        run_virtual(main, seed=1, start=START)


def test_error_of_main_carries_unseen_failures_as_notes() -> None:
    async def main(sim: Simulation) -> None:
        sim.loop.call_later(1, lambda: 1 // 0)
        await asyncio.sleep(2)
        raise KeyError("main")

    with pytest.raises(KeyError) as caught:
        run_virtual(main, seed=1, start=START)
    assert any("ZeroDivisionError" in note for note in caught.value.__notes__)


def test_leftover_tasks_are_cancelled_and_clean_up() -> None:
    cleaned = []

    async def background() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(1)
            cleaned.append(True)

    async def main(sim: Simulation) -> int:
        sim.loop.create_task(background(), name="background")
        await asyncio.sleep(1)
        return 7

    assert run_virtual(main, seed=1, start=START) == 7
    assert cleaned == [True]


@pytest.mark.parametrize("ask", ["thread", "address"])
def test_asking_for_thread_or_network_raises(ask: str) -> None:
    async def main(sim: Simulation) -> None:
        if ask == "thread":
            await asyncio.to_thread(time.sleep, 0)
        else:
            await asyncio.open_connection("example.invalid", 80)

    with pytest.raises(RuntimeError, match="virtual time" if ask == "thread" else "memory transport"):
        run_virtual(main, seed=1, start=START)


def test_start_without_time_zone_is_refused() -> None:
    async def main(sim: Simulation) -> None: ...

    with pytest.raises(ValueError, match="time zone"):
        run_virtual(main, seed=1, start=datetime(2025, 10, 10))  # noqa: DTZ001


def test_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    async def main(sim: Simulation) -> str:
        chance = sim.random("delays")
        queue: asyncio.Queue[tuple[int, int]] = asyncio.Queue(3)

        async def produce(i: int) -> None:
            for n in range(30):
                await asyncio.sleep(chance.randrange(3) / 10)
                await queue.put((i, n))

        async def consume(name: str) -> None:
            while True:
                sim.trace.record("got", name, *await queue.get())

        for name in "ab":
            sim.loop.create_task(consume(name))
        await asyncio.gather(*(produce(i) for i in range(5)))
        return sim.trace.digest

    digests = [run_virtual(main, seed=seed, start=START) for seed in (1, 2, 1)]
    assert digests[0] == digests[2] != digests[1]


def test_stock_asyncio_primitives_work_in_virtual_time() -> None:
    async def main(sim: Simulation) -> list[str]:
        seen = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(10)
        seen.append(f"timeout at {sim.loop.time():g}")
        lock = asyncio.Lock()
        async with lock:
            try:
                await asyncio.wait_for(lock.acquire(), 2.5)
            except TimeoutError:
                seen.append(f"lock at {sim.loop.time():g}")
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(1))
        seen.append(f"group at {sim.loop.time():g}")
        return seen

    assert run_virtual(main, seed=9, start=START) == ["timeout at 5", "lock at 7.5", "group at 8.5"]


def test_loop_without_seed_is_first_in_first_out() -> None:
    loop = VirtualLoop()
    order: list[int] = []

    async def racer(i: int) -> None:
        await asyncio.sleep(0)
        order.append(i)

    async def main() -> None:
        await asyncio.gather(*(racer(i) for i in range(5)))

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert order == list(range(5))


def test_what_a_run_left_behind_is_not_kept_by_the_next() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def late(self) -> None:
            raise AssertionError("the run is over before")

    async def main(simulation: Simulation) -> weakref.ref[Cycle]:
        cycle = Cycle()
        simulation.loop.call_later(1000, cycle.late)
        return weakref.ref(cycle)

    left = run_virtual(main, seed=1, start=START)
    run_virtual(main, seed=2, start=START)
    assert left() is None
