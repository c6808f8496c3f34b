"""The memory bus keeps the bus's promises: order, at-least-once, durability of groups, newest value of states."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.ids import DeskId, Symbol
from breakwater.runtime.bus import Bus, BusUnavailable
from breakwater.runtime.events import CandleClosed, Event, Heartbeat, MarkPrice, Payload
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation, run_virtual

START = datetime(2025, 10, 10, 20, tzinfo=UTC)
DESK = DeskId("desk-a")


def mark(price: int, symbol: str = "BTCUSDT") -> MarkPrice:
    return MarkPrice(Symbol(symbol), Decimal(price), START)


def heartbeat(component: str, progress: int) -> Heartbeat:
    return Heartbeat(component, START, progress, {})


CANDLE = CandleClosed(
    Symbol("BTCUSDT"), START, timedelta(minutes=1), Decimal(1), Decimal(2), Decimal(1), Decimal(2), Decimal(9)
)


class Recorder:
    """A handler that remembers what it was given, and raises as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.payloads: list[Payload] = []
        self.events: list[Event] = []
        self.failures = failures

    async def __call__(self, event: Event) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise ValueError("not now")
        self.events.append(event)
        self.payloads.append(event.payload)


def in_simulation(scene: Callable[[Simulation, MemoryBroker], Awaitable[Any]], seed: int = 1) -> Any:
    async def main(sim: Simulation) -> Any:
        return await scene(sim, MemoryBroker())

    return run_virtual(main, seed=seed, start=START)


def connect(sim: Simulation, broker: MemoryBroker, producer: str) -> MemoryBus:
    return MemoryBus(broker, DESK, producer, sim.clocks.infra)


@pytest.mark.parametrize("seed", range(5))
def test_events_arrive_in_order_per_producer_and_only_of_the_types_asked_for(seed: int) -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> Recorder:
        got = Recorder()
        consumer: Bus = connect(sim, broker, "risk_manager")
        consumer.subscribe(got, producers=["market_data", "replay"], types=[MarkPrice], group="prices")
        await consumer.start()
        producers = [connect(sim, broker, name) for name in ("market_data", "replay")]
        for bus in producers:
            await bus.start()

        async def produce(bus: MemoryBus) -> None:
            for n in range(50):
                await bus.publish(mark(n), time=START)
                await bus.publish(CANDLE, time=START)

        await asyncio.gather(*map(produce, producers))
        await asyncio.sleep(1)
        return got

    got = in_simulation(scene, seed)
    for name in ("market_data", "replay"):
        prices = [e.payload.price for e in got.events if e.producer == name]
        assert prices == list(range(50))
    assert len(got.events) == 100


def test_group_started_late_sees_the_stream_from_its_beginning_and_live_reader_only_news() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Recorder, Recorder]:
        producer = connect(sim, broker, "market_data")
        await producer.start()
        await producer.publish(mark(1), time=START)
        durable, live = Recorder(), Recorder()
        consumer = connect(sim, broker, "portfolio")
        consumer.subscribe(durable, producers=["market_data"], types=[MarkPrice], group="ledger")
        consumer.subscribe(live, producers=["market_data"], types=[MarkPrice], group=None)
        await consumer.start()
        await producer.publish(mark(2), time=START)
        await asyncio.sleep(1)
        return durable, live

    durable, live = in_simulation(scene)
    assert durable.payloads == [mark(1), mark(2)]
    assert live.payloads == [mark(2)]


def test_restarted_group_goes_on_after_what_it_handled_and_repeats_what_was_cut_short() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Recorder, list[Payload]]:
        producer = connect(sim, broker, "market_data")
        await producer.start()
        for n in range(3):
            await producer.publish(mark(n), time=START)
        begun: list[Payload] = []

        async def slow(event: Event) -> None:
            begun.append(event.payload)
            if len(begun) == 2:
                await asyncio.sleep(100)

        first = connect(sim, broker, "portfolio")
        first.subscribe(slow, producers=["market_data"], types=[MarkPrice], group="ledger")
        await first.start()
        await asyncio.sleep(1)
        await first.stop()  # killed inside the second event
        got = Recorder()
        second = connect(sim, broker, "portfolio")
        second.subscribe(got, producers=["market_data"], types=[MarkPrice], group="ledger")
        await second.start()
        await asyncio.sleep(1)
        assert broker.backlog(DESK, "market_data", "ledger", "portfolio") == 0
        return got, begun

    got, begun = in_simulation(scene)
    assert begun == [mark(0), mark(1)]
    assert got.payloads == [mark(1), mark(2)]


def test_handler_that_raises_gets_the_event_again_before_any_later_one() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Recorder, MemoryBroker, float]:
        got = Recorder(failures=3)
        consumer = connect(sim, broker, "portfolio")
        consumer.subscribe(got, producers=["market_data"], types=[MarkPrice], group="ledger")
        await consumer.start()
        producer = connect(sim, broker, "market_data")
        await producer.start()
        await producer.publish(mark(1), time=START)
        await producer.publish(mark(2), time=START)
        async with asyncio.timeout(60):
            while len(got.payloads) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return got, broker, sim.clocks.infra.monotonic()

    got, broker, took = in_simulation(scene)
    assert got.payloads == [mark(1), mark(2)]
    assert [str(failure.error) for failure in broker.failures] == ["not now"] * 3
    assert 0.7 <= took < 1


