"""A whole desk's outside in memory: virtual clocks, memory bus and disks, the venue core in process, ccxt on a fake session."""

from __future__ import annotations

from collections import defaultdict

from breakwater.desk.ports import DeskPorts
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Credentials, UsdmClient, make_client
from breakwater.exchange.governor import Governor
from breakwater.paper_venue.core import PaperVenue
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.run import Simulation
from breakwater.simulation.stores import MemoryDisk, MemoryStore
from breakwater.simulation.transport import MEMORY_ENDPOINT, Latency, MemorySession


class SimulatedWorld:
    """What outlives a desk's process: its disks, the broker, the venue. A desk can be dropped and assembled again on it."""

    def __init__(
        self, simulation: Simulation, venue: PaperVenue, *, desk: DeskId, data: DataKind, latency: Latency | None = None
    ) -> None:
        self.simulation = simulation
        self.venue = venue
        self.broker = MemoryBroker()
        self.store = MemoryStore()
        self.disks: defaultdict[str, MemoryDisk] = defaultdict(MemoryDisk)
        self.sessions: list[MemorySession] = []
        self._latency = latency
        self._governor = Governor(simulation.clocks.infra)
        self.ports = DeskPorts(
            desk=desk,
            clocks=simulation.clocks,
            data=data,
            kv=self.store,
            bus=lambda component: MemoryBus(self.broker, desk, component, simulation.clocks.infra),
            disk=lambda component: self.disks[component],
            client=self._client,
            random=simulation.random,
            entropy=simulation.random("entropy").randbytes,
        )

    def _client(self, credentials: Credentials | None) -> UsdmClient:
        session = MemorySession(self.venue, self.simulation.clocks, latency=self._latency)
        self.sessions.append(session)
        clock = self.simulation.clocks.infra
        return make_client(MEMORY_ENDPOINT, credentials, clock, session=session, governor=self._governor)

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()
