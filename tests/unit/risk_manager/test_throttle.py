"""The repeated-order throttle over restarts, repeated requests and an outage of the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from breakwater.domain.ids import Symbol
from breakwater.domain.policy import LimitOverrides, PolicySpec
from breakwater.domain.refusals import RefusalCode
from breakwater.risk_manager.journal import Closed
from breakwater.runtime.events import ThrottleClosed, ThrottleEnabled
from breakwater.runtime.ports import DiskError

OnDesk = Callable[[Callable[[Any], Awaitable[None]]], None]
BTC = Symbol("BTCUSDT")


def said(desk: Any, kind: type) -> list[Any]:
    return [event.payload for event in desk.broker.stream("desk-a", "risk_manager") if isinstance(event.payload, kind)]


async def close(desk: Any) -> None:
    """Identical entries until the symbol closes."""
    desk.policy.spec = PolicySpec((BTC,), limits=LimitOverrides(max_repeated_orders=2))
    for number in range(3):
        await desk.signal(f"s{number}")
        await desk.gate_refuses(f"s{number}", RefusalCode.NOT_RECONCILED)
    assert BTC in desk.service.journal.closed()


def test_closing_and_enabling_are_said_on_the_bus_with_who_and_why(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await close(desk)
        (closed,) = said(desk, ThrottleClosed)
        assert (closed.symbol, closed.repeats, closed.limit) == (BTC, 2, 2)
        await desk.service.enable(BTC, "r1", "alice", "fixed")
        (enabled,) = said(desk, ThrottleEnabled)
        assert (enabled.symbol, enabled.who, enabled.reason, enabled.request_id) == (BTC, "alice", "fixed", "r1")

    on_desk(play)


def test_repeated_request_gets_its_answer_and_does_not_open_a_symbol_that_closed_again(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await close(desk)
        first = await desk.service.enable(BTC, "r1", "alice", "fixed")
        await desk.service.journal.close(Closed(BTC, desk.clocks.market.now(), 2, 2))
        await desk.kill()
        await desk.start()
        assert await desk.service.enable(BTC, "r1", "bob", "again") == first
        assert BTC in desk.service.journal.closed()
        assert not desk.service.readiness()["throttle"].ok
        assert len(said(desk, ThrottleEnabled)) == 1

    on_desk(play)


def test_word_that_could_not_be_passed_on_is_passed_on_after_a_restart(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await close(desk)
        desk.broker.up = False
        assert (await desk.service.enable(BTC, "r1", "alice", "fixed")).accepted
        assert said(desk, ThrottleEnabled) == []
        await desk.kill()
        desk.broker.up = True
        await desk.start()
        await desk.clocks.infra.sleep(2)
        assert [each.request_id for each in said(desk, ThrottleEnabled)] == ["r1"]
        await desk.kill()
        await desk.start()
        await desk.clocks.infra.sleep(2)
        assert len(said(desk, ThrottleEnabled)) == 1

    on_desk(play)


def test_gate_that_counted_too_many_closes_the_symbol_here_until_enabled(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await desk.signal("s1")
        await desk.gate_refuses("s1", RefusalCode.REPEATED_ORDER)
        await desk.signal("s2")
        assert desk.codes == [RefusalCode.REPEATED_ORDER]
        await desk.service.enable(BTC, "r1", "alice", "fixed")
        await desk.signal("s3")
        assert len(desk.proposals) == 2

    on_desk(play)


def test_many_restarts_keep_closed_symbols_counts_and_answers(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await close(desk)
        await desk.service.enable(BTC, "r1", "alice", "fixed")
        await desk.service.enable(BTC, "r2", "alice", "sure")
        await desk.service.journal.close(Closed(Symbol("ETHUSDT"), desk.clocks.market.now(), 3, 3))
        before = desk.service.journal
        for _ in range(3):
            await desk.kill()
            await desk.start()
        after = desk.service.journal
        assert (after.closed(), after.counts(), after.answers()) == (before.closed(), before.counts(), before.answers())
        assert [each.accepted for each in after.answers()] == [True, False]

    on_desk(play)


def test_disk_that_fails_after_the_answer_does_not_deny_it(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        await close(desk)
        append, written = desk.disk.append, 0

        async def once(name: str, data: bytes) -> None:
            nonlocal written
            written += 1
            if written > 1:
                raise DiskError(f"{name}: no space left on device")
            await append(name, data)

        desk.disk.append = once
        assert (await desk.service.enable(BTC, "r1", "alice", "fixed")).accepted
        desk.disk.append = append
        await desk.clocks.infra.sleep(5)
        assert not desk.service.failed.done()
        assert desk.service.journal.unannounced() == []

    on_desk(play)
