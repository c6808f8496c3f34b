"""A burst of signals: the best are judged first, each one is answered, and a kill forgets none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import msgspec
from tests.unit.risk_manager.conftest import BTC, DESK, Desk, Play

from breakwater.domain.ids import SignalId, Symbol
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.signals import DataKind, Direction, Provenance, Signal
from breakwater.runtime.events import OrderRefused, SignalGenerated

D = Decimal
OnDesk = Callable[[Play], None]


def burst_of(desk: Desk, count: int, symbol: Symbol = BTC) -> list[Signal]:
    now = desk.clocks.market.now()
    return [
        Signal(
            SignalId(f"burst-{number}"), symbol, Direction.LONG, D(number % 997) / 1000, now, timedelta(seconds=60),
            Provenance("heuristic:test", DataKind.REPLAY), stop_pct=D(2),
        )
        for number in range(count)
    ]  # fmt: skip


async def published(desk: Desk, signals: list[Signal]) -> None:
    await desk.say("ai_engine", SignalGenerated(signals[0]))
    bus = desk._buses["ai_engine"]
    now = desk.clocks.market.now()
    await asyncio.gather(*(bus.publish(SignalGenerated(each), time=now) for each in signals[1:]))


def answers(desk: Desk) -> Counter[str]:
    """How often each signal was refused, by the name of the proposal it would have become."""
    said = [event.payload for event in desk.broker.stream(DESK, "risk_manager")]
    return Counter(str(payload.proposal_id) for payload in said if isinstance(payload, OrderRefused))


async def settled(desk: Desk) -> None:
    while desk.broker.backlog(DESK, "ai_engine", "risk_manager", "risk_manager"):
        await desk.clocks.infra.sleep(0.05)


def test_ten_thousand_signals_at_once_are_each_answered_once_and_the_surest_trades(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        signals = burst_of(desk, 10_000)
        await published(desk, signals)
        await settled(desk)
        (traded,) = desk.proposals
        assert traded.signal_id in {each.signal_id for each in signals if each.confidence > D("0.5")}
        refused = answers(desk)
        assert set(refused.values()) == {1}
        assert refused.keys() | {str(traded.proposal_id)} == {f"p-{each.signal_id}" for each in signals}
        assert desk.codes.count(RefusalCode.SIGNAL_CROWDED_OUT) > 5_000

    on_desk(play)


def test_best_of_those_that_wait_is_judged_first(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        assert desk.service is not None
        async with desk.service._deciding:  # as if judging took its time
            await published(desk, burst_of(desk, 51))
            await desk.settle()
        await settled(desk)
        # The first was in judgement already and waited for nobody.
        sayings = [event.payload for event in desk.broker.stream(DESK, "risk_manager")]
        order = [str(each.proposal_id) for each in sayings if isinstance(each, OrderRefused)]
        assert order[1:4] == ["p-burst-50", "p-burst-49", "p-burst-48"]

    on_desk(play)


def test_signals_that_waited_when_the_process_was_killed_are_judged_after_its_restart(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        assert desk.service is not None
        async with desk.service._deciding:
            await published(desk, burst_of(desk, 20))
            await desk.kill()
        assert desk.refusals == []
        await desk.ready()
        await settled(desk)
        assert answers(desk) == {f"p-burst-{number}": 1 for number in range(20)}

    on_desk(play)


def test_signal_that_waits_for_something_unknown_is_judged_after_a_kill(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.lease()
        await desk.snapshot()
        await desk.signal("waits")  # no mark is known
        await desk.settle()
        assert desk.proposals == []
        assert desk.refusals == []
        await desk.kill()
        await desk.start()
        await desk.lease()
        await desk.snapshot()
        await desk.mark()
        assert [str(each.proposal_id) for each in desk.proposals] == ["p-waits"]

    on_desk(play)


def test_older_signal_does_not_replace_a_newer_one_that_waits(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.lease()
        await desk.snapshot()
        now = desk.clocks.market.now()
        await desk.signal("newer")
        await desk.signal("older", time=now - timedelta(seconds=5))
        assert desk.codes == [RefusalCode.SIGNAL_SUPERSEDED]
        await desk.mark()
        assert [str(each.proposal_id) for each in desk.proposals] == ["p-newer"]

    on_desk(play)


def test_signal_that_expires_in_the_queue_is_refused_as_expired(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        assert desk.service is not None
        async with desk.service._deciding:
            await desk.signal("first", confidence=D("0.1"))
            await desk.signal("second", horizon=timedelta(seconds=1))
            await desk.clocks.infra.sleep(2)
        await settled(desk)
        assert desk.codes == [RefusalCode.CONFIDENCE_LOW, RefusalCode.EXPIRED]

    on_desk(play)


def test_surer_of_two_signals_of_one_time_keeps_its_place(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.lease()
        await desk.snapshot()
        now = desk.clocks.market.now()
        await desk.signal("surer", confidence=D("0.9"))
        await desk.signal("weaker", confidence=D("0.5"), time=now)
        assert desk.codes == [RefusalCode.SIGNAL_SUPERSEDED]
        await desk.mark()
        assert [str(each.proposal_id) for each in desk.proposals] == ["p-surer"]

    on_desk(play)


def test_signal_that_became_a_proposal_is_never_refused_when_it_comes_again_in_a_burst(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal("weak", confidence=D("0.5"))
        assert [str(each.proposal_id) for each in desk.proposals] == ["p-weak"]
        key = (DESK, "ai_engine", "risk_manager", "risk_manager")
        await desk.kill()
        desk.broker._cursors[key] = 0  # its acknowledgement was lost
        await desk.start()
        assert desk.service is not None
        await desk.lease()
        async with desk.service._deciding:
            surer = [msgspec.structs.replace(each, confidence=D("0.9")) for each in burst_of(desk, 150)]
            await published(desk, surer)
            await desk.settle()
        await desk.snapshot()
        await desk.mark()
        await settled(desk)
        assert "p-weak" not in answers(desk)
        assert [str(each.proposal_id) for each in desk.proposals].count("p-weak") == 2  # the gate drops the second

    on_desk(play)
