"""The page about the paper venue's REST interface lists what the venue serves, and what it weighs."""

from __future__ import annotations

from pathlib import Path

from breakwater.paper_venue.config import VenueConfig
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.params import Params
from breakwater.paper_venue.routes import Route

REQUESTS = [Params({})] + [
    Params(fields)
    for limit in (5, 50, 100, 500, 1000, 1500)
    for fields in ({"limit": str(limit)}, {"symbol": "BTCUSDT"})
]


def weight_of(route: Route) -> str:
    """The least and the most that a request can weigh."""
    weights = {route.weight(params) for params in REQUESTS}
    return str(min(weights)) if len(weights) == 1 else f"{min(weights)} to {max(weights)}"


def row_of(key: tuple[str, str], route: Route) -> str:
    orders = f"{route.orders_10s} / {route.orders_1m}" if route.orders_10s else ""
    return f"| {key[0]} | `{key[1]}` | {route.access.value} | {weight_of(route)} | {orders} |".replace("|  |", "| |")


def test_venue_page_lists_every_endpoint_with_its_weight(reference: Path) -> None:
    page = (reference / "venue-api.md").read_text()
    listed = [line for line in page.splitlines() if line.startswith(("| GET", "| POST", "| PUT", "| DELETE"))]
    assert listed == [row_of(key, route) for key, route in PaperVenue(VenueConfig()).endpoints.items()]


def test_venue_page_names_the_limits_in_force(reference: Path) -> None:
    page = " ".join((reference / "venue-api.md").read_text().split())
    config = VenueConfig()
    for sentence in (
        f"{config.weight_limit_per_minute} of weight a minute for each client address",
        f"{config.order_limit_per_10s} orders in 10 s and {config.order_limit_per_minute} a minute for each account",
        f"{config.ban_after_refusals} more requests",
    ):
        assert sentence in page, sentence
