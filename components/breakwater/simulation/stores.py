"""Disk and key-value store in memory. They outlive the components that use them, as volumes and servers do."""

from __future__ import annotations

import asyncio

from breakwater.runtime.ports import DiskError, StoreUnavailable


class MemoryDisk:
    """One component's volume; implements ``runtime.ports.Disk``. Every write is durable when its call returns."""

    def __init__(self) -> None:
        self._files: dict[str, bytearray] = {}

    def read(self, name: str) -> bytes | None:
        content = self._files.get(_checked(name))
        return None if content is None else bytes(content)

    async def replace(self, name: str, data: bytes) -> None:
        name = _checked(name)
        await asyncio.sleep(0)
        self._files[name] = bytearray(data)

    async def append(self, name: str, data: bytes) -> None:
        name = _checked(name)
        await asyncio.sleep(0)
        self._files.setdefault(name, bytearray()).extend(data)

    async def truncate(self, name: str, size: int) -> None:
        content = self._files.get(_checked(name))
        if content is None:
            raise DiskError(f"{name}: cannot truncate, there is no such file")
        if not 0 <= size <= len(content):
            raise DiskError(f"{name}: cannot truncate {len(content)} bytes to {size}")
        await asyncio.sleep(0)
        del content[size:]

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._files)


class MemoryStore:
    """The shared key-value store; implements ``runtime.ports.KeyValueStore``. ``up = False`` makes it unreachable."""

    def __init__(self, *, round_trip_s: float = 0.0) -> None:
        self.up = True
        self._round_trip_s = round_trip_s
        self._values: dict[str, bytes] = {}
        self._versions: dict[str, int] = {}

    async def get(self, key: str) -> bytes | None:
        await self._answer()
        return self._values.get(key)

    async def set(self, key: str, value: bytes) -> None:
        await self._answer()
        self._values[key] = value

    async def set_if_higher(self, key: str, version: int, value: bytes) -> bool:
        if version < 1:
            raise ValueError(f"version {version} of {key}: versions start at 1")
        await self._answer()
        if version <= self._versions.get(key, 0):
            return False
        self._versions[key] = version
        self._values[key] = value
        return True

    async def ping(self) -> float:
        await self._answer()
        return self._round_trip_s

    def lose_everything(self) -> None:
        """As if the server came back empty."""
        self._values.clear()
        self._versions.clear()

    async def _answer(self) -> None:
        await asyncio.sleep(self._round_trip_s)
        if not self.up:
            raise StoreUnavailable("the store does not answer")


def _checked(name: str) -> str:
    parts = name.split("/")
    if name.startswith("/") or any(part in {"", ".", ".."} for part in parts):
        raise DiskError(f"{name!r} is not a relative file name")
    return name
