"""The end of the emergency stop's audit as one statement that others can keep: so many records, this the last one's hash."""

from __future__ import annotations

from datetime import datetime

import msgspec

from breakwater.domain.ids import DeskId
from breakwater.domain.policy import wire_name
from breakwater.domain.stop_state import StopState


class StopHead(msgspec.Struct, frozen=True, rename=wire_name):
    """Record ``number`` is the last one and hashes to ``hash``; the stop is then in ``state`` at ``epoch``.

    Signed with Ed25519 over everything but the signature. Unsigned while the desk's key cannot be used.
    """

    desk: DeskId
    number: int
    hash: str
    """SHA-256, hexadecimal."""
    epoch: int
    state: StopState
    time: datetime
    """Of that record, market time."""
    key_id: str = ""
    """The first 16 digits of the SHA-256 of the public key."""
    public_key: str = ""
    """32 bytes, hexadecimal."""
    signature: str = ""
    """64 bytes, hexadecimal."""

    @property
    def signed(self) -> bool:
        return bool(self.signature)
