"""Keeps the signed ends of a desk's audit away from the volume that the audit is on. Pure.

Whoever owns that volume can cut the audit and sign what is left; they cannot make the status forget what it has seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from breakwater.domain.stop_head import StopHead

MOST_KEYS = 8
MOST = 2**53 - 1
_LENGTHS = {"hash": 64, "keyID": 16, "publicKey": 64, "signature": 128}
_HEXADECIMAL = re.compile(r"[0-9a-f]*")


def kept_heads(old: Sequence[Mapping[str, Any]], head: StopHead | None) -> list[dict[str, Any]]:
    """``old`` with ``head``: the highest of each key stays, whatever the desk says later. The newest key last.

    With more keys than places the newest gives way: making key after key must not push out what was seen first.
    """
    kept = [dict(each) for each in old]
    new = _as_status(head)
    if new is None:
        return kept
    known = next((each for each in kept if each.get("keyID") == new["keyID"]), None)
    if known is not None and known.get("number", 0) >= new["number"]:
        return kept
    others = [each for each in kept if each is not known]
    return [*others[: MOST_KEYS - 1], new]


def _as_status(head: StopHead | None) -> dict[str, Any] | None:
    """In the shape of the CRD, to the last digit: the signature is over these values. None for what does not fit there."""
    if head is None or not 1 <= head.number <= MOST or not 0 <= head.epoch <= MOST:
        return None
    if len(head.desk) > 512 or head.time.tzinfo is None:
        return None
    found: dict[str, Any] = msgspec.to_builtins(head)
    fits = all(len(found[name]) == length and _HEXADECIMAL.fullmatch(found[name]) for name, length in _LENGTHS.items())
    return found if fits else None
