"""The account tells half the truth: replies that lag or are empty, pasts that are not ours, orders that turn up late."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.ids import ProposalId
from breakwater.domain.orders import Side
from breakwater.execution.client_ids import client_order_id
from breakwater.execution.journal import FILE
from breakwater.runtime.events import FlatConfirmed, OrderFilled, OrderRefused, PolicyUpdated

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"
ALGO = "/fapi/v1/algoOrder"
POSITIONS = "/fapi/v3/positionRisk"


@pytest.mark.parametrize("times", [1, 3])
def test_positions_missing_from_a_reply_keep_their_stops(play: Play, faults: Any, times: int) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig.venue.fail("GET", POSITIONS, faults.answer(200, "[]"), times=times)
        await rig.sleep(12)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.venue.count("DELETE", ALGO) == 0
        assert rig.service.books.positions["BTCUSDT"] == D("0.120")
        assert rig.service.books.reconciled

    play(scenario)


def test_trip_is_not_confirmed_flat_by_an_empty_list_of_positions(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        blind = rig.venue.fail("GET", POSITIONS, faults.answer(200, "[]"), times=1000)
        stuck = rig.venue.fail("POST", ORDER, faults.answer(503, '{"code":-1008,"msg":"busy"}'), times=1000)
        await rig.trip()
        await rig.sleep(5)
        assert not rig.said(FlatConfirmed)
        assert len(rig.stops()) == 1
        blind[0] = stuck[0] = 0
        await rig.sleep(5)
        assert rig.held() == 0
        assert len(rig.said(FlatConfirmed)) == 1

    play(scenario)


def test_one_position_missing_beside_another_is_asked_again_before_it_is_believed(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        eth = rig.entry("p-2", symbol="ETHUSDT", side=Side.SELL, quantity=D("2"), price=D("3990"))
        eth = msgspec.structs.replace(eth, protection=msgspec.structs.replace(eth.protection, stop_price=D("4080")))
        await rig.propose(eth, wait=1)

        def lagging(handle: Any) -> Any:
            reply = handle()
            rows = [row for row in msgspec.json.decode(reply.body) if row["symbol"] != "BTCUSDT"]
            return type(reply)(reply.status, reply.headers, msgspec.json.encode(rows))

        rig.venue.fail("GET", POSITIONS, lagging)
        await rig.sleep(12)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.venue.count("DELETE", ALGO) == 0
        assert rig.service.books.reconciled

    play(scenario)


def test_past_of_a_symbol_that_the_policy_adds_is_not_booked_as_ours(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, symbols=("BTCUSDT",))
        for _ in range(3):
            await rig._client.create_order("ETH/USDT:USDT", "market", "buy", "1")
            await rig._client.create_order("ETH/USDT:USDT", "market", "sell", "1")
        await rig.kill()
        rig.disk._files.clear()  # a desk that never saw them
        before = len(rig.said(OrderFilled))
        await rig.start()
        await rig.sleep(1)
        await rig.snapshot()
        await rig.mark("BTCUSDT")
        await rig.mark("ETHUSDT")
        # The symbol comes with the policy, and an entry on it at once; the stream is down, so fills are fetched.
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, symbols=("BTCUSDT", "ETHUSDT"))
        rig._session.drop_streams()
        rig.venue.fail("GET", "symbol=ETHUSDT&limit=1&", faults.never_arrived, times=3)  # its newest trade
        eth = rig.entry("p-9", symbol="ETHUSDT", quantity=D("3"), price=D("4020"))
        eth = msgspec.structs.replace(eth, protection=msgspec.structs.replace(eth.protection, stop_price=D("3920")))
        await rig.propose(eth, wait=8)
        fills = rig.said(OrderFilled)[before:]
        assert len(fills) == len({f.trade_id for f in fills})
        assert sum((f.quantity * f.side.sign for f in fills), D(0)) == rig.held("ETHUSDT")
        assert all(f.quantity == 3 for f in fills)
        refused = [r.refusal.code for r in rig.said(OrderRefused)]
        assert refused == ["UNRESOLVED_ORDER"] or len(fills) == 1

    play(scenario)


def test_past_of_a_position_that_is_not_ours_is_not_booked(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for side in ("buy", "sell", "buy"):
            await rig._client.create_order("ETH/USDT:USDT", "market", side, "1")
        await rig.sleep(1)
        await rig.kill()
        rig.disk._files.clear()  # a desk that never saw them
        before = len(rig.said(OrderFilled))
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, symbols=("BTCUSDT",))
        await rig.start()
        await rig.sleep(8)
        assert len(rig.said(OrderFilled)) == before
        assert rig.service.books.positions["ETHUSDT"] == 1
        assert rig.service.gate()[1].code == "NOT_RECONCILED"

    play(scenario)


def test_stop_the_venue_does_not_show_yet_is_taken_back_when_it_turns_up(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        empty = rig.venue.fail("GET", "/fapi/v1/openAlgoOrders", faults.answer(200, "[]"), times=2)
        unknown = rig.venue.fail(
            "GET", ALGO, faults.answer(400, '{"code":-2013,"msg":"Order does not exist."}'), times=3
        )
        await rig.propose(rig.entry(), wait=7)
        empty[0] = unknown[0] = 0
        await rig.sleep(12)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        await rig.move("BTCUSDT", "97900")
        await rig.sleep(6)
        assert rig.held() == 0
        assert rig.stops() == []

    play(scenario)


def test_entry_of_ours_that_nobody_knows_fills_and_is_not_left_without_a_stop(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        client_id = client_order_id(rig.service.books.desk, ProposalId("p-lost"), rig.entry().role)
        rig.venue.fail("DELETE", ORDER, faults.never_arrived, times=1000)
        await rig._client.create_order("BTC/USDT:USDT", "limit", "buy", "0.100", "99900", {"clientOrderId": client_id})
        await rig.sleep(6)
        await rig.move("BTCUSDT", "99850")
        await rig.sleep(4)
        assert rig.held() == 0 or rig.stops()

    play(scenario)


def test_killed_while_the_order_is_on_its_way_counts_it_until_it_cannot_arrive(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.slow[f"POST http://venue.memory{ORDER[:-1]}"] = 2.5  # longer than the restart takes
        await rig.propose(rig.entry(), wait=0.3)
        await rig.kill()
        rig.slow.clear()
        await rig.restart()
        other = rig.entry("p-2", symbol="BTCUSDT", quantity=D("0.110"))
        await rig.propose(other, wait=4)
        assert rig.said(OrderRefused)[-1].refusal.code == "UNRESOLVED_ORDER"
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]

    play(scenario)


def test_removed_symbol_has_its_resting_entry_taken_back(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"))
        assert len(rig.resting()) == 1
        rig.policy.spec = msgspec.structs.replace(rig.policy.spec, symbols=("ETHUSDT",))
        await rig.say("policy", PolicyUpdated(2, "", "alice", ("spec.symbols",)))
        await rig.sleep(0.1)
        assert rig.resting() == []

    play(scenario)


def test_post_only_entry_on_the_wire_when_the_gate_closes_does_not_rest(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig.slow["POST http://venue.memory/fapi/v1/order"] = 1.5
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"), wait=0.2)
        rig.silence_stop()
        await rig.sleep(1.6)  # the gate closed while the order was on its way
        assert rig.service.gate()[0] == "REDUCE_ONLY"
        await rig.sleep(0.5)
        assert rig.resting() == []

    play(scenario)


def test_settings_that_cannot_be_read_at_the_start_do_not_keep_a_position_unprotected(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ALGO, faults.never_arrived, times=1000)
        await rig.propose(rig.entry(), wait=0.2)
        await rig.kill()
        rig.venue.faults.clear()
        rig.venue.fail("GET", "multiAssetsMargin", faults.never_arrived, times=1000)
        await rig.restart()
        await rig.sleep(3)
        assert rig.held() == 0 or rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.service.gate()[0] == "REDUCE_ONLY"

    play(scenario)


def test_proposal_with_a_remainders_id_is_refused(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for _ in range(2):
            await rig.propose(rig.entry("p-1~2", quantity=D("0.050")), wait=1)
        assert rig.held() == 0
        assert {r.refusal.code for r in rig.said(OrderRefused)} == {"DUPLICATE_PROPOSAL"}
        assert FILE in rig.disk.names()

    play(scenario)


def test_reply_to_another_order_is_not_taken_for_ours(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        def crossed(handle: Any) -> Any:
            reply = msgspec.json.decode(handle().body)
            reply |= {"clientOrderId": "somebody-elses", "orderId": 1, "executedQty": "0", "status": "EXPIRED"}
            return faults.answer(200, msgspec.json.encode(reply).decode())(lambda: None)

        rig.venue.fail("POST", ORDER, crossed)
        await rig.propose(rig.entry(), wait=2)
        assert rig.held() == D("0.120")
        assert len(rig.accepted()) == 1
        assert rig.stops() == [(D("0.120"), D("98000"))]

    play(scenario)
