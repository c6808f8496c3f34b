"""The last word on where a request may go: asked when it is made, and again when a connection for it is about to be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import aiohttp

from breakwater.exchange.endpoints import NOWHERE, Endpoint, addresses

KEY_PERMISSIONS_PATH: Final = "/sapi/v1/account/apiRestrictions"
"""All that is ever asked of the exchange outside of its futures."""

TEST_ORDERS: Final[Mapping[str, frozenset[str]]] = {
    "POST": frozenset({"/fapi/v1/order/test", "/fapi/v1/listenKey"}),
    "PUT": frozenset({"/fapi/v1/listenKey"}),
    "DELETE": frozenset({"/fapi/v1/listenKey"}),
}
"""What may be sent besides questions when orders are only tested: nothing that makes, changes or cancels anything."""

_STREAM_PATHS: Final = ("/ws/", "/public/", "/market/", "/private/", "/stream")
_PLAIN: Final = {"ws": "http", "wss": "https"}
_PORTS: Final = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


class NotAllowedError(aiohttp.InvalidURL):
    """A request that must not leave: its address or, when orders are only tested, its path is not on the list."""

    def __init__(self, method: str, url: str, why: str) -> None:
        super().__init__(url.partition("?")[0], f"{method} was not sent: {why}")


class AddressNotAllowedError(ValueError):
    """The client library's table holds an address that is not the venue's. The text names it."""


class WireFence:
    """Lets through what goes to one of ``endpoints``. ``test_orders_only``: and changes nothing there."""

    def __init__(self, endpoints: Sequence[Endpoint], *, test_orders_only: bool = False) -> None:
        self._trading = frozenset(_origin(urlsplit(base)) for e in endpoints for base in (e.http_base, e.ws_base))
        self._account = frozenset(_origin(urlsplit(e.account_base)) for e in endpoints if e.account_base)
        self.test_orders_only = test_orders_only

    def check(self, method: str, url: str) -> None:
        """Raises NotAllowedError. A redirect is a request of its own and is looked at like any other."""
        parts = urlsplit(url)
        origin = _origin(parts)
        if origin not in self._trading:
            if origin in self._account and (method, parts.path) == ("GET", KEY_PERMISSIONS_PATH):
                return
            raise NotAllowedError(method, url, "it is not an address of the configured venue")
        if not self.test_orders_only:
            return
        if parts.scheme in _PLAIN:
            allowed = parts.path.startswith(_STREAM_PATHS)  # orders can be placed over the venue's other sockets
        else:
            allowed = method == "GET" or parts.path in TEST_ORDERS.get(method, ())
        if not allowed:
            raise NotAllowedError(method, url, "Staging places, changes and cancels nothing at the venue")

    def check_table(self, urls: Mapping[str, Any]) -> None:
        """Every address of ccxt's table is the venue's or leads nowhere. Raises AddressNotAllowedError."""
        for name, url in addresses(urls):
            if "://" in url and not url.startswith(NOWHERE + "/") and url != NOWHERE:
                origin = _origin(urlsplit(url))
                if origin not in self._trading | self._account:
                    raise AddressNotAllowedError(
                        f"{name} of the exchange client is {url}, which is not an address of the configured venue: "
                        "nothing is started; use the version of ccxt that this release was tested with"
                    )


class FencedConnector(aiohttp.TCPConnector):
    """Gives out a connection, new or kept, only for a request that the fence lets through."""

    def __init__(self, fence: WireFence, **options: Any) -> None:
        super().__init__(**options)
        self._fence = fence

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        self._fence.check(req.method, str(req.url))
        return await super().connect(req, traces, timeout)


def _origin(parts: SplitResult) -> Origin:
    scheme = _PLAIN.get(parts.scheme, parts.scheme)
    return scheme, parts.hostname or "", parts.port or _PORTS.get(scheme, 0)
