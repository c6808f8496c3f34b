"""One life of a desk's process on a simulated world: killed, it can do nothing more, as after kill -9."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from breakwater.desk.ports import DeskPorts
from breakwater.exchange.client import Credentials, UsdmClient, make_client
from breakwater.exchange.governor import Governor
from breakwater.paper_venue.clock import venue_now
from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.faults.wire import FaultWire
from breakwater.paper_venue.model import Now
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import Clocks
from breakwater.runtime.ports import DiskError
from breakwater.simulation.bus import MemoryBus, _Stream
from breakwater.simulation.stores import MemoryDisk
from breakwater.simulation.transport import MEMORY_ENDPOINT, Latency, MemorySession, _Exchange
from breakwater.simulation.world import SimulatedWorld

OnRequest = Callable[[str, str, str, bytes | str, Now], None]
"""Method, path, query, body, and the instant at which a request leaves the process."""


class SimulatedProcess:
    """``ports`` are what a desk is assembled on; after ``kill`` nothing made from them has any effect.

    What is on the wire when the process dies still arrives. ``on_request`` hears of every request as it leaves.
    """

    def __init__(
        self,
        world: SimulatedWorld,
        *,
        latency: Latency | None = None,
        on_request: OnRequest | None = None,
        faults: FaultWire | None = None,
    ) -> None:
        self.alive = True
        self.sessions: list[WatchedSession] = []
        self._clients: list[UsdmClient] = []
        self._world = world
        self._latency = latency
        self._on_request = on_request
        self._faults = faults
        shared = world.ports
        clocks = shared.clocks
        self._clocks = clocks
        self._governor = Governor(clocks.infra)
        self.ports = DeskPorts(
            desk=shared.desk,
            clocks=clocks,
            data=shared.data,
            kv=world.store,
            bus=lambda component: _MortalBus(self, world, component),
            disk=lambda component: _MortalDisk(self, world.disks[component]),
            client=self._client,
            random=shared.random,
            entropy=shared.entropy,
        )

    async def kill(self, spare: set[asyncio.Task[Any]]) -> None:
        """Die now: every task goes except ``spare`` and the caller's. What they do on their way out reaches nothing."""
        self.alive = False
        for session in self.sessions:
            session.closed = True
            session.drop_streams()
        victims = asyncio.all_tasks() - spare - {asyncio.current_task()}
        for task in sorted(victims, key=asyncio.Task.get_name):
            task.cancel()
        await asyncio.gather(*victims, return_exceptions=True)
        for client in self._clients:
            client.session = None  # a dead process releases nothing, and ccxt need not complain of that

    def drop_streams(self) -> int:
        """Cut every stream the process holds open; returns how many."""
        return sum(session.drop_streams() for session in self.sessions)

    def _client(self, credentials: Credentials | None) -> UsdmClient:
        session = WatchedSession(
            self._world.venue, self._clocks, latency=self._latency, on_request=self._on_request, faults=self._faults
        )
        self.sessions.append(session)
        client = make_client(MEMORY_ENDPOINT, credentials, self._clocks.infra, session=session, governor=self._governor)
        self._clients.append(client)
        return client


class WatchedSession(MemorySession):
    """A memory session that tells of every request as it leaves."""

    def __init__(
        self,
        venue: PaperVenue,
        clocks: Clocks,
        *,
        latency: Latency | None,
        on_request: OnRequest | None,
        faults: FaultWire | None,
    ) -> None:
        super().__init__(venue, clocks, latency=latency, faults=faults)
        self._on_request = on_request

    def _request(self, method: str, url: Any, options: dict[str, Any]) -> _Exchange:
        exchange = super()._request(method, url, options)
        if self._on_request is not None:
            _, path, query, _, body = exchange._call
            self._on_request(method, path, query, body, venue_now(self._clocks))
        return exchange


class _MortalBus(MemoryBus):
    """A connection that ends with its process."""

    def __init__(self, process: SimulatedProcess, world: SimulatedWorld, component: str) -> None:
        super().__init__(world.broker, world.ports.desk, component, world.ports.clocks.infra)
        self._process = process

    def _open_stream(self) -> _Stream:
        if not self._process.alive:
            raise BusUnavailable("the process is dead")
        return super()._open_stream()


class _MortalDisk(MemoryDisk):
    """A volume that a dead process no longer reaches."""

    def __init__(self, process: SimulatedProcess, volume: MemoryDisk) -> None:
        self._process = process
        self._volume = volume

    def read(self, name: str) -> bytes | None:
        return self._alive().read(name)

    async def replace(self, name: str, data: bytes) -> None:
        await asyncio.sleep(0)
        self._alive()._files[name] = bytearray(data)

    async def append(self, name: str, data: bytes) -> None:
        await asyncio.sleep(0)
        self._alive()._files.setdefault(name, bytearray()).extend(data)

    async def truncate(self, name: str, size: int) -> None:
        await self._alive().truncate(name, size)

    def names(self) -> list[str]:
        return self._alive().names()

    def _alive(self) -> MemoryDisk:
        if not self._process.alive:
            raise DiskError("the process is dead")
        return self._volume
