"""What has to be known of the venue before anything opens: trading rules, brackets, and how the account is set up."""

from __future__ import annotations

from collections.abc import Mapping
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


async def load_instruments(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> list[Instrument]:
    """Every perpetual with its brackets. Tries until the venue answers; a symbol that makes no sense is left out, loudly."""
    await _until(client.load_markets, anything, "markets", calls, clock)
    brackets: dict[Symbol, tuple[LeverageBracket, ...]] = await _until(
        client.fapiPrivateGetLeverageBracket, parse_leverage_brackets, "leverage brackets", calls, clock
    )
    return instruments_of(client, brackets)


def instruments_of(client: UsdmClient, brackets: Mapping[Symbol, tuple[LeverageBracket, ...]]) -> list[Instrument]:
    """The perpetuals among the markets that ``client`` has loaded; one that makes no sense is left out, loudly."""
    instruments = []
    for market in client.markets.values():
        if not market.get("swap"):
            continue
        try:
            instruments.append(parse_instrument(market["info"], brackets.get(Symbol(market["id"]), ())))
        except VenueReplyError as error:
            log.error("symbol left out", symbol=market.get("id"), error=str(error))
    return instruments


async def account_problems(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> tuple[str, ...]:
    """Settings under which nothing may be opened, each with what to change."""
    problems = []
    dual = await _until(client.fapiPrivateGetPositionSideDual, _flag("dualSidePosition"), "position mode", calls, clock)
    if dual:
        problems.append("the account is in hedge mode: switch it to one-way mode at the venue")
    multi = await _until(
        client.fapiPrivateGetMultiAssetsMargin, _flag("multiAssetsMargin"), "assets mode", calls, clock
    )
    if multi:
        problems.append("the account is in multi-assets mode: switch it to single-asset mode at the venue")
    return tuple(problems)


async def keep_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> NoReturn:
    """Measure how far our clock is off the venue's, at once and then every minute; requests are signed accordingly."""
    while True:
        await measure_clock(client, calls, clock)
        await clock.sleep(CLOCK_EVERY_S)


async def measure_clock(client: UsdmClient, calls: VenueCalls, clock: InfraClock) -> bool:
    """One measurement, taken at the middle of the round trip. False: it did not answer, or took too long to tell."""
    asked, before = clock.utc_now(), clock.monotonic()
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


def _flag(name: str) -> Any:
    def parse(reply: object) -> bool:
        return Reader(reply, name).boolean(name)

    return parse


async def _until(request: Any, parse: Any, what: str, calls: VenueCalls, clock: InfraClock) -> Any:
    delay = FIRST_RETRY_S
    while True:
        result: Attempt[Any] = await calls.call(request(), parse)
        if result.accepted:
            return result.value
        log.warning("venue not ready", what=what, outcome=result.outcome, message=result.message)
        await clock.sleep(delay)
        delay = min(LAST_RETRY_S, delay * 2)
