"""``breakwater run COMPONENT``: one component in its own process, as on Kubernetes, with probes and metrics over HTTP.

Settings come from the environment (docs/reference/settings.md). The policy is read from Redis and its JSON backup; the
component named ``policy`` is its writer where no operator runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import APIRouter

from breakwater.desk.bus_counts import BusCounts
from breakwater.desk.governing import count_requests, shared_governor
from breakwater.desk.interruption import until_failed, until_interrupted
from breakwater.desk.venue_endpoints import market_data_kind, venue_endpoints
from breakwater.domain.policy import TradingMode
from breakwater.domain.signals import DataKind
from breakwater.runtime.clocks import Clocks, WallInfraClock, wall_clocks
from breakwater.runtime.context import ComponentContext
from breakwater.runtime.events import Event, PolicyUpdated
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.heartbeat import send_heartbeats
from breakwater.runtime.http import HttpServer, component_app
from breakwater.runtime.instrument_book import InstrumentBook
from breakwater.runtime.instrument_feed import announce_instruments, follow_instruments
from breakwater.runtime.lifecycle import Check, Service
from breakwater.runtime.logging import configure_logging
from breakwater.runtime.manifests import DeskManifests, load_manifests
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.pauses import spare_what_is_there
from breakwater.runtime.policy_events import policy_announcer
from breakwater.runtime.policy_mirror import file_mirror
from breakwater.runtime.policy_store import PolicyStore
from breakwater.runtime.ports import StoreUnavailable
from breakwater.runtime.redis_bus import DURABLE_PRODUCERS, RedisBus
from breakwater.runtime.redis_kv import RedisKeyValueStore
from breakwater.runtime.settings import Settings, SettingsError, read_secret
from breakwater.runtime.tightened_policy import TightenedPolicy

# Components import what only they need (ccxt is 80 MB) inside their own function below.
if TYPE_CHECKING:
    from breakwater.domain.ids import Symbol
    from breakwater.exchange.client import UsdmClient
    from breakwater.exchange.governor import Governor
    from breakwater.market_data.history import PublicHistory
    from breakwater.runtime.events import CandleClosed

log = structlog.get_logger(__name__)

POLICY_REFRESH_SECONDS = 5.0
HISTORY_RETRY_SECONDS = 2.0
STORE_RETRY_SECONDS = 1.0


@dataclass
class _Parts:
    """A component's process while it is put together."""

    settings: Settings
    lived: _Lived
    bus: RedisBus
    context: ComponentContext
    policy: PolicyStore
    token: str | None
    closing: contextlib.AsyncExitStack
    """What to close at the end."""
    governor: Governor
    routers: list[APIRouter] = field(default_factory=list)
    instruments: InstrumentBook = field(default_factory=InstrumentBook)
    announces_instruments: bool = False

    @property
    def clocks(self) -> Clocks:
        return self.lived.clocks

    def client(self, *, with_keys: bool) -> UsdmClient:
        from breakwater.exchange.client import Credentials, make_client

        settings = self.settings
        endpoints = venue_endpoints(settings)
        credentials = None
        if with_keys:
            if settings.api_key_file is None or settings.api_secret_file is None:
                raise SettingsError(
                    ["BREAKWATER_API_KEY_FILE and BREAKWATER_API_SECRET_FILE must name the files with the exchange key"]
                )
            credentials = Credentials(
                read_secret(settings.api_key_file, "BREAKWATER_API_KEY_FILE"),
                read_secret(settings.api_secret_file, "BREAKWATER_API_SECRET_FILE"),
            )
        client = make_client(
            endpoints,
            credentials,
            self.clocks.infra,
            test_orders_only=settings.mode is TradingMode.STAGING,
            governor=self.governor,
        )
        self.closing.push_async_callback(client.close)
        if settings.mode is TradingMode.PAPER:
            client.proof = self._prove
        return client

    async def _prove(self, url: str) -> None:
        """That a paper venue is at ``url``, by its clock: an exchange has no such path."""
        from ccxt import ExchangeNotAvailable

        from breakwater.desk.venue_clock import ClockUnknown, VenueClockReader

        reader = VenueClockReader(url, self.clocks.infra)
        try:
            await reader.ask()
        except ClockUnknown as error:
            raise ExchangeNotAvailable(f"{url} has not answered as a paper venue does: {error}") from error
        finally:
            await reader.close()

    def needs_token(self) -> str:
        if self.token is None:
            raise SettingsError(["BREAKWATER_TOKEN_FILE must name the file with the token that guards this component"])
        return self.token


