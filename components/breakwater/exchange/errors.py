"""What became of a call to the venue: one verdict for every way it can end.

The rule that money depends on: REJECTED, RATE_LIMITED, BANNED and NOT_SENT mean the venue did *not* do it; UNKNOWN means it
may have, so look it up by client id before anything is sent again. When in doubt: UNKNOWN, which costs one look-up.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import aiohttp
import ccxt

from breakwater.exchange.governor import PausedError
from breakwater.exchange.reader import VenueReplyError
from breakwater.exchange.wire import LOAD_CODES, SHUT_OUT, Reply, Request, Wire, binance_error, current_wire, number_in

T = TypeVar("T")
V = TypeVar("V")


class Outcome(enum.StrEnum):
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    """Refused for certain; ``code`` and ``message`` say why."""
    UNKNOWN = "UNKNOWN"
    NOT_SENT = "NOT_SENT"
    """Never reached the venue: refused locally, or no connection could be made."""
    RATE_LIMITED = "RATE_LIMITED"
    """Refused for certain because of load; wait ``retry_after_s`` (or back off) first."""
    BANNED = "BANNED"
    """This address is shut out (HTTP 418 or 403): an incident, not a wait."""


OUTCOME_UNKNOWN_CODES = frozenset({-1000, -1001, -1006, -1007, -1099})
"""Binance codes whose meaning is "we do not know whether it was done"."""


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """Verdict on one call. ``value`` is set exactly when ACCEPTED. Counters are the venue's own, from reply headers."""

    outcome: Outcome
    value: T | None = None
    code: int | None = None
    """Binance error code, when the reply had one."""
    message: str = ""
    status: int | None = None
    """HTTP status, when there was a reply."""
    retry_after_s: float | None = None
    used_weight_1m: int | None = None
    order_count_10s: int | None = None
    order_count_1m: int | None = None
    error: Exception | None = None

    @property
    def accepted(self) -> bool:
        return self.outcome is Outcome.ACCEPTED

    def unwrap(self) -> T:
        """The value of an accepted call; VenueCallError otherwise."""
        if self.outcome is not Outcome.ACCEPTED:
            raise VenueCallError(self)
        return cast(T, self.value)


class VenuePausedError(ccxt.RateLimitExceeded):  # type: ignore[misc]
    """A PausedError as ccxt's callers know it: nothing was sent."""

    def __init__(self, why: PausedError) -> None:
        super().__init__(str(why))
        self.wait_s = why.wait_s


class VenueCallError(Exception):
    """A call that was not accepted, for callers with no use for the verdict's details."""

    def __init__(self, attempt: Attempt[Any]) -> None:
        code = "" if attempt.code is None else f" {attempt.code}"
        super().__init__(f"venue call {attempt.outcome}{code}: {attempt.message}")
        self.attempt = attempt


async def attempt(call: Awaitable[V], parse: Callable[[V], T]) -> Attempt[T]:
    """Await one call of a client made by ``make_client`` and judge how it ended. Only cancellation passes through.

    ``parse`` turns ccxt's reply into the value; a VenueReplyError there (a 200 that makes no sense) is UNKNOWN.
    A call cancelled half-way has an unknown outcome too: the canceller has to treat it so.
    """
    wire = Wire()
    token = current_wire.set(wire)
    try:
        value = parse(await call)
    except Exception as error:  # noqa: BLE001  every way a call can end gets a verdict
        return _verdict(error, wire.last)
    finally:
        current_wire.reset(token)
    return Attempt(Outcome.ACCEPTED, value=value, **_facts(wire.last))


def _verdict(error: Exception, request: Request | None) -> Attempt[Any]:
    if isinstance(error, VenuePausedError):
        return Attempt(Outcome.RATE_LIMITED, message=str(error), retry_after_s=error.wait_s, error=error)
    if request is None:
        return Attempt(Outcome.NOT_SENT, message=_text(error), error=error)
    if request.reply is None:
        return Attempt(_without_reply(error, request), message=_text(error), error=error)
    code, text = binance_error(request.reply.body)
    return Attempt(
        _with_reply(error, request.reply.status, code),
        code=code,
        message=text or _text(error),
        error=error,
        **_facts(request.reply),
    )


def _without_reply(error: Exception, request: Request) -> Outcome:
    cause = error.__cause__
    never_left = isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)
    # Except for POST, aiohttp silently sends again when a kept connection drops, so a failure to connect may follow
    # a request that did arrive.
    return Outcome.NOT_SENT if never_left and request.method == "POST" else Outcome.UNKNOWN


def _with_reply(error: Exception, status: int, code: int | None) -> Outcome:
    if status in SHUT_OUT:
        return Outcome.BANNED
    if status == 429 or code in LOAD_CODES:
        return Outcome.RATE_LIMITED
    # A definite no is a Binance code in a complete reply, and an exception that ccxt made of it; never a 5xx, a timeout
    # reported by a gateway, a body cut short or a reply that ccxt or our parser could not read.
    definite = code is not None and code < 0 and code not in OUTCOME_UNKNOWN_CODES
    readable = isinstance(error, ccxt.BaseError) and not isinstance(error.__cause__, aiohttp.ClientError)
    if definite and readable and status < 500 and status != 408:
        return Outcome.REJECTED
    return Outcome.UNKNOWN


def _facts(source: Request | Reply | None) -> dict[str, Any]:
    reply = source.reply if isinstance(source, Request) else source
    if reply is None:
        return {}
    headers = reply.headers
    return {
        "status": reply.status,
        "retry_after_s": number_in(headers, "retry-after", float),
        "used_weight_1m": number_in(headers, "x-mbx-used-weight-1m", int),
        "order_count_10s": number_in(headers, "x-mbx-order-count-10s", int),
        "order_count_1m": number_in(headers, "x-mbx-order-count-1m", int),
    }


def _text(error: Exception) -> str:
    if isinstance(error, VenueReplyError | ccxt.BaseError):
        return f"{type(error).__name__}: {error}"
    return repr(error)
