"""The gate's correctness table, by what goes wrong. What the words of a row mean: row.py."""

from __future__ import annotations

from typing import Any

from tests.contract.gate_table.row import (
    CLOSED_BY,
    EQUITY,
    FLAT,
    LONG,
    PEER_KNOWS,
    SHORT,
    Ask,
    Before,
    D,
    Row,
    State,
)

from breakwater.domain.orders import OrderRole, OrderType, Protection, Side, TimeInForce
from breakwater.domain.refusals import RefusalCode as Code
from breakwater.domain.signals import DataKind, Provenance


def buy(quantity: str = "0.12", **changes: Any) -> Ask:
    return Ask(OrderRole.ENTRY, Side.BUY, D(quantity), changes)


def sell(quantity: str = "0.12", **changes: Any) -> Ask:
    sane = {"price": D("99500"), "protection": Protection(D("102000"))}
    return Ask(OrderRole.ENTRY, Side.SELL, D(quantity), sane | changes)


def close(side: Side = Side.SELL, quantity: str = "0.12", **changes: Any) -> Ask:
    return Ask(OrderRole.EXIT, side, D(quantity), changes)


def _refused(name: str, ask: Ask, code: Code, why: str, **more: Any) -> Row:
    """One order on a desk in order, that must not go."""
    return Row(name, (ask,), (FLAT, FLAT), why, codes=(code,), **more)


OPENING = tuple(
    Row(
        f"open from flat: {state.value}",
        (buy(),),
        (FLAT, FLAT),
        "state unknown or stopped: no new risk",
        state=state,
        codes=(code,),
        peer_knows=state in PEER_KNOWS,
        equity=D(-5) if state is State.EQUITY_NEGATIVE else EQUITY,
    )
    for state, code in CLOSED_BY.items()
)

CLOSING = tuple(
    Row(
        f"close a long: {state.value}",
        (close(),),
        (FLAT, FLAT),
        "reducing risk always works",
        state=state,
        held=LONG,
        # A halt flattens by itself: the order asked for may find nothing left.
        codes=(None, Code.REDUCE_FROM_FLAT, Code.REDUCE_EXCEEDS_POSITION) if state is State.HALTED else (None,),
        peer_knows=state in PEER_KNOWS,
        equity=D(-5) if state is State.EQUITY_NEGATIVE else EQUITY,
    )
    for state in State
)

