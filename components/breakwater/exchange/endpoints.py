"""Where a venue listens, and which of the client library's many addresses may be used at all."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

NOWHERE: Final = "https://nowhere.invalid"
"""Stands for every address that is not the venue's; no name server knows it (RFC 2606)."""

_FUTURES: Final = frozenset(
    {
        "fapiPublic",
        "fapiPublicV2",
        "fapiPublicV3",
        "fapiPrivate",
        "fapiPrivateV2",
        "fapiPrivateV3",
        "fapiData",
        "ws.linear",
    }
)
_ACCOUNT: Final = "sapi"


@dataclass(frozen=True)
class Endpoint:
    """``http_base`` like ``http://127.0.0.1:9000``, ``ws_base`` like ``ws://127.0.0.1:9000``; no path.

    ``account_base`` answers what an API key may do; where it is empty, that is ``http_base``.
    """

    http_base: str
    ws_base: str
    account_base: str = ""

    def __post_init__(self) -> None:
        for name, schemes in (
            ("http_base", ("http", "https")),
            ("ws_base", ("ws", "wss")),
            ("account_base", ("http", "https")),
        ):
            base = getattr(self, name)
            if name == "account_base" and not base:
                continue
            parts = urlsplit(base)
            if parts.scheme not in schemes or not parts.netloc or parts.path or parts.query:
                raise ValueError(f"{name} {base!r} must be {schemes[0]}://host:port (or {schemes[1]}://), no path")


BINANCE: Final = Endpoint("https://fapi.binance.com", "wss://fstream.binance.com", "https://api.binance.com")
"""The real exchange: USDⓈ-M futures, their streams, and the one page of the account that says what a key may do."""


def rebased(urls: dict[str, Any], endpoint: Endpoint) -> dict[str, Any]:
    """ccxt's table of addresses with the futures' at ``endpoint`` and every other one leading nowhere.

    Switching to the exchange's test or demo hosts would leave the endpoint: those tables are left out.
    """
    return {name: _rebased(node, name, endpoint) for name, node in urls.items() if name not in {"test", "demo"}}


def addresses(node: Any, name: str = "urls") -> Iterator[tuple[str, str]]:
    """Every address in ccxt's table, with the path of its name."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from addresses(value, f"{name}.{key}")
    elif isinstance(node, list | tuple):
        for position, value in enumerate(node):
            yield from addresses(value, f"{name}[{position}]")
    elif isinstance(node, str) and node:
        yield name, node


def is_local(url: str, names: Collection[str] = ("localhost", "127.0.0.1", "::1")) -> bool:
    """Whether ``url`` names this machine itself."""
    return urlsplit(url).hostname in names


def _rebased(node: Any, name: str, endpoint: Endpoint) -> Any:
    if isinstance(node, dict):
        return {key: _rebased(value, f"{name}.{key}", endpoint) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_rebased(value, name, endpoint) for value in node]
    if not isinstance(node, str):
        return node
    parts = urlsplit(node)
    purpose = name.removeprefix("api.")
    if purpose in _FUTURES:
        return (endpoint.ws_base if parts.scheme in {"ws", "wss"} else endpoint.http_base) + parts.path
    if purpose == _ACCOUNT:
        return (endpoint.account_base or endpoint.http_base) + parts.path
    return NOWHERE + parts.path
