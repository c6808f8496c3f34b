"""The paper venue: a Binance USDⓈ-M-futures-compatible exchange as a pure object.

No clock, no sockets, no asyncio: requests, ticks and subscriptions are handed in together with the present,
replies and events come out. HTTP (`http.py`) and memory transports call exactly the same methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import msgspec

from breakwater.paper_venue import errors, events
from breakwater.paper_venue.adl import deleverage
from breakwater.paper_venue.algo_orders import AlgoService
from breakwater.paper_venue.audit import AccountReport, Audit, account_report
from breakwater.paper_venue.auth import Authenticator
from breakwater.paper_venue.book import OPPOSITE, BookFill
from breakwater.paper_venue.candles import CandleBook
from breakwater.paper_venue.config import Fills, VenueConfig
from breakwater.paper_venue.crossing import shown
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.funding import Funding
from breakwater.paper_venue.ledger import Ledger
from breakwater.paper_venue.limits import RateLimits
from breakwater.paper_venue.liquidation import Liquidator
from breakwater.paper_venue.listen_keys import ListenKeys
from breakwater.paper_venue.margin_calls import MarginCalls
from breakwater.paper_venue.market_events import MarketPublisher
from breakwater.paper_venue.markets.candle import Candle
from breakwater.paper_venue.matching import FillModel, FullFill
from breakwater.paper_venue.model import Account, Level, Now, Order, Tick, VenueDelta, VenueState
from breakwater.paper_venue.orders import OrderBookKeeper
from breakwater.paper_venue.params import Params, parse_params
from breakwater.paper_venue.rest_account import AccountEndpoints
from breakwater.paper_venue.rest_batch import BatchEndpoints
from breakwater.paper_venue.rest_history import HistoryEndpoints
from breakwater.paper_venue.rest_market import MarketEndpoints
from breakwater.paper_venue.rest_orders import OrderEndpoints
from breakwater.paper_venue.routes import Access, Route, build_routes
from breakwater.paper_venue.streams import OnClose, OnMessage, StreamHub, StreamSession, dumps
from breakwater.paper_venue.transfers import transfer
from breakwater.paper_venue.wire import Json

MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A reply: HTTP status, headers, and JSON bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class PaperVenue:
    """One exchange with its accounts, orders, candles and streams.

    `state` continues an earlier venue (see `to_state`); accounts new in the config are added with their starting
    balance. `fill_model` decides price and quantity of fills instead of the one that the config names.
    """

    def __init__(
        self, config: VenueConfig, *, state: VenueState | None = None, fill_model: FillModel | None = None
    ) -> None:
        self.config = config
        self.ledger = Ledger(config, state or VenueState())
        self.candles = CandleBook(self.ledger.specs)
        self.audit = Audit(self.ledger)
        self._auth = Authenticator(config.accounts)
        self._limits = RateLimits(config)
        self._listen_keys = ListenKeys(self.ledger, self._emit)
        self.streams = StreamHub(tuple(self.ledger.specs), self._listen_keys.account_of)
        model = self._fills = fill_model or (
            BookFill(config.book_seed) if config.fills is Fills.BOOK else FullFill(config)
        )
        self._orders = OrderBookKeeper(self.ledger, model, self._emit)
        self._algos = AlgoService(self.ledger, self._orders, self._emit)
        self._funding = Funding(self.ledger, self._emit)
        self._liquidator = Liquidator(self.ledger, self._orders, model)
        self._liquidator.on_forced = self._publish_forced
        self._margin_calls = MarginCalls(self.ledger, self._emit)
        self._publisher = MarketPublisher(self.ledger, self.candles, self.streams, self.levels)
        self._order_endpoints = OrderEndpoints(self.ledger, self._orders, self._algos)
        market = MarketEndpoints(self.ledger, self.candles, self.levels)
        market.on_depth = self._publisher.depth.shown
        self._routes: Mapping[tuple[str, str], Route] = build_routes(
            market,
            HistoryEndpoints(self.ledger, self.candles),
            AccountEndpoints(self.ledger, self._emit),
            self._order_endpoints,
            BatchEndpoints(self.ledger, self._order_endpoints),
            self._listen_keys,
        )
        self.on_change: Callable[[], None] | None = None
        """Called after a request or tick that changed records other than prices; used to persist them."""
        self.reprice: Callable[[Tick], Tick] = lambda tick: tick
        """Changes a tick before the venue sees it."""

    @property
    def endpoints(self) -> Mapping[tuple[str, str], Route]:
        """Everything that `handle` answers, by method and path."""
        return self._routes

    # -- requests ------------------------------------------------------------------------------------------

    def handle(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now) -> Response:
        """Answer one REST request. `query` and `body` are the raw bytes that were signed. Never raises."""
        self._advance(now)
        lowered = {name.lower(): value for name, value in headers.items()}
        reply_headers = {"Content-Type": "application/json"}
        try:
            result = self._answer(method.upper(), path, query, lowered, body, now, reply_headers)
            status, payload = 200, dumps(result)
        except VenueError as refused:
            reply_headers |= refused.headers
            status, payload = refused.status, dumps({"code": refused.code, "msg": refused.message})
        self._settle()
        return Response(status, reply_headers, payload.encode())

    def _answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        now: Now,
        reply_headers: dict[str, str],
    ) -> object:
        route = self._routes.get((method, path))
        client = headers.get("x-real-ip", "local")
        if route is None or len(body) > MAX_BODY_BYTES:
            reply_headers |= self._limits.charge_weight(client, 1, now.wall_ms)
            if route is None:
                raise errors.unknown_path(method, path)
            raise VenueError(-1130, f"The request body is over {MAX_BODY_BYTES} bytes.", status=413)
        try:
            params = Params(parse_params(query, body))
        except VenueError:
            reply_headers |= self._limits.charge_weight(client, 1, now.wall_ms)
            raise
        reply_headers |= self._limits.charge_weight(client, route.weight(params), now.wall_ms)
        if route.access is Access.PUBLIC:
            return route.public(params, now)
        api_key = headers.get("x-mbx-apikey")
        if route.access is Access.KEY:
            owner = self._auth.account(api_key)
        else:
            owner = self._auth.verify(api_key, query, body, params, now.wall_ms)
        if not owner.enable_futures and path.startswith("/fapi/"):
            raise errors.not_permitted()
        account = self.ledger.account(owner.name)
        if route.orders_10s:
            reply_headers |= self._limits.charge_orders(owner.name, route.orders_10s, route.orders_1m, now.wall_ms)
        return route.private(account, params, now)

    def _advance(self, now: Now) -> None:
        before = self.ledger.state.market_ms
        if now.market_ms > before:
            self.ledger.state.market_ms = now.market_ms
            self._funding.pass_time(before, now)
        self._listen_keys.expire(now)
        self.streams.cut_old(now.wall_ms)
        self._order_endpoints.expire_countdowns(now)

    def _settle(self) -> None:
        if self.on_change is not None and self.ledger.has_changes:
            self.on_change()
        self.streams.flush()

    def _emit(self, account: str, event: Json) -> None:
        self.streams.publish_user(self.ledger.account(account).listen_key, event)

    def _publish_forced(self, order: Order, now: Now) -> None:
        for stream in (f"{order.symbol.lower()}@forceOrder", "!forceOrder@arr"):
            if self.streams.wants(stream):
                self.streams.publish(stream, events.force_order(order, now.market_ms))

    # -- market --------------------------------------------------------------------------------------------

    def on_tick(self, tick: Tick, now: Now) -> None:
        """Move a symbol's price (mark = last), then trigger stops, fill limits and liquidate.

        Raises ValueError for a symbol that is not listed or a price that is not positive.
        """
        if tick.symbol not in self.ledger.specs:
            raise ValueError(f"the venue does not list {tick.symbol}: add it to VenueConfig.symbols")
        if not tick.price > 0:
            raise ValueError(f"{tick.symbol} cannot trade at {tick.price}")
        tick = self.reprice(tick)
        self._advance(now)
        self.ledger.set_price(tick.symbol, tick.price, tick.time_ms)
        closed = self.candles.add(tick)
        self._publisher.publish(tick, closed)
        self._algos.on_price(tick.symbol, now)
        self._orders.on_price(tick.symbol, tick.volume, now)
        self._liquidator.on_price(tick.symbol, now)
        self._margin_calls.on_price(tick.symbol, now)
        self._settle()

    def levels(self, symbol: str, side: str, count: int) -> list[Level]:
        """At most `count` bids (side BUY) or asks (SELL) of a listed symbol, best first: what takers are filled from.

        Raises VenueError while the market has not spoken.
        """
        spec, present = self.ledger.spec(symbol), self.ledger.present(symbol)
        levels = self._fills.levels(spec, side, count, present)
        orders = self.ledger.open_orders(symbol=symbol) if self._fills.accounts_meet else []
        if not orders:
            return levels
        return shown(side, levels, self._fills.levels(spec, OPPOSITE[side], 1, present), orders, count)

    def backfill(self, candles: Sequence[Candle]) -> None:
        """Load the history of one symbol (closed candles, oldest first) for klines and 24 h figures.

        The last close becomes the price unless a later one is known.
        """
        if not candles:
            return
        last = candles[-1]
        if last.symbol not in self.ledger.specs:
            raise ValueError(f"the venue does not list {last.symbol}: add it to VenueConfig.symbols")
        self.candles.backfill(candles)
        known = self.ledger.state.prices.get(last.symbol)
        if known is None or known.time < last.open_time_ms:
            self.ledger.set_price(last.symbol, last.close, last.close_time_ms)

    # -- what the exchange, or the owner, does to an account ------------------------------------------------

    def transfer(self, account: str, amount: Decimal, now: Now) -> None:
        """Move USDT into an account, or out of it when negative. Raises ValueError for more than is available."""
        self._advance(now)
        transfer(self.ledger, self._emit, account, amount, now)
        self._settle()

    def deleverage(self, account: str, symbol: str, now: Now, *, quantity: Decimal | None = None) -> None:
        """Close a position, or `quantity` base units of it, by auto-deleveraging. Raises ValueError without a position."""
        self._advance(now)
        deleverage(self.ledger, self._orders, account, symbol, quantity, now)
        self._settle()

    def pay_funding(self, rate: Decimal, now: Now, *, symbol: str | None = None) -> None:
        """Settle funding now, out of turn, at `rate` (a fraction, positive is paid by longs)."""
        self._advance(now)
        self._funding.pay(rate, now.market_ms, now, symbol=symbol)
        self._settle()

    def change_symbol(self, symbol: str, **changes: object) -> None:
        """Other trading rules from now on (fields of SymbolSpec): what clients have read of exchangeInfo is out of date."""
        self.ledger.specs[symbol] = replace(self.ledger.specs[symbol], **changes)  # type: ignore[arg-type]

    # -- streams -------------------------------------------------------------------------------------------

    def end_listen_keys(self, now: Now, *, notice: bool) -> None:
        """End every listen key; with ``notice`` its connections get listenKeyExpired. They stay open and silent."""
        self._listen_keys.end_all(now, notice=notice)
        self._settle()

    def open_stream(
        self, path_with_query: str, now: Now, on_message: OnMessage, on_close: OnClose | None = None
    ) -> StreamSession:
        """Open a WebSocket session. Raises StreamRefused for paths and streams that do not exist."""
        self._advance(now)
        return self.streams.open(path_with_query, on_message, on_close, now.wall_ms)

    # -- evidence and state --------------------------------------------------------------------------------

    def account_report(self, api_key: str) -> AccountReport:
        """Wallet, equity, positions and open orders of the account behind a key. Raises VenueError -2015."""
        owner = self._auth.account(api_key)
        account: Account = self.ledger.account(owner.name)
        return account_report(self.ledger, account)

    def to_state(self) -> VenueState:
        """Everything that must survive; plain records, encodable with msgspec. Shared, not copied."""
        return self.ledger.state

    @classmethod
    def from_state(cls, config: VenueConfig, state: VenueState, *, fill_model: FillModel | None = None) -> PaperVenue:
        """Continue an earlier venue."""
        return cls(config, state=state, fill_model=fill_model)

    def take_delta(self) -> VenueDelta:
        """What changed since the last call."""
        return self.ledger.take_delta()
