"""What the gate gets to see when a figure is no number: unknown, which opens nothing and holds up no exit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from breakwater.domain.gate import Approval, GateFacts, decide
from breakwater.domain.ids import DeskId, Symbol, TradeId
from breakwater.domain.orders import Proposal
from breakwater.domain.refusals import Refusal, RefusalCode
from breakwater.execution.books import Books
from breakwater.execution.facts import FactFinder
from breakwater.runtime.clocks import wall_clocks
from breakwater.runtime.instrument_book import InstrumentBook

BTC = Symbol("BTCUSDT")
NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


class Desk:
    """A long position of 0.1 with all that an entry needs; ``judge`` decides from its books."""

    def __init__(self, facts: GateFacts) -> None:
        assert facts.stop is not None
        assert facts.instrument is not None
        clocks = wall_clocks()
        now = self.now = clocks.market.now()
        self.books = books = Books(DeskId("main"), clocks)
        books.stop.take(replace(facts.stop, issued_at=datetime.now(UTC)))
        books.positions[BTC] = Decimal("0.1")
        books.verified_trade[BTC] = TradeId("1")
        books.verified(())
        books.take_mark(BTC, Decimal(100_000), now)
        in_force = SimpleNamespace(
            policy=SimpleNamespace(trading_mode=facts.mode, symbols=(BTC,)),
            stop=SimpleNamespace(stale_after_seconds=60),
            limits=facts.limits,
            stale=False,
            hold="",
        )
        policies = SimpleNamespace(current=lambda: in_force)
        self.trouble = ""
        self.finder = FactFinder(
            books, policies, InstrumentBook([facts.instrument]), clocks, events_trouble=lambda: self.trouble
        )

    def judge(self, order: Proposal) -> Approval | Refusal:
        return decide(order, self.finder.for_proposal(order, first=True))


@pytest.fixture
def desk(facts: Callable[..., GateFacts]) -> Desk:
    return Desk(facts())


@pytest.mark.parametrize("mark", [*NO_NUMBERS, "0", "-1"])
def test_mark_that_is_no_price_neither_counts_nor_holds_up_an_exit(
    desk: Desk, reduction: Callable[..., Proposal], mark: str
) -> None:
    desk.books.take_mark(BTC, Decimal(mark), desk.now)
    assert desk.finder.for_desk().gross_notional == 10_000
    assert isinstance(desk.judge(reduction()), Approval)


@pytest.mark.parametrize("equity", NO_NUMBERS)
def test_equity_that_is_no_number_is_unknown_and_holds_up_no_exit(
    desk: Desk, entry: Callable[..., Proposal], reduction: Callable[..., Proposal], equity: str
) -> None:
    snapshot = SimpleNamespace(time=desk.now, marks_missing=(), reconciled=True, equity=Decimal(equity))
    desk.books.snapshot = snapshot  # type: ignore[assignment]
    assert isinstance(desk.judge(reduction()), Approval)
    refused = desk.judge(entry(expires_at=desk.now.replace(year=desk.now.year + 1)))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.EQUITY_UNKNOWN


@pytest.mark.parametrize("quantity", NO_NUMBERS)
def test_exit_of_no_number_is_refused(desk: Desk, reduction: Callable[..., Proposal], quantity: str) -> None:
    refused = desk.judge(reduction(quantity=Decimal(quantity)))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.QUANTITY_GRID


def test_desk_whose_events_may_not_be_kept_opens_nothing_and_still_exits(
    desk: Desk, entry: Callable[..., Proposal], reduction: Callable[..., Proposal]
) -> None:
    desk.trouble = "the buffer is full"
    assert desk.finder.for_desk().events_trouble == "the buffer is full"
    refused = desk.judge(entry(expires_at=desk.now.replace(year=desk.now.year + 1)))
    assert isinstance(refused, Refusal)
    assert isinstance(desk.judge(reduction()), Approval)
