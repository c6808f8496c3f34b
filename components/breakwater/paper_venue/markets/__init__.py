"""Where the paper venue's prices come from: recorded candles or a seeded generator."""

from breakwater.paper_venue.markets.base import LiveFeed, Market
from breakwater.paper_venue.markets.candle import INTERVALS, Candle, aggregate, candle_path
from breakwater.paper_venue.markets.capture import CaptureMarket
from breakwater.paper_venue.markets.replay import MarketFileError, ReplayMarket
from breakwater.paper_venue.markets.synthetic import Crash, SyntheticMarket

__all__ = [
    "INTERVALS",
    "Candle",
    "CaptureMarket",
    "Crash",
    "LiveFeed",
    "Market",
    "MarketFileError",
    "ReplayMarket",
    "SyntheticMarket",
    "aggregate",
    "candle_path",
]
