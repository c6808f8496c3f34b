"""``breakwater up``: one paper desk in one process, with an embedded Valkey, a simulated exchange over HTTP, and a page."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import structlog
from fastapi import FastAPI
from rich.console import Console

from breakwater.ai_engine.api import signals_router
from breakwater.backup.api import backup_router
from breakwater.dashboard.api import routes_for_address
from breakwater.dashboard.service import DashboardService
from breakwater.dashboard.view import DeskFacts
from breakwater.desk.bus_counts import BusCounts
from breakwater.desk.desk import Desk
from breakwater.desk.governing import count_requests
from breakwater.desk.live_market import is_live, open_live
from breakwater.desk.market import MARKET_FILE, ChosenMarket, choose_market, read_record, write_record
from breakwater.desk.metrics_feed import MetricsFeed
from breakwater.desk.observer import Observer
from breakwater.desk.policy_api import policy_router
from breakwater.desk.policy_change import refusals
from breakwater.desk.ports import DeskPorts
from breakwater.desk.recorder import Recorder
from breakwater.desk.rundir import RunDir
from breakwater.desk.sources import DeskInputError, desk_manifests, signal_source
from breakwater.desk.wall import RealPorts
from breakwater.domain.ids import DeskId
from breakwater.domain.policy import TradingMode
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.api import stop_router
from breakwater.exchange.client import Endpoint
from breakwater.execution.api import execution_router
from breakwater.health_monitor.api import health_router
from breakwater.paper_venue.config import Fills
from breakwater.paper_venue.model import VenueState
from breakwater.paper_venue.service import PaperVenueService
from breakwater.paper_venue.state_file import VenueStateFile
from breakwater.risk_manager.api import throttle_router
from breakwater.runtime.clocks import Clocks, wall_clocks
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.http import HttpServer, component_app
from breakwater.runtime.logging import configure_logging, redactor
from breakwater.runtime.manifests import DeskManifests
from breakwater.runtime.metrics import Metrics
from breakwater.runtime.pauses import spare_what_is_there

log = structlog.get_logger(__name__)

DESK = DeskId("main")
LOG_FILE = "desk.log"
FIRST_ORDER_SECONDS = 30.0
_STOPPED = (StopState.TRIPPED, StopState.COOLING_DOWN)


@dataclass(frozen=True)
class UpOptions:
    """``market``: ``synthetic[:seed]`` or ``replay:FILE[,FILE]``; ``signals``: names or files of signal sources."""

    market: str = "synthetic"
    speed: float = 1.0
    profile: str | None = None
    policy_file: Path | None = None
    stop_file: Path | None = None
    state_dir: Path = Path(".breakwater")
    host: str = "127.0.0.1"
    port: int = 8080
    redis_url: str | None = None
    signals: tuple[str, ...] = ("momentum",)
    fills: str = "full"
    """``full`` or ``book``: where the exchange's fills come from."""


async def up(options: UpOptions, console: Console | None = None) -> int:
    """Run until interrupted; 0 after a clean stop. Raises the typed errors of what could not be started."""
    console = console or Console(soft_wrap=True)
    began = time.monotonic()
    rundir = RunDir(options.state_dir)
    rundir.claim()
    # The terminal is for what a person should act on; everything else is in the log.
    log_file = (options.state_dir / LOG_FILE).open("a", encoding="utf-8")
    configure_logging(format_="json", stream=log_file, desk=DESK)
    try:
        async with _running(options, rundir) as running:
            # Ready to be interrupted before anything is said.
            interrupted = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupted.set)
            await _greet(running, console, began, interrupted)
            await _until_over(running, interrupted, console)
        return 0
    finally:
        rundir.release()
        log_file.close()


@dataclass
class _Running:
    desk: Desk
    observer: Observer
    venue: PaperVenueService
    market: ChosenMarket
    server: HttpServer
    options: UpOptions
    tasks: list[asyncio.Task[None]]


