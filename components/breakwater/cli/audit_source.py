"""Where ``breakwater audit`` reads from: a desk on this machine, a desk behind a URL, or files of a volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from breakwater.cli.client import ANSWER_SECONDS, CONNECT_SECONDS, DeskClient, sentences
from breakwater.cli.errors import CliError, Exit
from breakwater.cli.options import readable
from breakwater.runtime.unreadable import UNREADABLE

if TYPE_CHECKING:
    import httpx

    from breakwater.domain.stop_head import StopHead
    from breakwater.emergency_stop.latch import LatchContent

MOST_BYTES = 1 << 20
"""Of a kept head: whatever is larger is something else."""


class Trail(msgspec.Struct, frozen=True):
    """An audit and what came with it."""

    data: bytes
    where: str
    head: StopHead | None = None
    unsigned_because: str = ""
    latch: LatchContent | None = None


class AuditSource:
    """One place to read from. Raises CliError on use."""

    def __init__(self, file: Path | None, url: str | None, token_file: Path | None, state_dir: Path) -> None:
        if file is not None and url is not None:
            raise CliError(Exit.USAGE, "--file and --url exclude each other.", "Give one of them.")
        if (url is None) is not (token_file is None):
            raise CliError(Exit.USAGE, "--url and --token-file belong together.", "Give both, or none of them.")
        self._file, self._url, self._token_file, self._state_dir = file, url, token_file, state_dir

    async def read(self) -> Trail:
        if self._file is not None:
            return _from_files(readable(self._file, "--file"))
        if self._url is not None and self._token_file is not None:
            token = readable(self._token_file, "--token-file").read_text(encoding="utf-8", errors="replace").strip()
            base = self._url.rstrip("/")
            return await _from_desk(lambda path: _get(base + path, token), base)
        desk = DeskClient(self._state_dir)
        return await _from_desk(desk.get, desk.desk.record.url)


async def _from_desk(get: Callable[[str], Any], where: str) -> Trail:
    """The head first: what is recorded meanwhile comes after it, which is no fault."""
    told = await _checked(get, "/v1/audit/head", where)
    audit = await _checked(get, "/v1/audit", where)
    try:
        answer = msgspec.json.decode(told.content)
        found = next(_heads_in(answer), None)
        problem = str(answer.get("problem") or "")
    except (*UNREADABLE, AttributeError, ValueError) as error:
        raise CliError(Exit.UNREACHABLE, f"{where} does not answer as an emergency stop: {error}", _VERSIONS) from error
    return Trail(audit.content, where, found, problem)


async def _checked(get: Callable[[str], Any], path: str, where: str) -> httpx.Response:
    answer: httpx.Response = await get(path)
    if answer.status_code == 200:
        return answer
    raise CliError(Exit.UNREACHABLE, f"{where}{path} answered {answer.status_code}: {sentences(answer)[0]}", _VERSIONS)


async def _get(url: str, token: str = "") -> httpx.Response:
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    try:
        async with httpx.AsyncClient(timeout=timeout, headers=headers, trust_env=False) as client:
            return await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CliError(Exit.UNREACHABLE, f"{url} does not answer: {error}.", "Check address and connection.") from error


def _from_files(path: Path) -> Trail:
    """The audit, and beside it the latch and the signed head where they are."""
    from breakwater.emergency_stop.heads import HEAD_FILE
    from breakwater.emergency_stop.latch import COPY, FILE, decode_latch

    latches = []
    for name in (FILE, COPY):
        if (path.parent / name).is_file():
            try:
                latches.append(decode_latch((path.parent / name).read_bytes()))
            except ValueError as error:
                raise CliError(
                    Exit.USAGE, f"{path.parent / name}: {error}", "Copy the audit alone to check it without its latch."
                ) from error
    beside = path.parent / HEAD_FILE
    head = next(iter(heads_from(str(beside), bytes)), None) if beside.is_file() else None
    latch = max(latches, key=lambda each: each.rank) if latches else None
    return Trail(path.read_bytes(), str(path), head, "", latch)


def heads_from(where: str, stdin: Callable[[], bytes]) -> list[StopHead]:
    """Every head in a file, at a URL or on stdin (``-``). Raises CliError when there is none."""
    import asyncio

    if where == "-":
        data = stdin()
    elif where.startswith(("http://", "https://")):
        data = asyncio.run(_get(where)).content
    else:
        data = readable(Path(where), "--head").read_bytes()
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data)} bytes are too many for a head")
        found = list(_heads_in(msgspec.json.decode(data)))
    except (*UNREADABLE, ValueError) as error:
        raise CliError(Exit.USAGE, f"--head {where}: this is no head of an audit: {error}", _KEEP) from error
    if not found:
        raise CliError(Exit.USAGE, f"--head {where}: there is no head in it.", _KEEP)
    return found


def _heads_in(value: object) -> Iterator[StopHead]:
    """A head, an answer that carries one, what `verify --json` printed, or an EmergencyStop resource. Raises ValueError."""
    from breakwater.emergency_stop.heads import decode_head

    if isinstance(value, list):
        for each in value:
            yield from _heads_in(each)
    elif isinstance(value, dict) and {"number", "hash"} <= value.keys():
        yield decode_head(msgspec.json.encode(value))
    elif isinstance(value, dict):
        for key in ("head", "auditHeads", "status", "items"):
            yield from _heads_in(value.get(key))


_VERSIONS = "Are the desk and this command of the same version? See: breakwater --version"
_KEEP = "Keep one like this: breakwater audit verify --json > kept-head.json"
