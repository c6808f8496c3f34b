"""The paper venue's clock as the desk's: every component asks it at its start and lives by the same anchors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import structlog

from breakwater.domain.signals import DataKind
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

PATH = "/v1/clock"
ASK_SECONDS = 1.0
WATCH_SECONDS = 3.0
TIMEOUT_SECONDS = 2.0
"""For the whole answer."""
MOST_BYTES = 16 * 1024
EARLIEST, LATEST = datetime(2009, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
"""Market times a venue can be believed to live in; at speed 60 a year of the wall is sixty of the market."""


class VenueClock(msgspec.Struct, frozen=True, rename="camel"):
    """It was ``market_anchor`` in the market when it was ``wall_anchor`` on the wall, and runs ``speed`` times as fast."""

    market_anchor: datetime
    wall_anchor: datetime
    speed: float
    market: str = ""
    """``synthetic:7``, ``replay:BTCUSDT.csv``."""
    data: DataKind = DataKind.SYNTHETIC


class ClockUnknown(Exception):
    """The venue did not say; the sentence tells how."""


class ClockChanged(Exception):
    """The venue lives by another clock than this process: it was made anew. A restart takes that one."""


class VenueClockReader:
    """Asks the venue at ``base_url``. ``close`` at the end."""

    def __init__(self, base_url: str, infra: InfraClock) -> None:
        self._url, self._infra = base_url, infra
        self._client = httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT_SECONDS, trust_env=False)
        self.problem = f"{base_url}{PATH}: not asked yet"
        """Why the clock is not known yet."""

    async def ask(self) -> VenueClock:
        """Raises ClockUnknown."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                content = await self._get()
            clock = msgspec.json.decode(content, type=VenueClock)
        except (httpx.HTTPError, httpx.InvalidURL, msgspec.MsgspecError, TimeoutError) as error:
            raise ClockUnknown(f"{self._url}{PATH}: {str(error) or type(error).__name__}") from error
        except (ValueError, RecursionError) as error:  # what a decoder makes of bytes that were never meant to be JSON
            raise ClockUnknown(f"{self._url}{PATH} answers what cannot be read: {error}") from error
        if not self._believable(clock):
            shown = content[:200].decode(errors="replace")
            raise ClockUnknown(f"{self._url}{PATH} answers {shown}, which is no clock")
        return clock

    async def _get(self) -> bytes:
        content = b""
        async with self._client.stream("GET", PATH, headers={"Accept-Encoding": "identity"}) as reply:
            reply.raise_for_status()
            async for part in reply.aiter_bytes():
                content += part
                if len(content) > MOST_BYTES:
                    raise ValueError(f"more than {MOST_BYTES} bytes")
        return content

    def _believable(self, clock: VenueClock) -> bool:
        if clock.market_anchor.tzinfo is None or clock.wall_anchor.tzinfo is None or not 0 < clock.speed <= 60:
            return False
        try:
            now = clock.market_anchor + (self._infra.utc_now() - clock.wall_anchor) * clock.speed
        except OverflowError:
            return False
        return EARLIEST < now < LATEST

    async def wait(self) -> VenueClock:
        """Ask until it answers."""
        while True:
            try:
                return await self.ask()
            except ClockUnknown as error:
                if str(error) != self.problem:
                    log.warning("waiting for the venue's clock", error=str(error))
                self.problem = str(error)
                await self._infra.sleep(ASK_SECONDS)

    async def watch(self, known: VenueClock) -> None:
        """Look from time to time that it is still ``known``. Raises ClockChanged."""
        while True:
            await self._infra.sleep(WATCH_SECONDS)
            try:
                now = await self.ask()
            except ClockUnknown:
                continue
            if anchors(now) != anchors(known):
                raise ClockChanged(
                    f"the venue's clock is anchored at {now.market_anchor:%Y-%m-%d %H:%M:%S} market time now, this process "
                    f"began with {known.market_anchor:%Y-%m-%d %H:%M:%S}: it starts again to live by the new one"
                )

    async def close(self) -> None:
        await self._client.aclose()


def anchors(clock: VenueClock) -> tuple[Any, ...]:
    return (clock.market_anchor, clock.wall_anchor, clock.speed)
