"""Which path is answered by what, who may ask, and what it weighs (weights as the exchange publishes them)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from breakwater.paper_venue.listen_keys import ListenKeys
from breakwater.paper_venue.model import Account, Now
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.rest_account import AccountEndpoints
from breakwater.paper_venue.rest_batch import BatchEndpoints
from breakwater.paper_venue.rest_history import HistoryEndpoints
from breakwater.paper_venue.rest_market import MarketEndpoints
from breakwater.paper_venue.rest_orders import OrderEndpoints

Public = Callable[[Params, Now], object]
Private = Callable[[Account, Params, Now], object]
Weight = Callable[[Params], int]


class Access(Enum):
    PUBLIC = "public"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Route:
    access: Access
    weight: Weight
    public_handler: Public | None = None
    private_handler: Private | None = None
    orders_10s: int = 0
    """What a request adds to the account's order count of 10 s, and `orders_1m` to that of a minute."""
    orders_1m: int = 0

    def public(self, params: Params, now: Now) -> object:
        assert self.public_handler is not None
        return self.public_handler(params, now)

    def private(self, account: Account, params: Params, now: Now) -> object:
        assert self.private_handler is not None
        return self.private_handler(account, params, now)


def _fixed(weight: int) -> Weight:
    return lambda params: weight


def _all_costs(one: int, every: int) -> Weight:
    return lambda params: one if params.text("symbol") else every


def _by_limit(default: int, steps: tuple[tuple[int, int], ...], most: int) -> Weight:
    def weight(params: Params) -> int:
        text = params.text("limit")
        limit = int(text) if text and text.isdecimal() else default
        return next((cost for bound, cost in steps if limit <= bound), most)

    return weight