def _market_data(parts: _Parts) -> Service:
    from breakwater.market_data.service import MarketData

    parts.announces_instruments = True
    return MarketData(parts.context, parts.client(with_keys=False), parts.instruments)


def _public_history(parts: _Parts) -> Callable[[Symbol], Coroutine[Any, Any, Sequence[CandleClosed]]]:
    """Closed candles from the venue's public interface, asked for until it answers; connects at the first question."""
    made: list[PublicHistory] = []

    async def history(symbol: Symbol) -> list[CandleClosed]:
        from breakwater.market_data.history import HistoryError, PublicHistory

        if not made:
            address = venue_endpoints(parts.settings)[0].http_base
            made.append(PublicHistory(address, parts.clocks.market, parts.governor))
            parts.closing.push_async_callback(made[0].close)
        while True:
            try:
                return await made[0].candles(symbol)
            except HistoryError as error:
                log.warning("history not loaded yet", symbol=symbol, error=str(error))
                await parts.clocks.infra.sleep(HISTORY_RETRY_SECONDS)

    return history


def _ai_engine(parts: _Parts) -> Service:
    from breakwater.ai_engine.api import signals_router
    from breakwater.ai_engine.service import AiEngine
    from breakwater.ai_engine.sources.momentum import MomentumSource

    engine = AiEngine(parts.context, [MomentumSource()], history=_public_history(parts))
    parts.routers.append(signals_router(engine, parts.clocks.market, token=parts.needs_token()))
    return engine


def _risk_manager(parts: _Parts) -> Service:
    from breakwater.risk_manager.api import throttle_router
    from breakwater.risk_manager.service import RiskManager

    follow_instruments(parts.instruments, parts.bus)
    manager = RiskManager(parts.context, parts.instruments, history=_public_history(parts))
    parts.routers.append(throttle_router(manager, token=parts.needs_token()))
    return manager


def _execution(parts: _Parts) -> Service:
    from breakwater.execution.api import execution_router
    from breakwater.execution.service import ExecutionService

    parts.announces_instruments = True
    client = parts.client(with_keys=True)
    execution = ExecutionService(parts.context, client, parts.instruments, mode=parts.settings.mode)
    parts.routers.append(execution_router(execution, parts.needs_token()))
    return execution


def _portfolio(parts: _Parts) -> Service:
    from breakwater.portfolio.service import PortfolioService

    return PortfolioService(parts.context)


def _emergency_stop(parts: _Parts) -> Service:
    from breakwater.emergency_stop.api import stop_router
    from breakwater.emergency_stop.service import EmergencyStopService

    stop = EmergencyStopService(parts.context)
    parts.routers.append(stop_router(stop, parts.needs_token()))
    return stop


def _health_monitor(parts: _Parts) -> Service:
    from breakwater.health_monitor.api import health_router
    from breakwater.health_monitor.service import HealthMonitor

    monitor = HealthMonitor(parts.context)
    parts.routers.append(health_router(monitor))
    return monitor


