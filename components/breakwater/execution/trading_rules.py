"""The venue's trading rules, read anew when they may have changed: filters move and symbols are halted while a desk runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from breakwater.domain.ids import Symbol
from breakwater.exchange.client import UsdmClient
from breakwater.exchange.parse import anything
from breakwater.execution.startup import instruments_of
from breakwater.execution.venue_calls import VenueCalls
from breakwater.execution.waiting import wait_for_event
from breakwater.runtime.clocks import InfraClock
from breakwater.runtime.instrument_book import InstrumentBook

log = structlog.get_logger(__name__)

RULES_CODES = frozenset({-1111, -1121, -1122, -4003, -4004, -4005, -4013, -4014, -4023, -4108, -4140, -4141, -4164})
"""Refusals by a filter or by the symbol's status: our rules may be out of date."""
EVERY_S = 3600.0
WHILE_HALTED_S = 30.0
"""Between readings while a symbol that matters takes no orders: nothing says when it is back."""
AT_MOST_EVERY_S = 1.0


class TradingRules:
    """``symbols`` tells which symbols matter, ``on_read`` hears of every reading."""

    def __init__(
        self,
        client: UsdmClient,
        calls: VenueCalls,
        instruments: InstrumentBook,
        clock: InfraClock,
        symbols: Callable[[], set[Symbol]],
    ) -> None:
        self._client = client
        self._calls = calls
        self._instruments = instruments
        self._clock = clock
        self._symbols = symbols
        self._wanted = asyncio.Event()
        self.on_read: Callable[[], None] = lambda: None
        self.readings = 0

    def refused(self, code: int | None) -> None:
        """An order was refused with ``code``: read again if the rules may be why."""
        if code in RULES_CODES:
            self._wanted.set()

    async def run(self) -> None:
        """Read on refusals, hourly, and every 30 s while a symbol is halted, until cancelled."""
        while True:
            await wait_for_event(self._wanted, WHILE_HALTED_S if self._halted() else EVERY_S)
            self._wanted.clear()
            if not await self.read():
                self._wanted.set()
            await self._clock.sleep(AT_MOST_EVERY_S)

    async def read(self) -> bool:
        """One reading. False: the venue did not answer, and what was known stands."""
        answer = await self._calls.call(self._client.load_markets(True), anything)
        if not answer.accepted:
            log.warning("trading rules not read", outcome=answer.outcome, message=answer.message)
            return False
        self._instruments.update(instruments_of(self._client, {}))
        self.readings += 1
        self.on_read()
        return True

    def _halted(self) -> bool:
        rules = (self._instruments.get(symbol) for symbol in self._symbols())
        return any(rule is not None and not rule.trading for rule in rules)