def build_routes(
    market: MarketEndpoints,
    history: HistoryEndpoints,
    account: AccountEndpoints,
    orders: OrderEndpoints,
    batch: BatchEndpoints,
    keys: ListenKeys,
) -> Mapping[tuple[str, str], Route]:
    """Every endpoint of the venue by (method, path)."""
    routes: dict[tuple[str, str], Route] = {}

    def public(path: str, handler: Public, weight: Weight) -> None:
        routes["GET", path] = Route(Access.PUBLIC, weight, public_handler=handler)

    def signed(method: str, path: str, handler: Private, weight: Weight, *, orders: tuple[int, int] = (0, 0)) -> None:
        routes[method, path] = Route(
            Access.SIGNED, weight, private_handler=handler, orders_10s=orders[0], orders_1m=orders[1]
        )

    one, five = _fixed(1), _fixed(5)
    public("/fapi/v1/ping", market.ping, one)
    public("/fapi/v1/time", market.time, one)
    public("/fapi/v1/exchangeInfo", market.exchange_info, one)
    candles = _by_limit(500, ((99, 1), (499, 2), (1000, 5)), 10)
    public("/fapi/v1/klines", market.klines, candles)
    public("/fapi/v1/depth", market.depth, _by_limit(500, ((50, 2), (100, 5), (500, 10)), 20))
    public("/fapi/v1/ticker/24hr", market.ticker_24h, _all_costs(1, 40))
    for version in ("v1", "v2"):
        public(f"/fapi/{version}/ticker/price", market.ticker_price, _all_costs(1, 2))
    public("/fapi/v1/ticker/bookTicker", market.book_ticker, _all_costs(2, 5))
    public("/fapi/v1/premiumIndex", market.premium_index, _all_costs(1, 10))

    public("/fapi/v1/aggTrades", history.agg_trades, _fixed(20))
    public("/fapi/v1/markPriceKlines", history.mark_price_klines, candles)
    public("/fapi/v1/fundingRate", history.funding_rate, one)
    public("/fapi/v1/fundingInfo", history.funding_info, _fixed(0))

    signed("GET", "/sapi/v1/account/apiRestrictions", account.api_restrictions, one)
    signed("GET", "/fapi/v2/account", account.account_v2, five)
    signed("GET", "/fapi/v3/account", account.account_v3, five)
    for version in ("v2", "v3"):
        signed("GET", f"/fapi/{version}/balance", account.balance, five)
    signed("GET", "/fapi/v2/positionRisk", account.position_risk_v2, five)
    signed("GET", "/fapi/v3/positionRisk", account.position_risk_v3, five)
    signed("GET", "/fapi/v1/leverageBracket", account.leverage_bracket, one)
    signed("POST", "/fapi/v1/leverage", account.set_leverage, one)
    signed("POST", "/fapi/v1/marginType", account.set_margin_type, one)
    signed("POST", "/fapi/v1/positionMargin", account.position_margin, one)
    signed("GET", "/fapi/v1/adlQuantile", account.adl_quantile, five)
    signed("GET", "/fapi/v1/forceOrders", account.force_orders, _all_costs(20, 50))
    signed("GET", "/fapi/v1/positionSide/dual", account.position_mode, _fixed(30))
    signed("POST", "/fapi/v1/positionSide/dual", account.set_position_mode, one)
    signed("GET", "/fapi/v1/multiAssetsMargin", account.multi_assets, _fixed(30))
    signed("GET", "/fapi/v1/symbolConfig", account.symbol_config, five)
    signed("GET", "/fapi/v1/accountConfig", account.account_config, five)
    signed("GET", "/fapi/v1/commissionRate", account.commission_rate, _fixed(20))
    signed("GET", "/fapi/v1/feeBurn", account.fee_burn, _fixed(30))
    signed("GET", "/fapi/v1/userTrades", account.user_trades, five)
    signed("GET", "/fapi/v1/income", account.income, _fixed(30))

    signed("POST", "/fapi/v1/order", orders.new_order, _fixed(0), orders=(1, 1))
    signed("PUT", "/fapi/v1/order", orders.modify_order, _fixed(0), orders=(1, 1))
    signed("POST", "/fapi/v1/batchOrders", batch.place, five, orders=(5, 1))
    signed("PUT", "/fapi/v1/batchOrders", batch.modify, five, orders=(5, 1))
    signed("DELETE", "/fapi/v1/batchOrders", batch.cancel, one)
    signed("POST", "/fapi/v1/order/test", orders.test_order, one)
    signed("GET", "/fapi/v1/order", orders.get_order, one)
    signed("DELETE", "/fapi/v1/order", orders.cancel_order, one)
    signed("GET", "/fapi/v1/openOrder", orders.get_open_order, one)
    signed("GET", "/fapi/v1/openOrders", orders.open_orders, _all_costs(1, 40))
    signed("DELETE", "/fapi/v1/allOpenOrders", orders.cancel_all, one)
    signed("GET", "/fapi/v1/allOrders", orders.all_orders, five)
    signed("POST", "/fapi/v1/countdownCancelAll", orders.countdown_cancel_all, _fixed(10))

    signed("POST", "/fapi/v1/algoOrder", orders.new_algo_order, _fixed(0), orders=(1, 1))
    signed("GET", "/fapi/v1/algoOrder", orders.get_algo_order, one)
    signed("DELETE", "/fapi/v1/algoOrder", orders.cancel_algo_order, one)
    signed("GET", "/fapi/v1/openAlgoOrders", orders.open_algo_orders, _all_costs(1, 40))
    signed("GET", "/fapi/v1/allAlgoOrders", orders.all_algo_orders, five)
    signed("DELETE", "/fapi/v1/algoOpenOrders", orders.cancel_all_algo, one)

    key_only: tuple[tuple[str, Private], ...] = (
        ("POST", keys.create),
        ("PUT", keys.keep_alive),
        ("DELETE", keys.end),
    )
    for method, handler in key_only:
        routes[method, "/fapi/v1/listenKey"] = Route(Access.KEY, one, private_handler=handler)
    return routes
