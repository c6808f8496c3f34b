"""A proxy between a bus and its server that fails as networks do. What it loses, the server has executed.

A stream never loses a piece in its middle: a lost reply takes all that follows on its connection with it, whether the connection
is closed at once or stays open and silent.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis


class Link:
    """Listens at ``path``, a Unix socket, and passes on to ``upstream``. The faults may be set at any time."""

    def __init__(self, path: Path, upstream: Path, rng: random.Random) -> None:
        self.path = path
        self.drop_rate = 0.0
        """Share of replies that are lost after the command was executed."""
        self.delay = 0.0
        """Most seconds by which each piece is late."""
        self.slices = False
        self.happened: collections.Counter[str] = collections.Counter()
        self._upstream = upstream
        self._rng = rng
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.heal()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Break every connection."""
        for writer in list(self._writers):
            self.happened["reset"] += 1
            writer.transport.abort()

    def blackhole(self) -> None:
        """From now on nothing gets through, and nobody is told. What is on its way arrives later, wanted or not."""
        self.happened["blackhole"] += 1
        self._open.clear()

    def end_blackhole(self) -> None:
        self._open.set()

    def heal(self) -> None:
        self.drop_rate = self.delay = 0.0
        self.slices = False
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._open.wait()
            try:
                up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
            except OSError:
                self.happened["refused"] += 1
                return
            up = asyncio.ensure_future(self._requests(reader, up_writer, writer))
            down = asyncio.ensure_future(self._replies(up_reader, writer))
            self._tasks |= {up, down}
            try:
                if await down:
                    await up
                # The server is gone, or the reply was lost aloud; what the client still sent may go through.
                writer.transport.abort()
                await up
            finally:
                for part in (up, down):
                    part.cancel()
                    self._tasks.discard(part)
                up_writer.transport.abort()
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not self._open.is_set():
                    await self._open.wait()
                    if client.transport.is_closing() or reader.at_eof():
                        self.happened["late"] += 1
                await self._pass_on(data, upstream)
        with contextlib.suppress(OSError, RuntimeError):
            upstream.write_eof()

    async def _replies(self, upstream: asyncio.StreamReader, client: asyncio.StreamWriter) -> bool:
        """Until there are no more, or one is lost. True: the connection then stays open, and silent."""
        parser = hiredis.Reader()
        with contextlib.suppress(OSError):
            while data := await upstream.read(65536):
                await self._open.wait()
                replies = list(self._parsed(parser, data))
                self.happened["reply"] += len(replies)
                if any(self._rng.random() < self._rate(reply) for reply in replies):
                    return await self._lose(data, client)
                await self._pass_on(data, client)
        return False

    async def _lose(self, data: bytes, client: asyncio.StreamWriter) -> bool:
        self.happened["dropped"] += 1
        kept = data[: self._rng.randrange(len(data))] if self._rng.random() < 0.3 else b""
        if kept:
            self.happened["torn"] += 1
            await self._pass_on(kept, client)
        silent = self._rng.random() < 0.1
        self.happened["silent"] += silent
        return silent

    def _rate(self, reply: object) -> float:
        """Greetings get through more often, or few connections would live to see anything else."""
        greeting = reply == b"OK" or (isinstance(reply, dict) and b"proto" in reply)
        return self.drop_rate / 5 if greeting else self.drop_rate

    @staticmethod
    def _parsed(parser: hiredis.Reader, data: bytes) -> Iterator[object]:
        parser.feed(data)
        while (reply := parser.gets()) is not False:
            yield reply

    async def _pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay:
            self.happened["delayed"] += 1
            await asyncio.sleep(self._rng.uniform(0, self.delay))
        if self.slices:
            self.happened["sliced"] += 1
            head, data = data[:600], data[600:]
            while head:
                size = self._rng.randint(1, 60)
                writer.write(head[:size])
                head = head[size:]
                await writer.drain()
                await asyncio.sleep(0)
        if data:
            writer.write(data)
            await writer.drain()
