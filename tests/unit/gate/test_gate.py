"""The gate: what passes, what is refused with which code, and that reducing risk is always possible."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakwater.domain.gate import Approval, GateApprovalError, GateFacts, GateState, decide, gate_state
from breakwater.domain.instruments import Instrument
from breakwater.domain.limits import Binding, Bound
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.stop_state import StopState

Facts = Callable[..., GateFacts]
Order = Callable[..., Proposal]

CLOSED: list[tuple[dict[str, Any], RefusalCode]] = [
    ({"halted_by_person": True}, RefusalCode.HALTED_BY_PERSON),
    ({"stop": None}, RefusalCode.STOP_UNKNOWN),
    ({"stop__state": StopState.TRIPPED}, RefusalCode.STOP_TRIPPED),
    ({"stop__state": StopState.COOLING_DOWN}, RefusalCode.STOP_COOLING_DOWN),
    ({"stop_lease_fresh": False}, RefusalCode.STOP_LEASE_EXPIRED),
    ({"stop__reduce_only": True, "stop__reduce_only_reason": "debounce"}, RefusalCode.STOP_REDUCE_ONLY),
    ({"limits": None}, RefusalCode.POLICY_MISSING),
    ({"mode": None}, RefusalCode.POLICY_MISSING),
    ({"stop__state": StopState.DISABLED, "mode": TradingMode.LIVE}, RefusalCode.STOP_DISABLED_LIVE),
    ({"policy_stale": True}, RefusalCode.POLICY_STALE),
    ({"policy_hold": "the desk has two EmergencyStops"}, RefusalCode.POLICY_ON_HOLD),
    ({"events_trouble": "the buffer is full"}, RefusalCode.EVENTS_NOT_SAFE),
    ({"venue_trouble": "the API key can withdraw money"}, RefusalCode.VENUE_NOT_CLEARED),
    ({"venue_ban": "the venue shut this address out"}, RefusalCode.VENUE_BANNED),
    ({"reconciled": False}, RefusalCode.NOT_RECONCILED),
    ({"passive_breach": "exposure 205 %"}, RefusalCode.PASSIVE_BREACH),
]


def refused(result: Approval | Refusal) -> RefusalCode:
    assert isinstance(result, Refusal), "expected a refusal, the order was approved"
    assert len(result.text) > 20, "a refusal needs a sentence"
    return result.code


def test_everything_in_order_entry_is_approved(facts: Facts, entry: Order) -> None:
    approval = decide(entry(), facts())
    assert isinstance(approval, Approval)
    assert approval.proposal == entry()
    assert gate_state(facts()) == (GateState.OPEN, None)


@pytest.mark.parametrize(("change", "code"), CLOSED)
def test_state_not_open_entry_is_refused(facts: Facts, entry: Order, change: dict[str, Any], code: RefusalCode) -> None:
    assert refused(decide(entry(), facts(**change))) is code
    state, why = gate_state(facts(**change))
    assert state is GateState.REDUCE_ONLY
    assert why is not None
    assert why.code is code


@pytest.mark.parametrize(("change", "code"), CLOSED)
def test_state_not_open_exit_still_passes(
    facts: Facts, reduction: Order, change: dict[str, Any], code: RefusalCode
) -> None:
    assert isinstance(decide(reduction(), facts(position=Decimal("0.1"), **change)), Approval), code


def test_disabled_stop_on_paper_entry_is_approved(facts: Facts, entry: Order) -> None:
    assert isinstance(decide(entry(), facts(stop__state=StopState.DISABLED)), Approval)


@pytest.mark.parametrize(
    ("order", "desk", "code"),
    [
        ({}, {"already_executed": True}, RefusalCode.DUPLICATE_PROPOSAL),
        ({"provenance": None}, {}, RefusalCode.PROVENANCE_MISSING),
        ({}, {"mode": TradingMode.LIVE}, RefusalCode.MOCK_DATA_LIVE),
        ({"expires_at": None}, {}, RefusalCode.EXPIRED),
        ({}, {"symbols": frozenset()}, RefusalCode.SYMBOL_EXITS_ONLY),
        ({}, {"instrument": None}, RefusalCode.INSTRUMENT_UNKNOWN),
        ({}, {"mark": None}, RefusalCode.PRICE_UNKNOWN),
        ({}, {"equity": None}, RefusalCode.EQUITY_UNKNOWN),
        ({}, {"equity": Decimal(-5)}, RefusalCode.EQUITY_UNKNOWN),
        ({}, {"position": None}, RefusalCode.UNRESOLVED_ORDER),
        ({}, {"unresolved": True}, RefusalCode.UNRESOLVED_ORDER),
        ({"order_type": OrderType.MARKET}, {}, RefusalCode.ORDER_TYPE),
        ({"time_in_force": TimeInForce.GTC}, {}, RefusalCode.ORDER_TYPE),
        ({"reduce_only": True}, {}, RefusalCode.ORDER_TYPE),
        ({"price": None}, {}, RefusalCode.PRICE_GRID),
        ({"price": Decimal("100000.05")}, {}, RefusalCode.PRICE_GRID),
        ({"price": Decimal("100501")}, {}, RefusalCode.PRICE_COLLAR),
        ({"quantity": Decimal("0.1205")}, {}, RefusalCode.QUANTITY_GRID),
        ({"quantity": Decimal(0)}, {}, RefusalCode.QUANTITY_GRID),
        ({"quantity": Decimal(-1)}, {}, RefusalCode.QUANTITY_GRID),
        ({"quantity": Decimal(2000)}, {}, RefusalCode.QUANTITY_MAX),
        ({"protection": None}, {}, RefusalCode.NO_PROTECTION),
        ({"protection": Protection(Decimal(101_000))}, {}, RefusalCode.PROTECTION_WRONG_SIDE),
        ({"protection": Protection(Decimal(98_000), Decimal(97_000))}, {}, RefusalCode.PROTECTION_WRONG_SIDE),
        ({"protection": Protection(Decimal(100_200))}, {}, RefusalCode.PROTECTION_WRONG_SIDE),
        ({"leverage": None}, {}, RefusalCode.LEVERAGE),
        ({"leverage": 31}, {}, RefusalCode.LEVERAGE),
        ({"quantity": Decimal("0.009")}, {}, RefusalCode.MARGIN_MIN),
        ({"quantity": Decimal("0.21")}, {"equity": Decimal(140_000)}, RefusalCode.MARGIN_MAX),
        ({"quantity": Decimal("0.61")}, {"equity": Decimal(140_000)}, RefusalCode.ORDER_NOTIONAL_MAX),
        ({"quantity": Decimal("0.13")}, {}, RefusalCode.RISK_AT_STOP),
        ({"leverage": 30}, {"equity": Decimal(28_000)}, RefusalCode.LIQUIDATION_DISTANCE),
        ({}, {"position": Decimal("-0.05")}, RefusalCode.POSITION_OPEN),
        ({}, {"gross_notional": Decimal(16_001)}, RefusalCode.EXPOSURE),
        ({}, {"in_flight_notional": Decimal(16_001)}, RefusalCode.EXPOSURE),
        ({}, {"open_symbols": frozenset(f"S{n}" for n in range(20))}, RefusalCode.POSITIONS_MAX),
        ({}, {"repeated": 10}, RefusalCode.REPEATED_ORDER),
    ],
)
def test_entry_out_of_bounds_is_refused_with_its_code(
    facts: Facts, entry: Order, order: dict[str, Any], desk: dict[str, Any], code: RefusalCode
) -> None:
    assert refused(decide(entry(**order), facts(**desk))) is code


def test_entry_at_exactly_every_limit_is_approved(facts: Facts, entry: Order) -> None:
    # 0.14 BTC: 14,000 notional, 1,400 margin; stop 1.8 % + 0.2 % costs = 280 = 2 % of 14,000; exposure to exactly 200 %.
    order = entry(quantity=Decimal("0.14"), protection=Protection(Decimal(98_200)))
    assert isinstance(decide(order, facts(gross_notional=Decimal(14_000))), Approval)
    assert refused(decide(order, facts(gross_notional=Decimal("14000.01")))) is RefusalCode.EXPOSURE


def test_second_entry_within_spacing_is_refused_and_after_it_approved(facts: Facts, entry: Order) -> None:
    now = facts().now
    assert refused(decide(entry(), facts(last_entry_at=now - timedelta(milliseconds=499)))) is RefusalCode.ENTRY_SPACING
    assert isinstance(decide(entry(), facts(last_entry_at=now - timedelta(milliseconds=500))), Approval)


def test_expired_signal_is_refused_at_the_very_instant(facts: Facts, entry: Order) -> None:
    assert refused(decide(entry(expires_at=facts().now), facts())) is RefusalCode.EXPIRED


def test_symbol_halted_by_venue_is_refused(facts: Facts, entry: Order) -> None:
    instrument = facts().instrument
    assert isinstance(instrument, Instrument)
    halted = msgspec.structs.replace(instrument, trading=False)
    assert refused(decide(entry(), facts(instrument=halted))) is RefusalCode.INSTRUMENT_HALTED


def test_live_desk_with_market_data_entry_is_approved(facts: Facts, entry: Order) -> None:
    order = entry(provenance=Provenance("model", DataKind.MARKET))
    assert isinstance(decide(order, facts(mode=TradingMode.LIVE)), Approval)


@pytest.mark.parametrize(
    ("order", "position", "code"),
    [
        ({"reduce_only": False}, "0.1", RefusalCode.REDUCE_FLAG_MISSING),
        ({"order_type": OrderType.STOP_MARKET}, "0.1", RefusalCode.ORDER_TYPE),
        ({"quantity": Decimal(0)}, "0.1", RefusalCode.QUANTITY_GRID),
        ({}, "0", RefusalCode.REDUCE_FROM_FLAT),
        ({}, "-0.1", RefusalCode.REDUCE_WRONG_SIDE),
        ({}, "0.099", RefusalCode.REDUCE_EXCEEDS_POSITION),
    ],
)
def test_reduction_that_would_not_reduce_is_refused(
    facts: Facts, reduction: Order, order: dict[str, Any], position: str, code: RefusalCode
) -> None:
    assert refused(decide(reduction(**order), facts(position=Decimal(position)))) is code


def test_exits_in_flight_count_together_against_the_position(facts: Facts, reduction: Order) -> None:
    desk = facts(position=Decimal("0.1"), exits_in_flight=Decimal("0.06"))
    assert refused(decide(reduction(quantity=Decimal("0.05")), desk)) is RefusalCode.REDUCE_EXCEEDS_POSITION
    assert isinstance(decide(reduction(quantity=Decimal("0.04")), desk), Approval)


def test_resting_stop_and_target_never_block_each_other_or_an_exit(facts: Facts, reduction: Order) -> None:
    desk = facts(position=Decimal("0.1"), exits_in_flight=Decimal("0.1"))
    stop = reduction(role=OrderRole.STOP, order_type=OrderType.STOP_MARKET, trigger_price=Decimal(98_000))
    target = reduction(role=OrderRole.TARGET, order_type=OrderType.LIMIT, price=Decimal(105_000))
    assert isinstance(decide(stop, desk), Approval)
    assert isinstance(decide(target, desk), Approval)


def test_position_unknown_exit_goes_to_the_venue_as_reduce_only(facts: Facts, reduction: Order) -> None:
    assert isinstance(decide(reduction(), facts(position=None, reconciled=False, stop=None)), Approval)


def test_approval_made_without_the_gate_is_an_error(facts: Facts, entry: Order) -> None:
    with pytest.raises(GateApprovalError, match="only the gate"):
        Approval(entry(), facts(), _seal=object())


def test_approval_cannot_be_changed_copied_pickled_or_subclassed(facts: Facts, entry: Order) -> None:
    approval = decide(entry(), facts())
    assert isinstance(approval, Approval)
    with pytest.raises(GateApprovalError):
        approval._proposal = entry(quantity=Decimal(99))
    with pytest.raises(GateApprovalError):
        copy.copy(approval)
    with pytest.raises(GateApprovalError):
        pickle.dumps(approval)
    with pytest.raises(GateApprovalError):
        type("Forged", (Approval,), {})


# ------------------------------------------------------------------------------------------------ properties

_money = st.decimals(min_value=0, max_value=60_000, places=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    position=st.decimals(min_value=-2, max_value=2, places=3),
    quantity=st.decimals(min_value=Decimal("0.001"), max_value=3, places=3),
    in_flight=st.decimals(min_value=0, max_value=2, places=3),
    side=st.sampled_from(Side),
)
def test_approved_exit_never_opens_flips_or_grows(
    facts: Facts, reduction: Order, position: Decimal, quantity: Decimal, in_flight: Decimal, side: Side
) -> None:
    desk = facts(position=position, exits_in_flight=in_flight)
    result = decide(reduction(quantity=quantity, side=side), desk)
    if isinstance(result, Approval):
        # Worst case: everything in flight fills as well.
        after = position + side.sign * (quantity + in_flight)
        assert abs(after) < abs(position)
        assert after * position >= 0
    else:
        reduces = side.sign * position < 0
        assert not (reduces and quantity + in_flight <= abs(position)), "a true reduction was refused"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    quantity=st.decimals(min_value=Decimal("0.001"), max_value=1, places=3),
    equity=_money,
    gross=_money,
    in_flight=_money,
    mark=st.decimals(min_value=90_000, max_value=110_000, places=1),
    leverage=st.integers(min_value=1, max_value=40),
    stop=st.decimals(min_value=80_000, max_value=100_000, places=1),
    tighten=st.sampled_from(
        [
            "max_position_margin_usd",
            "max_risk_per_trade_pct",
            "max_exposure_pct",
            "max_leverage",
            "max_order_notional_usd",
            "price_collar_pct",
        ]
    ),
    factor=st.decimals(min_value=0, max_value=1, places=2),
)
def test_gate_is_monotone_and_no_approved_entry_breaches_a_limit(
    facts: Facts,
    entry: Order,
    quantity: Decimal,
    equity: Decimal,
    gross: Decimal,
    in_flight: Decimal,
    mark: Decimal,
    leverage: int,
    stop: Decimal,
    tighten: str,
    factor: Decimal,
) -> None:
    desk = facts(equity=equity, gross_notional=gross, in_flight_notional=in_flight, mark=mark)
    order = entry(quantity=quantity, leverage=leverage, protection=Protection(stop))
    limits = desk.limits
    assert limits is not None
    approved = isinstance(decide(order, desk), Approval)
    if approved:
        notional = quantity * mark
        assert notional / leverage <= limits.max_position_margin_usd.value
        assert gross + in_flight + notional <= equity * limits.max_exposure_pct.value / 100
        assert quantity * (mark - stop) <= equity * limits.max_risk_per_trade_pct.value / 100
        assert leverage <= limits.max_leverage.value
    old = getattr(limits, tighten).value
    tight = int(old * factor) if isinstance(old, int) else old * factor
    tighter = msgspec.structs.replace(limits, **{tighten: Bound(tight, tight, Binding.OVERRIDE)})
    if isinstance(decide(order, msgspec.structs.replace(desk, limits=tighter)), Approval):
        assert approved, f"tightening {tighten} let an order pass that was refused before"
