"""Accounts of the paper venue from a file."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from breakwater.paper_venue.accounts_file import AccountsFileError, read_accounts

ONE = {"name": "a", "apiKey": "key-a", "apiSecret": "secret-a"}


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "accounts.json"
    file.write_text(text)
    return file


def test_accounts_are_read_with_what_was_left_out_at_its_default(tmp_path: Path) -> None:
    other = {
        "name": "b",
        "apiKey": "key-b",
        "apiSecret": "secret-b",
        "startingBalance": 500.25,
        "enableWithdrawals": True,
        "ipRestrict": False,
        "enableFutures": False,
    }
    first, second = read_accounts(written(tmp_path, json.dumps({"accounts": [ONE, other]})))
    assert (first.name, first.starting_balance, first.ip_restrict, first.enable_withdrawals) == (
        "a",
        Decimal(14000),
        True,
        False,
    )
    assert (second.api_key, second.api_secret, second.starting_balance) == ("key-b", "secret-b", Decimal("500.25"))
    assert (second.ip_restrict, second.enable_withdrawals, second.enable_futures) == (False, True, False)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"accounts": [\n{"name": "a", "apiKey": "k",\n"apiSecret": 7}]}', "line 3: accounts[0].apiSecret"),
        ('{"accounts": [\n{"name": "A b", "apiKey": "k", "apiSecret": "s"}]}', "line 2: accounts[0].name"),
        (
            '{"accounts": [\n{"name": "a", "apiKey": "k", "apiSecret": "s"},\n{"name": "a", "apiKey": "l", "apiSecret": "s"}]}',
            "line 3: accounts[1].name: a is taken",
        ),
        (
            '{"accounts": [\n{"name": "a", "apiKey": "k", "apiSecret": "s"},\n{"name": "b", "apiKey": "k", "apiSecret": "s"}]}',
            "line 3: accounts[1].apiKey: is a's",
        ),
        (
            '{"accounts": [\n{"name": "a", "apiKey": "k", "apiSecret": "s",\n"startingBalance": -1}]}',
            "line 3: accounts[0].startingBalance",
        ),
        ('{"accounts": [\n{"name": "a", "apiKey": "k", "apiSecret": "s",\n"walet": 1}]}', "line 3: accounts[0].walet"),
        ('{"accounts": []}', "line 1: accounts"),
        ("{", "this is not JSON"),
        ("[]", "an object with accounts"),
    ],
)
def test_mistake_is_named_with_line_and_field(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(AccountsFileError) as error:
        read_accounts(written(tmp_path, text))
    assert where in str(error.value)
    assert "accounts.json" in str(error.value)


def test_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(AccountsFileError, match="check the path"):
        read_accounts(tmp_path / "nothing.json")
