"""What publish refuses is not stored afterwards: whoever was told so may publish it again without making it two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from breakwater.runtime.bus import BusUnavailable
from breakwater.runtime.file_disk import FileDisk
from breakwater.runtime.ports import DiskError
from breakwater.runtime.valkey_server import EmbeddedServer


class FullDisk(FileDisk):
    full = False

    async def append(self, name: str, data: bytes) -> None:
        if self.full:
            raise DiskError("no space left on device")
        await super().append(name, data)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[FullDisk]:
    disk = FullDisk(tmp_path / "small", owner="test")
    yield disk
    disk.close()


async def test_event_refused_by_a_full_spool_is_one_event_when_it_is_published_again(
    server: EmbeddedServer, small: FullDisk, make_bus: Any, publish: Any, recorder: Any, eventually: Any
) -> None:
    reader = await make_bus("reader", reads="writer", group="reader", handler=recorder)
    writer = await make_bus("writer", disk=small)
    await publish(writer, 1)
    await eventually(lambda: recorder.numbers == [1])
    await server.stop()
    await eventually(lambda: not writer.connected)
    small.full = True
    for _ in range(3):
        with pytest.raises(BusUnavailable, match="buffer"):
            await publish(writer, 2)
    small.full = False
    await publish(writer, 2)
    await server.start()
    await eventually(lambda: writer.connected)
    await publish(writer, 3)
    await eventually(lambda: recorder.numbers[-1] == 3)
    assert recorder.numbers == [1, 2, 3]
    assert [event.sequence for event in recorder.events] == [1, 2, 3]
    assert reader.counters.gaps == 0
