"""What execution charges itself for a request is what the venue counts for it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ccxt.abstract.binanceusdm import ImplicitAPI

import breakwater
from breakwater.domain.request_costs import cost_of
from breakwater.exchange.client import api_path
from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.model import Now, Tick
from breakwater.paper_venue.params import Params

QUERIES: list[dict[str, str]] = [
    {},
    {"symbol": "BTCUSDT"},
    *({"limit": str(n)} for n in (50, 100, 499, 500, 1000, 1500)),
]


@pytest.fixture(scope="module")
def routes() -> Any:
    venue = PaperVenue(VenueConfig())
    now = Now(0, 0)
    venue.on_tick(Tick("BTCUSDT", 0, Decimal(100)), now)
    return venue.endpoints


def test_every_request_is_charged_what_the_venue_counts(routes: Any) -> None:
    wrong = []
    for (method, path), route in routes.items():
        if not path.startswith("/fapi/"):
            continue
        for query in QUERIES:
            ours = cost_of(method, path, query)
            if ours.weight != route.weight(Params(query)) or ours.orders != max(route.orders_10s, route.orders_1m):
                wrong.append((method, path, query, ours))
    assert wrong == []


def test_every_request_of_ours_is_one_that_the_venue_knows(routes: Any) -> None:
    """By the implicit names that the components call."""
    source = "\n".join(
        file.read_text()
        for folder in ("execution", "market_data", "exchange")
        for file in (Path(breakwater.__file__).parent / folder).rglob("*.py")
    )
    called = set(re.findall(r"\.(fapi(?:Public|Private)(?:V2|V3)?(?:Get|Post|Put|Delete)[A-Z]\w+)", source))
    assert len(called) > 15
    missing = []
    for name in sorted(called):
        entry = vars(ImplicitAPI)[name]
        path = api_path(entry.api[0], entry.path)
        if (entry.method, path) not in routes:
            missing.append((name, path))
    assert missing == []
