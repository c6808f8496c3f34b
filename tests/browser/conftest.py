"""A real browser (headless Chromium, spoken to over its DevTools protocol) and a dashboard fed with canned events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from fastapi import FastAPI

from breakwater.dashboard.api import dashboard_routes
from breakwater.dashboard.service import DashboardService
from breakwater.dashboard.view import DeskFacts
from breakwater.domain.ids import ClientOrderId, DeskId, ProposalId, SignalId, Symbol, TradeId, TripId, VenueOrderId
from breakwater.domain.limits import effective_limits
from breakwater.domain.orders import OrderRole, OrderStatus, OrderType, Side
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.domain.signals import DataKind, Direction, Provenance, Signal
from breakwater.domain.snapshot import PositionView, Snapshot
from breakwater.domain.stop_state import StopState, StopView, Trigger, Trip
from breakwater.runtime import events as e
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.manifests import load_manifests
from breakwater.runtime.policy_store import PolicyInForce
from breakwater.simulation.bus import MemoryBroker, MemoryBus

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2025, 10, 10, 20, 0, tzinfo=UTC)
DESK = DeskId("main")
COMPONENTS = ("market_data", "ai_engine", "risk_manager", "execution", "portfolio", "emergency_stop", "health_monitor")


class CannedPolicy:
    """The NORMAL profile, in force."""

    def current(self) -> PolicyInForce:
        desk = load_manifests(ROOT / "profiles" / "normal.yaml")
        policy, stop = desk.policy.spec, desk.stop.spec
        limits = effective_limits(policy, stop)
        return PolicyInForce(3, policy, stop, limits, datetime.now(UTC), False, desk, "0" * 64)


@dataclass
class CannedDesk:
    """Publishes what a desk would; market time starts at ``NOON`` and moves only when told."""

    broker: MemoryBroker
    url: str
    buses: dict[str, MemoryBus] = field(default_factory=dict)
    time: datetime = NOON
    sequence: int = 0
    epoch: int = 1

    async def say(self, producer: str, payload: e.Payload) -> None:
        bus = self.buses.get(producer)
        if bus is None:
            bus = self.buses[producer] = MemoryBus(self.broker, DESK, producer, wall_clocks().infra)
            await bus.start()
        if isinstance(payload, e.StopLease | e.Heartbeat):
            await bus.set_state(payload, time=self.time)
        else:
            await bus.publish(payload, time=self.time)

    async def tick(self, symbol: str, price: str) -> None:
        await self.say("market_data", e.MarkPrice(Symbol(symbol), Decimal(price), self.time))

    async def lease(self, state: StopState = StopState.ARMED, trip: Trip | None = None, **more: Any) -> None:
        self.sequence += 1
        view = StopView(
            state,
            self.epoch,
            self.sequence,
            datetime.now(UTC),
            Decimal(1),
            state is not StopState.ARMED,
            trip=trip,
            **more,
        )
        await self.say("emergency_stop", e.StopLease(view))

    async def beat(self, *, failing: str = "") -> None:
        for number, name in enumerate(COMPONENTS):
            checks = {"bus": True, "tasks": name != failing}
            await self.say(name, e.Heartbeat(name, self.time, 100 + number, checks))

    async def snapshot(self, equity: str, *positions: PositionView, reconciled: bool = True) -> None:
        self.sequence += 1
        total, baseline = Decimal(equity), Decimal(14000)
        unrealised = sum((p.unrealised_pnl for p in positions), Decimal(0))
        gross = sum((p.notional for p in positions), Decimal(0))
        wallet = total - unrealised
        await self.say(
            "portfolio",
            e.PortfolioUpdated(
                Snapshot(
                    self.sequence,
                    self.time,
                    wallet,
                    unrealised,
                    total,
                    baseline,
                    self.time.date(),
                    max(Decimal(0), baseline - total) / baseline * 100,
                    max(Decimal(0), -unrealised) / wallet * 100,
                    gross,
                    gross / total * 100,
                    positions,
                    reconciled,
                    fees_today=Decimal("12.6"),
                )
            ),
        )

    def position(self, symbol: str, quantity: str, entry: str, mark: str) -> PositionView:
        q, first, now = Decimal(quantity), Decimal(entry), Decimal(mark)
        return PositionView(Symbol(symbol), q, first, now, (now - first) * q, 10, self.time)

    async def trade(self, symbol: str, quantity: str, price: str) -> None:
        """A signal, its entry and fill, and the protective stop."""
        self.sequence += 1
        name, size, at, n = Symbol(symbol), Decimal(quantity), Decimal(price), self.sequence
        where = Provenance("heuristic:momentum", DataKind.SYNTHETIC)
        signal = Signal(
            SignalId(f"s{n}"), name, Direction.LONG, Decimal("0.75"), self.time, timedelta(seconds=60), where
        )
        await self.say("ai_engine", e.SignalGenerated(signal))
        entry, proposal, order = ClientOrderId(f"bw-e{n}"), ProposalId(f"p{n}"), VenueOrderId(str(n))
        await self.say(
            "execution",
            e.OrderSubmitted(
                entry, order, proposal, name, OrderRole.ENTRY, Side.BUY, OrderType.LIMIT, size, at, None, False, 10
            ),
        )
        await self.say(
            "execution",
            e.OrderFilled(
                TradeId(str(n)),
                entry,
                order,
                name,
                OrderRole.ENTRY,
                Side.BUY,
                size,
                at,
                size * at * Decimal("0.0005"),
                Decimal(0),
                self.time,
                10,
            ),
        )
        stop_price = at * Decimal("0.98")
        await self.say(
            "execution",
            e.OrderSubmitted(
                ClientOrderId(f"bw-s{n}"),
                VenueOrderId(f"9{n}"),
                proposal,
                name,
                OrderRole.STOP,
                Side.SELL,
                OrderType.STOP_MARKET,
                size,
                None,
                stop_price,
                True,
            ),
        )

    async def refuse(self, code: RefusalCode, text: str, symbol: str = "BTCUSDT") -> None:
        await self.say("execution", e.OrderRefused("gate", Symbol(symbol), OrderRole.ENTRY, Refusal(code, text)))

    async def fail(self, text: str) -> None:
        failed = e.OrderFailed(
            ClientOrderId("bw-x"),
            ProposalId("p-x"),
            Symbol("SOLUSDT"),
            OrderRole.TARGET,
            OrderStatus.REJECTED,
            "-2022",
            text,
            True,
        )
        await self.say("execution", failed)

    def trip(self) -> Trip:
        return Trip(
            TripId("main-7"),
            Trigger.DAILY_DRAWDOWN,
            self.time,
            Decimal("5.1034"),
            Decimal(5),
            "emergencyStop",
            "emergency_stop",
            "the day's drawdown is above its limit",
        )


@pytest.fixture
async def canned_desk(tmp_path: Path) -> AsyncIterator[CannedDesk]:
    broker, clocks = MemoryBroker(), wall_clocks(market_anchor=NOON)
    bus = MemoryBus(broker, DESK, "dashboard", clocks.infra)
    context = ComponentContext(DESK, clocks, bus, FileDisk(tmp_path / "disk"), CannedPolicy(), DataKind.SYNTHETIC)
    service = DashboardService(context, DeskFacts("synthetic:7", "0.1.0", datetime.now(UTC), speed="20"))
    await bus.start()
    await service.start()
    app = FastAPI()
    app.include_router(dashboard_routes(service))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve([listener]))
    desk = CannedDesk(broker, f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield desk
    await service.stop()
    server.should_exit = True
    await serving
    for each in (bus, *desk.buses.values()):
        await each.stop()


@pytest.fixture(scope="session")
def chromium_path() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on PATH: install it (Debian: apt-get install chromium) to test the page")
    return found


class Page:
    """One tab. ``problems`` collects what the browser complained about: script errors, blocked content."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive(timeout=20)).data)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        details = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(details["exceptionDetails"].get("exception", details)))
            case "Log.entryAdded" if details["entry"]["level"] == "error":
                self.problems.append(details["entry"]["text"])

    async def open(self, url: str, *, width: int = 1280, height: int = 1400, dark: bool = True) -> None:
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.resize(width, height, dark=dark)
        await self.call("Page.navigate", url=url)

    async def resize(self, width: int, height: int, *, dark: bool) -> None:
        mobile = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def read(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def text(self, name: str) -> str:
        return str(await self.read(f"document.getElementById({json.dumps(name)}).textContent"))

    async def until(self, expression: str, seconds: float = 10) -> None:
        """Wait for ``expression`` to become true; fails with what the page shows."""
        for _ in range(int(seconds / 0.05)):
            # While the document is being replaced there is nothing to ask yet.
            if await self.read(f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()"):
                return
            await asyncio.sleep(0.05)
        shown = await self.read("document.body.innerText")
        raise AssertionError(f"never came true: {expression}\nproblems: {self.problems}\n{shown[:1500]}")

    async def picture(self, name: str) -> None:
        """Save a screenshot into $BREAKWATER_PICTURES, if that is set."""
        target = os.environ.get("BREAKWATER_PICTURES")
        if target:
            shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
            (Path(target) / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


@pytest.fixture
def chromium(chromium_path: str, tmp_path: Path) -> Iterator[str]:
    """The DevTools address of a headless browser with a fresh profile."""
    profile = tmp_path / "profile"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    process = subprocess.Popen(
        [chromium_path, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("DevTools listening on ws://"):
                yield line.split("ws://")[1].split("/")[0]
                break
        else:
            pytest.fail("chromium ended before it listened")
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://{chromium}/json/new?about:blank") as answer:
            target = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(target, max_msg_size=0) as socket:
            yield Page(socket)