def _dashboard(parts: _Parts) -> Service:
    from breakwater.dashboard.api import LOOPBACK_HOSTS, dashboard_routes
    from breakwater.dashboard.service import DashboardService
    from breakwater.dashboard.view import DeskFacts

    settings = parts.settings
    facts = DeskFacts(
        market=parts.lived.market or settings.venue_url or "binance",
        build=version("breakwater"),
        started_at=parts.clocks.infra.utc_now(),
        speed=f"{parts.clocks.speed:g}",
        stop_name=settings.stop_name,
        namespace=settings.namespace,
    )
    page = DashboardService(parts.context, facts)
    if parts.token is None and settings.http_host not in {*LOOPBACK_HOSTS, "::1"}:
        parts.needs_token()  # anybody could read the desk
    parts.routers.append(dashboard_routes(page, read_token=parts.token, hosts=None if parts.token else LOOPBACK_HOSTS))
    return page


def _policy(parts: _Parts) -> Service:
    return _PolicyWriter(parts)


MAKERS: dict[str, Callable[[_Parts], Service]] = {
    "market_data": _market_data,
    "ai_engine": _ai_engine,
    "risk_manager": _risk_manager,
    "execution": _execution,
    "portfolio": _portfolio,
    "emergency_stop": _emergency_stop,
    "health_monitor": _health_monitor,
    "dashboard": _dashboard,
    "policy": _policy,
}


class _PolicyWriter(Service):
    """Brings BREAKWATER_POLICY_FILE into force and keeps it fresh; where an operator runs, the operator does this."""

    name = "policy"

    def __init__(self, parts: _Parts) -> None:
        super().__init__()
        self._parts = parts
        self._problem = ""

    async def start(self) -> None:
        path = self._parts.settings.policy_file
        if path is None:
            raise SettingsError(["BREAKWATER_POLICY_FILE must name the file with TradingPolicy and EmergencyStop"])
        manifests = load_manifests(path)
        mode = manifests.policy.spec.trading_mode
        if mode.value != self._parts.settings.mode.value:
            raise SettingsError(
                [f"{path}: spec.tradingMode is {mode.value}, but this process runs {self._parts.settings.mode.value}"]
            )
        self.spawn(self._apply(manifests), "apply")

    def readiness(self) -> dict[str, Check]:
        applied = Check(self.progress > 0, "" if self.progress else self._problem)
        return super().readiness() | {"applied": applied}

    async def _apply(self, manifests: DeskManifests) -> None:
        while True:
            try:
                await self._parts.policy.apply(manifests, who="breakwater run policy")
            except StoreUnavailable as error:
                if not self._problem:
                    log.warning("policy not applied yet", error=str(error))
                self._problem = str(error)
                await self._parts.clocks.infra.sleep(STORE_RETRY_SECONDS)
            else:
                self.progress += 1
                return


