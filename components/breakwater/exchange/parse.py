"""Replies of the venue's REST interface, made into our types. Numbers come from the venue's own strings, never from floats.

Every function takes either what a unified ccxt call returns (its ``info`` is read) or the venue's raw object, and raises
VenueReplyError, naming the field, when that makes no sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from breakwater.domain.ids import ClientOrderId, Symbol, TradeId, VenueOrderId
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.domain.orders import OrderStatus, Side
from breakwater.exchange.messages import (
    AccountReport,
    AlgoCancelReport,
    AlgoOrderReport,
    AlgoStatus,
    OrderReport,
    PositionReport,
    TradeReport,
)
from breakwater.exchange.reader import Reader, VenueReplyError, readers

T = TypeVar("T")

STATUS_ALIASES: Mapping[str, OrderStatus] = {
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,  # self-trade prevention
    "NEW_ADL": OrderStatus.NEW,
    "NEW_INSURANCE": OrderStatus.NEW,
}


def raw_of(reply: object) -> object:
    """The venue's own object inside a unified ccxt structure; anything else as it is."""
    if isinstance(reply, Mapping) and "info" in reply:
        return reply["info"]
    return reply


def anything(reply: object) -> Any:
    """For calls whose reply says nothing beyond success: the raw object."""
    return raw_of(reply)


