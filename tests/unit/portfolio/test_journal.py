"""The portfolio's journal becomes one checkpoint and later records; a crash at any write loses nothing that was acknowledged."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from breakwater.domain.ids import Symbol, TradeId, TranId
from breakwater.domain.ledger import Booked, Fill
from breakwater.domain.movements import Movement, MovementKind
from breakwater.portfolio import journal as subject
from breakwater.portfolio.books import MOVEMENTS_KEPT, PortfolioBooks
from breakwater.portfolio.journal import PortfolioJournal
from breakwater.portfolio.records import JOURNAL, Adopted, BaselineSet, Filled, Record
from breakwater.runtime.journal import JournalCorrupt
from breakwater.runtime.ports import DiskError
from breakwater.simulation.stores import DyingDisk, MemoryDisk

BTC, ETH = Symbol("BTCUSDT"), Symbol("ETHUSDT")
START = datetime(2025, 10, 10, 20, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def filled(number: int, quantity: str, price: str, symbol: Symbol = BTC) -> Filled:
    trade = TradeId(str(number))
    return Filled(Fill(symbol, trade, Decimal(quantity), Decimal(price), Decimal("0.01234567"), at(number), 10))


def move(number: int, kind: MovementKind, amount: str) -> Movement:
    return Movement(TranId(str(number)), kind.value, kind, Decimal(amount), at(number), BTC)


def facts(books: PortfolioBooks) -> list[object]:
    """What must survive: every figure, and what is known of each fill and movement."""
    ledger = books.ledger
    known = [ledger.judge(entry.fill) for entry in HISTORY if isinstance(entry, Filled)]
    known += [ledger.judge_movement(entry) for entry in HISTORY if isinstance(entry, Movement)]
    figures = (ledger.wallet, ledger.realised, ledger.commissions, ledger.funding, ledger.transfers, ledger.other)
    return [*figures, ledger.positions, books.totals, books.baseline, books.baseline_start, books.rebase_epoch, *known]


HISTORY: list[Record | Movement] = [
    filled(1, "0.5", "99000"),
    Adopted(at(2), Decimal("14000.12345678"), (), {"BTCUSDT": "1"}, at(2)),
    BaselineSet(date(2025, 10, 10), Decimal(14000), at(2), "the first", start_minute=0),
    filled(3, "0.1", "100000.1"),
    move(4, MovementKind.FUNDING, "-1.00000001"),
    filled(5, "-0.03", "100100"),
    filled(6, "2", "4000", ETH),
    move(7, MovementKind.TRANSFER, "5000"),
    filled(8, "-3", "4010.01", ETH),
    BaselineSet(date(2025, 10, 10), Decimal(18000), at(9), "asked for", epoch=4, start_minute=0),
    move(10, MovementKind.TRANSFER, "-2500.5"),
    filled(11, "-0.07", "90000"),
    move(12, MovementKind.OTHER, "-3"),
    filled(13, "0.001", "90001"),
]


async def write(journal: PortfolioJournal, books: PortfolioBooks, entry: Record | Movement) -> None:
    """As the service does: written, then taken in; a checkpoint when it has grown."""
    record = books.moved(entry, books.ledger.wallet, None) if isinstance(entry, Movement) else entry
    await journal.append(record)
    books.apply(record)
    if journal.grown:
        books.agreed({symbol: trade for symbol in (BTC, ETH) if (trade := books.ledger.last_trade(symbol))}, at(0))
        await journal.compact(None)


async def opened(disk: MemoryDisk) -> tuple[PortfolioJournal, PortfolioBooks]:
    books = PortfolioBooks()
    journal = PortfolioJournal(disk, books)
    await journal.load()
    await journal.begin(None)
    return journal, books


async def test_a_compacted_journal_restores_everything_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_disk, disk = MemoryDisk(), MemoryDisk()
    journal, plain = await opened(plain_disk)
    for entry in HISTORY:
        await write(journal, plain, entry)
    monkeypatch.setattr(subject, "COMPACT_AFTER", 3)
    monkeypatch.setattr(subject, "COMPACT_AT_START", 1)
    journal, books = await opened(disk)
    for entry in HISTORY:
        await write(journal, books, entry)
        _, again = await opened(disk)  # another process on the same volume, after each record
        assert facts(again) == facts(books)
        journal, books = await opened(disk)
    assert (books.ledger.wallet, books.ledger.positions) == (plain.ledger.wallet, plain.ledger.positions)
    assert (books.ledger.funding, books.ledger.transfers) == (plain.ledger.funding, plain.ledger.transfers)
    assert (books.totals, books.baseline, books.rebase_epoch) == (plain.totals, plain.baseline, 4)
    assert (disk.read(JOURNAL) or b"").count(b"filled") < (plain_disk.read(JOURNAL) or b"").count(b"filled")


class Life:
    """A portfolio up to the death of its machine: what it held, and how many entries were acknowledged."""

    def __init__(self) -> None:
        self.books = PortfolioBooks()
        self.acknowledged = 0

    async def live(self, disk: DyingDisk) -> None:
        journal, self.books = await opened(disk)
        for entry in HISTORY:
            await write(journal, self.books, entry)
            self.acknowledged += 1
        while True:  # the rest of the writes: restarts
            await opened(disk)


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.999, 1.0])
@pytest.mark.parametrize("fatal", range(1, 26))
async def test_a_crash_at_any_write_loses_nothing_acknowledged(
    fatal: int, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "COMPACT_AFTER", 3)
    monkeypatch.setattr(subject, "COMPACT_AT_START", 1)
    disk = DyingDisk(fatal, kept)
    life = Life()
    with pytest.raises(DiskError):
        await life.live(disk)
    books, acknowledged = life.books, life.acknowledged
    assert disk.died
    journal, again = await opened(disk.after_restart())
    if facts(again) != facts(books):  # then exactly the record under way is there, too, though nobody was told
        assert acknowledged < len(HISTORY)
        entry = HISTORY[acknowledged]
        books.apply(books.moved(entry, books.ledger.wallet, None) if isinstance(entry, Movement) else entry)
        assert facts(again) == facts(books)
    for entry in HISTORY[acknowledged:]:  # the bus brings again what was not acknowledged
        known = isinstance(entry, Filled) and again.ledger.has_seen(entry.fill.symbol, entry.fill.trade_id)
        if not known and not (isinstance(entry, Adopted) and again.ledger.adopted):
            await write(journal, again, entry)
    assert again.ledger.wallet == WALLET


async def test_a_disk_that_refuses_the_checkpoint_loses_nothing() -> None:
    disk = MemoryDisk()
    journal, books = await opened(disk)
    for entry in HISTORY:
        await write(journal, books, entry)
    replace = disk.replace

    async def full(name: str, data: bytes) -> None:
        raise DiskError(f"{name}: no space left on device")

    disk.replace = full  # type: ignore[method-assign]
    await journal.compact(None)
    await journal.append(filled(20, "1", "1"))
    books.apply(filled(20, "1", "1"))
    disk.replace = replace  # type: ignore[method-assign]
    _, again = await opened(disk)
    assert facts(again) == facts(books)


async def test_what_moved_while_the_desk_was_away_for_long_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "COMPACT_AT_START", 1)
    disk = MemoryDisk()
    journal, books = await opened(disk)
    for entry in HISTORY:
        await write(journal, books, entry)
    books.agreed({}, at(60))
    _, books = await opened(disk)
    books.checkpoint(None)
    late = Movement(TranId("99"), "FUNDING_FEE", MovementKind.FUNDING, Decimal(-2), at(61))
    assert books.ledger.judge_movement(late) is Booked.APPLIED  # however many days later it is read
    books.agreed({}, at(62) + MOVEMENTS_KEPT)
    books.checkpoint(None)
    assert books.ledger.state().moved == ()
    assert books.ledger.judge_movement(late) is Booked.REPEATED


async def test_a_damaged_checkpoint_is_never_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "COMPACT_AT_START", 1)
    disk = MemoryDisk()
    journal, books = await opened(disk)
    for entry in HISTORY:
        await write(journal, books, entry)
    await opened(disk)
    content = disk._files[JOURNAL]
    assert b'"type":"checkpoint"' in content
    content[content.index(b'"wallet":"') + 11] ^= 1
    with pytest.raises(JournalCorrupt, match="line 1"):
        await opened(disk)


async def test_the_journal_of_an_older_version_is_read() -> None:
    disk = MemoryDisk()
    journal, books = await opened(disk)
    await journal.append(Adopted(at(1), Decimal(1000), (), {}))
    books.apply(Adopted(at(1), Decimal(1000), (), {}))
    assert books.ledger.contains(move(1, MovementKind.FUNDING, "-1"))
    assert not books.ledger.contains(move(2, MovementKind.FUNDING, "-1"))


def _wallet() -> Decimal:
    books = PortfolioBooks()
    for entry in HISTORY:
        books.apply(books.moved(entry, books.ledger.wallet, None) if isinstance(entry, Movement) else entry)
    return books.ledger.wallet


WALLET = _wallet()
