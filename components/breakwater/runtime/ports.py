"""Ports to the outside that services get handed in: disk and key-value store. Real ones live here in runtime, virtual ones in simulation."""

from __future__ import annotations

from typing import Protocol


class DiskError(Exception):
    """A file could not be read or written; the message names the file and what the system said."""


class StoreUnavailable(Exception):
    """The key-value store did not answer. Unknown: treat what it holds as unknown, never as empty."""


class Disk(Protocol):
    """A component's own volume. Names are relative paths with '/'. Every write is durable when the call returns.

    Raises DiskError.
    """

    def read(self, name: str) -> bytes | None:
        """Whole content, or None when there is no such file."""
        ...

    async def replace(self, name: str, data: bytes) -> None:
        """Replace the file atomically: readers see the old or the new content, whole, also after power loss."""
        ...

    async def append(self, name: str, data: bytes) -> None:
        """Append ``data`` and sync it. A crash may leave a torn tail, which the reader of the format must detect."""
        ...

    async def truncate(self, name: str, size: int) -> None:
        """Cut the file to ``size`` bytes (removing a torn tail) and sync."""
        ...


class Volume(Disk, Protocol):
    """A disk whose files come and go. Raises DiskError."""

    def names(self) -> list[str]:
        """All files there are, sorted."""
        ...

    async def remove(self, name: str) -> None:
        """Delete the file; nothing happens when there is none."""
        ...


class KeyValueStore(Protocol):
    """The shared store (Redis or Valkey). Raises StoreUnavailable."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes) -> None: ...

    async def set_if_higher(self, key: str, version: int, value: bytes) -> bool:
        """Store ``value`` under ``key`` only if ``version`` is above the stored one (0 if none); atomic. False: not stored."""
        ...

    async def ping(self) -> float:
        """Round trip in seconds."""
        ...
