"""What a backup's own files say about their desk: its name and whether it trades live money."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from breakwater.runtime.policy_copy import BadCopy, PolicyCopy, decode_copy
from breakwater.runtime.policy_store import BACKUP_FILE
from breakwater.runtime.unreadable import UNREADABLE

UNKNOWN = "unknown"
HEAD_FILE = "audit.head.json"


class _Head(msgspec.Struct):
    desk: str


def desk_of(files: Mapping[str, bytes]) -> str:
    """The desk that the emergency stop signed its audit for; ``unknown`` when it signed nothing yet."""
    for path, data in sorted(files.items()):
        if path.rpartition("/")[2] == HEAD_FILE:
            try:
                return msgspec.json.decode(data, type=_Head).desk
            except UNREADABLE:
                continue
    return UNKNOWN


def mode_of(files: Mapping[str, bytes]) -> str:
    """``tradingMode`` of the highest version of the policy in ``files``; empty when none is readable: then expect the worst."""
    found: list[PolicyCopy] = []
    for path, data in files.items():
        if path.rpartition("/")[2] == BACKUP_FILE:
            try:
                found.append(decode_copy(data))
            except BadCopy:
                continue
    best = min(found, key=lambda copy: copy.rank, default=None)
    return best.desk.policy.spec.trading_mode.value if best is not None else ""
