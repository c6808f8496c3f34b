"""kopf as the shell: its watches run inside this process' loop. When they end, the process ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from breakwater.runtime.lifecycle import Check, Service
from breakwater_operator.cluster.kinds import CHILDREN
from breakwater_operator.cluster.login import connection_of
from breakwater_operator.handlers.watch import CHILD_SELECTOR


class _Patience:
    """Pauses between attempts of one request, for ever: an API server that is away for minutes ends no watch."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.1, 0.3, 1.0, 2.0)
        while True:
            yield 3.0


class _NoDiffs(kopf.DiffBaseStorage):
    """kopf would work out for every event what it calls the essence of the object; nobody here asks for it."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: kopf.Body) -> Any:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Nothing is kept."""


class _NoProgress(kopf.ProgressStorage):
    """No handler here has progress."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing is kept."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing was kept."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: Any) -> None:
        """Nothing is touched."""

    def clear(self, *, essence: Any) -> Any:
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """Only watching, of known kinds, filtered by the server: no scanning, peering, posting, finalizers or annotations."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 5
    settings.watching.reconnect_backoff = 0.1
    settings.watching.inactivity_timeout = 70
    for kind in CHILDREN:
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = CHILD_SELECTOR
    settings.networking.request_timeout = 10
    settings.networking.connect_timeout = 3
    settings.networking.error_backoffs = _Patience()
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.persistence.progress_storage = _NoProgress()
    settings.execution.max_workers = 1
    settings.process.ultimate_exiting_timeout = None
    return settings


# Every attempt of every watch would be a line; that the API server is away is said once, and by /readyz.
logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)


class Watches(Service):
    """kopf's tasks. ``namespaces`` empty: all of the cluster."""

    name = "watches"

    def __init__(
        self, registry: kopf.OperatorRegistry, configuration: Configuration, namespaces: Collection[str]
    ) -> None:
        super().__init__()
        self._registry, self._namespaces = registry, namespaces
        self._kopf: Collection[asyncio.Task[Any]] = ()

        @kopf.on.login(registry=registry, id="login")
        async def login(**_: Any) -> kopf.ConnectionInfo:
            return await connection_of(configuration)

    async def start(self) -> None:
        self._kopf = await kopf.spawn_tasks(
            registry=self._registry,
            settings=kopf_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
        )
        self.spawn(self._until_one_ends(), "kopf")

    async def stop(self) -> None:
        self._stopping = True
        for task in self._kopf:
            task.cancel()
        await asyncio.gather(*self._kopf, return_exceptions=True)
        await super().stop()

    def readiness(self) -> dict[str, Check]:
        return {"tasks": Check(bool(self._kopf) and not self.failed.done(), "running" if self._kopf else "not started")}

    async def _until_one_ends(self) -> None:
        done, _ = await asyncio.wait(self._kopf, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError(f"kopf's {', '.join(task.get_name() for task in done)} ended by itself")
