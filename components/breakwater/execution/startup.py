"""What has to be known of the venue before anything opens: how the account is set up, what the key may do, its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import structlog

from breakwater.domain.policy import TradingMode
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.errors import Attempt, Outcome
from breakwater.exchange.key_permissions import key_problems, parse_key_permissions
from breakwater.exchange.reader import Reader
from breakwater.execution.clearance import CLOCK, KEY, VENUE, Clearance
from breakwater.execution.lookup import RECEIVE_WINDOW_S
from breakwater.execution.venue_calls import VenueCalls
from breakwater.execution.waiting import wait_for_event
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
CLOCK_EVERY_S = 60.0
KEY_EVERY_S = 600.0
SLOWEST_CLOCK_S = 1.0
CLOCK_WARN_MS = 500
KEY_REFUSED_CODES = frozenset({-1022, -2014, -2015})


async def account_problems(
    client: UsdmClient, calls: VenueCalls, clock: InfraClock, clearance: Clearance
) -> tuple[str, ...]:
    """Settings under which nothing may be opened, each with what to change."""
    problems = []
    dual = await until_answered(
        client.fapiPrivateGetPositionSideDual, _flag("dualSidePosition"), "position mode", calls, clock, clearance
    )
    if dual:
        problems.append("the account is in hedge mode: switch it to one-way mode at the venue")
    multi = await until_answered(
        client.fapiPrivateGetMultiAssetsMargin, _flag("multiAssetsMargin"), "assets mode", calls, clock, clearance
    )
    if multi:
        problems.append("the account is in multi-assets mode: switch it to single-asset mode at the venue")
    return tuple(problems)


async def keep_key_checked(client: UsdmClient, calls: VenueCalls, clock: InfraClock, clearance: Clearance) -> None:
    """In Staging and Live: what the key may do, at once and every ten minutes. What cannot be read leaves the last verdict."""
    if clearance.mode not in (TradingMode.STAGING, TradingMode.LIVE):
        return
    while True:
        permissions = await until_answered(
            client.sapiGetAccountApiRestrictions,
            parse_key_permissions,
            "permissions of the API key",
            calls,
            clock,
            clearance,
        )
        clearance.set(KEY, *key_problems(permissions))
        await clock.sleep(KEY_EVERY_S)


async def keep_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock, clearance: Clearance) -> NoReturn:
    """Measure how far our clock is off the venue's: at once, every minute, and when it refuses a request for its time."""
    while True:
        calls.clock_doubted.clear()
        measured = await measure_clock(client, calls, clock, clearance)
        await wait_for_event(
            calls.clock_doubted if measured else asyncio.Event(), CLOCK_EVERY_S if measured else LAST_RETRY_S
        )


async def measure_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock, clearance: Clearance) -> bool:
    """One measurement, taken at the middle of the round trip. False: it did not answer, or took too long to tell."""
    asked, before = client.clock.utc_now(), clock.monotonic()  # the clock that requests are signed by
    answer = await calls.server_time()
    took = clock.monotonic() - before
    if answer.value is None or took > SLOWEST_CLOCK_S:
        return False
    offset_ms = round(((asked - answer.value).total_seconds() + took / 2) * 1000)
    if abs(offset_ms) > CLOCK_WARN_MS:
        log.warning("this machine's clock is off the venue's", offset_ms=offset_ms)
    # ccxt subtracts it from the time it signs with.
    client.options["timeDifference"] = offset_ms
    clearance.set(CLOCK, *clock_problems(offset_ms))
    return True


def clock_problems(offset_ms: int) -> tuple[str, ...]:
    """An offset is corrected for; one that a request's window could not bear says that the machine's time is wrong."""
    if abs(offset_ms) <= RECEIVE_WINDOW_S * 1000:
        return ()
    side = "ahead of" if offset_ms > 0 else "behind"
    return (
        f"this machine's clock is {abs(offset_ms) / 1000:.1f} s {side} the venue's, more than the {RECEIVE_WINDOW_S:g} s "
        "a request may be off: set the clock (NTP)",
    )


async def until_answered(
    request: Callable[[], Any],
    parse: Callable[[Any], Any],
    what: str,
    calls: VenueCalls,
    clock: InfraClock,
    clearance: Clearance,
) -> Any:
    """The answer, asked for until it comes; meanwhile nothing is opened where the venue refuses to give it."""
    delay = FIRST_RETRY_S
    while True:
        result: Attempt[Any] = await calls.call(request(), parse)
        if result.accepted:
            clearance.set(f"{VENUE}: {what}")
            return result.value
        log.warning("venue not ready", what=what, outcome=result.outcome, code=result.code, message=result.message)
        if result.outcome is Outcome.REJECTED:
            clearance.set(f"{VENUE}: {what}", _refused(what, result))
        await clock.sleep(delay)
        delay = min(LAST_RETRY_S, delay * 2)


def _refused(what: str, result: Attempt[Any]) -> str:
    if result.code in KEY_REFUSED_CODES:
        return (
            f"the venue refuses the API key ({result.code} {result.message}): check key and secret, that it may trade futures, "
            "and that this address is on its list"
        )
    return f"the venue does not tell the {what} ({result.code} {result.message})"


def _flag(name: str) -> Any:
    def parse(reply: object) -> bool:
        return Reader(reply, name).boolean(name)

    return parse
