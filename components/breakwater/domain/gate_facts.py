"""What the gate looks at: everything that decides whether an order may go, read at one instant."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import ZERO
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopView


class GateState(enum.StrEnum):
    OPEN = "OPEN"
    REDUCE_ONLY = "REDUCE_ONLY"


class GateFacts(msgspec.Struct, frozen=True, gc=False):
    """All that the gate looks at, read at one instant. None means unknown. Money in USDT, quantities in base units."""

    now: datetime
    """Market time."""
    stop: StopView | None
    stop_lease_fresh: bool
    halted_by_person: bool
    mode: TradingMode | None
    limits: EffectiveLimits | None
    symbols: frozenset[Symbol]
    """Symbols the policy names; others are exits only."""
    policy_stale: bool
    reconciled: bool
    """The account was compared with the venue and nothing is foreign or adrift."""
    passive_breach: str
    """Non-empty: a limit is breached by price alone; says which."""
    instrument: Instrument | None
    mark: Decimal | None
    equity: Decimal | None
    position: Decimal | None
    """Signed quantity at the venue in this symbol; None while it is not known."""
    gross_notional: Decimal
    """Sum of |notional at mark| of all positions."""
    in_flight_notional: Decimal
    """Notional of risk-increasing orders sent and not final, those of unknown outcome included."""
    open_symbols: frozenset[Symbol]
    """Symbols with a position or a risk-increasing order in flight."""
    exits_in_flight: Decimal
    """Quantity of immediately executable exits on this symbol that are not final."""
    unresolved: bool
    """An order on this symbol has an unknown outcome."""
    last_entry_at: datetime | None
    repeated: int
    """Identical entries approved in a row before this one."""
    in_flight_quantity: Decimal = ZERO
    """Base units of ``in_flight_notional`` that are on this symbol."""
    marks_missing: frozenset[Symbol] = frozenset()
    """Symbols with a position or an entry in flight whose mark is not known, or too old: exposure is then not known."""
    policy_hold: str = ""
    """Non-empty: the policy is on hold; says why."""
    events_trouble: str = ""
    """Non-empty: what the desk does may not be kept (its buffer is full, its disk fails); says why."""
    venue_trouble: str = ""
    """Non-empty: nothing may be opened at this venue (its key, its clock, a change of address, not cleared for Live); says why."""
    venue_ban: str = ""
    """Non-empty: the venue shut this address out; says until when and what to do."""
    already_executed: bool = False
    """This proposal was journaled before."""
