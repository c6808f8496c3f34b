"""One command at a time on connections of our own: what a broken, cancelled or stale one means for the next command."""

from __future__ import annotations

import asyncio

import pytest

from breakwater.runtime.redis_client import LOST, RedisClient
from breakwater.runtime.valkey_server import EmbeddedServer


async def cut(server: EmbeddedServer) -> None:
    """Close every connection there is, as a restarted server or a firewall does."""
    other = RedisClient(server.url, socket_timeout=5)
    await other.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await other.close()
    await asyncio.sleep(0.05)


async def test_cancelled_command_leaves_no_reply_for_the_next_one(client: RedisClient) -> None:
    await client.run("SET", "answer", "42")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.run("BLPOP", "nothing", 1)
        assert await client.run("GET", "answer") == b"42"


async def test_commands_at_once_get_each_their_own_reply(client: RedisClient) -> None:
    replies = await asyncio.gather(*(client.run("ECHO", str(number)) for number in range(50)))
    assert replies == [str(number).encode() for number in range(50)]


async def test_refused_command_leaves_the_connection_usable(client: RedisClient) -> None:
    await client.run("SET", "word", "x")
    with pytest.raises(LOST, match="not an integer"):
        await client.run("INCR", "word")
    assert await client.run("GET", "word") == b"x"


async def test_connection_cut_while_idle_is_replaced_unnoticed(server: EmbeddedServer, client: RedisClient) -> None:
    for _ in range(3):
        assert await client.run("PING")
        await cut(server)
    assert await client.run("PING")


async def test_connection_cut_while_waiting_for_a_reply_raises_once_and_then_works(
    server: EmbeddedServer, client: RedisClient
) -> None:
    waiting = asyncio.ensure_future(client.run("BLPOP", "nothing", 3))
    await asyncio.sleep(0.05)
    await cut(server)
    with pytest.raises(LOST):
        await waiting
    assert await client.run("PING")


async def test_command_that_gets_no_answer_in_time_raises_and_the_next_one_gets_its_own(server: EmbeddedServer) -> None:
    impatient = RedisClient(server.url, socket_timeout=0.2)
    with pytest.raises(LOST):
        await impatient.run("BLPOP", "nothing", 1)
    assert await impatient.run("ECHO", "mine") == b"mine"
    await impatient.close()


async def test_reply_that_comes_after_its_command_is_not_read_as_the_next_ones() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As a proxy may: the refusal of a command, and later the server's reply to it all the same."""
        while line := await reader.readline():
            words = [(await reader.readline(), await reader.readline())[1] for _ in range(int(line[1:]))]
            match words[0].strip():
                case b"HELLO":
                    writer.write(b"%1\r\n+proto\r\n:3\r\n")
                case b"ECHO":
                    writer.write(b"$%d\r\n%s" % (len(words[1]) - 2, words[1]))
                case b"GET":
                    writer.write(b"-ERR too slow\r\n$4\r\nlate\r\n")
                case _:
                    writer.write(b"+OK\r\n")

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        client = RedisClient(f"redis://127.0.0.1:{port}/0", socket_timeout=5)
        with pytest.raises(LOST, match="too slow"):
            await client.run("GET", "x")
        await asyncio.sleep(0.02)
        assert await client.run("ECHO", "mine") == b"mine"
        await client.close()
