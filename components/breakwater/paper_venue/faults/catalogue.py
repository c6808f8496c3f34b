"""Every fault the paper venue can commit: what its own side does, and what the client gets to see of it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


class Fault(enum.StrEnum):
    """The names used in fault plans."""

    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    HANG = "hang"
    TRUNCATED = "truncated"
    HTML = "html"
    EMPTY = "empty"
    NO_ORDER_ID = "no_order_id"
    UNKNOWN_503 = "unknown_503"
    UNAVAILABLE_503 = "unavailable_503"
    BUSY_1008 = "busy_1008"
    GATEWAY_504 = "gateway_504"
    TIMEOUT_1007 = "timeout_1007"
    TIMEOUT_408 = "timeout_408"
    ERROR_1000 = "error_1000"
    ERROR_1001 = "error_1001"
    ERROR_1006 = "error_1006"
    RATE_LIMITED_429 = "rate_limited_429"
    BANNED_418 = "banned_418"
    FORBIDDEN_403 = "forbidden_403"
    WEIGHT_1003 = "weight_1003"
    ORDERS_1015 = "orders_1015"
    CLOCK_1021 = "clock_1021"
    KEY_2015 = "key_2015"
    KEY_2014 = "key_2014"
    REJECTED = "rejected"
    SLOW_REPLY = "slow_reply"
    STALE_READ = "stale_read"

    EVENT_LOST = "event_lost"
    EVENT_DUPLICATED = "event_duplicated"
    EVENT_DELAYED = "event_delayed"
    EVENT_REORDERED = "event_reordered"
    STREAM_SILENT = "stream_silent"

    STREAM_CLOSED = "stream_closed"
    LISTEN_KEY_EXPIRED = "listen_key_expired"
    LISTEN_KEY_DEAD = "listen_key_dead"
    FILTER_CHANGED = "filter_changed"
    SYMBOL_HALTED = "symbol_halted"
    PRICE_GAP = "price_gap"
    COUNTDOWN_CANCELS_ALGO = "countdown_cancels_algo"

    @property
    def family(self) -> Family:
        if self in REQUEST_FAULTS:
            return Family.REQUEST
        return Family.EVENT if self in EVENT_FAULTS else Family.INSTANT


class Family(enum.Enum):
    """What a fault befalls: a request, a message of a stream, or the venue at an instant."""

    REQUEST = "request"
    EVENT = "stream message"
    INSTANT = "instant"


class Transmission(enum.Enum):
    """What becomes of a reply on its way."""

    WHOLE = "whole"
    RESET = "reset"
    """The connection breaks before the first byte."""
    CUT = "cut"
    """The connection breaks in the middle of the body."""
    NEVER = "never"
    """The connection stays open and nothing comes."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """How a request goes wrong. ``status`` None: the venue's own reply, with its ids left out if ``strips_ids``."""

    means: str
    executes: bool
    ambiguous: bool = False
    """The client cannot tell whether it was executed: a plan may say either (``executed``)."""
    status: int | None = None
    content: bytes = b""
    transmission: Transmission = Transmission.WHOLE
    strips_ids: bool = False
    says_retry_after: bool = False


