"""The paper venue in a process of its own: BREAKWATER_MARKET names its market, BREAKWATER_HTTP_PORT where it listens."""

from __future__ import annotations

from importlib.metadata import version
from typing import NoReturn

import msgspec
import structlog

from breakwater.desk.live_market import is_live, open_live
from breakwater.desk.market import MARKET_FILE, choose_market, read_record, write_record
from breakwater.desk.venue_clock import VenueClock
from breakwater.paper_venue.accounts_file import read_accounts
from breakwater.paper_venue.config import DEFAULT_ACCOUNT, AccountConfig, Fills
from breakwater.paper_venue.faults.plan import FaultPlan, read_plan_file
from breakwater.paper_venue.service import PaperVenueService
from breakwater.paper_venue.state_file import VenueStateFile
from breakwater.runtime.clocks import WallInfraClock, wall_clocks
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.metrics import ProcessMetrics
from breakwater.runtime.settings import Settings

log = structlog.get_logger(__name__)

NAME = "paper_venue"


async def run_paper_venue(settings: Settings) -> NoReturn:
    """Serve until cancelled; the venue's state is saved then. Raises the typed errors of starting."""
    faults = read_plan_file(settings.faults) if settings.faults is not None else None
    accounts = read_accounts(settings.venue_accounts) if settings.venue_accounts is not None else (DEFAULT_ACCOUNT,)
    root = settings.state_dir / NAME
    disk = FileDisk(root, owner=NAME)
    try:
        await _serve(settings, disk, accounts, faults)
    finally:
        disk.close()


async def _serve(
    settings: Settings, disk: FileDisk, accounts: tuple[AccountConfig, ...], faults: FaultPlan | None
) -> NoReturn:
    infra = WallInfraClock()
    state_file = settings.state_dir / NAME / "state.json"
    state = VenueStateFile(state_file).load()
    wall = infra.utc_now()
    known = read_record(disk, MARKET_FILE)
    if is_live(settings.market):
        market = await open_live(settings.market, settings.symbols, known=known, clock=infra, speed=settings.speed)
    else:
        market = choose_market(
            settings.market,
            settings.symbols,
            known=known,
            state=state,
            wall=wall,
            speed=settings.speed,
            start=settings.market_start,
            crash_after_minutes=settings.crash_after_minutes,
        )
    record = market.record
    if settings.market_anchor is not None and settings.wall_anchor is not None:
        record = msgspec.structs.replace(
            record, market_anchor=settings.market_anchor, wall_anchor=settings.wall_anchor, speed=settings.speed
        )
    record = record.anchored(now=market.now, wall=wall, speed=settings.speed)
    assert record.market_anchor is not None
    assert record.wall_anchor is not None
    # Before anybody is told: who lives by these anchors must find them again after a crash.
    await write_record(disk, MARKET_FILE, record)
    clock = VenueClock(record.market_anchor, record.wall_anchor, record.speed, record.source, market.data)
    venue = PaperVenueService(
        market.venue_config(Fills(settings.venue_fills), accounts),
        market.market,
        wall_clocks(speed=clock.speed, market_anchor=clock.market_anchor, wall_anchor=clock.wall_anchor),
        host=settings.http_host,
        port=settings.http_port,
        state_path=state_file,
        state=state,
        clock_answer=msgspec.to_builtins(clock),
        metrics=ProcessMetrics(desk=settings.desk, component=NAME, version=version("breakwater")),
        faults=faults,
        faults_at_run_time=settings.faults_api,
    )
    try:
        await venue.start()
        await venue.run()
        log.info("the market has ended; the venue goes on serving")
        while True:
            await infra.sleep(3600)
    finally:
        await venue.stop()
