"""Disk and store in memory behave as their ports promise."""

from __future__ import annotations

import pytest

from breakwater.runtime.ports import Disk, DiskError, KeyValueStore, StoreUnavailable
from breakwater.simulation.stores import MemoryDisk, MemoryStore


async def test_disk_keeps_appends_replaces_and_truncates() -> None:
    memory = MemoryDisk()
    disk: Disk = memory
    assert disk.read("journal/a") is None
    await disk.append("journal/a", b"one")
    await disk.append("journal/a", b"two")
    assert disk.read("journal/a") == b"onetwo"
    await disk.truncate("journal/a", 3)
    assert disk.read("journal/a") == b"one"
    await disk.replace("journal/a", b"new")
    assert disk.read("journal/a") == b"new"
    assert memory.names() == ["journal/a"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a//b", "", "a/./b"])
async def test_disk_refuses_names_outside_of_it(name: str) -> None:
    with pytest.raises(DiskError, match="relative file name"):
        await MemoryDisk().append(name, b"x")


async def test_truncating_what_is_not_there_is_an_error_naming_the_file() -> None:
    disk = MemoryDisk()
    with pytest.raises(DiskError, match="journal"):
        await disk.truncate("journal", 0)
    await disk.append("journal", b"abc")
    with pytest.raises(DiskError, match="3 bytes to 4"):
        await disk.truncate("journal", 4)


async def test_store_takes_only_higher_versions() -> None:
    store: KeyValueStore = MemoryStore()
    assert await store.get("policy") is None
    assert await store.set_if_higher("policy", 2, b"two")
    assert not await store.set_if_higher("policy", 2, b"again")
    assert not await store.set_if_higher("policy", 1, b"one")
    assert await store.get("policy") == b"two"
    with pytest.raises(ValueError, match="start at 1"):
        await store.set_if_higher("policy", 0, b"zero")


async def test_store_that_is_away_says_so_and_comes_back_with_its_content() -> None:
    store = MemoryStore()
    await store.set("key", b"value")
    store.up = False
    for call in (store.get("key"), store.set("key", b"x"), store.set_if_higher("key", 9, b"x"), store.ping()):
        with pytest.raises(StoreUnavailable):
            await call
    store.up = True
    assert await store.get("key") == b"value"
    store.lose_everything()
    assert await store.get("key") is None
