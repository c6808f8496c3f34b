"""The accounts of a paper venue from a file: each with its key, its money, and what the key may do."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import msgspec

from breakwater.paper_venue.config import DEFAULT_ACCOUNT, AccountConfig
from breakwater.paper_venue.json_text import JsonText, JsonTextError, read_text

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[!-~]+$")]


class AccountsFileError(JsonTextError):
    """An accounts file that cannot be used."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    api_key: Key
    api_secret: Key
    starting_balance: Decimal = DEFAULT_ACCOUNT.starting_balance
    """USDT."""
    ip_restrict: bool = True
    enable_withdrawals: bool = False
    enable_futures: bool = True


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accounts: Annotated[tuple[_Entry, ...], msgspec.Meta(min_length=1, max_length=100)]


def read_accounts(path: Path) -> tuple[AccountConfig, ...]:
    """Raises AccountsFileError with line and field."""
    text = JsonText(read_text(path, AccountsFileError), str(path), "an object with accounts", AccountsFileError)
    entries = text.decode(_File).accounts
    for number, entry in enumerate(entries):
        at = f"accounts[{number}]"
        if not (entry.starting_balance.is_finite() and entry.starting_balance >= 0):
            raise text.problem(f"{at}.startingBalance", f"must be a number of USDT, not {entry.starting_balance}")
        for other in entries[:number]:
            if entry.name == other.name:
                raise text.problem(f"{at}.name", f"{entry.name} is taken: give each account a name of its own")
            if entry.api_key == other.api_key:
                raise text.problem(f"{at}.apiKey", f"is {other.name}'s: give each account a key of its own")
    return tuple(
        AccountConfig(
            name=entry.name,
            api_key=entry.api_key,
            api_secret=entry.api_secret,
            starting_balance=entry.starting_balance,
            ip_restrict=entry.ip_restrict,
            enable_withdrawals=entry.enable_withdrawals,
            enable_futures=entry.enable_futures,
        )
        for entry in entries
    )
