"""When the venue is spoken to at another address, the account is compared there before anything is opened."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import structlog

from breakwater.exchange.client import UsdmClient
from breakwater.execution.clearance import SWITCH, Clearance
from breakwater.execution.reconcile import Reconciler
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

RETRY_S = 0.5


class AddressChange:
    """`happened` closes the gate at once; `run` opens it after a comparison that began at the new address."""

    def __init__(self, client: UsdmClient, clearance: Clearance, reconciler: Reconciler, clock: InfraClock) -> None:
        self._client = client
        self._clearance = clearance
        self._reconciler = reconciler
        self._clock = clock
        self._changed = asyncio.Event()

    def happened(self) -> None:
        """The client has changed its address; nothing was sent there yet."""
        address = self._client.failover.present.http_base
        self._clearance.set(
            SWITCH, f"the venue is spoken to at another address ({address}); the account is compared there first"
        )
        self._changed.set()

    async def run(self) -> NoReturn:
        """Compare after each change, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            # One comparison at a time: this one begins after any that was under way at the old address.
            reading = await self._reconciler.once()
            if self._changed.is_set():
                continue
            if reading is not None:
                self._clearance.set(SWITCH)
                continue
            self._changed.set()
            await self._clock.sleep(RETRY_S)
