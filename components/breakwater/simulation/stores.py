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

    async def remove(self, name: str) -> None:
        await asyncio.sleep(0)
        self._files.pop(_checked(name), None)


class DyingDisk(MemoryDisk):
    """A volume whose machine dies in the middle of its ``fatal``-th write (counted from 1).

    Of that write a share ``kept`` (0 to 1) is found afterwards; a replacement happens whole (``kept`` 1) or not at all, with
    its unfinished copy left behind. The caller of the fatal write, and of every later one, never hears that it is done.
    """

    def __init__(self, fatal: int, kept: float) -> None:
        super().__init__()
        self._left = fatal
        self._kept = kept

    @property
    def died(self) -> bool:
        return self._left <= 0

    async def replace(self, name: str, data: bytes) -> None:
        if self._lives():
            return await super().replace(name, data)
        if self._left == 0:
            whole = self._kept >= 1
            await super().replace(name if whole else f"{name}.new", data[: round(len(data) * self._kept)])
        raise DiskError(f"{name}: the machine died")

    async def append(self, name: str, data: bytes) -> None:
        if self._lives():
            return await super().append(name, data)
        if self._left == 0:
            await super().append(name, data[: round(len(data) * self._kept)])
        raise DiskError(f"{name}: the machine died")

    async def truncate(self, name: str, size: int) -> None:
        if not self._lives():
            raise DiskError(f"{name}: the machine died")
        await super().truncate(name, size)

    async def remove(self, name: str) -> None:
        if not self._lives():
            raise DiskError(f"{name}: the machine died")
        await super().remove(name)

    def after_restart(self) -> MemoryDisk:
        """What the next machine finds."""
        disk = MemoryDisk()
        disk._files = {name: bytearray(content) for name, content in self._files.items()}
        return disk

    def _lives(self) -> bool:
        self._left -= 1
        return self._left > 0


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
