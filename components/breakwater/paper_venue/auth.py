"""API keys and HMAC-SHA256 signatures, verified over the bytes that were sent, never over re-encoded text."""

from __future__ import annotations

import hashlib
import hmac

from breakwater.paper_venue import errors
from breakwater.paper_venue.config import AccountConfig
from breakwater.paper_venue.errors import VenueError
from breakwater.paper_venue.params import Params


def _without_signature(raw: bytes) -> tuple[bytes, str | None]:
    signature: str | None = None
    kept = []
    for part in raw.split(b"&"):
        if part.startswith(b"signature="):
            signature = part[len(b"signature=") :].decode("ascii", "replace")
        else:
            kept.append(part)
    return b"&".join(kept), signature


def sign(secret: str, payload: bytes) -> str:
    """The hex signature of a payload."""
    return hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()


class Authenticator:
    """Knows the accounts' keys. Times are wall ms."""

    def __init__(self, accounts: tuple[AccountConfig, ...]) -> None:
        self._by_key = {account.api_key: account for account in accounts}

    def account(self, api_key: str | None) -> AccountConfig:
        """The account of a key. Raises -2014 (no key sent) or -2015 (key unknown)."""
        if not api_key:
            raise VenueError(-2014, "API-key format invalid.", status=401)
        account = self._by_key.get(api_key)
        if account is None:
            raise errors.not_permitted()
        return account

    def verify(self, api_key: str | None, query: str, body: bytes, params: Params, wall_ms: int) -> AccountConfig:
        """Check key, timestamp and signature of a signed request (query and body are signed as one text)."""
        account = self.account(api_key)
        timestamp = params.required_integer("timestamp")
        window = params.integer("recvWindow")
        if window is None:
            window = 5000
        if not 0 < window <= 60000:
            raise VenueError(-1131, "recvWindow must be between 1 and 60000.")
        if timestamp > wall_ms + 1000:
            raise VenueError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if wall_ms - timestamp > window:
            raise VenueError(-1021, "Timestamp for this request is outside of the recvWindow.")
        unsigned_query, in_query = _without_signature(query.encode("utf-8", "surrogateescape"))
        unsigned_body, in_body = _without_signature(body)
        given = in_query or in_body
        if not given:
            raise errors.missing("signature")
        expected = sign(account.api_secret, unsigned_query + unsigned_body)
        if not hmac.compare_digest(expected.encode(), given.lower().encode()):
            raise VenueError(-1022, "Signature for this request is not valid.")
        return account