def _error(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": message})


_BUSY = "Server is currently overloaded with other requests. Please try again in a few minutes."
_WEIGHT = "Too many requests; current limit is 2400 request weight per minute."

REQUEST_FAULTS: Mapping[Fault, RequestFault] = {
    Fault.RESET_BEFORE: RequestFault(
        "the connection breaks before the venue sees the request", executes=False, transmission=Transmission.RESET
    ),
    Fault.RESET_AFTER: RequestFault(
        "the venue did it; the connection breaks before the reply", executes=True, transmission=Transmission.RESET
    ),
    Fault.HANG: RequestFault(
        "the connection stays open and no reply comes", executes=True, ambiguous=True, transmission=Transmission.NEVER
    ),
    Fault.TRUNCATED: RequestFault(
        "the venue did it; the 200 breaks off in the middle of its body", executes=True, transmission=Transmission.CUT
    ),
    Fault.HTML: RequestFault(
        "200 with a page of HTML",
        executes=True,
        ambiguous=True,
        status=200,
        content=b"<html><body>Please wait</body></html>",
    ),
    Fault.EMPTY: RequestFault("200 with an empty body", executes=True, ambiguous=True, status=200),
    Fault.NO_ORDER_ID: RequestFault("the venue did it; its reply lacks every id", executes=True, strips_ids=True),
    Fault.UNKNOWN_503: RequestFault(
        '503 "Unknown error"',
        executes=True,
        ambiguous=True,
        status=503,
        content=b'{"msg":"Unknown error, please check your request or try again later."}',
    ),
    Fault.UNAVAILABLE_503: RequestFault(
        '503 "Service Unavailable.": not done', executes=False, status=503, content=b'{"msg":"Service Unavailable."}'
    ),
    Fault.BUSY_1008: RequestFault("503 with -1008: not done", executes=False, status=503, content=_error(-1008, _BUSY)),
    Fault.GATEWAY_504: RequestFault(
        "504 of a gateway",
        executes=True,
        ambiguous=True,
        status=504,
        content=b"<html><h1>504 Gateway Time-out</h1></html>",
    ),
    Fault.TIMEOUT_1007: RequestFault(
        "400 with -1007, the back end's timeout",
        executes=True,
        ambiguous=True,
        status=400,
        content=_error(
            -1007,
            "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
        ),
    ),
    Fault.TIMEOUT_408: RequestFault(
        "408 without a code", executes=True, ambiguous=True, status=408, content=b"Request Timeout"
    ),
    Fault.ERROR_1000: RequestFault(
        "400 with -1000",
        executes=True,
        ambiguous=True,
        status=400,
        content=_error(-1000, "An unknown error occurred while processing the request."),
    ),
    Fault.ERROR_1001: RequestFault(
        "400 with -1001",
        executes=True,
        ambiguous=True,
        status=400,
        content=_error(-1001, "Internal error; unable to process your request. Please try again."),
    ),
    Fault.ERROR_1006: RequestFault(
        "400 with -1006",
        executes=True,
        ambiguous=True,
        status=400,
        content=_error(-1006, "An unexpected response was received from the message bus. Execution status unknown."),
    ),
    Fault.RATE_LIMITED_429: RequestFault(
        "429 with Retry-After", executes=False, status=429, content=_error(-1003, _WEIGHT), says_retry_after=True
    ),
    Fault.BANNED_418: RequestFault(
        "418 with Retry-After: the address is banned",
        executes=False,
        status=418,
        content=_error(-1003, "Way too many requests; IP banned. Please use the websocket for live updates."),
        says_retry_after=True,
    ),
    Fault.FORBIDDEN_403: RequestFault(
        "403 with a page of HTML: shut out by the firewall",
        executes=False,
        status=403,
        content=b"<html><h1>403 Forbidden</h1></html>",
    ),
    Fault.WEIGHT_1003: RequestFault("400 with -1003", executes=False, status=400, content=_error(-1003, _WEIGHT)),
    Fault.ORDERS_1015: RequestFault(
        "400 with -1015",
        executes=False,
        status=400,
        content=_error(-1015, "Too many new orders; current limit is 300 orders per 10 seconds."),
    ),
    Fault.CLOCK_1021: RequestFault(
        "400 with -1021, as with a clock that is off",
        executes=False,
        status=400,
        content=_error(-1021, "Timestamp for this request is outside of the recvWindow."),
    ),
    Fault.KEY_2015: RequestFault(
        "401 with -2015: key, address or permission",
        executes=False,
        status=401,
        content=_error(-2015, "Invalid API-key, IP, or permissions for action."),
    ),
    Fault.KEY_2014: RequestFault(
        "401 with -2014: the key's form", executes=False, status=401, content=_error(-2014, "API-key format invalid.")
    ),
    Fault.REJECTED: RequestFault("400 with `code` and `text` of the plan", executes=False, status=400),
    Fault.SLOW_REPLY: RequestFault(
        "the venue did it; the reply comes `delay_s` later, after the user events", executes=True
    ),
    Fault.STALE_READ: RequestFault(
        "a GET shows once more what the last one of its path and symbol showed: the venue's reading side lags",
        executes=True,
    ),
}

EVENT_FAULTS: Mapping[Fault, str] = {
    Fault.EVENT_LOST: "the message never comes",
    Fault.EVENT_DUPLICATED: "the message comes twice",
    Fault.EVENT_DELAYED: "the message comes `delay_s` late; later ones overtake it",
    Fault.EVENT_REORDERED: "the message comes after the next one, at the latest after `delay_s`",
    Fault.STREAM_SILENT: "the connection stays open and nothing comes any more",
}

INSTANT_FAULTS: Mapping[Fault, str] = {
    Fault.STREAM_CLOSED: "every stream is closed by the venue",
    Fault.LISTEN_KEY_EXPIRED: "every listen key ends; its connections get `listenKeyExpired` and then nothing",
    Fault.LISTEN_KEY_DEAD: "every listen key ends without a word; its connections stay open and silent",
    Fault.FILTER_CHANGED: "the symbol's `tick_size`, `step_size` or `min_notional` change",
    Fault.SYMBOL_HALTED: "the symbol takes no orders (-4108) until `to_s`",
    Fault.PRICE_GAP: "the symbol's price jumps to `factor` times what it is, and stays there until `to_s`",
    Fault.COUNTDOWN_CANCELS_ALGO: "countdownCancelAll cancels conditional orders too, until `to_s`",
}


def meaning(fault: Fault) -> str:
    """One sentence for the reference page."""
    if fault in REQUEST_FAULTS:
        return REQUEST_FAULTS[fault].means
    return EVENT_FAULTS.get(fault) or INSTANT_FAULTS[fault]
