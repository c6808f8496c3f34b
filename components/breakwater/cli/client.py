"""Talking to the desk that runs on this machine. Every failure to reach it is one sentence and exit code 4."""

from __future__ import annotations

import getpass
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from breakwater.cli.errors import CliError, Exit
from breakwater.desk.rundir import RunningDesk, find_desk
from breakwater.runtime.unreadable import UNREADABLE

if TYPE_CHECKING:
    import httpx

ANSWER_SECONDS, CONNECT_SECONDS = 10.0, 2.0


class DeskClient:
    """The running desk of one state directory. Raises NoDeskRuns when made, CliError on use."""

    def __init__(self, state_dir: Path, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.state_dir = state_dir
        self.desk: RunningDesk = find_desk(state_dir)
        self._transport = transport

    async def get(self, path: str) -> httpx.Response:
        return await self._send("GET", path)

    async def post(
        self, path: str, *, json: Any = None, content: bytes | None = None, params: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self._send("POST", path, json=json, content=content, params=params)

    async def status(self) -> dict[str, Any]:
        answer = await self.get("/v1/status")
        if answer.status_code != 200:
            raise self.unexpected(answer)
        return body_of(answer)

    async def _send(self, method: str, path: str, **parts: Any) -> httpx.Response:
        import httpx

        record = self.desk.record
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {self.desk.token}"}
        try:
            # The desk is on this machine: a proxy from the environment would only stand in between.
            async with httpx.AsyncClient(
                base_url=record.url, timeout=timeout, headers=headers, trust_env=False, transport=self._transport
            ) as client:
                answer = await client.request(method, path, **parts)
        except httpx.TimeoutException as error:
            problem = f"The desk (pid {record.pid}) took too long to answer at {record.url}{path}."
            raise CliError(
                Exit.UNREACHABLE,
                problem,
                "Try again; if it hangs, stop it with Ctrl-C where it runs and start it again: it goes on where it was.",
            ) from error
        except httpx.HTTPError as error:
            problem = f"The desk (pid {record.pid}) does not answer at {record.url}: {error}."
            raise CliError(
                Exit.UNREACHABLE, problem, "Look at its terminal; start it again with: breakwater up"
            ) from error
        if answer.status_code in (401, 403):
            problem = f"The desk at {record.url} does not take the token in {self.state_dir / 'token'}."
            raise CliError(
                Exit.UNREACHABLE, problem, "Use the state directory that this desk was started with: --state-dir DIR."
            )
        return answer

    def unexpected(self, answer: httpx.Response) -> CliError:
        """For an answer no command knows what to do with."""
        return CliError(
            Exit.UNREACHABLE,
            f"The desk answered {answer.request.method} {answer.request.url.path} with {answer.status_code}: {sentences(answer)[0]}",
            "Are the desk and this command of the same version? See: breakwater --version",
        )


def body_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object in ``answer``; an empty one if there is none."""
    try:
        found = msgspec.json.decode(answer.content)
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def sentences(answer: httpx.Response) -> list[str]:
    """What an error answer says, whichever of the desk's interfaces it came from; at least one line."""
    body = body_of(answer)
    lines = []
    for entry in body.get("errors") or []:
        if isinstance(entry, dict):
            where = f"line {entry['line']}: " if entry.get("line") else ""
            field = f"{entry['field']} " if entry.get("field") else ""
            remedy = f": {entry['remedy']}" if entry.get("remedy") else ""
            lines.append(f"{where}{field}{entry.get('problem') or entry.get('text') or ''}{remedy}".strip())
    if not lines:
        told = (
            body.get("text")
            or body.get("error")
            or body.get("detail")
            or answer.text[:300].strip()
            or "no reason given"
        )
        lines = [str(told)]
    if body.get("code"):
        lines[0] = f"{body['code']}: {lines[0]}"
    return lines


def request_id() -> str:
    """Unique for each call of a command, so that asking twice is two requests and a resend is one."""
    return f"cli-{uuid.uuid4().hex[:16]}"


def who() -> str:
    """The person at the keyboard, as the system knows them."""
    try:
        return f"{getpass.getuser()} (cli)"
    except (KeyError, OSError):  # no such user in this container
        return "cli"
