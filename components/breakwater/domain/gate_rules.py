"""The rules of the gate, one small check each.

Every unknown (no lease, no policy, no mark, no equity, unreconciled account, unresolved order) closes it to new risk.
Limits hold at submission, at the mark price: price moves afterwards are a passive breach, not a refusal.

It runs before every order, more than once: limits are compared as products, which is exact where a quotient would be
rounded, and quotients, sentences and enum members (slow to look up) are made only when something is refused or once.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Final

from breakwater.domain.gate_facts import GateFacts
from breakwater.domain.gate_wording import (
    refuse,
    refuse_over,
    refuse_stopped,
    refuse_unknown,
    refuse_wrong_side,
    shown,
)
from breakwater.domain.instruments import Instrument
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import HUNDRED, ZERO, percent_of, plain
from breakwater.domain.orders import OrderRole, OrderType, Proposal, Side, TimeInForce
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState

ROUND_TRIP_COST_PCT = Decimal("0.2")
"""Fees (0.05 % each way) and slippage (0.05 % each way) counted into the loss at the stop, percent of notional."""

LIQUIDATION_TO_STOP = Decimal(2)
"""Liquidation must be at least this many stop distances away (REQUIREMENTS R0)."""

_MILLISECOND: Final = timedelta(milliseconds=1)
_ARMED: Final = StopState.ARMED
_DISABLED: Final = StopState.DISABLED
_LIVE: Final = TradingMode.LIVE
_MARKET_DATA: Final = DataKind.MARKET
_LIMIT: Final = OrderType.LIMIT
_IOC: Final = TimeInForce.IOC
_POST_ONLY: Final = TimeInForce.GTX
_BUY: Final = Side.BUY
_EXIT: Final = OrderRole.EXIT
_STOP_REDUCE_ONLY: Final = RefusalCode.STOP_REDUCE_ONLY
_REDUCES_WITH: Final = {
    OrderRole.STOP: (OrderType.STOP_MARKET,),
    OrderRole.TARGET: (OrderType.LIMIT,),
    OrderRole.EXIT: (OrderType.LIMIT, OrderType.MARKET),
}


# ------------------------------------------------------------------------------------------------ reducing


def check_reduction(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    """Only what keeps an order from reducing can refuse it; no state of the desk does."""
    if not proposal.reduce_only:
        return refuse(
            RefusalCode.REDUCE_FLAG_MISSING,
            f"a {proposal.role} order must be marked reduce-only, so that the venue keeps it from opening a position",
        )
    role, quantity = proposal.role, proposal.quantity
    allowed = _REDUCES_WITH[role]
    if proposal.order_type not in allowed:
        return refuse(
            RefusalCode.ORDER_TYPE, f"a {role} is placed as {' or '.join(allowed)}, not as {proposal.order_type}"
        )
    if not quantity.is_finite() or quantity <= ZERO:
        return refuse(RefusalCode.QUANTITY_GRID, f"quantity {plain(quantity)} must be a positive number")
    position = facts.position
    if position is None:
        # Not known: the venue itself verifies reduceOnly, and refusing could leave a position open.
        return None
    if not position:
        return refuse(RefusalCode.REDUCE_FROM_FLAT, f"there is no position in {proposal.symbol} to reduce")
    if (position > ZERO) is (proposal.side is _BUY):
        return refuse(
            RefusalCode.REDUCE_WRONG_SIDE,
            f"{proposal.side} would grow the position of {plain(position)} {proposal.symbol}; reduce with the other side",
        )
    # Resting stop and target are one-cancels-other: only exits that can execute at once add up.
    taken = facts.exits_in_flight if role is _EXIT else ZERO
    room = abs(position) - taken
    if quantity > room:
        return refuse(
            RefusalCode.REDUCE_EXCEEDS_POSITION,
            f"{plain(quantity)} {proposal.symbol} is more than the {plain(max(room, ZERO))} left to reduce "
            f"(position {plain(position)}, exits in flight {plain(taken)})",
            position=position,
            exits_in_flight=taken,
            quantity=quantity,
        )
    return None


# ------------------------------------------------------------------------------------------------ adding risk


def closed_because(facts: GateFacts) -> Refusal | None:
    """Why nothing may be opened, whatever the order; None while the gate is open."""
    if facts.halted_by_person:
        return Refusal(
            RefusalCode.HALTED_BY_PERSON, "a person halted this desk; reset the emergency stop to trade again"
        )
    stop = facts.stop
    if stop is None:
        return Refusal(RefusalCode.STOP_UNKNOWN, "the emergency stop has not been heard yet; is its component running?")
    state, mode = stop.state, facts.mode
    if state is not _ARMED and state is not _DISABLED:
        return refuse_stopped(stop)
    if not facts.stop_lease_fresh:
        return Refusal(
            RefusalCode.STOP_LEASE_EXPIRED,
            f"nothing heard from the emergency stop for more than its lease of {plain(stop.lease_seconds)} s; "
            "check its component and Redis",
        )
    if stop.reduce_only:
        return Refusal(
            _STOP_REDUCE_ONLY,
            f"the emergency stop allows exits only: {stop.reduce_only_reason or 'no reason given'}",
        )
    if facts.limits is None or mode is None:
        return Refusal(RefusalCode.POLICY_MISSING, "no trading policy is in force; apply one")
    if state is _DISABLED and mode is _LIVE:
        return Refusal(RefusalCode.STOP_DISABLED_LIVE, "the emergency stop is disabled; Live trading needs it enabled")
    if facts.policy_stale:
        return Refusal(
            RefusalCode.POLICY_STALE,
            "the trading policy is not confirmed: Redis has not answered for 10 minutes, or another copy of the policy "
            "differs from what Redis holds; check Redis",
        )
    if facts.policy_hold:
        return Refusal(RefusalCode.POLICY_ON_HOLD, f"the trading policy is on hold: {facts.policy_hold}")
    if facts.events_trouble:
        return Refusal(RefusalCode.EVENTS_NOT_SAFE, f"what the desk does may not be kept: {facts.events_trouble}")
    if facts.venue_ban:
        return Refusal(RefusalCode.VENUE_BANNED, facts.venue_ban)
    if facts.venue_trouble:
        return Refusal(RefusalCode.VENUE_NOT_CLEARED, f"nothing may be opened at this venue: {facts.venue_trouble}")
    if not facts.reconciled:
        return Refusal(
            RefusalCode.NOT_RECONCILED,
            "the account has not been reconciled with the venue; see the execution component's report for what differs",
        )
    if facts.passive_breach:
        return Refusal(RefusalCode.PASSIVE_BREACH, f"a limit is breached by price moves: {facts.passive_breach}")
    return None


def check_entry(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    """The first rule that an order which adds risk breaks; None when it may go."""
    closed = closed_because(facts)
    if closed is not None:
        return closed
    limits, quantity, price, protection = facts.limits, proposal.quantity, proposal.price, proposal.protection
    assert limits is not None  # closed_because refuses without a policy
    if not (
        quantity.is_finite()
        and (price is None or price.is_finite())
        and (
            protection is None
            or (
                protection.stop_price.is_finite()
                and (protection.target_price is None or protection.target_price.is_finite())
            )
        )
    ):
        return refuse(RefusalCode.QUANTITY_GRID, "quantity and prices must be finite numbers")
    refusal = _check_origin(proposal, facts)
    if refusal is not None:
        return refusal
    rules, mark, equity, position = facts.instrument, facts.mark, facts.equity, facts.position
    if (
        rules is None
        or not rules.trading
        or mark is None
        or mark <= ZERO
        or equity is None
        or equity <= ZERO
        or facts.marks_missing
        or position is None
        or facts.unresolved
    ):
        return refuse_unknown(proposal, facts)
    refusal = _check_shape(proposal, quantity, price, rules, mark, limits)
    if refusal is not None:
        return refusal
    assert price is not None  # checked by _check_shape
    buys = proposal.side is _BUY
    if protection is None or protection.stop_price <= ZERO:
        return refuse(RefusalCode.NO_PROTECTION, "an entry needs a stop price")
    stop_price, target_price = protection.stop_price, protection.target_price
    wrong_stop = price <= stop_price if buys else price >= stop_price
    if wrong_stop or (target_price is not None and (target_price <= price if buys else target_price >= price)):
        return refuse_wrong_side(proposal, protection, price, "stop" if wrong_stop else "target")
    refusal = _check_pace(proposal, facts, limits)
    if refusal is not None:
        return refusal
    return _check_limits(proposal, facts, limits, rules, mark, equity, position, stop_price)


def _check_origin(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    if facts.already_executed:
        return refuse(RefusalCode.DUPLICATE_PROPOSAL, f"proposal {proposal.proposal_id} was executed before")
    provenance, expires_at = proposal.provenance, proposal.expires_at
    if provenance is None:
        return refuse(
            RefusalCode.PROVENANCE_MISSING, "the proposal does not say which signal source and data it rests on"
        )
    if facts.mode is _LIVE and provenance.data is not _MARKET_DATA:
        return refuse(
            RefusalCode.MOCK_DATA_LIVE,
            f"the signal from {provenance.source} rests on {provenance.data} data, which never trades Live",
        )
    if expires_at is None or facts.now >= expires_at:
        when = f"{expires_at:%H:%M:%S} UTC" if expires_at else "unset"
        return refuse(RefusalCode.EXPIRED, f"the signal expired at {when}; now is {facts.now:%H:%M:%S} UTC")
    if proposal.symbol not in facts.symbols:
        return refuse(RefusalCode.SYMBOL_EXITS_ONLY, f"{proposal.symbol} is not among the policy's symbols: exits only")
    return None


def _check_shape(
    proposal: Proposal,
    quantity: Decimal,
    price: Decimal | None,
    rules: Instrument,
    mark: Decimal,
    limits: EffectiveLimits,
) -> Refusal | None:
    force, tick = proposal.time_in_force, rules.tick_size
    if proposal.order_type is not _LIMIT or (force is not _IOC and force is not _POST_ONLY):
        return refuse(
            RefusalCode.ORDER_TYPE,
            f"an entry is a LIMIT order, IOC or post-only, not {proposal.order_type} {force or ''}".rstrip(),
        )
    if proposal.reduce_only:
        return refuse(RefusalCode.ORDER_TYPE, "an entry cannot be reduce-only")
    if price is None or price <= ZERO or price % tick:
        return refuse(
            RefusalCode.PRICE_GRID, f"limit price {shown(price)} must be a positive multiple of {plain(tick)}"
        )
    if quantity < rules.min_quantity or quantity <= ZERO or quantity % rules.step_size:
        return refuse(
            RefusalCode.QUANTITY_GRID,
            f"quantity {plain(quantity)} must be a multiple of {plain(rules.step_size)} and at least {plain(rules.min_quantity)}",
        )
    if quantity > rules.max_quantity:
        return refuse(
            RefusalCode.QUANTITY_MAX,
            f"quantity {plain(quantity)} is above the venue's {plain(rules.max_quantity)} for one order",
        )
    through = price - mark if proposal.side is _BUY else mark - price
    collar = limits.price_collar_pct.value
    # One tick of grace: the collar is rounded to the grid.
    if through > ZERO and (through - tick) * HUNDRED > collar * mark:
        return refuse(
            RefusalCode.PRICE_COLLAR,
            f"limit price {plain(price)} is {percent_of(through, mark):.2f} % through the mark {plain(mark)}; "
            f"the collar is {plain(collar)} %",
            price=price,
            mark=mark,
            limit=collar,
        )
    return None


def _check_pace(proposal: Proposal, facts: GateFacts, limits: EffectiveLimits) -> Refusal | None:
    last, spacing = facts.last_entry_at, limits.entry_spacing_milliseconds.value
    if last is not None and facts.now - last < _MILLISECOND * spacing:
        return refuse(RefusalCode.ENTRY_SPACING, f"the last entry in {proposal.symbol} was less than {spacing} ms ago")
    if facts.repeated >= limits.max_repeated_orders.value:
        return refuse(
            RefusalCode.REPEATED_ORDER,
            f"{facts.repeated} identical orders in a row; a person has to look and re-enable entries in {proposal.symbol}",
            repeated=facts.repeated,
            limit=limits.max_repeated_orders.value,
        )
    return None


def _check_limits(
    proposal: Proposal,
    facts: GateFacts,
    limits: EffectiveLimits,
    rules: Instrument,
    mark: Decimal,
    equity: Decimal,
    position: Decimal,
    stop_price: Decimal,
) -> Refusal | None:
    leverage = proposal.leverage
    if leverage is None or leverage < 1:
        return refuse(RefusalCode.LEVERAGE, "the proposal does not say which leverage it uses")
    notional = whole = proposal.quantity * mark
    if position or facts.in_flight_quantity:
        # Brackets and margin count the whole position: what is held, what is on its way and this order. Its stop will be
        # this proposal's.
        whole = (abs(position) + facts.in_flight_quantity) * mark + notional
    bracket = rules.bracket_for(whole)
    if bracket is None or leverage > bracket.max_leverage or leverage > limits.max_leverage.value:
        cap = bracket.max_leverage if bracket else 0
        most = min(limits.max_leverage.value, cap)
        return refuse(
            RefusalCode.LEVERAGE,
            f"leverage {leverage} is above {most} (policy {limits.max_leverage.value}, venue {cap} at this size)",
            leverage=leverage,
            limit=most,
        )
    if notional < rules.min_notional:
        return refuse(
            RefusalCode.MIN_NOTIONAL,
            f"notional {notional:.2f} is below the venue's minimum of {plain(rules.min_notional)} USDT",
        )
    if notional > (most_usd := limits.max_order_notional_usd.value):
        return refuse_over(RefusalCode.ORDER_NOTIONAL_MAX, "order notional", notional, most_usd, "USDT")
    times = Decimal(leverage)
    if notional < (least_margin := limits.min_position_margin_usd.value) * times:
        return refuse(
            RefusalCode.MARGIN_MIN,
            f"margin {notional / times:.2f} is below the minimum of {plain(least_margin)} USDT",
            margin=notional / times,
            limit=least_margin,
        )
    if whole > (most_margin := limits.max_position_margin_usd.value) * times:
        return refuse_over(RefusalCode.MARGIN_MAX, "position margin", whole / times, most_margin, "USDT")
    # ------------------------------------------------------------------------ what it can lose
    distance = mark - stop_price if proposal.side is _BUY else stop_price - mark
    if distance <= ZERO:
        return refuse(
            RefusalCode.PROTECTION_WRONG_SIDE,
            f"the stop price {plain(stop_price)} would trigger at once: the mark is {plain(mark)}",
        )
    # Percent of equity, so a hundred times the loss.
    loss_pct = proposal.quantity * distance * HUNDRED + notional * ROUND_TRIP_COST_PCT
    if loss_pct > equity * limits.max_risk_per_trade_pct.value:
        limit = equity * limits.max_risk_per_trade_pct.value / HUNDRED
        return refuse_over(
            RefusalCode.RISK_AT_STOP, "loss at the stop, costs included,", loss_pct / HUNDRED, limit, "USDT"
        )
    if whole > notional:
        units = abs(position) + facts.in_flight_quantity + proposal.quantity
        loss_pct = units * distance * HUNDRED + whole * ROUND_TRIP_COST_PCT
        if loss_pct > equity * limits.max_risk_per_position_pct.value:
            limit = equity * limits.max_risk_per_position_pct.value / HUNDRED
            what = "loss of the whole position at the stop"
            return refuse_over(RefusalCode.RISK_AT_STOP, what, loss_pct / HUNDRED, limit, "USDT")
    away = mark - mark * times * bracket.maintenance_margin_rate  # the liquidation distance, times the leverage
    if away < LIQUIDATION_TO_STOP * distance * times:
        away_pct = percent_of(max(away, ZERO), mark * times)
        return refuse(
            RefusalCode.LIQUIDATION_DISTANCE,
            f"at leverage {leverage} liquidation is {away_pct:.2f} % away, less than "
            f"twice the stop's {percent_of(distance, mark):.2f} %; lower the leverage or the stop distance",
        )
    # ------------------------------------------------------------------------ what else is open
    if position and (position > ZERO) is not (proposal.side is _BUY):
        return refuse(
            RefusalCode.POSITION_OPEN,
            f"there is a position of {plain(position)} {proposal.symbol} the other way; exit it first",
        )
    exposure = facts.gross_notional + facts.in_flight_notional + notional
    if exposure * HUNDRED > equity * (most_pct := limits.max_exposure_pct.value):
        what = "exposure with orders in flight"
        return refuse_over(RefusalCode.EXPOSURE, what, percent_of(exposure, equity), most_pct, "% of equity")
    most_open = limits.max_concurrent_positions.value
    if len(facts.open_symbols) >= most_open and proposal.symbol not in facts.open_symbols:
        return refuse(
            RefusalCode.POSITIONS_MAX,
            f"{len(facts.open_symbols)} positions are open or being opened; the limit is {most_open}",
        )
    return None
