"""The venue's income list, made into wallet movements."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from breakwater.domain.ids import Symbol, TranId
from breakwater.domain.movements import Movement, MovementKind
from breakwater.exchange.reader import VenueReplyError, readers

PARTS_OF_FILLS = frozenset({"REALIZED_PNL", "COMMISSION"})
"""Come with the trades themselves."""
KINDS: Mapping[str, MovementKind] = {
    "FUNDING_FEE": MovementKind.FUNDING,
    "INSURANCE_CLEAR": MovementKind.INSURANCE_CLEAR,
    **dict.fromkeys(
        (
            "TRANSFER",
            "INTERNAL_TRANSFER",
            "CROSS_COLLATERAL_TRANSFER",
            "COIN_SWAP_DEPOSIT",
            "COIN_SWAP_WITHDRAW",
            "STRATEGY_UMFUTURES_TRANSFER",
            "AUTO_EXCHANGE",
        ),
        MovementKind.TRANSFER,
    ),
    **dict.fromkeys(("REFERRAL_KICKBACK", "COMMISSION_REBATE", "API_REBATE", "FEE_RETURN"), MovementKind.REBATE),
    **dict.fromkeys(("WELCOME_BONUS", "CONTEST_REWARD", "BFUSD_REWARD"), MovementKind.OTHER),
}
"""The venue's words; one that is not here is OTHER, too."""


class IncomePage(msgspec.Struct, frozen=True):
    """One answer, oldest first. ``rows`` counts those that are parts of fills, too; ``newest`` is the last row's time."""

    rows: int
    newest: datetime | None
    movements: tuple[Movement, ...]


def parse_incomes(reply: object) -> IncomePage:
    """Rows of income. Raises VenueReplyError for the whole page when one row makes no sense: then none was taken."""
    movements: list[Movement] = []
    newest: datetime | None = None
    rows = readers(reply, "income")
    for row in rows:
        time = row.time("time")
        newest = time if newest is None else max(newest, time)
        kind = row.text("incomeType")
        if kind in PARTS_OF_FILLS:
            continue
        symbol = row.raw.get("symbol") or None
        if symbol is not None and not isinstance(symbol, str):
            raise VenueReplyError(row.what, "symbol", f"must be text, is {symbol!r}")
        movement = Movement(
            tran_id=TranId(row.text("tranId")),
            venue_type=kind,
            kind=KINDS.get(kind, MovementKind.OTHER),
            amount=row.decimal("income"),
            time=time,
            symbol=Symbol(symbol) if symbol else None,
            asset=row.text("asset"),
        )
        if movement.amount:
            movements.append(movement)
    return IncomePage(len(rows), newest, tuple(sorted(movements, key=_time)))


def _time(movement: Movement) -> datetime:
    return movement.time
