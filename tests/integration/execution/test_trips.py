"""A trip or a person's halt: nothing new, then flat, proved with the venue; whatever fails on the way."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.orders import Side
from breakwater.domain.stop_state import StopState
from breakwater.runtime.events import (
    AccountReported,
    FlatConfirmed,
    OrderFailed,
    OrderFilled,
    OrderRefused,
    StopRearmed,
)

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"


async def two_positions(rig: Any) -> None:
    protection = type(rig.entry().protection)
    await rig.propose(rig.entry(protection=protection(D("98000"), D("104000"))))
    await rig.propose(
        rig.entry(
            "p-2",
            symbol="ETHUSDT",
            side=Side.SELL,
            quantity=D("3"),
            price=D("3990"),
            protection=protection(D("4080")),
        )
    )
    assert rig.held() == D("0.120")
    assert rig.held("ETHUSDT") == D("-3")


def nothing_left(rig: Any) -> bool:
    return all(
        rig.held(symbol) == 0 and not rig.stops(symbol) and not rig.resting(symbol) for symbol in ("BTCUSDT", "ETHUSDT")
    )


def test_many_orders_are_taken_back_at_the_same_time(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for number in range(20):
            await rig._client.create_order("ETH/USDT:USDT", "limit", "buy", "0.1", str(3800 + number))
        rig.slow["DELETE"] = 0.4  # one after the other: 8 s
        await rig.trip()
        await rig.sleep(3)
        assert not rig.resting("ETHUSDT")
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_stop_that_has_not_heard_of_the_flat_account_is_told_again_after_a_new_proof(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.hears_flat = False
        await two_positions(rig)
        trip = await rig.trip()
        await rig.sleep(2)
        assert [flat.trip_id for flat in rig.said(FlatConfirmed)] == [trip.trip_id]
        await rig.sleep(12)  # the lease is sent all the time, and says TRIPPED: the confirmation got lost
        assert [flat.trip_id for flat in rig.said(FlatConfirmed)] == [trip.trip_id] * 2
        first, second = rig.said(FlatConfirmed)
        assert second.time > first.time

    play(scenario)


def test_trip_closes_everything_in_order_and_proves_it(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await two_positions(rig)
        before = len(rig.venue.log)
        await rig.move("BTCUSDT", "99500")
        trip = await rig.trip()
        await rig.sleep(2)
        assert nothing_left(rig)
        assert rig.gate_closed == [rig.service.books.last_tick]
        steps = [
            (method, path.rsplit("/", 1)[1])
            for method, path, _ in rig.venue.log[before:]
            if method in {"POST", "DELETE"} and "listenKey" not in path
        ]
        # Exits before any stop is taken back.
        assert steps.index(("POST", "order")) < steps.index(("DELETE", "algoOrder"))
        flat = rig.said(FlatConfirmed)
        assert [(f.trip_id, f.epoch, f.positions, f.open_orders, f.open_algo_orders) for f in flat] == [
            (trip.trip_id, 2, 0, 0, 0)
        ]
        kinds = [type(event.payload) for event in rig.events()]
        assert kinds.index(FlatConfirmed) > max(i for i, kind in enumerate(kinds) if kind is OrderFilled)
        assert AccountReported in kinds[kinds.index(FlatConfirmed) - 1 :]
        await rig.propose(rig.entry("p-3"))
        assert rig.said(OrderRefused)[-1].refusal.code == "STOP_COOLING_DOWN"
        assert not rig.said(OrderFailed)

    play(scenario)


def test_error_trip_keeps_positions_protected_and_confirms(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await two_positions(rig)
        await rig.trip(close_positions=False)
        await rig.sleep(2)
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert [(f.positions, f.open_algo_orders) for f in rig.said(FlatConfirmed)] == [(2, 2)]

    play(scenario)


def test_trip_cancels_resting_entries(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"))
        assert len(rig.resting()) == 1
        await rig.trip()
        await rig.sleep(1)
        assert nothing_left(rig)
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_order_on_the_wire_at_the_trip_is_enumerated_and_flattened(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        # The venue takes it, the reply never comes, and the trip arrives meanwhile; even looking it up fails at first.
        rig.venue.fail("POST", ORDER, faults.lost_reply)
        blind = rig.venue.fail("GET", ORDER, faults.never_arrived, times=1000)
        rig.venue.fail("GET", "/fapi/v1/algoOrder", faults.never_arrived, times=1000)
        await rig.propose(rig.entry(), wait=0.0)
        await rig.trip()
        await rig.sleep(1)
        blind[0] = 0
        for *_, left in rig.venue.faults:
            left[0] = 0
        await rig.sleep(3)
        assert nothing_left(rig)
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_exit_chunks_respect_the_market_lot_size(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        rules = rig.service._instruments.get("BTCUSDT")
        rig.service._instruments.update([msgspec.structs.replace(rules, max_market_quantity=D("0.050"))])
        await rig.trip()
        await rig.sleep(1)
        assert nothing_left(rig)
        assert [r.qty for r in rig.accepted() if r.reduce_only] == [D("0.050"), D("0.050"), D("0.020")]

    play(scenario)


@pytest.mark.parametrize("lost", [True, False])
def test_exit_with_unknown_outcome_is_looked_up_and_ends_flat(play: Play, faults: Any, lost: bool) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        rig.venue.fail("POST", ORDER, faults.lost_reply if lost else faults.never_arrived)
        await rig.trip()
        await rig.sleep(4)
        assert nothing_left(rig)
        assert rig.held() == 0
        assert len([r for r in rig.accepted() if r.reduce_only]) == 1

    play(scenario)


def test_market_refused_by_percent_price_is_chased_with_ioc(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        rig.venue.fail("POST", ORDER, faults.answer(400, '{"code":-4131,"msg":"The counterparty best price ..."}'))
        await rig.trip()
        await rig.sleep(1)
        assert nothing_left(rig)
        assert [r.type for r in rig.accepted() if r.reduce_only] == ["LIMIT"]

    play(scenario)


def test_venue_down_requotes_pages_and_ends_flat_when_it_is_back(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry())
        down = rig.venue.fail("POST", "/fapi/", faults.never_arrived, times=10_000)
        down_get = rig.venue.fail("GET", "/fapi/", faults.never_arrived, times=10_000)
        await rig.trip()
        await rig.sleep(16)
        assert rig.service.parts.flattener.pages == 1
        assert rig.service.parts.flattener.requotes > 0
        assert rig.held() == D("0.120")
        assert rig.stops()  # the protection stays while the position does
        down[0] = down_get[0] = 0
        await rig.sleep(5)
        assert nothing_left(rig)
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_killed_in_the_middle_of_flattening_goes_on_after_the_restart(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await two_positions(rig)
        blocked = rig.venue.fail("POST", "symbol=ETHUSDT", faults.never_arrived, times=1000)
        await rig.trip()
        await rig.sleep(0.5)
        assert rig.held() == 0
        assert rig.held("ETHUSDT") != 0
        await rig.kill()
        blocked[0] = 0
        await rig.start()
        await rig.sleep(3)
        assert nothing_left(rig)
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_halt_closes_the_gate_at_once_and_flattens_without_any_bus(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await two_positions(rig)
        rig.broker.up = False
        await rig.service.halt("alice", "news")
        state, why = rig.service.gate()
        assert (state.value, why.code.value) == ("REDUCE_ONLY", "HALTED_BY_PERSON")
        await rig.sleep(2)
        assert nothing_left(rig)
        rig.broker.up = True

    play(scenario)


def test_halt_survives_a_restart_and_is_lifted_by_the_rearmed_stop_only(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.service.halt("alice", "news")
        await rig.kill()
        await rig.start()
        await rig.sleep(1)
        assert rig.service.gate()[1].code == "HALTED_BY_PERSON"
        await rig.stop_state(StopState.ARMED)  # a new epoch alone is no re-arm
        await rig.sleep(0.2)
        assert rig.service.gate()[1].code == "HALTED_BY_PERSON"
        await rig.say(
            "emergency_stop",
            StopRearmed(9, StopState.COOLING_DOWN, StopState.ARMED, rig.clocks.market.now(), "bob", "checked"),
        )
        await rig.sleep(1)
        await rig.snapshot()
        await rig.sleep(0.1)
        assert rig.service.books.halt is None

    play(scenario)


async def rearm(rig: Any) -> None:
    """A stop that has cooled down is re-armed by a person."""
    await rig.stop_state(StopState.ARMED)
    await rig.say(
        "emergency_stop",
        StopRearmed(9, StopState.COOLING_DOWN, StopState.ARMED, rig.clocks.market.now(), "bob", "checked"),
    )
    await rig.sleep(1)
    await rig.snapshot()
    await rig.sleep(0.1)


@pytest.mark.parametrize("restarts", [0, 2])
def test_halt_repeated_after_the_rearm_gets_its_old_answer_and_halts_nothing(play: Play, restarts: int) -> None:
    async def scenario(rig: Any) -> None:
        first = await rig.service.halt("alice", "news", "t1")
        second = await rig.service.halt("carol", "me too", "t2")
        assert second == first
        await rearm(rig)
        assert rig.service.books.halt is None
        for _ in range(restarts):  # the second one reads what the first one compacted
            await rig.kill()
            await rig.start()
            await rig.sleep(1)
        for request in ("t1", "t2"):
            again = await rig.service.halt("alice", "news", request)
            assert (again.who, again.reason, again.time) == (first.who, first.reason, first.time)
        assert rig.service.books.halt is None
        await rig.service.halt("alice", "news", "t3")
        assert rig.service.gate()[1].code == "HALTED_BY_PERSON"

    play(scenario)


def test_halt_without_an_id_halts_each_time(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.service.halt("alice", "news")
        await rearm(rig)
        assert rig.service.books.halt is None
        await rig.service.halt("alice", "news")
        assert rig.service.gate()[1].code == "HALTED_BY_PERSON"

    play(scenario)


def test_ids_of_halts_are_kept_up_to_a_bound_the_newest_first(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for number in range(300):
            await rig.service.halt("alice", "news", f"t{number}")
        known = list(rig.service.books.halts_answered)
        assert known == [f"t{number}" for number in range(300 - 256, 300)]
        await rig.kill()
        await rig.start()
        assert list(rig.service.books.halts_answered) == known

    play(scenario)


def test_halt_is_handed_over_to_the_tripped_stop(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.hears_flat = False
        await rig.propose(rig.entry())
        await rig.service.halt("alice", "news")
        trip = await rig.trip()
        await rig.sleep(2)
        assert rig.service.books.halt is None
        assert rig.service.gate()[1].code == "STOP_TRIPPED"
        assert nothing_left(rig)
        assert [f.trip_id for f in rig.said(FlatConfirmed)] == [trip.trip_id]

    play(scenario)


def test_silent_stop_closes_the_gate_within_its_lease(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"))
        rig.silence_stop()
        await rig.sleep(1.4)
        assert rig.service.parts.gate.why.code == "STOP_LEASE_EXPIRED"
        assert len(rig.gate_closed) == 1
        assert rig.resting() == []  # resting entries are taken back
        await rig.propose(rig.entry("p-2"))
        assert rig.said(OrderRefused)[-1].refusal.code == "STOP_LEASE_EXPIRED"

    play(scenario)


def test_older_epoch_does_not_open_the_gate_again(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.trip()
        await rig.sleep(0.1)
        rig._epoch, rig._state, rig._trip = 1, StopState.ARMED, None
        await rig.sleep(1)
        assert rig.service.gate()[1].code == "STOP_TRIPPED"

    play(scenario)
