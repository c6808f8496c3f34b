"""The risk manager on a bus: who gets a proposal, who a refusal, and what survives a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from breakwater.domain.ids import Symbol
from breakwater.domain.orders import OrderRole, OrderType, Side, TimeInForce
from breakwater.domain.policy import LimitOverrides, PolicySpec, SignalRules, SignalSource, TradingMode
from breakwater.domain.refusals import RefusalCode
from breakwater.domain.signals import DataKind, Direction, Provenance
from breakwater.domain.stop_state import StopState

Desk = Any
OnDesk = Callable[[Callable[[Desk], Awaitable[None]]], None]
BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
D = Decimal


def test_signal_becomes_a_protected_entry_within_limits(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        signal = await desk.signal()
        [proposal] = desk.proposals
        assert (proposal.proposal_id, proposal.side, proposal.role) == ("p-s1", Side.BUY, OrderRole.ENTRY)
        assert (proposal.order_type, proposal.time_in_force) == (OrderType.LIMIT, TimeInForce.IOC)
        assert (proposal.quantity, proposal.price, proposal.leverage) == (D("0.124"), D("100450.0"), 10)
        assert proposal.protection.stop_price == D("98000.0")
        assert (proposal.created_at, proposal.expires_at) == (signal.time, signal.expires_at)
        assert proposal.bound_by == "maxRiskPerTradePct"
        assert proposal.provenance == signal.provenance
        assert desk.refusals == []

    on_desk(play)


def test_short_signal_sells_with_the_stop_above(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal(direction=Direction.SHORT, target_pct=D(3))
        [proposal] = desk.proposals
        assert proposal.side is Side.SELL
        assert proposal.protection.target_price < proposal.price < proposal.protection.stop_price

    on_desk(play)


def test_same_signal_delivered_twice_gives_one_proposal(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal("s1")
        await desk.signal("s1")
        assert len(desk.proposals) == 1

    on_desk(play)


def test_second_entry_on_a_symbol_waits_for_the_first_to_end(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal("s1")
        await desk.signal("s2")
        assert desk.codes == [RefusalCode.UNRESOLVED_ORDER]
        await desk.gate_refuses("s1", RefusalCode.DUPLICATE_PROPOSAL)  # that entry is under way
        await desk.signal("s3")
        assert desk.codes == [RefusalCode.UNRESOLVED_ORDER] * 2
        await desk.gate_refuses("s1", RefusalCode.RISK_AT_STOP)
        await desk.signal("s4")
        assert [p.signal_id for p in desk.proposals] == ["s1", "s4"]
        await desk.fails("s4")
        await desk.signal("s5")
        assert [p.signal_id for p in desk.proposals] == ["s1", "s4", "s5"]

    on_desk(play)


def test_entry_without_any_report_frees_its_symbol_after_the_signal_expired(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal("s1")
        await desk.clocks.infra.sleep(66)
        await desk.signal("s2")
        assert [p.signal_id for p in desk.proposals] == ["s1", "s2"]

    on_desk(play)


def test_open_position_refuses_another_entry(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.snapshot(BTC)
        await desk.signal()
        assert desk.codes == [RefusalCode.POSITION_OPEN]

    on_desk(play)


def test_filled_entry_uses_exposure_until_a_snapshot_shows_it(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC, ETH), limits=LimitOverrides(max_exposure_pct=D(100)))
        await desk.mark("100000", ETH)
        await desk.signal("s1")
        await desk.fills("0.124")
        await desk.signal("s2", ETH)
        assert desk.refusals == []
        assert (desk.proposals[1].quantity, desk.proposals[1].bound_by) == (D("0.015"), "maxExposurePct")
        await desk.snapshot(BTC)
        await desk.signal("s3", ETH)
        assert desk.codes == [RefusalCode.UNRESOLVED_ORDER]

    on_desk(play)


def test_concurrent_positions_count_entries_in_flight(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC, ETH), limits=LimitOverrides(max_concurrent_positions=1))
        await desk.mark("100000", ETH)
        await desk.signal("s1")
        await desk.signal("s2", ETH)
        assert desk.codes == [RefusalCode.POSITIONS_MAX]

    on_desk(play)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": Symbol("DOGEUSDT")}, RefusalCode.SYMBOL_EXITS_ONLY),
        ({"confidence": D("0.44")}, RefusalCode.CONFIDENCE_LOW),
        ({"stop_pct": None}, RefusalCode.STOP_DISTANCE_MISSING),
        ({"provenance": Provenance("model:x", DataKind.REPLAY, ("x-1",))}, RefusalCode.SIGNAL_SOURCE),
        ({"horizon": timedelta(0)}, RefusalCode.EXPIRED),
    ],
)
def test_unusable_signal_is_refused_with_its_code(on_desk: OnDesk, changes: Any, code: RefusalCode) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal(**changes)
        assert (desk.codes, desk.proposals) == ([code], [])
        assert len(desk.refusals[0].text) > 20

    on_desk(play)


def test_signal_older_than_the_policy_allows_is_refused(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        old = desk.clocks.market.now() - timedelta(seconds=61)
        await desk.signal(time=old, horizon=timedelta(hours=1))
        assert desk.codes == [RefusalCode.EXPIRED]

    on_desk(play)


def test_mock_or_replayed_data_never_trades_live(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC,), trading_mode=TradingMode.LIVE)
        await desk.signal()
        assert desk.codes == [RefusalCode.MOCK_DATA_LIVE]

    on_desk(play)


def test_external_signal_needs_the_policy_to_allow_external(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC,), signals=SignalRules(sources=(SignalSource.HEURISTIC,)))
        await desk.signal(provenance=Provenance("http:alice", DataKind.REPLAY))
        assert desk.codes == [RefusalCode.SIGNAL_SOURCE]

    on_desk(play)


@pytest.mark.parametrize("state", [StopState.TRIPPED, StopState.COOLING_DOWN])
def test_tripped_stop_refuses_at_once(on_desk: OnDesk, state: StopState) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.lease(state, reduce_only=True)
        await desk.signal()
        assert desk.proposals == []
        assert len(desk.refusals) == 1

    on_desk(play)


def test_signal_at_boot_waits_until_everything_is_known_and_then_trades(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.signal()
        await desk.snapshot(reconciled=False)
        await desk.mark()
        await desk.lease(reduce_only=True)
        assert (desk.proposals, desk.refusals) == ([], [])
        await desk.lease()
        assert desk.proposals == []
        await desk.snapshot()
        assert len(desk.proposals) == 1

    on_desk(play)


def test_signal_that_waited_in_vain_is_refused_with_what_was_missing(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.signal()
        await desk.clocks.infra.sleep(61)
        await desk.snapshot()
        assert desk.codes == [RefusalCode.STOP_UNKNOWN]

    on_desk(play)


def test_newer_signal_replaces_a_waiting_one(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.start()
        await desk.snapshot()
        await desk.mark()
        await desk.signal("old")
        await desk.signal("new")
        await desk.lease()
        assert [p.signal_id for p in desk.proposals] == ["new"]
        assert desk.codes == [RefusalCode.SIGNAL_SUPERSEDED]
        assert "not been heard" in desk.refusals[0].text, "what it waited for is said too"

    on_desk(play)


def test_lease_that_ran_out_means_no_proposal(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.clocks.infra.sleep(3601)
        await desk.signal()
        assert desk.proposals == []

    on_desk(play)


def test_unknown_brackets_mean_no_proposal_until_they_are_read(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        known = desk.book.get(BTC)
        desk.book = type(desk.book)()
        await desk.ready()
        await desk.signal()
        assert desk.proposals == []
        desk.book.update([known])
        await desk.mark()
        assert len(desk.proposals) == 1

    on_desk(play)


def test_bus_away_while_proposing_publishes_the_same_proposal_once_it_is_back(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        publish = desk.service._bus.publish
        calls = 0

        async def unavailable_once(payload: Any, *, time: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ConnectionError("planted")
            return await publish(payload, time=time)

        desk.service._bus.publish = unavailable_once
        await desk.signal()
        await desk.clocks.infra.sleep(1)
        assert [p.proposal_id for p in desk.proposals] == ["p-s1"]
        desk.broker.failures.clear()  # the planted one

    on_desk(play)


def test_killed_after_proposing_remembers_what_is_in_flight(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        await desk.signal("s1")
        await desk.kill()
        await desk.ready()
        await desk.signal("s2")
        assert [p.signal_id for p in desk.proposals] == ["s1"]
        assert desk.codes == [RefusalCode.UNRESOLVED_ORDER]

    on_desk(play)


def test_identical_entries_in_a_row_close_the_symbol_until_a_person_enables_it(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC, ETH), limits=LimitOverrides(max_repeated_orders=3))
        for number in range(3):
            await desk.signal(f"s{number}")
            await desk.gate_refuses(f"s{number}", RefusalCode.NOT_RECONCILED)
        await desk.signal("s3")
        assert (len(desk.proposals), desk.codes) == (3, [RefusalCode.REPEATED_ORDER])
        await desk.kill()
        await desk.ready()
        await desk.mark("90000")
        await desk.signal("s4")  # another price, but the symbol is closed, restart or not
        assert desk.codes == [RefusalCode.REPEATED_ORDER] * 2
        assert not desk.service.readiness()["throttle"].ok
        assert (await desk.service.enable(BTC, "r1", "alice", "the loop is fixed")).accepted
        await desk.clocks.infra.sleep(66)  # after a restart earlier entries count as in flight until they expire
        await desk.signal("s5")
        assert len(desk.proposals) == 4

    on_desk(play)


def test_different_entries_never_close_a_symbol(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC, ETH), limits=LimitOverrides(max_repeated_orders=2))
        for number in range(6):
            await desk.mark(str(100_000 + number))
            await desk.signal(f"s{number}")
            await desk.gate_refuses(f"s{number}", RefusalCode.NOT_RECONCILED)
        assert len(desk.proposals) == 6

    on_desk(play)


def test_policy_on_hold_refuses_the_signal_with_the_holds_sentence(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.hold = "the desk has no EmergencyStop"
        await desk.signal()
        assert (desk.proposals, desk.codes) == ([], [RefusalCode.POLICY_ON_HOLD])
        desk.policy.hold = ""
        await desk.signal("s2")
        assert len(desk.proposals) == 1

    on_desk(play)


def test_stale_policy_means_no_proposal(on_desk: OnDesk) -> None:
    async def play(desk: Desk) -> None:
        await desk.ready()
        desk.policy.stale = True
        await desk.signal()
        assert desk.proposals == []

    on_desk(play)
