"""The part of a kubelet's HTTPS API behind ``kubectl logs``."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web
from tests.cluster.local.layout import NODE_ADDRESS, Cluster
from tests.cluster.node.container import Container

_CHUNK = 65536
_FOLLOW_SECONDS = 0.3

Find = Callable[[str, str, str], Container | None]
"""Namespace, pod and container names -> the container."""


class LogServer:
    """Serves on a free port of the node's address; asks for a certificate of the cluster's CA, as the API server has one."""

    def __init__(self, cluster: Cluster, find: Find) -> None:
        self._cluster = cluster
        self._find = find
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._cluster.ca_file))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._cluster.node_serving_cert, self._cluster.node_serving_key)
        site = web.TCPSite(self._runner, NODE_ADDRESS, 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        where = request.match_info
        container = self._find(where["namespace"], where["pod"], where["container"])
        if container is None or not container.log_file.exists():
            raise web.HTTPNotFound(text=f"container {where['container']} of pod {where['pod']} has no log here\n")
        start, end = container.log_from, None
        if request.query.get("previous") == "true":
            start, end = container.previous_log_from, container.log_from
        reply = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await reply.prepare(request)
        lines = request.query.get("tailLines")
        follow = request.query.get("follow") == "true" and end is None
        async for chunk in _read(container, start, end, None if lines is None else int(lines), follow=follow):
            await reply.write(chunk)
        return reply


async def _read(
    container: Container, start: int, end: int | None, lines: int | None, *, follow: bool
) -> AsyncIterator[bytes]:
    run = container.run_id
    descriptor = os.open(container.log_file, os.O_RDONLY)
    try:
        position = start if lines is None else _last_lines(container.log_file, start, end, lines)
        while True:
            still = container.run_id == run and container.process is not None
            size = _CHUNK if end is None else min(_CHUNK, end - position)
            if data := os.pread(descriptor, size, position):
                position += len(data)
                yield data
            elif follow and still:
                await asyncio.sleep(_FOLLOW_SECONDS)
            else:
                return
    finally:
        os.close(descriptor)


def _last_lines(file: Path, start: int, end: int | None, count: int) -> int:
    """Where the last ``count`` lines between two offsets begin."""
    content = file.read_bytes()[start:end]
    position = len(content)
    if not count:
        return start + position
    position = len(content.removesuffix(b"\n"))
    for _ in range(count):
        position = content.rfind(b"\n", 0, position)
        if position < 0:
            return start
    return start + position + 1
