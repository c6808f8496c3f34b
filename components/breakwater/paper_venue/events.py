"""User-data events: ORDER_TRADE_UPDATE, ALGO_UPDATE, ACCOUNT_UPDATE, listenKeyExpired."""

from __future__ import annotations

from decimal import Decimal

from breakwater.paper_venue.model import Account, AlgoOrder, Order, Position, Trade
from breakwater.paper_venue.money import ZERO, money, plain
from breakwater.paper_venue.wire import Json, entry_text


def order_trade_update(
    order: Order, execution: str, market_ms: int, trade: Trade | None = None, expiry_reason: int = 0
) -> Json:
    """`execution` (x): NEW, TRADE, CANCELED, EXPIRED or CALCULATED (liquidation)."""
    return {
        "e": "ORDER_TRADE_UPDATE",
        "E": market_ms,
        "T": market_ms,
        "o": {
            "s": order.symbol,
            "c": order.client_order_id,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": plain(order.orig_qty),
            "p": plain(order.price),
            "ap": entry_text(order.average_price) if order.executed_qty else "0",
            "sp": plain(order.stop_price),
            "x": execution,
            "X": order.status,
            "i": order.order_id,
            "l": plain(trade.qty) if trade else "0",
            "z": plain(order.executed_qty),
            "L": plain(trade.price) if trade else "0",
            "N": "USDT",
            "n": money(trade.commission) if trade else "0",
            "T": market_ms,
            "t": trade.trade_id if trade else 0,
            "b": "0",
            "a": "0",
            "m": trade.maker if trade else False,
            "R": order.reduce_only,
            "wt": order.working_type,
            "ot": order.orig_type,
            "ps": "BOTH",
            "cp": order.close_position,
            "AP": None,
            "cr": None,
            "pP": order.price_protect,
            "si": 0,
            "ss": 0,
            "rp": money(trade.realized_pnl) if trade else "0",
            "V": order.self_trade_prevention,
            "pm": order.price_match,
            "gtd": order.good_till_date,
            "W": order.time,
            "er": str(expiry_reason),
        },
    }


def algo_update(algo: AlgoOrder, market_ms: int) -> Json:
    """A step of an algo order's life. `ai` names the real order once there is one."""
    order: Json = {
        "caid": algo.client_algo_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.order_type,
        "s": algo.symbol,
        "S": algo.side,
        "ps": "BOTH",
        "f": algo.time_in_force,
        "q": plain(algo.quantity),
        "X": algo.status,
        "ai": str(algo.actual_order_id) if algo.actual_order_id else "",
        "tp": plain(algo.trigger_price),
        "p": plain(algo.price),
        "V": algo.self_trade_prevention,
        "wt": algo.working_type,
        "pm": algo.price_match,
        "cp": algo.close_position,
        "pP": algo.price_protect,
        "R": algo.reduce_only,
        "tt": algo.trigger_time,
        "gtd": algo.good_till_date,
    }
    if algo.actual_order_id:
        order["ap"] = entry_text(algo.actual_price) if algo.actual_price else "0"
        order["aq"] = plain(algo.actual_qty)
        order["act"] = algo.actual_type
    if algo.reject_reason:
        order["rm"] = algo.reject_reason
    return {"e": "ALGO_UPDATE", "T": market_ms, "E": market_ms, "o": order}


def account_update(
    account: Account,
    position: Position | None,
    cross_wallet: Decimal,
    mark: Decimal,
    reason: str,
    market_ms: int,
    *,
    change: Decimal = ZERO,
) -> Json:
    """Balance and the one position that changed. `change` (bc) is what is neither profit nor commission."""
    positions = []
    if position is not None:
        positions.append(
            {
                "s": position.symbol,
                "pa": plain(position.qty),
                "ep": entry_text(position.entry_price),
                "bep": entry_text(position.entry_price),
                "cr": money(position.realized_total),
                "up": money(position.unrealized(mark)) if position.qty else "0",
                "mt": "isolated" if position.isolated else "cross",
                "iw": money(position.isolated_wallet) if position.isolated else "0",
                "ps": "BOTH",
            }
        )
    balance = {
        "a": "USDT",
        "wb": money(account.wallet),
        "cw": money(cross_wallet),
        "bc": money(change) if change else "0",
    }
    return {
        "e": "ACCOUNT_UPDATE",
        "E": market_ms,
        "T": market_ms,
        "a": {"m": reason, "B": [balance], "P": positions},
    }


def account_config_update(symbol: str, leverage: int, market_ms: int) -> Json:
    """The leverage of a symbol was changed."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": market_ms, "T": market_ms, "ac": {"s": symbol, "l": leverage}}


def margin_call(
    positions: list[tuple[Position, Decimal, Decimal]], cross_wallet: Decimal | None, market_ms: int
) -> Json:
    """Positions near liquidation with their marks and maintenance margins; the cross wallet if it stands for them."""
    event: Json = {
        "e": "MARGIN_CALL",
        "E": market_ms,
        "p": [
            {
                "s": position.symbol,
                "ps": "BOTH",
                "pa": plain(position.qty),
                "mt": "ISOLATED" if position.isolated else "CROSSED",
                "iw": money(position.isolated_wallet) if position.isolated else "0",
                "mp": plain(mark),
                "up": money(position.unrealized(mark)),
                "mm": money(maintenance),
            }
            for position, mark, maintenance in positions
        ],
    }
    return event if cross_wallet is None else event | {"cw": money(cross_wallet)}


def force_order(order: Order, market_ms: int) -> Json:
    """A liquidation as everybody is told of it, on `<symbol>@forceOrder`."""
    return {
        "e": "forceOrder",
        "E": market_ms,
        "o": {
            "s": order.symbol,
            "S": order.side,
            "o": "LIMIT",
            "f": order.time_in_force,
            "q": plain(order.orig_qty),
            "p": plain(order.price),
            "ap": entry_text(order.average_price),
            "X": order.status,
            "l": plain(order.executed_qty),
            "z": plain(order.executed_qty),
            "T": market_ms,
        },
        "st": 1,
        "ps": order.symbol,
    }


def listen_key_expired(listen_key: str, wall_ms: int) -> Json:
    return {"e": "listenKeyExpired", "E": wall_ms, "listenKey": listen_key}
