"""Faults that happen by themselves at their time: to streams and listen keys, to a symbol's rules, to the market."""

from __future__ import annotations

import dataclasses
from decimal import Decimal

from breakwater.paper_venue.core import PaperVenue
from breakwater.paper_venue.faults.catalogue import Fault
from breakwater.paper_venue.faults.plan import FaultRule
from breakwater.paper_venue.model import Now, Tick

HALTED = "SETTLING"
"""The status of a symbol that takes no orders."""


class Instants:
    """Does them to a venue, and undoes those that have an end."""

    def __init__(self, venue: PaperVenue) -> None:
        self._venue = venue
        self._gaps: dict[str, Decimal] = {}

    def begin(self, rule: FaultRule, now: Now) -> None:
        venue, symbol = self._venue, rule.match.symbol
        match rule.fault:
            case Fault.STREAM_CLOSED:
                venue.streams.disconnect_all()
            case Fault.LISTEN_KEY_EXPIRED:
                venue.end_listen_keys(now, notice=True)
            case Fault.LISTEN_KEY_DEAD:
                venue.end_listen_keys(now, notice=False)
            case Fault.SYMBOL_HALTED if symbol in venue.ledger.specs:
                venue.change_symbol(symbol, status=HALTED)
            case Fault.FILTER_CHANGED if symbol in venue.ledger.specs:
                names = ("tick_size", "step_size", "min_notional")
                venue.change_symbol(symbol, **{name: value for name in names if (value := getattr(rule, name))})
            case Fault.PRICE_GAP if symbol in venue.ledger.specs:
                self._gap(symbol, rule.factor or Decimal(1), now)
            case Fault.COUNTDOWN_CANCELS_ALGO:
                self._countdown_cancels_algo(True)
            case _:
                pass  # a symbol that the venue does not list

    def end(self, rule: FaultRule, now: Now) -> None:
        """What lasts for a time is over; filters that changed stay as they are."""
        symbol = rule.match.symbol
        match rule.fault:
            case Fault.SYMBOL_HALTED if symbol in self._venue.ledger.specs:
                self._venue.change_symbol(symbol, status="TRADING")
            case Fault.PRICE_GAP:
                self._gaps.pop(symbol, None)
            case Fault.COUNTDOWN_CANCELS_ALGO:
                self._countdown_cancels_algo(False)
            case _:
                pass

    def _gap(self, symbol: str, factor: Decimal, now: Now) -> None:
        """At once with the next tick's worth of price, and for every tick until it ends."""
        venue = self._venue
        venue.reprice = self._reprice
        self._gaps[symbol] = factor
        last = venue.ledger.state.prices.get(symbol)
        if last is not None:
            venue.on_tick(Tick(symbol, max(last.time, now.market_ms), last.price), now)

    def _reprice(self, tick: Tick) -> Tick:
        factor = self._gaps.get(tick.symbol)
        if factor is None:
            return tick
        spec = self._venue.ledger.specs[tick.symbol]
        steps = max(Decimal(1), (tick.price * factor / spec.tick_size).to_integral_value())
        return tick._replace(price=steps * spec.tick_size)

    def _countdown_cancels_algo(self, does: bool) -> None:
        ledger = self._venue.ledger
        ledger.config = dataclasses.replace(ledger.config, countdown_cancels_algo_orders=does)
