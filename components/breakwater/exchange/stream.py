"""Messages of the user stream, made into our types."""

from __future__ import annotations

from decimal import Decimal

from breakwater.domain.ids import ClientOrderId, Symbol, TradeId, VenueOrderId
from breakwater.domain.orders import OrderStatus, Side
from breakwater.exchange.messages import (
    AccountUpdate,
    AlgoOrderReport,
    AlgoStatus,
    AlgoUpdate,
    ForcedBy,
    ListenKeyExpired,
    OrderReport,
    OrderUpdate,
    PositionChange,
    TradeReport,
    UserEvent,
)
from breakwater.exchange.parse import STATUS_ALIASES, check_order, id_or_none, position_side_of
from breakwater.exchange.reader import Reader


def parse_user_event(message: object) -> UserEvent | None:
    """One message of the user stream, bare or in a ``{"stream", "data"}`` wrapper.

    None for kinds we have no use for (market data, subscription replies, TRADE_LITE, ...). VenueReplyError when a kind we
    do use makes no sense: then something was missed, reconcile.
    """
    event = Reader(message, "stream message")
    if "data" in event and "stream" in event:
        event = event.child("data")
    kind = event.raw.get("e")
    if kind == "ORDER_TRADE_UPDATE":
        return _order_update(event)
    if kind == "ALGO_UPDATE":
        return AlgoUpdate(event_time=event.time("E"), order=_algo_order(event))
    if kind == "ACCOUNT_UPDATE":
        return _account_update(event)
    if kind == "listenKeyExpired":
        return ListenKeyExpired(event_time=event.time("E"))
    return None


def _order_update(event: Reader) -> OrderUpdate:
    order = Reader(event.raw.get("o"), "ORDER_TRADE_UPDATE")
    client_id = ClientOrderId(order.text("c"))
    report = OrderReport(
        symbol=Symbol(order.text("s")),
        order_id=VenueOrderId(order.text("i")),
        client_order_id=client_id,
        side=order.choice(Side, "S"),
        order_type=order.text("o"),
        status=order.choice(OrderStatus, "X", aliases=STATUS_ALIASES),
        quantity=order.amount("q"),
        executed_quantity=order.amount("z"),
        average_price=order.positive_or_none("ap"),
        price=order.positive_or_none("p"),
        reduce_only=order.boolean("R"),
        position_side=position_side_of(order, "ps"),
        update_time=order.time("T"),
    )
    check_order(report, order.what)
    return OrderUpdate(event.time("E"), order.text("x"), report, _fill(order, report), ForcedBy.of(client_id))


def _fill(order: Reader, report: OrderReport) -> TradeReport | None:
    # Liquidation and ADL fills come as CALCULATED; some of those carry no quantity and are no fill.
    if order.text("x") not in {"TRADE", "CALCULATED"} or order.amount("l") == 0:
        return None
    return TradeReport(
        symbol=report.symbol,
        trade_id=TradeId(order.text("t")),
        order_id=report.order_id,
        client_order_id=report.client_order_id,
        side=report.side,
        price=order.amount("L"),
        quantity=order.amount("l"),
        realised_pnl=order.decimal("rp"),
        commission=order.decimal("n") if "n" in order else Decimal(0),
        commission_asset=order.text("N") if "N" in order else "",
        maker=order.boolean("m"),
        time=order.time("T"),
    )


def _algo_order(event: Reader) -> AlgoOrderReport:
    order = Reader(event.raw.get("o"), "ALGO_UPDATE")
    return AlgoOrderReport(
        symbol=Symbol(order.text("s")),
        algo_id=order.text("aid"),
        client_algo_id=ClientOrderId(order.text("caid")),
        side=order.choice(Side, "S"),
        order_type=order.text("o"),
        status=order.choice(AlgoStatus, "X"),
        quantity=order.positive_or_none("q"),
        trigger_price=order.positive_or_none("tp"),
        reduce_only=order.boolean("R"),
        close_position=order.boolean("cp"),
        position_side=position_side_of(order, "ps"),
        actual_order_id=id_or_none(order, "ai"),
        reason=str(order.raw.get("rm") or ""),
        update_time=event.time("T"),
    )


def _account_update(event: Reader) -> AccountUpdate:
    account = Reader(event.raw.get("a"), "ACCOUNT_UPDATE")
    balances = account.children("B") if "B" in account else []
    positions = account.children("P") if "P" in account else []
    return AccountUpdate(
        event_time=event.time("E"),
        reason=account.text("m"),
        wallets={row.text("a"): row.decimal("wb") for row in balances},
        changes={row.text("a"): row.decimal("bc") for row in balances if "bc" in row},
        positions=tuple(
            PositionChange(
                symbol=Symbol(row.text("s")),
                quantity=row.decimal("pa"),
                entry_price=row.amount("ep"),
                unrealised_pnl=row.decimal("up"),
                position_side=position_side_of(row, "ps"),
            )
            for row in positions
        ),
    )
