"""A desk with everything in order, a sane entry, and a snapshot over the limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from breakwater.domain.emergency_stop_spec import EmergencyStopSpec, PolicyRef
from breakwater.domain.gate import GateFacts
from breakwater.domain.ids import ProposalId, Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Protection, Side, TimeInForce
from breakwater.domain.policy import PolicySpec, TradingMode
from breakwater.domain.signals import DataKind, Provenance
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BTC = Symbol("BTCUSDT")
STOP_SPEC = EmergencyStopSpec(policy_ref=PolicyRef("main"))
POLICY = PolicySpec(symbols=(BTC,))
LIMITS = effective_limits(POLICY, STOP_SPEC)
ARMED = StopView(StopState.ARMED, 1, 1, NOW, Decimal(1), reduce_only=False)

FACTS = GateFacts(
    now=NOW,
    stop=ARMED,
    stop_lease_fresh=True,
    halted_by_person=False,
    mode=TradingMode.PAPER,
    limits=LIMITS,
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
        brackets=(LeverageBracket(Decimal(50_000), 125, Decimal("0.004")),),
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

ENTRY = Proposal(
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
    provenance=Provenance("heuristic:long", DataKind.SYNTHETIC),
)


def snapshot(sequence: int, time: datetime, drawdown_pct: Decimal) -> Snapshot:
    """The desk's day at a drawdown."""
    base = Decimal(14_000)
    equity = base * (100 - drawdown_pct) / 100
    zero = Decimal(0)
    return Snapshot(
        sequence, time, equity, zero, equity, base, time.date(), drawdown_pct, zero, zero, zero, (), reconciled=True
    )
