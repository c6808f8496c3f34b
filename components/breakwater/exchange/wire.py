"""What really went over the wire during one call: recorded per call, so that concurrent calls never mix."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

V = TypeVar("V")

LOAD_CODES = frozenset({-1003, -1004, -1008, -1015})
"""Refused before the matching engine saw it: too many requests or orders, server busy, system-level throttle."""

SHUT_OUT = frozenset({418, 403})
"""HTTP statuses that say: this address is banned."""


@dataclass(frozen=True)
class Reply:
    """An HTTP reply as it came. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass
class Request:
    """One HTTP request; ``reply`` stays None when none was read to its end."""

    method: str
    url: str
    reply: Reply | None = None


@dataclass
class Wire:
    """The HTTP requests of one call, in the order they were made."""

    requests: list[Request] = field(default_factory=list)

    @property
    def last(self) -> Request | None:
        return self.requests[-1] if self.requests else None


current_wire: ContextVar[Wire | None] = ContextVar("current_wire", default=None)
"""The record that requests made in this context belong to, when somebody keeps one."""

before_wire: ContextVar[Callable[[], None] | None] = ContextVar("before_wire", default=None)
"""Called before each HTTP request made in this context, with nothing awaited in between, and again when its connection had to
be waited for. Raising keeps it from being sent."""


def number_in(headers: Mapping[str, str], name: str, kind: Callable[[str], V]) -> V | None:
    """A header's number; ``name`` in lower case. None when it is missing or no number."""
    try:
        return kind(headers[name])
    except (KeyError, ValueError):
        return None


def binance_error(body: str) -> tuple[int | None, str]:
    """Code and message of a Binance error body, ``(None, "")`` for any other. A list of one error counts as that error."""
    try:
        content = json.loads(body)
    except ValueError:
        return None, ""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if not isinstance(content, dict):
        return None, ""
    try:
        return int(content["code"]), str(content.get("msg", ""))
    except (KeyError, TypeError, ValueError):
        return None, ""
