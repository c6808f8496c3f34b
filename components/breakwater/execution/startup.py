"""What has to be known of the venue before anything opens: trading rules, brackets, and how the account is set up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.errors import Attempt
from breakwater.exchange.parse import anything, parse_instrument, parse_leverage_brackets
from breakwater.exchange.reader import Reader, VenueReplyError
from breakwater.execution.venue_calls import VenueCalls
from breakwater.runtime.clocks import InfraClock

log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
CLOCK_EVERY_S = 60.0
SLOWEST_CLOCK_S = 1.0
CLOCK_WARN_MS = 500
SETTINGS_EVERY_S = 60.0
KEY_REFUSED = frozenset({-1022, -2014, -2015})
Tell = Callable[[str], None]


async def load_instruments(
    client: UsdmClient, calls: VenueCalls, clock: InfraClock, *, tell: Tell = lambda why: None
) -> list[Instrument]:
    """Every perpetual with its brackets, as they are now. Tries until the venue answers, and tells why it does not; a symbol
    that makes no sense is left out, loudly.
    """
    await _until(lambda: client.load_markets(True), anything, "markets", calls, clock, tell)
    brackets: dict[Symbol, tuple[LeverageBracket, ...]] = await _until(
        client.fapiPrivateGetLeverageBracket, parse_leverage_brackets, "leverage brackets", calls, clock, tell
    )
    instruments = []
    for market in client.markets.values():
        if not market.get("swap"):
            continue
        try:
            instruments.append(parse_instrument(market["info"], brackets.get(Symbol(market["id"]), ())))
        except VenueReplyError as error:
            log.error("symbol left out", symbol=market.get("id"), error=str(error))
    return instruments


async def account_problems(
    client: UsdmClient, calls: VenueCalls, clock: InfraClock, *, tell: Tell = lambda why: None
) -> tuple[str, ...]:
    """Settings under which nothing may be opened, each with what to change. ``tell`` is told why they cannot be read."""
    problems = []
    dual = await _until(
        client.fapiPrivateGetPositionSideDual, _flag("dualSidePosition"), "position mode", calls, clock, tell
    )
    if dual:
        problems.append("the account is in hedge mode: switch it to one-way mode at the venue")
    multi = await _until(
        client.fapiPrivateGetMultiAssetsMargin, _flag("multiAssetsMargin"), "assets mode", calls, clock, tell
    )
    if multi:
        problems.append("the account is in multi-assets mode: switch it to single-asset mode at the venue")
    return tuple(problems)


async def keep_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> NoReturn:
    """Measure how far our clock is off the venue's: at once, every minute, and when it refuses a request for its time."""
    while True:
        calls.clock_doubted.clear()
        if not await measure_clock(client, calls, clock):
            await clock.sleep(LAST_RETRY_S)
            continue
        doubted = asyncio.ensure_future(calls.clock_doubted.wait())
        sleeping = asyncio.ensure_future(clock.sleep(CLOCK_EVERY_S))
        try:
            await asyncio.wait((doubted, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            doubted.cancel()
            sleeping.cancel()


async def measure_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> bool:
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
    return True


def _why_not(what: str, result: Attempt[Any]) -> str:
    if result.code in KEY_REFUSED:
        return (
            f"the venue refuses the API key ({result.code} {result.message}): check key and secret, that futures trading is "
            "allowed, and that this address is on its list"
        )
    return f"{what} cannot be read: {result.message or result.outcome.value}"


def _flag(name: str) -> Any:
    def parse(reply: object) -> bool:
        return Reader(reply, name).boolean(name)

    return parse


async def _until(request: Any, parse: Any, what: str, calls: VenueCalls, clock: InfraClock, tell: Tell) -> Any:
    delay = FIRST_RETRY_S
    while True:
        result: Attempt[Any] = await calls.call(request(), parse)
        if result.accepted:
            return result.value
        log.warning("venue not ready", what=what, outcome=result.outcome, code=result.code, message=result.message)
        tell(_why_not(what, result))
        await clock.sleep(delay)
        delay = min(LAST_RETRY_S, delay * 2)
