"""Orders as execution follows them: one explicit state machine from the journal to the venue's last word."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from breakwater.domain.ids import ClientOrderId, Symbol, VenueOrderId
from breakwater.domain.money import ZERO
from breakwater.domain.orders import OrderRole, OrderStatus, OrderType, Proposal
from breakwater.exchange.messages import AlgoOrderReport, AlgoStatus, OrderReport


class OrderState(enum.StrEnum):
    """JOURNALED and SENT are ours, UNKNOWN has to be looked up, the rest is the venue's word; NOT_SENT never arrived."""

    JOURNALED = "JOURNALED"
    SENT = "SENT"
    UNKNOWN = "UNKNOWN"
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    TRIGGERED = "TRIGGERED"
    """A stop whose trigger fired; the order it became is executing."""
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    NOT_SENT = "NOT_SENT"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL

    @property
    def resting(self) -> bool:
        return self in {OrderState.NEW, OrderState.PARTIALLY_FILLED}


_TERMINAL = frozenset(
    {OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.NOT_SENT}
)
_ORDER: Mapping[OrderState, int] = {
    OrderState.JOURNALED: 0,
    OrderState.SENT: 1,
    OrderState.UNKNOWN: 2,
    OrderState.NEW: 3,
    OrderState.PARTIALLY_FILLED: 4,
    OrderState.TRIGGERED: 5,
}
_FROM_PLAIN: Mapping[OrderStatus, OrderState] = {
    OrderStatus.UNKNOWN: OrderState.UNKNOWN,
    OrderStatus.NEW: OrderState.NEW,
    OrderStatus.PARTIALLY_FILLED: OrderState.PARTIALLY_FILLED,
    OrderStatus.FILLED: OrderState.FILLED,
    OrderStatus.CANCELED: OrderState.CANCELED,
    OrderStatus.EXPIRED: OrderState.EXPIRED,
    OrderStatus.REJECTED: OrderState.REJECTED,
}
_FROM_ALGO: Mapping[AlgoStatus, OrderState] = {
    AlgoStatus.NEW: OrderState.NEW,
    AlgoStatus.TRIGGERING: OrderState.TRIGGERED,
    AlgoStatus.TRIGGERED: OrderState.TRIGGERED,
    AlgoStatus.FINISHED: OrderState.FILLED,  # or cancelled after triggering: only fills count, and those come as trades
    AlgoStatus.CANCELED: OrderState.CANCELED,
    AlgoStatus.REJECTED: OrderState.REJECTED,
    AlgoStatus.EXPIRED: OrderState.EXPIRED,
}


@dataclass
class TrackedOrder:
    """One order of ours. Quantities in base units."""

    client_id: ClientOrderId
    proposal: Proposal
    state: OrderState = OrderState.JOURNALED
    executed: Decimal = ZERO
    """What the venue says was executed."""
    booked: Decimal = ZERO
    """What we have seen as fills."""
    venue_id: VenueOrderId | None = None
    """Id of the plain order; for a stop, of the order it became."""
    sent_at: float | None = None
    """Infrastructure time of the last send."""
    announced: bool = False
    """OrderSubmitted was published."""
    presumed: bool = False
    """Ended only because the venue did not know it when asked."""
    code: int | None = None
    detail: str = field(default="")

    @property
    def symbol(self) -> Symbol:
        return self.proposal.symbol

    @property
    def role(self) -> OrderRole:
        return self.proposal.role

    @property
    def algo(self) -> bool:
        """Whether it lives in the algo order service."""
        return self.proposal.order_type is OrderType.STOP_MARKET

    @property
    def adds_risk(self) -> bool:
        return self.proposal.role is OrderRole.ENTRY

    @property
    def outstanding(self) -> Decimal:
        """What may still change the position: unfilled, or executed at the venue and not seen as a fill yet."""
        left = (self.executed if self.state in _TERMINAL else self.proposal.quantity) - self.booked
        return left if left > ZERO else ZERO

    @property
    def settled(self) -> bool:
        return self.state in _TERMINAL and self.executed <= self.booked

    def move(self, state: OrderState) -> bool:
        """Take over ``state`` unless it would go back; a late report never revives or rewinds an order. True when it changed."""
        if state is self.state or self.state.terminal:
            return False
        if not state.terminal and state is not OrderState.UNKNOWN and _ORDER[state] < _ORDER[self.state]:
            return False
        if state is OrderState.UNKNOWN and self.state in {
            OrderState.NEW,
            OrderState.PARTIALLY_FILLED,
            OrderState.TRIGGERED,
        }:
            return False  # heard of meanwhile
        self.state = state
        return True

    def presume(self, state: OrderState) -> None:
        """The venue does not know it: over, unless it turns up all the same."""
        if self.move(state):
            self.presumed = True

    @property
    def revivable(self) -> bool:
        return self.state is OrderState.NOT_SENT or self.presumed

    def revive(self) -> None:
        """The venue has it after all, although it was given up as never arrived, or as gone."""
        if self.revivable:
            self.state = OrderState.UNKNOWN
            self.presumed = False

    def retry(self) -> None:
        """It is certain that it was not done: send it again under the same id."""
        if not self.state.terminal:
            self.state = OrderState.JOURNALED

    def take_plain(self, report: OrderReport) -> bool:
        """Take over what the venue reports. True when something changed."""
        self.revive()
        before = (self.state, self.executed, self.venue_id)
        self.venue_id = report.order_id
        self.executed = max(self.executed, report.executed_quantity)
        self.move(_FROM_PLAIN[report.status])
        return before != (self.state, self.executed, self.venue_id)

    def take_algo(self, report: AlgoOrderReport) -> bool:
        """The same for a conditional order, whose own quantities say nothing about fills."""
        self.revive()
        before = (self.state, self.venue_id)
        if report.actual_order_id is not None:
            self.venue_id = report.actual_order_id
        self.detail = report.reason or self.detail
        self.move(_FROM_ALGO[report.status])
        return before != (self.state, self.venue_id)
