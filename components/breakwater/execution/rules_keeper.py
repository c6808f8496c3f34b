"""The venue's trading rules, read again from time to time and when the venue refuses an order by rules we did not know."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument, LeverageBracket
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.parse import anything, parse_instrument, parse_leverage_brackets
from breakwater.exchange.reader import VenueReplyError
from breakwater.execution.clearance import Clearance
from breakwater.execution.startup import until_answered
from breakwater.execution.venue_calls import VenueCalls
from breakwater.execution.waiting import wait_for_event
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.instrument_book import InstrumentBook

log = structlog.get_logger(__name__)

EVERY_S = 60.0
SOONEST_S = 0.5
"""Infrastructure seconds between two readings."""


class RulesKeeper:
    """Fills ``instruments``. A symbol that the venue no longer lists is kept as one it does not trade."""

    def __init__(
        self,
        client: UsdmClient,
        calls: VenueCalls,
        instruments: InstrumentBook,
        clearance: Clearance,
        clock: InfraClock,
    ) -> None:
        self._client = client
        self._calls = calls
        self._instruments = instruments
        self._clearance = clearance
        self._clock = clock
        self.readings = 0

    async def until_due(self) -> None:
        """A minute, or until the venue refuses something as against its rules, which it may go on doing."""
        await self._clock.sleep(SOONEST_S)
        await wait_for_event(self._calls.rules_doubted, EVERY_S)
        self._calls.rules_doubted.clear()

    async def read(self) -> None:
        """Asks until the venue answers. A symbol that makes no sense is left out, loudly."""

        def markets() -> Any:
            return self._client.load_markets(True)

        await until_answered(markets, anything, "markets", self._calls, self._clock, self._clearance)
        brackets: dict[Symbol, tuple[LeverageBracket, ...]] = await until_answered(
            self._client.fapiPrivateGetLeverageBracket,
            parse_leverage_brackets,
            "leverage brackets",
            self._calls,
            self._clock,
            self._clearance,
        )
        found: list[Instrument] = []
        for market in self._client.markets.values():
            if not market.get("swap"):
                continue
            try:
                found.append(parse_instrument(market["info"], brackets.get(Symbol(market["id"]), ())))
            except VenueReplyError as error:
                log.error("symbol left out", symbol=market.get("id"), error=str(error))
        listed = {instrument.symbol for instrument in found}
        found += [
            msgspec.structs.replace(known, trading=False)
            for known in self._instruments.all()
            if known.symbol not in listed and known.trading
        ]
        self._instruments.update(found)
        self.readings += 1