@contextlib.asynccontextmanager
async def _running(options: UpOptions, rundir: RunDir) -> AsyncIterator[_Running]:
    """Everything started; everything stopped again at the end, in the right order, whatever happened."""
    disk = FileDisk(options.state_dir / "market", owner="breakwater up")
    async with contextlib.AsyncExitStack() as cleanup:
        cleanup.callback(disk.close)
        manifests = _manifests(options)
        state_file = options.state_dir / "venue" / "state.json"
        state = VenueStateFile(state_file).load()
        market = await _market(options, disk, manifests, state)
        clocks = wall_clocks(speed=options.speed, market_anchor=market.now)
        config = market.venue_config(Fills(options.fills))
        venue = PaperVenueService(config, market.market, clocks, state_path=state_file, state=state)
        await venue.start()
        cleanup.push_async_callback(venue.stop)
        await write_record(disk, MARKET_FILE, market.record)
        endpoint = Endpoint(venue.url, venue.url.replace("http", "ws", 1))
        real = RealPorts(
            options.state_dir, clocks, desk=DESK, data=market.data, venue=endpoint, redis_url=options.redis_url
        )
        cleanup.push_async_callback(real.stop)
        ports = await real.start()
        token = rundir.token()
        redactor.register(token)
        desk = Desk(ports, [signal_source(name, clocks.infra, follow=True) for name in options.signals])
        page = DashboardService(
            desk.context("dashboard"),
            _facts(options, market, clocks),
            gate=desk.execution.gate,
            stops=lambda: desk.protective_stops,
        )
        desk.add(page)
        desk.add(Recorder(desk.context(Recorder.name), desk.instruments, build=_version()))
        observer = Observer(ports.bus("up"))
        await observer.start()
        cleanup.push_async_callback(observer.stop)
        server = HttpServer(_app(desk, page, ports, options.host, token, options.state_dir), options.host, options.port)
        # Bind before the desk trades: a port in use is said at once, and nothing has happened yet.
        await server.start()
        cleanup.push_async_callback(server.stop)
        cleanup.push_async_callback(desk.stop)
        spare_what_is_there()
        await desk.start(manifests, who="breakwater up", otherwise=desk_manifests(profile=None, policy=None, stop=None))
        spare_what_is_there()
        running = _Running(desk, observer, venue, market, server, options, [])
        running.tasks = [asyncio.ensure_future(venue.run()), asyncio.ensure_future(desk.run())]
        cleanup.push_async_callback(_cancel, running.tasks)
        rundir.publish(url=_url(server), desk=DESK, started_at=clocks.infra.utc_now())
        yield running


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _manifests(options: UpOptions) -> DeskManifests | None:
    """What was asked for on the command line; None: nothing, so go on with what was in force."""
    if options.profile is None and options.policy_file is None and options.stop_file is None:
        return None
    chosen = desk_manifests(profile=options.profile, policy=options.policy_file, stop=options.stop_file)
    for problem in refusals(None, chosen, stop=None, modes=(TradingMode.PAPER,)):
        raise DeskInputError(f"{problem.field} {problem.problem}: {problem.remedy}")
    return chosen


async def _market(
    options: UpOptions, disk: FileDisk, manifests: DeskManifests | None, state: VenueState | None
) -> ChosenMarket:
    symbols = manifests.policy.spec.symbols if manifests else ()
    known, infra = read_record(disk), wall_clocks().infra
    if is_live(options.market):
        return await open_live(options.market, symbols, known=known, clock=infra, speed=options.speed)
    return choose_market(options.market, symbols, known=known, state=state, wall=infra.utc_now(), speed=options.speed)


def _facts(options: UpOptions, market: ChosenMarket, clocks: Clocks) -> DeskFacts:
    return DeskFacts(
        market=market.record.source,
        build=_version(),
        started_at=clocks.infra.utc_now(),
        speed=f"{options.speed:g}",
        stop_name="",  # no resource on Kubernetes, so no kubectl line
    )


def _version() -> str:
    return version("breakwater")


