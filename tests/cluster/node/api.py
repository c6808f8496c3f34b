"""The API server as the node agent needs it: JSON over one TLS session with the node's certificate, and a list-and-watch.

Plain aiohttp instead of the generated client: objects stay the dictionaries they are, and the agent stays small.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

log = logging.getLogger(__name__)

Object = dict[str, Any]
AWAY = (aiohttp.ClientError, TimeoutError, OSError)
"""What a call raises when the API server cannot be reached."""

_WATCH_SECONDS = 300
_SILENCE_SECONDS = 150
"""A watch that says nothing for so long is dead: bookmarks come about once a minute."""
STRATEGIC = "application/strategic-merge-patch+json"


class ApiError(Exception):
    """The API server refused: ``status`` is the HTTP code, ``reason`` the machine's word, e.g. ``NotFound``."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class Api:
    """A session of the node. ``close`` when done."""

    def __init__(self, kubeconfig: Path, scratch: Path) -> None:
        """``scratch``: where the certificate may lie as a file (mode 0600), which Python's TLS insists on."""
        config = yaml.safe_load(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        self.server: str = cluster["server"]
        context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", kubeconfig.parent))
        pair = scratch / "client.pem"
        parts = [_pem(user, name, kubeconfig.parent) for name in ("client-certificate", "client-key")]
        with open(os.open(pair, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join(parts))
        context.load_cert_chain(pair)
        self._session = aiohttp.ClientSession(
            self.server,
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=20),
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: Object | None = None, *, kind: str = "application/json", **query: str
    ) -> Object:
        """Raises ApiError when refused, one of AWAY when the server cannot be reached within 20 s."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "Accept": "application/json"}
        async with self._session.request(method, path, data=data, params=query, headers=headers) as reply:
            if reply.status >= 400:
                raise await _refusal(reply)
            answer: Object = await reply.json()
            return answer

    async def watch(self, path: str, **query: str) -> AsyncIterator[Object]:
        """Events of one watch until the server ends it. Raises as ``call`` does."""
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_SILENCE_SECONDS)
        async with self._session.get(path, params=query, timeout=timeout) as reply:
            if reply.status >= 400:
                raise await _refusal(reply)
            rest = b""
            async for chunk in reply.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def follow(
        self,
        path: str,
        on_list: Callable[[list[Object]], None],
        on_event: Callable[[str, Object], None],
        **query: str,
    ) -> None:
        """Keep somebody informed for ever: ``on_list`` with all there is (again after every loss), ``on_event`` in between.

        Survives the server's absence and silence; what vanished meanwhile is what ``on_list`` does not name.
        """
        pause = 0.05
        while True:
            try:
                found = await self.call("GET", path, None, **query)
                on_list(found.get("items") or [])
                version = found["metadata"]["resourceVersion"]
                pause = 0.05
                while True:
                    version = await self._follow_from(version, path, on_event, query)
            except ApiError as error:
                # 403 also means: the authorizer has not seen yet that a pod of ours uses this object.
                level = logging.INFO if error.status in (403, 410, 504) else logging.WARNING
                log.log(level, "watch of %s %s: %s", path, query, error)
            except AWAY as error:
                log.info("watch of %s lost: %s", path, type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _follow_from(
        self, version: str, path: str, on_event: Callable[[str, Object], None], query: dict[str, str]
    ) -> str:
        async for event in self.watch(path, resourceVersion=version, **query):
            kind, found = event["type"], event["object"]
            if kind == "ERROR":
                raise ApiError(found.get("code", 500), found.get("reason", ""), found.get("message", ""))
            version = str(found["metadata"]["resourceVersion"])
            if kind != "BOOKMARK":
                on_event(kind, found)
        return version


def _pem(fields: Object, name: str, directory: Path) -> str:
    """A certificate or key that a kubeconfig holds inline or names as a file."""
    if inline := fields.get(f"{name}-data"):
        return base64.b64decode(inline).decode()
    return directory.joinpath(str(fields[name])).read_text()


async def _refusal(reply: aiohttp.ClientResponse) -> ApiError:
    text = await reply.text()
    try:
        status = json.loads(text)
        return ApiError(reply.status, status.get("reason", ""), status.get("message", ""))
    except (ValueError, AttributeError):
        return ApiError(reply.status, "", text[:300])
