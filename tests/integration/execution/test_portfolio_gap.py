"""The portfolio when events of execution are missing: not trusted until ledger and venue have been compared again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from breakwater.simulation.bus import MemoryBus

from .test_wallet_movements import Account

Play = Callable[..., Any]


def test_missing_events_make_the_portfolio_unreconciled_until_it_agrees_with_the_venue_again(
    play: Play, monkeypatch: Any
) -> None:
    listeners: list[Callable[[str], None]] = []

    def watch(bus: MemoryBus, listener: Callable[[str], None], *, producers: Collection[str]) -> None:
        assert set(producers) == {"execution"}
        listeners.append(listener)

    monkeypatch.setattr(MemoryBus, "watch_gaps", watch)

    async def scenario(rig: Any) -> None:
        account = Account(rig)
        await account.begin()
        await account.agrees()
        (listener,) = listeners
        listener("execution")
        check = account.service.readiness()["reconciled"]
        assert (check.ok, check.detail) == (False, "events of execution are missing")
        assert not (await account.look()).reconciled
        await account.agrees()

    play(scenario)
