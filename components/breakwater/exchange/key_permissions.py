"""What an API key may do, as the exchange says (GET /sapi/v1/account/apiRestrictions)."""

from __future__ import annotations

import msgspec

from breakwater.exchange.parse import raw_of
from breakwater.exchange.reader import Reader


class KeyPermissions(msgspec.Struct, frozen=True):
    """The permissions that decide whether a desk may trade with the key."""

    withdrawals: bool
    ip_restricted: bool
    futures: bool


def parse_key_permissions(reply: object) -> KeyPermissions:
    """Raises VenueReplyError: what is not said is not taken for granted."""
    row = Reader(raw_of(reply), "apiRestrictions")
    return KeyPermissions(
        withdrawals=row.boolean("enableWithdrawals"),
        ip_restricted=row.boolean("ipRestrict"),
        futures=row.boolean("enableFutures"),
    )


def key_problems(permissions: KeyPermissions) -> tuple[str, ...]:
    """Why nothing may be opened with this key, each with what to change."""
    problems = []
    if permissions.withdrawals:
        problems.append("the API key can withdraw money: switch 'Enable Withdrawals' off for it at the exchange")
    if not permissions.ip_restricted:
        problems.append("the API key works from any address: restrict it to this desk's IP address at the exchange")
    if not permissions.futures:
        problems.append("the API key may not trade futures: switch 'Enable Futures' on for it at the exchange")
    return tuple(problems)
