"""A store and a disk in memory with faults, and a clock that moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from breakwater.runtime.manifests import DeskManifests, load_manifests
from breakwater.runtime.ports import DiskError, StoreUnavailable


class FaultyStore:
    """A KeyValueStore that can be taken away, wiped or tampered with."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.away = False
        self.refuse_writes = False

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("connection refused")

    async def get(self, key: str) -> bytes | None:
        self._check()
        return self.values.get(key)

    async def set(self, key: str, value: bytes) -> None:
        self._check()
        self.values[key] = value

    async def set_if_higher(self, key: str, version: int, value: bytes) -> bool:
        self._check()
        if self.refuse_writes:
            raise StoreUnavailable("connection reset")
        if version <= self.versions.get(key, 0):
            return False
        self.values[key], self.versions[key] = value, version
        return True

    async def ping(self) -> float:
        self._check()
        return 0.0

    def wipe(self) -> None:
        self.values.clear()
        self.versions.clear()


class FaultyDisk:
    """A Disk in memory that can be full."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.full = False

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    async def replace(self, name: str, data: bytes) -> None:
        if self.full:
            raise DiskError(f"{name}: no space left on device")
        self.files[name] = data

    async def append(self, name: str, data: bytes) -> None:
        self.files[name] = self.files.get(name, b"") + data

    async def truncate(self, name: str, size: int) -> None:
        self.files[name] = self.files[name][:size]


class HandClock:
    def __init__(self) -> None:
        self.elapsed = 0.0

    def monotonic(self) -> float:
        return self.elapsed

    def utc_now(self) -> datetime:
        return datetime(2025, 10, 10, 20, tzinfo=UTC) + timedelta(seconds=self.elapsed)

    async def sleep(self, seconds: float) -> None:
        self.elapsed += seconds
        await asyncio.sleep(0)


MANIFEST = """
apiVersion: breakwater.trading/v1alpha1
kind: TradingPolicy
metadata: {{name: main}}
spec:
  profile: {profile}
  symbols: [BTCUSDT, ETHUSDT]
  limits: {{{limits}}}
---
apiVersion: breakwater.trading/v1alpha1
kind: EmergencyStop
metadata: {{name: main}}
spec:
  policyRef: {{name: main}}
  {stop}
"""


@pytest.fixture
def manifest_text() -> Callable[..., str]:
    def make(profile: str = "NORMAL", limits: str = "", stop: str = "enabled: true") -> str:
        return MANIFEST.format(profile=profile, limits=limits, stop=stop)

    return make


@pytest.fixture
def desk_of(manifest_text: Callable[..., str]) -> Callable[..., DeskManifests]:
    def make(profile: str = "NORMAL", limits: str = "", stop: str = "enabled: true") -> DeskManifests:
        return load_manifests(manifest_text(profile, limits, stop))

    return make


@pytest.fixture
def kv() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
