"""What each request to Binance USDⓈ-M futures takes of the limits, as the exchange publishes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from breakwater.domain.rate_budget import Cost

UNKNOWN_WEIGHT: Final = 20
"""For a request that is not in the table: more than nearly all of them."""

Weigh = Callable[[Mapping[str, Any]], int]


def _fixed(weight: int) -> Weigh:
    return lambda _: weight


def _all_costs(one: int, every: int) -> Weigh:
    """Asked for one symbol, or for all of them."""
    return lambda query: one if query.get("symbol") else every


def _by_limit(default: int, steps: tuple[tuple[int, int], ...], most: int) -> Weigh:
    def weigh(query: Mapping[str, Any]) -> int:
        text = str(query.get("limit") or "")
        limit = int(text) if text.isdecimal() else default
        return next((weight for bound, weight in steps if limit <= bound), most)

    return weigh


_ONE: Final = _fixed(1)
_FIVE: Final = _fixed(5)
_CANDLES: Final = _by_limit(500, ((99, 1), (499, 2), (1000, 5)), 10)

_WEIGHTS: Final[Mapping[str, Mapping[str, Weigh]]] = {
    "GET": {
        "/fapi/v1/ping": _ONE,
        "/fapi/v1/time": _ONE,
        "/fapi/v1/exchangeInfo": _ONE,
        "/fapi/v1/klines": _CANDLES,
        "/fapi/v1/markPriceKlines": _CANDLES,
        "/fapi/v1/depth": _by_limit(500, ((50, 2), (100, 5), (500, 10)), 20),
        "/fapi/v1/trades": _FIVE,
        "/fapi/v1/aggTrades": _fixed(20),
        "/fapi/v1/ticker/24hr": _all_costs(1, 40),
        "/fapi/v1/ticker/price": _all_costs(1, 2),
        "/fapi/v2/ticker/price": _all_costs(1, 2),
        "/fapi/v1/ticker/bookTicker": _all_costs(2, 5),
        "/fapi/v1/premiumIndex": _all_costs(1, 10),
        "/fapi/v1/fundingRate": _ONE,
        "/fapi/v1/fundingInfo": _fixed(0),
        "/fapi/v2/account": _FIVE,
        "/fapi/v3/account": _FIVE,
        "/fapi/v2/balance": _FIVE,
        "/fapi/v3/balance": _FIVE,
        "/fapi/v2/positionRisk": _FIVE,
        "/fapi/v3/positionRisk": _FIVE,
        "/fapi/v1/leverageBracket": _ONE,
        "/fapi/v1/positionSide/dual": _fixed(30),
        "/fapi/v1/multiAssetsMargin": _fixed(30),
        "/fapi/v1/symbolConfig": _FIVE,
        "/fapi/v1/accountConfig": _FIVE,
        "/fapi/v1/commissionRate": _fixed(20),
        "/fapi/v1/feeBurn": _fixed(30),
        "/fapi/v1/userTrades": _FIVE,
        "/fapi/v1/income": _fixed(30),
        "/fapi/v1/forceOrders": _all_costs(20, 50),
        "/fapi/v1/adlQuantile": _FIVE,
        "/fapi/v1/order": _ONE,
        "/fapi/v1/openOrder": _ONE,
        "/fapi/v1/openOrders": _all_costs(1, 40),
        "/fapi/v1/allOrders": _FIVE,
        "/fapi/v1/algoOrder": _ONE,
        "/fapi/v1/openAlgoOrders": _all_costs(1, 40),
        "/fapi/v1/allAlgoOrders": _FIVE,
    },
    "POST": {
        "/fapi/v1/order": _fixed(0),
        "/fapi/v1/order/test": _ONE,
        "/fapi/v1/batchOrders": _FIVE,
        "/fapi/v1/algoOrder": _fixed(0),
        "/fapi/v1/leverage": _ONE,
        "/fapi/v1/marginType": _ONE,
        "/fapi/v1/positionMargin": _ONE,
        "/fapi/v1/positionSide/dual": _ONE,
        "/fapi/v1/multiAssetsMargin": _ONE,
        "/fapi/v1/countdownCancelAll": _fixed(10),
        "/fapi/v1/listenKey": _ONE,
    },
    "PUT": {
        "/fapi/v1/order": _fixed(0),
        "/fapi/v1/batchOrders": _FIVE,
        "/fapi/v1/listenKey": _ONE,
    },
    "DELETE": {
        "/fapi/v1/order": _ONE,
        "/fapi/v1/batchOrders": _ONE,
        "/fapi/v1/allOpenOrders": _ONE,
        "/fapi/v1/algoOrder": _ONE,
        "/fapi/v1/algoOpenOrders": _ONE,
        "/fapi/v1/listenKey": _ONE,
    },
}

_ORDERS: Final = {
    ("POST", "/fapi/v1/order"): 1,
    ("PUT", "/fapi/v1/order"): 1,
    ("POST", "/fapi/v1/batchOrders"): 5,
    ("PUT", "/fapi/v1/batchOrders"): 5,
    ("POST", "/fapi/v1/algoOrder"): 1,
}
"""What the account's order counts grow by. A batch counts for 5 in 10 s and for 1 in a minute; it is counted as 5 in both."""

_NO_COMMANDS: Final = frozenset({"/fapi/v1/listenKey", "/fapi/v1/order/test"})
"""They change nothing that is traded, whatever their method."""


def cost_of(method: str, path: str, query: Mapping[str, Any]) -> Cost:
    """Cost of one request; ``query`` holds its parameters, in the query string or in the body."""
    weigh = _WEIGHTS.get(method, {}).get(path)
    return Cost(
        weight=UNKNOWN_WEIGHT if weigh is None else weigh(query),
        command=method != "GET" and path not in _NO_COMMANDS,
        orders=_ORDERS.get((method, path), 0),
    )
