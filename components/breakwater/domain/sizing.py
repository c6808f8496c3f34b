"""How large an entry may be: from equity and confidence to a quantity, each limit applied in a fixed order (REQUIREMENTS R2).

"Risk per trade 10 %" is margin allocated to the trade; "max risk 5 %" and the profile's figure are loss at the stop.
All limits hold at the mark price, as in the gate.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from breakwater.domain.instruments import Instrument
from breakwater.domain.leverage import LeveragedNotional, leveraged_notional
from breakwater.domain.limits import Binding, EffectiveLimits
from breakwater.domain.liquidity import Liquidity
from breakwater.domain.money import HUNDRED, ONE, ZERO, ceil_to, floor_to, plain
from breakwater.domain.orders import Side
from breakwater.domain.policy import SignalRules
from breakwater.domain.refusals import Refusal, RefusalCode

FALLBACK_FACTOR = Decimal("0.5")
"""Margin of a signal that stands in for models which were not available, relative to a full one."""

HEADROOM_PCT = Decimal("0.05")
"""How far the mark may move between sizing and the gate's last look without an order being refused (docs/decisions/0004)."""

DEFAULT_FEE_PCT = Decimal("0.05")
DEFAULT_SLIPPAGE_PCT = Decimal("0.05")


class SizingInput(msgspec.Struct, frozen=True):
    """Everything a size depends on. Money in USDT, prices in quote units, ``..._pct`` in percent (5 means 5 %)."""

    side: Side
    confidence: Decimal
    stop_pct: Decimal | None
    """Distance of the stop from the mark."""
    target_pct: Decimal | None
    mark: Decimal
    equity: Decimal
    gross_notional: Decimal
    """|notional at mark| of all open positions."""
    in_flight_notional: Decimal
    """Notional of risk-increasing orders that may still fill."""
    instrument: Instrument
    limits: EffectiveLimits
    rules: SignalRules
    fallback: bool = False
    liquidity: Liquidity = Liquidity()
    volatility_leverage: int | None = None
    """At most this leverage, by the mathematician; None: it does not say."""
    edge_risk_pct: Decimal | None = None
    """At most this share of equity lost at the stop, by the mathematician; None: it does not say."""
    fee_pct: Decimal = DEFAULT_FEE_PCT
    """Taker fee, each way."""
    slippage_pct: Decimal = DEFAULT_SLIPPAGE_PCT
    """Expected slippage, each way."""


class Step(msgspec.Struct, frozen=True):
    """One step of the sizing: its name (a limit's, as the resource spells it) and what was left after it."""

    name: str
    margin: Decimal
    notional: Decimal
    """0 before leverage is applied."""


class Sized(msgspec.Struct, frozen=True):
    """A size within every limit. Quantity in base units on the venue's grid; margin and notional (USDT) at the mark."""

    quantity: Decimal
    margin: Decimal
    notional: Decimal
    leverage: int
    stop_price: Decimal
    target_price: Decimal | None
    collar_price: Decimal
    """Limit price of the entry: it must not fill beyond."""
    bound_by: str
    """The last cap that bound the size; ``baseRiskPerTradePct`` when none did."""
    steps: tuple[Step, ...]


