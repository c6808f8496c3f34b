"""Where a process of a desk finds its venue: the paper venue it was given, or the exchange itself in Staging and Live."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from breakwater.domain.policy import TradingMode
from breakwater.domain.signals import DataKind
from breakwater.exchange.endpoints import BINANCE, Endpoint, is_local
from breakwater.runtime.settings import Settings, SettingsError

REAL_EXCHANGES = (
    "binance.com",
    "binance.us",
    "binancefuture.com",
    "binance.vision",
    "binanceapi.com",
    "bybit.com",
    "okx.com",
)
"""Hosts, and all below, that no paper desk talks to. Any other one has to prove that it is a paper venue."""
_BINANCE = ".binance.com"


def venue_endpoints(settings: Settings) -> tuple[Endpoint, ...]:
    """The addresses to use, the first one first. Raises SettingsError: Paper never falls back to the exchange."""
    if settings.venue_url is None:
        if settings.mode is TradingMode.PAPER:
            raise SettingsError(
                ["BREAKWATER_VENUE_URL must be the paper venue's address, for example http://127.0.0.1:9100"]
            )
        first = BINANCE
    else:
        first = _endpoint("BREAKWATER_VENUE_URL", settings.venue_url, settings.venue_ws_url)
    streams: Sequence[str | None] = settings.venue_fallback_ws_urls or [None] * len(settings.venue_fallback_urls)
    if len(streams) != len(settings.venue_fallback_urls):
        raise SettingsError(
            ["BREAKWATER_VENUE_FALLBACK_WS_URLS must name as many addresses as BREAKWATER_VENUE_FALLBACK_URLS, or none"]
        )
    others = tuple(
        _endpoint("BREAKWATER_VENUE_FALLBACK_URLS", url, stream)
        for url, stream in zip(settings.venue_fallback_urls, streams, strict=True)
    )
    endpoints = (first, *others)
    if settings.mode is TradingMode.PAPER:
        for endpoint, which in zip(endpoints, ("", *("FALLBACK_" for _ in others)), strict=True):
            for name, url in ((f"VENUE_{which}URL", endpoint.http_base), (f"VENUE_{which}WS_URL", endpoint.ws_base)):
                host = _host(url)
                if host.endswith(REAL_EXCHANGES):
                    raise SettingsError(
                        [
                            f"BREAKWATER_{name} names a real exchange ({host}), and this desk trades on paper: name the "
                            "paper venue"
                        ]
                    )
        return endpoints
    if len({_at_exchange(endpoint) for endpoint in endpoints}) > 1:
        raise SettingsError(
            ["BREAKWATER_VENUE_FALLBACK_URLS must be addresses of the same venue as BREAKWATER_VENUE_URL"]
        )
    for endpoint in endpoints:
        for url in (endpoint.http_base, endpoint.ws_base):
            if urlsplit(url).scheme in {"http", "ws"} and not is_local(url):
                raise SettingsError(
                    [f"{url} would carry an account's orders in the clear: use https:// and wss:// outside of Paper"]
                )
    return endpoints


def market_data_kind(settings: Settings) -> DataKind:
    """MARKET only for what comes from the exchange itself."""
    return data_kind(*venue_endpoints(settings))


def data_kind(*endpoints: Endpoint) -> DataKind:
    """MARKET only when all of them are the exchange itself: what any other host tells may be made up."""
    return DataKind.MARKET if all(map(_at_exchange, endpoints)) else DataKind.SYNTHETIC


def endpoint_of(url: str, stream: str | None = None) -> Endpoint:
    """The venue at ``url``; streams at ``stream``, else where that exchange has them. Raises ValueError."""
    exchange = _host(url).endswith(_BINANCE)
    if stream is None:
        stream = BINANCE.ws_base if exchange else url.replace("http", "ws", 1)
    return Endpoint(url.rstrip("/"), stream.rstrip("/"), BINANCE.account_base if exchange else "")


def _endpoint(variable: str, url: str, stream: str | None) -> Endpoint:
    try:
        return endpoint_of(url, stream)
    except ValueError as error:
        raise SettingsError([f"{variable}: {error}"]) from None


def _at_exchange(endpoint: Endpoint) -> bool:
    return _host(endpoint.http_base).endswith(_BINANCE)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")
