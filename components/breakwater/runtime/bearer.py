"""The one comparison that lets a caller in: ``Authorization: Bearer <token>``, in constant time."""

from __future__ import annotations

import hmac


def bearer_matches(authorization: str | None, token: str) -> bool:
    """Whether the header carries exactly ``token``. An empty token lets nobody in."""
    return bool(token) and hmac.compare_digest((authorization or "").encode(), f"Bearer {token}".encode())
