"""Which market streams there are, and on which of the exchange's paths each is served."""

from __future__ import annotations

import enum
import re
from typing import Final

from breakwater.paper_venue.markets.candle import INTERVALS


class Group(enum.StrEnum):
    """First part of a stream's path. A stream asked for on another group's path stays silent, as on the exchange."""

    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"


_DEPTH: Final = re.compile(r"depth(?:5|10|20)?(?:@(?:100|250|500)ms)?")
_PUBLIC: Final = frozenset({"bookTicker", "trade"})
_MARKET: Final = frozenset(
    {
        "markPrice",
        "markPrice@1s",
        "aggTrade",
        "miniTicker",
        "ticker",
        "forceOrder",
        *(f"kline_{name}" for name in INTERVALS),
    }
)
OF_ALL: Final = {
    "!bookTicker": Group.PUBLIC,
    "!markPrice@arr": Group.MARKET,
    "!markPrice@arr@1s": Group.MARKET,
    "!miniTicker@arr": Group.MARKET,
    "!ticker@arr": Group.MARKET,
    "!forceOrder@arr": Group.MARKET,
}
"""Streams that carry every symbol."""
NAMES: Final = ", ".join(sorted(_PUBLIC | _MARKET | {"depth", "depth5", "depth10", "depth20"} | OF_ALL.keys()))


def group_of(channel: str) -> Group | None:
    """Where a symbol's ``channel`` is served; None: there is no such channel."""
    if channel in _PUBLIC or _DEPTH.fullmatch(channel):
        return Group.PUBLIC
    return Group.MARKET if channel in _MARKET else None


def depth_channel(channel: str) -> tuple[int, int] | None:
    """Levels (0: changes of the whole book) and pace in milliseconds of a depth channel; None for any other."""
    if not _DEPTH.fullmatch(channel):
        return None
    kind, _, pace = channel.partition("@")
    return int(kind.removeprefix("depth") or 0), int(pace.removesuffix("ms") or 250)
