"""The safety invariants (docs: design, section "Safety invariants"), checked from the venue's own records and the broker's streams.

Nothing here asks the desk what it believes, except where the check is about that belief. A violation sticks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from urllib.parse import parse_qs

from breakwater.domain.ids import DeskId, ProposalId
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import HUNDRED, ZERO, plain, to_cents
from breakwater.domain.orders import OrderRole
from breakwater.domain.snapshot import Snapshot
from breakwater.domain.stop_state import StopState, StopView
from breakwater.execution.client_ids import child_id, client_order_id
from breakwater.paper_venue.clock import to_ms
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import AcceptedOrder, Account, Now
from breakwater.runtime.events import (
    AccountMoved,
    Event,
    OrderFilled,
    OrderProposed,
    OrderRefused,
    StopLease,
    StopRearmed,
)
from breakwater.simulation.bus import MemoryBroker

STOP_WITHIN_S = 2.0
"""Invariant 6; only seconds in which the desk was running count."""
STOP_AFTER_RESTART_S = 5.0
"""The same for a position that a restarted desk finds unprotected: it has to read the account first."""
OVERLAP_WITHIN_S = 5.0
"""Running seconds within which an old stop goes once a new one is there (invariant 6)."""
FLAT_WITHIN_S = 15.0
"""Running seconds after a trip by which nothing may be open, the venue answering."""
MARK_SLACK = Decimal("1.02")
"""Marks move between the gate's look and the venue's acceptance: limits that depend on them are held to this factor."""
ROUNDING = Decimal("0.000001")
"""USDT: the venue rounds what a partial close realises to 8 decimals, our ledger to 24; the rest stays in the position's cost."""
CHILDREN = 40


@dataclass(frozen=True)
class Violation:
    """``invariant`` is its number in the design; ``at`` seconds since the run began."""

    invariant: int
    at: float
    text: str

    def __str__(self) -> str:
        return f"invariant {self.invariant} at {self.at:.3f} s: {self.text}"


@dataclass
class _Bare:
    """A position without full protection."""

    seconds: float = 0.0
    after_restart: bool = False
    told: bool = False


