"""When a process ends: a signal, at any moment of its life, is a clean end; a part that fails is not."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterable
from typing import Any

from breakwater.runtime.lifecycle import Service

SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def until_interrupted(work: Coroutine[Any, Any, object]) -> int:
    """Run ``work`` until it ends or a signal comes; 0 after its clean-up. Raises what ``work`` raises.

    The first process of a container has no default handlers: without one of its own it would not even see SIGTERM.
    """
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, asked.set)
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        else:
            working.result()
        return 0
    finally:
        waiting.cancel()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            if asked.is_set():
                signal.signal(number, signal.SIG_IGN)  # asked once more on the way out: it ends already


async def until_failed(parts: Iterable[Service], *tasks: asyncio.Future[None]) -> None:
    """Return or raise as the first of ``tasks`` ends; raise when a part fails. ``tasks`` stay the caller's."""
    failing = [asyncio.ensure_future(part.raise_when_failed()) for part in parts]
    try:
        done, _ = await asyncio.wait([*failing, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for waiting in failing:
            waiting.cancel()
