"""Signals: a model's opinion, with where it came from."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

from breakwater.domain.ids import SignalId, Symbol


class Direction(enum.StrEnum):
    LONG = "LONG"
    SHORT = "SHORT"


class DataKind(enum.StrEnum):
    """What the opinion rests on. Only MARKET data may ever trade live money."""

    MARKET = "MARKET"
    REPLAY = "REPLAY"
    SYNTHETIC = "SYNTHETIC"
    MOCK = "MOCK"


class Provenance(msgspec.Struct, frozen=True):
    """Who said it and on what data. A signal without it cannot be made."""

    source: str
    """Name of the source: ``heuristic:momentum``, ``http:alice``, ``file:signals.jsonl``, a model's name and version."""
    data: DataKind
    models: tuple[str, ...] = ()
    fallback: bool = False
    """True when this stands in for models that were not available; such signals are capped in size."""


class Signal(msgspec.Struct, frozen=True):
    """An opinion about one symbol. ``confidence`` is 0..1; ``stop_pct`` and ``target_pct`` are percent of the entry price."""

    signal_id: SignalId
    symbol: Symbol
    direction: Direction
    confidence: Decimal
    time: datetime
    horizon: timedelta
    """After ``time + horizon`` the opinion is expired and never traded."""
    provenance: Provenance
    stop_pct: Decimal | None = None
    target_pct: Decimal | None = None

    @property
    def expires_at(self) -> datetime:
        return self.time + self.horizon
