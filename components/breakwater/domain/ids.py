"""Typed identifiers. They are plain strings at run time; mypy keeps them apart."""

from __future__ import annotations

from typing import NewType

DeskId = NewType("DeskId", str)
Symbol = NewType("Symbol", str)
"""The venue's symbol, for example ``BTCUSDT``."""
SignalId = NewType("SignalId", str)
ProposalId = NewType("ProposalId", str)
ClientOrderId = NewType("ClientOrderId", str)
"""Our id of an order at the venue: ``^[.A-Z:/a-z0-9_-]{1,36}$``, deterministic, never reused while a prior child is live."""
VenueOrderId = NewType("VenueOrderId", str)
TradeId = NewType("TradeId", str)
TripId = NewType("TripId", str)
RequestId = NewType("RequestId", str)
TranId = NewType("TranId", str)
"""The venue's id of a wallet movement, unique among those of one type."""
