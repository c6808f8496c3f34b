"""A copy of the policy in a file that somebody else keeps, for example a mounted ConfigMap."""

from __future__ import annotations

from pathlib import Path

from breakwater.runtime.policy_copy import MOST_BYTES
from breakwater.runtime.policy_store import Mirror


def file_mirror(path: Path) -> Mirror:
    """Reads ``path`` each time anew: it may come, go and change at any moment."""

    def read() -> bytes | None:
        try:
            with path.open("rb") as file:
                # One byte more than is allowed is enough to know that it is too long.
                return file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None

    return read
