"""The rules of the gate, one small check each.

Every unknown (no lease, no policy, no mark, no equity, unreconciled account, unresolved order) closes it to new risk.
Limits hold at submission, at the mark price: price moves afterwards are a passive breach, not a refusal.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from breakwater.domain.gate_facts import GateFacts
from breakwater.domain.limits import EffectiveLimits
from breakwater.domain.money import HUNDRED, ONE, ZERO, is_multiple, percent_of, plain
from breakwater.domain.orders import OrderRole, OrderType, Proposal, TimeInForce
from breakwater.domain.policy import TradingMode
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind
from breakwater.domain.stop_state import StopState

ROUND_TRIP_COST_PCT = Decimal("0.2")
"""Fees (0.05 % each way) and slippage (0.05 % each way) counted into the loss at the stop, percent of notional."""

LIQUIDATION_TO_STOP = Decimal(2)
"""Liquidation must be at least this many stop distances away (REQUIREMENTS R0)."""


# ------------------------------------------------------------------------------------------------ reducing


def check_reduction(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    """Only what keeps an order from reducing can refuse it; no state of the desk does."""
    if not proposal.reduce_only:
        return _no(
            RefusalCode.REDUCE_FLAG_MISSING,
            f"a {proposal.role} order must be marked reduce-only, so that the venue keeps it from opening a position",
        )
    allowed = {
        OrderRole.STOP: {OrderType.STOP_MARKET},
        OrderRole.TARGET: {OrderType.LIMIT},
        OrderRole.EXIT: {OrderType.MARKET, OrderType.LIMIT},
    }[proposal.role]
    if proposal.order_type not in allowed:
        return _no(
            RefusalCode.ORDER_TYPE,
            f"a {proposal.role} is placed as {' or '.join(sorted(allowed))}, not as {proposal.order_type}",
        )
    if proposal.quantity <= ZERO:
        return _no(RefusalCode.QUANTITY_GRID, f"quantity {plain(proposal.quantity)} must be positive")
    if facts.position is None:
        # Not known: the venue itself verifies reduceOnly, and refusing could leave a position open.
        return None
    if facts.position == ZERO:
        return _no(RefusalCode.REDUCE_FROM_FLAT, f"there is no position in {proposal.symbol} to reduce")
    if proposal.side.sign * facts.position > ZERO:
        return _no(
            RefusalCode.REDUCE_WRONG_SIDE,
            f"{proposal.side} would grow the position of {plain(facts.position)} {proposal.symbol}; reduce with the other side",
        )
    # Resting stop and target are one-cancels-other: only exits that can execute at once add up.
    taken = facts.exits_in_flight if proposal.role is OrderRole.EXIT else ZERO
    room = abs(facts.position) - taken
    if proposal.quantity > room:
        return _no(
            RefusalCode.REDUCE_EXCEEDS_POSITION,
            f"{plain(proposal.quantity)} {proposal.symbol} is more than the {plain(max(room, ZERO))} left to reduce "
            f"(position {plain(facts.position)}, exits in flight {plain(taken)})",
            position=facts.position,
            exits_in_flight=taken,
            quantity=proposal.quantity,
        )
    return None


# ------------------------------------------------------------------------------------------------ adding risk


def closed_because(facts: GateFacts) -> Refusal | None:
    if facts.halted_by_person:
        return _no(RefusalCode.HALTED_BY_PERSON, "a person halted this desk; reset the emergency stop to trade again")
    stop = facts.stop
    if stop is None:
        return _no(RefusalCode.STOP_UNKNOWN, "the emergency stop has not been heard yet; is its component running?")
    if stop.state is StopState.TRIPPED:
        trip = stop.trip
        why = f": {trip.reason}" if trip else ""
        return _no(RefusalCode.STOP_TRIPPED, f"the emergency stop has tripped{why}", epoch=stop.epoch)
    if stop.state is StopState.COOLING_DOWN:
        until = f" until {stop.cooling_down_until:%H:%M:%S} UTC" if stop.cooling_down_until else ""
        return _no(
            RefusalCode.STOP_COOLING_DOWN,
            f"the emergency stop is cooling down{until} and needs a person's reset afterwards",
            epoch=stop.epoch,
        )
    if not facts.stop_lease_fresh:
        return _no(
            RefusalCode.STOP_LEASE_EXPIRED,
            f"nothing heard from the emergency stop for more than its lease of {plain(stop.lease_seconds)} s; "
            "check its component and Redis",
        )
    if stop.reduce_only:
        return _no(
            RefusalCode.STOP_REDUCE_ONLY,
            f"the emergency stop allows exits only: {stop.reduce_only_reason or 'no reason given'}",
        )
    if facts.limits is None or facts.mode is None:
        return _no(RefusalCode.POLICY_MISSING, "no trading policy is in force; apply one")
    if stop.state is StopState.DISABLED and facts.mode is TradingMode.LIVE:
        return _no(RefusalCode.STOP_DISABLED_LIVE, "the emergency stop is disabled; Live trading needs it enabled")
    if facts.policy_stale:
        return _no(
            RefusalCode.POLICY_STALE,
            "the trading policy is not confirmed: Redis has not answered for 10 minutes, or another copy of the policy "
            "differs from what Redis holds; check Redis",
        )
    if facts.policy_hold:
        return _no(RefusalCode.POLICY_ON_HOLD, f"the trading policy is on hold: {facts.policy_hold}")
    if not facts.reconciled:
        return _no(
            RefusalCode.NOT_RECONCILED,
            "the account has not been reconciled with the venue; see the execution component's report for what differs",
        )
    if facts.passive_breach:
        return _no(RefusalCode.PASSIVE_BREACH, f"a limit is breached by price moves: {facts.passive_breach}")
    return None


def check_entry(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    closed = closed_because(facts)
    if closed is not None:
        return closed
    assert facts.limits is not None  # closed_because refuses without a policy
    numbers = [proposal.quantity, proposal.price]
    if proposal.protection is not None:
        numbers += [proposal.protection.stop_price, proposal.protection.target_price]
    if any(number is not None and not number.is_finite() for number in numbers):
        return _no(RefusalCode.QUANTITY_GRID, "quantity and prices must be finite numbers")
    for check in (_check_origin, _check_instrument, _check_shape, _check_protection, _check_pace):
        refusal = check(proposal, facts)
        if refusal is not None:
            return refusal
    return _check_limits(proposal, facts, facts.limits)


def _check_origin(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    if facts.already_executed:
        return _no(RefusalCode.DUPLICATE_PROPOSAL, f"proposal {proposal.proposal_id} was executed before")
    if proposal.provenance is None:
        return _no(RefusalCode.PROVENANCE_MISSING, "the proposal does not say which signal source and data it rests on")
    if facts.mode is TradingMode.LIVE and proposal.provenance.data is not DataKind.MARKET:
        return _no(
            RefusalCode.MOCK_DATA_LIVE,
            f"the signal from {proposal.provenance.source} rests on {proposal.provenance.data} data, which never trades Live",
        )
    if proposal.expires_at is None or facts.now >= proposal.expires_at:
        when = f"{proposal.expires_at:%H:%M:%S} UTC" if proposal.expires_at else "unset"
        return _no(RefusalCode.EXPIRED, f"the signal expired at {when}; now is {facts.now:%H:%M:%S} UTC")
    if proposal.symbol not in facts.symbols:
        return _no(RefusalCode.SYMBOL_EXITS_ONLY, f"{proposal.symbol} is not among the policy's symbols: exits only")
    return None


def _check_instrument(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    rules = facts.instrument
    if rules is None:
        return _no(RefusalCode.INSTRUMENT_UNKNOWN, f"the venue's rules for {proposal.symbol} are not known yet")
    if not rules.trading:
        return _no(RefusalCode.INSTRUMENT_HALTED, f"the venue does not trade {proposal.symbol} at the moment")
    if facts.mark is None or facts.mark <= ZERO:
        return _no(RefusalCode.PRICE_UNKNOWN, f"no recent mark price of {proposal.symbol} is known")
    if facts.equity is None or facts.equity <= ZERO:
        return _no(
            RefusalCode.EQUITY_UNKNOWN,
            "the account's equity is not positive, or not known: there is no complete, recent portfolio snapshot",
        )
    if facts.marks_missing:
        return _no(
            RefusalCode.PRICE_UNKNOWN,
            f"exposure is not known: no recent mark price of {', '.join(sorted(facts.marks_missing))}",
        )
    if facts.position is None or facts.unresolved:
        return _no(
            RefusalCode.UNRESOLVED_ORDER,
            f"the outcome of an earlier order in {proposal.symbol} is still being looked up",
        )
    return None


def _check_shape(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    rules, mark = facts.instrument, facts.mark
    assert rules is not None  # both checked by _check_instrument
    assert mark is not None
    if proposal.order_type is not OrderType.LIMIT or proposal.time_in_force not in {TimeInForce.IOC, TimeInForce.GTX}:
        return _no(
            RefusalCode.ORDER_TYPE,
            f"an entry is a LIMIT order, IOC or post-only, not {proposal.order_type} {proposal.time_in_force or ''}".rstrip(),
        )
    if proposal.reduce_only:
        return _no(RefusalCode.ORDER_TYPE, "an entry cannot be reduce-only")
    if proposal.price is None or proposal.price <= ZERO or not is_multiple(proposal.price, rules.tick_size):
        return _no(
            RefusalCode.PRICE_GRID,
            f"limit price {_show(proposal.price)} must be a positive multiple of {plain(rules.tick_size)}",
        )
    quantity = proposal.quantity
    if quantity < rules.min_quantity or quantity <= ZERO or not is_multiple(quantity, rules.step_size):
        return _no(
            RefusalCode.QUANTITY_GRID,
            f"quantity {plain(quantity)} must be a multiple of {plain(rules.step_size)} and at least {plain(rules.min_quantity)}",
        )
    if quantity > rules.max_quantity:
        return _no(
            RefusalCode.QUANTITY_MAX,
            f"quantity {plain(quantity)} is above the venue's {plain(rules.max_quantity)} for one order",
        )
    limits = facts.limits
    assert limits is not None
    through = (proposal.price - mark) * proposal.side.sign
    distance = percent_of(max(through, ZERO), mark)
    # One tick of grace: the collar is rounded to the grid.
    tick_pct = percent_of(rules.tick_size, mark)
    if distance > limits.price_collar_pct.value + tick_pct:
        return _no(
            RefusalCode.PRICE_COLLAR,
            f"limit price {plain(proposal.price)} is {distance:.2f} % through the mark {plain(mark)}; "
            f"the collar is {plain(limits.price_collar_pct.value)} %",
            price=proposal.price,
            mark=mark,
            limit=limits.price_collar_pct.value,
        )
    return None


def _check_protection(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    protection, price = proposal.protection, proposal.price
    assert price is not None  # checked by _check_shape
    if protection is None or protection.stop_price <= ZERO:
        return _no(RefusalCode.NO_PROTECTION, "an entry needs a stop price")
    sign = proposal.side.sign
    wrong_stop = (price - protection.stop_price) * sign <= ZERO
    wrong_target = protection.target_price is not None and (protection.target_price - price) * sign <= ZERO
    if wrong_stop or wrong_target:
        what = "stop" if wrong_stop else "target"
        return _no(
            RefusalCode.PROTECTION_WRONG_SIDE,
            f"the {what} price {_show(protection.stop_price if wrong_stop else protection.target_price)} is on the wrong "
            f"side of the limit price {plain(price)} for a {proposal.side}",
        )
    return None


def _check_pace(proposal: Proposal, facts: GateFacts) -> Refusal | None:
    limits = facts.limits
    assert limits is not None
    if facts.last_entry_at is not None:
        spacing = timedelta(milliseconds=limits.entry_spacing_milliseconds.value)
        if facts.now - facts.last_entry_at < spacing:
            return _no(
                RefusalCode.ENTRY_SPACING,
                f"the last entry in {proposal.symbol} was less than {limits.entry_spacing_milliseconds.value} ms ago",
            )
    if facts.repeated >= limits.max_repeated_orders.value:
        return _no(
            RefusalCode.REPEATED_ORDER,
            f"{facts.repeated} identical orders in a row; a person has to look and re-enable entries in {proposal.symbol}",
            repeated=facts.repeated,
            limit=limits.max_repeated_orders.value,
        )
    return None


def _check_limits(proposal: Proposal, facts: GateFacts, limits: EffectiveLimits) -> Refusal | None:
    rules, mark, equity = facts.instrument, facts.mark, facts.equity
    assert rules is not None  # all checked before
    assert mark is not None
    assert equity is not None
    notional = proposal.quantity * mark
    leverage = proposal.leverage
    if leverage is None or leverage < 1:
        return _no(RefusalCode.LEVERAGE, "the proposal does not say which leverage it uses")
    # Brackets and margin count the whole position: what is held, what is on its way and this order.
    whole = (abs(facts.position or ZERO) + facts.in_flight_quantity) * mark + notional
    most = min(limits.max_leverage.value, rules.leverage_cap(whole))
    if leverage > most:
        return _no(
            RefusalCode.LEVERAGE,
            f"leverage {leverage} is above {most} (policy {limits.max_leverage.value}, "
            f"venue {rules.leverage_cap(whole)} at this size)",
            leverage=leverage,
            limit=most,
        )
    if notional < rules.min_notional:
        return _no(
            RefusalCode.MIN_NOTIONAL,
            f"notional {notional:.2f} is below the venue's minimum of {plain(rules.min_notional)} USDT",
        )
    if notional > limits.max_order_notional_usd.value:
        return _over(
            RefusalCode.ORDER_NOTIONAL_MAX, "order notional", notional, limits.max_order_notional_usd.value, "USDT"
        )
    margin = notional / leverage
    if margin < limits.min_position_margin_usd.value:
        return _no(
            RefusalCode.MARGIN_MIN,
            f"margin {margin:.2f} is below the minimum of {plain(limits.min_position_margin_usd.value)} USDT",
            margin=margin,
            limit=limits.min_position_margin_usd.value,
        )
    if whole / leverage > limits.max_position_margin_usd.value:
        return _over(
            RefusalCode.MARGIN_MAX, "position margin", whole / leverage, limits.max_position_margin_usd.value, "USDT"
        )
    return _check_risk(proposal, facts, limits, equity, mark, whole) or _check_book(proposal, facts, limits, notional)


def _check_risk(
    proposal: Proposal, facts: GateFacts, limits: EffectiveLimits, equity: Decimal, mark: Decimal, whole: Decimal
) -> Refusal | None:
    """``whole``: notional of the position once everything has filled; its stop will be this proposal's."""
    rules, protection, leverage = facts.instrument, proposal.protection, proposal.leverage
    assert rules is not None
    assert protection is not None
    assert leverage is not None
    stop_distance = (mark - protection.stop_price) * proposal.side.sign
    if stop_distance <= ZERO:
        return _no(
            RefusalCode.PROTECTION_WRONG_SIDE,
            f"the stop price {plain(protection.stop_price)} would trigger at once: the mark is {plain(mark)}",
        )
    costs = proposal.quantity * mark * ROUND_TRIP_COST_PCT / HUNDRED
    loss = proposal.quantity * stop_distance + costs
    limit = equity * limits.max_risk_per_trade_pct.value / HUNDRED
    if loss > limit:
        return _over(RefusalCode.RISK_AT_STOP, "loss at the stop, costs included,", loss, limit, "USDT")
    loss = whole * (stop_distance / mark + ROUND_TRIP_COST_PCT / HUNDRED)
    limit = equity * limits.max_risk_per_position_pct.value / HUNDRED
    if whole > proposal.quantity * mark and loss > limit:
        return _over(RefusalCode.RISK_AT_STOP, "loss of the whole position at the stop", loss, limit, "USDT")
    bracket = rules.bracket_for(whole)
    maintenance = bracket.maintenance_margin_rate if bracket else ZERO
    liquidation_distance = mark * (ONE / leverage - maintenance)
    if liquidation_distance < LIQUIDATION_TO_STOP * stop_distance:
        return _no(
            RefusalCode.LIQUIDATION_DISTANCE,
            f"at leverage {leverage} liquidation is {percent_of(max(liquidation_distance, ZERO), mark):.2f} % away, less than "
            f"twice the stop's {percent_of(stop_distance, mark):.2f} %; lower the leverage or the stop distance",
        )
    return None


