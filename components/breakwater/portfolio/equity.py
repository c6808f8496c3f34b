"""The last equity that agreed with the venue, in a small file of its own: the next day's baseline."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import structlog

from breakwater.portfolio.records import EQUITY, ReconciledEquity
from breakwater.runtime.ports import Disk, DiskError
from breakwater.runtime.unreadable import UNREADABLE

log = structlog.get_logger(__name__)

KEEP_EVERY = timedelta(seconds=60)
"""Market time between two writes."""


class LastEquity:
    """``value`` is the newest one known; the file follows within a minute of market time, and on ``keep``."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._kept_at: datetime | None = None
        self.value: ReconciledEquity | None = None

    def load(self, journaled: ReconciledEquity | None = None) -> None:
        """Raises DiskError. An unreadable file is reported and counts as none. ``journaled`` counts unless the file is newer:
        after a transfer the file still has the figure from before it.
        """
        data = self._disk.read(EQUITY)
        try:
            self.value = None if data is None else msgspec.json.decode(data, type=ReconciledEquity)
        except UNREADABLE as error:
            log.error("the last reconciled equity is unreadable: the old baseline stays", error=str(error))
        if journaled is not None and (self.value is None or self.value.time <= journaled.time):
            self.value = journaled

    async def note(self, value: ReconciledEquity) -> None:
        self.value = value
        if self._kept_at is None or value.time - self._kept_at >= KEEP_EVERY:
            await self.keep()

    async def keep(self) -> None:
        """Write it down; a disk that refuses is reported, not fatal."""
        if self.value is None:
            return
        try:
            await self._disk.replace(EQUITY, _encoder.encode(self.value))
        except DiskError as error:
            log.error("the last reconciled equity cannot be written", error=str(error))
        self._kept_at = self.value.time


_encoder = msgspec.json.Encoder(decimal_format="string")
