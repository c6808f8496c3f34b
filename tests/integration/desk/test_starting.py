"""What a desk answers while it starts: closed and saying why, never an error of the program."""

from __future__ import annotations

import random
from pathlib import Path

import httpx
from fastapi import FastAPI

from breakwater.domain.gate import GateState
from breakwater.domain.ids import DeskId
from breakwater.domain.signals import DataKind
from breakwater.exchange.client import Endpoint, make_client
from breakwater.execution.api import execution_router
from breakwater.execution.service import ExecutionService
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.policy_store import PolicyStore
from breakwater.simulation.bus import MemoryBroker, MemoryBus
from breakwater.simulation.stores import MemoryStore


async def test_execution_asked_before_it_started_says_closed_and_come_again(tmp_path: Path) -> None:
    clocks, desk = wall_clocks(), DeskId("main")
    disk = FileDisk(tmp_path, owner="test")
    policy = PolicyStore(MemoryStore(), disk, clocks.infra, desk=desk)
    bus = MemoryBus(MemoryBroker(), desk, "execution", clocks.infra)
    client = make_client(Endpoint("http://127.0.0.1:9", "ws://127.0.0.1:9"), None, clocks.infra)
    context = ComponentContext(desk, clocks, bus, disk, policy, DataKind.SYNTHETIC, random.Random(1))
    service = ExecutionService(context, client, InstrumentBook())
    try:
        state, why = service.gate()
        assert state is GateState.REDUCE_ONLY
        assert why is not None
        assert "starting" in why.text
        app = FastAPI()
        app.include_router(execution_router(service, "t" * 32))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk") as http:
            answer = await http.get("/v1/execution")
        assert answer.status_code == 503
        assert "again in a moment" in answer.json()["detail"]
    finally:
        await client.close()
        disk.close()
