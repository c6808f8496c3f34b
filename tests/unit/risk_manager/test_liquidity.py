"""Leverage by real liquidity: what market_data tells reaches the size, grows old, and is named when it binds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.domain.ids import Symbol
from breakwater.domain.liquidity import Liquidity, LiquidityReading, spread_pct
from breakwater.domain.policy import LimitOverrides, PolicySpec
from breakwater.runtime.events import MarketLiquidity

OnDesk = Callable[[Callable[[Any], Awaitable[None]]], None]
BTC = Symbol("BTCUSDT")
D = Decimal
NOON = datetime(2025, 10, 10, 12, tzinfo=UTC)


def reading(at: datetime, volume: str = "5000000000", spread: str = "0.001", symbol: Symbol = BTC) -> LiquidityReading:
    return LiquidityReading(symbol, D(volume), at, D(spread), at)


@pytest.mark.parametrize(
    ("volume", "spread", "cap"),
    [
        ("9999999.99", "0.001", 3), ("10000000", "0.001", 5), ("49999999.99", "0.001", 5), ("50000000", "0.001", 10),
        ("249999999.99", "0.001", 10), ("250000000", "0.001", None), ("250000000", "0.02", None),
        ("250000000", "0.0201", 10), ("250000000", "0.0501", 5), ("250000000", "0.1001", 3), ("9999999", "0.06", 3),
    ],
)  # fmt: skip
def test_leverage_cap_at_the_very_bounds(volume: str, spread: str, cap: int | None) -> None:
    found = Liquidity(D(volume), D(spread)).leverage_cap()
    assert (found.leverage if found else None) == cap


figures = st.none() | st.decimals(D(0), D(1_000_000_000), places=0)
spreads = st.none() | st.decimals(D(0), D(1), places=4)


@given(figures, spreads)
def test_stale_figure_never_allows_more_than_a_fresh_or_an_unknown_one(
    volume: Decimal | None, spread: Decimal | None
) -> None:
    stale = Liquidity(volume, spread, stale=True).leverage_cap()
    fresh = Liquidity(volume, spread).leverage_cap()
    assert stale is not None
    assert stale.leverage <= min(10, fresh.leverage if fresh else 10)


@given(st.decimals(D(0), D(1_000_000_000), places=0), st.decimals(D(0), D(1_000_000_000), places=0), spreads)
def test_more_volume_never_allows_less(one: Decimal, other: Decimal, spread: Decimal | None) -> None:
    less, more = sorted((one, other))
    low, high = (Liquidity(volume, spread).leverage_cap() for volume in (less, more))
    assert high is None or (low is not None and low.leverage <= high.leverage)


@pytest.mark.parametrize(
    ("later", "stale"),
    [
        (timedelta(minutes=5), False), (timedelta(minutes=5, seconds=1), True), (timedelta(minutes=-6), True),
        (timedelta(hours=2), True),
    ],
)  # fmt: skip
def test_reading_is_stale_when_it_is_old_or_from_the_future(later: timedelta, stale: bool) -> None:
    assert reading(NOON).at(NOON + later).stale is stale


def test_spread_is_a_share_of_the_mid_price() -> None:
    assert spread_pct(D("99.9"), D("100.1")) == D("0.2")


def test_thin_market_lowers_leverage_and_the_proposal_says_so(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        thin = reading(desk.clocks.market.now(), volume="9000000")
        await desk.say("market_data", MarketLiquidity((thin,)), state=True)
        await desk.signal(stop_pct=D("0.5"))
        (proposal,) = desk.proposals
        assert (proposal.leverage, proposal.bound_by) == (3, "liquidity")

    on_desk(play)


def test_liquid_market_allows_the_leverage_asked_for_until_the_figures_are_old(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC,), limits=LimitOverrides(leverage=20))
        await desk.say("market_data", MarketLiquidity((reading(desk.clocks.market.now()),)), state=True)
        await desk.signal("s1", stop_pct=D("0.5"))
        assert desk.proposals[-1].leverage == 20
        await desk.gate_refuses("s1", "NOT_RECONCILED")
        await desk.clocks.infra.sleep(301)
        await desk.signal("s2", stop_pct=D("0.5"))
        assert (desk.proposals[-1].leverage, desk.proposals[-1].bound_by) == (10, "liquidityUnknown")

    on_desk(play)


def test_symbol_that_nobody_told_of_counts_as_unknown(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        desk.policy.spec = PolicySpec((BTC,), limits=LimitOverrides(leverage=20))
        other = reading(desk.clocks.market.now(), symbol=Symbol("ETHUSDT"))
        await desk.say("market_data", MarketLiquidity((other,)), state=True)
        await desk.signal(stop_pct=D("0.5"))
        assert (desk.proposals[-1].leverage, desk.proposals[-1].bound_by) == (10, "liquidityUnknown")

    on_desk(play)


def test_margin_too_small_because_of_a_thin_market_names_it(on_desk: OnDesk) -> None:
    async def play(desk: Any) -> None:
        await desk.ready()
        thin = msgspec.structs.replace(reading(desk.clocks.market.now()), volume_24h_usd=D(1), spread_pct=D(2))
        await desk.say("market_data", MarketLiquidity((thin,)), state=True)
        await desk.snapshot(equity="300")
        await desk.signal(stop_pct=D("0.5"))
        (refusal,) = desk.refusals
        assert refusal.numbers["bound_by"] == "liquidity"

    on_desk(play)
