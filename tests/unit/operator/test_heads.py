"""The status keeps what it has seen of an audit, whatever its desk says later."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from breakwater.domain.ids import DeskId
from breakwater.domain.stop_head import StopHead
from breakwater.domain.stop_state import StopState
from breakwater.emergency_stop.heads import HeadSigner, signature_problem
from breakwater.simulation.stores import MemoryDisk
from breakwater_operator.verdict.heads import MOST_KEYS, kept_heads

NOW = datetime(2025, 10, 10, 20, 50, 0, 123_456, tzinfo=UTC)


async def head(number: int, key: int = 0, digest: str = "ab" * 32) -> StopHead:
    signer = HeadSigner(MemoryDisk(), lambda count: bytes(range(key, key + count)))
    await signer.load()
    return signer.sign(StopHead(DeskId("desk-a/main"), number, digest, number, StopState.ARMED, NOW))


async def test_newer_head_of_the_same_key_takes_the_place_of_the_older() -> None:
    kept = kept_heads(kept_heads([], await head(3)), await head(4))
    assert [each["number"] for each in kept] == [4]


async def test_kept_head_still_verifies() -> None:
    (kept,) = kept_heads([], await head(3))
    assert signature_problem(msgspec.convert(kept, StopHead)) == ""


async def test_lower_head_or_another_of_the_same_number_is_not_believed() -> None:
    kept = kept_heads([], await head(5))
    assert kept_heads(kept, await head(3)) == kept
    assert kept_heads(kept, await head(5, digest="cd" * 32)) == kept


async def test_new_keys_get_places_of_their_own_and_never_push_out_what_was_seen_first() -> None:
    kept: list[dict[str, Any]] = []
    for key in range(MOST_KEYS + 3):
        kept = kept_heads(kept, await head(key + 1, key=key))
    assert [each["number"] for each in kept] == [*range(1, MOST_KEYS), MOST_KEYS + 3]


@pytest.mark.parametrize(
    "change",
    [{"signature": ""}, {"number": 0}, {"number": 2**60}, {"hash": "x"}, {"time": datetime(2025, 1, 1)}],  # noqa: DTZ001
)
async def test_head_that_is_unsigned_or_malformed_changes_nothing(change: dict[str, Any]) -> None:
    kept = kept_heads([], await head(5))
    assert kept_heads(kept, replace(await head(6), **change)) == kept
    assert kept_heads(kept, None) == kept
