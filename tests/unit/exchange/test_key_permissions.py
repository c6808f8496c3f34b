"""What an API key may do, and what of it keeps a desk from opening anything."""

from __future__ import annotations

from typing import Any

import pytest

from breakwater.exchange.key_permissions import key_problems, parse_key_permissions
from breakwater.exchange.reader import VenueReplyError

# As the exchange's own documentation shows it.
REPLY = {
    "ipRestrict": True,
    "createTime": 1698645219000,
    "enableReading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "enableMargin": False,
    "enableFutures": True,
    "permitsUniversalTransfer": False,
    "enableVanillaOptions": False,
    "enableFixApiTrade": False,
    "enableSpotAndMarginTrading": False,
}


def test_key_for_futures_on_one_address_without_withdrawals_is_good() -> None:
    assert key_problems(parse_key_permissions(REPLY)) == ()


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"enableWithdrawals": True}, 1),
        ({"ipRestrict": False}, 1),
        ({"enableFutures": False}, 1),
        ({"enableWithdrawals": True, "ipRestrict": False, "enableFutures": False}, 3),
    ],
)
def test_each_thing_that_is_wrong_with_a_key_is_named(change: dict[str, Any], count: int) -> None:
    assert len(key_problems(parse_key_permissions({**REPLY, **change}))) == count


@pytest.mark.parametrize("field", ["enableWithdrawals", "ipRestrict", "enableFutures"])
def test_what_is_not_said_is_not_taken_for_granted(field: str) -> None:
    with pytest.raises(VenueReplyError, match=field):
        parse_key_permissions({name: value for name, value in REPLY.items() if name != field})