class _Trail:
    """The steps taken so far and the last cap among them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.bound_by = ""

    def note(self, name: str, margin: Decimal, notional: Decimal = ZERO, *, binds: bool = True) -> None:
        self.steps.append(Step(name, margin, notional))
        if binds:
            self.bound_by = name


def size(given: SizingInput) -> Sized | Refusal:
    """The largest quantity that every limit allows, or why there is none. Pure; never above any limit, in this order:

    base risk x confidence, largest margin, leverage (volatility, liquidity, bracket, liquidation distance), loss at the
    stop with costs (and what the edge allows), exposure room, order notional, the venue's largest order, the quantity
    grid; then the minima. What the mathematician says never allows a trade that would be refused without it.
    """
    if given.volatility_leverage is not None or given.edge_risk_pct is not None:
        # Less leverage means more margin for the same notional, which could lift a trade over the smallest margin.
        plain_size = _size(msgspec.structs.replace(given, volatility_leverage=None, edge_risk_pct=None))
        if isinstance(plain_size, Refusal):
            return plain_size
    return _size(given)


def _size(given: SizingInput) -> Sized | Refusal:
    stop_pct = given.stop_pct
    refusal = _unusable(given)
    if refusal is not None or stop_pct is None:
        return refusal or _no(RefusalCode.STOP_DISTANCE_MISSING, "the signal has no stop distance")
    trail = _Trail()
    margin = _margin(given, trail)
    asked, limit = given.volatility_leverage, given.limits.leverage
    leveraged = leveraged_notional(
        margin,
        limit.value if asked is None else min(limit.value, asked),
        side=given.side,
        stop_pct=_stop_pct_after_move(given.side, stop_pct),
        instrument=given.instrument,
        liquidity=given.liquidity,
    )
    if leveraged.leverage < 1:
        return _no_leverage(given, stop_pct, leveraged.caps[-1])
    leverage, notional = leveraged.leverage, leveraged.notional
    trail.note("leverage", margin, notional, binds=False)
    if limit.value < limit.requested:
        trail.note("maxLeverage", margin, notional)
    if asked is not None and asked < limit.value:
        trail.note("volatilityLeverage", margin, notional)
    for cap in leveraged.caps:
        trail.note(cap, notional / leverage, notional)
    room = _exposure_room(given)
    if room <= ZERO:
        return _no_room(given)
    for name, cap_notional in _notional_caps(given, stop_pct, room):
        if notional > cap_notional:
            notional = cap_notional
            trail.note(name, notional / leverage, notional)
    quantity = notional / given.mark
    most = _most_after_move(given, stop_pct, leveraged, room)
    if quantity > most:
        quantity = most
        trail.note("headroom", quantity * given.mark / leverage, quantity * given.mark, binds=False)
    quantity = floor_to(quantity, given.instrument.step_size)
    notional = quantity * given.mark
    trail.note("stepSize", notional / leverage, notional, binds=False)
    return _prices(given, stop_pct, quantity, leverage, trail)


def loss_at_stop_pct(side: Side, stop_pct: Decimal, fee_pct: Decimal, slippage_pct: Decimal) -> Decimal:
    """Loss when the stop fills, fees and slippage of both ways included, in percent of the entry's notional."""
    each_way = fee_pct + slippage_pct
    exit_notional = ONE + stop_pct / HUNDRED if side is Side.SELL else ONE
    return stop_pct + each_way + each_way * exit_notional


def _unusable(given: SizingInput) -> Refusal | None:
    if given.equity <= ZERO:
        return _no(RefusalCode.EQUITY_UNKNOWN, f"equity is {plain(given.equity)} USDT: there is nothing to size from")
    if given.mark <= ZERO:
        return _no(RefusalCode.PRICE_UNKNOWN, f"mark price {plain(given.mark)} is not positive")
    if given.confidence < given.rules.min_confidence:
        return _no(
            RefusalCode.CONFIDENCE_LOW,
            f"confidence {plain(given.confidence)} is below the minimum of {plain(given.rules.min_confidence)} "
            "(signals.minConfidence)",
            confidence=given.confidence,
            limit=given.rules.min_confidence,
        )
    if given.stop_pct is None or not ZERO < given.stop_pct < HUNDRED:
        shown = "none" if given.stop_pct is None else f"{plain(given.stop_pct)} %"
        return _no(
            RefusalCode.STOP_DISTANCE_MISSING,
            f"the signal's stop distance is {shown}: give stop_pct above 0 and below 100, so that its loss can be bounded",
        )
    return None


