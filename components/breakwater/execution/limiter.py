"""Pacing of what is sent: a token bucket in which exits and cancels never wait behind entries.

At most 1200 entries a minute with a burst of 50, so it refills at (1200 - 50) / 60 a second: at 20 a second a full bucket
would let 1250 through in the first minute.
"""

from __future__ import annotations

import asyncio

import structlog

from breakwater.exchange.errors import Attempt, Outcome
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

PER_MINUTE = 1200
BURST = 50
REFILL_PER_S = (PER_MINUTE - BURST) / 60
RESERVE = 15.0
"""Tokens that only exits, stops and cancels may use."""
WEIGHT_LIMIT_1M = 2400
WEIGHT_SHARE = 0.8
"""Above this share of the venue's request weight, entries wait for the next minute."""
READING_PAUSES = ((0.8, 5.0), (0.6, 2.0), (0.4, 1.0))
"""From this share of the weight on, readings of the account are this many seconds apart."""
BAN_PAUSE_S = 60.0
TOO_MANY = 429
LONGEST_PAUSE_S = 300.0
"""However long the venue says it does not want to hear from us: after so many seconds one request asks again."""
SHORTEST_WAIT_S = 0.001
"""Waits shorter than the clock's own grain would never end."""


class Limiter:
    """Counts on the infrastructure clock. The venue's own counters and Retry-After go before ours."""

    def __init__(self, clock: InfraClock) -> None:
        self._clock = clock
        self._tokens = float(BURST)
        self._updated = clock.monotonic()
        self._paused_until = 0.0
        self._away_until = 0.0
        """The venue said so itself (429, 418): it holds for everything, a busy moment (-1008) for entries only."""
        self._weight_until = 0.0
        self._used_weight = 0
        self._weight_ends = 0.0
        self._turn = asyncio.Lock()
        self.waits = 0
        """Entries that had to wait."""
        self.bans = 0

    async def entry(self) -> None:
        """Wait for a token beyond the reserve; first come, first served."""
        async with self._turn:
            while (wait := self._entry_wait()) > 0:
                self.waits += 1
                await self._clock.sleep(max(wait, SHORTEST_WAIT_S))
            self._tokens -= 1

    def urgent(self) -> None:
        """Count an exit, stop or cancel: never waits, and entries make up for it."""
        self._refill()
        self._tokens = max(self._tokens - 1, -float(PER_MINUTE))

    def venue_pause_s(self) -> float:
        """Seconds the venue told us to keep away for."""
        return max(0.0, self._paused_until - self._clock.monotonic())

    async def stay_away(self) -> None:
        """Wait until the venue wants to hear from us again. Nothing passes before, exits included: all it would be is refused,
        and what turns a pause of seconds into a ban of minutes is not keeping it.
        """
        waited = 0.0
        while (pause := self._away_until - self._clock.monotonic()) > 0 and waited < LONGEST_PAUSE_S:
            pause = min(max(pause, SHORTEST_WAIT_S), LONGEST_PAUSE_S - waited)
            waited += pause
            await self._clock.sleep(pause)

    def reading_pause_s(self) -> float:
        """Seconds to leave between readings of the account: the more of this minute's weight is used, the longer."""
        if self._clock.monotonic() >= self._weight_ends:
            return 0.0
        used = self._used_weight / WEIGHT_LIMIT_1M
        return next((pause for share, pause in READING_PAUSES if used >= share), 0.0)

    def note(self, attempt: Attempt[object]) -> None:
        """Learn from a reply: how much the venue has counted, and whether it wants us to wait."""
        now = self._clock.monotonic()
        if attempt.used_weight_1m is not None:
            utc = self._clock.utc_now()
            self._used_weight = attempt.used_weight_1m
            self._weight_ends = now + 60 - utc.second - utc.microsecond / 1e6
            if attempt.used_weight_1m > WEIGHT_LIMIT_1M * WEIGHT_SHARE:
                self._weight_until = self._weight_ends
        if attempt.outcome is Outcome.RATE_LIMITED:
            self._paused_until = max(self._paused_until, now + (attempt.retry_after_s or 1.0))
        if attempt.outcome is Outcome.BANNED:
            self.bans += 1
            log.error(
                "the venue shut this address out: find out what asked too often, and stop other programs on its key",
                http_status=attempt.status,
                retry_after_s=attempt.retry_after_s,
                message=attempt.message,
            )
            self._paused_until = max(self._paused_until, now + (attempt.retry_after_s or BAN_PAUSE_S))
        if attempt.status == TOO_MANY or attempt.outcome is Outcome.BANNED:
            self._away_until = max(self._away_until, self._paused_until)

    def _entry_wait(self) -> float:
        self._refill()
        now = self._clock.monotonic()
        tokens = (RESERVE + 1 - self._tokens) / REFILL_PER_S
        return max(tokens, self._paused_until - now, self._weight_until - now, 0.0)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(float(BURST), self._tokens + (now - self._updated) * REFILL_PER_S)
        self._updated = now
