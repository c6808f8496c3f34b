"""Stops that fail, crashes between journal and wire, the account compared, streams that break."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from breakwater.domain.refusals import RefusalCode
from breakwater.execution.startup import measure_clock
from breakwater.runtime.events import AccountReported, OrderFailed, OrderFilled, OrderRefused

D = Decimal
Play = Callable[..., Any]
ORDER = "/fapi/v1/order?"
ALGO = "/fapi/v1/algoOrder"


def test_stop_that_would_trigger_at_once_closes_the_position(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ALGO, faults.answer(400, '{"code":-2021,"msg":"Order would immediately trigger."}'))
        await rig.propose(rig.entry(), wait=1)
        assert rig.held() == 0
        assert [f.role for f in rig.said(OrderFilled)] == ["ENTRY", "EXIT"]
        assert rig.stops() == []

    play(scenario)


def test_no_stop_within_two_seconds_closes_the_position(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ALGO, faults.answer(503, '{"code":-1008,"msg":"busy"}'), times=1000)
        await rig.propose(rig.entry(), wait=1.5)
        assert rig.held() == D("0.120")
        await rig.sleep(1.5)
        assert rig.held() == 0
        assert [f.code for f in rig.said(OrderFailed) if f.counts_as_error] == ["UNPROTECTED"]

    play(scenario)


@pytest.mark.parametrize("lost", [True, False])
def test_stop_with_unknown_outcome_ends_with_exactly_one(play: Play, faults: Any, lost: bool) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("POST", ALGO, faults.lost_reply if lost else faults.never_arrived)
        await rig.propose(rig.entry(), wait=2.1)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.held() == D("0.120")

    play(scenario)


def test_growing_position_gets_the_new_stop_before_the_old_goes(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(quantity=D("0.060")), wait=1)
        before = len(rig.venue.log)
        await rig.propose(rig.entry("p-2", quantity=D("0.060")), wait=1)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        calls = [m for m, path, _ in rig.venue.log[before:] if path == ALGO and m != "GET"]
        assert calls == ["POST", "DELETE"]

    play(scenario)


def test_stop_cancelled_by_somebody_else_is_replaced(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        algo = rig.core.ledger.open_algo_orders("paper", "BTCUSDT")[0]
        rig.core._algos.cancel(rig.core.ledger.account("paper"), algo.algo_id, None, rig._session.now())
        await rig.sleep(7)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.held() == D("0.120")

    play(scenario)


def test_stream_down_while_filled_the_fill_is_fetched_and_protected(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        rig._session.drop_streams()
        await rig.propose(rig.entry(), wait=1.9)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert len(rig.said(OrderFilled)) == 1

    play(scenario)


def test_stop_hit_while_the_stream_is_silent_is_found_by_comparison(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=1)
        rig.service._client.tap = None  # connected, and delivers nothing
        await rig.move("BTCUSDT", "97900")
        await rig.sleep(7)
        assert [f.role for f in rig.said(OrderFilled)] == ["ENTRY", "STOP"]
        report = rig.said(AccountReported)[-1]
        assert report.positions == ()
        assert report.through_trade["BTCUSDT"] == rig.said(OrderFilled)[-1].trade_id
        assert rig.service.parts.reconciler.missed_fills == 1

    play(scenario)


def test_expired_listen_key_gets_a_new_one_and_events_go_on(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        for _ in range(8):  # two hours: several renewals
            await rig.sleep(900)
            await rig.snapshot()
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        assert rig.venue.count("PUT", "listenKey") >= 5
        await rig.propose(rig.entry(), wait=0.2)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.service.parts.fills.from_rest == 0

    play(scenario)


def test_renewal_that_comes_at_a_bad_moment_is_made_a_little_later_and_the_stream_goes_on(
    play: Play, faults: Any
) -> None:
    async def scenario(rig: Any) -> None:
        limited = faults.answer(429, '{"code":-1003,"msg":"Too many requests."}')
        rig.venue.fail("PUT", "listenKey", limited)
        keys = rig.venue.count("POST", "listenKey")
        await rig.sleep(1150)
        await rig.snapshot()
        await rig.sleep(100)
        assert rig.venue.count("PUT", "listenKey") >= 2
        assert rig.service.parts.stream.reconnects == 0
        assert rig.venue.count("POST", "listenKey") == keys

    play(scenario)


def test_killed_between_journal_and_send_the_order_is_not_sent_again(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        proposal = rig.entry()
        original = rig.service.parts.gateway.send

        async def never(approval: Any) -> Any:
            await rig.sleep(3600)
            return await original(approval)

        rig.service.parts.gateway.send = never
        await rig.propose(proposal, wait=0.5)
        assert rig.disk.read("execution.journal")
        await rig.kill()
        await rig.restart()
        await rig.sleep(10)
        await rig.propose(proposal, wait=1)  # delivered again
        assert rig.accepted() == []
        assert rig.said(OrderRefused)[-1].refusal.code == "DUPLICATE_PROPOSAL"
        await rig.snapshot()
        await rig.mark("BTCUSDT")
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.held() == D("0.120")

    play(scenario)


def test_killed_after_the_venue_took_it_the_restart_finds_and_protects_it(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        def kill_after(handle: Any) -> Any:
            handle()
            for task in list(rig.service._tasks):
                task.cancel()
            raise aiohttp.ServerDisconnectedError

        rig.venue.fail("POST", ORDER, kill_after)
        proposal = rig.entry()
        await rig.propose(proposal, wait=0.5)
        assert rig.stops() == []
        await rig.kill()
        await rig.restart()
        await rig.sleep(3)
        assert len(rig.accepted()) == 1
        assert rig.held() == D("0.120")
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert [f.role for f in rig.said(OrderFilled)] == ["ENTRY"]
        assert rig.said(AccountReported)[-1].foreign == ()
        await rig.propose(proposal, wait=1)
        assert len(rig.accepted()) == 1

    play(scenario)


def test_restart_with_everything_in_order_changes_nothing(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=6)
        orders = rig.venue.count("POST", "rder?")
        await rig.kill()
        await rig.restart()
        await rig.sleep(6)
        assert rig.venue.count("POST", "rder?") == orders
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert len(rig.said(OrderFilled)) == 1
        assert rig.service.books.reconciled

    play(scenario)


def test_bus_away_fills_wait_and_come_in_order_before_the_report(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(), wait=0.0)
        rig.broker.up = False
        await rig.sleep(8)
        rig.broker.up = True
        await rig.sleep(4)
        kinds = [type(e.payload) for e in rig.events()]
        fill = kinds.index(OrderFilled)
        with_position = next(
            i for i, e in enumerate(rig.events()) if isinstance(e.payload, AccountReported) and e.payload.positions
        )
        assert fill < with_position
        assert kinds.count(OrderFilled) == 1

    play(scenario)


def test_order_of_somebody_else_closes_the_gate_until_it_is_gone(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        client = rig._client
        await client.create_order("ETH/USDT:USDT", "limit", "buy", "1", "3900")
        await rig.sleep(6)
        _, why = rig.service.gate()
        assert why is not None
        assert why.code == "NOT_RECONCILED"
        assert "ETHUSDT" in rig.said(AccountReported)[-1].foreign[0]
        order = rig.resting("ETHUSDT")[0]
        await client.cancel_order(str(order.order_id), "ETH/USDT:USDT")
        await rig.sleep(6)
        assert rig.service.gate()[1] is None

    play(scenario)


def test_position_of_somebody_else_is_named_and_closed_by_a_trip(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig._client.create_order("ETH/USDT:USDT", "market", "buy", "1")
        await rig.sleep(6)
        assert "was not opened by this desk" in rig.said(AccountReported)[-1].foreign[0]
        assert len(rig.said(OrderFilled)) == 1  # the ledger follows the account all the same
        await rig.trip()
        await rig.sleep(2)
        assert rig.held("ETHUSDT") == 0

    play(scenario)


def test_account_in_hedge_mode_opens_nothing_and_says_what_to_change(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("GET", "positionSide/dual", faults.answer(200, '{"dualSidePosition": true}'))
        await rig.start()
        await rig.sleep(1)
        assert "one-way mode" in rig.said(AccountReported)[-1].foreign[0]

    play(scenario, ready=False)


def test_venue_away_at_the_start_stays_reduce_only_and_recovers(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        down = rig.venue.fail("GET", "/fapi/", faults.never_arrived, times=100_000)
        await rig.start()
        await rig.sleep(10)
        assert rig.service.gate()[0] == "REDUCE_ONLY"
        down[0] = 0
        await rig.sleep(6)
        assert rig.service.books.reconciled

    play(scenario, ready=False)


def test_account_that_cannot_be_read_closes_the_gate(play: Play, faults: Any) -> None:
    async def scenario(rig: Any) -> None:
        rig.venue.fail("GET", "/fapi/v3/account", faults.answer(200, '{"totalWalletBalance": "abc"}'), times=1000)
        await rig.sleep(26)
        assert rig.service.gate()[1].code == "NOT_RECONCILED"
        assert rig.service.parts.calls.nonsense > 0

    play(scenario)


def test_damaged_journal_starts_all_the_same_and_refuses_old_proposals(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        proposal = rig.entry()
        await rig.propose(proposal, wait=1)
        await rig.kill()
        raw = rig.disk.read("execution.journal")
        await rig.disk.replace("execution.journal", raw[:60] + b"X" + raw[61:])
        await rig.start()
        await rig.sleep(3)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        await rig.propose(proposal, wait=1)
        assert len([r for r in rig.accepted() if not r.reduce_only]) == 1

    play(scenario)


def test_same_seed_gives_the_same_run(play: Play) -> None:
    async def scenario(rig: Any) -> str:
        await rig.propose(rig.entry(), wait=1)
        await rig.trip()
        await rig.sleep(3)
        return str([(e.time, e.payload) for e in rig.events()])

    assert play(scenario, seed=7) == play(scenario, seed=7)


def test_clock_that_is_off_is_measured_and_requests_are_still_taken(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        infra = rig.clocks.infra
        honest = infra.utc_now

        class Off:
            """Our machine's clock, 40 s slow for signing; the venue keeps the right time."""

            def utc_now(self) -> Any:
                return honest() - timedelta(seconds=40)

            def monotonic(self) -> float:
                return float(infra.monotonic())

        rig._client.clock = Off()
        # What `measure_clock` sees is the service's own clock: shift it the same way for one measurement.
        offset = await measure(rig, Off())
        assert offset == -40_000
        # Questions and exits are signed with the venue's time; nothing is opened on a machine that has lost its own.
        await rig.propose(rig.entry("p-1"), wait=1)
        assert rig.held() == D(0)
        refused = rig.said(OrderRefused)[-1].refusal
        assert refused.code is RefusalCode.VENUE_NOT_CLEARED
        assert "40.0 s behind the venue's" in refused.text
        assert "set the clock" in refused.text
        rounds = rig.service.parts.reconciler.rounds
        await rig.sleep(6)
        assert rig.service.parts.reconciler.rounds > rounds

        rig._client.clock = infra
        assert await measure(rig, infra) == 0
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await rig.mark(symbol)
        await rig.snapshot()
        await rig.propose(rig.entry("p-2"), wait=1)
        assert rig.held() == D("0.120")

    async def measure(rig: Any, clock: Any) -> int:
        parts = rig.service.parts
        assert await measure_clock(rig._client, parts.calls, clock, parts.clearance)
        return int(rig._client.options["timeDifference"])

    play(scenario)


def test_silent_stream_is_connected_anew(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.sleep(6)
        tap, rig.service._client.tap = rig.service._client.tap, None
        await rig.propose(rig.entry(), wait=6)
        assert rig.stops() == [(D("0.120"), D("98000"))]
        assert rig.service.parts.stream.reconnects >= 1
        rig.service._client.tap = tap

    play(scenario)


def test_resting_entry_of_an_earlier_life_is_taken_back_when_it_expires(play: Play) -> None:
    async def scenario(rig: Any) -> None:
        await rig.propose(rig.entry(price=D("99900"), time_in_force="GTX"))
        await rig.kill()
        await rig.restart()
        assert len(rig.resting()) == 1
        await rig.sleep(70)
        assert rig.resting() == []

    play(scenario)
