"""Between a venue and its transports: takes decisions to requests, messages and instants. Transports carry out what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from breakwater.paper_venue.core import PaperVenue, Response
from breakwater.paper_venue.faults.catalogue import (
    REQUEST_FAULTS,
    Family,
    Fault,
    RequestFault,
    Transmission,
)
from breakwater.paper_venue.faults.decide import FaultDecider, Seen
from breakwater.paper_venue.faults.instants import Instants
from breakwater.paper_venue.faults.plan import FaultPlan, FaultRule
from breakwater.paper_venue.model import Now
from breakwater.paper_venue.params import parse_params

Stream = TypeVar("Stream")
Later = Callable[[float, Callable[[], None]], object]
"""Do something after so many seconds: a transport's own clock."""


class Reply(Protocol):
    """What a venue answers."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


Handle = Callable[[str, str, str, Mapping[str, str], bytes, Now], Reply]
Opener = Callable[[str, Now, Callable[[str], None], Callable[[], None]], Stream]

_IDS = ("orderId", "clientOrderId", "algoId", "clientAlgoId")
REORDER_WAIT_S = 1.0
"""How long a message waits for another to overtake it, unless the plan says otherwise."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A reply and what becomes of it: sent after ``delay_s``, as ``transmission`` says."""

    response: Reply
    transmission: Transmission = Transmission.WHOLE
    delay_s: float = 0.0


class FaultWire:
    """One venue with its plan. Without rules everything passes untouched."""

    def __init__(self, venue: PaperVenue) -> None:
        self._decider = FaultDecider()
        self._instants = Instants(venue)
        self._shown: dict[tuple[str, str], Reply] = {}
        """The last good reply to each GET, by path and symbol."""

    def load(self, plan: FaultPlan, now: Now) -> None:
        """Add a plan's rules; their times count from now."""
        self._decider.load(plan, now.wall_ms)
        self.pass_time(now)

    def clear(self, now: Now) -> None:
        """No more faults; what lasts is undone, what has happened stays."""
        for rule in self._decider.clear():
            self._instants.end(rule, now)

    def report(self) -> list[tuple[FaultRule, int, int]]:
        """Each rule, how often it matched, and how often it happened."""
        return self._decider.report()

    def pass_time(self, now: Now) -> None:
        """Commit what is due by itself. Transports call it with every request, the market with every tick."""
        due = self._decider.due(now.wall_ms)
        for rule in due.begins:
            self._instants.begin(rule, now)
        for rule in due.ends:
            self._instants.end(rule, now)

    # ------------------------------------------------------------------------------------------------ requests

    def deliver(
        self, handle: Handle, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now: Now
    ) -> Delivery:
        """Have ``handle`` answer one request, or not, and say what becomes of the reply."""
        self.pass_time(now)
        rule = None
        seen = _seen(method, path, query, body)
        if self._decider.watches(Family.REQUEST):
            rule = self._decider.request(seen, now.wall_ms)
        if rule is None:
            answered = handle(method, path, query, headers, body, now)
            if method == "GET" and answered.status == HTTPStatus.OK:
                self._shown[seen.path, seen.symbol] = answered
            return Delivery(answered)
        fault = REQUEST_FAULTS[rule.fault]
        executes = fault.executes if rule.executed is None else rule.executed
        real = handle(method, path, query, headers, body, now) if executes else None
        if rule.fault is Fault.STALE_READ and method == "GET":
            real = self._shown.get((seen.path, seen.symbol), real)
        return Delivery(_reply(rule, fault, real), fault.transmission, rule.delay_s or 0.0)

    # ------------------------------------------------------------------------------------------------ streams

    def open_stream(
        self,
        opener: Opener[Stream],
        path_with_query: str,
        on_message: Callable[[str], None],
        on_close: Callable[[], None],
        *,
        later: Later,
        clock: Callable[[], Now],
    ) -> Stream:
        """Have ``opener`` open a stream whose messages may be lost, late or twice."""
        now = clock()
        self.pass_time(now)
        shaper = _Shaper(self._decider, urlsplit(path_with_query).path, on_message, later, clock)
        return opener(path_with_query, now, shaper.take, on_close)


class _Shaper:
    """One connection's messages."""

    def __init__(
        self,
        decider: FaultDecider,
        path: str,
        send: Callable[[str], None],
        later: Later,
        clock: Callable[[], Now],
    ) -> None:
        self._decider = decider
        self._path = path
        self._send = send
        self._later = later
        self._clock = clock
        self._held: list[str] = []

    def take(self, text: str) -> None:
        rule = None
        if self._decider.watches(Family.EVENT):
            rule = self._decider.message(_seen_message(self._path, text), self._clock().wall_ms)
        if rule is None:
            self._send(text)
            self._release()
            return
        match rule.fault:
            case Fault.EVENT_DUPLICATED:
                self._send(text)
                self._send(text)
                self._release()
            case Fault.EVENT_DELAYED:
                self._later(rule.delay_s or 0.0, lambda: self._send(text))
            case Fault.EVENT_REORDERED:
                self._held.append(text)
                self._later(REORDER_WAIT_S if rule.delay_s is None else rule.delay_s, self._release)
            case _:
                pass  # lost, or the stream is silent

    def _release(self) -> None:
        held, self._held = self._held, []
        for text in held:
            self._send(text)


def _seen(method: str, path: str, query: str, body: bytes) -> Seen:
    try:
        params = parse_params(query, body)
    except Exception:  # noqa: BLE001 - what is wrong with it is for the venue to say
        return Seen(path, method=method)
    names = ("newClientOrderId", "clientAlgoId", "origClientOrderId")
    client_id = next((params[name] for name in names if params.get(name)), "")
    return Seen(path, params.get("symbol", ""), client_id, method)


def _seen_message(path: str, text: str) -> Seen:
    message = msgspec.json.decode(text)
    if isinstance(message, dict) and "data" in message:
        message = message["data"]
    if not isinstance(message, dict):
        return Seen(path)
    order: Any = message.get("o")
    fields: dict[str, Any] = order if isinstance(order, dict) else message
    client_id = fields.get("c") or fields.get("caid") or ""
    return Seen(path, _text(fields.get("s")), _text(client_id), event=_text(message.get("e")))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _reply(rule: FaultRule, fault: RequestFault, real: Reply | None) -> Reply:
    headers = {"Content-Type": "application/json"}
    if real is not None:
        headers |= {name: value for name, value in real.headers.items() if name.startswith("X-MBX")}
    if fault.says_retry_after:
        headers["Retry-After"] = str(5 if rule.retry_after_s is None else rule.retry_after_s)
    if fault.strips_ids and real is not None:
        return Response(real.status, headers, _without_ids(real.body))
    if rule.fault is Fault.REJECTED:
        return Response(400, headers, msgspec.json.encode({"code": rule.code, "msg": rule.text or "Rejected."}))
    if fault.status is None:
        return real or Response(200, headers, b"")
    return Response(fault.status, headers, fault.content)


def _without_ids(body: bytes) -> bytes:
    reply = msgspec.json.decode(body)
    if isinstance(reply, dict):
        reply = {name: value for name, value in reply.items() if name not in _IDS}
    return msgspec.json.encode(reply)
