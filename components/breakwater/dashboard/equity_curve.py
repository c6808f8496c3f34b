"""A bounded equity curve: full resolution at first, thinned by half whenever it is full."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from breakwater.dashboard.view import EquityPoint

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EquityCurve:
    """Points at least ``spacing`` seconds of infrastructure time apart; never more than ``most`` of them."""

    def __init__(self, *, most: int = 720, spacing: float = 1.0) -> None:
        self._most, self._spacing = most, spacing
        self._points: list[EquityPoint] = []
        self._next_at = float("-inf")
        self._number = 0

    def add(self, time: datetime, equity: Decimal, *, now: float) -> bool:
        """Take the point unless the last one is too recent or lies later in market time; says whether it was taken."""
        moment = (time - _EPOCH) // timedelta(milliseconds=1)
        if now < self._next_at or (self._points and moment <= self._points[-1].time_ms):
            return False
        if len(self._points) >= self._most:
            # The first and the newest stay; what lies between keeps its shape at half the resolution.
            self._points = self._points[::2]
            self._spacing *= 2
        self._number += 1
        self._points.append(EquityPoint(self._number, moment, equity))
        self._next_at = now + self._spacing
        return True

    def since(self, number: int) -> tuple[EquityPoint, ...]:
        """Points numbered above ``number``, oldest first; 0 for all."""
        return tuple(point for point in self._points if point.number > number)
