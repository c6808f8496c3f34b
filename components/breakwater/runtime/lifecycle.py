"""Services and their tasks. A task that dies takes its service down loudly: a component that limps is worse than one that stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import structlog

from breakwater.runtime.ports import DiskError

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Check(msgspec.Struct, frozen=True):
    """One named fact about a service's health."""

    ok: bool
    detail: str = ""


class Service:
    """Base of every component: named, started and stopped once, owning its tasks.

    ``failed`` resolves with the first exception of any task; whoever runs the service awaits it.
    """

    name: str = "service"
    progress: int = 0
    """Units of its real work done so far; heartbeats carry it, so that a component that is alive but idle shows."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[BaseException] | None = None
        self._stopping = False

    @property
    def failed(self) -> asyncio.Future[BaseException]:
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        return self._failed

    async def start(self) -> None:
        """Become able to work. Returns once subscriptions are in place and state is restored."""

    async def stop(self) -> None:
        """Cancel what runs, wait for it, leave everything durable. Safe to call twice."""
        self._stopping = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def readiness(self) -> dict[str, Check]:
        """Named checks; the service is ready when all are ok."""
        return {"tasks": Check(ok=not (self._failed and self._failed.done()))}

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` until it ends or the service stops. An exception fails the service."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def guarded(self, handler: Callable[[T], Awaitable[None]]) -> Callable[[T], Awaitable[None]]:
        """A handler that fails for another reason than the disk has a bug: the service stops rather than goes on wrongly."""

        async def guard(event: T) -> None:
            try:
                await handler(event)
            except DiskError:
                raise  # unacknowledged: the bus offers it again
            except Exception as error:
                self.fail(error)
                raise

        return guard

    def fail(self, error: BaseException) -> None:
        if not self.failed.done():
            log.error("service failed", service=self.name, error=repr(error), exc_info=error)
            self.failed.set_result(error)

    async def raise_when_failed(self) -> None:
        """Wait until the service fails, then raise RuntimeError that names it, caused by what made it fail."""
        error = await asyncio.shield(self.failed)
        raise RuntimeError(f"{self.name} failed: {error!r}") from error

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._stopping:
            return
        error = task.exception()
        if error is not None:
            self.fail(error)
