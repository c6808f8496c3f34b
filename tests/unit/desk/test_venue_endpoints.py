"""Which addresses a process may use, by its mode."""

from __future__ import annotations

import pytest

from breakwater.desk.venue_endpoints import data_kind, endpoint_of, market_data_kind, venue_endpoints
from breakwater.domain.signals import DataKind
from breakwater.exchange.endpoints import BINANCE, Endpoint
from breakwater.runtime.settings import SettingsError, load_settings

LIVE = {"QT_PAPER_TRADING": "false"}
STAGING = {"QT_PAPER_TRADING": "false", "STAGING_MODE": "true"}


@pytest.mark.parametrize("mode", [LIVE, STAGING])
def test_staging_and_live_speak_to_the_exchange_and_trade_on_its_data(mode: dict[str, str]) -> None:
    settings = load_settings(mode)
    assert venue_endpoints(settings) == (BINANCE,)
    assert market_data_kind(settings) is DataKind.MARKET


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://fapi.binance.com", DataKind.MARKET),
        ("https://fapi.binance.com.example.org", DataKind.SYNTHETIC),
        ("https://testnet.binancefuture.com", DataKind.SYNTHETIC),
        ("http://127.0.0.1:9100", DataKind.SYNTHETIC),
    ],
)
def test_only_the_exchange_itself_tells_real_prices(url: str, kind: DataKind) -> None:
    assert data_kind(endpoint_of(url)) is kind
    assert data_kind(BINANCE, endpoint_of(url)) is kind


def test_exchange_named_by_its_address_has_its_own_streams() -> None:
    assert endpoint_of("https://fapi.binance.com") == BINANCE
    assert endpoint_of("http://127.0.0.1:9100").ws_base == "ws://127.0.0.1:9100"


def test_paper_without_a_venue_never_falls_back_to_the_exchange() -> None:
    with pytest.raises(SettingsError, match="BREAKWATER_VENUE_URL must be the paper venue's address"):
        venue_endpoints(load_settings({}))


@pytest.mark.parametrize("variable", ["BREAKWATER_VENUE_URL", "BREAKWATER_VENUE_FALLBACK_URLS"])
def test_paper_pointed_at_the_exchange_is_refused(variable: str) -> None:
    environment = {"BREAKWATER_VENUE_URL": "http://127.0.0.1:9100", variable: "https://fapi.binance.com"}
    with pytest.raises(SettingsError, match="names a real exchange"):
        venue_endpoints(load_settings(environment))


def test_further_addresses_of_the_exchange_keep_its_streams_and_the_page_for_keys() -> None:
    settings = load_settings(
        {**LIVE, "BREAKWATER_VENUE_FALLBACK_URLS": "https://fapi1.binance.com, https://fapi2.binance.com"}
    )
    assert venue_endpoints(settings) == (
        BINANCE,
        Endpoint("https://fapi1.binance.com", "wss://fstream.binance.com", "https://api.binance.com"),
        Endpoint("https://fapi2.binance.com", "wss://fstream.binance.com", "https://api.binance.com"),
    )


def test_live_on_another_venue_is_no_market_data() -> None:
    settings = load_settings({**LIVE, "BREAKWATER_VENUE_URL": "http://127.0.0.1:9100"})
    assert venue_endpoints(settings) == (Endpoint("http://127.0.0.1:9100", "ws://127.0.0.1:9100"),)
    assert market_data_kind(settings) is DataKind.SYNTHETIC


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"BREAKWATER_VENUE_URL": "http://venue.example"}, "in the clear"),
        ({"BREAKWATER_VENUE_URL": "https://v.example", "BREAKWATER_VENUE_WS_URL": "ws://v.example"}, "in the clear"),
        ({"BREAKWATER_VENUE_FALLBACK_URLS": "https://venue.example"}, "addresses of the same venue"),
        (
            {
                "BREAKWATER_VENUE_FALLBACK_URLS": "https://fapi1.binance.com",
                "BREAKWATER_VENUE_FALLBACK_WS_URLS": "wss://a.binance.com,wss://b.binance.com",
            },
            "as many addresses",
        ),
        ({"BREAKWATER_VENUE_URL": "https://fapi.binance.com/fapi/v1"}, "no path"),
    ],
)
def test_live_with_doubtful_addresses_does_not_start(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        venue_endpoints(load_settings({**LIVE, **environment}))
