"""The faulty network of the matrix: what it loses was executed, and what it held back still arrives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.proxy import Link


class Upstream:
    """Answers +DONE to every line, and keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.late = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(line)
            if line == b"LATE\n":
                self.late.set()
            writer.write(b"+DONE\r\n")
        writer.close()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def link(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Link]:
    server = await asyncio.start_unix_server(upstream.serve, tmp_path / "u")
    link = Link(tmp_path / "l", tmp_path / "u", random.Random(1))
    await link.start()
    yield link
    await link.stop()
    server.close()


async def ask(link: Link, line: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(link.path)
    writer.write(line)
    try:
        async with asyncio.timeout(5):
            return await reader.read(100)
    except OSError:
        return b""
    finally:
        writer.close()


async def test_replies_pass_in_slices_and_late_but_whole(link: Link) -> None:
    link.slices, link.delay = True, 0.001
    reader, writer = await asyncio.open_unix_connection(link.path)
    writer.write(b"PING\n" * 40)
    assert await reader.readexactly(280) == b"+DONE\r\n" * 40
    writer.close()
    assert link.happened["sliced"] >= 2


async def test_lost_reply_belongs_to_a_command_that_was_executed(link: Link, upstream: Upstream) -> None:
    link.drop_rate = 1.0
    assert await ask(link, b"XADD\n") != b"+DONE\r\n"
    assert upstream.lines == [b"XADD\n"]
    assert link.happened["dropped"] == 1


async def test_command_held_back_arrives_after_its_sender_has_gone(link: Link, upstream: Upstream) -> None:
    reader, writer = await asyncio.open_unix_connection(link.path)
    writer.write(b"FIRST\n")
    await reader.readline()
    link.blackhole()
    writer.write(b"LATE\n")
    await writer.drain()
    writer.close()
    await asyncio.sleep(0)
    assert upstream.lines == [b"FIRST\n"]
    link.end_blackhole()
    async with asyncio.timeout(5):
        await upstream.late.wait()
    assert upstream.lines == [b"FIRST\n", b"LATE\n"]
