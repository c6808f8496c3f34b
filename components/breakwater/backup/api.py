"""``POST /v1/backup``: a backup of a desk that runs, taken in its own event loop (see ``instant``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response

from breakwater.backup.archive import BackupError, encode_backup
from breakwater.backup.facts import mode_of
from breakwater.backup.instant import HeldFile, hold, read
from breakwater.runtime.bearer import bearer_matches

MEDIA_TYPE = "application/x-tar"


def backup_router(root: Path, desk: str, now: Callable[[], datetime], *, token: str) -> APIRouter:
    """The one route. ``root`` is the desk's state directory, ``now`` wall time in UTC. ``token`` must not be empty (ValueError)."""
    if not token:
        raise ValueError("a backup holds the audit's signing key: anybody could take it without a token")
    router = APIRouter(tags=["backup"])

    @router.post("/v1/backup")
    async def backup(authorization: Annotated[str, Header()] = "", recording: bool = False) -> Response:
        """The whole desk as one file. 503 when it cannot be read just now."""
        if not bearer_matches(authorization, token):
            raise HTTPException(401, "send the desk's token as 'Authorization: Bearer TOKEN'")
        try:
            # Not awaited: the instant is one because nothing else in this loop runs meanwhile.
            held, moment = hold(root, recording=recording), now()
            data = await asyncio.to_thread(_encode, held, desk, moment)
        except BackupError as error:
            raise HTTPException(503, str(error)) from None
        return Response(data, media_type=MEDIA_TYPE)

    return router


def _encode(held: list[HeldFile], desk: str, moment: datetime) -> bytes:
    files = read(held)
    return encode_backup(
        files, desk=desk, mode=mode_of(files), time=moment, version=version("breakwater"), running=True
    )
