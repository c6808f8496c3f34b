"""HTTP to the components of a desk. Short budgets, nothing repeated here: whoever asks decides whether to ask again."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import msgspec

from breakwater.domain.refusals import RefusalCode
from breakwater.runtime.clocks import InfraClock
from breakwater_operator.verdict.report import (
    BadReport,
    DeskReport,
    Outcome,
    execution_report,
    outcome,
    stop_report,
)
from breakwater_operator.verdict.requests import Request

R = TypeVar("R")

BUDGET_SECONDS = 2.0
MOST_BYTES = 1024 * 1024
STOP, EXECUTION = "emergency-stop", "execution"

Answer = dict[str, Any]
Locate = Callable[["Desk", str], str]
"""The base URL of one component (with dashes) of a desk."""


class Unreachable(Exception):
    """The component did not answer, or said that it cannot yet. Nothing is known about what became of a request."""


@dataclass(frozen=True)
class Desk:
    """A running desk as far as HTTP goes. ``token`` is its bearer token."""

    namespace: str
    policy: str
    uid: str
    token: str = field(repr=False)


def service_url(desk: Desk, component: str) -> str:
    """Through the component's Service."""
    return f"http://{desk.policy}-{component}.{desk.namespace}.svc:8080"


def desk_token(operator_key: str, uid: str) -> str:
    """The bearer token of a desk: HMAC-SHA256 of the policy's uid, hexadecimal (docs/decisions/0007)."""
    return hmac.new(operator_key.encode(), uid.encode(), hashlib.sha256).hexdigest()


class DeskLink:
    """A pool of connections of its own, so that a crowd of requests to the API server never holds up a trip."""

    def __init__(self, clock: InfraClock, locate: Locate = service_url, *, budget: float = BUDGET_SECONDS) -> None:
        self._clock, self._locate, self._budget = clock, locate, budget
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def report(self, desk: Desk) -> DeskReport:
        """What emergency stop and execution say now, both asked at the same time; never raises."""
        asked_at = self._clock.utc_now()
        (stop, stop_problem), (execution, execution_problem) = await asyncio.gather(
            self._look(desk, STOP, "/v1/stop", stop_report),
            self._look(desk, EXECUTION, "/v1/execution", execution_report),
        )
        return DeskReport(
            asked_at=asked_at,
            stop=stop,
            execution=execution,
            stop_problem=stop_problem,
            execution_problem=execution_problem,
        )

    async def ask(self, desk: Desk, request: Request) -> Outcome:
        """Hand a trip or reset to the emergency stop; its one answer. Raises Unreachable when there was none for good."""
        status, data = await self._call("POST", desk, STOP, "/v1/stop/requests", request.body())
        if status == 422:
            # It never will be taken: that is an answer too.
            return Outcome(
                request_id=request.request_id,
                kind=request.kind,
                accepted=False,
                code=RefusalCode.REQUEST_INVALID.value,
                text=f"the emergency stop cannot read this request: {_sentence(data)}; send a new one",
                time=self._clock.utc_now(),
                who=request.who,
            )
        if status not in (200, 409):
            raise Unreachable(f"the emergency stop answers {status}: {_sentence(data)}")
        try:
            said = outcome(data)
        except BadReport as error:
            raise Unreachable(f"the emergency stop: {error}") from error
        if (said.kind, said.request_id) != (request.kind, request.request_id):
            raise Unreachable(f"the emergency stop answers {said.kind.value} {said.request_id}, which was not asked")
        return said

    async def halt(self, desk: Desk, request: Request) -> None:
        """Make execution stop opening anything. Raises Unreachable unless it says that it has."""
        status, data = await self._call("POST", desk, EXECUTION, "/v1/halt", request.halt_body())
        if status != 200 or not _says_halted(data):
            raise Unreachable(f"execution answers {status}: {_sentence(data)}")

    async def _look(self, desk: Desk, component: str, path: str, read: Callable[[bytes], R]) -> tuple[R | None, str]:
        try:
            status, data = await self._call("GET", desk, component, path)
            return (read(data), "") if status == 200 else (None, f"{component} answers {status}: {_sentence(data)}")
        except (Unreachable, BadReport) as error:
            return None, str(error)

    async def _call(
        self, method: str, desk: Desk, component: str, path: str, body: Answer | None = None
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=512, limit_per_host=8, ttl_dns_cache=5),
                trust_env=False,
                # What is packed has no known size.
                auto_decompress=False,
            )
        url = self._locate(desk, component) + path
        try:
            async with (
                asyncio.timeout(self._budget),
                self._session.request(
                    method,
                    url,
                    data=msgspec.json.encode(body) if body is not None else None,
                    headers={
                        "Authorization": f"Bearer {desk.token}",
                        "Content-Type": "application/json",
                        "Accept-Encoding": "identity",
                    },
                    allow_redirects=False,
                ) as answer,
            ):
                data = await answer.content.read(MOST_BYTES)
                while not answer.content.at_eof():
                    data += await answer.content.read(MOST_BYTES)
                    if len(data) > MOST_BYTES:
                        raise Unreachable(f"{component} answers with more than {MOST_BYTES} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or f"no answer within {self._budget:g} s"
            raise Unreachable(f"{component} cannot be reached: {why}") from error
        return answer.status, bytes(data)


def _says_halted(data: bytes) -> bool:
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("halted") is True


def _sentence(data: bytes) -> str:
    """Why, in the component's words."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    if not isinstance(body, dict):
        return data[:200].decode(errors="replace").strip() or "no reason given"
    errors = [f"{e.get('field')}: {e.get('text')}" for e in body.get("errors") or [] if isinstance(e, dict)]
    return str(body.get("text") or body.get("detail") or "; ".join(errors) or "no reason given")[:300]