def _margin(given: SizingInput, trail: _Trail) -> Decimal:
    limits, rules = given.limits, given.rules
    margin = given.equity * limits.base_risk_per_trade_pct.value / HUNDRED
    trail.note("baseRiskPerTradePct", margin)
    if given.confidence >= rules.high_confidence:
        margin *= rules.high_confidence_multiplier
        trail.note("highConfidenceMultiplier", margin, binds=False)
    elif given.confidence < rules.low_confidence:
        margin *= rules.low_confidence_multiplier
        trail.note("lowConfidenceMultiplier", margin)
    if given.fallback:
        margin *= FALLBACK_FACTOR
        trail.note("fallbackSignal", margin)
    cap = limits.max_position_margin_usd.value * (FALLBACK_FACTOR if given.fallback else ONE)
    if margin > cap:
        margin = cap
        trail.note("maxPositionMarginUSD", margin)
    return margin


def _notional_caps(given: SizingInput, stop_pct: Decimal, room: Decimal) -> list[tuple[str, Decimal]]:
    limits = given.limits
    risk = limits.max_risk_per_trade_pct
    loss_pct = loss_at_stop_pct(given.side, stop_pct, given.fee_pct, given.slippage_pct)
    allowed_pct = min(risk.value, limits.max_risk_per_position_pct.value)
    by_risk_manager = risk.binding is Binding.RISK_MANAGER
    caps = [
        ("maxRiskPerPositionPct" if by_risk_manager else "maxRiskPerTradePct", given.equity * allowed_pct / loss_pct)
    ]
    if given.edge_risk_pct is not None:
        caps.append(("fractionalKelly", given.equity * given.edge_risk_pct / loss_pct))
    return [
        *caps,
        ("maxExposurePct", room),
        ("maxOrderNotionalUSD", limits.max_order_notional_usd.value),
        ("venueMaxQuantity", given.instrument.max_quantity * given.mark),
    ]


def _stop_pct_after_move(side: Side, stop_pct: Decimal) -> Decimal:
    """Distance of the stop, in percent of the mark, after the mark has moved by the headroom away from it."""
    moved = stop_pct + HEADROOM_PCT
    return moved / (ONE - HEADROOM_PCT / HUNDRED) if side is Side.SELL else moved


def _most_after_move(given: SizingInput, stop_pct: Decimal, leveraged: LeveragedNotional, room: Decimal) -> Decimal:
    """The largest quantity that stays within every limit of the gate when the mark moves by the headroom against the order.

    Limits on notional are met sooner when the mark rises, the loss at the stop when it moves away from the stop.
    """
    limits, headroom = given.limits, HEADROOM_PCT / HUNDRED
    risen = given.mark * (ONE + headroom)
    caps = [
        limits.max_position_margin_usd.value * leveraged.leverage,
        limits.max_order_notional_usd.value,
        room,
    ]
    bracket = given.instrument.bracket_for(leveraged.notional)
    if bracket is not None:
        caps.append(bracket.notional_cap)
    away = given.mark * (ONE + given.side.sign * headroom)
    allowed_pct = min(limits.max_risk_per_trade_pct.value, limits.max_risk_per_position_pct.value)
    loss_pct = loss_at_stop_pct(
        given.side, _stop_pct_after_move(given.side, stop_pct), given.fee_pct, given.slippage_pct
    )
    return min(*(cap / risen for cap in caps), given.equity * allowed_pct / loss_pct / away)


def _exposure_room(given: SizingInput) -> Decimal:
    allowed = given.equity * given.limits.max_exposure_pct.value / HUNDRED
    return allowed - given.gross_notional - given.in_flight_notional


