"""Where the data is right now: fixed, the master that the Sentinels name, or the cluster node that holds a key's slot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from breakwater.runtime.redis_urls import Endpoint, Kind, ServerUrl

Command = tuple[str | int | bytes, ...]
Ask = Callable[[Endpoint, Command], Awaitable[Any]]
"""One command on a fresh connection to a server that is not our data's."""


class Routes:
    """``known`` costs nothing and may be out of date; ``find`` asks."""

    def __init__(self, url: ServerUrl, ask: Ask) -> None:
        self.kind = url.kind
        self._url = url
        self._ask = ask
        self._seeds = list(url.seeds)
        self._master: Endpoint | None = url.seeds[0] if url.kind is Kind.FIXED else None
        self._slots: dict[int, Endpoint] = {}

    def known(self, command: Command) -> Endpoint | None:
        if self.kind is Kind.CLUSTER:
            return self._slots.get(slot_of(command)) or self._seeds[0]
        return self._master

    async def find(self, command: Command) -> Endpoint:
        """The server for ``command``. Raises what is in LOST."""
        if self.kind is Kind.SENTINEL:
            self._master = await self._ask_sentinels()
        endpoint = self.known(command)
        assert endpoint is not None
        return endpoint

    def forget(self, endpoint: Endpoint) -> None:
        """It did not answer, or is not the one that takes writes any more."""
        if self.kind is Kind.SENTINEL:
            self._master = None
        elif self.kind is Kind.CLUSTER:
            self._slots = {slot: node for slot, node in self._slots.items() if node != endpoint}
            if self._seeds[0] == endpoint:
                self._seeds.append(self._seeds.pop(0))

    def moved(self, slot: int, host: str, port: int, told_by: Endpoint) -> Endpoint:
        """A cluster node said who holds ``slot``. An empty host means: the same as its own."""
        self._slots[slot] = node = self.node(host, port, told_by)
        if node not in self._seeds:
            self._seeds.append(node)
            del self._seeds[len(self._url.seeds) + 16 :]
        return node

    @staticmethod
    def node(host: str, port: int, told_by: Endpoint) -> Endpoint:
        return replace(told_by, host=host or told_by.host, port=port)

    @property
    def tries(self) -> int:
        """Servers worth dialling for one command before giving up."""
        return len(self._seeds) if self.kind is Kind.CLUSTER else 1

    async def _ask_sentinels(self) -> Endpoint:
        problems: list[str] = []
        first = self._url.seeds[0]
        for index, seed in enumerate(list(self._seeds)):
            sentinel = replace(seed, db=0, credentials=self._url.sentinel_credentials)
            try:
                answer = await self._ask(sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.master))
            except (RedisError, OSError) as error:
                problems.append(f"{seed}: {error}")
                continue
            if not isinstance(answer, list | tuple) or len(answer) != 2:
                problems.append(f"{seed} knows no master {self._url.master!r}: correct its name in REDIS_URL")
                continue
            self._seeds.insert(0, self._seeds.pop(index))
            return replace(first, host=_text(answer[0]), port=int(answer[1]))
        raise RedisConnectionError(f"no Sentinel says where {self._url.master!r} is ({'; '.join(problems)})")


def slot_of(command: Command) -> int:
    """Of the first of a desk's keys among the words; data comes after keys in every command we send. -1: no key."""
    for word in command[1:]:
        if isinstance(word, str) and word.startswith(("bw:{", "breakwater:")):
            return int(key_slot(word.encode()))
    return -1


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