def test_two_groups_and_two_components_each_get_everything() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> list[Recorder]:
        recorders = [Recorder() for _ in range(3)]
        places = [("portfolio", "a"), ("portfolio", "b"), ("execution", "a")]
        for got, (component, group) in zip(recorders, places, strict=True):
            bus = connect(sim, broker, component)
            bus.subscribe(got, producers=["market_data"], types=[MarkPrice], group=group)
            await bus.start()
        producer = connect(sim, broker, "market_data")
        await producer.start()
        await producer.publish(mark(1), time=START)
        await asyncio.sleep(1)
        return recorders

    assert [got.payloads for got in in_simulation(scene)] == [[mark(1)]] * 3


def test_state_watcher_gets_the_stored_value_at_start_then_the_newest() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> Recorder:
        one, two = connect(sim, broker, "execution"), connect(sim, broker, "portfolio")
        await one.start()
        await two.start()
        await one.set_state(heartbeat("execution", 1), time=START)
        await two.set_state(heartbeat("portfolio", 1), time=START)
        got = Recorder()
        watcher = connect(sim, broker, "health_monitor")
        watcher.watch_state(got, types=[Heartbeat])
        await watcher.start()
        await asyncio.sleep(1)
        await one.set_state(heartbeat("execution", 2), time=START)
        await asyncio.sleep(1)
        return got

    assert in_simulation(scene).payloads == [
        heartbeat("execution", 1),
        heartbeat("portfolio", 1),
        heartbeat("execution", 2),
    ]


def test_slow_state_watcher_skips_to_the_newest() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> list[int]:
        seen: list[int] = []

        async def slow(event: Event) -> None:
            assert isinstance(event.payload, Heartbeat)
            seen.append(event.payload.progress)
            await asyncio.sleep(10)

        watcher = connect(sim, broker, "health_monitor")
        watcher.watch_state(slow, types=[Heartbeat])
        await watcher.start()
        producer = connect(sim, broker, "execution")
        await producer.start()
        for n in range(25):
            await producer.set_state(heartbeat("execution", n), time=START)
            await asyncio.sleep(1)
        await asyncio.sleep(20)
        return seen

    seen = in_simulation(scene)
    assert len(seen) <= 4
    assert seen[-1] == 24


def test_outage_refuses_publishing_and_loses_nothing_stored() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Recorder, list[bool]]:
        got = Recorder()
        consumer = connect(sim, broker, "portfolio")
        consumer.subscribe(got, producers=["market_data"], types=[MarkPrice], group="ledger")
        producer = connect(sim, broker, "market_data")
        await producer.start()
        await producer.publish(mark(1), time=START)
        connected = [producer.connected]
        broker.up = False
        connected.append(producer.connected)
        await consumer.start()
        with pytest.raises(BusUnavailable):
            await producer.publish(mark(2), time=START)
        with pytest.raises(BusUnavailable):
            await producer.set_state(heartbeat("market_data", 2), time=START)
        await asyncio.sleep(5)
        assert got.payloads == []
        broker.up = True
        await producer.publish(mark(3), time=START)
        await asyncio.sleep(1)
        return got, connected

    got, connected = in_simulation(scene)
    assert got.payloads == [mark(1), mark(3)]
    assert connected == [True, False]
    assert [event.sequence for event in got.events] == [1, 2]  # refused events take no number


def test_older_connection_of_a_producer_is_fenced() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Event, tuple[Event, ...]]:
        old, new = connect(sim, broker, "execution"), connect(sim, broker, "execution")
        await old.start()
        await old.publish(mark(1), time=START)
        await new.start()
        with pytest.raises(BusUnavailable, match="fenced"):
            await old.publish(mark(2), time=START)
        last = await new.publish(mark(3), time=START)
        return last, broker.stream(DESK, "execution")

    last, stream = in_simulation(scene)
    assert (last.epoch, last.sequence, last.id) == (2, 1, "execution:2-1")
    assert [(event.epoch, event.sequence) for event in stream] == [(1, 1), (2, 1)]


def test_group_taken_over_by_a_newer_reader_is_handled_once() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> tuple[Recorder, Recorder]:
        zombie, successor = Recorder(), Recorder()
        for got in (zombie, successor):
            bus = connect(sim, broker, "portfolio")
            bus.subscribe(got, producers=["market_data"], types=[MarkPrice], group="ledger")
            await bus.start()
        producer = connect(sim, broker, "market_data")
        await producer.start()
        await producer.publish(mark(1), time=START)
        await asyncio.sleep(1)
        return zombie, successor

    zombie, successor = in_simulation(scene)
    assert (zombie.payloads, successor.payloads) == ([], [mark(1)])


def test_wrong_use_says_what_to_do() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> None:
        bus = connect(sim, broker, "portfolio")
        with pytest.raises(RuntimeError, match="start it before"):
            await bus.publish(mark(1), time=START)
        with pytest.raises(ValueError, match="no event type"):
            bus.subscribe(Recorder(), producers=["x"], types=[], group=None)
        bus.subscribe(Recorder(), producers=["x"], types=[MarkPrice], group=None)
        await bus.start()
        with pytest.raises(RuntimeError, match="comes after start"):
            bus.watch_state(Recorder(), types=[Heartbeat])

    in_simulation(scene)


def test_idle_bus_runs_no_callbacks() -> None:
    async def scene(sim: Simulation, broker: MemoryBroker) -> int:
        bus = connect(sim, broker, "portfolio")
        bus.subscribe(Recorder(), producers=["market_data"], types=[MarkPrice], group="ledger")
        await bus.start()
        await asyncio.sleep(1)
        before = sim.loop.callbacks_run
        await asyncio.sleep(86_400)
        return sim.loop.callbacks_run - before

    assert in_simulation(scene) < 5
