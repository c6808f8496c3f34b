"""The venue's trading rules as one process knows them: filled by whoever loads them, read by whoever needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from breakwater.domain.ids import Symbol
from breakwater.domain.instruments import Instrument


class InstrumentBook:
    """Instruments by symbol. Components of one process share one; in its own process each loads its own."""

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self._by_symbol: dict[Symbol, Instrument] = {}
        self._listeners: list[Callable[[], None]] = []
        self.update(instruments)

    def get(self, symbol: Symbol) -> Instrument | None:
        """The rules of ``symbol``, or None while they are not known."""
        return self._by_symbol.get(symbol)

    def all(self) -> tuple[Instrument, ...]:
        """Every known instrument, by symbol."""
        return tuple(self._by_symbol[symbol] for symbol in sorted(self._by_symbol))

    def update(self, instruments: Iterable[Instrument]) -> None:
        """Take over newer rules. Brackets need the account's key: rules read without it keep the brackets known before."""
        for instrument in instruments:
            known = self._by_symbol.get(instrument.symbol)
            if known is not None and known.brackets and not instrument.brackets:
                instrument = msgspec.structs.replace(instrument, brackets=known.brackets)
            self._by_symbol[instrument.symbol] = instrument
        for listener in self._listeners:
            listener()

    def on_update(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` after each update; it must not raise."""
        self._listeners.append(listener)

    def __len__(self) -> int:
        return len(self._by_symbol)
