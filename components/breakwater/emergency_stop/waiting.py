"""Waiting for an event or the end of a sleep, whichever comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def either(event: asyncio.Event, sleep: Coroutine[Any, Any, None]) -> None:
    """Return when ``event`` is set or ``sleep`` is over; nothing keeps running. Raises what ``sleep`` raises."""
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(sleep)]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
