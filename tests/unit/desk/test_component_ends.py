"""A component's process ends when a part of it fails: also its bus, when another process took over as its producer."""

from __future__ import annotations

import asyncio

import pytest

from breakwater.desk.interruption import until_failed
from breakwater.runtime.lifecycle import Service
from breakwater.runtime.redis_publisher import ProducerFenced


async def test_fenced_producer_ends_the_process() -> None:
    service, bus = Service(), Service()
    running = asyncio.ensure_future(until_failed((service, bus)))
    await asyncio.sleep(0)
    assert not running.done()
    bus.fail(ProducerFenced("another process is execution of desk desk-a now"))
    with pytest.raises(RuntimeError) as ended:
        await asyncio.wait_for(running, 1)
    assert isinstance(ended.value.__cause__, ProducerFenced)