def list_of(parse_one: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A parser of lists from a parser of items: ``list_of(parse_order)``."""

    def parse_all(reply: object) -> tuple[T, ...]:
        if not isinstance(reply, list | tuple):
            raise VenueReplyError(parse_one.__name__, "(whole reply)", "must be a list")
        return tuple(parse_one(item) for item in reply)

    return parse_all


def parse_order(reply: object) -> OrderReport:
    """A plain order: create, cancel, fetch, open orders."""
    order = Reader(raw_of(reply), "order")
    report = OrderReport(
        symbol=Symbol(order.text("symbol")),
        order_id=VenueOrderId(order.text("orderId")),
        client_order_id=ClientOrderId(order.text("clientOrderId")),
        side=order.choice(Side, "side"),
        order_type=order.text("type"),
        status=order.choice(OrderStatus, "status", aliases=STATUS_ALIASES),
        quantity=order.amount("origQty"),
        executed_quantity=order.amount("executedQty"),
        average_price=order.positive_or_none("avgPrice"),
        price=order.positive_or_none("price"),
        reduce_only=order.boolean("reduceOnly", default=False),
        position_side=position_side_of(order, "positionSide"),
        update_time=order.time("updateTime", "time"),
    )
    check_order(report, order.what)
    return report


def check_order(report: OrderReport, what: str) -> None:
    """Cross-field sense of an order; VenueReplyError otherwise."""
    if report.executed_quantity > report.quantity:
        raise VenueReplyError(
            what, "executedQty", f"is {report.executed_quantity}, more than the order's {report.quantity}"
        )
    if report.status is OrderStatus.FILLED and report.executed_quantity != report.quantity:
        raise VenueReplyError(what, "status", f"is FILLED with {report.executed_quantity} of {report.quantity}")


def parse_algo_order(reply: object) -> AlgoOrderReport:
    """A conditional order: create, fetch, open conditional orders."""
    order = Reader(raw_of(reply), "algo order")
    return AlgoOrderReport(
        symbol=Symbol(order.text("symbol")),
        algo_id=order.text("algoId"),
        client_algo_id=ClientOrderId(order.text("clientAlgoId")),
        side=order.choice(Side, "side"),
        order_type=order.text("orderType"),
        status=order.choice(AlgoStatus, "algoStatus"),
        quantity=order.positive_or_none("quantity"),
        trigger_price=order.positive_or_none("triggerPrice"),
        reduce_only=order.boolean("reduceOnly", default=False),
        close_position=order.boolean("closePosition", default=False),
        position_side=position_side_of(order, "positionSide"),
        actual_order_id=id_or_none(order, "actualOrderId"),
        reason=str(order.raw.get("rejectReason") or order.raw.get("rm") or ""),
        update_time=order.time("updateTime", "createTime") if "updateTime" in order or "createTime" in order else None,
    )


def parse_algo_cancel(reply: object) -> AlgoCancelReport:
    """Cancellation of a conditional order, whose reply holds little more than its ids."""
    answer = Reader(raw_of(reply), "algo cancel")
    client_id = answer.raw.get("clientAlgoId")
    return AlgoCancelReport(
        algo_id=answer.text("algoId"), client_algo_id=ClientOrderId(str(client_id)) if client_id else None
    )


def parse_position(reply: object) -> PositionReport:
    """One row of positionRisk, v2 or v3."""
    row = Reader(raw_of(reply), "position")
    return PositionReport(
        symbol=Symbol(row.text("symbol")),
        quantity=row.decimal("positionAmt"),
        entry_price=row.amount("entryPrice"),
        mark_price=row.amount("markPrice"),
        unrealised_pnl=row.decimal("unRealizedProfit", "unrealizedProfit"),
        leverage=row.integer("leverage") if "leverage" in row else None,
        liquidation_price=row.positive_or_none("liquidationPrice"),
        isolated=_isolated(row),
        position_side=position_side_of(row, "positionSide"),
        update_time=row.time("updateTime"),
    )


def parse_account(reply: object) -> AccountReport:
    """The account, v2 or v3 (what fetch_balance carries as ``info``)."""
    account = Reader(raw_of(reply), "account")
    return AccountReport(
        wallet_balance=account.decimal("totalWalletBalance"),
        unrealised_pnl=account.decimal("totalUnrealizedProfit"),
        margin_balance=account.decimal("totalMarginBalance"),
        available_balance=account.decimal("availableBalance"),
        initial_margin=account.amount("totalInitialMargin"),
        maintenance_margin=account.amount("totalMaintMargin"),
    )


def parse_trade(reply: object) -> TradeReport:
    """One row of userTrades."""
    trade = Reader(raw_of(reply), "trade")
    return TradeReport(
        symbol=Symbol(trade.text("symbol")),
        trade_id=TradeId(trade.text("id")),
        order_id=VenueOrderId(trade.text("orderId")),
        client_order_id=None,
        side=trade.choice(Side, "side"),
        price=trade.amount("price"),
        quantity=trade.amount("qty"),
        realised_pnl=trade.decimal("realizedPnl"),
        commission=trade.decimal("commission"),
        commission_asset=trade.text("commissionAsset"),
        maker=trade.boolean("maker"),
        time=trade.time("time"),
    )


def parse_instrument(reply: object, brackets: tuple[LeverageBracket, ...] = ()) -> Instrument:
    """One symbol of exchangeInfo (what ccxt keeps as a market's ``info``)."""
    row = Reader(raw_of(reply), "symbol")
    symbol = Symbol(row.text("symbol"))
    filters = {item.text("filterType"): item for item in row.children("filters")}
    for name in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE", "MIN_NOTIONAL"):
        if name not in filters:
            raise VenueReplyError(f"symbol {symbol}", "filters", f"lacks {name}")
    lot, market_lot = filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
    percent_price = filters.get("PERCENT_PRICE")
    instrument = Instrument(
        symbol=symbol,
        tick_size=filters["PRICE_FILTER"].amount("tickSize"),
        # Both grids bind a quantity that may go as LIMIT or MARKET; steps are powers of ten, the coarser fits both.
        step_size=max(lot.amount("stepSize"), market_lot.amount("stepSize")),
        min_quantity=max(lot.amount("minQty"), market_lot.amount("minQty")),
        max_quantity=lot.amount("maxQty"),
        max_market_quantity=market_lot.amount("maxQty"),
        min_notional=filters["MIN_NOTIONAL"].amount("notional"),
        trading=row.text("status", "contractStatus") == "TRADING",
        brackets=brackets,
        multiplier_up=percent_price.amount("multiplierUp") if percent_price else None,
        multiplier_down=percent_price.amount("multiplierDown") if percent_price else None,
    )
    for field, value in (("tickSize", instrument.tick_size), ("stepSize", instrument.step_size)):
        if value == 0:
            raise VenueReplyError(f"symbol {symbol}", field, "is 0: prices and quantities would have no grid")
    return instrument


def parse_leverage_brackets(reply: object) -> dict[Symbol, tuple[LeverageBracket, ...]]:
    """All of leverageBracket (``client.fapiPrivateGetLeverageBracket()``), per symbol, smallest notional first."""
    return {Symbol(row.text("symbol")): _brackets(row) for row in readers(reply, "leverageBracket")}


def _brackets(row: Reader) -> tuple[LeverageBracket, ...]:
    # The venue writes these as JSON numbers; their shortest decimal text is what it meant.
    parsed = [
        LeverageBracket(
            notional_cap=item.decimal("notionalCap", inexact=True),
            max_leverage=item.integer("initialLeverage"),
            maintenance_margin_rate=item.decimal("maintMarginRatio", inexact=True),
        )
        for item in row.children("brackets")
    ]
    return tuple(sorted(parsed, key=_notional_cap))


def _notional_cap(bracket: LeverageBracket) -> Decimal:
    return bracket.notional_cap


def position_side_of(reader: Reader, name: str) -> str:
    side = reader.text(name)
    if side not in {"BOTH", "LONG", "SHORT"}:
        raise VenueReplyError(reader.what, name, f"is {side!r}, known are BOTH, LONG, SHORT")
    return side


def id_or_none(reader: Reader, name: str) -> VenueOrderId | None:
    value = reader.raw.get(name)
    return VenueOrderId(str(value)) if value not in (None, "", 0, "0") else None


def _isolated(row: Reader) -> bool | None:
    if "marginType" in row:
        return row.text("marginType").lower() == "isolated"
    if "isolatedMargin" in row and row.decimal("positionAmt") != 0:
        return row.decimal("isolatedMargin") != 0  # v3 tells it only so, and only while a position is open
    return None