def _check_book(proposal: Proposal, facts: GateFacts, limits: EffectiveLimits, notional: Decimal) -> Refusal | None:
    position = facts.position or ZERO
    if position * proposal.side.sign < ZERO:
        return _no(
            RefusalCode.POSITION_OPEN,
            f"there is a position of {plain(position)} {proposal.symbol} the other way; exit it first",
        )
    equity = facts.equity
    assert equity is not None
    exposure = percent_of(facts.gross_notional + facts.in_flight_notional + notional, equity)
    if exposure > limits.max_exposure_pct.value:
        return _over(
            RefusalCode.EXPOSURE,
            "exposure with orders in flight",
            exposure,
            limits.max_exposure_pct.value,
            "% of equity",
        )
    if proposal.symbol not in facts.open_symbols and len(facts.open_symbols) >= limits.max_concurrent_positions.value:
        return _no(
            RefusalCode.POSITIONS_MAX,
            f"{len(facts.open_symbols)} positions are open or being opened; the limit is {limits.max_concurrent_positions.value}",
        )
    return None


# ------------------------------------------------------------------------------------------------ wording


def _over(code: RefusalCode, what: str, value: Decimal, limit: Decimal, unit: str) -> Refusal:
    return _no(code, f"{what} {value:.2f} {unit} is above the limit of {plain(limit)} {unit}", value=value, limit=limit)


def _show(value: Decimal | None) -> str:
    return "none" if value is None else plain(value)


def _no(code: RefusalCode, text: str, **numbers: Decimal | int) -> Refusal:
    shown = {name: plain(value) if isinstance(value, Decimal) else str(value) for name, value in numbers.items()}
    return Refusal(code, text, shown)
