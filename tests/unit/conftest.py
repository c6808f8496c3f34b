"""Builders for unit tests: a desk with everything in order, a sane entry, a reduction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.gate import GateFacts
from breakwater.domain.ids import ProposalId, Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import PolicySpec, TradingMode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.stop_state import StopState, StopView

NOW = datetime(2025, 10, 10, 20, 50, tzinfo=UTC)
BTC = Symbol("BTCUSDT")

Facts = Callable[..., GateFacts]
Entry = Callable[..., Proposal]


@pytest.fixture
def facts() -> Facts:
    stop = StopView(
        state=StopState.ARMED, epoch=1, sequence=1, issued_at=NOW, lease_seconds=Decimal(1), reduce_only=False
    )
    base = GateFacts(
        now=NOW,
        stop=stop,
        stop_lease_fresh=True,
        halted_by_person=False,
        mode=TradingMode.PAPER,
        limits=effective_limits(PolicySpec(symbols=(BTC,)), EmergencyStopSpec(policy_ref=PolicyRef("main"))),
        symbols=frozenset({BTC}),
        policy_stale=False,
        reconciled=True,
        passive_breach="",
        instrument=Instrument(
            symbol=BTC,
            tick_size=Decimal("0.1"),
            step_size=Decimal("0.001"),
            min_quantity=Decimal("0.001"),
            max_quantity=Decimal(1000),
            max_market_quantity=Decimal(120),
            min_notional=Decimal(100),
            brackets=(
                LeverageBracket(Decimal(50_000), 125, Decimal("0.004")),
                LeverageBracket(Decimal(250_000), 100, Decimal("0.005")),
            ),
        ),
        mark=Decimal(100_000),
        equity=Decimal(14_000),
        position=Decimal(0),
        gross_notional=Decimal(0),
        in_flight_notional=Decimal(0),
        open_symbols=frozenset(),
        exits_in_flight=Decimal(0),
        unresolved=False,
        last_entry_at=None,
        repeated=0,
    )

    def build(**changes: Any) -> GateFacts:
        stop_changes = {k.removeprefix("stop__"): changes.pop(k) for k in list(changes) if k.startswith("stop__")}
        result = msgspec.structs.replace(base, **changes)
        if stop_changes:
            result = msgspec.structs.replace(result, stop=msgspec.structs.replace(stop, **stop_changes))
        return result

    return build


@pytest.fixture
def entry() -> Entry:
    base = Proposal(
        proposal_id=ProposalId("p1"),
        symbol=BTC,
        role=OrderRole.ENTRY,
        side=Side.BUY,
        quantity=Decimal("0.12"),
        order_type=OrderType.LIMIT,
        created_at=NOW,
        reduce_only=False,
        price=Decimal("100500"),
        time_in_force=TimeInForce.IOC,
        expires_at=NOW + timedelta(seconds=60),
        leverage=10,
        protection=Protection(stop_price=Decimal("98000")),
        provenance=Provenance("heuristic:momentum", DataKind.SYNTHETIC),
    )

    def build(**changes: Any) -> Proposal:
        return msgspec.structs.replace(base, **changes)

    return build


@pytest.fixture
def reduction() -> Entry:
    base = Proposal(
        proposal_id=ProposalId("x1"),
        symbol=BTC,
        role=OrderRole.EXIT,
        side=Side.SELL,
        quantity=Decimal("0.1"),
        order_type=OrderType.MARKET,
        created_at=NOW,
        reduce_only=True,
    )

    def build(**changes: Any) -> Proposal:
        return msgspec.structs.replace(base, **changes)

    return build