REDUCING = (
    Row(
        "a short opened from flat while only exits are allowed",
        (sell(),),
        (FLAT, FLAT),
        "from flat every order opens",
        state=State.STOP_REDUCE_ONLY,
        codes=(Code.STOP_REDUCE_ONLY,),
    ),
    Row(
        "a long grown while only exits are allowed",
        (buy("0.03"),),
        (LONG, LONG),
        "it grows the position",
        state=State.STOP_REDUCE_ONLY,
        held=LONG,
        codes=(Code.STOP_REDUCE_ONLY,),
    ),
    Row(
        "a long turned short while only exits are allowed",
        (sell("0.24"),),
        (FLAT, LONG),
        "what goes past flat opens the other way",
        state=State.STOP_REDUCE_ONLY,
        held=LONG,
        codes=(Code.STOP_REDUCE_ONLY,),
    ),
    Row(
        "a short turned long after a trip",
        (buy("0.24"),),
        (SHORT, FLAT),
        "what goes past flat opens the other way",
        state=State.TRIPPED,
        held=SHORT,
        codes=(Code.STOP_TRIPPED,),
    ),
    Row(
        "a short closed after a trip",
        (close(Side.BUY),),
        (FLAT, FLAT),
        "reducing risk always works, on both sides",
        state=State.TRIPPED,
        held=SHORT,
    ),
    Row(
        "an entry that turns a long short on an open desk",
        (sell("0.24"),),
        (FLAT, LONG),
        "one order never closes and opens",
        held=LONG,
        codes=(Code.POSITION_OPEN, Code.RISK_AT_STOP, Code.MARGIN_MAX),
        peer_knows=False,
    ),
    Row(
        "an exit larger than the position, marked reduce-only",
        (close(quantity="0.24"),),
        (FLAT, LONG),
        "an exit never goes past flat",
        held=LONG,
        codes=(Code.REDUCE_EXCEEDS_POSITION,),
    ),
    Row(
        "an exit larger than the position, not marked reduce-only, while only exits are allowed",
        (close(quantity="0.24", reduce_only=False),),
        (FLAT, LONG),
        "an exit never goes past flat",
        state=State.STOP_REDUCE_ONLY,
        held=LONG,
        codes=(Code.REDUCE_FLAG_MISSING,),
    ),
    Row(
        "an exit to the wrong side",
        (close(Side.BUY, "0.03"),),
        (LONG, LONG),
        "it would grow the position",
        held=LONG,
        codes=(Code.REDUCE_WRONG_SIDE,),
    ),
    Row(
        "a reduce-only sale from flat",
        (close(),),
        (FLAT, FLAT),
        "there is nothing to reduce",
        codes=(Code.REDUCE_FROM_FLAT,),
    ),
    Row(
        "a reduce-only purchase from flat while only exits are allowed",
        (close(Side.BUY),),
        (FLAT, FLAT),
        "there is nothing to reduce",
        state=State.STOP_REDUCE_ONLY,
        codes=(Code.REDUCE_FROM_FLAT,),
    ),
    Row(
        "half of a position closed",
        (close(quantity="0.06"),),
        (D("0.06"), D("0.06")),
        "a partial exit leaves the rest",
        held=LONG,
    ),
    Row(
        "two exits at once, together more than the position",
        (close(quantity="0.08"), close(quantity="0.08")),
        (FLAT, D("0.04")),
        "exits in flight count",
        held=LONG,
        codes=(None, Code.REDUCE_EXCEEDS_POSITION),
    ),
    Row(
        "two exits at once, not marked reduce-only, together more than the position",
        (close(quantity="0.08", reduce_only=False), close(quantity="0.08", reduce_only=False)),
        (FLAT, LONG),
        "exits together never go past flat",
        held=LONG,
        codes=(Code.REDUCE_FLAG_MISSING,),
    ),
    Row(
        "a short flattened while its stop and target rest",
        (close(Side.BUY),),
        (FLAT, FLAT),
        "resting stop and target are one-cancels-other and never block a flatten",
        held=SHORT,
    ),
    Row(
        "an entry that rests when the stop trips",
        (),
        (FLAT, FLAT),
        "a closed gate takes resting entries back",
        before=Before.BTC_RESTING,
        state=State.TRIPPED,
        peer_knows=False,
    ),
)

ORDERS = (
    Row("a sane entry", (buy(),), (LONG, LONG), "a gate that lets nothing through is no gate"),
    Row("a sane short", (sell(),), (SHORT, SHORT), "both sides"),
    _refused("a price off the grid", buy(price=D("100500.05")), Code.PRICE_GRID, "the venue's tick is 0.1"),
    _refused("a quantity off the grid", buy("0.1205"), Code.QUANTITY_GRID, "the venue's step is 0.001"),
    _refused("a quantity that is no number", buy("NaN"), Code.QUANTITY_GRID, "NaN compares with nothing"),
    _refused("a quantity of nothing", buy("0"), Code.QUANTITY_GRID, "it must be positive"),
    _refused("a negative quantity", buy("-0.12"), Code.QUANTITY_GRID, "it must be positive"),
    _refused("a price that is no number", buy(price=D("NaN")), Code.QUANTITY_GRID, "NaN compares with nothing"),
    _refused("a negative price", buy(price=D("-1")), Code.PRICE_GRID, "it must be positive"),
    _refused("more than one order may carry at the venue", buy("1001"), Code.QUANTITY_MAX, "at most 1000"),
    _refused("a price through the collar", buy(price=D("102000")), Code.PRICE_COLLAR, "0.5 %", peer_knows=False),
    _refused(
        "an entry as a MARKET order",
        buy(order_type=OrderType.MARKET, price=None, time_in_force=None),
        Code.ORDER_TYPE,
        "it could fill anywhere",
        peer_knows=False,
    ),
    _refused(
        "an entry that rests for good",
        buy(time_in_force=TimeInForce.GTC, price=D("99000"), protection=Protection(D("97000"))),
        Code.ORDER_TYPE,
        "it would outlive its signal",
        peer_knows=False,
    ),
    _refused("an entry without a stop", buy(protection=None), Code.NO_PROTECTION, "unprotected", peer_knows=False),
    _refused(
        "a stop on the wrong side",
        buy(protection=Protection(D("101000"))),
        Code.PROTECTION_WRONG_SIDE,
        "it would trigger at once",
        peer_knows=False,
    ),
    _refused(
        "liquidation closer than twice the stop",
        buy("0.06", leverage=30),
        Code.LIQUIDATION_DISTANCE,
        "the stop could come too late",
        peer_knows=False,
    ),
    _refused(
        "an expired signal", Ask(OrderRole.ENTRY, Side.BUY, LONG, {}, -1), Code.EXPIRED, "stale", peer_knows=False
    ),
    _refused(
        "no word on where the signal comes from",
        buy(provenance=None),
        Code.PROVENANCE_MISSING,
        "mock data could hide behind it",
        peer_knows=False,
    ),
    _refused(
        "made-up data in Live",
        buy(provenance=Provenance("models", DataKind.SYNTHETIC)),
        Code.MOCK_DATA_LIVE,
        "mock data never trades live money",
        limits={"trading_mode": "Live"},
        peer_knows=False,
    ),
)