def _app(desk: Desk, page: DashboardService, ports: DeskPorts, host: str, token: str, root: Path) -> FastAPI:
    market_clock = ports.clocks.market
    routers = [
        routes_for_address(page, host, token),
        stop_router(desk.emergency_stop, token),
        execution_router(desk.execution, token),
        signals_router(desk.ai_engine, market_clock, token=token),
        throttle_router(desk.risk_manager, token=token),
        health_router(desk.health_monitor),
        backup_router(root, ports.desk, ports.clocks.infra.utc_now, token=token),
        policy_router(
            desk.policy,
            stop_state=lambda: desk.stop_state,
        ),
    ]
    metrics = Metrics(desk=ports.desk, component="desk", version=_version())
    BusCounts(metrics, desk.buses)
    count_requests(metrics, desk.governor)
    desk.add(MetricsFeed(desk.context("metrics"), metrics))
    return component_app(desk.components, metrics, ports.clocks.infra, routers=routers, token=token)


def _url(server: HttpServer) -> str:
    host = "127.0.0.1" if server.host in {"0.0.0.0", "::"} else server.host
    return f"http://{host}:{server.port}"


async def _greet(running: _Running, console: Console, began: float, interrupted: asyncio.Event) -> None:
    policy = running.desk.policy.current()
    assert policy is not None
    source = running.market.record.source
    console.print(
        f"[bold]Breakwater[/] desk [bold]{DESK}[/]: {policy.policy.trading_mode.value.upper()} on {source}"
        f"{f' at {running.options.speed:g}x' if running.options.speed != 1 else ''}, "
        f"profile {policy.policy.profile.value}, policy version {policy.version}"
    )
    console.print(f"  page     [link]{_url(running.server)}[/]")
    console.print(f"  state    {running.options.state_dir}, log {running.options.state_dir / LOG_FILE}")
    console.print(f"  trades   {', '.join(policy.policy.symbols)} on signals from {', '.join(running.options.signals)}")
    seen = running.observer
    ready = asyncio.ensure_future(
        seen.wait_for(
            lambda: (
                bool(seen.submitted)
                or seen.state in _STOPPED
                or (seen.snapshot is not None and bool(seen.snapshot.positions))
            )
        )
    )
    stop = asyncio.ensure_future(interrupted.wait())
    await asyncio.wait([ready, stop, *running.tasks], timeout=FIRST_ORDER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if seen.state in _STOPPED:
        console.print(f"  stopped  the emergency stop is {seen.state}: nothing is opened until a person resets it")
        console.print("           (breakwater status says what that needs)")
    elif seen.submitted:
        order = seen.submitted[0]
        console.print(
            f"  trading  first order {time.monotonic() - began:.1f} s after the start: "
            f"{order.side} {order.quantity} {order.symbol}"
        )
    elif seen.snapshot is not None and seen.snapshot.positions:
        console.print(f"  trading  goes on with {len(seen.snapshot.positions)} open positions from before")
    elif not interrupted.is_set():
        reasons = ", ".join(f"{code} {n}x" for code, n in seen.refused.most_common(3))
        console.print(f"  waiting  no order yet: {reasons or 'no signal so far'} (breakwater status says more)")
    for task in (ready, stop):
        task.cancel()
    console.print("  try      breakwater status")
    console.print("           breakwater trip --reason 'trying it out'")
    console.print("           breakwater drill crash --market synthetic:1 --speed max")
    console.print("  stop     Ctrl-C; starting again goes on where it was")


async def _until_over(running: _Running, interrupted: asyncio.Event, console: Console) -> None:
    stop = asyncio.ensure_future(interrupted.wait())
    watched: set[asyncio.Future[object]] = {stop, *running.tasks}  # type: ignore[arg-type]
    try:
        while not interrupted.is_set():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stop}:
                task.result()
                console.print("the market has ended: prices stand still, and nothing new is opened")
    finally:
        stop.cancel()
    console.print("stopping ...")
