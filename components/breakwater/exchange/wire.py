"""What really went over the wire during one call: recorded per call, so that concurrent calls never mix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field


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