@dataclass
class Invariants:
    """Feed it with what happens; read ``violations`` and ``sometimes``."""

    venue: PaperVenue
    broker: MemoryBroker
    desk: DeskId
    account: str
    violations: list[Violation] = field(default_factory=list)
    sometimes: Counter[str] = field(default_factory=Counter)
    """What really happened in the run: faults that never meet anything prove nothing."""
    ledger_difference: Decimal | None = None
    """The ledger's equity less the venue's at rest, USDT."""
    limits: EffectiveLimits | None = None
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self._audited = 0
        self._sent: dict[str, bool] = {}
        self._ids: set[str] = set()
        self._views: list[tuple[float, datetime, StopView]] = []
        self._bare: dict[str, _Bare] = {}
        self._overlap_s: dict[str, float] = {}
        self._open_after_trip_s = 0.0
        self._policy_version = 0
        self._refusals_read = 0
        self._running_since: float | None = None
        self._told: set[tuple[int, str]] = set()

    def broken(self, invariant: int, text: str, *, key: str = "") -> None:
        """Note a violation; one with an equal ``key`` only once."""
        if key and (invariant, key) in self._told:
            return
        self._told.add((invariant, key))
        self.violations.append(Violation(invariant, self.now_s, text))

    # ------------------------------------------------------------------------------------------------ as it happens

    def request_leaves(self, method: str, path: str, query: str, body: bytes | str, gate_open: bool, now: Now) -> None:
        """A request leaves the desk's process. ``gate_open``: what its gate last said."""
        if method != "POST" or not path.endswith("/order"):
            return
        text = body.decode() if isinstance(body, bytes) else body
        fields = parse_qs(f"{query}&{text}")
        client_id = fields.get("newClientOrderId", [""])[0]
        if fields.get("reduceOnly", ["false"])[0] == "true" or not client_id:
            return
        why = self._stop_forbids(now)
        if why:
            self.broken(1, f"entry {client_id} was sent although {why}")
        if not gate_open:
            self.broken(1, f"entry {client_id} was sent while the gate said REDUCE_ONLY")
        self._sent[client_id] = True

    def _stop_forbids(self, now: Now) -> str:
        """Why the newest broadcast before this instant forbids an entry; empty when it, or one of this instant, allows it."""
        last = [view for heard, _, view in self._views if heard < self.now_s][-1:]
        last += [view for heard, _, view in self._views if heard == self.now_s]
        if not last:
            return "the emergency stop was never heard"
        why = ""
        for view in last:
            age_ms = now.wall_ms - to_ms(view.issued_at)
            if view.reduce_only or view.state in {StopState.TRIPPED, StopState.COOLING_DOWN}:
                why = f"the stop said {view.state.value}: {view.reduce_only_reason}"
            elif age_ms > int(view.lease_seconds * 1000) + 1:
                why = f"the stop's lease was {age_ms} ms old"
            else:
                return ""
        return why

    async def heard(self, event: Event) -> None:
        """A broadcast of the emergency stop."""
        assert isinstance(event.payload, StopLease)
        view = event.payload.view
        before = self._views[-1][2] if self._views else None
        self._views.append((self.now_s, view.issued_at, view))
        del self._views[:-8]
        if before is None:
            return
        if view.epoch < before.epoch:
            self.broken(9, f"the stop's epoch fell from {before.epoch} to {view.epoch}", key="epoch")
        stopped = {StopState.TRIPPED, StopState.COOLING_DOWN}
        if before.state in stopped and view.state not in stopped:
            self.broken(10, f"{before.state.value} became {view.state.value} though nobody asked", key="armed")
        if view.state is StopState.TRIPPED and before.state is not StopState.TRIPPED:
            self.sometimes["trip"] += 1

    @property
    def stopped(self) -> bool:
        return bool(self._views) and self._views[-1][2].state in {StopState.TRIPPED, StopState.COOLING_DOWN}

    def desk_is(self, *, running: bool) -> None:
        """The desk's process lives or is gone."""
        if running:
            self._running_since = self.now_s
            return
        self._running_since = None
        for bare in self._bare.values():
            bare.after_restart, bare.seconds = True, 0.0
        self._overlap_s.clear()
        self._open_after_trip_s = 0.0

    def look(self, seconds: float, policy_version: int | None) -> None:
        """Check what can be checked now. ``seconds`` passed since the last look."""
        self.venue_changed()
        ran = min(seconds, self.now_s - self._running_since) if self._running_since is not None else 0.0
        self._check_protection(ran)
        self._check_overlap(ran)
        self._check_flat_after_trip(ran)
        self._check_refusals()
        if policy_version is not None:
            if policy_version < self._policy_version:
                self.broken(15, f"policy version fell from {self._policy_version} to {policy_version}")
            self._policy_version = policy_version

    # ------------------------------------------------------------------------------------------------ orders

    @property
    def _account(self) -> Account:
        return self.venue.ledger.account(self.account)

    def venue_changed(self) -> None:
        """Judge what the venue accepted since the last time; call it after each change there."""
        audit = self.venue.ledger.state.audit
        while self._audited < len(audit):
            order = audit[self._audited]
            self._audited += 1
            if order.account != self.account:
                continue
            if order.kind == "adl":
                continue
            if order.kind == "liquidation":
                self.broken(6, f"{order.symbol} was liquidated")
                continue
            if order.kind == "algo_child":
                self.sometimes["stop-out"] += 1
            elif order.client_order_id in self._ids:
                self.broken(4, f"{order.client_order_id} was accepted twice")
            self._ids.add(order.client_order_id)
            if order.risk_increasing:
                self._check_entry(order)

    def _check_entry(self, order: AcceptedOrder) -> None:
        self.sometimes["entry"] += 1
        if order.kind != "algo_child" and order.client_order_id not in self._sent:
            self.broken(12, f"{order.client_order_id} adds risk and was not sent as an entry by the desk")
        if self.limits is None:
            return
        prices, account = self.venue.ledger.state.prices, self._account
        gross = sum((abs(p.qty) * prices[p.symbol].price for p in account.positions.values()), ZERO)
        working = [o for o in self.venue.ledger.open_orders(account.name) if not o.reduce_only]
        gross += sum((o.remaining * prices[o.symbol].price for o in working), ZERO)
        equity = self._equity()
        limits = self.limits
        if gross * HUNDRED > equity * limits.max_exposure_pct.value * MARK_SLACK:
            share = gross / equity * HUNDRED if equity > ZERO else ZERO
            self.broken(5, f"{order.client_order_id} took exposure to {share:.1f} % of equity")
        notional = order.qty * prices[order.symbol].price
        if notional > limits.max_order_notional_usd.value * MARK_SLACK:
            self.broken(5, f"{order.client_order_id} is worth {notional:.0f} USDT")
        leverage = account.positions[order.symbol].leverage if order.symbol in account.positions else 1
        if leverage > limits.max_leverage.value:
            self.broken(5, f"{order.client_order_id} at leverage {leverage}")
        if notional / leverage > limits.max_position_margin_usd.value * MARK_SLACK:
            self.broken(5, f"{order.client_order_id} takes {notional / leverage:.0f} USDT of margin")
        held = {p.symbol for p in account.positions.values() if p.qty} | {o.symbol for o in working}
        if len(held) > limits.max_concurrent_positions.value:
            self.broken(5, f"{order.client_order_id} makes {len(held)} positions")

    def _equity(self) -> Decimal:
        prices, account = self.venue.ledger.state.prices, self._account
        return account.wallet + sum(
            (p.unrealized(prices[p.symbol].price) for p in account.positions.values() if p.qty), ZERO
        )

    # ------------------------------------------------------------------------------------------------ positions

    def _check_protection(self, ran: float) -> None:
        held = {p.symbol: p.qty for p in self._account.positions.values() if p.qty}
        for symbol in list(self._bare):
            if symbol not in held:
                del self._bare[symbol]
        for symbol, quantity in held.items():
            if self._covered(symbol, quantity):
                self._bare.pop(symbol, None)
                continue
            bare = self._bare.setdefault(symbol, _Bare(after_restart=self._running_since is None))
            bare.seconds += ran
            limit = STOP_AFTER_RESTART_S if bare.after_restart else STOP_WITHIN_S
            if bare.seconds > limit and not bare.told:
                bare.told = True
                self.broken(6, f"{symbol} {plain(quantity)} without a full stop for more than {limit:.0f} s")

    def _check_overlap(self, ran: float) -> None:
        """A stop of old beside the one that replaced it. After a trip all of them stay until the position is closed."""
        stops = Counter(a.symbol for a in self.venue.ledger.open_algo_orders(self.account))
        for symbol in [*self._overlap_s]:
            if stops[symbol] < 2 or self.stopped:
                del self._overlap_s[symbol]
        for symbol, count in stops.items():
            if count < 2 or self.stopped:
                continue
            self._overlap_s[symbol] = self._overlap_s.get(symbol, 0.0) + ran
            if self._overlap_s[symbol] > OVERLAP_WITHIN_S:
                text = f"{count} stops in {symbol} for more than {OVERLAP_WITHIN_S:.0f} s"
                self.broken(6, text, key=f"overlap {symbol}")

    def _covered(self, symbol: str, quantity: Decimal) -> bool:
        """Stops for all of it, or an exit under way."""
        side = "SELL" if quantity > ZERO else "BUY"
        stops = [
            a
            for a in self.venue.ledger.open_algo_orders(self.account)
            if a.symbol == symbol and a.side == side and a.order_type.startswith("STOP")
        ]
        if any(stop.close_position for stop in stops):
            return True
        covered = sum((stop.quantity for stop in stops), ZERO)
        exits = [o for o in self.venue.ledger.open_orders(self.account) if o.symbol == symbol and o.side == side]
        covered += sum((o.remaining for o in exits), ZERO)
        return covered >= abs(quantity)

    def _check_flat_after_trip(self, ran: float) -> None:
        is_open = any(p.qty for p in self._account.positions.values()) or any(
            True for _ in self.venue.ledger.open_orders(self.account)
        )
        if not self.stopped or not is_open:
            self._open_after_trip_s = 0.0
            return
        self._open_after_trip_s += ran
        if self._open_after_trip_s > FLAT_WITHIN_S:
            self.broken(2, f"not flat {FLAT_WITHIN_S:.0f} s after the stop tripped", key="flat")

    def _check_refusals(self) -> None:
        events = self.broker.stream(self.desk, "execution")[self._refusals_read :]
        self._refusals_read += len(events)
        for event in events:
            refused = event.payload
            if not isinstance(refused, OrderRefused):
                continue
            self.sometimes[f"refused {refused.refusal.code.value}"] += 1
            position = self._account.positions.get(refused.symbol)
            reducing = refused.role is not OrderRole.ENTRY and not refused.refusal.code.value.startswith("REDUCE_")
            if reducing and position is not None and position.qty:
                self.broken(2, f"{refused.role.value} in {refused.symbol} was refused: {refused.refusal.text}")

    # ------------------------------------------------------------------------------------------------ the end

    def at_rest(self, snapshot: Snapshot | None, *, audit_ok: bool) -> None:
        """Everything is back and has settled: compare the books."""
        account = self._account
        if snapshot is not None:
            self.ledger_difference = snapshot.equity - self._equity()
        if snapshot is None or not snapshot.reconciled:
            self.broken(8, "the desk's ledger is not reconciled with the venue at the end")
        elif to_cents(snapshot.equity) != to_cents(self._equity()) or abs(snapshot.wallet - account.wallet) > ROUNDING:
            ours, venues = f"{snapshot.equity} / {snapshot.wallet}", f"{self._equity()} / {account.wallet}"
            self.broken(8, f"equity / wallet: ledger {ours}, venue {venues}")
        if snapshot is not None:
            ours_held = {str(p.symbol): p.quantity for p in snapshot.positions if p.quantity}
            venue_held = {p.symbol: p.qty for p in account.positions.values() if p.qty}
            if ours_held != venue_held:
                self.broken(8, f"positions: ledger {ours_held}, venue {venue_held}")
        if not audit_ok:
            self.broken(11, "the emergency stop's audit chain is broken")
        if any(row.income_type == "FUNDING_FEE" for row in self.venue.ledger.state.incomes):
            self.sometimes["funding"] += 1
        self._check_fills()
        self._check_movements()
        self._check_proposals()
        if any(isinstance(event.payload, StopRearmed) for event in self.broker.stream(self.desk, "emergency_stop")):
            self.broken(10, "the stop was re-armed though nobody asked")

    def _check_fills(self) -> None:
        published = {
            (event.payload.symbol, event.payload.trade_id)
            for event in self.broker.stream(self.desk, "execution")
            if isinstance(event.payload, OrderFilled)
        }
        for trade in self.venue.ledger.trades_of(self.account):
            if (trade.symbol, str(trade.trade_id)) not in published:
                self.broken(7, f"trade {trade.trade_id} of {trade.symbol} was never published")

    def _check_movements(self) -> None:
        published = Counter(
            event.payload.movement.tran_id
            for event in self.broker.stream(self.desk, "execution")
            if isinstance(event.payload, AccountMoved)
        )
        for row in self.venue.ledger.state.incomes:
            trade = row.income_type in {"REALIZED_PNL", "COMMISSION"}
            if not trade and row.account == self.account and str(row.tran_id) not in published:
                self.broken(7, f"{row.income_type} {row.tran_id} of {row.income} USDT was never published")

    def _check_proposals(self) -> None:
        filled: Counter[str] = Counter()
        for order in self.venue.ledger.state.orders.values():
            filled[order.client_order_id] += order.executed_qty  # type: ignore[assignment]
        for event in self.broker.stream(self.desk, "risk_manager"):
            if not isinstance(event.payload, OrderProposed):
                continue
            proposal = event.payload.proposal
            ids = [
                client_order_id(self.desk, child_id(ProposalId(proposal.proposal_id), n), OrderRole.ENTRY)
                for n in range(1, CHILDREN)
            ]
            total = sum((Decimal(filled[client_id]) for client_id in ids), ZERO)
            if total > proposal.quantity:
                self.broken(4, f"{proposal.proposal_id} filled {total} of {proposal.quantity}")
