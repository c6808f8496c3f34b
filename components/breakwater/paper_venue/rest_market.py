"""Public REST endpoints: listing, time, prices, candles, book."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from breakwater.paper_venue import errors
from breakwater.paper_venue.algo_orders import ALGO_TYPES
from breakwater.paper_venue.candles import CandleBook, kline_row
from breakwater.paper_venue.config import SymbolSpec
from breakwater.paper_venue.depth_streams import Levels
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.funding import next_funding
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.market_events import best_texts, day_statistics
from breakwater.paper_venue.markets.candle import INTERVALS
from breakwater.paper_venue.model import Level, Now
from breakwater.paper_venue.money import money, plain
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.wire import Json

ONBOARD_MS = 1_569_398_400_000
PERPETUAL_DELIVERY_MS = 4_133_404_800_000
DEPTHS = (5, 10, 20, 50, 100, 500, 1000)


class MarketEndpoints:
    """Each method answers one path; `params` and `now` in, a JSON-ready object out."""

    def __init__(self, ledger: Ledger, candles: CandleBook, levels: Levels) -> None:
        self._ledger = ledger
        self._candles = candles
        self._levels = levels
        self.on_depth: Callable[[str, list[Level], list[Level]], None] = lambda symbol, bids, asks: None
        """Told of each snapshot of a book that is shown: symbol, bids, asks."""

    def ping(self, params: Params, now: Now) -> Json:
        return {}

    def time(self, params: Params, now: Now) -> Json:
        """Wall time: it is what signatures are checked against."""
        return {"serverTime": now.wall_ms}

    def exchange_info(self, params: Params, now: Now) -> Json:
        config = self._ledger.config
        orders = {"rateLimitType": "ORDERS"}
        return {
            "timezone": "UTC",
            "serverTime": now.wall_ms,
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": config.weight_limit_per_minute,
                },
                orders | {"interval": "MINUTE", "intervalNum": 1, "limit": config.order_limit_per_minute},
                orders | {"interval": "SECOND", "intervalNum": 10, "limit": config.order_limit_per_10s},
            ],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [self._listing(spec) for spec in self._ledger.specs.values()],
        }

    def _listing(self, spec: SymbolSpec) -> Json:
        config = self._ledger.config
        step, least = plain(spec.step_size), plain(spec.min_qty)
        return {
            "symbol": spec.symbol,
            "pair": spec.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": PERPETUAL_DELIVERY_MS,
            "onboardDate": ONBOARD_MS,
            "status": spec.status,
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": spec.base,
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "pricePrecision": spec.price_decimals,
            "quantityPrecision": spec.quantity_decimals,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": plain(config.liquidation_fee),
            "marketTakeBound": "0.05",
            "maxMoveOrderLimit": 10000,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": plain(spec.min_price),
                    "maxPrice": plain(spec.max_price),
                    "tickSize": plain(spec.tick_size),
                },
                {"filterType": "LOT_SIZE", "minQty": least, "maxQty": plain(spec.max_qty), "stepSize": step},
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": least,
                    "maxQty": plain(spec.market_max_qty),
                    "stepSize": step,
                },
                {"filterType": "MAX_NUM_ORDERS", "limit": config.max_open_orders},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": config.max_open_algo_orders},
                {"filterType": "MIN_NOTIONAL", "notional": plain(spec.min_notional)},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": plain(spec.multiplier_up),
                    "multiplierDown": plain(spec.multiplier_down),
                    "multiplierDecimal": "4",
                },
            ],
            "orderTypes": ["LIMIT", "MARKET", *ALGO_TYPES],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        }

    def klines(self, params: Params, now: Now) -> list[list[object]]:
        """Candles in market time. startTime counts from the oldest kept one."""
        spec = self._ledger.spec(params.text("symbol"))
        interval = params.choice("interval", INTERVALS, -1120, "Invalid interval.")
        start, end = params.window()
        limit = params.limit(500, 1500)
        return [kline_row(c) for c in self._candles.klines(spec.symbol, interval, start, end, limit)]

    def _each(self, params: Params) -> tuple[Iterable[SymbolSpec], bool]:
        symbol = params.text("symbol")
        if symbol is not None:
            return (self._ledger.spec(symbol),), True
        return (s for s in self._ledger.specs.values() if s.symbol in self._ledger.state.prices), False

    def _one_or_all(self, params: Params, build: object) -> Json | list[Json]:
        assert callable(build)
        specs, single = self._each(params)
        rows: list[Json] = [build(spec, self._ledger.last_price(spec.symbol)) for spec in specs]
        return rows[0] if single else rows

    def ticker_24h(self, params: Params, now: Now) -> Json | list[Json]:
        def row(spec: SymbolSpec, last: Decimal) -> Json:
            day = day_statistics(self._candles.last_day(spec.symbol, now.market_ms), last)
            change = last - day["open"]
            average = day["quote"] / day["volume"] if day["volume"] else last
            return {
                "symbol": spec.symbol,
                "priceChange": plain(change),
                "priceChangePercent": plain((change / day["open"] * 100).quantize(Decimal("0.001"))),
                "weightedAvgPrice": plain(average.quantize(spec.tick_size)),
                "lastPrice": plain(last),
                "lastQty": plain(spec.step_size),
                "openPrice": plain(day["open"]),
                "highPrice": plain(day["high"]),
                "lowPrice": plain(day["low"]),
                "volume": plain(day["volume"]),
                "quoteVolume": plain(day["quote"]),
                "openTime": now.market_ms - 86_400_000,
                "closeTime": now.market_ms,
                "firstId": 0,
                "lastId": 0,
                "count": 0,
            }

        return self._one_or_all(params, row)

    def ticker_price(self, params: Params, now: Now) -> Json | list[Json]:
        def row(spec: SymbolSpec, last: Decimal) -> Json:
            return {
                "symbol": spec.symbol,
                "price": plain(last),
                "time": self._ledger.state.prices[spec.symbol].time,
            }

        return self._one_or_all(params, row)

    def book_ticker(self, params: Params, now: Now) -> Json | list[Json]:
        def row(spec: SymbolSpec, last: Decimal) -> Json:
            bid, bid_quantity, ask, ask_quantity = best_texts(self._levels, spec.symbol)
            return {
                "symbol": spec.symbol,
                "bidPrice": bid,
                "bidQty": bid_quantity,
                "askPrice": ask,
                "askQty": ask_quantity,
                "lastUpdateId": self._ledger.state.counters.update_id,
                "time": self._ledger.state.prices[spec.symbol].time,
            }

        return self._one_or_all(params, row)

    def premium_index(self, params: Params, now: Now) -> Json | list[Json]:
        def row(spec: SymbolSpec, last: Decimal) -> Json:
            price = plain(last)
            rate, interval = money(self._ledger.config.funding_rate), self._ledger.config.funding_interval_ms
            time_ms = self._ledger.state.prices[spec.symbol].time
            return {
                "symbol": spec.symbol,
                "markPrice": price,
                "indexPrice": price,
                "estimatedSettlePrice": price,
                "lastFundingRate": rate,
                "interestRate": rate,
                "nextFundingTime": next_funding(time_ms, interval),
                "time": time_ms,
            }

        return self._one_or_all(params, row)

    def depth(self, params: Params, now: Now) -> Json:
        """The book that fills are made from."""
        spec = self._ledger.spec(params.text("symbol"))
        limit = params.integer("limit") or 500
        if limit not in DEPTHS:
            raise VenueError(-4021, f"{limit} is not valid depth limit; use one of {', '.join(map(str, DEPTHS))}.")
        bids, asks = (self._levels(spec.symbol, side, limit) for side in ("BUY", "SELL"))
        self.on_depth(spec.symbol, bids, asks)
        return {
            "lastUpdateId": self._ledger.state.counters.update_id,
            "E": now.market_ms,
            "T": now.market_ms,
            "bids": [[plain(level.price), plain(level.quantity)] for level in bids],
            "asks": [[plain(level.price), plain(level.quantity)] for level in asks],
        }


def require_known_symbol(ledger: Ledger, symbol: str | None) -> str | None:
    """An optional symbol parameter: unknown names are refused, none is fine."""
    if symbol is not None and symbol not in ledger.specs:
        raise errors.invalid_symbol()
    return symbol