LIMITS = (
    _refused(
        "notional above the limit per order",
        buy("0.7"),
        Code.ORDER_NOTIONAL_MAX,
        "60,000 USDT",
        equity=D(10_000_000),
    ),
    _refused("leverage above the policy's", buy(leverage=40), Code.LEVERAGE, "at most 30", peer_knows=False),
    _refused("no leverage said", buy(leverage=None), Code.LEVERAGE, "margin would be unknown", peer_knows=False),
    _refused("margin below the least", buy("0.005"), Code.MARGIN_MIN, "50 USDT, least 100", peer_knows=False),
    _refused("margin above the most", buy("0.21"), Code.MARGIN_MAX, "2,100 USDT, most 2,000", peer_knows=False),
    _refused(
        "a loss at the stop above the limit",
        buy(protection=Protection(D("95000"))),
        Code.RISK_AT_STOP,
        "600 USDT, most 2 % of 14,000",
        peer_knows=False,
    ),
    Row(
        "a position that would grow above the margin limit",
        (buy("0.09"),),
        (LONG, LONG),
        "the whole position counts, not the order",
        held=LONG,
        codes=(Code.MARGIN_MAX,),
        peer_knows=False,
    ),
    _refused(
        "exposure above the limit with a position elsewhere",
        buy(),
        Code.EXPOSURE,
        "18,000 + 12,000 of at most 28,000",
        before=Before.ETH_POSITION,
        peer_knows=False,
    ),
    _refused(
        "exposure above the limit with an order in flight elsewhere",
        buy(),
        Code.EXPOSURE,
        "orders in flight count",
        before=Before.ETH_RESTING,
        resting=1,
        peer_knows=False,
    ),
    _refused(
        "one position too many",
        buy(),
        Code.POSITIONS_MAX,
        "one allowed, one open",
        before=Before.ETH_POSITION,
        limits={"max_concurrent_positions": 1, "max_exposure_pct": D(400)},
        peer_knows=False,
    ),
    Row(
        "a second order while the first one's fate is unknown",
        (buy("0.03"), buy("0.03", price=D("100400"))),
        (D("0.03"), D("0.03")),
        "it may have been done",
        before=Before.REPLY_LOST,
        gap_s=1.0,
        codes=(Code.UNRESOLVED_ORDER,),
        peer_knows=False,
    ),
    Row(
        "the same proposal twice",
        (buy("0.03"), Ask(OrderRole.ENTRY, Side.BUY, D("0.03"), {}, same_id=True)),
        (D("0.03"), D("0.03")),
        "each is executed at most once",
        gap_s=1.0,
        codes=(Code.DUPLICATE_PROPOSAL,),
    ),
    Row(
        "two entries within half a second",
        (buy("0.03"), buy("0.03", price=D("100400"))),
        (D("0.03"), D("0.03")),
        "500 ms between entries on a symbol",
        gap_s=0.2,
        codes=(Code.ENTRY_SPACING,),
        peer_knows=False,
    ),
    Row(
        "the same order again and again",
        (buy("0.02"), buy("0.02"), buy("0.02")),
        (D("0.04"), D("0.04")),
        "after two identical orders a person has to look",
        gap_s=0.7,
        limits={"max_repeated_orders": 2},
        codes=(Code.REPEATED_ORDER,),
        peer_knows=False,
    ),
)

TABLE: tuple[Row, ...] = OPENING + CLOSING + REDUCING + ORDERS + LIMITS
SECTIONS = {
    "Opening from flat while something is the matter": OPENING,
    "Closing a position while something is the matter": CLOSING,
    "Reducing": REDUCING,
    "The order itself": ORDERS,
    "Limits, and orders in flight": LIMITS,
}
