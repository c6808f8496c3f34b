"""``POST /v1/signals``: a user's own model drives the desk."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from breakwater.ai_engine.service import AiEngine, SignalRefused
from breakwater.ai_engine.submission import BadSignal, FieldProblem, SubmittedSignal, parse_signal
from breakwater.domain.ids import Symbol
from breakwater.runtime.bearer import bearer_matches
from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.clocks import MarketClock

MOST_BODY_BYTES = 16_384
REMEMBERED_IDS = 10_000
FUTURE_TOLERANCE = timedelta(seconds=5)


def signals_router(engine: AiEngine, clock: MarketClock, *, token: str) -> APIRouter:
    """The route, protected by ``Authorization: Bearer <token>``. Raises ValueError for an empty token.

    202 with ``signal_id``: published to the risk manager, which may still refuse it. Sending the same ``id`` again is
    answered the same and not published again. 401, 409 (an id with other content), 413, 422 (every field in question
    with its remedy), 503 (the bus is away: nothing was taken, send again).
    """
    if not token:
        raise ValueError("a token is needed: without one anybody could drive the desk")
    taken: OrderedDict[str, tuple[str, SubmittedSignal]] = OrderedDict()
    router = APIRouter()

    @router.post("/v1/signals", status_code=202)
    async def submit(request: Request) -> JSONResponse:
        if not bearer_matches(request.headers.get("authorization"), token):
            return _error(401, "send the desk's token as 'Authorization: Bearer <token>'")
        body = await _body(request)
        if body is None:
            return _error(413, f"a signal has at most {MOST_BODY_BYTES} bytes")
        try:
            signal = parse_signal(body)
            time = _time(signal, engine, clock)
        except BadSignal as error:
            return JSONResponse({"errors": msgspec.to_builtins(error.problems)}, 422)
        signal_id = _signal_id(signal, time)
        if (before := taken.get(signal_id)) is not None:
            if before[1] != signal:
                return _error(409, f"id {signal.id!r} was used for another signal: give each signal its own id")
            return _accepted(signal_id, duplicate=True)
        taken[signal_id] = (signal_id, signal)  # before the await: two requests at once are one signal
        try:
            await engine.submit(
                signal.opinion(time=time), source=f"http:{signal.source}", models=signal.models, signal_id=signal_id
            )
        except (BusUnavailable, SignalRefused) as error:
            del taken[signal_id]
            if isinstance(error, SignalRefused):
                return _error(409, str(error))
            return _error(503, f"the event bus did not take the signal ({error}): send it again when Redis answers")
        while len(taken) > REMEMBERED_IDS:
            taken.popitem(last=False)
        return _accepted(signal_id, duplicate=False)

    return router


async def _body(request: Request) -> bytes | None:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return None
    return body


def _time(signal: SubmittedSignal, engine: AiEngine, clock: MarketClock) -> datetime:
    if Symbol(signal.symbol) not in engine.symbols:
        known = ", ".join(sorted(engine.symbols)) or "none yet: no policy is in force"
        raise BadSignal([FieldProblem("symbol", f"{signal.symbol} is not traded by this desk", f"one of {known}")])
    now = clock.now()
    if signal.time is None:
        return now
    if signal.time > now + FUTURE_TOLERANCE:
        raise BadSignal([FieldProblem("time", f"lies in the future: market time is {now.isoformat()}", "leave it out")])
    if now >= signal.time + timedelta(seconds=signal.horizon_seconds):
        raise BadSignal(
            [FieldProblem("time", f"is expired: market time is {now.isoformat()}", "a fresh time, or leave it out")]
        )
    return signal.time


def _signal_id(signal: SubmittedSignal, time: datetime) -> str:
    """Deterministic: the sender's id, or a digest of the content and time."""
    if signal.id is not None:
        return f"http:{signal.source}:{signal.id}"
    content = f"{signal.model_dump_json(exclude={'time', 'id'})}@{time.isoformat()}"
    return f"http:{signal.source}:{hashlib.sha256(content.encode()).hexdigest()[:20]}"


def _accepted(signal_id: str, *, duplicate: bool) -> JSONResponse:
    return JSONResponse({"signal_id": signal_id, "duplicate": duplicate}, 202)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"errors": [{"field": "", "problem": message, "remedy": ""}]}, status)