def _prices(given: SizingInput, stop_pct: Decimal, quantity: Decimal, leverage: int, trail: _Trail) -> Sized | Refusal:
    instrument, limits, mark, long = given.instrument, given.limits, given.mark, given.side is Side.BUY
    sign, tick = given.side.sign, instrument.tick_size
    notional = quantity * mark
    margin = notional / leverage
    towards_mark = floor_to if long else ceil_to
    # Within the collar also when the mark has moved by the headroom the other way.
    through_pct = max(limits.price_collar_pct.value - HEADROOM_PCT, limits.price_collar_pct.value / 2)
    collar = towards_mark(mark * (ONE + sign * through_pct / HUNDRED), tick)
    if (collar - mark) * sign < ZERO:
        collar = (ceil_to if long else floor_to)(
            mark, tick
        )  # a collar finer than the grid: the nearest price that can fill
    # Towards the entry, so that the loss is never larger than sized for.
    stop = (ceil_to if long else floor_to)(mark * (ONE - sign * stop_pct / HUNDRED), tick)
    target = None
    if given.target_pct is not None:
        target = towards_mark(mark * (ONE + sign * given.target_pct / HUNDRED), tick)
    if margin < limits.min_position_margin_usd.value:
        return _no(
            RefusalCode.MARGIN_MIN,
            f"margin {margin:.2f} USDT is below the minimum of {plain(limits.min_position_margin_usd.value)} USDT "
            f"(minPositionMarginUSD); the size was bound by {trail.bound_by}",
            {"bound_by": trail.bound_by},
            margin=margin,
            limit=limits.min_position_margin_usd.value,
        )
    at_worst = quantity * min(mark, collar)
    if quantity < instrument.min_quantity or quantity <= ZERO or at_worst < instrument.min_notional:
        return _no(
            RefusalCode.MIN_NOTIONAL,
            f"{plain(quantity)} {instrument.symbol} ({at_worst:.2f} USDT) is below the venue's minimum of "
            f"{plain(instrument.min_quantity)} and {plain(instrument.min_notional)} USDT; the size was bound by {trail.bound_by}",
            {"bound_by": trail.bound_by},
            notional=at_worst,
            limit=instrument.min_notional,
        )
    if stop <= ZERO or (mark - stop) * sign <= ZERO:
        return _no(
            RefusalCode.PROTECTION_WRONG_SIDE,
            f"a stop of {plain(stop_pct)} % is less than one tick ({plain(tick)}) from the mark {plain(mark)}: widen it",
        )
    if target is not None and (target <= ZERO or (target - collar) * sign <= ZERO):
        return _no(
            RefusalCode.PROTECTION_WRONG_SIDE,
            f"a target of {plain(given.target_pct or ZERO)} % lies within the price collar of "
            f"{plain(limits.price_collar_pct.value)} %: set it farther away, or leave it out",
        )
    return Sized(quantity, margin, notional, leverage, stop, target, collar, trail.bound_by, tuple(trail.steps))


def _no_room(given: SizingInput) -> Refusal:
    used = (given.gross_notional + given.in_flight_notional) / given.equity * HUNDRED
    limit = given.limits.max_exposure_pct.value
    return _no(
        RefusalCode.EXPOSURE,
        f"exposure with orders in flight is {used:.2f} % of equity; the limit of {plain(limit)} % leaves no room",
        {"bound_by": "maxExposurePct"},
        value=used,
        limit=limit,
    )


def _no_leverage(given: SizingInput, stop_pct: Decimal, cap: str) -> Refusal:
    if cap == "liquidationDistance":
        return _no(
            RefusalCode.LIQUIDATION_DISTANCE,
            f"with a stop {plain(stop_pct)} % away liquidation would be nearer than twice that even at leverage 1: "
            "use a tighter stop",
            {"bound_by": cap},
            stop_pct=stop_pct,
        )
    return _no(
        RefusalCode.LEVERAGE,
        f"the venue's leverage brackets of {given.instrument.symbol} are not known: entries wait until they are read",
        {"bound_by": cap},
    )


def _no(code: RefusalCode, text: str, words: dict[str, str] | None = None, **numbers: Decimal) -> Refusal:
    return Refusal(code, text, (words or {}) | {name: plain(value) for name, value in numbers.items()})
