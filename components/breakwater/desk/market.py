"""The market of a laptop's desk, by its name on the command line, and where it goes on after a restart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import structlog

from breakwater.desk.sources import DeskInputError
from breakwater.domain.signals import DataKind
from breakwater.paper_venue.clock import to_datetime
from breakwater.paper_venue.config import DEFAULT_ACCOUNT, AccountConfig, Fills, SymbolSpec, VenueConfig, spec_for
from breakwater.paper_venue.markets import CaptureMarket, Market, ReplayMarket, SyntheticMarket
from breakwater.paper_venue.markets.replay import load_candles
from breakwater.paper_venue.model import VenueState
from breakwater.runtime.ports import Disk
from breakwater.runtime.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

MARKET_FILE = "market.json"
LISTED = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT")
"""Symbols a synthetic market has besides those of the policy, so that a policy can name them later."""
REPLAY_HISTORY = timedelta(days=1)
"""How much of a replayed file serves as history before trading starts."""


class MarketRecord(msgspec.Struct, frozen=True):
    """What a state directory's venue was started with: kept, so that a restart goes on with the same market."""

    source: str
    symbols: tuple[str, ...]
    origin: datetime
    """Market time the market was made for."""
    crash_after_minutes: int | None = None
    market_anchor: datetime | None = None
    """Market time at ``wall_anchor``, from where it runs ``speed`` times as fast as the wall, also while the venue is away."""
    wall_anchor: datetime | None = None
    speed: float = 1.0

    def anchored(self, *, now: datetime, wall: datetime, speed: float) -> MarketRecord:
        """With anchors: those it has; ``now`` at ``wall`` where it has none. Another speed holds from ``wall`` on."""
        if self.market_anchor is not None and self.wall_anchor is not None:
            if speed == self.speed:
                return self
            now = self.market_anchor + (wall - self.wall_anchor) * self.speed
        return msgspec.structs.replace(self, market_anchor=now, wall_anchor=wall, speed=speed)


def read_record(disk: Disk, name: str = MARKET_FILE) -> MarketRecord | None:
    """What an earlier run left, None if there was none. Raises DeskInputError for a damaged record."""
    saved = disk.read(name)
    if not saved:
        return None
    try:
        record = msgspec.json.decode(saved, type=MarketRecord)
        moments = (record.origin, record.market_anchor, record.wall_anchor)
        if any(moment is not None and moment.tzinfo is None for moment in moments) or not 0 < record.speed <= 60:
            raise ValueError("times need a zone, and a speed is more than 0 and at most 60")
    except (*UNREADABLE, ValueError) as error:
        raise DeskInputError(f"{name} is damaged ({error}); restore it or choose another --state-dir") from error
    return record


async def write_record(disk: Disk, name: str, record: MarketRecord) -> None:
    await disk.replace(name, msgspec.json.encode(record))


@dataclass(frozen=True)
class ChosenMarket:
    record: MarketRecord
    market: Market
    data: DataKind
    now: datetime
    """Market time to start at."""
    specs: tuple[SymbolSpec, ...] = ()
    """Trading rules where the market brings its own."""

    def venue_config(
        self, fills: Fills = Fills.FULL, accounts: tuple[AccountConfig, ...] = (DEFAULT_ACCOUNT,)
    ) -> VenueConfig:
        """A venue that lists the market's symbols and knows ``accounts``, the desk's (14,000 USDT at first) when none are given."""
        symbols = self.specs or tuple(spec_for(symbol) for symbol in self.market.symbols)
        return VenueConfig(symbols=symbols, accounts=accounts, fills=fills)


def ticks_per_candle(speed: float) -> int:
    """About a tick a second on the wall and symbol, at least the 60 a candle that drills have."""
    return max(60, round(300 / max(speed, 1.0)))