async def run_component(name: str, settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 after a clean stop. Raises SettingsError and the typed errors of starting."""
    configure_logging(format_=settings.log_format, level=settings.log_level, desk=settings.desk, component=name)
    if name == "paper_venue":
        from breakwater.desk.venue_process import run_paper_venue

        return await until_interrupted(run_paper_venue(settings))
    if settings.redis_url is None:
        raise SettingsError(["REDIS_URL must be set: components in processes of their own share one Redis"])
    return await until_interrupted(_run(name, settings, settings.redis_url))


async def _run(name: str, settings: Settings, redis_url: str) -> None:
    async with contextlib.AsyncExitStack() as closing:
        token = read_secret(settings.token_file, "BREAKWATER_TOKEN_FILE") if settings.token_file else None
        lived = await _clocks(name, settings, closing)
        clocks = lived.clocks
        root = settings.state_dir / name
        disk, spool, policy_disk = (FileDisk(root / part, owner=name) for part in ("state", "bus", "policy"))
        for volume in (disk, spool, policy_disk):
            closing.callback(volume.close)
        store = RedisKeyValueStore(redis_url, clocks.infra)
        closing.push_async_callback(store.close)
        durable = name in DURABLE_PRODUCERS
        bus = RedisBus(redis_url, settings.desk, name, clocks.infra, disk=spool, durable=durable)
        writer = name == "policy"
        policy = PolicyStore(
            store,
            policy_disk,
            clocks.infra,
            desk=settings.desk,
            writer=writer,
            on_change=policy_announcer(bus, clocks.market) if writer else None,
            mirror=file_mirror(settings.policy_mirror) if settings.policy_mirror else None,
        )
        context = ComponentContext(
            desk=settings.desk,
            clocks=clocks,
            bus=bus,
            disk=disk,
            policy=TightenedPolicy(policy, settings.limits),
            data=lived.data,
        )
        governor = shared_governor(name, settings, redis_url, clocks.infra, closing)
        parts = _Parts(settings, lived, bus, context, policy, token, closing, governor)
        if not writer:

            async def look(_: Event) -> None:
                await policy.refresh()

            # Before the component's own subscriptions: what it then looks up is what was announced.
            bus.subscribe(look, producers=("policy",), types=(PolicyUpdated,), group=None)
        closing.push_async_callback(bus.stop)
        await _serve(parts, MAKERS[name](parts))


@dataclass(frozen=True)
class _Lived:
    """The clocks a process lives by, and what it was told of the market behind them."""

    clocks: Clocks
    data: DataKind = DataKind.SYNTHETIC
    market: str = ""
    watch: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Ends with an error when the venue's clock changes."""


async def _clocks(name: str, settings: Settings, closing: contextlib.AsyncExitStack) -> _Lived:
    if settings.clock == "wall":
        anchors = {"market_anchor": settings.market_anchor, "wall_anchor": settings.wall_anchor}
        clocks = wall_clocks(speed=settings.speed, **anchors)
        if settings.mode is TradingMode.PAPER:
            return _Lived(clocks)
        return _Lived(clocks, market_data_kind(settings))
    from breakwater.desk.venue_clock import VenueClockReader
    from breakwater.desk.waiting import answering

    infra = WallInfraClock()
    reader = VenueClockReader(venue_endpoints(settings)[0].http_base, infra)
    closing.push_async_callback(reader.close)
    async with answering(name, settings, infra, what="clock", problem=lambda: f"waiting for {reader.problem}"):
        clock = await reader.wait()
    clocks = wall_clocks(speed=clock.speed, market_anchor=clock.market_anchor, wall_anchor=clock.wall_anchor)
    log.info("lives by the venue's clock", market=clock.market, speed=clock.speed, now=clocks.market.now().isoformat())
    return _Lived(clocks, clock.data, clock.market, lambda: reader.watch(clock))


async def _serve(parts: _Parts, service: Service) -> None:
    """Until cancelled; raises when a part fails: a bus fails when another process took over as this producer."""
    settings, bus = parts.settings, parts.bus
    metrics = Metrics(desk=settings.desk, component=service.name, version=version("breakwater"))
    metrics.watch_connected(lambda: bus.connected)
    count_requests(metrics, parts.governor)
    BusCounts(metrics, [bus])
    app = component_app([service], metrics, parts.clocks.infra, routers=parts.routers, token=parts.token)
    server = HttpServer(app, settings.http_host, settings.http_port)
    await server.start()
    watching: list[asyncio.Future[None]] = [asyncio.ensure_future(_follow_policy(parts))]
    if parts.lived.watch is not None:
        watching.append(asyncio.ensure_future(parts.lived.watch()))
    try:
        spare_what_is_there()
        await bus.start()
        await parts.policy.refresh()
        await service.start()
        spare_what_is_there()
        beat = send_heartbeats(service, bus, parts.clocks, lambda: service.progress, metrics=metrics)
        service.spawn(beat, "heartbeat")
        if parts.announces_instruments:
            service.spawn(announce_instruments(parts.instruments, bus, parts.clocks), "instruments")
        log.info("running", url=f"http://{settings.http_host}:{server.port}")
        await until_failed((service, server, bus), *watching)
    finally:
        for task in watching:
            task.cancel()
        await service.stop()
        await server.stop()


async def _follow_policy(parts: _Parts) -> None:
    while True:
        await parts.clocks.infra.sleep(POLICY_REFRESH_SECONDS)
        await parts.policy.refresh()
