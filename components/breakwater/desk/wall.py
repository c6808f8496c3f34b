"""A desk's outside on one real machine: Valkey (embedded, or a given Redis), a venue over HTTP and WebSocket, files."""

from __future__ import annotations

import random
from pathlib import Path
from urllib.parse import urlsplit

from breakwater.desk.ports import PAPER_CREDENTIALS, DeskPorts
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Credentials, Endpoint, make_client
from breakwater.exchange.governor import Governor
from breakwater.runtime.bus import Bus
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.redis_bus import DURABLE_PRODUCERS, RedisBus
from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater.runtime.redis_rate import RedisSharedBudget
from breakwater.runtime.settings import DEFAULT_VENUE_ADDRESS
from breakwater.runtime.valkey_server import EmbeddedServer, find_server


class RealPorts:
    """Ports on a Redis URL, a venue URL and a directory. ``start`` before use, ``stop`` at the end."""

    def __init__(
        self,
        root: Path,
        clocks: Clocks,
        *,
        desk: DeskId,
        data: DataKind,
        venue: Endpoint,
        redis_url: str | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._root, self._clocks, self._venue = root, clocks, venue
        self._desk, self._data, self._credentials = desk, data, credentials
        self.server = None if redis_url else EmbeddedServer(root / "valkey", binary=find_server())
        self._redis_url = redis_url
        self._disks: dict[str, FileDisk] = {}
        self._store: RedisKeyValueStore | None = None
        self._shared: RedisSharedBudget | None = None

    async def start(self) -> DeskPorts:
        """Start the embedded server if there is one; ask for a sign of life. Raises ServerError, StoreUnavailable."""
        if self.server is not None:
            await self.server.start()
            self._redis_url = self.server.url
        assert self._redis_url is not None
        self._store = RedisKeyValueStore(self._redis_url, self._clocks.infra)
        # Buses would wait for it and go on without: right for a desk that runs, not for a person who mistyped an address.
        await self._store.ping()
        if self.server is None:  # other desks on that Redis may reach the venue from the same address
            self._shared = RedisSharedBudget(
                self._redis_url,
                venue=urlsplit(self._venue.http_base).netloc,
                address=DEFAULT_VENUE_ADDRESS,
                member=f"{self._desk}/desk",
            )
        governor = Governor(self._clocks.infra, shared=self._shared)
        return DeskPorts(
            desk=self._desk,
            clocks=self._clocks,
            data=self._data,
            kv=self._store,
            bus=self._bus,
            disk=self._disk,
            client=lambda credentials: make_client(self._venue, credentials, self._clocks.infra, governor=governor),
            # Jitter only: nothing that has to be secret or repeatable.
            random=random.Random,
            credentials=self._credentials or PAPER_CREDENTIALS,
        )

    async def stop(self) -> None:
        if self._shared is not None:
            await self._shared.close()
        if self._store is not None:
            await self._store.close()
        for disk in self._disks.values():
            disk.close()
        if self.server is not None:
            await self.server.stop()

    def _bus(self, component: str) -> Bus:
        assert self._redis_url is not None
        disk, durable = self._disk(f"bus-{component}"), component in DURABLE_PRODUCERS
        return RedisBus(self._redis_url, self._desk, component, self._clocks.infra, disk=disk, durable=durable)

    def _disk(self, component: str) -> FileDisk:
        disk = self._disks.get(component)
        if disk is None:
            disk = self._disks[component] = FileDisk(self._root / "components" / component, owner=component)
        return disk