def choose_market(
    source: str,
    symbols: Collection[str],
    *,
    known: MarketRecord | None,
    state: VenueState | None,
    wall: datetime,
    speed: float = 1.0,
    start: datetime | None = None,
    crash_after_minutes: int | None = None,
) -> ChosenMarket:
    """The market named ``source`` (``synthetic[:SEED]``, ``replay:FILE[,FILE]`` or ``capture:FILE[,FILE]``).

    ``start`` is where a replay starts trading, ``crash_after_minutes`` when a synthetic market crashes. With what is known
    from an earlier run it goes on there. Raises DeskInputError, MarketFileError.
    """
    if known is not None and known.source != source:
        raise DeskInputError(
            f"this state directory holds a desk on the market {known.source}, not {source}; "
            "choose another with --state-dir, or remove it to start afresh"
        )
    kind, _, rest = source.partition(":")
    _refuse_options(kind, known, start, crash_after_minutes)
    seen = to_datetime(state.market_ms) if state is not None and state.market_ms else None
    if kind == "synthetic":
        if rest and not rest.isdecimal():
            raise DeskInputError(f"market {source!r}: the seed must be a whole number, for example synthetic:7")
        # Each symbol has a random source of its own: one more changes no other's prices.
        listed = tuple(sorted({*(known.symbols if known else LISTED), *symbols}))
        origin = known.origin if known else wall
        minutes = known.crash_after_minutes if known else crash_after_minutes
        crash_at = origin + timedelta(minutes=minutes) if minutes is not None else None
        market: Market = SyntheticMarket(
            int(rest or 1), listed, origin, crash_at=crash_at, ticks_per_candle=ticks_per_candle(speed)
        )
        record = msgspec.structs.replace(known or MarketRecord(source, listed, origin, minutes), symbols=listed)
        return ChosenMarket(record, market, DataKind.SYNTHETIC, max(wall, seen) if seen else wall)
    if kind == "replay":
        files = _files(kind, rest)
        spans = [(candles[0].open_time_ms, candles[-1].close_time_ms) for candles in map(load_candles, files)]
        first = to_datetime(max(start for start, _ in spans))
        end = to_datetime(min(end for _, end in spans) + 1)
        begin = known.origin if known else start or min(first + REPLAY_HISTORY, first + (end - first) / 2)
        if not first <= begin < end:
            raise DeskInputError(
                f"market {source}: it cannot start at {_iso(begin)}, the recording reaches from {_iso(first)} to {_iso(end)}"
            )
        market = ReplayMarket(files, begin, end, ticks_per_candle=ticks_per_candle(speed))
        record = known or MarketRecord(source, market.symbols, begin)
        return ChosenMarket(record, market, DataKind.REPLAY, seen if seen else begin)
    if kind == "capture":
        captured = CaptureMarket(_files(kind, rest))
        log.info("capture read", start=_iso(to_datetime(captured.start_ms)), **asdict(captured.counts))
        begin = to_datetime(captured.start_ms)
        record = known or MarketRecord(source, captured.symbols, begin)
        return ChosenMarket(record, captured, DataKind.REPLAY, seen if seen else begin)
    raise DeskInputError(
        f"market {source!r} is not known: use synthetic, synthetic:SEED, replay:FILE[,FILE], capture:FILE[,FILE] or live"
    )


def _files(kind: str, rest: str) -> list[Path]:
    files = [Path(name) for name in rest.split(",") if name]
    if not files:
        raise DeskInputError(f"market {kind} needs files: {kind}:FILE or {kind}:FILE,FILE")
    return files


def _refuse_options(
    kind: str, known: MarketRecord | None, start: datetime | None, crash_after_minutes: int | None
) -> None:
    """Raises DeskInputError for an option that the market does not have, or that a known one was not made with."""
    if start is not None and kind != "replay":
        raise DeskInputError("only a replay has a start: leave it out, or choose replay:FILE")
    if crash_after_minutes is not None and kind != "synthetic":
        raise DeskInputError("only a synthetic market can be told when to crash: leave it out, or choose synthetic")
    if known is None:
        return
    if start is not None and start != known.origin:
        raise DeskInputError(
            f"this market started at {_iso(known.origin)}, not {_iso(start)}: another start is another desk"
        )
    if crash_after_minutes is not None and crash_after_minutes != known.crash_after_minutes:
        made = "240 minutes" if known.crash_after_minutes is None else f"{known.crash_after_minutes} minutes"
        raise DeskInputError(
            f"this market was made with a crash after {made}, not {crash_after_minutes}: another crash is another desk"
        )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
