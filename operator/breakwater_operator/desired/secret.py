"""The desk's Secret: the token of its HTTP routes, the simulated venue's key, and the store's address."""

from __future__ import annotations

from base64 import b64encode

from breakwater.paper_venue.config import DEFAULT_ACCOUNT
from breakwater_operator.desired.environment import API_KEY_KEY, API_SECRET_KEY, REDIS_URL_KEY, TOKEN_KEY
from breakwater_operator.desired.inputs import DeskFacts
from breakwater_operator.desired.labels import metadata, secret_name
from breakwater_operator.desired.manifest import Manifest


def secret(desk: DeskFacts) -> Manifest:
    """The real exchange's key is never in it: that one stays in the user's own Secret."""
    content = {TOKEN_KEY: desk.token, REDIS_URL_KEY: desk.redis_url}
    if desk.on_paper:
        content |= {API_KEY_KEY: DEFAULT_ACCOUNT.api_key, API_SECRET_KEY: DEFAULT_ACCOUNT.api_secret}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(desk, secret_name(desk.name)),
        "type": "Opaque",
        "data": {key: b64encode(value.encode()).decode() for key, value in sorted(content.items())},
    }
